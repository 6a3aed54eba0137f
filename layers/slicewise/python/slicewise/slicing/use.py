"""
What was measured of one NodePool, from series as their source names them. Pure.

Evidence that is missing, stale, partial or contradictory makes a pod look larger where N may rise by it, and
smaller where N must fall by it (evidence.py); and it is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from slicewise import catalog, layout
from slicewise.model import ClusterContents, Object, Series
from slicewise.objects import created_at, labels, moment, name, spec, status
from slicewise.outcomes import Finding
from slicewise.slicing import container_insights, dcgm, otel_insights
from slicewise.slicing.evidence import Grade, PodUse
from slicewise.slicing.pasts import Past
from slicewise.slicing.problems import told
from slicewise.slicing.series import Device, PodPoints, Points, Readings, first_of
from slicewise.slicing.shares import Sharing
from slicewise.slicing.usage.history import (
    NOTHING,
    STEP_SECONDS,
    History,
    Life,
    WorkloadKey,
    add,
    joined,
    key_of,
    pruned,
    settled,
    use_of,
    with_devices,
)
from slicewise.slicing.workloads import made_by, workload_of

# What to ask a source for: ten-minute points, of which a day of a pod's history has 144.
STEP = timedelta(minutes=10)
WINDOW = timedelta(days=7)
# A pod loads its model first: neither as idle nor as busy as it will be.
STARTING = timedelta(minutes=10)
FRESH = timedelta(hours=1)

# What a catalog, a driver and EC2 call the memory of a card differs by a few percent.
_CARD_SLACK = 1.1
PROMETHEUS, CONTAINER_INSIGHTS = "prometheus", "container-insights"
CONTAINER_INSIGHTS_OTEL = "container-insights-otel"


@dataclass(frozen=True)
class PoolUse:
    """
    Attributes:
        pods: One for every pod that is on the NodePool's nodes now, measured or not, named "namespace/pod".
        grade: The weakest of the pods that have a history; NONE where no pod has one. Without a full day of
            history a pod counts as a whole GPU: a lower N that rests on such pods rests on no measurement.
        device_peaks: Highest memory in MiB over the last day, by "node/gpu".
        busy_now: The busiest GPU's mean busy fraction over the last hour; None where nothing is that fresh.
        memory_now_share: Likewise, the fullest GPU's memory as a share of the card.
        problems: What is wrong with the evidence, in words.
    """

    pods: tuple[PodUse, ...]
    grade: Grade
    device_peaks: Mapping[str, float] = field(default_factory=dict)
    busy_now: float | None = None
    memory_now_share: float | None = None
    problems: tuple[Finding, ...] = ()


def pool_use(
    readings: Readings,
    source: str,
    contents: ClusterContents,
    now: datetime,
    node_pool: str,
    history: History | None = None,
) -> PoolUse:
    """
    Args:
        readings: Of the whole cluster, with the last day of its GPUs.
        source: As the policy says, such as "container-insights" or "none".
        history: What was measured of workloads, these readings included; None where they are all there is.
    """
    if history is None:
        history = measured(NOTHING, readings, contents, now).history
    window = Window(readings, contents, frozenset({node_pool}), now, history)
    pods = window.uses()
    return PoolUse(
        pods,
        _weakest(pods),
        {device.key: max(device.memory_mib.values()) for device in window.devices if device.memory_mib},
        max(
            (mean for device in window.devices if (mean := window.lately(device.busy)) is not None),
            default=None,
        ),
        max(window.memory_shares(), default=None),
        told(readings, source, window.devices, window.pool_nodes, node_pool, window.names_some, now),
    )


@dataclass(frozen=True)
class Measured:
    """
    What a pass knows once it has read what is new.

    Attributes:
        history: With all that was read; `kept` without the newest steps, which a source may still add to.
        readings: Those of the pass, with the last day of each GPU.
    """

    history: History
    kept: History
    readings: Readings


def measured(before: History, readings: Readings, contents: ClusterContents, now: datetime) -> Measured:
    """
    Args:
        before: What the pass before has kept.
        readings: From its last step on, or earlier.
    """
    newest = int(now.timestamp()) // STEP_SECONDS * STEP_SECONDS
    devices = joined(before, readings.devices, newest)
    node_pools = {labels(node).get(layout.NODE_POOL_LABEL, "") for node in contents.nodes}
    window = Window(replace(readings, devices=devices), contents, frozenset(node_pools), now, before)
    lives = tuple(window.lives())
    kept = add(pruned(before, int((now - WINDOW).timestamp())), lives, settled(now))
    whole = with_devices(add(kept, lives, newest, whole=False), devices, newest)
    of_gpus = tuple(whole.devices.values())
    return Measured(whole, with_devices(kept, devices, settled(now)), replace(readings, devices=of_gpus))


def read(series: Sequence[Series], source: str, contents: ClusterContents) -> Readings:
    """
    The series of any source, in one shape: once a pass, however many NodePools there are.

    Args:
        series: What `ports.Metrics.read` gave for (now − WINDOW, now, STEP).
    """
    if source in (PROMETHEUS, CONTAINER_INSIGHTS_OTEL):
        nodes = {name(node) for node in contents.nodes}
        pods = {_key(pod): spec(pod).get("nodeName", "") for pod in contents.pods}
        of_dcgm = dcgm if source == PROMETHEUS else otel_insights
        return _possible(of_dcgm.read(series, nodes, pods), contents)
    if source == CONTAINER_INSIGHTS:
        return _possible(container_insights.read(series), contents)
    return Readings()


def _possible(readings: Readings, contents: ClusterContents) -> Readings:
    """More memory than the card has is no measurement: one such value would lower N at once."""
    most = {name(node): (card_mib(node) or math.inf) * _CARD_SLACK for node in contents.nodes}
    left_out = 0

    def kept(one: Any) -> Any:
        nonlocal left_out
        bound = most.get(one.node, math.inf)
        odd = [at for at, value in one.memory_mib.items() if value > bound]
        left_out += len(odd)
        if not odd:
            return one
        return replace(one, memory_mib={at: v for at, v in one.memory_mib.items() if v <= bound})

    devices, pods = tuple(map(kept, readings.devices)), tuple(map(kept, readings.pods))
    return replace(readings, devices=devices, pods=pods, impossible=readings.impossible + left_out)


@dataclass(frozen=True)
class Window:
    """Pods, nodes and GPUs of one NodePool, or of a pool's together, looked at from `now`."""

    readings: Readings
    contents: ClusterContents
    node_pools: frozenset[str]
    now: datetime
    history: History = NOTHING

    @cached_property
    def pool_nodes(self) -> dict[str, Object]:
        return {
            name(node): node
            for node in self.contents.nodes
            if labels(node).get(layout.NODE_POOL_LABEL) in self.node_pools
        }

    @cached_property
    def pods(self) -> tuple[Object, ...]:
        on_pool = [pod for pod in self.contents.pods if spec(pod).get("nodeName") in self.pool_nodes]
        return tuple(sorted(on_pool, key=_key))

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        return tuple(device for device in self.readings.devices if device.node in self.pool_nodes)

    @cached_property
    def step(self) -> int:
        return int(STEP.total_seconds())

    def uses(self) -> tuple[PodUse, ...]:
        """One a pod, by name: what was measured of its workload, on its model of GPU."""
        return tuple(self._use(pod) for pod in self.pods)

    def _use(self, pod: Object) -> PodUse:
        key = self.key_of(pod)
        if key not in self._of_workloads:
            self._of_workloads[key] = use_of(self.history, key, self.now, WINDOW)
        found = self._of_workloads[key] or PodUse("", math.nan, grade=Grade.NONE)
        return replace(found, name="/".join(_key(pod)))

    @cached_property
    def _of_workloads(self) -> dict[WorkloadKey, PodUse | None]:
        """Pods of a workload have one past: ten thousand are measured as often as they have owners."""
        return {}

    def key_of(self, pod: Object) -> WorkloadKey:
        found = labels(self.pool_nodes[spec(pod)["nodeName"]])
        return key_of(pod, found.get(layout.GPU_NAME_LABEL, ""))

    def lives(self) -> Iterator[Life]:
        """What the readings say of each pod that is there, and of those of their workloads that have gone."""
        for pod in self.pods:
            yield Life(self.key_of(pod), self.pasts[_key(pod)] or _unmeasured(pod))
        yield from self._gone()

    def _gone(self) -> Iterator[Life]:
        """Known by name only: it must be one that the workload's controllers give, on its model of GPU."""
        owners: dict[tuple[str, str], list[Object]] = {}
        for pod in self.pods:
            known = owners.setdefault((_key(pod)[0], workload_of(pod).name), [])
            if not known or workload_of(known[-1]) != workload_of(pod):
                known.append(pod)
        for key, points in self.readings.by_pod.items():
            if key in self._live or not points.busy or points.model not in self._models:
                continue
            namespace, gone = key
            set_name = gone.rpartition("-")[0]
            for owner in (set_name, set_name.rpartition("-")[0]):
                for pod in owners.get((namespace, owner), ()):
                    if made_by(pod).fullmatch(gone):
                        past = Past.of_a_pod(min(points.busy), points.busy, points.memory_mib)
                        yield Life(self.key_of(pod), past, is_there=False)

    @cached_property
    def _live(self) -> frozenset[tuple[str, str]]:
        """All pods that are there now, of whatever NodePool: none of them is a past of another."""
        return frozenset(map(_key, self.contents.pods))

    @cached_property
    def pasts(self) -> dict[tuple[str, str], Past | None]:
        return {_key(pod): self._past(pod) for pod in self.pods}

    def _past(self, pod: Object) -> Past | None:
        node = spec(pod)["nodeName"]
        at = started(pod)
        since = int((at + STARTING).timestamp()) if at else 0
        measured = self.readings.by_pod.get(_key(pod))
        if measured and node not in self._collapsed:
            since = since if self._goes_on else max(since, self.readings.pods_since)
            return Past.of_a_pod(since, _from(measured.busy, since), _from(measured.memory_mib, since))
        return self._share(node, max(since, self._devices_since))

    @cached_property
    def _devices_since(self) -> int:
        return 0 if self._goes_on else first_of(self.devices)

    @property
    def _goes_on(self) -> bool:
        """The source had begun before these readings: what they lack at their beginning is a gap."""
        return self.history.through is not None

    def _share(self, node: str, since: int) -> Past | None:
        share = self.sharing.by_node.get(node)
        if share is None:
            return None
        busy, memory = _from(share.busy, since), _from(share.memory_mib, since)
        if share.shared_last < since:
            # Whoever has a GPU to itself is measured by it.
            return Past.of_a_pod(since, busy, memory)
        # Of its memory nothing is certain: the others on its GPU may have used all of it.
        return Past(since, busy, memory, Grade.DEVICE, _from(share.measured_busy, since), {}, share.alone)

    @cached_property
    def sharing(self) -> Sharing:
        readings = self.readings
        return Sharing(self.devices, readings.slots_in_use, readings.most_slots, self._starts, self.step)

    @cached_property
    def _starts(self) -> dict[str, list[float]]:
        starts: dict[str, list[float]] = {}
        for pod in self.pods:
            if at := started(pod):
                starts.setdefault(spec(pod)["nodeName"], []).append(at.timestamp())
        return starts

    @property
    def names_some(self) -> bool:
        """Whether some pods have series of their own and others on the same node have none."""
        named = {spec(pod)["nodeName"] for pod in self.pods if _key(pod) in self.readings.by_pod}
        return bool(named & self._collapsed)

    @cached_property
    def _collapsed(self) -> frozenset[str]:
        """Nodes where some pods have no series of their own: what one is labelled with may be all of them."""
        settled = self.now - FRESH
        # Where nothing of the GPU is measured either, the source is away, and pods are told apart as before.
        measured = {device.node for device in self.devices if self.lately(device.memory_mib) is not None}
        return frozenset(
            spec(pod)["nodeName"]
            for pod in self.pods
            if (at := started(pod)) and at < settled and spec(pod)["nodeName"] in measured
            if self.lately(self._points(_key(pod)).memory_mib) is None
        ) | {device.node for device in self.devices if device.fault}

    def _points(self, key: tuple[str, str]) -> PodPoints:
        return self.readings.by_pod.get(key) or PodPoints(*key, "", "", {}, {})

    @cached_property
    def _models(self) -> frozenset[str]:
        return frozenset(device.model for device in self.devices)

    def lately(self, points: Points) -> float | None:
        """Mean of the points of the last hour, as far as there are any."""
        newest = [value for at, value in points.items() if at + self.step > self._fresh_from]
        return sum(newest) / len(newest) if newest else None

    @cached_property
    def _fresh_from(self) -> float:
        return (self.now - FRESH).timestamp()

    def memory_shares(self) -> Iterable[float]:
        for device in self.devices:
            card = card_mib(self.pool_nodes[device.node])
            used = self.lately(device.memory_mib)
            if card and used is not None:
                yield used / card


