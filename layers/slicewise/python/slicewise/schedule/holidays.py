"""
Days off from an iCalendar file (RFC 5545), read strictly.

Files of holidays have whole days, once or each year. That is what is read; what is more than that is refused
with its line, since a holiday that is read wrongly leaves a cluster asleep on a working day. A library would
bring thousands of lines and 100 ms of cold start for these few.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date

from slicewise.model.spans import DAY

_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_DAYS = re.compile(r"P([0-9]{1,4})(D|W)")
_NTH = re.compile(r"([+-]?[1-5])(MO|TU|WE|TH|FR|SA|SU)")
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_RULE_PARTS = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "BYMONTH", "BYMONTHDAY", "BYDAY", "WKST")
_FIRST_YEAR, _LAST_YEAR = 1970, 2200


class UnreadableHolidays(ValueError):
    """The file says something that is not a whole day off; the message names line, value and remedy."""


@dataclass(frozen=True)
class Yearly:
    """
    A rule such as "each year", "the fourth Thursday of each November".

    Attributes:
        nth, weekday: The nth such weekday of the month, from its end where negative; a day of the month else.
    """

    month: int
    day: int = 0
    nth: int = 0
    weekday: int = 0
    interval: int = 1
    count: int | None = None
    until: date | None = None

    def in_year(self, year: int) -> date | None:
        if self.nth:
            return _nth_weekday(year, self.month, self.weekday, self.nth)
        # What falls on 29 February does so in leap years alone: RFC 5545, 3.3.10.
        _, length = calendar.monthrange(year, self.month)
        return date(year, self.month, self.day) if self.day <= length else None


@dataclass(frozen=True)
class Holiday:
    """`days` whole days from `first` on, and again by `rule`; none begins on a day of `without`."""

    name: str
    first: date
    days: int = 1
    rule: Yearly | None = None
    more: tuple[date, ...] = ()
    without: tuple[date, ...] = ()

    def covers(self, day: date) -> bool:
        candidates = {start for year in {day.year, (day - self.days * DAY).year} for start in self._in(year)}
        return any(start <= day < start + self.days * DAY for start in candidates - set(self.without))

    def _in(self, year: int) -> Iterator[date]:
        yield from (start for start in (self.first, *self.more) if start.year == year)
        rule = self.rule
        if not rule or year < self.first.year or (year - self.first.year) % rule.interval:
            return
        start = rule.in_year(year)
        if not start or (rule.until and start > rule.until):
            return
        if rule.count is None or self._number(rule, year) <= rule.count:
            yield start

    def _number(self, rule: Yearly, year: int) -> int:
        """How many times it has come by then; years without the day do not count (RFC 5545, 3.3.10)."""
        years = range(self.first.year, year + 1, rule.interval)
        return sum(1 for each in years if rule.in_year(each))


@dataclass(frozen=True)
class Holidays:
    """`date in holidays`."""

    all: tuple[Holiday, ...] = field(default=())

    def __contains__(self, day: date) -> bool:
        return any(holiday.covers(day) for holiday in self.all)

    def named(self, day: date) -> str | None:
        return next((holiday.name for holiday in self.all if holiday.covers(day)), None)


NO_HOLIDAYS = Holidays()


def read(text: str) -> Holidays:
    """
    Raises:
        UnreadableHolidays
    """
    found: list[Holiday] = []
    event: dict[str, tuple[int, str, str]] | None = None
    nested = 0
    lines = list(_content_lines(text))
    if not lines or lines[0][1:] != ("BEGIN", "", "VCALENDAR"):
        raise UnreadableHolidays("line 1: this is no iCalendar file; it must begin with BEGIN:VCALENDAR")
    for number, name, parameters, value in lines:
        if (name, value) == ("BEGIN", "VEVENT"):
            event = {}
        elif (name, value) == ("END", "VEVENT") and event is not None:
            found += _holiday(event, number)
            event = None
        elif event is not None and name in ("BEGIN", "END"):  # an alarm within an event
            nested += 1 if name == "BEGIN" else -1
        elif event is not None and not nested:
            _keep(event, number, name, parameters, value)
    if event is not None or lines[-1][1:] != ("END", "", "VCALENDAR"):
        raise UnreadableHolidays(f"line {lines[-1][0]}: the file ends in the middle; it is not whole")
    return Holidays(tuple(found))


def _content_lines(text: str) -> Iterator[tuple[int, str, str, str]]:
    """(line, name, parameters, value): folded lines are joined, RFC 5545, 3.1."""
    folded: list[tuple[int, str]] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if line[:1] in (" ", "\t") and folded:
            folded[-1] = folded[-1][0], folded[-1][1] + line[1:]
        elif line.strip():
            folded.append((number, line.rstrip("\r\n")))
    for number, line in folded:
        head, colon, value = _split_value(line)
        if not colon:
            raise UnreadableHolidays(f"line {number}: {line[:60]!r}: write NAME:VALUE")
        name, _, parameters = head.partition(";")
        yield number, name.upper(), parameters.upper(), value


def _split_value(line: str) -> tuple[str, str, str]:
    """At the first colon that is not in quotes."""
    quoted = False
    for place, sign in enumerate(line):
        quoted ^= sign == '"'
        if sign == ":" and not quoted:
            return line[:place], ":", line[place + 1 :]
    return line, "", ""


def _keep(
    event: dict[str, tuple[int, str, str]], number: int, name: str, parameters: str, value: str
) -> None:
    if name in event and name in ("RDATE", "EXDATE"):
        first, kept, before = event[name]
        event[name] = first, kept, f"{before},{value}"
    elif name in event and name in ("DTSTART", "DTEND", "DURATION", "RRULE"):
        raise UnreadableHolidays(f"line {number}: {name} is there twice in one event; keep one")
    else:
        event[name] = number, parameters, value


def _holiday(event: dict[str, tuple[int, str, str]], ends: int) -> list[Holiday]:
    if event.get("STATUS", (0, "", ""))[2].upper() == "CANCELLED":
        return []
    if "DTSTART" not in event:
        raise UnreadableHolidays(f"line {ends}: an event without DTSTART; say when it is")
    number, _, start = event["DTSTART"]
    if "RECURRENCE-ID" in event:
        raise UnreadableHolidays(
            f"line {event['RECURRENCE-ID'][0]}: a moved repetition is not read; write it as an event "
            "of its own, and its old date as EXDATE"
        )
    [first] = _dates(number, start)
    name = event.get("SUMMARY", (0, "", "a holiday"))[2]
    days = _days(event, first)
    rule = _rule(*event["RRULE"], first) if "RRULE" in event else None
    more, without = (
        tuple(_dates(event[key][0], event[key][2])) if key in event else () for key in ("RDATE", "EXDATE")
    )
    return [Holiday(re.sub(r"\\(.)", r"\1", name), first, days, rule, more, without)]


def _dates(number: int, value: str) -> list[date]:
    found = []
    for text in value.split(","):
        match = _DATE.fullmatch(text)
        if not match:
            raise UnreadableHolidays(
                f"line {number}: {text!r}: a holiday is a whole day; write its date as 20261225 "
                "(DTSTART;VALUE=DATE:20261225)"
            )
        try:
            day = date(*map(int, match.groups()))
        except ValueError as error:
            raise UnreadableHolidays(f"line {number}: {text!r}: the calendar has no such date") from error
        if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
            raise UnreadableHolidays(f"line {number}: {text!r}: write a year from 1970 to 2200")
        found.append(day)
    return found


def _days(event: dict[str, tuple[int, str, str]], first: date) -> int:
    """DTEND is the day after the last one."""
    if "DTEND" in event:
        number, _, value = event["DTEND"]
        [end] = _dates(number, value)
        # A DTEND on the first day itself is wrong by the letter, and common for a single day.
        if end < first or (end - first).days > 366:
            raise UnreadableHolidays(f"line {number}: {value!r}: DTEND is the day after the last one")
        return max((end - first).days, 1)
    if "DURATION" in event:
        number, _, value = event["DURATION"]
        match = _DAYS.fullmatch(value)
        if not match or not 0 < int(match[1]) * (7 if match[2] == "W" else 1) <= 366:
            raise UnreadableHolidays(f"line {number}: {value!r}: write whole days such as P1D")
        return int(match[1]) * (7 if match[2] == "W" else 1)
    return 1


def _rule(number: int, _: str, value: str, first: date) -> Yearly:
    def refuse(part: str, remedy: str) -> UnreadableHolidays:
        return UnreadableHolidays(f"line {number}: {part!r}: {remedy}")

    parts = dict(part.partition("=")[::2] for part in value.upper().rstrip(";").split(";"))
    for key in parts:
        if key not in _RULE_PARTS:
            raise refuse(value, f"{key} is not read; write one event a date instead of the rule")
    if parts.get("FREQ") != "YEARLY":
        raise refuse(value, "a holiday comes each year or once: write FREQ=YEARLY, or one event a date")
    for key in ("INTERVAL", "COUNT", "BYMONTH", "BYMONTHDAY"):
        if key in parts and not (parts[key].isdecimal() and int(parts[key])):
            raise refuse(f"{key}={parts[key]}", "write one whole number, 1 or more, or one event a date")
    until = _dates(number, parts["UNTIL"][:8])[0] if "UNTIL" in parts else None
    month = int(parts.get("BYMONTH", first.month))
    if month > 12:
        raise refuse(f"BYMONTH={month}", "a year has 12 months")
    rule = Yearly(
        month,
        day=int(parts.get("BYMONTHDAY", first.day)),
        interval=int(parts.get("INTERVAL", 1)),
        count=int(parts["COUNT"]) if "COUNT" in parts else None,
        until=until,
    )
    if "BYDAY" in parts:
        match = _NTH.fullmatch(parts["BYDAY"])
        if not match or "BYMONTHDAY" in parts or "BYMONTH" not in parts:
            raise refuse(value, "write the nth weekday of a month, such as BYMONTH=11;BYDAY=4TH")
        rule = replace(rule, nth=int(match[1]), weekday=_WEEKDAYS.index(match[2]))
    if rule.in_year(first.year) != first:
        raise refuse(value, f"DTSTART ({first}) is not a day of this rule; write the first day that is")
    return rule


def _nth_weekday(year: int, month: int, weekday: int, nth: int) -> date | None:
    weekday_of_the_first, length = calendar.monthrange(year, month)
    first = 1 + (weekday - weekday_of_the_first) % 7
    count = (length - first) // 7 + 1
    place = nth - 1 if nth > 0 else count + nth
    return date(year, month, first + 7 * place) if 0 <= place < count else None
