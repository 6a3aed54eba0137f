"""
Promises broken on the nodes of a NodePool, as pods and series show them. Pure.

What is not measured breaks no promise here: Container Insights has no Xid errors, and of a pod that runs out
of GPU memory Kubernetes learns only that it ended. So the end of a pod counts where the memory was short, and
on a canary, which exists to find out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from slicewise.kube import quantities
from slicewise.kube.labels import CHANGED_ANNOTATION
from slicewise.kube.objects import being_deleted, moment, name, spec, status
from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents
from slicewise.tuning.rule.replicas import EFFICIENCY, MEMORY_HEADROOM
from slicewise.tuning.rule.stabilization import Breach
from slicewise.tuning.state.annotations import marked_at
from slicewise.tuning.state.observation import Observed
from slicewise.tuning.state.pool_state import PoolState
from slicewise.tuning.usage.pool_usage import STEP, Window, started
from slicewise.tuning.usage.readings import Device, Points, Readings
from slicewise.tuning.usage.slowdown import queueing, time_slicing

# Errors of an application, after which the GPU is well: k8s-device-plugin, internal/rm/health.go.
APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
# kubelet turns a pod away for many a reason: one is an accident. A plugin that reloads offers no slice for
# seconds, and what happens a day after a node was changed has another cause.
_LEAST_REFUSED = 2
_RELOAD, _AFTERMATH = timedelta(minutes=1), timedelta(days=1)
# Of the nodes that were changed: a node that refuses all that comes is unhealthy itself.
_MOST_REFUSING = 0.05
# One step may be a start.
_LEAST_STEPS = 2
_STEP = int(STEP.total_seconds())


class PromiseViolation(NamedTuple):
    """A promise that does not hold, and where."""

    breach: Breach
    message: str
    node: str


def current_violations(
    state: PoolState, seen: Observed, since: datetime, now: datetime, nodes: set[str] | None = None
) -> tuple[PromiseViolation, ...]:
    """
    What broke on a NodePool that a reconcile observed; see `violations`.

    Args:
        nodes: The canary's; None is for all of the NodePool's.
    """
    return violations(
        seen.contents_of(state.name),
        seen.readings,
        state.name,
        since,
        now,
        nodes=nodes,
        memory_bound_mib=(1 - MEMORY_HEADROOM) * state.gpu.memory_mib,
        slowdown_budget=state.pool.slowdown_budget,
        failed_pods=seen.contents.failed_pods,
    )


def violations(
    contents: ClusterContents,
    readings: Readings,
    node_pool: str,
    since: datetime,
    now: datetime,
    *,
    nodes: Collection[str] | None = None,
    memory_bound_mib: float | None = None,
    slowdown_budget: float | None = None,
    failed_pods: Sequence[Object] = (),
) -> tuple[PromiseViolation, ...]:
    """
    What broke after `since`, worst first, then by node.

    Args:
        readings: As for `pool_use`.
        since: Of a canary its start. Else a day ago: the slowdown is its mean, which hours may exceed.
        nodes: The canary's; None is for all of the NodePool's.
        memory_bound_mib: What a GPU's memory may reach, (1 − h) · M; None is not checked.
        slowdown_budget: As the policy's; None is not checked.
        failed_pods: Pods with phase Failed, which `contents.pods` leaves out.
    """
    window = Window(readings, contents, frozenset({node_pool}), now)
    watched = set(window.pool_nodes) if nodes is None else set(window.pool_nodes) & set(nodes)
    devices = [device for device in window.devices if device.node in watched]
    pods = [pod for pod in window.pods if spec(pod)["nodeName"] in watched]
    full = list(_memory(devices, since, memory_bound_mib)) if memory_bound_mib else []
    short = watched if nodes is not None else {one.node for one in full}
    found = [
        *(_ended_badly(pod, since) for pod in pods if spec(pod)["nodeName"] in short),
        *full,
        *(_xid(device, since) for device in devices),
        *_turned_away([*failed_pods, *pods], _changed(window, watched), since, on_trial=nodes is not None),
        *(_slow(window, device, since, slowdown_budget) for device in devices if slowdown_budget),
    ]
    order = list(Breach)
    return tuple(
        sorted(filter(None, found), key=lambda one: (order.index(one.breach), one.node, one.message))
    )


def is_measured(readings: Readings, node: str, since: datetime) -> bool:
    """Whether anything that could break a promise was measured of a node's GPUs."""
    return any(
        device.node == node and device.key not in readings.away and _after(device.memory_mib, since)
        for device in readings.devices
    )


def _memory(devices: Iterable[Device], since: datetime, bound: float) -> Iterable[PromiseViolation]:
    for device in devices:
        peak = max(_after(device.memory_mib, since).values(), default=0.0)
        if peak > bound:
            message = f"GPU {device.key} used {peak / 1024:.1f} GiB, over the bound of {bound / 1024:.1f} GiB"
            yield PromiseViolation(Breach.MEMORY, message, device.node)


