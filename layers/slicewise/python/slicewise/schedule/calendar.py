"""
Is a cluster asleep at t, and when does that change next? Pure.

The rules, strongest first:

* a date that is an exception: awake, or asleep
* a holiday: asleep all day
* weekly hours: awake, or asleep
* otherwise awake

Awake wins over asleep where both are in one line: a cluster too many costs less than one that is missed.

Hours over midnight begin on the day that is named. And sleep that lasts until midnight continues into the
morning of a day whose own night is asleep: with "Mon-Fri 20:00-07:00" and "Sat-Sun" a cluster sleeps from
Friday 20:00 to Monday 07:00, which is what is meant by it.

Hours are those of a wall clock that is never set back (local_time.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from slicewise.model.spans import DAY
from slicewise.schedule.entries import MIDNIGHT, Dated, entry
from slicewise.schedule.holidays import NO_HOLIDAYS, Holidays
from slicewise.schedule.local_time import first_shows, shown
from slicewise.schedule.weekly_hours import Span

# A yearly holiday comes within a year; dates further away are seen once they are nearer.
_HORIZON = timedelta(days=400)


@dataclass(frozen=True)
class Edge:
    """The moment, in UTC, from which a cluster is asleep or awake."""

    at: datetime
    asleep: bool


@dataclass(frozen=True)
class _Hours:
    """One list of a policy, read."""

    weekly: tuple[Span, ...]
    dated: tuple[Dated, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> _Hours:
        entries = [entry(text) for text in texts]
        return cls(
            tuple(span for found in entries if isinstance(found, tuple) for span in found),
            tuple(found for found in entries if isinstance(found, Dated)),
        )

    def minutes(self) -> set[int]:
        """Of a day, those at which any entry may begin or end."""
        every: tuple[Span | Dated, ...] = (*self.weekly, *self.dated)
        edges = {edge for hours in every for edge in (hours.start, hours.end)}
        return {edge % MIDNIGHT for edge in edges}

    def on_date(self, wall: datetime) -> bool:
        return any(_within(hours, wall, hours.first, hours.last) for hours in self.dated)

    def in_week(self, wall: datetime) -> bool:
        today, minutes = wall.weekday(), _minutes(wall)
        of_yesterday = self._by_weekday[today - 1]  # of Sunday, on a Monday
        return any(span.start <= minutes < span.end for span in self._by_weekday[today]) or any(
            span.start <= minutes + MIDNIGHT < span.end for span in of_yesterday
        )

    def on_the_morning(self, wall: datetime) -> bool:
        """Whether these hours would cover this time, had they begun the evening before."""
        minutes = _minutes(wall) + MIDNIGHT
        return any(span.start <= minutes < span.end for span in self._by_weekday[wall.weekday()])

    @cached_property
    def _by_weekday(self) -> tuple[tuple[Span, ...], ...]:
        """Monday's first. Hours are asked for each moment at which something may change, of years."""
        return tuple(tuple(span for span in self.weekly if span.weekday == day) for day in range(7))


def _minutes(wall: datetime) -> int:
    """Since its midnight."""
    return wall.hour * 60 + wall.minute


def _covers(hours: Dated, wall: datetime, days: int) -> bool:
    """Whether hours that began so many days ago have come and are not over."""
    return hours.start <= _minutes(wall) + days * MIDNIGHT < hours.end


def _within(hours: Dated, wall: datetime, first: date, last: date) -> bool:
    return any(first <= wall.date() - days * DAY <= last and _covers(hours, wall, days) for days in (0, 1))


@dataclass(frozen=True)
class Calendar:
    """
    Args:
        time_zone: IANA, such as "Europe/Berlin".
        asleep, awake: As calendar_entries.entry reads them; they may touch and overlap.
    """

    time_zone: str
    asleep: tuple[str, ...]
    awake: tuple[str, ...] = ()
    holidays: Holidays = NO_HOLIDAYS

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def is_asleep(self, at: datetime) -> bool:
        """
        Args:
            at: Aware.
        """
        return self._is_asleep(shown(at, self.zone))

    def next_edge(self, after: datetime) -> Edge | None:
        """The first change after a moment; None where none comes within 400 days."""
        return next(self.edges(after, after + _HORIZON), None)

    def edges(self, after: datetime, until: datetime) -> Iterator[Edge]:
        """Every change after a moment and up to another."""
        asleep = self.is_asleep(after)
        for moment in self._candidates(after, until):
            if self.is_asleep(moment) != asleep:
                asleep = not asleep
                yield Edge(moment, asleep)

    @cached_property
    def _asleep(self) -> _Hours:
        return _Hours.of(self.asleep)

    @cached_property
    def _awake(self) -> _Hours:
        return _Hours.of(self.awake)

    def _is_asleep(self, wall: datetime) -> bool:
        if self._awake.on_date(wall):
            return False
        if self._asleep.on_date(wall) or wall.date() in self.holidays:
            return True
        if self._awake.in_week(wall):
            return False
        return self._asleep.in_week(wall) or self._goes_on(wall)

    def _goes_on(self, wall: datetime) -> bool:
        """
        Asks at most one day back: hours are shorter than a day, so none that go on into a morning last until
        the midnight after.
        """
        if not self._asleep.on_the_morning(wall):
            return False
        return self._is_asleep(datetime.combine(wall.date(), time()) - timedelta(minutes=1))

    def _candidates(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Each moment within these bounds at which something may change, in order."""
        minutes = sorted({0} | self._asleep.minutes() | self._awake.minutes())
        day = shown(after, self.zone).date()
        last = after
        while True:
            for minute in minutes:
                moment = first_shows(datetime.combine(day, time()) + timedelta(minutes=minute), self.zone)
                if moment > until:
                    return
                if moment > last:
                    last = moment
                    yield moment
            day += DAY
