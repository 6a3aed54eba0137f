"""
N on the workloads that have it: an annotation that a person, a dashboard and Prometheus can read. Pure.

What scales a workload by its queue needs it: a replica on a quarter of a GPU serves less than one on a half,
so the load that one replica should have follows N. The annotation is on the workload's own metadata: in the
pod template it would replace all pods.

A workload has pods on several nodes, whose N may differ while N is being changed: it gets the largest, that
of its most crowded node, so that a scaler has too many replicas for a while and never too few. One without
pods gets the N that its next pod will find. That there may be such annotations is marked on NodePools, before
the first is written and until the last is removed: then, and only then, workloads are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from slicewise.kube.json_patch import annotation_path, remove, set_value
from slicewise.kube.labels import PUBLISHES, SLICES_ANNOTATION
from slicewise.kube.objects import annotations_of, being_deleted, name, spec
from slicewise.kube.ref import Object, Ref
from slicewise.model.cluster import ClusterContents
from slicewise.planning.actions import Patch
from slicewise.planning.outcome import Finding
from slicewise.pools import layout
from slicewise.tuning.state import schedulable, whole_gpus
from slicewise.tuning.state.pool_state import NodeState, PoolState
from slicewise.tuning.usage.workloads import workload_of

KINDS = ("Deployment", "StatefulSet")
_MARK, _SLICES = annotation_path(PUBLISHES), annotation_path(SLICES_ANNOTATION)
# Between the mark and what it lets us read.
_SOON = timedelta(seconds=15)
_MARKED, _UNMARKED = "publish N on workloads of", "publish N no longer on workloads of"


@dataclass(frozen=True)
class Publication:
    """
    Attributes:
        actions: Each a part of its own: a workload that refuses its annotation concerns no other.
        requeue_after: None where nothing is left to do.
    """

    actions: tuple[Patch, ...] = ()
    findings: tuple[Finding, ...] = ()
    requeue_after: timedelta | None = None


def is_marked(node_pools: Iterable[Object]) -> bool:
    """Whether a workload may have N published on it."""
    return any(PUBLISHES in annotations_of(one) for one in node_pools)


def is_publisher(item: Object, pod_spec: Mapping[str, Any]) -> bool:
    """
    Whether a workload has N published on it, or might get it.

    Args:
        pod_spec: Of its template.
    """
    return item["kind"] in KINDS and (_published(item) is not None or whole_gpus.gpus_of(pod_spec) > 0)


def published(contents: ClusterContents, states: Sequence[PoolState], is_wanted: bool) -> Publication:
    """
    Args:
        states: Of the policy's NodePools.
        is_wanted: By the policy. Where it is not, what was published is removed.
    """
    states = [state for state in states if state.pool.sharing.has_replicas]
    if not (is_wanted and states):
        return withdrawn(contents, "the policy has N published no longer")
    names = {state.name for state in states}
    marks = [
        _patch(state.node_pool, set_value(state.node_pool, _MARK, "true"), _MARKED, "the policy asks for it")
        for state in states
    ]
    others = [pool for pool in contents.node_pools if name(pool) not in names]
    marks += [
        _patch(pool, remove(pool, _MARK), _UNMARKED, "its pods share no GPU any more") for pool in others
    ]
    writes = list(_writes(contents, states))
    actions = tuple(one for one in (*marks, *writes) if one.operations)
    begins = not is_marked(contents.node_pools)
    return Publication(actions, _unread(contents), _SOON if begins else None)


def withdrawn(contents: ClusterContents, why: str) -> Publication:
    """No workload has N published on it any more; the marks go last, since they keep the right to do this."""
    marked = [pool for pool in contents.node_pools if PUBLISHES in annotations_of(pool)]
    if not marked:
        return Publication()
    if contents.publishers is None:
        return Publication(findings=_unread(contents), requeue_after=timedelta(minutes=5))
    left = [one for one in contents.publishers if _published(one) is not None and not being_deleted(one)]
    if left:
        patches = (_patch(one, remove(one, _SLICES), "remove N from", why) for one in left)
        return Publication(tuple(patches), requeue_after=_SOON)
    return Publication(tuple(_patch(pool, remove(pool, _MARK), _UNMARKED, why) for pool in marked))


def _writes(contents: ClusterContents, states: Sequence[PoolState]) -> Iterator[Patch]:
    crowds = _crowds(contents, states)
    for item in contents.publishers or ():
        if being_deleted(item):
            continue
        n = crowds.get(_ref_of(item)) or _next(item, states)
        if n:
            message = f"publish {n} slices a GPU on"
            yield _patch(item, set_value(item, _SLICES, str(n)), message, "so many pods share a GPU there")
        elif not _may_return(item, states):
            yield _patch(item, remove(item, _SLICES), "remove N from", "no GPU that is shared has its pods")


def _crowds(contents: ClusterContents, states: Sequence[PoolState]) -> Mapping[Ref, int]:
    """Of each workload with pods on nodes of these NodePools, the N of its most crowded node."""
    of_node = {node.name: _crowd(node, state) for state in states for node in state.nodes}
    found: dict[Ref, int] = {}
    for pod in contents.pods:
        n = of_node.get(spec(pod).get("nodeName") or "")
        if n:
            workload = workload_of(pod)
            found[workload] = max(n, found.get(workload, 0))
    return found


def _crowd(node: NodeState, state: PoolState) -> int:
    """As many as its key says, or as it has: where N falls, pods stay for a while."""
    promised = layout.slices_of_key(node.key or "") or state.n
    return max(promised, math.ceil(node.slots_in_use / max(1, node.gpus)))


def _next(item: Object, states: Sequence[PoolState]) -> int:
    """The largest N that its next pod may find, by the pool that it chooses; 0 where it chooses none."""
    chosen = (
        state
        for state in states
        if layout.selects(spec(item), state.pool) and (state.nodes or not state.pool.is_fallback(state.gpu))
    )
    targets = (max(one.n, one.rollout.target) if one.rollout else one.n for one in chosen)
    return max(targets, default=0)


def _may_return(item: Object, states: Sequence[PoolState]) -> bool:
    """
    To an adopted NodePool a workload comes without naming our pool: what it has stays while it has no pods.
    """
    return any(
        state.pool.adopt and schedulable.may_land(spec(item), state.pool, state.node_pool) for state in states
    )


def _unread(contents: ClusterContents) -> tuple[Finding, ...]:
    if contents.publishers is not None or not is_marked(contents.node_pools):
        return ()
    message = "Deployments and StatefulSets cannot be read, so what was published of N on them stays."
    remedy = "Onboarding gives the right to list them within the hour, or: slicewise onboard CLUSTER."
    return (Finding("workloads-unread", message, remedy),)


def _published(item: Object) -> str | None:
    return annotations_of(item).get(SLICES_ANNOTATION)


def _patch(item: Object, operations: Sequence[Mapping[str, Any]], message: str, why: str) -> Patch:
    ref = _ref_of(item)
    return Patch(ref, tuple(operations), f"{message} {ref}", why, part=f"slices of {ref}")


def _ref_of(item: Object) -> Ref:
    namespace = item["metadata"].get("namespace", "default") if item["kind"] in KINDS else ""
    return Ref(item["apiVersion"], item["kind"], name(item), namespace)
