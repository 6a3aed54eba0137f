"""What a sleep saves is counted from look to look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from slicewise.hardware import prices
from slicewise.offhours.report import savings

from traces.serving import instance_prices

NOW = datetime(2026, 11, 25, 19, tzinfo=UTC)


def nodes(machine: str, number: int, capacity: str = "on-demand"):
    kinds = {"node.kubernetes.io/instance-type": machine, "karpenter.sh/capacity-type": capacity}
    return [{"metadata": {"name": str(n), "labels": kinds}} for n in range(number)]


def hours(number: float) -> datetime:
    return NOW + timedelta(hours=number)


def test_a_night_saves_what_ran_in_the_evening_less_what_went_on():
    first = savings.counted((), nodes("g6.xlarge", 4), NOW)
    drained = savings.counted((first,), nodes("g6.xlarge", 2), hours(0.5))
    whole = savings.counted((drained,), nodes("g6.xlarge", 1), hours(10))

    assert first["saved"] == {}
    # Two nodes for the half hour before the second look, one for the nine and a half after it.
    assert whole["ran"] == {"g6.xlarge": 10.5} and whole["saved"] == {"g6.xlarge": 29.5}
    assert whole["usd"] == round(29.5 * 0.8048, 2)
    said = "29.5 node-hours of g6.xlarge at $0.8048: $23.74 (on demand in us-east-1 on 2026-07-20)"
    assert savings.message(whole) == said
    assert "when the sleep began" in whole["method"] and "us-east-1" in whole["method"]


def test_a_sleep_of_minutes_has_saved_something_too():
    first = savings.counted((), nodes("g6.xlarge", 2), NOW)

    assert savings.message(savings.counted((first,), (), hours(0.03))).startswith(
        "0.06 node-hours of g6.xlarge"
    )


def test_what_has_no_list_price_is_reported_in_hours_alone():
    first = savings.counted((), [*nodes("g6.xlarge", 1, "spot"), *nodes("p5e.48xlarge", 1)], NOW)
    whole = savings.counted((first,), (), hours(8))

    assert whole["usd"] == 0
    assert savings.message(whole) == (
        "8.0 node-hours of g6.xlarge spot, which has no list price, "
        "8.0 node-hours of p5e.48xlarge, which has no list price"
    )


def test_machines_that_ran_instead_are_taken_off():
    first = savings.counted((), nodes("g6.xlarge", 4), NOW)
    whole = savings.counted((first,), nodes("g5.xlarge", 1), hours(2))

    assert whole["saved"] == {"g5.xlarge": -2.0, "g6.xlarge": 8.0}
    assert whole["usd"] == round(8 * 0.8048 - 2 * 1.006, 2)


def test_a_sleep_whose_end_a_user_moves_is_one_sleep():
    """It ends when the cluster wakes; the sleep after that begins anew."""
    first = savings.counted((), nodes("g6.xlarge", 4), NOW)
    ended = {**savings.counted((first,), (), hours(1)), "ended": hours(1).isoformat()}

    assert savings.counted((first,), (), hours(1))["began"] == first["began"]
    assert savings.counted((ended,), nodes("g5.xlarge", 1), hours(2))["nodes"] == {"g5.xlarge": 1}


def test_a_sleep_before_which_nothing_ran_saves_nothing():
    first = savings.counted((), (), NOW)

    assert savings.message(savings.counted((first,), (), hours(9))) == ""


def test_prices_are_those_of_the_published_table():
    """Of every NVIDIA machine that Karpenter lists."""
    published = {
        row["instance_type"]: float(row["usd_per_hour_us_east_1"])
        for row in instance_prices()
        if row["gpu_manufacturer"] == "nvidia" and row["usd_per_hour_us_east_1"] and row["gpu_count"] != "0"
    }

    assert len(published) > 50
    assert {machine: prices.usd_an_hour(machine) for machine in published} == published
    assert prices.usd_an_hour("m7i.large") is None
