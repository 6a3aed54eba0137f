"""
Tuning's share of offboarding: adopted NodePools go back to whole GPUs and to what they were, and ours get
empty. Pure.

Nothing is evicted and nothing is deleted here. An adopted NodePool that shares its GPUs is changed to N = 1
as at any other time, by replacing nodes under its budgets. A NodePool of ours starts no more nodes once no
pod asks for it; Karpenter then consolidates it under its budgets, and onboarding deletes it when it has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from slicewise.kube.json_patch import Operation, annotation_path, label_path, remove, set_value
from slicewise.kube.labels import (
    APPLIED,
    ASLEEP,
    CHANGED_ANNOTATION,
    CLASS_LABEL,
    CORDONED_ANNOTATION,
    GIVEN_UP_ANNOTATION,
    POOL_LABEL,
    WAITED_ANNOTATION,
)
from slicewise.kube.objects import (
    annotations_of,
    being_deleted,
    is_ours,
    labels,
    name,
    required_values,
    spec,
)
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import ClusterContents
from slicewise.planning.actions import Action, Patch, in_part
from slicewise.planning.outcome import Finding, Outcome, Plan, Stage
from slicewise.pools import layout
from slicewise.pools.adopted_settings import is_adopted
from slicewise.tuning import adoption, alarms, publication
from slicewise.tuning.rollout import release as rollout_release
from slicewise.tuning.rollout import stages as rollout_stages
from slicewise.tuning.rollout.blockers import blocking
from slicewise.tuning.rollout.context import SOON, RolloutSettings
from slicewise.tuning.state.annotations import CHANGED_PATH, marked_at
from slicewise.tuning.state.observation import Offboarding
from slicewise.tuning.state.pool_plan import PoolPlan
from slicewise.tuning.state.pool_state import PoolState, pool_states, stamp

# What people have to do takes its time; what Karpenter does takes minutes.
_FOR_PEOPLE, _FOR_KARPENTER = timedelta(minutes=15), timedelta(minutes=1)
_AGAIN = timedelta(minutes=5)
_MOST_NAMED = 5
_ANY = "*"
_OUR_LABELS = (POOL_LABEL, CLASS_LABEL, layout.NODE_POOL_LABEL)
_WHY = "the cluster is being offboarded"
_REQUIREMENTS = ("spec", "template", "spec", "requirements")
_MARKS_ON_NODES = (
    CHANGED_ANNOTATION,
    CORDONED_ANNOTATION,
    WAITED_ANNOTATION,
    GIVEN_UP_ANNOTATION,
)


def plan(found: Offboarding, now: datetime) -> Plan:
    """The outcome is `unmanaged` once tuning has nothing left to restore in the cluster."""
    kept = alarms.actions(found.cluster, None, found.alarms)
    contents = found.contents
    if contents is None:
        return _unseen(found, kept)
    whole = tuple(_to_whole_gpus(found, contents, now))
    busy = {state.name for state, _ in whole}
    parts = [part for _, part in whole]
    settled = replace(contents, node_pools=tuple(p for p in contents.node_pools if name(p) not in busy))
    parts += _restored(settled, now)
    parts += [_emptied(contents, node_pool) for node_pool in _of_ours(contents)]
    held = rollout_release.release_holds(contents, busy, _WHY, now)
    of_n = publication.withdrawn(contents, _WHY)
    waits = [part.requeue_after for part in parts if part.requeue_after is not None]
    if rollout_release.holds(contents, busy):
        waits.append(_FOR_KARPENTER)
    if of_n.requeue_after:
        waits.append(of_n.requeue_after)
    done = not (waits or held or of_n.actions or any(part.actions for part in parts))
    outcome = Outcome(
        Stage.UNMANAGED if done else Stage.OFFBOARDING,
        _reason(parts) if not done else "nothing is left to restore: onboarding removes the rest",
        (*(finding for part in parts for finding in part.findings), *of_n.findings),
        min(waits, default=None if done else SOON),
    )
    actions = (*kept, *held, *of_n.actions, *(action for part in parts for action in part.actions))
    return Plan(outcome, actions, tuple(part.detail for part in parts if part.detail))


def _unseen(found: Offboarding, kept: tuple[Action, ...]) -> Plan:
    """Nothing is reported as done that could not be read."""
    message = "the cluster is being offboarded, and could not be read"
    if not found.was_tuned:
        return Plan(Outcome(Stage.UNMANAGED, message), kept, unrecorded=True)
    finding = Finding(
        "tuner-shut-out",
        "Tuning may not read the cluster: what it has to restore there is not known.",
        "Onboarding gives it its access entry again; if this lasts, see the cluster's authenticator log.",
    )
    # Onboarding judges by what it sees in the cluster, and asks again as long as something is there.
    return Plan(Outcome(Stage.UNMANAGED, message, (finding,)), kept)


def _reason(parts: Sequence[PoolPlan]) -> str:
    message = [part.message for part in parts if part.message]
    more = [f"and {len(message) - _MOST_NAMED} more"] if len(message) > _MOST_NAMED else []
    return "; ".join(("the cluster is being offboarded", *message[:_MOST_NAMED], *more))


# Adopted NodePools: first whole GPUs


def _to_whole_gpus(
    found: Offboarding, contents: ClusterContents, now: datetime
) -> Iterator[tuple[PoolState, PoolPlan]]:
    """Those that share their GPUs, or whose N is being changed."""
    for state in pool_states(contents, found.policy) if found.policy else ():
        if not is_adopted(state.node_pool) or (state.n == 1 and not state.rollout):
            continue
        if ASLEEP in annotations_of(state.node_pool):
            yield state, _until_awake(state.name)
        else:
            yield state, _step(state, contents, now)


def _until_awake(node_pool: str) -> PoolPlan:
    message = f"{node_pool} is asleep until off-hours has woken it"
    return PoolPlan(node_pool, message, requeue_after=_FOR_KARPENTER)


def _step(state: PoolState, contents: ClusterContents, now: datetime) -> PoolPlan:
    """A rollout to more slices is aborted; one to fewer goes on, and then all the way."""
    if state.rollout:
        undone = [_WHY] if state.rollout.grows else []
        step = rollout_stages.advance(
            state, state.rollout, undone, blocking(contents, state), RolloutSettings(), now
        )
    else:
        step = rollout_stages.begin(state, 1, _WHY, now)
    message = f"{state.name}: {step.message}"
    detail = {"node_pool": state.name, "n": state.n, "reason": step.message}
    actions = tuple(in_part(action, state.name) for action in step.actions)
    return PoolPlan(
        state.name,
        message,
        detail,
        actions,
        step.findings,
        step.requeue_after or (SOON if actions else _FOR_PEOPLE),
    )


# Then back as they were


def _restored(contents: ClusterContents, now: datetime) -> Iterator[PoolPlan]:
    """
    One of whole GPUs in three steps: it requires our labels no more; Karpenter has had time to see that, and
    Nodes and NodeClaims lose them, a tenth at a time; it gets back the rest. A node that lost a label that
    its NodePool still requires would be replaced.
    """
    back = {one.name: one for one in adoption.restored(contents, None)}
    for node_pool in contents.node_pools:
        labelled = _labelled(contents, node_pool)
        if name(node_pool) in back and labelled and _is_whole(node_pool):
            yield _released(node_pool, now) or _unlabelled(node_pool, labelled, now)
        elif name(node_pool) in back:
            yield replace(back[name(node_pool)], message=f"{name(node_pool)} is restored", requeue_after=SOON)
        elif is_adopted(node_pool):
            message = f"{name(node_pool)} is not restored while it sleeps or changes"
            yield PoolPlan(name(node_pool), message, requeue_after=SOON)
        elif labelled and not is_ours(node_pool) and not _requires_ours(node_pool):
            yield _unlabelled(node_pool, labelled, now)


def _is_whole(node_pool: Object) -> bool:
    allowed = required_values(_requirements(node_pool), layout.CONFIG_LABEL)
    return allowed in (None, (layout.EXCLUSIVE,))


def _requirements(node_pool: Object) -> Sequence[Mapping[str, object]]:
    return ((spec(node_pool).get("template") or {}).get("spec") or {}).get("requirements") or ()


def _requires_ours(node_pool: Object) -> bool:
    return any(one.get("key") == POOL_LABEL for one in _requirements(node_pool))


def _released(node_pool: Object, now: datetime) -> PoolPlan | None:
    """None where it requires our labels no more."""
    kept = adoption.without_added(node_pool)
    if len(kept) == len(_requirements(node_pool)):
        return None
    # When that was, is noted beside it: labels may go once Karpenter has seen it.
    operations = (
        *set_value(node_pool, _REQUIREMENTS, kept),
        *set_value(node_pool, CHANGED_PATH, stamp(now)),
    )
    message = f"have NodePool {name(node_pool)} require no label of ours any more"
    patch = Patch(ref_of(node_pool), operations, message, _WHY, part=name(node_pool))
    about_to = f"{name(node_pool)} is about to be restored"
    return PoolPlan(name(node_pool), about_to, actions=(patch,), requeue_after=SOON)


@dataclass(frozen=True)
class _Labelled:
    """A NodeClaim, or a Node without one, and the objects that carry our labels for it."""

    items: tuple[Object, ...]


def _labelled(contents: ClusterContents, node_pool: Object) -> list[_Labelled]:
    nodes = {name(node): node for node in contents.nodes if _of(node, node_pool)}
    found: list[_Labelled] = []
    for claim in contents.node_claims:
        if _of(claim, node_pool) and not being_deleted(claim):
            node = nodes.pop((claim.get("status") or {}).get("nodeName", ""), None)
            found.append(_Labelled(tuple(one for one in (claim, node) if one and _strip(one, node_pool))))
    found += [_Labelled((node,)) for node in nodes.values() if _strip(node, node_pool)]
    return [one for one in found if one.items]


def _of(item: Object, node_pool: Object) -> bool:
    return labels(item).get(layout.NODE_POOL_LABEL) == name(node_pool)


def _strip(item: Object, node_pool: Object) -> tuple[Operation, ...]:
    """What we wrote on a Node or NodeClaim is removed, but for labels that its NodePool gives it."""
    if POOL_LABEL not in labels(item) and not annotations_of(item).keys() & set(_MARKS_ON_NODES):
        return ()
    template = (spec(node_pool).get("template") or {}).get("metadata") or {}
    theirs = {*(template.get("labels") or {}), *(one.get("key") for one in adoption.without_added(node_pool))}
    operations: list[Operation] = []
    for key in (POOL_LABEL, layout.CONFIG_LABEL):
        if key not in theirs:
            operations += remove(item, label_path(key))
    for mark in _MARKS_ON_NODES:
        operations += remove(item, annotation_path(mark))
    return tuple(operations)


def _unlabelled(node_pool: Object, labelled: Sequence[_Labelled], now: datetime) -> PoolPlan:
    released = marked_at(node_pool, CHANGED_ANNOTATION)
    left = RolloutSettings.settle - (now - released) if released else timedelta(0)
    if left > timedelta(0):
        message = f"{name(node_pool)}: Karpenter is given time to see its requirements"
        return PoolPlan(name(node_pool), message, requeue_after=left)
    batch_size = max(1, int(len(labelled) * RolloutSettings.batch_share))
    actions = [
        Patch(
            ref_of(item),
            _strip(item, node_pool),
            f"take our labels off {ref_of(item)}",
            _WHY,
            part=name(node_pool),
        )
        for one in labelled[:batch_size]
        for item in one.items
    ]
    message = f"{name(node_pool)}: {len(labelled)} nodes still carry our labels"
    return PoolPlan(name(node_pool), message, actions=tuple(actions), requeue_after=SOON)


# NodePools of ours


def _of_ours(contents: ClusterContents) -> list[Object]:
    """With the stamp that we apply: one with our label alone may be a team's, adopted and edited since."""
    found = (one for one in contents.node_pools if is_ours(one) and not being_deleted(one))
    return sorted((one for one in found if not is_adopted(one) and APPLIED in annotations_of(one)), key=name)


