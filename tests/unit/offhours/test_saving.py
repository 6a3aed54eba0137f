"""What a sleep saves is counted from look to look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from slicewise.offhours import saving

NOW = datetime(2026, 11, 25, 19, tzinfo=UTC)


def nodes(kind: str, number: int):
    return [
        {"metadata": {"name": str(n), "labels": {"node.kubernetes.io/instance-type": kind}}}
        for n in range(number)
    ]


def test_a_night_saves_what_ran_in_the_evening_less_what_went_on():
    first = saving.counted((), "a", nodes("g6.xlarge", 4), NOW)
    drained = saving.counted((first,), "a", nodes("g6.xlarge", 2), NOW + timedelta(minutes=30))
    whole = saving.counted((drained,), "a", nodes("g6.xlarge", 1), NOW + timedelta(hours=10))

    assert first["saved"] == {}
    # Two nodes for the half hour before the second look, one for the nine and a half after it.
    assert whole["ran"] == {"g6.xlarge": 10.5} and whole["saved"] == {"g6.xlarge": 29.5}
    assert saving.told(whole) == "29.5 node-hours of g6.xlarge"
    assert "when the sleep began" in whole["method"]


def test_another_sleep_begins_anew():
    first = saving.counted((), "a", nodes("g6.xlarge", 4), NOW)

    assert saving.counted((first,), "b", nodes("g5.xlarge", 1), NOW)["nodes"] == {"g5.xlarge": 1}


def test_a_sleep_before_which_nothing_ran_saves_nothing():
    first = saving.counted((), "a", (), NOW)

    assert saving.told(saving.counted((first,), "a", (), NOW + timedelta(hours=9))) == ""
