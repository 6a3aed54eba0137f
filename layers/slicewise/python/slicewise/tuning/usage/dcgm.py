"""
Reads NVIDIA's dcgm-exporter as Prometheus keeps it. Pure.

What it does with slices (internal/pkg/transformation/kubernetes.go), and what is made of it:

* Without KUBERNETES_VIRTUAL_GPUS one series a GPU, labelled with the last of its pods.
* With it, before 4.5.3-4.8.2, one series a pod, each with the value of the whole GPU.
* With it since, GPU_UTIL and FB_USED by pod, from the pods' processes, *beside* the series of the GPU; all
  other fields are repeated. Without hostPID it finds no processes, and every pod reads 0.
* The label Hostname became hostname after 4.5.3-4.8.2. It is the node only where NODE_NAME is set.
* Without honorLabels, Prometheus calls the pod's labels exported_pod and exported_namespace, and `pod` is
  the exporter's own.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set

from slicewise.hardware.gpus import DECODERS, ENCODERS
from slicewise.model.cluster import Series
from slicewise.tuning.usage.points import covers, first_at, highest, known_at, laid_over
from slicewise.tuning.usage.readings import (
    Cleaner,
    Device,
    Fault,
    PodPoints,
    Points,
    Readings,
    note_incomplete,
)
from slicewise.tuning.usage.video import Attributed, Reading, attributed

MEMORY, KERNELS, ENGINE, XID = (
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "DCGM_FI_DEV_XID_ERRORS",
)
# Percent of all of a GPU's engines of the kind together.
VIDEO = {"DCGM_FI_DEV_ENC_UTIL": ENCODERS, "DCGM_FI_DEV_DEC_UTIL": DECODERS}
_NODE_LABELS = ("Hostname", "hostname", "node", "nodename", "kubernetes_node", "k8s_node_name", "instance")
# Below this, context and driver are most of a GPU's memory, and no process owns them.
_WORTH_ATTRIBUTING_MIB = 1024

_Pod = tuple[str, str]
_Gpu = tuple[str, str]
_NOTHING: Points = {}


class _Field:
    """One field of one GPU: the GPU's own series, and those labelled with a pod."""

    __slots__ = ("own", "pods")

    def __init__(self, own: Points = _NOTHING, pods: dict[_Pod, Points] | None = None):
        self.own, self.pods = own, {} if pods is None else pods

    def add(self, pod: _Pod | None, points: Points) -> None:
        """
        Containers of a pod have a series each, which all show what the pod uses: processes are attributed by
        the pod's uid (pidmapper.go). So they are no sum.
        """
        if pod is None:
            self.own = highest(self.own, points)
        else:
            self.pods[pod] = highest(self.pods.get(pod, _NOTHING), points)

    @property
    def whole(self) -> Points:
        """The GPU's: its own series, else the highest of its pods'."""
        if all(covers(self.own, pod) for pod in self.pods.values()):
            return self.own
        points: Points = _NOTHING
        for pod in self.pods.values():
            points = highest(points, pod)
        return laid_over(points, self.own)

    @property
    def steps(self) -> Set[int]:
        """Those in which anything was measured."""
        return known_at((self.own, *self.pods.values()))

    @property
    def sharers(self) -> dict[int, float]:
        counts: dict[int, float] = {}
        for points in self.pods.values():
            for at in points:
                counts[at] = counts.get(at, 0) + 1
        return counts


class _Gathered:
    """
    Series as they come, by GPU and field. Whether Prometheus renamed the pods' labels is known once all have
    come, so those that are labelled by the names that a rename would have freed are kept apart until then.
    """

    def __init__(self, nodes: Collection[str], node_of: Mapping[_Pod, str]):
        self._nodes = {node: node for node in nodes}
        self._node_of = node_of
        # One object for each pod, no matter how many series have its name.
        self._pods: dict[_Pod, _Pod] = {pod: pod for pod in node_of}
        self._renamed: dict[_Gpu, dict[str, _Field]] = {}
        self._plain: dict[_Gpu, dict[str, _Field]] = {}
        self._homeless: list[tuple[Mapping[str, str], str, Points]] = []
        self.models: dict[_Gpu, str] = {}

    def add(self, name: str, labels: Mapping[str, str], points: Points) -> None:
        node = _node(labels, self._nodes)
        if node:
            self._put(node, name, labels, points)
        else:
            self._homeless.append((labels, name, points))

    def _put(self, node: str, name: str, labels: Mapping[str, str], points: Points) -> None:
        gpu = node, _gpu(labels)
        is_renamed = bool(labels.get("exported_pod"))
        fields = self._renamed if is_renamed else self._plain
        pod = _pod(labels, is_renamed)
        of_gpu = fields.get(gpu)
        if of_gpu is None:
            of_gpu = fields[gpu] = {}
        if name not in of_gpu:
            of_gpu[name] = _Field()
        of_gpu[name].add(self._pods.setdefault(pod, pod) if pod else None, points)
        self.models[gpu] = sys.intern(labels.get("modelName", ""))

    def fields(self) -> Iterator[tuple[_Gpu, Mapping[str, _Field]]]:
        """Of each GPU, in order; those that have been yielded are dropped."""
        renamed = bool(self._renamed) or any(labels.get("exported_pod") for labels, *_ in self._homeless)
        for labels, name, points in self._homeless:
            pod = _pod(labels, renamed)
            node = self._node_of.get(pod or ("", "")) or _stranger(labels)
            self._put(node, name, labels, points)
        self._homeless.clear()
        for gpu in sorted(self._renamed.keys() | self._plain.keys()):
            found = self._renamed.pop(gpu, {})
            for name, plain in self._plain.pop(gpu, {}).items():
                if not renamed:
                    found[name] = plain
                    continue
                # What is labelled with a pod here is labelled with the exporter's.
                field = found.setdefault(name, _Field())
                for points in (plain.own, *plain.pods.values()):
                    field.add(None, points)
            yield gpu, found


