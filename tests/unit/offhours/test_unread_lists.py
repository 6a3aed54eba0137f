"""Nobody says that a cluster is awake while a list that could hold sleepers cannot be read."""

from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.errors import Refused, Unavailable
from slicewise.model.opening import Opening
from slicewise.planning.outcome import Stage

from tests.fakes.sleeper import Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, codes, objects_of
from tests.unit.offhours.test_emptied_table import CRON, NOTED, empty, with_workloads

KINDS = ("CronJob", "ScaledObject", "ScaledJob")
ERRORS = (Unavailable("read timed out"), Refused("403"))


def forgets(sleeper: Sleeper) -> None:
    """The table loses what sleeps; when the waking is due is kept."""
    empty(sleeper)
    assert opening(sleeper)


def opening(sleeper: Sleeper) -> Opening | None:
    return sleeper.kept._openings.get(sleeper.cluster.arn)


def cannot_list(sleeper: Sleeper, kind: str, error: Exception) -> None:
    sleeper.calls.fails = lambda call: error if call.startswith(f"kubernetes.list {kind}") else None


@pytest.mark.parametrize("error", ERRORS, ids=["no answer", "refused"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", ["what slept", "all"])
def test_a_cluster_is_waking_until_each_list_that_may_hold_sleepers_was_read(kind, error, lost):
    sleeper = with_workloads(*NOTED)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    forgets(sleeper)
    if lost == "all":
        sleeper.kept._openings.clear()
    cannot_list(sleeper, kind, error)

    sleeper.at(MORNING)
    for _ in range(5):
        woken = sleeper.reconcile_once()
        assert woken.outcome.stage is Stage.WAKING and woken.outcome.requeue_after <= timedelta(minutes=1)
        assert kind in woken.outcome.reason and "cannot-be-read" in codes(woken)
        assert opening(sleeper)
        sleeper.later(minutes=1)
    [(subject, text)] = [one for one in sleeper.notices.sent if "may not be awake" in one[0]]
    assert "gpu-1" in subject and kind in text and str(error) in text

    sleeper.calls.fails = lambda call: None
    last = sleeper.settle()
    assert last.outcome.stage is Stage.AWAKE and opening(sleeper) is None
    assert objects_of(sleeper) == before


def test_a_pause_at_night_keeps_the_morning_of_what_could_not_be_read():
    sleeper = with_workloads(*NOTED)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    forgets(sleeper)
    cannot_list(sleeper, "CronJob", ERRORS[0])
    sleeper.store.pause(sleeper.cluster.arn, "the table was emptied")

    for moment in ("2026-11-26T02:00", "2026-11-26T02:10", MORNING):
        sleeper.at(moment).settle()
        assert opening(sleeper)

    sleeper.calls.fails = lambda call: None
    sleeper.settle()
    assert opening(sleeper) is None and objects_of(sleeper) == before


def test_a_mode_that_lets_nothing_sleep_says_asleep_while_it_cannot_see_whether_anything_does():
    sleeper = with_workloads(CRON)
    sleeper.at(NIGHT).settle()
    forgets(sleeper)
    for ref in [ref for ref in sleeper.server.objects if ref.kind == "NodePool"]:
        sleeper.edit(ref, ("metadata", "annotations", "slicewise.dev/asleep-was"), None)
    cannot_list(sleeper, "CronJob", ERRORS[0])
    sleeper.mode = "observe"

    found = sleeper.later(hours=1).settle()

    assert found.outcome.stage is Stage.ASLEEP and "every CronJob" in found.outcome.reason
    assert opening(sleeper)


def test_where_nobody_can_look_inside_the_opening_stays_though_the_table_knows_of_nothing():
    sleeper = with_workloads(*NOTED)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    forgets(sleeper)
    sleeper.calls.fails = lambda call: ERRORS[0] if call.startswith("kubernetes.") else None

    assert sleeper.at("2026-11-26T03:00").reconcile_once() and opening(sleeper)
    assert sleeper.at(MORNING).reconcile_once() and opening(sleeper)

    sleeper.calls.fails = lambda call: None
    sleeper.settle()
    assert opening(sleeper) is None and objects_of(sleeper) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_in_which_nothing_slept_is_awake_whatever_cannot_be_read(kind):
    sleeper = with_workloads(SERVER)
    cannot_list(sleeper, kind, ERRORS[1])

    reported = sleeper.settle()

    assert reported.outcome.stage is Stage.AWAKE and "cannot-be-read" in codes(reported)
    assert opening(sleeper) is None and not sleeper.notices.sent
