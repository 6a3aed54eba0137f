"""
What was measured of one NodePool, from series as their source names them. Pure.

Evidence that is missing, stale, partial or contradictory makes a pod look larger where N may rise by it, and
smaller where N must fall by it (evidence.py); and it is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from slicewise.hardware import gpus
from slicewise.kube.objects import created_at, labels, moment, name, spec, status
from slicewise.kube.ref import Object, Ref
from slicewise.model.cluster import ClusterContents, Series
from slicewise.planning.outcome import Finding
from slicewise.pools import layout
from slicewise.tuning.usage import container_insights, dcgm, otel_insights
from slicewise.tuning.usage.evidence import Grade, PodUse
from slicewise.tuning.usage.gpus import joined, with_devices
from slicewise.tuning.usage.history import (
    NOTHING,
    History,
    Life,
    StoredHistory,
    WorkloadKey,
    add,
    alone_mib,
    cron_job_of,
    key_of,
    pruned,
    settled,
    use_of,
    video_since,
)
from slicewise.tuning.usage.pod_history import PodHistory
from slicewise.tuning.usage.points import STEP_SECONDS, first_at
from slicewise.tuning.usage.points import since as values_since
from slicewise.tuning.usage.quality import findings_of
from slicewise.tuning.usage.readings import Device, PodPoints, Points, Readings, first_of
from slicewise.tuning.usage.shares import Sharing
from slicewise.tuning.usage.video import concentrated
from slicewise.tuning.usage.workloads import made_by, workload_of

# What to ask a source for: ten-minute points, of which a day of a pod's history has 144.
STEP = timedelta(minutes=10)
WINDOW = timedelta(days=7)
# A pod loads its model first: neither as idle nor as busy as it will be.
STARTING = timedelta(minutes=10)
FRESH = timedelta(hours=1)

# Contexts of pods and what the driver keeps are counted once for each of them that was alone.
_ALONE_SLACK = 1.05
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
        findings_of(readings, source, window.devices, window.pool_nodes, node_pool, window.names_some, now),
    )


@dataclass(frozen=True)
class Measured:
    """
    What a reconcile knows once it has read what is new.

    Attributes:
        history: With all that was read; `saved` without the newest steps, which a source may still add to.
        readings: Those of the reconcile, with the last day of each GPU.
    """

    history: History
    saved: History
    readings: Readings


def measured(before: History, readings: Readings, contents: ClusterContents, now: datetime) -> Measured:
    """
    Args:
        before: What the previous reconcile has saved.
        readings: From its last step on, or earlier.
    """
    newest = int(now.timestamp()) // STEP_SECONDS * STEP_SECONDS
    if not before.workloads:
        before = replace(before, through=None)
    devices = joined(before, readings.devices, {name(node) for node in contents.nodes}, newest)
    node_pools = {labels(node).get(layout.NODE_POOL_LABEL, "") for node in contents.nodes}
    window = Window(readings.of_gpus(devices), contents, frozenset(node_pools), now, before)
    lives, roster = window.lives(), window.roster()
    video = video_since(before, readings.video_since)
    there = {known.key for known in roster.values()}
    added = add(pruned(before, now, WINDOW, there), lives, settled(now), video=video)
    kept = replace(added, pods=roster)
    whole = with_devices(add(kept, lives, newest, whole=False, video=video), devices, newest)
    of_gpus = tuple(whole.devices.values())
    away = frozenset(whole.devices.keys() - {device.key for device in readings.devices})
    return Measured(whole, with_devices(kept, devices, settled(now)), window.readings.of_gpus(of_gpus, away))


def read(
    series: Iterable[Series], source: str, contents: ClusterContents, *, with_gone: bool = False
) -> Readings:
    """
    The series of any source, in one shape: once a reconcile, however many NodePools there are.

    Args:
        series: What `ports.Metrics.read` gave for (now − WINDOW, now, STEP).
        with_gone: Also GPUs of nodes that are there no more. Container Insights has them among the others.
    """
    if source in (PROMETHEUS, CONTAINER_INSIGHTS_OTEL):
        nodes = {name(node) for node in contents.nodes}
        pods = {_key(pod): spec(pod).get("nodeName", "") for pod in contents.pods}
        of_dcgm = dcgm if source == PROMETHEUS else otel_insights
        return _possible(of_dcgm.read(series, nodes, pods, with_gone=with_gone), contents)
    if source == CONTAINER_INSIGHTS:
        return _possible(_with_slots(container_insights.read(series)), contents)
    return Readings()


def _with_slots(readings: Readings) -> Readings:
    """Each GPU with the count of pods on its node, which is saved for as long as what it did."""
    fewest, most = readings.slots_in_use, readings.most_slots
    return replace(
        readings,
        devices=tuple(
            replace(device, fewest=fewest.get(device.node, {}), most=most.get(device.node, {}))
            for device in readings.devices
        ),
    )


def _possible(readings: Readings, contents: ClusterContents) -> Readings:
    """More memory than the card has is no measurement: one such value would lower N at once."""
    most = {name(node): (card_mib(node) or math.inf) * _CARD_SLACK for node in contents.nodes}
    left_out = 0

    def kept(one: Any) -> Any:
        nonlocal left_out
        bound = most.get(one.node, math.inf)
        odd = [value for value in one.memory_mib.values() if value > bound]
        left_out += len(odd)
        if not odd:
            return one
        return replace(one, memory_mib={at: v for at, v in one.memory_mib.items() if v <= bound})

    devices, pods = tuple(map(kept, readings.devices)), tuple(map(kept, readings.pods))
    return replace(readings, devices=devices, pods=pods, impossible=readings.impossible + left_out)


@dataclass(frozen=True)
class Window:
    """Pods, nodes and GPUs of one NodePool, or of a pool's together, as of `now`."""

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
        on = self.contents.pods_by_node
        return tuple(sorted((pod for node in self.pool_nodes for pod in on.get(node, ())), key=_key))

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        return tuple(device for device in self.readings.devices if device.node in self.pool_nodes)

    @cached_property
    def step(self) -> int:
        return int(STEP.total_seconds())

    def uses(self) -> tuple[PodUse, ...]:
        """One a pod, by name: what was measured of its workload, on its model of GPU."""
        found = {key: self._use(key) for key in {self.key_of(pod) for pod in self.pods}}
        return tuple(replace(found[self.key_of(pod)], name="/".join(_key(pod))) for pod in self.pods)

    def _use(self, key: WorkloadKey) -> PodUse:
        found = use_of(self.history, key, self.now, WINDOW) or PodUse("", math.nan, grade=Grade.NONE)
        alone = self._alone_mib.get(key)
        if found.grade is not Grade.DEVICE or alone is None or key in self._larger_than_alone:
            return found
        # What it needs is known from when no other pod was there, and is no less than its share since.
        return replace(found, grade=Grade.POD, memory_mib=max(alone, found.memory_mib))

    @cached_property
    def _alone_mib(self) -> Mapping[WorkloadKey, float]:
        """What each workload used while a pod of it had a GPU to itself, of those that had one for a day."""
        keys = {self.key_of(pod) for pod in self.pods}
        found = {key: alone_mib(self.history, key, self.now, WINDOW) for key in keys}
        return {key: mib for key, mib in found.items() if mib is not None}

    @cached_property
    def _larger_than_alone(self) -> frozenset[WorkloadKey]:
        """
        Workloads on GPUs that used more in the last day than their pods did alone: one of them needs more
        than it did then, and it is not known which.
        """
        on: dict[str, list[WorkloadKey]] = {}
        for pod in self.pods:
            on.setdefault(spec(pod)["nodeName"], []).append(self.key_of(pod))
        used: dict[str, float] = {}
        for device in self.devices:
            used[device.node] = used.get(device.node, 0.0) + max(device.memory_mib.values(), default=0.0)
        return frozenset(
            key
            for node, keys in on.items()
            if used.get(node, math.inf) > sum(self._alone_mib.get(key, 0.0) for key in keys) * _ALONE_SLACK
            for key in keys
        )

    def key_of(self, pod: Object) -> WorkloadKey:
        return self._key_by_pod[_key(pod)]

    @cached_property
    def _key_by_pod(self) -> Mapping[tuple[str, str], WorkloadKey]:
        """One object for all pods of a workload."""
        models = {on: labels(node).get(layout.GPU_NAME_LABEL, "") for on, node in self.pool_nodes.items()}
        known: dict[WorkloadKey, WorkloadKey] = {}
        found = ((_key(pod), key_of(pod, models[spec(pod)["nodeName"]])) for pod in self.pods)
        return {pod: known.setdefault(key, key) for pod, key in found}

    def lives(self) -> tuple[Life, ...]:
        """
        What the readings say of each pod that is there, and of those of their workloads that have ended.
        """
        there = (Life(self.key_of(pod), self._past(pod) or _unmeasured(pod)) for pod in self.pods)
        return _with_video((*there, *self._ended()))

    def _ended(self) -> Iterator[Life]:
        """
        What pods did that were there at the previous reconcile, or have come and gone since: those by their
        owner, these by a name that the controllers of a workload give, on the model of GPU that its series
        name.
        """
        for key, points in self.readings.by_pod.items():
            if not points.busy:
                continue
            began = self._began.get(key)
            known = self.history.pods.get(key)
            if known and (began is None or known.since < began):
                yield _life_of(known.key, points, known.since, began)
            elif began is None and (owner := self._owner_by_name(key, points.model)):
                yield _life_of(owner, points, min(points.busy), None)

    def _owner_by_name(self, key: tuple[str, str], model: str) -> WorkloadKey | None:
        namespace, gone = key
        labels_of_model = self._labels_by_model.get(model, set())
        if len(labels_of_model) != 1:
            return None
        (label,) = labels_of_model
        parent = gone.rpartition("-")[0]
        for called in (parent, parent.rpartition("-")[0]):
            for pod in self._owners.get((namespace, called), ()):
                if made_by(pod).fullmatch(gone):
                    return key_of(pod, label)
        return cron_job_of(namespace, parent, label, self.history)

    @cached_property
    def _owners(self) -> Mapping[tuple[str, str], list[Object]]:
        """A pod of each workload that is there, by the workload's namespace and name."""
        found: dict[tuple[str, str], dict[Ref, Object]] = {}
        for pod in self.pods:
            workload = workload_of(pod)
            found.setdefault((_key(pod)[0], workload.name), {}).setdefault(workload, pod)
        return {named: list(pods.values()) for named, pods in found.items()}

    @cached_property
    def _labels_by_model(self) -> Mapping[str, set[str]]:
        """What Karpenter calls the models that the source names: of GPUs that are there."""
        found: dict[str, set[str]] = {}
        for device in self.devices:
            label = labels(self.pool_nodes[device.node]).get(layout.GPU_NAME_LABEL, "")
            found.setdefault(device.model, set()).add(label)
        return found

    @cached_property
    def _began(self) -> Mapping[tuple[str, str], int]:
        """When each pod that is there, of any NodePool, started; 0 where that is not known."""
        return {_key(pod): _since(pod) for pod in self.contents.pods}

    def roster(self) -> Mapping[tuple[str, str], StoredHistory]:
        """Who is there now: the next reconcile finds what each did until it went."""
        return {_key(pod): StoredHistory(self.key_of(pod), _since(pod)) for pod in self.pods}

    def _past(self, pod: Object) -> PodHistory | None:
        node = spec(pod)["nodeName"]
        since = _since(pod)
        measured = self.readings.by_pod.get(_key(pod))
        if measured and node not in self._collapsed:
            since = since if self._goes_on else max(since, self.readings.pods_since)
            busy, memory = _from(measured.busy, since), _from(measured.memory_mib, since)
            return PodHistory.of_a_pod(since, busy, memory, measured.video, measured.gpu)
        return self._share(node, max(since, self._devices_since))

    @cached_property
    def _devices_since(self) -> int:
        return 0 if self._goes_on else first_of(self.devices)

    @property
    def _goes_on(self) -> bool:
        """The source had begun before these readings: what they lack at their beginning is a gap."""
        return self.history.through is not None

    def certain(self, pod: tuple[str, str], node: str, gpus: int = 1) -> tuple[Points, Points]:
        """
        GPUs and MiB that a pod used for certain, also of one that has ended; while it loaded its model, too,
        since that was paid for.

        Args:
            pod: Its namespace and name.
            gpus: How many it asked for: what it did on each is added up.
        """
        measured = self.readings.by_pod.get(pod)
        if measured and node not in self._collapsed:
            if gpus == 1:
                return measured.busy, measured.memory_mib
            each = self._on_each_gpu.get((*pod, node), ())
            return _added(one.busy for one in each), _added(one.memory_mib for one in each)
        share = self.sharing.by_node.get(node)
        if share is None:
            return {}, {}
        alone = {at: share.memory_mib[at] for at in share.alone if at in share.memory_mib}
        return share.measured_busy if gpus == 1 else _added([share.measured_busy] * gpus), alone

    @cached_property
    def _on_each_gpu(self) -> Mapping[tuple[str, str, str], Sequence[PodPoints]]:
        found: dict[tuple[str, str, str], list[PodPoints]] = {}
        for one in self.readings.pods:
            found.setdefault((one.namespace, one.pod, one.node), []).append(one)
        return found

    def _share(self, node: str, since: int) -> PodHistory | None:
        share = self.sharing.by_node.get(node)
        if share is None:
            return None
        busy, memory = _from(share.busy, since), _from(share.memory_mib, since)
        # Of its memory nothing is certain while others are on its GPU: they may have used all of it.
        certain = {at: memory[at] for at in share.alone if at in memory}
        measured = _from(share.measured_busy, since)
        return PodHistory(
            since,
            busy,
            memory,
            Grade.DEVICE,
            measured,
            certain,
            share.alone,
            share.counted_one,
            video=share.video,
        )

    @cached_property
    def sharing(self) -> Sharing:
        return Sharing(self.devices, self._starts, self.step)

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
        # Where nothing of the GPU is measured either, the source is away, and pods are distinguished as
        # before.
        measured = {device.node for device in self.devices if self.lately(device.memory_mib) is not None}
        return frozenset(
            spec(pod)["nodeName"]
            for pod in self.pods
            if (at := started(pod)) and at < settled and spec(pod)["nodeName"] in measured
            if self.lately(self._points(_key(pod)).memory_mib) is None
        ) | {device.node for device in self.devices if device.fault}

    def _points(self, key: tuple[str, str]) -> PodPoints:
        return self.readings.by_pod.get(key) or PodPoints(*key, "", "", {}, {})

    def lately(self, points: Points) -> float | None:
        """Mean of the points of the last hour, as far as there are any."""
        newest = values_since(points, self._fresh_from - self.step + 1)
        return sum(newest) / len(newest) if newest else None

    @cached_property
    def _fresh_from(self) -> int:
        return int((self.now - FRESH).timestamp())

    def memory_shares(self) -> Iterable[float]:
        for device in self.devices:
            card = card_mib(self.pool_nodes[device.node])
            used = self.lately(device.memory_mib)
            if card and used is not None:
                yield used / card


