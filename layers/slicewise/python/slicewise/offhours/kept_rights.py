"""
Rights that outlive the policy's reason for them: what was changed under them is restored first. Pure.

Onboarding leaves us such a right as long as a NodePool carries a mark, no matter what the policy says by
then. So the mark is written before the first object is changed. It is removed with the last, before that
snapshot is deleted: without a policy and without a snapshot no reconcile would come again. Where several are
restored at once, any may fail; they are noted as woken first, and their snapshots are deleted in the next
reconcile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeGuard

from slicewise.kube import json_patch
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.kinds import JOBS, is_job
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.sleep_fields import RETAIN
from slicewise.planning.actions import Action, DeleteSnapshot, Patch, SaveSnapshot, in_part
from slicewise.pools import layout

STATEFUL_SET = ("apps/v1", "StatefulSet")

_Noted = SaveSnapshot | DeleteSnapshot


@dataclass(frozen=True)
class RetainedRight:
    """
    Attributes:
        mark: An annotation of NodePools.
        covers: Whether the object of a snapshot was changed under it.
        kinds: Whose objects say themselves that they were, should the table have lost it.
        message: Of what the mark speaks, for people.
    """

    mark: str
    covers: Callable[[Snapshot], bool]
    kinds: tuple[tuple[str, str], ...]
    message: str


RETAINING = RetainedRight(
    layout.RETAINS,
    lambda kept: kept.field == RETAIN.field,
    (STATEFUL_SET,),
    "StatefulSets retain their volumes",
)
SUSPENDING = RetainedRight(layout.SUSPENDS, lambda kept: is_job(kept.ref), JOBS, "jobs are suspended")
ALL = (RETAINING, SUSPENDING)


def marked(
    world: Observation, found: Found, actions: Sequence[Action], part: Callable[[Action], str]
) -> tuple[Action, ...]:
    """
    The actions of a plan, with those that set or remove the marks in their place.

    Args:
        part: Of which part of the plan an action is.
    """
    for right in ALL:
        actions = _marked(right, world, found, actions, part)
    return tuple(actions)


def _marked(
    right: RetainedRight,
    world: Observation,
    found: Found,
    actions: Sequence[Action],
    part: Callable[[Action], str],
) -> tuple[Action, ...]:
    needed = _needing(right, world)
    noted = [(number, one) for number, one in enumerate(actions) if _is_noted(one, right)]
    ending = {one.snapshot.ref: number for number, one in noted if _ends(one)}
    if len(needed) > 1 or needed - ending.keys() or not all(_ends(one) for _, one in noted):
        return (*_marks(right, found.node_pools, "true"), *actions)
    if not noted and any(found.why_unread(Ref(*kind, "")) for kind in right.kinds):
        return tuple(actions)  # those that the table has lost may be among them
    last = max((ending[ref] for ref in needed or ending), default=0)
    unmarked = _marks(right, found.node_pools, None)
    if noted:
        unmarked = (in_part(one, part(actions[last])) for one in unmarked)
    return (*actions[:last], *unmarked, *actions[last:])


def morning_of_several(world: Observation, kept: Snapshot, now: datetime) -> str:
    """
    For give_back: that several are noted as woken before their snapshots are deleted; empty where one is
    left.
    """
    several = any(right.covers(kept) and len(_needing(right, world)) > 1 for right in ALL)
    return now.isoformat() if several else ""


def are_forgotten_next(world: Observation, actions: Iterable[Action]) -> bool:
    """
    Whether the next reconcile has to delete the snapshots of what this one notes as woken; what fails has a
    time of its own.
    """
    return any(
        _is_noted(one, right) and one.snapshot.woken and str(one.snapshot.ref) not in world.failing
        for one in actions
        for right in ALL
    )


def _needing(right: RetainedRight, world: Observation) -> set[Ref]:
    return {kept.ref for kept in world.slept if right.covers(kept) and not kept.woken}


def _is_noted(action: Action, right: RetainedRight) -> TypeGuard[_Noted]:
    return isinstance(action, SaveSnapshot | DeleteSnapshot) and right.covers(action.snapshot)


def _ends(action: _Noted) -> bool:
    return isinstance(action, DeleteSnapshot) or bool(action.snapshot.woken)


def _marks(right: RetainedRight, pools: Iterable[Object], value: str | None) -> Iterator[Action]:
    path = ("metadata", "annotations", right.mark)
    for pool in pools:
        operations = json_patch.set_value(pool, path, value) if value else json_patch.remove(pool, path)
        message = f"mark on {ref_of(pool)} that {'' if value else 'no '}{right.message}"
        why = "the right to restore what they say must stay" if value else "each says it itself again"
        if operations:
            yield Patch(ref_of(pool), operations, message, why)
