"""
What NodePools are marked with while objects sleep by a right that the policy may drop at any time. Pure.

Onboarding leaves us such a right as long as a NodePool carries its mark, no matter what the policy now says.
So a mark is written before the first object is changed. It is removed with the last, before that snapshot is
deleted: without a policy and without a snapshot no later reconcile would remove it. Where several are
restored at once, any may fail; they are noted as woken first, and their snapshots are deleted in the next
reconcile. Of a policy's own switches the mark also says which: nothing else says how objects of those kinds
are woken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeGuard

from slicewise.kube import json_patch
from slicewise.kube.labels import RETAINS, SUSPENDS, SWITCHES
from slicewise.kube.objects import annotations_of
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.kinds import JOBS, Registry, is_job, switch_of
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.sleep_fields import RETAIN
from slicewise.planning.actions import Action, DeleteSnapshot, Patch, SaveSnapshot, in_part
from slicewise.policy import switches as own_switches
from slicewise.policy.switches import Switch

STATEFUL_SET = ("apps/v1", "StatefulSet")

_Noted = SaveSnapshot | DeleteSnapshot


@dataclass(frozen=True)
class RetainedRight:
    """
    Attributes:
        mark: An annotation of NodePools.
        covers: Whether the object of a snapshot was changed under it.
        kinds: Whose objects say themselves that they were, should the table have lost it.
        message: What the mark means, for people.
    """

    mark: str
    covers: Callable[[Snapshot], bool]
    kinds: tuple[tuple[str, str], ...]
    message: str

    def is_on(self, node_pools: Iterable[Object]) -> bool:
        return any(self.mark in annotations_of(pool) for pool in node_pools)


RETAINING = RetainedRight(
    RETAINS,
    lambda snapshot: snapshot.field == RETAIN.field,
    (STATEFUL_SET,),
    "StatefulSets retain their volumes",
)
SUSPENDING = RetainedRight(SUSPENDS, lambda snapshot: is_job(snapshot.ref), JOBS, "jobs are suspended")
ALL = (RETAINING, SUSPENDING)


def marked(
    observation: Observation, found: Found, actions: Sequence[Action], part: Callable[[Action], str]
) -> tuple[Action, ...]:
    """
    The actions of a plan, with those that set or remove marks in their place.

    Args:
        part: Of which part of the plan an action is.
    """
    for right in ALL:
        actions = _with_right(right, observation, found, actions, part)
    return (*_of_switches(observation, found, actions), *actions)


def morning_of_several(observation: Observation, found: Found, snapshot: Snapshot, now: datetime) -> str:
    """For give_back: that it is noted as woken before its snapshot is deleted; empty where it need not be."""
    several = any(right.covers(snapshot) and len(_needing(right, observation)) > 1 for right in ALL)
    return now.isoformat() if several or (is_own(snapshot, found.kinds) and not snapshot.woken) else ""


def are_deleted_next(observation: Observation, actions: Iterable[Action]) -> bool:
    """
    Whether the next reconcile has to delete the snapshots of what this one notes as woken; what fails has a
    time of its own.
    """
    noted = (one for one in actions if isinstance(one, _Noted) and one.snapshot.woken)
    return any(
        _is_by_a_right(one, observation) for one in noted if str(one.snapshot.ref) not in observation.failing
    )


def is_own(snapshot: Snapshot, kinds: Registry) -> bool:
    """Whether it sleeps by a policy's own switch."""
    row = kinds.row_of(snapshot.ref.api_version, snapshot.ref.kind)
    return row is not None and row.own


def by_former(asleep: Iterable[Snapshot], kinds: Registry) -> set[Ref]:
    """Objects that sleep by a switch that the policy has dropped or changed: no other is used this night."""
    return {
        snapshot.ref
        for snapshot in asleep
        if is_own(snapshot, kinds)
        and not snapshot.woken
        and kinds.setting_of(snapshot) not in kinds.settings_of(snapshot.ref.api_version, snapshot.ref.kind)
    }


