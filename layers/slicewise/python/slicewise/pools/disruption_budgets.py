"""
Karpenter's disruption budgets, read back: how many nodes of a NodePool may go now, for one reason. Pure.

As Karpenter reads them (pkg/apis/v1/nodepool.go, v1.14): of all budgets that name the reason, or none, and
are active, the strictest counts; a percentage is rounded up; without any budget it is a tenth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.kube import quantities

_MINUTE = timedelta(minutes=1)
# A budget that lasts longer than it takes to come again never ends: so far back, and ahead, fires are
# searched.
_LOOKED_BACK = timedelta(days=8)
_NEVER = datetime.max.replace(tzinfo=UTC)
_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_NAMES = {
    **{day: number for number, day in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))},
    **{
        month: number + 1
        for number, month in enumerate(
            ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
        )
    },
}


@dataclass(frozen=True)
class Blocking:
    """
    A budget that lets no node go.

    Attributes:
        message: The budget, in Karpenter's words.
        until: When it ends; None where it always applies.
    """

    message: str
    until: datetime | None = None


def blocking(
    budgets: Iterable[Mapping[str, Any]], reason: str, nodes: int, now: datetime
) -> tuple[Blocking, ...]:
    """
    Those that let no node go now.

    Args:
        nodes: Of the NodePool.
        now: Aware UTC, as the schedules are.
    """
    found = []
    for budget in budgets:
        reasons = budget.get("reasons") or ()
        if (reasons and reason not in reasons) or allowed(str(budget.get("nodes", "")), nodes) != 0:
            continue
        schedule = budget.get("schedule")
        if not schedule:
            found.append(Blocking(f'nodes: "{budget["nodes"]}"'))
        elif until := _active_until(str(schedule), str(budget.get("duration", "0s")), now):
            message = f'nodes: "{budget["nodes"]}", schedule "{schedule}" for {budget.get("duration")}'
            found.append(Blocking(message, None if until == _NEVER else until))
    return tuple(found)


def allowed(text: str, nodes: int) -> int | None:
    """Nodes that may go; None for what is no number."""
    if text.endswith("%") and text[:-1].isdecimal():
        return math.ceil(int(text[:-1]) * nodes / 100)
    return int(text) if text.isdecimal() else None


def _active_until(schedule: str, duration: str, now: datetime) -> datetime | None:
    """
    When what has begun ends, with all that begins before that; _NEVER where each begins before the last has
    ended, None where nothing has begun, or the schedule cannot be read.
    """
    try:
        fields, length = _fields(schedule), quantities.duration(duration)
    except ValueError:
        return None
    at = now.replace(second=0, microsecond=0)
    earliest = now - min(length, _LOOKED_BACK)
    while at > earliest:
        if _matches(fields, at):
            return _end_of_all(fields, at, length, now + _LOOKED_BACK)
        at -= _MINUTE
    return None


def _end_of_all(
    fields: tuple[frozenset[int] | None, ...], began: datetime, length: timedelta, horizon: datetime
) -> datetime:
    at, end = began, began + length
    while at <= end:
        if at > horizon:
            return _NEVER
        if _matches(fields, at):
            end = at + length
        at += _MINUTE
    return end


def _fields(schedule: str) -> tuple[frozenset[int] | None, ...]:
    """Of cron: minute, hour, day, month, weekday; None for any."""
    parts = _WORDS.get(schedule, schedule).split()
    if len(parts) != 5:
        raise ValueError(f"{schedule!r} is no cron schedule")
    bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    return tuple(_values(part, *bound) for part, bound in zip(parts, bounds, strict=True))


def _values(text: str, least: int, most: int) -> frozenset[int] | None:
    if text in ("*", "?"):
        return None
    found: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin = least if first in ("*", "?") else _number(first)
        end = _number(last) if last else most if step or first in ("*", "?") else begin
        found.update(range(begin, end + 1, int(step or 1)))
    return frozenset(value % 7 if most == 7 else value for value in found)


def _number(text: str) -> int:
    return _NAMES[text] if text in _NAMES else int(text)


def _matches(fields: tuple[frozenset[int] | None, ...], at: datetime) -> bool:
    """Where both day and weekday are named, either is enough, as cron has it."""
    minute, hour, day, month, weekday = fields
    days = [
        value in allowed_
        for value, allowed_ in ((at.day, day), (at.isoweekday() % 7, weekday))
        if allowed_ is not None
    ]
    return (
        (minute is None or at.minute in minute)
        and (hour is None or at.hour in hour)
        and (month is None or at.month in month)
        and (not days or any(days))
    )