def _emptied(contents: ClusterContents, node_pool: Object) -> PoolPlan:
    claims = [claim for claim in contents.node_claims if _of(claim, node_pool)]
    asking = _asking(contents, node_pool)
    if ASLEEP in annotations_of(node_pool):
        return _until_awake(name(node_pool))
    if asking:
        message = f"{name(node_pool)} is asked for by {asking[0]}"
        return PoolPlan(
            name(node_pool),
            message,
            findings=(_still_asked_for(node_pool, asking),),
            requeue_after=_FOR_PEOPLE,
        )
    if not _is_closed(node_pool):
        message = f"{name(node_pool)} starts no more nodes"
        return PoolPlan(name(node_pool), message, actions=(_close(node_pool),), requeue_after=SOON)
    if not claims:
        return PoolPlan(name(node_pool))
    message = f"{name(node_pool)} has {len(claims)} nodes, which Karpenter takes away under its budgets"
    there = _names(_on(contents, node_pool))
    findings = (_still_there(node_pool, there),) if there else ()
    return PoolPlan(
        name(node_pool), message, findings=findings, requeue_after=_AGAIN if there else _FOR_KARPENTER
    )


def _asking(contents: ClusterContents, node_pool: Object) -> list[str]:
    """
    Who could run nowhere else: pods, and templates also of what has no pod now, that choose NodePools of
    ours; and where no other NodePool may start GPUs, all that run there. Karpenter moves the pods that it
    can.
    """
    pods = [pod for pod in contents.pods if _chooses(spec(pod), node_pool)]
    if not any(layout.may_have_gpus(one) for one in contents.node_pools if not is_ours(one)):
        pods += [pod for pod in _on(contents, node_pool) if pod not in pods]
    templates = (item for item in contents.templates or () if _chooses(spec(item), node_pool))
    return [*(f"{item['kind']} {_name(item)}" for item in templates), *_names(pods)]