def card_mib(node: Object) -> int | None:
    """Memory of one GPU of a node, as its labels show it; None where they do not."""
    found = labels(node)
    memory = found.get(layout.GPU_MEMORY_LABEL, "")
    if memory.isdecimal():
        return int(memory)
    models = [gpu for gpu in gpus.MODELS if gpu.karpenter_name == found.get(layout.GPU_NAME_LABEL)]
    return models[0].memory_mib if len(models) == 1 else None


def _unmeasured(pod: Object) -> PodHistory:
    return PodHistory(_since(pod), {}, {}, Grade.NONE, {}, {})


def _since(pod: Object) -> int:
    """Second from which on it counts: not while it loads its model."""
    at = started(pod)
    return int((at + STARTING).timestamp()) if at else 0


def _life_of(key: WorkloadKey, points: PodPoints, since: int, until: int | None) -> Life:
    """Of one that has ended; `until` is when another of its name began."""

    def its(found: Points) -> Points:
        last = math.inf if until is None else until - int(STARTING.total_seconds()) - STEP_SECONDS
        return {at: value for at, value in found.items() if since <= at <= last}

    busy, memory = its(points.busy), its(points.memory_mib)
    return Life(key, PodHistory.of_a_pod(since, busy, memory, points.video, points.gpu), is_there=False)


