"""Which days a report is of: what `--since` and `--until` say. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from slicewise.errors import Refused

_SPAN = re.compile(r"([0-9]{1,4})([dw])")
_DAYS = {"d": 1, "w": 7}
_DAY = timedelta(days=1)
_WHEN = "Write a number of days or weeks that end today, such as 30d or 2w, or a day, such as 2026-11-01."


class Period(NamedTuple):
    """
    Attributes:
        since: The first day's begin, in UTC.
        until: The last day's end, or now where that is earlier.
    """

    since: datetime
    until: datetime


def period(since: str, until: str, now: datetime) -> Period:
    """
    Args:
        until: The last day that counts; today where it is empty.

    Raises:
        Refused: Says what was written, what is wrong with it and what to write.
    """
    last = _day("--until", until) if until else now.astimezone(UTC).date()
    found = _SPAN.fullmatch(since)
    first = last - (int(found[1]) * _DAYS[found[2]] - 1) * _DAY if found else _day("--since", since)
    if found and not int(found[1]):
        raise Refused(f"--since {since} is no day at all. {_WHEN}")
    begin, end = _begin(first), _begin(last) + _DAY
    if begin > now:
        raise Refused(f"--since {since} is in the future. {_WHEN}")
    if begin >= end:
        raise Refused(f"--since {since} is after --until {until or 'today'}. Swap them.")
    return Period(begin, min(end, now))


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise Refused(f"{option} {text} is no day. {_WHEN}") from error


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
