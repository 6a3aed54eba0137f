"""An account with one onboarded cluster whose GPUs are used and measured, and time that passes there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from slicewise.app import TUNING
from slicewise.kube.ref import Ref
from slicewise.model.cluster import Series
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.policy.model import parse
from slicewise.pools import layout, observed
from slicewise.trigger import Trigger

from tests.fakes.account import HOME, VISIBILITY, Account
from tests.fakes.kube.karpenter import FakeKarpenter
from tests.support.tuning.dcgm_samples import one_gpu

# Container Insights measures whole GPUs, by which N rises for nobody here: no pod was ever alone on one.
BY_GPU = """
pools:
  shared: {sharing: time-slicing, gpus: [l4], replicas: {start: 4, max: 8}, maxGpus: 16, gpuCounts: [1]}
tuning: {raiseAfter: 2h, lowerAfter: 30m, dwell: 1h, canary: 2m, lock: 24h}
"""
BY_POD = 'metrics: {source: prometheus, endpoint: "https://prometheus.example"}\n'
POLICY = BY_GPU + BY_POD
POOL = "slicewise-shared-l4"
GPU_1 = HOME.arn("gpu-1")
DAY = timedelta(days=1)

Accounts = TypeVar("Accounts", bound=Account)


def before(number: int, way: Sequence[Accounts]) -> Accounts:
    """A copy, as it stands before the message of which this call is part: up to there nothing differs."""
    return deepcopy([account for account in way if len(account.calls.made) <= number][-1])


class TunedAccount(Account):
    """
    Attributes:
        karpenter: Takes nodes and pods, and moves them, while time passes.
    """

    _by_pod = False
    _since: datetime | None = None

    def __init__(self, pods: tuple[int, ...] = (4, 4, 4, 4, 4), policy: str = POLICY, **use: Any) -> None:
        super().__init__(policy)
        self._by_pod = "source: prometheus" in policy
        self.create_cluster()
        self.send_created()
        self.run_until_idle()
        self.karpenter = FakeKarpenter(self.servers["gpu-1"], parse(policy, "default"), self.clock)
        for count in pods:
            self.karpenter.add_node(count)
        self.clock.pass_by(3 * DAY)
        self.measure(**use)

    def measure(self, **use: Any) -> None:
        """
        Each node's GPU has been used alike for three days, and will be.

        Args:
            use: `busy` in percent and `memory_mib` of a GPU on which there are `slots` pods.
        """
        self._use = {"busy": 10.0, "memory_mib": 4096.0, "slots": 4} | use
        since = _ten_minutes(self.clock.now) - 3 * DAY
        self._since = min(since, self._since or since)
        if self._by_pod:
            self.metrics.scraped = self._scraped
            return
        self.metrics.series["gpu-1"] = [
            series
            for node in self._nodes()
            for series in one_gpu(**self._use, node=node, days=4, until=_ten_minutes(self.clock.now) + DAY)
        ]

    def _nodes(self) -> list[str]:
        return sorted(ref.name for ref in self.servers["gpu-1"].objects if ref.kind == "Node")

    def _scraped(self, start: datetime, end: datetime) -> list[Series]:
        """What a Prometheus has of the GPUs and pods that are there now."""
        assert self._since
        begin = int(max(start, self._since).timestamp())
        # The step that goes on has no point yet.
        times = tuple(range(begin, int(end.timestamp()) // 600 * 600, 600))
        pods = [item for ref, item in self.servers["gpu-1"].objects.items() if ref.kind == "Pod"]
        found: list[Series] = []
        for node in self._nodes():
            on = [pod["metadata"] for pod in pods if pod["spec"].get("nodeName") == node]
            of_gpu = {"Hostname": node, "gpu": "0", "modelName": "NVIDIA L4"}
            shares = [({}, len(on) or 1)] + [
                ({"pod": one["name"], "namespace": one.get("namespace", "default")}, 1) for one in on
            ]
            for labels, times_as_much in shares:
                for name, value in (("GPU_UTIL", self._use["busy"]), ("FB_USED", self._use["memory_mib"])):
                    of_one = value * times_as_much / self._use["slots"]
                    found.append(
                        Series(f"DCGM_FI_DEV_{name}", of_gpu | labels, times, (of_one,) * len(times))
                    )
        return found

    def tune(self, reason: str = "a test", reconciles: int = 200) -> Record:
        """One trigger, and all the looks that its passes ask for in turn."""
        self.queues.put(TUNING, Trigger(GPU_1, reason).message())
        return self.answer_all(reconciles)

    def answer_all(self, reconciles: int = 200) -> Record:
        """The last record of tuning; whoever expects none asks `answer_gone`."""
        self.answer_gone(reconciles)
        assert self.tuned
        return self.tuned

    @property
    def is_idle(self) -> bool:
        """Also where a wrong policy is read again each few minutes, which ends only once it is repaired."""
        if not self.queues.waiting or not self.tuned or self.tuned.stage is not Stage.FAILED:
            return not self.queues.waiting
        return min(self.queues.waiting).due - self.clock.now > timedelta(minutes=4)

    def answer_gone(self, reconciles: int = 200) -> None:
        for _ in range(reconciles):
            if self.is_idle:
                return
            self.answer_next()
        raise AssertionError(f"still busy: {self.tuned}")

    def way(self, reconciles: int = 400) -> list[Self]:
        """Answers all that waits; the account before each message, and at the end."""
        found = [deepcopy(self)]
        for _ in range(reconciles):
            if not self.queues.waiting:
                return found
            self.answer_next()
            found.append(deepcopy(self))
        raise AssertionError(f"still busy: {self.tuned}")

    def answer_next(self) -> None:
        """The message that is due first, at its time."""
        self.let_pass(min(self.queues.waiting).due - self.clock.now)
        self._answer(*self.queues.receive(VISIBILITY))

    def let_pass(self, time: timedelta) -> None:
        """Karpenter, scheduler and device plugins work meanwhile; of long times, in their last minute."""
        quick = timedelta(minutes=1)
        if time > quick:
            self.clock.pass_by(time - quick)
            time = quick
        self.karpenter.work_for(int(time.total_seconds()))

    def hours(self, number: int, **use: Any) -> Record:
        """The sweep's looks, hour by hour."""
        found = None
        for _ in range(number):
            self.let_pass(timedelta(hours=1))
            if use:
                self.measure(**use)
            found = self.tune("the hourly sweep")
        assert found
        return found

    @property
    def tuned(self) -> Record | None:
        return self.record(capability=TUNING)

    @property
    def node_pool(self) -> dict[str, Any]:
        return self.servers["gpu-1"].objects[Ref("karpenter.sh/v1", "NodePool", POOL)]

    def annotation(self, name: str) -> str:
        return self.node_pool["metadata"]["annotations"].get(name, "{}")

    def fullest(self) -> str:
        """The node with the most pods."""
        pods = [item for ref, item in self.servers["gpu-1"].objects.items() if ref.kind == "Pod"]
        nodes = [pod["spec"].get("nodeName", "") for pod in pods]
        return max(nodes, key=nodes.count)

    @property
    def n(self) -> int | None:
        keys = observed.config_keys_of(self.node_pool)
        return layout.slices_of_key(keys[0]) if len(keys) == 1 else None


def _ten_minutes(at: datetime) -> datetime:
    return at.replace(minute=at.minute // 10 * 10, second=0, microsecond=0)


def alarm_event(kind: str, state: str, before: str) -> str:
    detail = {
        "alarmName": f"slicewise/gpu-1/{kind}",
        "state": {"value": state},
        "previousState": {"value": before},
        "alarmTags": {"slicewise.dev/cluster": GPU_1},
    }
    return json.dumps(
        {"source": "aws.cloudwatch", "detail-type": "CloudWatch Alarm State Change", "detail": detail}
    )
