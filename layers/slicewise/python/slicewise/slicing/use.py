"""
What was measured of one NodePool, from series as their source names them. Pure.

Evidence that is missing, stale, partial or contradictory only ever makes a pod look larger, and is told.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from slicewise import catalog, layout
from slicewise.actions import Finding
from slicewise.model import ClusterContents, Object, Series
from slicewise.objects import created_at, labels, name, spec, status
from slicewise.slicing import container_insights, dcgm
from slicewise.slicing.evidence import Grade, PodUse, measure
from slicewise.slicing.problems import told
from slicewise.slicing.series import Device, PodPoints, Points, Readings, highest

# What to ask a source for: ten-minute points, of which a day of a pod's history has 144.
STEP = timedelta(minutes=10)
WINDOW = timedelta(days=7)
# A pod loads its model first: neither as idle nor as busy as it will be.
STARTING = timedelta(minutes=10)
FRESH = timedelta(hours=1)

PROMETHEUS, CONTAINER_INSIGHTS = "prometheus", "container-insights"


@dataclass(frozen=True)
class PoolUse:
    """
    Attributes:
        pods: One for every pod that is on the NodePool's nodes now, measured or not, named "namespace/pod".
        grade: The weakest of the pods that have a history; NONE where no pod has one. Without a full day of
            history a pod counts as a whole GPU: a lower N that rests on such pods rests on no measurement.
        device_peaks: Highest memory in MiB over the window, by "node/gpu".
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
    series: Sequence[Series], source: str, contents: ClusterContents, now: datetime, node_pool: str
) -> PoolUse:
    """
    Args:
        series: What `ports.Metrics.read` gave for (now − WINDOW, now, STEP).
        source: As the policy says: "container-insights", "prometheus" or "none".
    """
    readings = read(series, source, contents)
    window = Window(readings, contents, node_pool, now)
    pods = tuple(window.use(pod) for pod in window.pods)
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


def read(series: Sequence[Series], source: str, contents: ClusterContents) -> Readings:
    """The series of any source, in one shape."""
    if source == PROMETHEUS:
        nodes = {name(node) for node in contents.nodes}
        return dcgm.read(series, nodes, {_key(pod): spec(pod).get("nodeName", "") for pod in contents.pods})
    return container_insights.read(series) if source == CONTAINER_INSIGHTS else Readings()


@dataclass(frozen=True)
class _Past:
    """What is known of one pod: from when on it counts, and its points by second."""

    since: int
    busy: Points
    memory_mib: Points
    grade: Grade

    @cached_property
    def last(self) -> int:
        return max(self.busy, default=self.since)


