"""N goes up slowly and down fast; advice names prices."""

from datetime import UTC, datetime, timedelta

import pytest
from slicewise.policy.model import Tuning
from slicewise.tuning.rule.stabilization import Breach, Situation, decide
from slicewise.tuning.state.history import History
from slicewise.tuning.usage import slowdown

from bench.advisor import Offer, advise

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
AGO = lambda **span: NOW - timedelta(**span)  # noqa: E731
LONG = History(AGO(days=9), AGO(hours=25), AGO(hours=3))


def step(current, situation, history=LONG, now=NOW):
    return decide(current, situation, history, Tuning(), now)


def test_n_rises_by_one_when_the_target_stood_a_day_and_something_waits():
    assert step(2, Situation(target=6, demand=True)).after == 3


@pytest.mark.parametrize(
    ("situation", "history", "said"),
    [
        (Situation(4), LONG, "would not help"),
        (Situation(4, demand=True, estimated=True), LONG, "never raises"),
        (Situation(4, demand=True, frozen="asleep"), LONG, "frozen: asleep"),
        (Situation(4, demand=True), History(AGO(hours=5), AGO(hours=25)), "less than 6 h ago"),
        (Situation(4, demand=True), History(None, AGO(hours=23)), "has not been stable for 24 h"),
        (
            Situation(4, demand=True),
            History(None, AGO(days=2), failed={3: AGO(hours=23)}),
            "N 3 is locked for 24 h: its canary failed",
        ),
    ],
    ids=["no demand", "estimated", "asleep", "dwelling", "too soon", "locked"],
)
def test_n_does_not_rise(situation, history, said):
    found = step(2, situation, history)

    assert found.after == 2 and said in found.reason


@pytest.mark.parametrize("breach", Breach, ids=lambda b: b.name.lower())
def test_a_broken_promise_lowers_n_at_once_even_while_dwelling(breach):
    found = step(4, Situation(target=6, breach=breach, slots_in_use=4), History(AGO(minutes=1)))

    assert (found.after, found.needs_drain) == (3, True)


def test_a_lower_target_takes_two_hours():
    assert step(4, Situation(2), History(None, None, AGO(hours=1))).after == 4
    assert step(4, Situation(2), History(None, None, AGO(hours=2))).after == 2


def test_a_failed_canary_locks_its_own_n_for_a_day_and_no_other():
    above = AGO(days=2)

    assert step(2, Situation(4, demand=True), History(None, above, failed={4: AGO(hours=1)})).after == 3
    assert step(2, Situation(4, demand=True), History(None, above, failed={3: AGO(hours=24)})).after == 3


def test_n_is_lowered_to_what_stood_all_the_time_not_to_the_last_sample():
    history = History().seen(5, 3, AGO(hours=2)).seen(5, 4, AGO(hours=1)).seen(5, 1, NOW)

    assert step(5, Situation(1), history).after == 4


def test_a_target_that_came_back_begins_its_window_again():
    history = History().seen(2, 4, AGO(days=2)).seen(2, 2, AGO(hours=3)).seen(2, 4, AGO(hours=2))

    assert (history.above_since, history.below_since) == (AGO(hours=2), None)
    assert step(2, Situation(4, demand=True), history).after == 2


def test_a_clock_that_runs_backwards_changes_nothing():
    assert step(2, Situation(5, demand=True), now=AGO(days=30)).after == 2


def test_one_is_the_least_whatever_comes():
    assert step(1, Situation(target=0, breach=Breach.XID)).after == 1
    assert step(-3, Situation(target=-1)).after == 1


def test_the_cheapest_offer_that_fits_is_named_with_all_prices():
    offers = [
        Offer("g6.xlarge N=2", "time-slicing", 0.8048, 2, 10_000, 0.45),
        Offer("g6f.xlarge", "fraction", 0.2375, 1, 2_861, 0.125),
        Offer("g6.xlarge", "exclusive", 0.8048, 1, 22_000, 1.0),
    ]

    small = advise(2_000, 0.1, offers, "g6.xlarge N=2")
    large = advise(15_000, 0.1, offers, "g6.xlarge")

    assert small.best.name == "g6f.xlarge"
    assert small.reason.startswith("move to g6f.xlarge: a pod-hour costs g6f.xlarge (fraction) $0.237")
    assert large.reason.startswith("stay with g6.xlarge")
    assert advise(99_000, 0.1, offers, "g6.xlarge").best is None


def test_a_saturated_gpu_has_no_finite_queueing():
    assert slowdown.queueing(0.45, 0.9) == pytest.approx(2)
    assert slowdown.queueing(0.9, 0.9) == float("inf")