# Built-in kinds: by which right something of them was changed


def _with_right(
    right: RetainedRight,
    observation: Observation,
    found: Found,
    actions: Sequence[Action],
    part: Callable[[Action], str],
) -> tuple[Action, ...]:
    needed = _needing(right, observation)
    noted = [(number, one) for number, one in enumerate(actions) if _is_noted(one, right)]
    ending = {one.snapshot.ref: number for number, one in noted if _ends(one)}
    if len(needed) > 1 or needed - ending.keys() or not all(_ends(one) for _, one in noted):
        return (*_of_right(right, found.node_pools, "true"), *actions)
    if not noted and any(found.why_unread(Ref(*kind, "")) for kind in right.kinds):
        return tuple(actions)  # those that the table has lost may be among them
    last = max((ending[ref] for ref in needed or ending), default=0)
    unmarked = _of_right(right, found.node_pools, None)
    if noted:
        unmarked = (in_part(one, part(actions[last])) for one in unmarked)
    return (*actions[:last], *unmarked, *actions[last:])


def _needing(right: RetainedRight, observation: Observation) -> set[Ref]:
    return {snapshot.ref for snapshot in observation.slept if right.covers(snapshot) and not snapshot.woken}


def _is_by_a_right(action: _Noted, observation: Observation) -> bool:
    by_switch = isinstance(action, SaveSnapshot) and is_own(action.snapshot, observation.kinds)
    return by_switch or any(_is_noted(action, right) for right in ALL)


def _is_noted(action: Action, right: RetainedRight) -> TypeGuard[_Noted]:
    return isinstance(action, _Noted) and right.covers(action.snapshot)


def _ends(action: _Noted) -> bool:
    return isinstance(action, DeleteSnapshot) or bool(action.snapshot.woken)


def _of_right(right: RetainedRight, pools: Iterable[Object], value: str | None) -> Iterator[Action]:
    message = f"that {'' if value else 'no '}{right.message}"
    why = "the right to restore what they say must stay" if value else "each says it itself again"
    return _patches(pools, right.mark, value, message, why)


# A policy's own switches: by which ones something sleeps


def _of_switches(observation: Observation, found: Found, actions: Sequence[Action]) -> Iterator[Action]:
    planned = (one.snapshot for one in actions if isinstance(one, SaveSnapshot))
    asleep = [snapshot for snapshot in (*observation.slept, *planned) if not snapshot.woken]
    needed = {*_switches(asleep, found.kinds), *_unread_switches(found)}
    message = f"{'by which switches' if needed else 'that by no switch'} of the policy something sleeps"
    why = "the right to restore them must stay" if needed else "each is as it was"
    value = own_switches.dumped(needed) if needed else None
    return _patches(found.node_pools, SWITCHES, value, message, why)


def _switches(asleep: Iterable[Snapshot], kinds: Registry) -> Iterator[Switch]:
    for snapshot in asleep:
        row, setting = kinds.row_of(snapshot.ref.api_version, snapshot.ref.kind), kinds.setting_of(snapshot)
        if row and row.own and setting:
            yield switch_of(row, setting)


def _unread_switches(found: Found) -> Iterator[Switch]:
    """What is marked already, and may sleep where we could not read."""
    for pool in found.node_pools:
        for switch in own_switches.read(annotations_of(pool).get(SWITCHES)):
            row = found.kinds.row_of(f"{switch.group}/", switch.kind)
            if row and found.why_unread(Ref(row.api_version, row.kind, "")):
                yield switch


def _patches(
    pools: Iterable[Object], mark: str, value: str | None, message: str, why: str
) -> Iterator[Action]:
    path = ("metadata", "annotations", mark)
    for pool in pools:
        operations = json_patch.set_value(pool, path, value) if value else json_patch.remove(pool, path)
        if operations:
            yield Patch(ref_of(pool), operations, f"mark on {ref_of(pool)} {message}", why)
