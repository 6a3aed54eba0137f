"""Budgets in UTC against the clock on the wall, minute by minute, over clock changes on both hemispheres."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from slicewise.schedule.weekly_hours import Span, budgets, spans

MOVES_PODS = ["Underutilized", "Drifted"]
DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",  # its clock jumps over midnight
    "Asia/Kolkata",
    "Asia/Tokyo",  # Monday morning is Sunday in UTC
    "Australia/Lord_Howe",  # jumps by half an hour
    "Pacific/Auckland",
    "Africa/Casablanca",
    "UTC",
)


def hours(zone, *texts, now):
    return budgets(zone, texts, "0", MOVES_PODS, now)


def is_active(budget, at):
    """As Karpenter asks (pkg/apis/v1/nodepool.go, Budget.IsActive): a hit within the last `duration`."""
    minute, hour, _, _, weekdays = budget["schedule"].split()
    h, _, m = budget["duration"].partition("h")
    length = timedelta(hours=int(h), minutes=int(m.removesuffix("m") or 0))
    hit = at.replace(hour=int(hour), minute=int(minute), second=0)
    hits = (hit - timedelta(days=back) for back in range(3))
    return any(at - length < one <= at and str(one.isoweekday() % 7) in weekdays.split(",") for one in hits)


def on_the_wall(texts, wall):
    """Whether a clock that shows this is within the hours."""
    minute = wall.hour * 60 + wall.minute
    return any(
        (span.weekday == wall.weekday() and span.start <= minute < span.end)
        or ((span.weekday + 1) % 7 == wall.weekday() and minute < span.end - 24 * 60)
        for text in texts
        for span in spans(text)
    )


def repeats(at, zone):
    """Whether the clock shows this minute twice."""
    wall = at.astimezone(zone)
    return wall.replace(fold=0).utcoffset() != wall.replace(fold=1).utcoffset()


@st.composite
def texts(draw):
    first, last = draw(st.sampled_from(DAYS)), draw(st.sampled_from(DAYS))
    minutes = st.integers(0, 95).map(lambda quarter: f"{quarter // 4:02}:{quarter % 4 * 15:02}")
    return f"{first}-{last} {draw(minutes)}-{draw(minutes)}"


@given(
    zone=st.sampled_from(ZONES),
    texts=st.lists(texts(), min_size=1, max_size=2),
    now=st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31)).map(lambda at: at.replace(tzinfo=UTC)),
)
# The days of clock changes, which random days seldom meet.
@example("Europe/Berlin", ["Mon-Fri 08:00-18:00"], datetime(2026, 3, 27, 17, 30, tzinfo=UTC))
@example("Europe/Berlin", ["Mon-Fri 08:00-18:00"], datetime(2026, 10, 23, 16, 10, tzinfo=UTC))
@example("Europe/Berlin", ["Sat-Sun 01:00-02:30"], datetime(2026, 3, 27, 12, tzinfo=UTC))
@example("Europe/Berlin", ["Sun 02:00-03:00"], datetime(2026, 3, 27, 12, tzinfo=UTC))
@example("Europe/Berlin", ["Sat 20:00-07:00"], datetime(2026, 10, 22, 12, tzinfo=UTC))
@example("Europe/Berlin", ["Sat 20:00-02:30"], datetime(2026, 10, 22, 12, tzinfo=UTC))
@example("Europe/Berlin", ["Sun 02:30-04:00"], datetime(2026, 10, 22, 12, tzinfo=UTC))
@example("America/New_York", ["Sun-Mon 00:00-24:00"], datetime(2026, 11, 1, 3, tzinfo=UTC))
@example("America/Santiago", ["Sat-Sun 00:00-24:00"], datetime(2026, 9, 4, 3, tzinfo=UTC))
@example("America/Santiago", ["Sat-Sun 23:00-01:00"], datetime(2026, 4, 3, 3, tzinfo=UTC))
@example("Australia/Lord_Howe", ["Sun 01:45-03:00"], datetime(2026, 10, 2, 3, tzinfo=UTC))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_budget_holds_when_the_clock_on_the_wall_says_so(zone, texts, now):
    now = now.replace(second=0, microsecond=0)
    made, clock = hours(zone, *texts, now=now), ZoneInfo(zone)

    for minute in range(0, 5 * 24 * 60, 5):
        at = now + timedelta(minutes=minute)
        held = any(is_active(budget, at) for budget in made)
        # A minute that comes twice may belong to the hours once only: it is held both times.
        if held != on_the_wall(texts, at.astimezone(clock)):
            assert held and repeats(at, clock), f"{at} in {zone}: {made}"


def test_hours_are_said_in_the_offset_of_the_season():
    summer = hours("Europe/Berlin", "Mon-Fri 08:00-18:00", now=datetime(2026, 7, 1, tzinfo=UTC))
    winter = hours("Europe/Berlin", "Mon-Fri 08:00-18:00", now=datetime(2026, 12, 1, tzinfo=UTC))

    assert summer == [
        {"nodes": "0", "reasons": MOVES_PODS, "schedule": "0 6 * * 1,2,3,4,5", "duration": "10h"}
    ]
    assert winter[0]["schedule"] == "0 7 * * 1,2,3,4,5"


def test_a_morning_in_tokyo_lies_on_the_day_before_in_utc():
    (budget,) = hours("Asia/Tokyo", "Mon-Fri 08:00-18:30", now=datetime(2026, 7, 1, tzinfo=UTC))

    assert (budget["schedule"], budget["duration"]) == ("0 23 * * 0,1,2,3,4", "10h30m")


def test_the_week_of_a_clock_change_has_both_offsets():
    friday = datetime(2026, 10, 23, 12, tzinfo=UTC)  # the clock goes back on Sunday

    made = hours("Europe/Berlin", "Mon-Fri 08:00-18:00", now=friday)

    assert [budget["schedule"] for budget in made] == ["0 7 * * 1,2,3,4", "0 6 * * 5"]


def test_asking_again_within_a_season_gives_the_same_budgets():
    made = [
        hours("America/New_York", "Mon-Fri 08:00-18:00", "Sat", now=datetime(2026, 6, 1, tzinfo=UTC) + later)
        for later in (timedelta(hours=hour) for hour in range(24 * 14))
    ]

    assert all(one == made[0] for one in made)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Mon 08:00-18:00", (Span(0, 480, 1080),)),
        ("Sat-Sun", (Span(5), Span(6))),
        ("Sun-Mon 22:00-06:00", (Span(6, 1320, 1800), Span(0, 1320, 1800))),
        ("Fri 00:00-24:00", (Span(4),)),
        ("Fri 08:00-08:00", (Span(4, 480, 1920),)),
    ],
)
def test_hours_are_read_as_people_write_them(text, read):
    assert spans(text) == read


@pytest.mark.parametrize(
    "text", ["", "weekdays", "Mon-Fri 8-18", "mon-fri 08:00-18:00", "Mon 08:00-25:00", "Mon 24:00-25:00"]
)
def test_hours_that_nobody_can_read_are_refused_with_what_to_write(text):
    with pytest.raises(ValueError, match="write"):
        spans(text)