def _on(contents: ClusterContents, node_pool: Object) -> list[Object]:
    nodes = [name(node) for node in contents.nodes if _of(node, node_pool)]
    return [pod for node in nodes for pod in contents.pods_by_node.get(node, ())]


def _names(pods: Iterable[Object]) -> list[str]:
    return sorted(map(_name, pods))


def _name(item: Object) -> str:
    return f"{item['metadata'].get('namespace', 'default')}/{name(item)}"


def chooses_ours(pod_spec: Mapping[str, Any]) -> bool:
    """Whether a pod, or a template, names any pool or class, or a NodePool, which may be ours."""
    return any(key in _OUR_LABELS for key, _ in _chosen(pod_spec))


def _chooses(pod_spec: Mapping[str, Any], node_pool: Object) -> bool:
    """By node selector or node affinity. Of a class, which tuning may have written, any NodePool has one."""
    pool, chosen = labels(node_pool).get(POOL_LABEL, ""), set(_chosen(pod_spec))
    mine = {
        (layout.NODE_POOL_LABEL, name(node_pool)),
        (POOL_LABEL, pool),
        (POOL_LABEL, _ANY),
    }
    return bool(mine & chosen) or any(key == CLASS_LABEL for key, _ in chosen)


def _chosen(pod_spec: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Labels and values that a node must have one of."""
    yield from (pod_spec.get("nodeSelector") or {}).items()
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for one in term.get("matchExpressions") or ():
            if one.get("operator") == "In":
                yield from ((one.get("key"), value) for value in one.get("values") or ())
            elif one.get("operator") == "Exists":
                yield one.get("key"), _ANY


def _still_asked_for(node_pool: Object, asking: Sequence[str]) -> Finding:
    state = "starts no more nodes, and" if _is_closed(node_pool) else "is left unchanged:"
    return Finding(
        "still-asked-for",
        f"NodePool {name(node_pool)} {state} {_some(asking)} can run nowhere else.",
        f"Remove {POOL_LABEL} and {CLASS_LABEL} from the node selectors of these workloads, so "
        "that they ask for a GPU elsewhere, or delete them. The NodePool is deleted once it has no node.",
    )


def _still_there(node_pool: Object, pods: Sequence[str]) -> Finding:
    return Finding(
        "still-on-our-nodes",
        f"NodePool {name(node_pool)} starts no more nodes, but {_some(pods)} run there: Karpenter moves them "
        "once they fit elsewhere, and no PodDisruptionBudget or karpenter.sh/do-not-disrupt forbids it.",
        "Make room for them elsewhere, restart them, or delete them.",
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def _is_closed(node_pool: Object) -> bool:
    return annotations_of(node_pool).get(APPLIED) == layout.CLOSED


def _close(node_pool: Object) -> Patch:
    """Its own budgets stay. Should the policy want it back, onboarding applies all of it again."""
    operations = (
        *set_value(node_pool, ("spec", "limits"), layout.closed_limits(node_pool)),
        *set_value(node_pool, ("spec", "disruption", "consolidationPolicy"), "WhenEmptyOrUnderutilized"),
        *set_value(node_pool, ("spec", "disruption", "consolidateAfter"), "0s"),
        *set_value(node_pool, annotation_path(APPLIED), layout.CLOSED),
    )
    message = f"close NodePool {name(node_pool)}"
    return Patch(ref_of(node_pool), operations, message, _WHY, part=name(node_pool))
