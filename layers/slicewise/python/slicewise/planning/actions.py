"""
What a plan may ask for: values that say what to do and why. The handlers in reconcile turn each into
one call.

Every action is idempotent: done twice, it leaves what it leaves when done once.

`part` says of what an action is one step: one object, or one NodePool's change. An error ends the later steps
of its part and no others (retries.py). It is empty where all that follows rests on the action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import Alarm
from slicewise.model.opening import Opening
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.planning.eks_actions import Installation


@dataclass(frozen=True)
class Apply:
    """Server-side apply with our field manager. Conflicting owners are overruled: these objects are ours."""

    object: Object
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"apply {ref_of(self.object)}"


@dataclass(frozen=True)
class Delete:
    """Delete one object; already deleted is fine."""

    ref: Ref
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"delete {self.ref}"


@dataclass(frozen=True)
class SlotsFit:
    """Guard: the unfinished pods on a node, read again now, request at most `most` of a resource."""

    node: str
    resource: str
    most: int


@dataclass(frozen=True)
class ClaimsCarry:
    """Guard: every NodeClaim of a NodePool, listed again now and also before it registers, carries `key`."""

    node_pool: str
    key: str


@dataclass(frozen=True)
class Patch:
    """
    A JSON Patch (RFC 6902) of one live object. Its `test` operations have what the plan saw, so that another
    writer's edit of that very field is a Conflict, and a heartbeat is none.

    Attributes:
        message: What it does, in words for people.
        subresource: Through which it is written, such as "status"; empty for the object itself.
        guard: What must still be so at the moment of writing; otherwise Conflict.
    """

    ref: Ref
    operations: tuple[Mapping[str, Any], ...]
    message: str
    why: str
    guard: SlotsFit | ClaimsCarry | None = None
    part: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class SetClass:
    """
    Server-side apply of a class to the template of what makes pods: they are replaced by a rolling update.

    Attributes:
        object: Our fields, with the uid and resourceVersion that the plan saw: a Conflict where either has
            changed.
    """

    object: Object
    message: str
    why: str
    part: str = ""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Scale:
    """
    Set the replicas of an object that has a `scale` subresource, through it.

    Attributes:
        seen: The replicas that the plan saw; any other number is a Conflict.
    """

    ref: Ref
    seen: int
    replicas: int
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"scale {self.ref} from {self.seen} to {self.replicas}"


@dataclass(frozen=True)
class SaveSnapshot:
    """Write down what an object is before it is changed. Conflict where another reconcile has, since."""

    snapshot: Snapshot
    why: str
    part: str = ""

    def __str__(self) -> str:
        if self.snapshot.woken:
            return f"note that {self.snapshot.ref} is awake"
        if self.snapshot.done:
            return f"note that {self.snapshot.ref} sleeps"
        return f"keep {self.snapshot.field} of {self.snapshot.ref}"


@dataclass(frozen=True)
class DeleteSnapshot:
    """Delete the snapshot: it was restored, or nothing is left to restore; already deleted is fine."""

    snapshot: Snapshot
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"delete the snapshot of {self.snapshot.field} of {self.snapshot.ref}"


@dataclass(frozen=True)
class PutSchedule:
    """Have the capability reconcile the cluster at this moment, once."""

    capability: str
    at: datetime
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"schedule a reconcile at {self.at:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class DeleteSchedule:
    """Already deleted is fine."""

    why: str
    part: str = ""

    def __str__(self) -> str:
        return "delete the schedule"


@dataclass(frozen=True)
class PutOpening:
    """
    Write down when what sleeps must be awake again, where the function that reads the openings of the fleet
    finds it.
    """

    opening: Opening
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"note that it opens at {self.opening.opens:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class DeleteOpening:
    """Already deleted is fine."""

    why: str
    part: str = ""

    def __str__(self) -> str:
        return "note that it has no opening"


@dataclass(frozen=True)
class Notify:
    """
    Report to the operators now, on the topic that alarms go to. Sent twice, it is read twice.

    It comes after what it reports: a write that did not happen is not reported. A reconcile that is killed
    between the two reports nothing, so a plan asks for the notice as long as what it reports can be seen.

    Attributes:
        key: What it reports, and when that happened: a notice whose key is in the record is not sent again.
        part: As in Patch.
    """

    subject: str
    text: str
    why: str
    key: str
    part: str = ""

    def __str__(self) -> str:
        return f"notify the operators: {self.subject}"


@dataclass(frozen=True)
class PutAlarm:
    """Create an alarm, or give the one of its name these settings."""

    alarm: Alarm
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"put alarm {self.alarm.name}"


@dataclass(frozen=True)
class DeleteAlarm:
    """Already deleted is fine."""

    name: str
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"delete alarm {self.name}"


@dataclass(frozen=True)
class DeleteState:
    """Delete what we keep about a cluster outside it."""

    why: str

    def __str__(self) -> str:
        return "delete the cluster's state"


@dataclass(frozen=True)
class Wake:
    """Put a trigger on another capability's queue."""

    capability: str
    why: str
    after: timedelta = timedelta(0)

    def __str__(self) -> str:
        return f"wake {self.capability}"


# Those that may be a step of a part.
Step = (
    Apply
    | Delete
    | Patch
    | SetClass
    | Scale
    | SaveSnapshot
    | DeleteSnapshot
    | PutSchedule
    | DeleteSchedule
    | PutOpening
    | DeleteOpening
    | Notify
    | PutAlarm
    | DeleteAlarm
)
Action = Step | DeleteState | Wake | Installation


def in_part(action: Action, part: str) -> Action:
    """The same as a step of a part; what knows no parts stays as it is."""
    return replace(action, part=part) if isinstance(action, Step) else action


def part_of(action: Action) -> str:
    return getattr(action, "part", "")
