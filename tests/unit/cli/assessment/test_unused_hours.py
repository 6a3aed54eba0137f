"""Hours of the week in which nobody used a GPU."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from slicewise.tuning.usage.readings import Device

from cli.assessment.unused_hours import unused_hours
from tests.support.assessed_cluster import by_day

MONDAY = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp())
WEEK = 7 * 86_400


def device(busy, begin=MONDAY, end=MONDAY + WEEK, gpu="0", node="n"):
    return Device(node, gpu, {at: busy(at) for at in range(begin, end, 600)})


def test_nights_and_the_weekend_are_found_and_counted():
    found = unused_hours([device(by_day(0.4))], UTC)

    assert (found.measured, found.unused) == (168, 168 - 5 * 14)
    assert found.asleep == ("Sat-Sun", "Mon-Fri 20:00-06:00")


def test_they_are_reported_in_the_zone_that_was_asked_for():
    assert unused_hours([device(by_day(0.4))], ZoneInfo("Europe/Berlin")).asleep == (
        "Sat-Sun",
        "Mon-Fri 21:00-07:00",
    )


def test_one_gpu_that_works_at_night_makes_the_night_used():
    night = device(lambda at: 0.5 if at % 86_400 < 3600 else 0.0, gpu="1")

    found = unused_hours([device(by_day(0.4)), night], UTC)

    assert found.asleep == ("Mon-Fri 20:00-00:00", "Mon-Fri 01:00-06:00")


def test_an_hour_that_one_day_lacks_is_no_unused_hour():
    """Tuesday was not measured."""
    tuesday = MONDAY + 86_400
    parts = device(by_day(0.4), end=tuesday), device(by_day(0.4), begin=tuesday + 86_400, gpu="1")

    assert unused_hours(parts, UTC).asleep == ("Sat-Sun",)


def test_a_friday_night_that_is_used_on_saturday_morning_ends_before_it():
    saturday = MONDAY + 5 * 86_400
    busy = by_day(0.4)
    late = device(lambda at: 0.5 if saturday <= at < saturday + 7200 else busy(at))

    assert unused_hours([late], UTC).asleep == ("Mon-Fri 20:00-00:00", "Mon-Fri 02:00-06:00")


def test_probes_are_no_use_of_a_gpu():
    found = unused_hours([device(lambda at: 0.005)], UTC)

    assert found.unused == found.measured
    assert found.asleep == ("Sat-Sun",), "a week without any use is no pattern of nights"


def test_without_measurements_nothing_is_said():
    assert unused_hours([], UTC) is None
    assert unused_hours([Device("n", "0")], UTC) is None


def test_an_hour_in_which_a_gpu_was_there_and_not_measured_is_no_unused_hour():
    """Its exporter was away from two to six each night; the other GPU was idle throughout."""
    busy = {at: 0.9 for at in range(MONDAY, MONDAY + WEEK, 600) if at % 86_400 // 3600 not in (2, 3, 4, 5)}

    found = unused_hours([Device("a", "0", busy), device(lambda at: 0.0)], UTC)

    assert (found.measured, found.unused, found.asleep) == (7 * 20, 0, ())


def test_a_node_that_is_there_and_falls_silent_makes_the_hours_since_unknown():
    silent = device(lambda at: 0.0, end=MONDAY + 86_400, node="silent")
    idle = device(lambda at: 0.0)

    assert unused_hours([silent, idle], UTC, there={"silent", "n"}).measured == 24
    assert unused_hours([silent, idle], UTC, there={"n"}).measured == 168


def test_a_node_counts_for_the_unused_hours_in_which_it_was_there():
    today = device(by_day(0.4), begin=MONDAY + 6 * 3600, end=MONDAY + 22 * 3600, node="today")

    found = unused_hours([device(by_day(0.4)), today], UTC, there={"n"})

    assert {one.name: one.hours for one in found.nodes} == {"n": 98, "today": 2}
    assert (found.gpus, found.strangers) == (2, 0)


def test_nodes_of_another_cluster_make_hours_used_and_cost_nothing_here():
    """They are measured until now, so they are not gone."""
    found = unused_hours([device(by_day(0.4)), device(lambda at: 0.9, node="other")], UTC, there={"n"})

    assert (found.unused, found.gpus, found.strangers) == (0, 1, 1)
    assert [one.name for one in found.nodes] == ["n"]