def read(
    series: Iterable[Series],
    nodes: Collection[str],
    node_of: Mapping[tuple[str, str], str],
    *,
    all_are_kept: bool = False,
    with_gone: bool = False,
) -> Readings:
    """
    Args:
        series: Taken one by one; none of them stays in memory.
        nodes: Names of the cluster's GPU nodes, by which the label that has the node is recognised.
        node_of: Node by (namespace, pod), for series that name no node.
        all_are_kept: Nothing drops series on the way here. Then a GPU has its own beside those of its pods,
            or it has one series, which is labelled with its pods in turn.
        with_gone: Also the GPUs of nodes that are there no more, apart from the others.
    """
    cleaner, incomplete = Cleaner(), dict[str, None]()
    gathered, video = _Gathered(nodes, node_of), _Video()
    for one in note_incomplete(series, incomplete):
        points = _points(one, cleaner)
        if points is None:
            continue
        if one.name in VIDEO and _is_count(one):
            video.count(VIDEO[one.name], one.labels.get("modelName", ""), points)
        else:
            gathered.add(sys.intern(one.name), one.labels, points)
    devices, gone, pods = [], [], []
    for (node, gpu), found in video.informed(gathered):
        model = gathered.models[node, gpu]
        device, pods_of_gpu = _judge(node, gpu, model, found, all_are_kept, video.of(model, found))
        # Of a deleted node only its pods are of interest, as the past of those that run now.
        if node in nodes:
            devices.append(device)
        elif with_gone:
            gone.append(device)
        pods += pods_of_gpu
    return Readings(
        tuple(devices),
        tuple(pods),
        gone=tuple(gone),
        impossible=cleaner.impossible,
        incomplete=tuple(incomplete),
        video_since=video.since,
    )


