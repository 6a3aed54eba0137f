"""
The single writes of a rollout, each a JSON Patch that applies only while what it saw is still so. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from slicewise.kube.json_patch import Operation, expect, remove, set_value
from slicewise.kube.labels import WAITED_ANNOTATION
from slicewise.kube.objects import name, spec
from slicewise.kube.quantities import NEVER
from slicewise.kube.ref import Object, ref_of
from slicewise.planning.actions import ClaimsCarry, Patch, SlotsFit
from slicewise.pools import adopted_settings, layout
from slicewise.tuning.state.annotations import (
    CHANGED_PATH,
    CONFIG_PATH,
    CORDONED_PATH,
    GIVEN_UP_PATH,
    ROLLOUT_PATH,
    TUNING_PATH,
    WAITED_PATH,
    marked_at,
)
from slicewise.tuning.state.pool_state import NodeState, PoolState, Rollout, Tuning, stamp

_UNSCHEDULABLE = ("spec", "unschedulable")
_CONSOLIDATE_AFTER = ("spec", "disruption", "consolidateAfter")
_BUDGETS = ("spec", "disruption", "budgets")
_REQUIREMENTS = ("spec", "template", "spec", "requirements")


# NodePool: every patch also expects the annotation as it was read, so that removing it stops the change.


def save(state: PoolState, rollout: Rollout, message: str, why: str) -> Patch:
    return _patch(state.node_pool, set_value(state.node_pool, ROLLOUT_PATH, rollout.dumped()), message, why)


def hold(state: PoolState, rollout: Rollout) -> Patch:
    """Annotation and setting in one write: what is put back later is recorded before it is overwritten."""
    live = consolidate_after(state)
    held = replace(rollout, held={"consolidateAfter": live} if live else {})
    operations = (
        *set_value(state.node_pool, ROLLOUT_PATH, held.dumped()),
        *set_value(state.node_pool, _CONSOLIDATE_AFTER, NEVER),
    )
    return _patch(
        state.node_pool,
        operations,
        f"hold consolidation of NodePool {state.name}",
        "nodes that the new N makes superfluous go afterwards, under the pool's own policy and budgets",
    )


def give_back(state: PoolState, rollout: Rollout, why: str) -> Patch | None:
    """Consolidation, while the rollout lasts; None where it is not held."""
    after = rollout.held.get("consolidateAfter")
    if consolidate_after(state) != NEVER or after in (None, NEVER):
        return None
    operations = (
        *expect(state.node_pool, ROLLOUT_PATH),
        *set_value(state.node_pool, _CONSOLIDATE_AFTER, after),
    )
    return _patch(state.node_pool, operations, f"release consolidation of NodePool {state.name}", why)


def release(state: PoolState, rollout: Rollout, history: Tuning) -> Patch:
    """Ends the rollout. A consolidateAfter that another writer set since it was held stays."""
    after = rollout.held.get("consolidateAfter")
    ours = consolidate_after(state) == NEVER
    operations = (
        *remove(state.node_pool, ROLLOUT_PATH),
        *set_value(state.node_pool, TUNING_PATH, history.dumped()),
        *(set_value(state.node_pool, _CONSOLIDATE_AFTER, after) if after and ours else ()),
        *(_carefully(state) if history.untried else ()),
    )
    message = f"release consolidation of NodePool {state.name}"
    return _patch(state.node_pool, operations, message, f"N is {rollout.target}")


def _carefully(state: PoolState) -> tuple[Operation, ...]:
    """In the same write that releases consolidation: else it packs every node at once."""
    live = (spec(state.node_pool).get("disruption") or {}).get("budgets") or ()
    if layout.ONE_AT_A_TIME in live:
        return ()
    if not adopted_settings.is_adopted(state.node_pool):
        return set_value(state.node_pool, _BUDGETS, [*live, layout.ONE_AT_A_TIME])
    added = [*adopted_settings.added_budgets(state.node_pool), layout.ONE_AT_A_TIME]
    budgets, account = adopted_settings.with_budgets(state.node_pool, added)
    return (*set_value(state.node_pool, _BUDGETS, budgets), *account)


def require(
    state: PoolState,
    keys: Sequence[str],
    why: str,
    *,
    rollout: Rollout | None = None,
    guard: ClaimsCarry | None = None,
) -> Patch:
    """Which keys its nodes may have; with `rollout`, the annotation becomes that in the same write."""
    wanted = {"key": layout.CONFIG_LABEL, "operator": "In", "values": list(keys)}
    live = (spec(state.node_pool).get("template") or {}).get("spec", {}).get("requirements") or ()
    found = [dict(requirement) for requirement in live]
    changed = [
        {**requirement, **wanted} if requirement.get("key") == layout.CONFIG_LABEL else requirement
        for requirement in found
    ]
    if all(requirement.get("key") != layout.CONFIG_LABEL for requirement in found):
        changed.append(wanted)
    operations = (
        *_annotation(state, rollout),
        *set_value(state.node_pool, _REQUIREMENTS, changed),
    )
    message = f"let nodes of NodePool {state.name} have {' or '.join(keys)}"
    return _patch(state.node_pool, operations, message, why, guard)


def limit(state: PoolState, n: int, why: str, *, rollout: Rollout | None = None) -> Patch:
    resource = layout.resource(state.pool)
    wanted = layout.limits(state.pool, state.gpu, n)[resource]
    operations = (
        *_annotation(state, rollout),
        *set_value(state.node_pool, ("spec", "limits", resource), wanted),
    )
    return _patch(state.node_pool, operations, f"limit NodePool {state.name} to {wanted} slices", why)


def consolidate_after(state: PoolState) -> str | None:
    return (spec(state.node_pool).get("disruption") or {}).get("consolidateAfter")


def _annotation(state: PoolState, rollout: Rollout | None) -> tuple[Operation, ...]:
    if rollout is None:
        return expect(state.node_pool, ROLLOUT_PATH)
    return set_value(state.node_pool, ROLLOUT_PATH, rollout.dumped()) or expect(state.node_pool, ROLLOUT_PATH)


# NodeOverlays


def count_with(state: PoolState, overlay: Object, n: int, why: str, now: datetime) -> Patch:
    resource = layout.resource(state.pool)
    gpus = int(name(overlay).rpartition("-")[2])
    wanted = layout.capacity(state.pool, state.gpu, n, gpus)[resource]
    operations = (
        *set_value(overlay, ("spec", "capacity", resource), wanted),
        *set_value(overlay, CHANGED_PATH, stamp(now)),
    )
    return _patch(overlay, operations, f"set {ref_of(overlay)} to {wanted} slices", why)


# Nodes and NodeClaims


def relabel(
    node: NodeState, key: str, why: str, now: datetime, resource: str = "", most: int | None = None
) -> Patch:
    """With `most`, only while its pods have at most that many slices, and while it is cordoned."""
    operations = (
        *(expect(node.node, _UNSCHEDULABLE) if most is not None else ()),
        *set_value(node.node, CONFIG_PATH, key),
        *set_value(node.node, CHANGED_PATH, stamp(now)),
        *remove(node.node, WAITED_PATH),
        *remove(node.node, GIVEN_UP_PATH),
    )
    guard = None if most is None else SlotsFit(node.name, resource, most)
    return _patch(node.node, operations, f"label Node {node.name} {key}", why, guard)


def relabel_claim(claim: Object, key: str, why: str, now: datetime) -> Patch:
    operations = (*set_value(claim, CONFIG_PATH, key), *set_value(claim, CHANGED_PATH, stamp(now)))
    return _patch(claim, operations, f"label NodeClaim {name(claim)} {key}", why)


def wait_for(node: NodeState, why: str, now: datetime) -> Patch:
    operations = set_value(node.node, WAITED_PATH, stamp(now))
    return _patch(node.node, operations, f"note that Node {node.name} is pending", why)


def waited_for(node: NodeState) -> datetime | None:
    return marked_at(node.node, WAITED_ANNOTATION)


def no_longer_wait_for(node: NodeState) -> Patch:
    message = f"remember that Node {node.name} is well again"
    return _patch(node.node, remove(node.node, WAITED_PATH), message, "it works as its label says")


def give_up(node: NodeState, key: str, why: str, now: datetime) -> Patch:
    """Its label says again what its plugin still does; what we cordoned is uncordoned with it."""
    operations = (
        *set_value(node.node, CONFIG_PATH, key),
        *set_value(node.node, GIVEN_UP_PATH, stamp(now)),
        *(_uncordoned(node) if node.cordoned_by_us else ()),
    )
    return _patch(node.node, operations, f"label Node {node.name} {key} again", why)


def cordon(node: NodeState, why: str, now: datetime) -> Patch:
    operations = (
        *set_value(node.node, _UNSCHEDULABLE, True),
        *set_value(node.node, CORDONED_PATH, stamp(now)),
    )
    return _patch(node.node, operations, f"cordon Node {node.name}", why)


def uncordon(node: NodeState, why: str) -> Patch:
    operations = _uncordoned(node)
    return _patch(node.node, operations, f"uncordon Node {node.name}", why)


def _patch(
    live: Object,
    operations: Sequence[Operation],
    message: str,
    why: str,
    guard: ClaimsCarry | SlotsFit | None = None,
) -> Patch:
    return Patch(ref_of(live), tuple(operations), message, why, guard)


def _uncordoned(node: NodeState) -> tuple[Operation, ...]:
    return *remove(node.node, CORDONED_PATH), *remove(node.node, _UNSCHEDULABLE)