@dataclass(frozen=True)
class Window:
    """One NodePool's pods, nodes and GPUs, looked at from `now`."""

    readings: Readings
    contents: ClusterContents
    node_pool: str
    now: datetime

    @cached_property
    def pool_nodes(self) -> dict[str, Object]:
        return {
            name(node): node
            for node in self.contents.nodes
            if labels(node).get(layout.NODE_POOL_LABEL) == self.node_pool
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

    def use(self, pod: Object) -> PodUse:
        """The pod's own past, continued backwards by that of its workload's other pods."""
        called, past = "/".join(_key(pod)), self.pasts[_key(pod)]
        if past is None:
            return PodUse(called, math.nan, grade=Grade.NONE)
        elders = self._elders(pod, past)
        busy = [*_lifetime(elders, self.step, before=past.since), *_samples(past, self.step)]
        memory = [value for one in (past, *elders) for value in one.memory_mib.values()]
        grade = Grade.DEVICE if any(one.grade is Grade.DEVICE for one in (past, *elders)) else past.grade
        stale = self.now.timestamp() - (past.last + self.step)
        return measure(called, busy, memory, step_seconds=self.step, stale_seconds=stale, grade=grade)

    @cached_property
    def pasts(self) -> dict[tuple[str, str], _Past | None]:
        return {_key(pod): self._past(pod) for pod in self.pods}

    def _past(self, pod: Object) -> _Past | None:
        node = spec(pod)["nodeName"]
        at = started(pod)
        since = int((at + STARTING).timestamp()) if at else 0
        measured = self._measured.get(_key(pod))
        if measured and node not in self._collapsed:
            since = max(since, _first(self.readings.pods))
            return _Past(since, _from(measured.busy, since), _from(measured.memory_mib, since), Grade.POD)
        return self._share(node, max(since, _first(self.devices)))

    def _share(self, node: str, since: int) -> _Past | None:
        """
        A pod's part of its node's GPUs. Nobody says which GPU it is on: the part of the fullest and the
        busiest one counts, so that it is rather more than less.
        """
        devices = [device for device in self.devices if device.node == node]
        if not devices:
            return None
        busy: dict[int, float] = {}
        memory: dict[int, float] = {}
        alone = len(devices) == 1 and node in self.readings.slots_in_use
        for device in devices:
            sharers = {at: self.sharers(device, at) for at in {**device.busy, **device.memory_mib}}
            busy = highest(busy, {at: value / sharers[at] for at, value in device.busy.items()})
            memory = highest(memory, {at: value / sharers[at] for at, value in device.memory_mib.items()})
            alone = alone and all(count == 1 for at, count in sharers.items() if at >= since)
        # Whoever has a GPU to itself is measured by it.
        grade = Grade.POD if alone else Grade.DEVICE
        return _Past(since, _from(busy, since), _from(memory, since), grade)

    def sharers(self, device: Device, at: int) -> int:
        """How many pods were on the GPU then: rather too few, since they share its use among them."""
        if at in device.sharers:
            return max(1, int(device.sharers[at]))
        slots = self.readings.slots_in_use.get(device.node, {})
        count = slots[at] if at in slots else self._there(device.node, at)
        return max(1, int(count) // self._gpus[device.node])

    @cached_property
    def _gpus(self) -> Mapping[str, int]:
        """GPUs by node."""
        return Counter(device.node for device in self.devices)

    def _there(self, node: str, at: int) -> int:
        """Pods that are on the node now and had started by then."""
        return sum(1 for start in self._starts.get(node, ()) if start <= at)

    @cached_property
    def _starts(self) -> dict[str, list[float]]:
        starts: dict[str, list[float]] = {}
        for pod in self.pods:
            if at := started(pod):
                starts.setdefault(spec(pod)["nodeName"], []).append(at.timestamp())
        return starts

    @cached_property
    def _measured(self) -> dict[tuple[str, str], PodPoints]:
        measured: dict[tuple[str, str], PodPoints] = {}
        for one in self.readings.pods:
            before = measured.get((one.namespace, one.pod))
            if before:
                # On several GPUs, or on another node under the same name (StatefulSet): the larger counts.
                one = replace(
                    one,
                    busy=highest(before.busy, one.busy),
                    memory_mib=highest(before.memory_mib, one.memory_mib),
                )
            measured[one.namespace, one.pod] = one
        return measured

    @property
    def names_some(self) -> bool:
        """Whether some pods have series of their own and others on the same node have none."""
        named = {spec(pod)["nodeName"] for pod in self.pods if _key(pod) in self._measured}
        return bool(named & self._collapsed)

    @cached_property
    def _collapsed(self) -> frozenset[str]:
        """Nodes where some pods have no series of their own: what one is labelled with may be all of them."""
        settled = self.now - FRESH
        return frozenset(
            spec(pod)["nodeName"]
            for pod in self.pods
            if (at := started(pod)) and at < settled
            if self.lately(self._points(_key(pod)).memory_mib) is None
        ) | {device.node for device in self.devices if device.fault}

    def _points(self, key: tuple[str, str]) -> PodPoints:
        return self._measured.get(key) or PodPoints(*key, "", "", {}, {})

    def _elders(self, pod: Object, past: _Past) -> list[_Past]:
        """The pasts of the same workload's pods, of those that are gone, too, on the same model of GPU."""
        workload = _siblings_pattern(pod)
        if workload is None:
            return []
        key = _key(pod)
        elders = [
            other
            for other_pod in self.pods
            if (other_key := _key(other_pod)) != key
            and other_key[0] == key[0]
            and workload.fullmatch(other_key[1])
            and (other := self.pasts[other_key])
        ]
        if past.grade is Grade.POD:
            elders += [
                _Past(min(gone.busy), gone.busy, gone.memory_mib, Grade.POD)
                for (namespace, called), gone in self._measured.items()
                if namespace == key[0] and (namespace, called) not in self.pasts and gone.busy
                if workload.fullmatch(called) and gone.model in self._models
            ]
        return [elder for elder in elders if elder.since < past.since]

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


def _samples(past: _Past, step: int) -> list[float]:
    """One a step from the pod's first that counts to its last; NaN where it was not measured."""
    first = -(-past.since // step) * step
    return [past.busy.get(at, math.nan) for at in range(first, past.last + 1, step)] if past.busy else []


def _lifetime(elders: Collection[_Past], step: int, before: int) -> list[float]:
    """
    What the busiest pod of a workload did, at every step at which it had one.

    Steps between two of its pods' lives are left out: asleep is not unmeasured. A step within a life without
    a measurement stays missing.
    """
    alive: dict[int, float] = {}
    for elder in elders:
        first = -(-elder.since // step) * step
        for at, value in zip(range(first, elder.last + 1, step), _samples(elder, step), strict=False):
            if at < before:
                known = alive.get(at, math.nan)
                alive[at] = value if math.isnan(known) else max(known, value) if value == value else known
    return [alive[at] for at in sorted(alive)]


def _siblings_pattern(pod: Object) -> re.Pattern[str] | None:
    """
    Names of the pods of the same workload; None for a pod of its own.

    The controllers' own names: a ReplicaSet's pods end in five letters, a Deployment's ReplicaSets in the
    hash of their template. A StatefulSet's pods keep their names.
    """
    owner = next((one for one in pod["metadata"].get("ownerReferences") or () if one.get("controller")), None)
    if owner is None:
        return None
    base = re.escape(owner["name"])
    template = labels(pod).get("pod-template-hash")
    if owner["kind"] == "ReplicaSet" and template and owner["name"].endswith(f"-{template}"):
        base = re.escape(owner["name"].removesuffix(f"-{template}")) + "-[0-9a-z]{1,10}"
    return re.compile(base + "-(?:[0-9a-z]{5}|[0-9]+)")


def _weakest(pods: Iterable[PodUse]) -> Grade:
    grades = {pod.grade for pod in pods if pod.has_history}
    return Grade.DEVICE if Grade.DEVICE in grades else Grade.POD if grades else Grade.NONE


def _first(measured: Iterable[Device | PodPoints]) -> int:
    """When a source began to tell anything of the kind: what nobody measured before is not missing."""
    return min((min(one.memory_mib) for one in measured if one.memory_mib), default=0)


def _from(points: Points, since: int) -> dict[int, float]:
    return {at: value for at, value in points.items() if at >= since}


def _key(pod: Object) -> tuple[str, str]:
    return pod["metadata"].get("namespace", "default"), name(pod)


def started(pod: Object) -> datetime | None:
    stamp = status(pod).get("startTime")
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")) if stamp else created_at(pod)
