"""
What a change of N holds, consolidation and cordoned nodes, is given back where nobody may carry it on. Pure.

The change itself stays where it is, with the annotation that tells of it: whoever may carry it on holds
consolidation again and finishes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from slicewise import layout
from slicewise.actions import Action, Finding, Patch
from slicewise.json_patch import expect, remove, set_value
from slicewise.model import ClusterContents, Object, ref_of
from slicewise.objects import annotations, is_ours, labels, name, spec
from slicewise.slicing.pool_state import Rollout, read_rollout

_AFTER = ("spec", "disruption", "consolidateAfter")
_ROLLOUT = ("metadata", "annotations", layout.ROLLOUT_ANNOTATION)
_CORDONED = ("metadata", "annotations", layout.CORDONED_ANNOTATION)
_UNSCHEDULABLE = ("spec", "unschedulable")


def let_go(contents: ClusterContents, carried_on: Collection[str], why: str) -> tuple[Action, ...]:
    """`carried_on` are NodePools that somebody looks after."""
    left = _left(contents, carried_on)
    return (
        *(_release(pool, after, why) for pool, rollout in left if (after := _after(pool, rollout))),
        *uncordon(contents.nodes, {name(pool) for pool, _ in left}, why),
    )


def halfway(contents: ClusterContents, carried_on: Collection[str], why: str) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            "n-half-changed",
            f"N of NodePool {name(pool)} is between {rollout.from_} and {rollout.to}, and {why}.",
            "Consolidation is given back and no node stays cordoned. Let it be looked after again, and the "
            "change is finished; or delete the NodePool when its workloads may move.",
        )
        for pool, rollout in _left(contents, carried_on)
    )


def uncordon(nodes: Sequence[Object], node_pools: Collection[str], why: str) -> tuple[Patch, ...]:
    """Those that we cordoned, and no others."""
    return tuple(
        Patch(
            ref_of(node),
            (*remove(node, _CORDONED), *remove(node, _UNSCHEDULABLE)),
            f"uncordon Node {name(node)}",
            why,
            part=labels(node)[layout.NODE_POOL_LABEL],
        )
        for node in sorted(nodes, key=name)
        if labels(node).get(layout.NODE_POOL_LABEL) in node_pools
        and spec(node).get("unschedulable")
        and layout.CORDONED_ANNOTATION in annotations(node)
    )


def _left(contents: ClusterContents, carried_on: Collection[str]) -> list[tuple[Object, Rollout]]:
    pools = (pool for pool in contents.node_pools if is_ours(pool) and name(pool) not in carried_on)
    return [(pool, rollout) for pool in pools if (rollout := read_rollout(pool)[0])]


def _after(pool: Object, rollout: Rollout) -> str | None:
    live: Mapping[str, str] = spec(pool).get("disruption") or {}
    held = rollout.held.get("consolidateAfter")
    return held if live.get("consolidateAfter") == "Never" and held != "Never" else None


def _release(pool: Object, after: str, why: str) -> Patch:
    operations = (*expect(pool, _ROLLOUT), *set_value(pool, _AFTER, after))
    return Patch(
        ref_of(pool), operations, f"release consolidation of NodePool {name(pool)}", why, part=name(pool)
    )
