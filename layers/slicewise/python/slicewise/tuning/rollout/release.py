"""
What a rollout holds, consolidation and cordoned nodes, is released where the rollout may not go on. Pure.

The rollout itself stays where it is, with its annotation: a reconcile that may advance it holds consolidation
again and finishes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

from slicewise.kube import quantities
from slicewise.kube.json_patch import Operation, expect, remove, set_value
from slicewise.kube.labels import CHANGED_ANNOTATION, CORDONED_ANNOTATION
from slicewise.kube.objects import annotations_of, is_ours, labels, name, spec, status
from slicewise.kube.quantities import NEVER
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import ClusterContents
from slicewise.planning.actions import Action, Patch
from slicewise.planning.outcome import Finding
from slicewise.pools import layout, observed
from slicewise.tuning.rollout.context import RolloutSettings
from slicewise.tuning.state.annotations import CONFIG_PATH, CORDONED_PATH, ROLLOUT_PATH, marked_at
from slicewise.tuning.state.pool_plan import PoolPlan
from slicewise.tuning.state.pool_state import Rollout, read_rollout

_AFTER = ("spec", "disruption", "consolidateAfter")
_UNSCHEDULABLE = ("spec", "unschedulable")


def release_holds(
    contents: ClusterContents, carried_on: Collection[str], why: str, now: datetime
) -> tuple[Action, ...]:
    """`carried_on` are NodePools whose rollouts may be advanced."""
    left = _left(contents, carried_on)
    return (
        *(_release(pool, after, why) for pool, rollout in left if (after := _after(pool, rollout))),
        *uncordon(contents, {name(pool) for pool, _ in left}, why, now),
    )


def released(
    contents: ClusterContents, carried_on: Collection[str], why: str, now: datetime
) -> tuple[PoolPlan, ...]:
    """One plan for each NodePool of ours whose rollout may not be advanced, with what is released and why."""
    names = [name(pool) for pool in contents.node_pools if is_ours(pool) and name(pool) not in carried_on]
    plans = (_released(contents, node_pool, why, now) for node_pool in names)
    return tuple(one for one in plans if one.actions or one.findings)


def _released(contents: ClusterContents, node_pool: str, why: str, now: datetime) -> PoolPlan:
    others = {name(pool) for pool in contents.node_pools} - {node_pool}
    actions, findings = release_holds(contents, others, why, now), halfway(contents, others, why)
    return PoolPlan(node_pool, actions=actions, findings=findings)


def holds(contents: ClusterContents, carried_on: Collection[str]) -> bool:
    """Whether anything is to be released, now or once a device plugin has applied its label."""
    left = _left(contents, carried_on)
    cordoned = any(_cordoned(contents, {name(pool) for pool, _ in left}))
    return cordoned or any(_after(pool, rollout) for pool, rollout in left)


def halfway(contents: ClusterContents, carried_on: Collection[str], why: str) -> tuple[Finding, ...]:
    clamped = tuple(
        Finding(
            "n-half-changed",
            f"N of NodePool {name(pool)} is between {rollout.from_} and {rollout.to}, and {why}.",
            "Consolidation is restored and no node stays cordoned. Manage it again, and the "
            "rollout is finished; or delete the NodePool when its workloads may move.",
        )
        for pool, rollout in _left(contents, carried_on)
    )
    left = (pool for pool in contents.node_pools if is_ours(pool) and name(pool) not in carried_on)
    # What a rollout holds whose annotation cannot be read cannot be released by us.
    return (*clamped, *(finding for pool in left if (finding := read_rollout(pool)[1])))


def uncordon(
    contents: ClusterContents, node_pools: Collection[str], why: str, now: datetime
) -> tuple[Patch, ...]:
    """
    Those that we cordoned, and no others.

    One whose device plugin is about to take slices away waits for it: a pod that comes before would lose its
    own. One whose plugin does not follow gets the label of its NodeClaim back, so that it never will.
    """
    cordoned = tuple(_cordoned(contents, node_pools))
    if not cordoned:
        return ()
    keys = {status(claim).get("nodeName"): labels(claim) for claim in contents.node_claims}
    return tuple(
        Patch(
            ref_of(node),
            (*_label_back(node, keys), *remove(node, CORDONED_PATH), *remove(node, _UNSCHEDULABLE)),
            f"uncordon Node {name(node)}",
            why,
            part=labels(node)[layout.NODE_POOL_LABEL],
        )
        for node in cordoned
        if not (_offers_more(node) and _reloads(node, now))
    )


def _cordoned(contents: ClusterContents, node_pools: Collection[str]) -> Iterator[Object]:
    found = (
        node
        for node in contents.nodes
        if spec(node).get("unschedulable")
        and labels(node).get(layout.NODE_POOL_LABEL) in node_pools
        and CORDONED_ANNOTATION in annotations_of(node)
    )
    yield from sorted(found, key=name)


def _offers_more(node: Object) -> bool:
    """Than its label promises."""
    promised = observed.promised(labels(node), labels(node).get(layout.CONFIG_LABEL)) or {}
    offered = status(node).get("allocatable") or {}
    return any(quantities.whole(offered.get(resource)) > most for resource, most in promised.items())


def _reloads(node: Object, now: datetime) -> bool:
    at = marked_at(node, CHANGED_ANNOTATION)
    return at is not None and abs(now - at) <= RolloutSettings.allocatable_timeout


def _label_back(node: Object, of_claims: Mapping[str | None, Mapping[str, str]]) -> tuple[Operation, ...]:
    key = of_claims.get(name(node), {}).get(layout.CONFIG_LABEL)
    return set_value(node, CONFIG_PATH, key) if key and _offers_more(node) else ()


def _left(contents: ClusterContents, carried_on: Collection[str]) -> list[tuple[Object, Rollout]]:
    pools = (pool for pool in contents.node_pools if is_ours(pool) and name(pool) not in carried_on)
    return [(pool, rollout) for pool in pools if (rollout := read_rollout(pool)[0])]


def _after(pool: Object, rollout: Rollout) -> str | None:
    live: Mapping[str, str] = spec(pool).get("disruption") or {}
    held = rollout.held.get("consolidateAfter")
    return held if live.get("consolidateAfter") == NEVER and held != NEVER else None


def _release(pool: Object, after: str, why: str) -> Patch:
    operations = (*expect(pool, ROLLOUT_PATH), *set_value(pool, _AFTER, after))
    return Patch(
        ref_of(pool), operations, f"release consolidation of NodePool {name(pool)}", why, part=name(pool)
    )
