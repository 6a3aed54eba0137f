"""Parts of a plan: which one each action is of, and beside which others it is done. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from slicewise.offhours import queues
from slicewise.planning.actions import (
    Action,
    Delete,
    DeleteOpening,
    DeleteSchedule,
    DeleteSnapshot,
    Notify,
    Patch,
    PutOpening,
    PutSchedule,
    SaveSnapshot,
    Scale,
    part_of,
)


def part(action: Action) -> str:
    """An object is a part with all that is done to it, or noted of it: what fails there ends there."""
    if given := part_of(action):
        return given
    match action:
        case Patch(ref=ref) | Scale(ref=ref) | Delete(ref=ref):
            return str(ref)
        case SaveSnapshot(snapshot=snapshot) | DeleteSnapshot(snapshot=snapshot):
            return str(snapshot.ref)
        case PutSchedule() | DeleteSchedule():
            return "the schedule"
        case PutOpening() | DeleteOpening():
            return "the opening"
        case Notify(subject=subject):
            return f"the notice {subject!r}"
    raise TypeError(f"no part is known for {type(action).__name__}")


def abreast(actions: Iterable[Action]) -> dict[str, str]:
    """
    Objects in namespaces are changed beside others of their rank: what makes work, or workloads. Everything
    else (the schedule, NodePools, notices) is done alone, in its turn.
    """
    ranks: dict[str, str] = {}
    for action in actions:
        if isinstance(action, Patch | SaveSnapshot | DeleteSnapshot) and _is_of_a_queued(action):
            ranks.setdefault(action.part, "waits in a queue")
        if isinstance(action, Patch) and action.subresource:
            ranks[action.part] = "missed runs"  # before any is resumed
        if isinstance(action, Patch | Scale | Delete) and action.ref.namespace:
            ranks.setdefault(action.part, "makes work")
        if isinstance(action, Scale):
            ranks[action.part] = "workload"
        if isinstance(action, SaveSnapshot | DeleteSnapshot) and action.snapshot.ref.namespace:
            ranks.setdefault(action.part, "makes work")
    return ranks


def _is_of_a_queued(action: Patch | SaveSnapshot | DeleteSnapshot) -> bool:
    ref = action.ref if isinstance(action, Patch) else action.snapshot.ref
    return ref[:2] == queues.QUEUED
