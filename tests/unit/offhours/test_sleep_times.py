"""What a person says wins over the calendar until it says the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from slicewise.offhours.sleep_times import Times, until_next_edge
from slicewise.policy.off_hours import Override
from slicewise.schedule.calendar import Calendar, Edge

NIGHTS = Calendar("UTC", ("Mon-Fri 20:00-07:00", "Sat-Sun"))


def wednesday(hour: float, days: int = 0) -> datetime:
    return datetime(2026, 11, 25, tzinfo=UTC) + timedelta(days=days, hours=hour)


def said(asleep: bool, at: datetime, until: datetime) -> Times:
    return Times(NIGHTS, Override(asleep, at, until, "ada", "a demo"))


def test_without_a_word_the_calendar_counts():
    times = Times(NIGHTS)

    assert not times.is_asleep(wednesday(12)) and times.is_asleep(wednesday(21))
    assert times.next_edge(wednesday(12)) == Edge(wednesday(20), True)
    assert times.message(wednesday(12)) == "the calendar"


@pytest.mark.parametrize(
    ("asleep", "now", "until"),
    [
        pytest.param(False, wednesday(22), wednesday(7, 1), id="wake, at night"),
        pytest.param(True, wednesday(15), wednesday(20), id="sleep, by day"),
        pytest.param(False, wednesday(15), wednesday(7, 1), id="not tonight"),
        pytest.param(True, wednesday(22), wednesday(20, 1), id="sleep on tomorrow"),
    ],
)
def test_a_word_without_an_end_holds_until_the_calendar_says_the_same(asleep, now, until):
    assert until_next_edge(NIGHTS, asleep, now) == until

    times = said(asleep, now, until)
    assert times.is_asleep(until - timedelta(minutes=1)) == asleep == NIGHTS.is_asleep(until)
    assert times.next_edge(now) == NIGHTS.next_edge(until)


def test_a_calendar_without_edges_needs_an_end():
    assert until_next_edge(Calendar("UTC", ()), True, wednesday(12)) is None


def test_a_word_with_an_end_gives_way_to_the_calendar():
    times = said(False, wednesday(19), wednesday(22.5))

    assert not times.is_asleep(wednesday(22)) and times.is_asleep(wednesday(22.5))
    assert times.next_edge(wednesday(19)) == Edge(wednesday(22.5), True)
    assert times.message(wednesday(21)) == "ada (a demo), until Wed 25 Nov 22:30 UTC"
    assert times.message(wednesday(23)) == "the calendar"
