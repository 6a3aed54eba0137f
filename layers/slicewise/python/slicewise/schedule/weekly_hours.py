"""
Weekly hours in a time zone, as Karpenter's disruption budgets: cron in UTC, with a duration.

A budget knows no time zones, so its hours are those of the offset at hand. What is made here is right for the
five days after `now`, a clock change among them included; who asks again within that time sees no error.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = "|".join(_DAYS)
SPAN = re.compile(rf"({_DAY})(?:-({_DAY}))?(?: ([0-9]{{2}}):([0-9]{{2}})-([0-9]{{2}}):([0-9]{{2}}))?")
_MIDNIGHT = 24 * 60
# A budget fires on the week before and after as well, where the clock may be an hour off: the hours that have
# just ended keep their budget until that one has ended, too, however long a clock change made it.
_LINGER = timedelta(hours=3)


@dataclass(frozen=True)
class Span:
    """Hours of one weekday (0 is Monday), in minutes from its midnight; `end` may lie on the next day."""

    weekday: int
    start: int = 0
    end: int = _MIDNIGHT


def spans(text: str) -> tuple[Span, ...]:
    """
    Read "Mon-Fri 08:00-18:00", "Sat-Sun" or "Mon 22:00-06:00": the end is on the next day where it is not
    after the start.

    Raises:
        ValueError: Says what to write.
    """
    found = SPAN.fullmatch(text)
    if not found:
        raise ValueError("write days and hours such as Mon-Fri 08:00-18:00, or days alone such as Sat-Sun")
    first, last, *clock = found.groups()
    start, end = _minutes(*clock) if clock[0] else (0, _MIDNIGHT)
    begin = _DAYS.index(first)
    length = (_DAYS.index(last or first) - begin) % 7 + 1
    return tuple(Span((begin + day) % 7, start, end) for day in range(length))


def _minutes(*clock: str) -> tuple[int, int]:
    start_hour, start_minute, end_hour, end_minute = map(int, clock)
    start, end = start_hour * 60 + start_minute, end_hour * 60 + end_minute
    if max(start_minute, end_minute) > 59 or start >= _MIDNIGHT or end > _MIDNIGHT:
        raise ValueError("write hours from 00:00 to 24:00")
    return start, end if end > start else end + _MIDNIGHT


def budgets(
    time_zone: str, hours: Iterable[str], nodes: str, reasons: Sequence[str], now: datetime
) -> list[dict[str, Any]]:
    """
    Budgets that, within the hours, let at most `nodes` (a number or percentage) be disrupted for `reasons`.

    Args:
        time_zone: IANA, such as "Europe/Berlin".
        hours: As `spans` reads them; they may overlap: Karpenter takes the strictest budget.
        now: Aware UTC.
    """
    zone = ZoneInfo(time_zone)
    weekly = {span for text in hours for span in spans(text)}
    days: dict[tuple[time, timedelta], set[int]] = defaultdict(set)
    for start, end in (_occurrence(span, zone, now) for span in weekly):
        if start < end:  # else the clock jumps over all of it
            days[start.time(), end - start].add(start.isoweekday() % 7)  # cron's week begins with Sunday, 0
    return [
        {
            "nodes": nodes,
            "reasons": list(reasons),
            "schedule": f"{at.minute} {at.hour} * * {','.join(map(str, sorted(on)))}",
            "duration": _duration(length),
        }
        for (at, length), on in sorted(days.items(), key=lambda item: (sorted(item[1]), item[0]))
    ]


def _occurrence(span: Span, zone: tzinfo, now: datetime) -> tuple[datetime, datetime]:
    """In UTC: the one that runs or has just ended, else the next."""
    day = now.astimezone(zone).date() - timedelta(days=3)
    while True:
        if day.weekday() == span.weekday:
            start = _instant(day, span.start, zone, 0)
            end = _instant(day, span.end, zone, 1)
            if end + _LINGER > now:
                return start, end
        day += timedelta(days=1)


def _instant(day: date, minutes: int, zone: tzinfo, fold: int) -> datetime:
    """
    When a clock on the wall shows this, in UTC.

    Where it does so twice, `fold` chooses; where the clock jumps over it, it is the jump.
    """
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    one, other = (wall.replace(tzinfo=zone, fold=side).astimezone(UTC) for side in (0, 1))
    early, late = min(one, other), max(one, other)
    if early.astimezone(zone).replace(tzinfo=None) == wall:
        return late if fold else early
    while late - early > timedelta(minutes=1):
        middle = early + (late - early) / 2
        middle -= timedelta(seconds=middle.second, microseconds=middle.microsecond)
        before_jump = middle.astimezone(zone).utcoffset() == early.astimezone(zone).utcoffset()
        early, late = (middle, late) if before_jump else (early, middle)
    return late


def _duration(length: timedelta) -> str:
    hours, minutes = divmod(int(length.total_seconds()) // 60, 60)
    return f"{hours}h{minutes}m" if minutes else f"{hours}h"
