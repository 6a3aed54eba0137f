"""How a reconcile ends: what it plans, where that leaves the cluster, and what a person should know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slicewise.model.costs import CostDay
    from slicewise.model.measures import PoolMeasures
    from slicewise.model.usage import Page
    from slicewise.planning.actions import Action


class Stage(StrEnum):
    """How far a cluster has come. Recorded by every reconcile, never read to choose the next action."""

    UNMANAGED = "unmanaged"  # no policy asks for it
    WAITING = "waiting"  # for AWS: the cluster, its endpoint, access
    BLOCKED = "blocked"  # preflight found what a person must fix
    INSTALLING = "installing"
    VERIFYING = "verifying"
    ONBOARDED = "onboarded"
    TUNING = "tuning"  # N is being changed
    AWAKE = "awake"
    GOING_TO_SLEEP = "going-to-sleep"
    ASLEEP = "asleep"
    WAKING = "waking"
    FAILED = "failed"  # a deadline passed, or a policy is wrong
    DELETED = "deleted"
    OFFBOARDING = "offboarding"  # everything of ours is being taken out of the cluster
    PAUSED = "paused"


# As earlier releases spelt them: records with these are in the table.
_FORMER_STAGES = {
    "left-alone": Stage.UNMANAGED,
    "refused": Stage.BLOCKED,
    "gone": Stage.DELETED,
}


def stage_of(text: str) -> Stage | str:
    """A stage that only another release knows keeps its text."""
    return Stage(text) if text in set(Stage) else _FORMER_STAGES.get(text, text)


@dataclass(frozen=True)
class Finding:
    """Something a person should know: a stable code, what was found, and what to do about it."""

    code: str
    message: str
    remedy: str
    blocking: bool = False

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


@dataclass(frozen=True)
class Outcome:
    """
    How a reconcile ended.

    Attributes:
        requeue_after: When to reconcile again; None leaves it to the sweep. The queue caps it at 900 s.
    """

    stage: Stage
    reason: str
    findings: tuple[Finding, ...] = ()
    requeue_after: timedelta | None = None


@dataclass(frozen=True)
class Left:
    """
    A part that is left where it is refused for good (planning/refusals.py).

    Attributes:
        until: When it is tried again.
        version: Of its object, as it was seen: once that is another one, it is tried at once.
    """

    until: datetime
    version: str = ""


@dataclass(frozen=True)
class Plan:
    """
    Actions in the order in which they must happen, and the outcome once they have.

    `details` are saved in the record, as JSON values: what led to each decision, one mapping a NodePool.
    `would` is what would be done, did the policy's mode or a pause let us: only reported. `longest_retry` is
    the longest that an object whose action failed waits for its next try. `left` has the parts that are left
    for longer, where they are refused permanently. `measured` is saved in every mode: what was measured, for
    the next reconcile to go on from; and `costs`, what GPUs cost, in this order. `unrecorded` is of a
    reconcile about a cluster of which nothing is known, nor is to be: it leaves no record. `abreast` has the
    rank of each part that waits for no other of its rank: reconcile/lanes.py does these side by side.
    `pools` is what was observed of each NodePool, for metrics. `keeps_stage` is of a plan whose stage is
    reached already, and stands where its actions fail.
    """

    outcome: Outcome
    actions: tuple[Action, ...] = field(default=())
    details: tuple[Mapping[str, Any], ...] = ()
    would: tuple[Action, ...] = ()
    longest_retry: timedelta = timedelta(minutes=15)
    left: Mapping[str, Left] = field(default_factory=dict)
    measured: tuple[Page, ...] = ()
    costs: tuple[CostDay, ...] = ()
    unrecorded: bool = False
    abreast: Mapping[str, str] = field(default_factory=dict)
    pools: tuple[PoolMeasures, ...] = ()
    keeps_stage: bool = False
