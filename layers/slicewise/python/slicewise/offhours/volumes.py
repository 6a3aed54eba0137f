"""
StatefulSets that retain their volumes for a sleep: their own word is given back last, and the right to do so
stays until the last of them has it. Pure.

Onboarding leaves us that right as long as a NodePool carries a mark, whatever the policy says by then. So the
mark stands before the first set is told to retain. It goes with the last, before that is forgotten: without a
policy and with nothing kept nobody looks again. Where several are given back at once, any may fail; they are
noted as woken first, and forgotten in the next pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from slicewise import json_patch, layout
from slicewise.actions import Action, ForgetSnapshot, KeepSnapshot, Patch, in_part
from slicewise.model import Object, Ref, ref_of
from slicewise.offhours.settings import REPLICAS, RETAIN
from slicewise.offhours.world import Found, World
from slicewise.snapshots import Snapshot

STATEFUL_SET = ("apps/v1", "StatefulSet")


def marked(
    world: World, found: Found, actions: Sequence[Action], part: Callable[[Action], str]
) -> tuple[Action, ...]:
    """
    The actions of a plan, with those that set or remove the mark in their place.

    Args:
        part: Of which part of the plan an action is.
    """
    needed = _retaining(world)
    of_sets = [(number, one) for number, one in enumerate(actions) if _is_noted(one)]
    ending = {one.snapshot.ref: number for number, one in of_sets if _ends(one)}
    if len(needed) > 1 or needed - ending.keys() or not all(_ends(one) for _, one in of_sets):
        return (*_marks(found.node_pools, "true"), *actions)
    if not of_sets and found.why_unread(Ref(*STATEFUL_SET, "")):
        return tuple(actions)  # those that the table has lost may be among them
    last = max((ending[ref] for ref in needed or ending), default=0)
    unmarked = _marks(found.node_pools, None)
    if of_sets:
        unmarked = (in_part(one, part(actions[last])) for one in unmarked)
    return (*actions[:last], *unmarked, *actions[last:])


def morning_of_several(world: World, now: datetime) -> str:
    """For give_back: that several are noted as woken before they are forgotten; empty where one is left."""
    return now.isoformat() if len(_retaining(world)) > 1 else ""


def are_forgotten_next(world: World, actions: Iterable[Action]) -> bool:
    """Whether the next pass has to forget what this one notes as woken; what fails has a time of its own."""
    return any(
        _is_noted(one) and one.snapshot.woken and str(one.snapshot.ref) not in world.failing
        for one in actions
    )


def held(world: World, found: Found, near_the_opening: bool) -> tuple[Snapshot, ...]:
    """
    What says that volumes are retained is given back last: once a look finds that the set has replicas again,
    or that nobody gave it any for a while.
    """
    if not near_the_opening:
        return ()
    kept = (one for one in world.slept if one.field == RETAIN.field and not one.woken)
    return tuple(one for one in kept if _has_none(found.objects.get(one.ref)))


def _has_none(live: Object | None) -> bool:
    return live is not None and not REPLICAS.value(live)


def _retaining(world: World) -> set[Ref]:
    return {kept.ref for kept in world.slept if kept.field == RETAIN.field and not kept.woken}


def _is_noted(action: Action) -> bool:
    return isinstance(action, KeepSnapshot | ForgetSnapshot) and action.snapshot.field == RETAIN.field


def _ends(action: Action) -> bool:
    return isinstance(action, ForgetSnapshot) or bool(action.snapshot.woken)


def _marks(pools: Iterable[Object], value: str | None) -> Iterator[Action]:
    path = ("metadata", "annotations", layout.RETAINS)
    for pool in pools:
        operations = json_patch.set_value(pool, path, value) if value else json_patch.remove(pool, path)
        says = f"mark on {ref_of(pool)} that {'' if value else 'no '}StatefulSets retain their volumes"
        why = (
            "the right to give back what they say of them must stay" if value else "each says it itself again"
        )
        if operations:
            yield Patch(ref_of(pool), operations, says, why)
