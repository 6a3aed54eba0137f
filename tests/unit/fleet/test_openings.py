"""Which clusters are asked for a look because they open, and which are late."""

from __future__ import annotations

from datetime import timedelta

from slicewise.fleet.openings import past_their_hour, triggers
from slicewise.model.capabilities import OFF_HOURS
from slicewise.model.opening import Opening
from slicewise.trigger import DeploymentScope

from tests.fakes.clock import START

HOME = DeploymentScope("111122223333", "eu-west-1")
MINUTE = timedelta(minutes=1)
GPU_1 = HOME.arn("gpu-1")


def opening(due: float, opens: float) -> Opening:
    """In minutes from now."""
    return Opening(START + due * MINUTE, START + opens * MINUTE)


def test_what_is_due_is_asked_for_at_once():
    [one] = triggers({GPU_1: opening(-90, -80)}, START)

    assert one.delay == timedelta(0)


def test_it_asks_off_hours_and_says_why():
    [one] = triggers({GPU_1: opening(0, 10)}, START)
    assert (one.capability, one.trigger.cluster, one.trigger.forced) == (OFF_HOURS, GPU_1, False)
    assert one.trigger.reason == f"it opens at {START + 10 * MINUTE:%Y-%m-%d %H:%M} UTC"

    [one] = triggers({GPU_1: opening(-20, -10)}, START)
    assert one.trigger.reason == f"asleep past its hour, {START - 10 * MINUTE:%Y-%m-%d %H:%M} UTC"


def test_many_that_are_past_come_within_two_minutes_the_longest_due_first():
    past = {HOME.arn(f"c{number:04}"): opening(-10 - number / 1000, 0) for number in range(1000)}
    found = triggers(past, START)

    assert [one.trigger.name for one in found[:2]] == ["c0999", "c0998"]
    assert len({one.trigger.cluster for one in found}) == 1000
    assert timedelta(seconds=110) < max(one.delay for one in found) < 2 * MINUTE


def test_a_cluster_is_late_once_it_sleeps_more_than_five_minutes_past_its_opening():
    found = {HOME.arn(f"c{minutes}"): opening(-minutes - 10, -minutes) for minutes in (-5, 0, 5, 5.02, 600)}

    assert past_their_hour(found, START) == (HOME.arn("c5.02"), HOME.arn("c600"))


def test_no_openings_ask_for_nothing():
    assert triggers({}, START) == () and past_their_hour({}, START) == ()