class _Video:
    """
    What GPUs' encoders and decoders did. A source may leave out those that rest: then it says of how many
    GPUs of each model it has a value (gateways/prometheus.py), and only where these are all that were
    measured, one without a value has rested.

    Attributes:
        counts: By kind and model, of how many GPUs there was a value in each step.
        since: The first second with any value, by kind.
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], dict[int, float]] = {}
        self.since: dict[str, int] = {}
        self._measured: dict[str, Counter[int]] = {}
        self._rested: dict[tuple[str, str], frozenset[int]] = {}

    def count(self, kind: str, model: str, points: Points) -> None:
        self.counts.setdefault((kind, model), {}).update(points)
        self._begin(kind, points)

    def _begin(self, kind: str, points: Points) -> None:
        first = first_at(points)
        if first is not None:
            self.since[kind] = min(first, self.since.get(kind, first))

    def informed(self, gathered: _Gathered) -> Iterable[tuple[_Gpu, Mapping[str, _Field]]]:
        """The GPUs, once it is known how many were measured, where that is compared with a count."""
        if not self.counts:
            return gathered.fields()
        of_gpus = list(gathered.fields())
        for key, found in of_gpus:
            # A MIG instance has no such value: NVML does not have it of a GPU that is cut.
            if "/" not in key[1] and MEMORY in found:
                measured = self._measured.setdefault(gathered.models[key], Counter())
                measured.update(dict.fromkeys(found[MEMORY].steps, 1))
        return of_gpus

    def of(self, model: str, found: Mapping[str, _Field]) -> dict[str, Reading]:
        readings = {}
        for name, kind in VIDEO.items():
            if name in found:
                points = found[name].whole
                self._begin(kind, points)
                busy = {at: value for at, value in points.items() if value > 0}
                resting = frozenset(at for at, value in points.items() if value <= 0)
                readings[kind] = Reading(busy, resting | self._all_rested(kind, model))
            elif (kind, model) in self.counts:
                readings[kind] = Reading(resting=self._all_rested(kind, model))
        return readings

    def _all_rested(self, kind: str, model: str) -> frozenset[int]:
        """Steps in which every GPU of the model has a value, so that one without has been left out."""
        if (kind, model) not in self._rested:
            measured: Mapping[int, int] = self._measured.get(model, {})
            counts = self.counts.get((kind, model), {})
            self._rested[kind, model] = frozenset(
                at for at, count in counts.items() if count >= measured.get(at, 0)
            )
        return self._rested[kind, model]


def _points(series: Series, cleaner: Cleaner) -> Points | None:
    if series.name == MEMORY:
        return cleaner.memory_mib(series, 1)
    if series.name in VIDEO and _is_count(series):
        return cleaner.counts(series)
    if series.name == KERNELS or series.name in VIDEO:
        return cleaner.busy(series, 100)
    if series.name == ENGINE:
        return cleaner.busy(series, 1)
    return cleaner.counts(series) if series.name == XID else None


def _is_count(series: Series) -> bool:
    """Whether it says of how many GPUs of a model there is a value, not what one of them did."""
    return not series.labels.keys() - {"modelName"}


def _pod(labels: Mapping[str, str], renamed: bool) -> _Pod | None:
    if renamed:
        name, namespace = labels.get("exported_pod"), labels.get("exported_namespace", "")
    else:
        # pod_name: --use-old-namespace.
        name = labels.get("pod") or labels.get("pod_name")
        namespace = labels.get("namespace") or labels.get("pod_namespace") or ""
    # Where nothing is attributed, `pod` may still be the exporter's, put there by the scrape.
    return (namespace, name) if name and "dcgm-exporter" not in name else None


def _node(labels: Mapping[str, str], nodes: Mapping[str, str]) -> str:
    """The known node that a label names, also as host:port; "" where none does."""
    for label in _NODE_LABELS:
        value = labels.get(label)
        if value and (found := nodes.get(value) or nodes.get(value.rpartition(":")[0])):
            return found
    return ""


def _stranger(labels: Mapping[str, str]) -> str:
    """A deleted node, or an exporter that does not know its node."""
    return labels.get("Hostname") or labels.get("hostname", "")


def _gpu(labels: Mapping[str, str]) -> str:
    gpu = labels.get("gpu") or labels.get("device") or labels.get("UUID", "")
    instance = labels.get("GPU_I_ID")
    return f"{gpu}/{instance}" if instance else gpu


def _judge(
    node: str,
    gpu: str,
    model: str,
    found: Mapping[str, _Field],
    all_are_kept: bool,
    video: Mapping[str, Reading],
) -> tuple[Device, list[PodPoints]]:
    memory, kernels = found.get(MEMORY, _Field()), found.get(KERNELS, _Field())
    fault = _fault(memory, all_are_kept)
    whole = memory.whole if memory.own or fault or all_are_kept else _sum(memory)
    # The engine's counter says how long kernels ran, as GPU_UTIL does, but does not round up to "some ran".
    busy = found[ENGINE].whole if ENGINE in found else kernels.whole
    device = Device(
        node,
        gpu,
        busy,
        whole,
        found.get(XID, _Field()).whole,
        memory.sharers if fault else {},
        fault,
        model,
        video=video,
    )
    if fault:
        return device, []
    its: dict[str, Attributed] = {}
    if video:
        sharers = memory.sharers
        its = {kind: attributed(reading, sharers) for kind, reading in video.items()}
    return device, [
        PodPoints(*pod, node, model, kernels.pods.get(pod, {}), points, device.key, its)
        for pod, points in memory.pods.items()
    ]


def _takes_turns(memory: _Field) -> bool:
    """
    Whether the GPU's one series is labelled now with one of its pods and then with another: the exporter
    takes the last that the kubelet lists, which promises no order. A pod that only comes after another shares
    one step with it at most.
    """
    shared = sum(count > 1 and at not in memory.own for at, count in memory.sharers.items())
    return 0 < len(memory.pods) <= shared


def _fault(memory: _Field, all_are_kept: bool) -> Fault | None:
    """Whether the values by pod are real, from all moments at which they could be distinguished."""
    if all_are_kept and _takes_turns(memory):
        return Fault.COLLAPSED
    shared, repeated, used, unattributed = 0, 0, 0, 0
    by_pod: dict[int, list[float]] = {}
    for points in memory.pods.values():
        for at, value in points.items():
            by_pod.setdefault(at, []).append(value)
    whole = memory.own if all_are_kept else memory.whole
    for at, total in whole.items():
        values = by_pod.get(at)
        if not values:
            continue
        if len(values) > 1 and total > 0:
            shared += 1
            repeated += all(abs(value - total) < 1 for value in values)
        if memory.own.get(at, 0) >= _WORTH_ATTRIBUTING_MIB:
            used += 1
            unattributed += sum(values) < 0.5 * total
    if repeated > 0.5 * shared:
        return Fault.REPEATED
    return Fault.UNATTRIBUTED if unattributed > 0.5 * used else None


def _sum(memory: _Field) -> dict[int, float]:
    total: dict[int, float] = {}
    for points in memory.pods.values():
        for at, value in points.items():
            total[at] = total.get(at, 0) + value
    return total
