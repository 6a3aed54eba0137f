"""
What sleeps by a policy's own switch is marked on NodePools, with the switch: a policy may drop it at any
time, and then nothing else says by which right, and of which kind, objects are to be woken. Pure.

The mark is written before the first object sleeps, and removed once none does. Objects are noted as woken
first and their snapshots deleted in the next reconcile, which removes the mark before: without a policy and
without a snapshot no reconcile would come again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from slicewise.kube import json_patch
from slicewise.kube.objects import annotations_of
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.kinds import Registry, switch_of
from slicewise.offhours.observation import Found, Observation
from slicewise.planning.actions import Action, Patch, SaveSnapshot
from slicewise.policy import switches as own_switches
from slicewise.policy.switches import Switch
from slicewise.pools import layout


def marked(world: Observation, found: Found, actions: Sequence[Action]) -> tuple[Action, ...]:
    """The actions of a plan, after those that set or remove the mark."""
    planned = (one.snapshot for one in actions if isinstance(one, SaveSnapshot))
    asleep = [kept for kept in (*world.slept, *planned) if not kept.woken]
    needed = {*_switches(asleep, found.kinds), *_unread(found)}
    return (*_marks(found.node_pools, own_switches.dumped(needed) if needed else None), *actions)


def is_own(kept: Snapshot, kinds: Registry) -> bool:
    row = kinds.row_of(kept.ref.api_version, kept.ref.kind)
    return row is not None and row.own


def by_former(asleep: Iterable[Snapshot], kinds: Registry) -> set[Ref]:
    """Objects that sleep by a switch that the policy has dropped or changed: no other is used this night."""
    return {
        kept.ref
        for kept in asleep
        if is_own(kept, kinds)
        and not kept.woken
        and kinds.setting_of(kept) not in kinds.settings_of(kept.ref.api_version, kept.ref.kind)
    }


def are_forgotten_next(world: Observation, actions: Iterable[Action]) -> bool:
    """
    Whether the next reconcile has to delete the snapshots of what this one notes as woken; what fails has a
    time of its own.
    """
    noted = (one.snapshot for one in actions if isinstance(one, SaveSnapshot) and one.snapshot.woken)
    return any(is_own(kept, world.kinds) and str(kept.ref) not in world.failing for kept in noted)


def _switches(asleep: Iterable[Snapshot], kinds: Registry) -> Iterator[Switch]:
    for kept in asleep:
        row, setting = kinds.row_of(kept.ref.api_version, kept.ref.kind), kinds.setting_of(kept)
        if row and row.own and setting:
            yield switch_of(row, setting)


def _unread(found: Found) -> Iterator[Switch]:
    """What is marked already, and may sleep where we could not read."""
    for pool in found.node_pools:
        for switch in own_switches.read(annotations_of(pool).get(layout.SWITCHES)):
            row = found.kinds.row_of(f"{switch.group}/", switch.kind)
            if row and found.why_unread(Ref(row.api_version, row.kind, "")):
                yield switch


def _marks(pools: Iterable[Object], value: str | None) -> Iterator[Action]:
    path = ("metadata", "annotations", layout.SWITCHES)
    for pool in pools:
        operations = json_patch.set_value(pool, path, value) if value else json_patch.remove(pool, path)
        what = "by which switches of the policy" if value else "that by no switch of the policy"
        message = f"mark on {ref_of(pool)} {what} something sleeps"
        why = "the right to restore them must stay" if value else "each is as it was"
        if operations:
            yield Patch(ref_of(pool), operations, message, why)
