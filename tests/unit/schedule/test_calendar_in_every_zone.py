"""
Five years of minutes in every zone whose clocks are ever changed, against a clock that is simply watched.

Weekly rules repeat with the wall, so what they say is read off once for each minute of a week, word for word;
then all that a zone does is to move the wall, which is watched at every minute from 2023 to 2027.
"""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest
from slicewise.schedule.calendar import Calendar
from slicewise.schedule.weekly_hours import spans

BEGIN, END = datetime(2023, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
WEEK = 7 * 1440
SHARES = 4  # for the workers to take each some
# Of the first minute of the wall's week, a Monday.
MONDAY = datetime(2022, 12, 26)


@cache
def hours() -> list[datetime]:
    """All of the five years, and the one after."""
    return [BEGIN + timedelta(hours=hour) for hour in range(int((END - BEGIN) / timedelta(hours=1)) + 1)]


def offsets(zone: ZoneInfo) -> np.ndarray:
    """
    Minutes east of UTC at each quarter of an hour: no zone has changed within one since 2023.

    Looked at each hour, and each quarter of those in which it changes: none has changed twice in one.
    """

    def east(moment: datetime) -> timedelta:
        return moment.astimezone(zone).utcoffset()

    seen = [east(moment) for moment in hours()]
    minutes = {offset: int(offset.total_seconds()) // 60 for offset in set(seen)}
    by_hour = np.array([minutes[offset] for offset in seen])
    found = np.repeat(by_hour[:-1], 4)
    for hour in np.flatnonzero(by_hour[1:] != by_hour[:-1]).tolist():
        quarters = [east(hours()[hour] + timedelta(minutes=15 * quarter)) for quarter in range(4)]
        found[4 * hour : 4 * hour + 4] = [minutes[offset] for offset in quarters]
    return found


@cache
def zones_with_changes() -> dict[str, list[str]]:
    """One zone of each history, with the others that share it; told apart by a look every six hours."""
    alike = defaultdict(list)
    moments = [BEGIN + timedelta(hours=6 * n) for n in range(5 * 366 * 4)]
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        history = tuple(moment.astimezone(zone).utcoffset() for moment in moments[:: 4 * 15])
        if len(set(history)) > 1:
            history = tuple(moment.astimezone(zone).utcoffset() for moment in moments)
            alike[history].append(name)
    return {names[0]: names[1:] for names in alike.values()}


def by_week(asleep: tuple[str, ...]) -> np.ndarray:
    """Whether each minute of the week is asleep, Monday's midnight first."""
    week = np.zeros(WEEK, bool)
    found = [span for text in asleep for span in spans(text)]
    for span in found:
        minutes = np.arange(span.start, span.end) + span.weekday * 1440
        week[minutes % WEEK] = True
    plain = week.copy()
    for span in found:
        midnight = span.weekday * 1440
        if plain[midnight - 1]:
            week[midnight : midnight + max(span.end - 1440, 0)] = True
    return week


def watched(zone: ZoneInfo, week: np.ndarray) -> list[tuple[datetime, bool]]:
    """Every change that somebody sees who looks at the wall each minute, and never lets it go back."""
    minutes = np.arange(int((END - BEGIN) / timedelta(minutes=1)))
    start = int((BEGIN.replace(tzinfo=None) - MONDAY) / timedelta(minutes=1))
    wall = np.maximum.accumulate(minutes + np.repeat(offsets(zone), 15))
    asleep = week[(wall + start) % WEEK]
    changes = np.flatnonzero(asleep[1:] != asleep[:-1]) + 1
    return [(BEGIN + timedelta(minutes=int(minute)), bool(asleep[minute])) for minute in changes]


def some_rules(seed: str) -> tuple[str, ...]:
    """One to four windows, more of them by night than by day, where clocks are changed."""
    chance = random.Random(seed)
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

    def window() -> str:
        first, last = chance.choice(days), chance.choice(days)
        if chance.random() < 0.15:
            return f"{first}-{last}"
        start, end = (
            chance.randrange(0, 240) if chance.random() < 0.7 else chance.randrange(1440) for _ in "ab"
        )
        return f"{first}-{last} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"

    return tuple({window() for _ in range(chance.randint(1, 4))})


NAMED = (
    "Africa/Casablanca",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
)


def check(name: str) -> None:
    rules = some_rules(name)
    found = Calendar(name, rules).edges(BEGIN, END - timedelta(minutes=1))

    assert [(edge.at, edge.asleep) for edge in found] == watched(ZoneInfo(name), by_week(rules)), rules


@pytest.mark.parametrize("name", NAMED)
def test_five_years_of_minutes(name):
    check(name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("share", range(SHARES))
def test_five_years_of_minutes_of_every_zone_that_has_had_a_change(share):
    zones = sorted(zones_with_changes())

    assert len(zones) > 20
    for name in zones[share::SHARES]:
        check(name)
