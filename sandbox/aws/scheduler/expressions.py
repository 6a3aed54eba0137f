"""
EventBridge Scheduler's expressions: `rate(…)`, `cron(…)` and `at(…)`, checked and computed.

After the Scheduler user guide's "Schedule types": six cron fields (minutes, hours, day of month, month,
day of week, year) with `,` `-` `*` `/` `?` `L` `W` `#`; one of the two day fields must be `?`; days of
the week count from 1 = Sunday. Times are of the schedule's time zone: one that a change to
summer time skips does not fire, one that occurs twice fires once, at its first occurrence.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = {name: number for number, name in enumerate(_MONTHS, 1)}
WEEKDAYS = {name: number for number, name in enumerate(_WEEKDAYS, 1)}
FIRST_YEAR, LAST_YEAR = 1970, 2199


class InvalidExpression(ValueError):
    """The expression, what is wrong with it, and what would be right."""


@dataclass(frozen=True)
class Rate:
    every: timedelta

    def following(self, after: datetime, start: datetime) -> datetime | None:
        periods = max((after - start) // self.every + 1, 1)
        return start + periods * self.every


@dataclass(frozen=True)
class At:
    when: datetime

    def following(self, after: datetime, start: datetime) -> datetime | None:
        return self.when if self.when > after else None


@dataclass(frozen=True)
class Cron:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: str
    months: frozenset[int]
    weekdays: str
    years: frozenset[int]
    zone: ZoneInfo

    def following(self, after: datetime, start: datetime) -> datetime | None:
        day = after.astimezone(self.zone).date()
        last = min(max(self.years), day.year + 8)  # a 29 February can be eight years away
        while day.year <= last:
            if self._fires_on(day):
                for when in self._times_of(day):
                    if when > after:
                        return when
            day = self._next_candidate(day)
        return None

    def _next_candidate(self, day: date) -> date:
        if day.month not in self.months or day.year not in self.years:
            # On to the next month, at once.
            return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        return day + timedelta(days=1)

    def _fires_on(self, day: date) -> bool:
        if day.year not in self.years or day.month not in self.months:
            return False
        if self.weekdays == "?":
            return _is_day_of_month(self.days, day)
        return _is_day_of_week(self.weekdays, day)

    def _times_of(self, day: date) -> list[datetime]:
        moments = list[datetime]()
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                moment = local.astimezone(UTC)
                if moment.astimezone(self.zone).replace(tzinfo=None) == local.replace(tzinfo=None):
                    moments.append(moment)  # else summer time skips it
        return sorted(moments)


Expression = Rate | At | Cron


@lru_cache(maxsize=4096)
def parse(text: str, zone_name: str = "UTC") -> Expression:
    """
    Raises:
        InvalidExpression: What AWS would answer with a ValidationException.
    """
    zone = _zone(zone_name)
    match = re.fullmatch(r"(rate|cron|at)\((.*)\)", text)
    if not match:
        raise InvalidExpression(f"{text!r} is none of rate(...), cron(...), at(...)")
    kind, body = match[1], match[2]
    try:
        return {"rate": _rate, "cron": _cron, "at": _at}[kind](body, zone)
    except InvalidExpression as error:
        raise InvalidExpression(f"{text!r}: {error}") from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise InvalidExpression(f"{name!r} is not a time zone of the IANA database") from None


def _rate(body: str, zone: ZoneInfo) -> Rate:
    match = re.fullmatch(r"([1-9]\d*) (minute|hour|day)s?", body)
    if not match:
        raise InvalidExpression("a rate is a positive number and minutes, hours or days")
    return Rate(int(match[1]) * UNITS[match[2]])


def _at(body: str, zone: ZoneInfo) -> At:
    try:
        return At(datetime.strptime(body, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=zone).astimezone(UTC))
    except ValueError:
        raise InvalidExpression("a time is written yyyy-mm-ddThh:mm:ss") from None


def _cron(body: str, zone: ZoneInfo) -> Cron:
    fields = body.split()
    if len(fields) != 6:
        raise InvalidExpression("six fields are needed: minutes hours day-of-month month day-of-week year")
    minutes, hours, days, months, weekdays, years = fields
    if (days == "?") == (weekdays == "?"):
        raise InvalidExpression("exactly one of day-of-month and day-of-week must be ?")
    if days != "?":
        _check_days(days)
    else:
        _check_weekdays(weekdays)
    return Cron(
        minutes=_numbers("minutes", minutes, 0, 59),
        hours=_numbers("hours", hours, 0, 23),
        days=days,
        months=_numbers("month", months, 1, 12, MONTHS),
        weekdays=weekdays,
        years=_numbers("year", years, FIRST_YEAR, LAST_YEAR),
        zone=zone,
    )


def _numbers(
    name: str, text: str, low: int, high: int, names: dict[str, int] | None = None
) -> frozenset[int]:
    found = set[int]()
    for part in text.split(","):
        match = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?", part)
        if not match:
            raise InvalidExpression(f"{part!r} in {name}")
        first, last, step = match[1], match[2], int(match[3] or 1)
        begin = low if first == "*" else _number(name, first, low, high, names)
        end = high if first == "*" or match[3] else begin
        if last:
            end = _number(name, last, low, high, names)
        if step < 1 or begin > end or (first == "*" and last):
            raise InvalidExpression(f"{part!r} in {name}")
        found |= set(range(begin, end + 1, step))
    return frozenset(found)


def _number(name: str, text: str, low: int, high: int, names: dict[str, int] | None) -> int:
    number = (names or {}).get(text.upper(), int(text) if text.isdigit() else -1)
    if not low <= number <= high:
        raise InvalidExpression(f"{text!r} in {name} is not within {low} and {high}")
    return number


def _check_days(text: str) -> None:
    if text == "L":
        return
    if weekday := re.fullmatch(r"(\d+)W", text):
        _number("day-of-month", weekday[1], 1, 31, None)
        return
    _numbers("day-of-month", text, 1, 31)


def _check_weekdays(text: str) -> None:
    if nth := re.fullmatch(r"(\w+)#([1-5])", text):
        _number("day-of-week", nth[1], 1, 7, WEEKDAYS)
    elif last := re.fullmatch(r"(\w+)L", text):
        _number("day-of-week", last[1], 1, 7, WEEKDAYS)
    elif text != "L":
        _numbers("day-of-week", text, 1, 7, WEEKDAYS)


def _is_day_of_month(text: str, day: date) -> bool:
    length = calendar.monthrange(day.year, day.month)[1]
    if text == "L":
        return day.day == length
    if text.endswith("W"):
        return day == _nearest_weekday(day.replace(day=min(int(text[:-1]), length)), length)
    return day.day in _numbers("day-of-month", text, 1, 31)


def _nearest_weekday(day: date, length: int) -> date:
    """Within the same month: the first, a Saturday, moves to Monday the third."""
    if day.weekday() == 5:
        return day + timedelta(days=-1 if day.day > 1 else 2)
    if day.weekday() == 6:
        return day + timedelta(days=1 if day.day < length else -2)
    return day


def _is_day_of_week(text: str, day: date) -> bool:
    number = day.isoweekday() % 7 + 1  # Sunday is 1
    if nth := re.fullmatch(r"(\w+)#([1-5])", text):
        return number == _number("", nth[1], 1, 7, WEEKDAYS) and (day.day - 1) // 7 + 1 == int(nth[2])
    if text == "L":
        return number == 7
    if last := re.fullmatch(r"(\w+)L", text):
        length = calendar.monthrange(day.year, day.month)[1]
        return number == _number("", last[1], 1, 7, WEEKDAYS) and day.day > length - 7
    return number in _numbers("day-of-week", text, 1, 7, WEEKDAYS)