def _with_video(lives: tuple[Life, ...]) -> tuple[Life, ...]:
    """
    What was read of a GPU's encoders and decoders, given to one of its pods of each workload. Where a pod's
    GPU is not known, it stays with each of them.
    """
    on_gpu: dict[tuple[WorkloadKey, str, str], list[int]] = {}
    for number, life in enumerate(lives):
        for kind, use in life.past.video.items():
            if life.past.gpu and use.most:
                on_gpu.setdefault((life.key, life.past.gpu, kind), []).append(number)
    found = list(lives)
    for (_, _, kind), numbers in on_gpu.items():
        pasts = [found[number].past for number in numbers]
        uses = concentrated([(past.busy, past.video[kind]) for past in pasts])
        for number, past, use in zip(numbers, pasts, uses, strict=True):
            found[number] = replace(found[number], past=replace(past, video={**past.video, kind: use}))
    return tuple(found)


def _weakest(pods: Iterable[PodUse]) -> Grade:
    grades = {pod.grade for pod in pods if pod.has_history}
    return Grade.DEVICE if Grade.DEVICE in grades else Grade.POD if grades else Grade.NONE


def _from(points: Points, since: int) -> Points:
    """The same object where all of it is: pods that came before the window share one."""
    first = first_at(points)
    if first is None or first >= since:
        return points
    return {at: value for at, value in points.items() if at >= since}


def _added(found: Iterable[Points]) -> Points:
    total: dict[int, float] = {}
    for points in found:
        for at, value in points.items():
            total[at] = total.get(at, 0.0) + value
    return total


def _key(pod: Object) -> tuple[str, str]:
    return pod["metadata"].get("namespace", "default"), name(pod)


def started(pod: Object) -> datetime | None:
    return moment(status(pod).get("startTime")) or created_at(pod)
