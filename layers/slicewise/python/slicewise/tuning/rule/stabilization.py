"""
When N may change: slowly up, fast down, and never twice in a row.

A pure step from what is to what to do next. It knows nothing of alarms: an
alarm only causes a reconcile, and a broken promise reaches us as a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from slicewise.policy.model import Tuning
from slicewise.tuning.state.history import History


class Breach(Enum):
    """A promise broken now, as measured on the pool."""

    OUT_OF_MEMORY = "a pod ran out of GPU memory"
    MEMORY = "device memory was over its bound"
    XID = "the driver reported an Xid error"
    ADMISSION = "the device plugin turned pods away"
    SLOWDOWN = "pods were slower than the budget"


@dataclass(frozen=True)
class Situation:
    """
    Attributes:
        target: N by the rule.
        slots_in_use: Most slots in use on any one GPU: N never goes below without moving pods.
        demand: Pods wait for slices, or a higher N would free a node.
        estimated: The evidence is only by device or incomplete.
        frozen: Why nothing may change, such as "asleep", or "".
    """

    target: int
    slots_in_use: int = 0
    demand: bool = False
    breach: Breach | None = None
    estimated: bool = False
    frozen: str = ""


@dataclass(frozen=True)
class Step:
    """
    N to go to now, equal to the current one for "stay", and why.

    `needs_drain` marks a lower N than some GPU's slots in use: it is right, but pods
    have to move first.
    """

    before: int
    after: int
    reason: str
    needs_drain: bool = False


def decide(current: int, situation: Situation, history: History, policy: Tuning, now: datetime) -> Step:
    """The next step for one pool; a clock that runs backwards means waiting, never changing."""
    current = max(1, current)
    target = max(1, situation.target)
    if situation.frozen:
        return Step(current, current, f"frozen: {situation.frozen}")
    if situation.breach and current == 1:
        return Step(1, 1, f"{situation.breach.value}: pods already have a GPU to themselves")
    if situation.breach:
        after = max(1, min(target, current - 1))
        return _lower(current, after, f"{situation.breach.value}: down at once", situation)
    if history.changed_at and not _passed(history.changed_at, policy.dwell, now):
        return Step(current, current, f"changed less than {_words(policy.dwell)} ago")
    if target < current:
        since = history.below_since
        if since is None or not _passed(since, policy.lower_after, now):
            return Step(
                current, current, f"target {target} has not been stable for {_words(policy.lower_after)}"
            )
        # Not lower than what was the target all the time: one bad sample at its end proves nothing.
        after = min(current - 1, max(target, history.below_target or target))
        return _lower(current, after, f"target {after} stable for {_words(policy.lower_after)}", situation)
    if target > current:
        return _raise(current, target, situation, history, policy, now)
    return Step(current, current, "N is on target")


def _raise(
    current: int, target: int, situation: Situation, history: History, policy: Tuning, now: datetime
) -> Step:
    if situation.estimated:
        return Step(current, current, "evidence is estimated or incomplete, which never raises N")
    # One more at a time: from 1 that doubles, which is the largest step worth a canary.
    after = current + 1
    failed = history.failed.get(after)
    if failed and not _passed(failed, policy.lock, now):
        return Step(current, current, f"N {after} is locked for {_words(policy.lock)}: its canary failed")
    since = history.above_since
    if since is None or not _passed(since, policy.raise_after, now):
        return Step(current, current, f"target {target} has not been stable for {_words(policy.raise_after)}")
    if not situation.demand:
        return Step(
            current, current, "no pod is pending and no node could be removed: raising N would not help"
        )
    return Step(current, after, f"target {target} stable for {_words(policy.raise_after)}")


def _lower(current: int, after: int, reason: str, situation: Situation) -> Step:
    return Step(current, after, reason, needs_drain=situation.slots_in_use > after)


def _passed(since: datetime, least: timedelta, now: datetime) -> bool:
    return now - since >= least


def _words(span: timedelta) -> str:
    hours = int(span.total_seconds() // 3600)
    if span < timedelta(minutes=1):
        return f"{int(span.total_seconds())} s"
    if span < timedelta(hours=1):
        return f"{int(span.total_seconds() // 60)} min"
    return f"{hours // 24} days" if hours >= 48 else f"{hours} h"
