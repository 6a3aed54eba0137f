"""
What was measured of one NodePool, from series as their source names them. Pure.

Evidence that is missing, stale, partial or contradictory only ever makes a pod look larger, and is told.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from slicewise import catalog, layout
from slicewise.model import ClusterContents, Object, Series
from slicewise.objects import controller_of, created_at, labels, moment, name, spec, status
from slicewise.outcomes import Finding
from slicewise.slicing import container_insights, dcgm
from slicewise.slicing.evidence import Grade, PodUse, measure
from slicewise.slicing.pasts import Line, Past, samples
from slicewise.slicing.problems import told
from slicewise.slicing.series import Device, PodPoints, Points, Readings, first_of, highest

# What to ask a source for: ten-minute points, of which a day of a pod's history has 144.
STEP = timedelta(minutes=10)
WINDOW = timedelta(days=7)
# A pod loads its model first: neither as idle nor as busy as it will be.
STARTING = timedelta(minutes=10)
FRESH = timedelta(hours=1)

# What a catalog, a driver and EC2 call the memory of a card differs by a few percent.
_CARD_SLACK = 1.1
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
    readings: Readings, source: str, contents: ClusterContents, now: datetime, node_pool: str
) -> PoolUse:
    """
    Args:
        readings: Of the whole cluster, over WINDOW.
        source: As the policy says: "container-insights", "prometheus" or "none".
    """
    window = Window(readings, contents, frozenset({node_pool}), now)
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


def read(series: Sequence[Series], source: str, contents: ClusterContents) -> Readings:
    """
    The series of any source, in one shape: once a pass, however many NodePools there are.

    Args:
        series: What `ports.Metrics.read` gave for (now − WINDOW, now, STEP).
    """
    if source == PROMETHEUS:
        nodes = {name(node) for node in contents.nodes}
        pods = {_key(pod): spec(pod).get("nodeName", "") for pod in contents.pods}
        return _possible(dcgm.read(series, nodes, pods), contents)
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
        """One a pod, by name. Who began first is measured first: so each life is looked at once."""
        pasts = {key: past for key, past in self.pasts.items() if past}
        by_age = sorted((pod for pod in self.pods if _key(pod) in pasts), key=lambda p: pasts[_key(p)].since)
        found = {_key(pod): self._use(pod, pasts[_key(pod)]) for pod in by_age}
        return tuple(
            found.get(_key(pod)) or PodUse("/".join(_key(pod)), math.nan, grade=Grade.NONE)
            for pod in self.pods
        )

    def _use(self, pod: Object, past: Past) -> PodUse:
        """The pod's own past, continued backwards by that of its workload's other pods."""
        line = self._line(pod, past)
        lived = line.until(past.since) if line else 0
        # Pods that share a node, and came to it before the window began, have one past.
        alike = (id(past.busy), id(past.memory_mib), past.since, id(line) if lived else None, lived)
        if alike not in self._alike:
            self._alike[alike] = self._measure(past, line if lived else None)
        return replace(self._alike[alike], name="/".join(_key(pod)))

    def _measure(self, past: Past, line: Line | None) -> PodUse:
        busy, memory, grade = samples(past, self.step), [*past.memory_mib.values()], past.grade
        if line:
            busy, memory = [*line.busy(past.since), *busy], [*memory, *line.memory_mib]
            grade = Grade.DEVICE if line.estimated else grade
        stale = self.now.timestamp() - (past.last + self.step)
        return measure("", busy, memory, step_seconds=self.step, stale_seconds=stale, grade=grade)

    @cached_property
    def _alike(self) -> dict[tuple[object, ...], PodUse]:
        return {}

    @cached_property
    def pasts(self) -> dict[tuple[str, str], Past | None]:
        return {_key(pod): self._past(pod) for pod in self.pods}

    def _past(self, pod: Object) -> Past | None:
        node = spec(pod)["nodeName"]
        at = started(pod)
        since = int((at + STARTING).timestamp()) if at else 0
        measured = self.readings.by_pod.get(_key(pod))
        if measured and node not in self._collapsed:
            since = max(since, self.readings.pods_since)
            return Past(since, _from(measured.busy, since), _from(measured.memory_mib, since), Grade.POD)
        return self._share(node, max(since, self._devices_since))

    @cached_property
    def _devices_since(self) -> int:
        return first_of(self.devices)

    def _share(self, node: str, since: int) -> Past | None:
        if node not in self._shares:
            return None
        busy, memory, shared_last = self._shares[node]
        # Whoever has a GPU to itself is measured by it.
        grade = Grade.POD if shared_last < since else Grade.DEVICE
        return Past(since, _from(busy, since), _from(memory, since), grade)

    @cached_property
    def _shares(self) -> dict[str, tuple[Points, Points, float]]:
        """
        By node: busy and memory of a pod's part of its GPUs, and when another pod was last seen on them.

        Nobody says which GPU a pod is on: the part of the fullest and the busiest one counts, so that it is
        rather more than less.
        """
        shares: dict[str, tuple[Points, Points, float]] = {}
        for device in self.devices:
            sharers = {at: self.sharers(device, at) for at in {**device.busy, **device.memory_mib}}
            busy = {at: value / sharers[at] for at, value in device.busy.items()}
            memory = {at: value / sharers[at] for at, value in device.memory_mib.items()}
            shared_last: float = max((at for at, count in sharers.items() if count != 1), default=-1)
            if self._gpus[device.node] > 1 or device.node not in self.readings.slots_in_use:
                shared_last = math.inf
            if device.node in shares:
                busy, memory = highest(shares[device.node][0], busy), highest(shares[device.node][1], memory)
            shares[device.node] = busy, memory, shared_last
        return shares

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

    @property
    def names_some(self) -> bool:
        """Whether some pods have series of their own and others on the same node have none."""
        named = {spec(pod)["nodeName"] for pod in self.pods if _key(pod) in self.readings.by_pod}
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
        return self.readings.by_pod.get(key) or PodPoints(*key, "", "", {}, {})

    def _line(self, pod: Object, past: Past) -> Line | None:
        """
        The pods of the same workload; for one that is measured itself also those that are gone, on the same
        model of GPU.
        """
        workload = _siblings_pattern(pod)
        if workload is None:
            return None
        namespace, with_gone = _key(pod)[0], past.grade is Grade.POD
        key = namespace, workload.pattern, with_gone
        if key not in self._lines:
            members = [
                other
                for (its, called), other in self.pasts.items()
                if other and its == namespace and workload.fullmatch(called)
            ]
            members += [
                Past(min(gone.busy), gone.busy, gone.memory_mib, Grade.POD)
                for (its, called), gone in self.readings.by_pod.items()
                if with_gone and its == namespace and (its, called) not in self.pasts and gone.busy
                if workload.fullmatch(called) and gone.model in self._models
            ]
            self._lines[key] = Line(members, self.step)
        return self._lines[key]

    @cached_property
    def _lines(self) -> dict[tuple[str, str, bool], Line]:
        return {}

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


def _siblings_pattern(pod: Object) -> re.Pattern[str] | None:
    """
    Names of the pods of the same workload; None for a pod of its own.

    The controllers' own names: a ReplicaSet's pods end in five letters, a Deployment's ReplicaSets in the
    hash of their template. A StatefulSet's pods keep their names.
    """
    owner = controller_of(pod)
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


def _from(points: Points, since: int) -> Points:
    """The same object where all of it is: pods that came before the window share one."""
    if not points or min(points) >= since:
        return points
    return {at: value for at, value in points.items() if at >= since}


def _key(pod: Object) -> tuple[str, str]:
    return pod["metadata"].get("namespace", "default"), name(pod)


def started(pod: Object) -> datetime | None:
    return moment(status(pod).get("startTime")) or created_at(pod)
