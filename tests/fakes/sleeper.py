"""Clusters that sleep: passes of off-hours, one by one, on fakes or on a real API server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self

from slicewise import rights
from slicewise.errors import Conflict, Refused, Unauthorized, Unavailable
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.offhours import observe, plan
from slicewise.offhours.sleep_times import until_next_edge
from slicewise.planning.actions import Notify
from slicewise.planning.outcome import Plan
from slicewise.planning.retries import Retry
from slicewise.policy import switches
from slicewise.policy.model import parse
from slicewise.policy.off_hours import OffHours, Override
from slicewise.pools import layout
from slicewise.ports import Kubernetes, Ports
from slicewise.reconcile.executor import ActionExecutor, Attempt
from slicewise.reconcile.reconciler import without_sent
from slicewise.schedule.calendar import Calendar
from slicewise.trigger import Trigger

from tests.fakes.aws.notices import FakeNotices
from tests.fakes.aws.schedules import FakeSchedules
from tests.fakes.aws.sleep_store import FakeSleepStore
from tests.fakes.aws.store import FakeStore
from tests.fakes.calls import Calls, Killed, strike
from tests.fakes.clock import Clock
from tests.fakes.copies import twin
from tests.fakes.kube.controllers import Controllers, end_orphans
from tests.fakes.kube.kubernetes import KARPENTER_CRDS, FakeApiServer, FakeKubernetes
from tests.support import builders

NIGHTS = OffHours("Europe/Berlin", ("Mon-Fri 20:00-07:00", "Sat-Sun"))
WEDNESDAY_NOON = datetime(2026, 11, 25, 11, tzinfo=UTC)
CRDS = (
    *KARPENTER_CRDS,
    "rollouts.argoproj.io",
    "leaderworkersets.leaderworkerset.x-k8s.io",
    "scaledobjects.keda.sh",
    "scaledjobs.keda.sh",
    "modelservers.inference.example.com",
    "rayclusters.ray.io",
    "notebooks.kubeflow.org",
    "inferenceservices.serving.kserve.io",
)
NODE_POOL = Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4")
# With a model that is opened where EC2 has none of the other.
FALLBACK_POOLS = builders.DEFAULT_POOLS.replace("gpus: [l4]", "gpus: [l4], fallbackGpus: [l40s]")
FALLBACK = NODE_POOL._replace(name="slicewise-shared-l40s")


class Reconciler:
    """
    Passes of off-hours over one cluster, one by one; what they keep is on fakes.

    Attributes:
        pools, mode: Of its policy, as YAML.
        plans: Of each pass that did all it planned, in order.
        notified: Keys of the notices that passes sent, as the record keeps them.
        failed: What the last pass left undone.
        between: Called between a pass's look and its first action, once.
    """

    def __init__(
        self, kubernetes: Kubernetes, calls: Calls, clock: Clock, off_hours: OffHours | None = NIGHTS
    ) -> None:
        self.calls, self.clock, self.off_hours = calls, clock, off_hours
        self.pools, self.mode = builders.DEFAULT_POOLS, "act"
        self.kept = FakeSleepStore(calls)
        self.store = FakeStore(calls, self.kept)
        self.schedules = FakeSchedules(calls)
        self.notices = FakeNotices(calls)
        self.cluster = builders.cluster()
        self.plans: list[Plan] = []
        self.notified: set[str] = set()
        self.failed: tuple[Retry, ...] = ()
        self.between: Callable[[], object] | None = None
        self._trigger = Trigger(self.cluster.arn, "a test")
        self._kubernetes = kubernetes

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return twin(self, memo, logs="plans")

    @property
    def _ports(self) -> Ports:
        """Made for each pass, so that a copy of this has its own."""
        return Ports(
            eks=SimpleNamespace(describe=lambda name: self.cluster),  # type: ignore[arg-type]
            store=self.store,
            queues=None,  # type: ignore[arg-type]
            policies=SimpleNamespace(text=lambda name: self.policy_text()),  # type: ignore[arg-type]
            kubernetes=lambda cluster: self._kubernetes,
            helm=None,  # type: ignore[arg-type]
            sleep=self.kept,
            schedules=self.schedules,
            notices=self.notices,
        )

    def policy_text(self) -> str:
        text = f"mode: {self.mode}\npools: {self.pools}\n"
        if not self.off_hours:
            return text
        wanted = self.off_hours
        return (
            text
            + "offHours: "
            + json.dumps(
                {
                    "timeZone": wanted.time_zone,
                    "asleep": list(wanted.asleep),
                    "barePods": wanted.bare_pods.value,
                    "volumes": wanted.volumes.value,
                    "missedRuns": wanted.missed_runs.value,
                    "jobs": wanted.jobs.value,
                    **({"namespaces": list(wanted.namespaces)} if wanted.namespaces else {}),
                    **({"kinds": json.loads(switches.dumped(wanted.kinds))} if wanted.kinds else {}),
                }
            )
        )

    def at(self, text: str) -> Self:
        """Local time of Berlin, such as "2026-11-25T21:00"."""
        self.clock.now = datetime.fromisoformat(text).replace(tzinfo=self.calendar.zone).astimezone(UTC)
        return self

    @property
    def calendar(self) -> Calendar:
        off_hours = self.off_hours or NIGHTS
        return Calendar(off_hours.time_zone, off_hours.asleep, off_hours.awake)

    def put_override(self, asleep: bool, until: datetime | None = None) -> None:
        now = self.clock.now
        end = until or until_next_edge(self.calendar, asleep, now)
        assert end
        self.kept._overrides[self.cluster.arn] = Override(asleep, now, end, "ada")

    def dry_run(self, known: tuple[Any, ...] = ()) -> Plan:
        """What the next pass would do; `known` are details of the record before."""
        observation = observe.observe(self._trigger, None, self._ports, "", self.clock.now)
        left = frozenset(one.part for one in self.failed if one.refused_by)
        observation = replace(observation, known=known, left=left)
        return without_sent(plan.plan(observation, self.clock.now), self.notified)

    def reconcile_once(self) -> Plan | None:
        """
        One pass; None where it was killed, got no answer, or left something undone that failed. What failed
        is tried again by the next pass, whenever that comes.
        """
        try:
            found = self.dry_run()
            between, self.between = self.between, None
            if between:
                between()
            executor = ActionExecutor(self._trigger, self.cluster, self._ports)
            attempt = Attempt((), self.clock, found.longest_retry, found.left)
            for action in found.actions:
                if not attempt.leaves_out(action):
                    with attempt.at(action):
                        executor.do(action)
                        self.notified |= {action.key} if isinstance(action, Notify) else set()
        except (Conflict, Killed, Unavailable):
            self.calls.revive()
            return None
        self.failed = attempt.failed
        if self.failed:
            return None
        self.plans.append(found)
        return found

    def struck_reconcile(self, how: str, number: int) -> bool:
        """
        One pass whose call of this number, from 0, is struck; a queue would bring back what it raises.

        Returns:
            Whether it came to that call.
        """
        number += len(self.calls.made)
        strike(how, number)(self.calls)
        with suppress(Refused, Unauthorized):
            self.reconcile_once()
        self.calls.revive()
        self.calls.lose_answer, self.calls.refuse = {}, {}
        return number < len(self.calls.made)

    def settle(self, most: int = 30) -> Plan:
        """Passes, at one time, until one has nothing to do."""
        for _ in range(most):
            found = self.reconcile_once()
            if found and not found.actions:
                return found
        raise AssertionError(f"no end: {self.plans[-1] if self.plans else None}")

    def after_a_pass(self) -> Self:
        self.reconcile_once()
        return self

    def later(self, **span: float) -> Self:
        self.clock.now += timedelta(**span)
        return self

    # What people see and do; `live` and `write` are those of the cluster.

    def live(self, ref: Ref) -> Object | None:
        raise NotImplementedError

    def write(self, ref: Ref, operations: Sequence[Object]) -> None:
        raise NotImplementedError

    def value(self, ref: Ref, *path: str) -> Any:
        found: Any = self.live(ref)
        for key in path:
            found = (found or {}).get(key)
        return found

    def edit(self, ref: Ref, path: tuple[str, ...], value: Any) -> None:
        """By a person: the field is theirs from now on; None removes it."""
        if self.value(ref, *path) == value:
            return
        if path[:-1] == ("metadata", "annotations") and self.value(ref, *path[:-1]) is None:
            self.write(ref, [{"op": "add", "path": "/metadata/annotations", "value": {path[-1]: value}}])
            return
        pointer = "/" + "/".join(part.replace("/", "~1") for part in path)
        self.write(ref, [{"op": "remove" if value is None else "add", "path": pointer, "value": value}])


class Sleeper(Reconciler):
    """
    A cluster in memory that sleeps; `edit` and `delete` are a person's hands on it.

    Attributes:
        server: Its API server.
    """

    def __init__(self, off_hours: OffHours | None = NIGHTS, pools: str = builders.DEFAULT_POOLS) -> None:
        calls, clock = Calls(), Clock(WEDNESDAY_NOON)
        self.server = FakeApiServer(clock)
        own = rights.of_switches(
            (f"{one.kind.lower()}s", one) for one in (off_hours.kinds if off_hours else ())
        )
        held = FakeKubernetes.held(self.server, calls, rights.sleeper(own))
        super().__init__(held, calls, clock, off_hours)
        self.server.add_crds(*CRDS)
        self.server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}})
        self.controllers = Controllers(self.server)
        self.server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
        self.pools = pools
        policy = parse(self.policy_text(), "default")
        for pool in policy.parts:
            for gpu in pool.models():
                self.server.apply(layout.node_pool(policy, pool, gpu, pool.start), "slicewise")

    def create(self, *items: Object) -> None:
        for item in items:
            self.server.create(item)

    def node(self, name: str) -> None:
        self.create(builders.node(name=name))

    def run_pods(self, *names: str) -> None:
        """A kubelet's work, which nobody does here by himself."""
        for name in names:
            self.server.set_status(Ref("v1", "Pod", name, "ml"), {"phase": "Running"})

    def refuse(self, node_pool: str = NODE_POOL.name, ago: timedelta = timedelta(0)) -> None:
        """EC2 has no machine for Karpenter, whose NodeClaim is gone at once."""
        claim, at = f"{node_pool}-{len(self.server.objects):05}", self.clock.now - ago
        self.server.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{claim}.17", "namespace": "default"},
                "involvedObject": {"kind": "NodeClaim", "name": claim},
                "reason": "InsufficientCapacityError",
                "lastTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )

    def live(self, ref: Ref) -> Object | None:
        return self.server.objects.get(ref)

    def write(self, ref: Ref, operations: Sequence[Object]) -> None:
        self.server.patch(ref, operations, manager="kubectl")

    def delete(self, ref: Ref) -> None:
        self.server.delete(ref)
        end_orphans(self.server)

    def replicas(self, item: Object) -> int:
        return self.value(ref_of(item), "spec", "replicas")
