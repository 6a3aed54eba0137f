"""What was measured of a pool that is split into classes: all its NodePools together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.objects import created_at, labels, spec
from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents
from slicewise.model.spans import DAY, HOUR
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Pool
from slicewise.pools import layout
from slicewise.tuning.rule.busy_guard import FullCard
from slicewise.tuning.usage.evidence import Grade, Interval, PodUse
from slicewise.tuning.usage.history import NOTHING, History
from slicewise.tuning.usage.owners import topmost_owner_name
from slicewise.tuning.usage.pool_usage import Window, measured
from slicewise.tuning.usage.quality import FIRST_POINTS, findings_of
from slicewise.tuning.usage.readings import Device, Points, Readings
from slicewise.tuning.usage.workloads import Workload, pod_key, workloads

# So much later than it began, a source may report an hour.
LATE = timedelta(minutes=30)
# Measured use never exceeds a GPU, so who had to wait shows only as a GPU that never rests: a mean over ten
# minutes of which less than this is left was full most of them.
SATURATED = 0.95


@dataclass(frozen=True)
class ClassEvidence:
    """
    Attributes:
        pods: By "namespace/pod".
        gpus: The pods of each GPU. On a machine with several they cannot be distinguished: then the busiest
            of a node are taken to be together.
        contended: Share of the pool's GPU time of the last day in which a shared GPU never rested: what was
            measured of it, and what it may have been with all that was not.
        full: Shared GPUs that never rested in the last hour, as far as their pods are measured each.
        watched: Whether `full` may have any GPU of the pool.
    """

    pods: Mapping[str, PodUse]
    workloads: tuple[Workload, ...]
    gpus: tuple[tuple[str, ...], ...]
    contended: Interval
    problems: tuple[Finding, ...] = ()
    full: tuple[FullCard, ...] = ()
    watched: bool = True


def class_evidence(
    readings: Readings,
    source: str,
    contents: ClusterContents,
    pool: Pool,
    now: datetime,
    history: History | None = None,
) -> ClassEvidence:
    """Of all nodes of the pool, also of those of the time before it was split; `history` as in `pool_use`."""
    if history is None:
        history = measured(NOTHING, readings, contents, now).history
    own = [node for node in contents.nodes if labels(node).get(POOL_LABEL) == pool.name]
    node_pools = frozenset(labels(node).get(layout.NODE_POOL_LABEL, "") for node in own)
    window = Window(readings, contents, node_pools, now, history)
    uses = {use.name: use for use in window.uses()}
    problems = findings_of(
        readings, source, window.devices, window.pool_nodes, f"pool {pool.name}", window.names_some, now
    )
    return ClassEvidence(
        uses,
        workloads(window.pods, topmost_owner_name),
        _gpus(window, uses),
        contended(window, now - DAY),
        problems,
        tuple(full_cards(window)),
        _is_watched(window, uses),
    )


def contended(window: Window, since: datetime) -> Interval:
    begin, full, known, unknown = since.timestamp(), 0, 0, 0.0
    for device in window.devices:
        steps = [at for at in device.busy if at >= begin]
        known += len(steps)
        full += sum(device.busy[at] >= SATURATED and window.sharing.on_gpu(device, at) > 1 for at in steps)
        unknown += _expected(window, device.node, since) - len(steps)
    measured = {device.node for device in window.devices}
    unknown += sum(_expected(window, node, since) for node in window.pool_nodes if node not in measured)
    whole = known + max(0.0, unknown)
    return Interval(full / whole, (full + max(0.0, unknown)) / whole) if whole else Interval(0.0, 0.0)


def full_cards(window: Window) -> Iterator[FullCard]:
    """
    GPUs without rest in the newest hour that a source knows, and how busy each of their pods was in it.

    Only where each pod of the GPU was there and measured all the hour: of a machine with several GPUs it is
    not known which pod is on which, and a pod that came within the hour may have changed it all.
    """
    pods: dict[str, list[str]] = {}
    for pod in window.pods:
        pods.setdefault(spec(pod)["nodeName"], []).append(pod_key(pod))
    gpus = Counter(device.node for device in window.devices)
    for device in window.devices:
        hour, here = _newest_hour(device, window), pods.get(device.node, [])
        if gpus[device.node] > 1 or device.fault or len(here) < 2 or not hour:
            continue
        busy = {pod: _busy_of(pod, window) for pod in here}
        measured = all(at in points for points in busy.values() for at in hour)
        if measured and all(device.busy[at] >= SATURATED for at in hour):
            yield {pod: sum(points[at] for at in hour) / len(hour) for pod, points in busy.items()}


def _is_watched(window: Window, uses: Mapping[str, PodUse]) -> bool:
    """A pod of which nothing is known yet has a GPU to itself."""
    several = any(count > 1 for count in Counter(device.node for device in window.devices).values())
    return not several and all(use.grade is not Grade.DEVICE for use in uses.values())


def _newest_hour(device: Device, window: Window) -> list[int]:
    """The steps of the newest hour, oldest first; [] if some are missing, or it is long ago."""
    steps = round(HOUR.total_seconds()) // window.step
    hour = sorted(device.busy)[-steps:]
    whole = len(hour) == steps and hour[-1] - hour[0] == (steps - 1) * window.step
    return hour if whole and hour[0] >= (window.now - HOUR - LATE).timestamp() else []


def _busy_of(pod: str, window: Window) -> Points:
    namespace, _, name = pod.partition("/")
    points = window.readings.by_pod.get((namespace, name))
    return points.busy if points else {}


def _expected(window: Window, node: str, since: datetime) -> float:
    """Steps of a GPU of the node that a source should have had by then, since the node had settled."""
    settled = (created_at(window.pool_nodes[node]) or since) + FIRST_POINTS
    begin = max(since, settled).timestamp()
    # A source is a step behind.
    return max(0.0, (window.now.timestamp() - window.step - begin) // window.step)


def _gpus(window: Window, uses: Mapping[str, PodUse]) -> tuple[tuple[str, ...], ...]:
    on: dict[str, list[str]] = {}
    for pod in window.pods:
        on.setdefault(spec(pod)["nodeName"], []).append(pod_key(pod))
    groups: list[tuple[str, ...]] = []
    for node, pods in sorted(on.items()):
        busiest = sorted(pods, key=lambda pod: (-uses[pod].expected_busy, pod))
        size = _slots_a_gpu(window.pool_nodes[node], len(pods))
        groups += [tuple(busiest[at : at + size]) for at in range(0, len(busiest), size)]
    return tuple(groups)


def _slots_a_gpu(node: Object, pods: int) -> int:
    """As its label says; all its pods together where there is one GPU, or where it says nothing."""
    found = labels(node)
    if found.get(layout.GPU_COUNT_LABEL) == "1":
        return max(1, pods)
    return layout.slices_of_key(found.get(layout.CONFIG_LABEL, "")) or max(1, pods)