def _xid(device: Device, since: datetime) -> PromiseViolation | None:
    """The exporter repeats the last error until the next one: only a change is news."""
    begin = since.timestamp()
    before = [at for at in device.xid if at + _STEP <= begin]
    last = device.xid[max(before)] if before else 0
    for _, code in sorted(_after(device.xid, since).items()):
        if code != last and code and int(code) not in APPLICATION_XIDS:
            return PromiseViolation(
                Breach.XID, f"the driver of GPU {device.key} reported Xid {int(code)}", device.node
            )
        last = code
    return None


def _ended_badly(pod: Object, since: datetime) -> PromiseViolation | None:
    """
    A container that ran before and failed since, or one that fails again and again.

    Not one that reached a memory limit of its own: that is main memory, and N has no part in it.
    """
    if being_deleted(pod):
        return None
    limits = {c["name"]: (c.get("resources") or {}).get("limits") or {} for c in spec(pod)["containers"]}
    for container in status(pod).get("containerStatuses") or ():
        end = _end(container)
        ended = moment(end.get("finishedAt"))
        if not ended or ended <= since or not end.get("exitCode"):
            continue
        if end.get("reason") == "OOMKilled" and "memory" in limits.get(container["name"], {}):
            continue
        began = moment(end.get("startedAt"))
        restarts = container.get("restartCount", 0)
        if restarts > 1 or (began and began < since):
            called = f"{pod['metadata'].get('namespace', 'default')}/{name(pod)}"
            how = end.get("reason") or f"exit code {end['exitCode']}"
            message = f"pod {called} on {spec(pod)['nodeName']} failed ({how}, restarted {restarts} times)"
            return PromiseViolation(Breach.OUT_OF_MEMORY, message, spec(pod)["nodeName"])
    return None


def _end(container: Mapping[str, Any]) -> Mapping[str, Any]:
    for state in ("state", "lastState"):
        end: Mapping[str, Any] | None = (container.get(state) or {}).get("terminated")
        if end:
            return end
    return {}


def _changed(window: Window, watched: Collection[str]) -> dict[str, datetime]:
    """When each node was relabelled; only after a change can N be at fault."""
    nodes = (node for node_name, node in window.pool_nodes.items() if node_name in watched)
    return {name(node): at for node in nodes if (at := marked_at(node, CHANGED_ANNOTATION))}


def _turned_away(
    pods: Iterable[Object], changed: Mapping[str, datetime], since: datetime, on_trial: bool
) -> Iterable[PromiseViolation]:
    """
    Nodes that were changed and have since then refused pods that were bound to them.

    Args:
        on_trial: They are a canary. Else one node more than one in twenty has to refuse pods.
    """
    refused: dict[str, list[str]] = {}
    for pod in pods:
        node, at = str(spec(pod).get("nodeName")), started(pod)
        if not (at and at > since and node in changed and _RELOAD < at - changed[node] < _AFTERMATH):
            continue
        if _was_refused(pod) and _asks_rightly(pod):
            refused.setdefault(node, []).append(name(pod))
    again = {node: names for node, names in refused.items() if len(names) >= _LEAST_REFUSED}
    if not on_trial and len(again) <= max(1, len(changed) * _MOST_REFUSING):
        return
    for node, names in again.items():
        refusals = (
            f"{node} turned {len(names)} pods away ({', '.join(sorted(names)[:3])}) after it was changed"
        )
        others = "" if on_trial else f", as did {len(again) - 1} more of {len(changed)} changed nodes"
        yield PromiseViolation(
            Breach.ADMISSION, f"{refusals}{others}; {_LEAST_REFUSED - 1} would be an accident", node
        )


def _was_refused(pod: Object) -> bool:
    """kubelet's reasons: the device plugin did not allocate, or offers fewer slices than were bound."""
    reason = status(pod).get("reason") or ""
    return reason == "UnexpectedAdmissionError" or reason.startswith("OutOfnvidia.com/")


def _asks_rightly(pod: Object) -> bool:
    """Pods that request more than one slice are refused at any N."""
    asked = [
        quantities.whole(quantity)
        for container in spec(pod)["containers"]
        for resource, quantity in ((container.get("resources") or {}).get("limits") or {}).items()
        if resource.startswith("nvidia.com/")
    ]
    return all(count <= 1 for count in asked)


def _slow(window: Window, device: Device, since: datetime, budget: float) -> PromiseViolation | None:
    """The slowdown that a request saw in the mean, by how busy the GPU's other pods were."""
    steps = [
        (busy, _slowdown(busy, window.sharing.on_gpu(device, at)))
        for at, busy in _after(device.busy, since).items()
    ]
    work = sum(busy for busy, _ in steps)
    if len(steps) < _LEAST_STEPS or not work:
        return None
    mean = sum(busy * slowdown for busy, slowdown in steps) / work
    if mean <= budget:
        return None
    message = f"requests on GPU {device.key} took {mean:.1f} times as long as alone; the budget is {budget:g}"
    return PromiseViolation(Breach.SLOWDOWN, message, device.node)


def _slowdown(busy: float, sharers: int) -> float:
    """At most what so many pods that never rest do to each other."""
    others = busy * (sharers - 1) / sharers
    return min(queueing(others, EFFICIENCY), time_slicing(sharers - 1))


def _after(points: Points, since: datetime) -> dict[int, float]:
    """The points of all steps that were not over at `since`."""
    begin = since.timestamp()
    return {at: value for at, value in points.items() if at + _STEP > begin}