def card_mib(node: Object) -> int | None:
    """Memory of one GPU of a node, as its labels tell; None where they do not."""
    found = labels(node)
    memory = found.get(layout.GPU_MEMORY_LABEL, "")
    if memory.isdecimal():
        return int(memory)
    models = [gpu for gpu in catalog.MODELS if gpu.karpenter_name == found.get(layout.GPU_NAME_LABEL)]
    return models[0].memory_mib if len(models) == 1 else None


def _unmeasured(pod: Object) -> Past:
    at = started(pod)
    return Past(int((at + STARTING).timestamp()) if at else 0, {}, {}, Grade.NONE, {}, {})


def _weakest(pods: Iterable[PodUse]) -> Grade:
    grades = {pod.grade for pod in pods if pod.has_history}
    return Grade.DEVICE if Grade.DEVICE in grades else Grade.POD if grades else Grade.NONE


def _from(points: Points, since: int) -> Points:
    """The same object where all of it is: pods that came before the window share one."""
    if not points or min(points) >= since:
        return points
    return {at: value for at, value in points.items() if at >= since}


def _key(pod: Object) -> tuple[str, str]:
    return pod["metadata"].get("namespace", "default"), name(pod)


def started(pod: Object) -> datetime | None:
    return moment(status(pod).get("startTime")) or created_at(pod)
