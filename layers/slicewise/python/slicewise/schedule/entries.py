"""
When a cluster sleeps or wakes, as people write it: weekly hours, and dates that are exceptions.

A policy keeps the texts; they are read here, when the policy is checked and when a calendar is made of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from zoneinfo import ZoneInfo, available_timezones

from slicewise.schedule.weekly_hours import Span, spans

MIDNIGHT = 24 * 60
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
DATED = re.compile(rf"({_DATE})(?: - ({_DATE}))?(?: ([0-9]{{2}}:[0-9]{{2}}-[0-9]{{2}}:[0-9]{{2}}))?")
_HOW = (
    "write weekly hours such as Mon-Fri 20:00-07:00 or Sat-Sun, "
    "or dates such as 2026-12-24, 2026-12-24 - 2027-01-01 or 2026-12-24 08:00-14:00"
)


@dataclass(frozen=True)
class Dated:
    """
    Hours of every day from `first` to `last`, both included: minutes from the day's midnight.

    `end` may lie on the day after.
    """

    first: date
    last: date
    start: int = 0
    end: int = MIDNIGHT


def entry(text: str) -> tuple[Span, ...] | Dated:
    """
    Raises:
        ValueError: Says what to write.
    """
    if found := DATED.fullmatch(text):
        return _dated(*found.groups())
    try:
        return spans(text)
    except ValueError as error:
        raise ValueError(str(error) if "24:00" in str(error) else _HOW) from error


def _dated(first: str, last: str | None, clock: str | None) -> Dated:
    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError as error:
        raise ValueError("the calendar has no such date; write one that exists") from error
    if end < begin:
        raise ValueError(f"{last} is before {first}; write the earlier date first")
    hours = spans(f"Mon {clock}")[0] if clock else Span(0)
    return Dated(begin, end, hours.start, hours.end)


def zone_problem(name: object) -> str | None:
    """What to write instead of this as a time zone; None where it is one."""
    if isinstance(name, str) and _is_zone(name):
        return None
    # Walks the whole database on disk: only for who must be helped.
    known = available_timezones()
    close = get_close_matches(str(name).replace(" ", "_"), known, n=1)
    hint = f"did you mean {close[0]}? " if close and "/" in close[0] else ""
    return f"{hint}write an IANA time zone such as Europe/Berlin, or UTC"


def _is_zone(name: str) -> bool:
    # There are also names such as "localtime" and "Factory", which mean one thing here and another there.
    if name != "UTC" and ("/" not in name or name.startswith(("posix/", "right/"))):
        return False
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is the last
        return False
    return True
