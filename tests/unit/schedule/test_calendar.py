"""Asleep or awake, in every zone and on both clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from slicewise.schedule import holidays
from slicewise.schedule.calendar import Calendar
from slicewise.schedule.entries import entry, zone_problem

NIGHTS = ("Mon-Fri 20:00-07:00", "Sat-Sun")


def local(zone: str, text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def edges(calendar: Calendar, start: str, days: int) -> list[str]:
    """Each change as its local time and what begins then."""
    begin = local(calendar.time_zone, start)
    return [
        f"{edge.at.astimezone(calendar.zone):%a %d %b %H:%M} {'asleep' if edge.asleep else 'awake'}"
        for edge in calendar.edges(begin, begin + timedelta(days=days))
    ]


def test_nights_and_weekends_leave_five_working_days():
    found = edges(Calendar("Europe/Berlin", NIGHTS), "2026-11-23T12:00", 7)

    assert found == [
        "Mon 23 Nov 20:00 asleep",
        "Tue 24 Nov 07:00 awake",
        "Tue 24 Nov 20:00 asleep",
        "Wed 25 Nov 07:00 awake",
        "Wed 25 Nov 20:00 asleep",
        "Thu 26 Nov 07:00 awake",
        "Thu 26 Nov 20:00 asleep",
        "Fri 27 Nov 07:00 awake",
        "Fri 27 Nov 20:00 asleep",
        "Mon 30 Nov 07:00 awake",
    ]


def test_a_monday_morning_is_awake_where_nobody_slept_on_sunday():
    found = edges(Calendar("Europe/Berlin", ("Mon-Fri 20:00-07:00",)), "2026-11-27T12:00", 3.5)

    assert found == ["Fri 27 Nov 20:00 asleep", "Sat 28 Nov 07:00 awake", "Mon 30 Nov 20:00 asleep"]


def test_windows_that_touch_or_overlap_are_one():
    touching = Calendar("UTC", ("Mon 20:00-24:00", "Tue 00:00-07:00"))
    overlapping = Calendar("UTC", ("Mon 20:00-03:00", "Mon 22:00-07:00", "Tue 06:00-06:30"))

    for calendar in (touching, overlapping):
        assert edges(calendar, "2026-11-23T12:00", 2) == ["Mon 23 Nov 20:00 asleep", "Tue 24 Nov 07:00 awake"]


def test_a_window_may_be_a_whole_day_and_the_week_may_end_on_monday():
    assert edges(Calendar("UTC", ("Sun-Mon 12:00-12:00",)), "2026-11-28T00:00", 7) == [
        "Sun 29 Nov 12:00 asleep",
        "Tue 01 Dec 12:00 awake",
    ]


def test_dates_win_over_the_week_and_awake_over_asleep():
    calendar = Calendar(
        "Europe/Berlin",
        (*NIGHTS, "2026-12-24 - 2027-01-01", "2027-01-04"),
        awake=("2026-12-19 08:00-18:00", "2026-12-28", "Wed 20:00-22:00"),
    )

    assert edges(calendar, "2026-12-18T12:00", 2) == [
        "Fri 18 Dec 20:00 asleep",
        "Sat 19 Dec 08:00 awake",
        "Sat 19 Dec 18:00 asleep",
    ]
    assert edges(calendar, "2026-12-23T12:00", 14) == [
        "Wed 23 Dec 22:00 asleep",
        "Mon 28 Dec 00:00 awake",
        "Tue 29 Dec 00:00 asleep",
        "Tue 05 Jan 07:00 awake",
        "Tue 05 Jan 20:00 asleep",
        "Wed 06 Jan 07:00 awake",
    ]


def test_a_holiday_is_asleep_and_an_awake_date_wins_over_it():
    file = (
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20261225\nRRULE:FREQ=YEARLY\n"
        "END:VEVENT\nEND:VCALENDAR\n"
    )
    feast = holidays.read(file)

    assert edges(Calendar("UTC", NIGHTS, holidays=feast), "2026-12-24T12:00", 4) == [
        "Thu 24 Dec 20:00 asleep",
        "Mon 28 Dec 07:00 awake",
    ]
    awake = Calendar("UTC", NIGHTS, awake=("2026-12-25 07:00-20:00",), holidays=feast)
    assert edges(awake, "2026-12-24T12:00", 4)[1:3] == ["Fri 25 Dec 07:00 awake", "Fri 25 Dec 20:00 asleep"]


@pytest.mark.parametrize("asleep", [(), ("Mon-Sun",)], ids=["never asleep", "always asleep"])
def test_a_calendar_without_a_change_has_no_edge(asleep):
    calendar = Calendar("Europe/Berlin", asleep)

    assert calendar.next_edge(datetime(2026, 3, 1, tzinfo=UTC)) is None
    assert calendar.is_asleep(datetime(2026, 3, 29, 1, 30, tzinfo=UTC)) is bool(asleep)


# The hour that is skipped, and the one that comes twice


def test_berlin_skips_two_to_three_in_march():
    calendar = Calendar("Europe/Berlin", ("Sun 02:30-08:00",))

    first, last = calendar.edges(
        local("Europe/Berlin", "2026-03-28T12:00"), datetime(2026, 3, 29, 20, tzinfo=UTC)
    )
    assert (first.at, last.at) == (
        datetime(2026, 3, 29, 1, tzinfo=UTC),
        datetime(2026, 3, 29, 6, tzinfo=UTC),
    )


def test_hours_that_are_skipped_altogether_do_not_come():
    calendar = Calendar("Europe/Berlin", ("Sun 02:00-03:00",))

    assert not list(
        calendar.edges(datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 20, tzinfo=UTC))
    )


@pytest.mark.parametrize(
    ("hours", "asleep_from", "awake_from"),
    [
        pytest.param("Sun 01:00-02:30", 23, 0.5, id="ends at its first coming"),
        pytest.param("Sun 02:30-05:00", 0.5, 4, id="begins at its first coming"),
        pytest.param("Sun 02:10-02:50", 0.1667, 0.8333, id="comes once"),
        pytest.param("Sun 01:00-03:00", 23, 2, id="lasts through both comings"),
    ],
)
def test_berlin_shows_two_to_three_twice_in_october(hours, asleep_from, awake_from):
    """It is set back at 01:00 UTC on the 25th."""
    calendar = Calendar("Europe/Berlin", (hours,))
    midnight = datetime(2026, 10, 25, tzinfo=UTC)

    first, last = calendar.edges(midnight - timedelta(hours=6), midnight + timedelta(hours=12))

    begin = asleep_from - 24 if asleep_from > 12 else asleep_from
    assert round((first.at - midnight).total_seconds() / 3600, 3) == round(begin, 3)
    assert round((last.at - midnight).total_seconds() / 3600, 3) == round(awake_from, 3)


# Berlin and New York change by an hour twice a year; Kolkata never, and is off by half an hour; Lord Howe by
# half an hour; Casablanca around Ramadan, "summer time" being its standard; Apia had no 30 December 2011.
CHANGES = {
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "Asia/Kolkata": ["2026-06-01"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],
    "Africa/Casablanca": ["2026-02-15", "2026-03-22", "2027-02-07", "2027-03-14"],
    "Pacific/Apia": ["2011-12-30", "2020-04-05", "2020-09-27"],
}
CALENDARS = {
    "nights": (NIGHTS, ()),
    "into the change": (("Mon-Sun 23:30-02:15", "Sun 02:45-03:20"), ("Sat 23:45-00:10",)),
    "by halves": (("Mon-Sun 01:50-02:10", "Mon-Sun 02:10-02:40", "Sun 02:20-14:20"), ("Sun 03:00-03:30",)),
    "dates": (("2026-03-29 - 2026-04-05", "Fri-Sun 22:00-22:00"), ("2026-03-08 00:00-02:30", "2011-12-30")),
}


class BruteForce:
    """
    A clock on the wall, watched minute by minute: it only ever moves forward, and the rules are read off it
    word for word, without a thought about zones.
    """

    def __init__(self, calendar: Calendar, since: datetime) -> None:
        self._calendar, self._highest = calendar, datetime.min
        self._rules = {
            name: [entry(text) for text in getattr(calendar, name)] for name in ("asleep", "awake")
        }
        for hours in range(30, 0, -1):
            self.is_asleep(since - timedelta(hours=hours))

    def is_asleep(self, at: datetime) -> bool:
        wall = at.astimezone(self._calendar.zone).replace(tzinfo=None)
        self._highest = max(self._highest, wall)
        return self._by_rules(self._highest)

    def _by_rules(self, wall: datetime) -> bool:
        if self._dated("awake", wall):
            return False
        if self._dated("asleep", wall):
            return True
        if self._weekly("awake", wall):
            return False
        if self._weekly("asleep", wall):
            return True
        evening = datetime(wall.year, wall.month, wall.day) - timedelta(minutes=1)
        tail = any(
            span.weekday == wall.weekday() and wall < evening + timedelta(minutes=1 + span.end - 1440)
            for spans in self._rules["asleep"]
            if isinstance(spans, tuple)
            for span in spans
        )
        return tail and self._by_rules(evening)

    def _dated(self, name: str, wall: datetime) -> bool:
        for rule in self._rules[name]:
            day = getattr(rule, "first", None)
            while day and day <= rule.last:
                begin = datetime(day.year, day.month, day.day)
                if begin + timedelta(minutes=rule.start) <= wall < begin + timedelta(minutes=rule.end):
                    return True
                day += timedelta(days=1)
        return False

    def _weekly(self, name: str, wall: datetime) -> bool:
        spans = [span for rule in self._rules[name] if isinstance(rule, tuple) for span in rule]
        for back in (0, 1):
            begin = datetime(wall.year, wall.month, wall.day) - timedelta(days=back)
            for span in spans:
                if span.weekday == begin.weekday() and (
                    begin + timedelta(minutes=span.start) <= wall < begin + timedelta(minutes=span.end)
                ):
                    return True
        return False


@pytest.mark.parametrize("rules", CALENDARS)
@pytest.mark.parametrize("zone", CHANGES)
def test_each_minute_around_a_change_is_as_a_clock_that_is_watched(zone, rules):
    asleep, awake = CALENDARS[rules]
    calendar = Calendar(zone, asleep, awake)
    for day in CHANGES[zone]:
        noon = local(zone, f"{day}T12:00").astimezone(UTC)
        since, until = noon - timedelta(hours=15), noon - timedelta(hours=6)
        watch, moment = BruteForce(calendar, since), since
        changes, before = [], watch.is_asleep(since)
        while moment <= until:
            asleep_now = watch.is_asleep(moment)
            assert calendar.is_asleep(moment) == asleep_now, moment.astimezone(calendar.zone)
            if asleep_now != before:
                changes.append((moment, asleep_now))
                before = asleep_now
            moment += timedelta(minutes=1)
        assert [(edge.at, edge.asleep) for edge in calendar.edges(since, until)] == changes


def test_apia_had_no_thirtieth_of_december():
    calendar = Calendar("Pacific/Apia", ("Fri",))

    assert not list(
        calendar.edges(local("Pacific/Apia", "2011-12-29T01:00"), local("Pacific/Apia", "2011-12-31T23:00"))
    )


# What people write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mon-Fri 8-18", "write weekly hours such as Mon-Fri 20:00-07:00"),
        ("weekends", "write weekly hours"),
        ("Mon 20:00-25:00", "00:00 to 24:00"),
        ("2026-02-30", "no such date"),
        ("2026-12-24 - 2026-12-20", "write the earlier date first"),
        ("24.12.2026", "dates such as 2026-12-24"),
    ],
)
def test_what_cannot_be_read_says_what_to_write(text, message):
    with pytest.raises(ValueError, match=message):
        entry(text)


@pytest.mark.parametrize("zone", [*CHANGES, "UTC", "America/Argentina/Buenos_Aires"])
def test_iana_zones_are_taken(zone):
    assert zone_problem(zone) is None


@pytest.mark.parametrize(
    ("zone", "message"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin"),
        ("America/New York", "did you mean America/New_York"),
        ("CET", "IANA"),
        ("+01:00", "IANA"),
        ("../../etc/passwd", "IANA"),
        (None, "IANA"),
        (2, "IANA"),
    ],
)
def test_other_names_of_a_zone_are_not(zone, message):
    assert message in zone_problem(zone)


def test_a_date_has_its_day():
    assert entry("2026-12-24").first == date(2026, 12, 24)
