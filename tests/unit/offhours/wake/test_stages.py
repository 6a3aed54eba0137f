"""The most important wake first: in stages, of which none keeps the next asleep past its own time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.kube.labels import STARTUP_ANNOTATION
from slicewise.kube.ref import ref_of
from slicewise.offhours.wake import stages as wake_stages
from slicewise.planning.outcome import Stage

from tests.fakes.calls import REFUSALS
from tests.fakes.kube.controllers import cron_job, scaled, scaled_job, scaled_object
from tests.fakes.sleeper import NODE_POOL, Sleeper

NIGHT, OPENING = "2026-11-25T20:01", "2026-11-26T07:00"
HIGH = scaled("Deployment", "high", 2, priority=1000)
MIDDLE = scaled("StatefulSet", "middle", 1, priority=10)
LOW = scaled("Deployment", "low", 3)
LEAD = timedelta(minutes=10)


def asleep(*items) -> Sleeper:
    sleeper = Sleeper()
    sleeper.create(*items)
    sleeper.at(NIGHT).settle()
    return sleeper


def awake(sleeper: Sleeper) -> list[str]:
    return [
        item["metadata"]["name"]
        for item in (HIGH, MIDDLE, LOW)
        if sleeper.live(ref_of(item)) and sleeper.replicas(item)
    ]


def test_waking_begins_half_a_lead_earlier_for_each_further_stage():
    assert awake(asleep(HIGH).at("2026-11-26T06:49").after_a_pass()) == []
    assert awake(asleep(HIGH).at("2026-11-26T06:50").after_a_pass()) == ["high"]
    assert awake(asleep(HIGH, LOW).at("2026-11-26T06:44").after_a_pass()) == []
    assert awake(asleep(HIGH, LOW).at("2026-11-26T06:45").after_a_pass()) == ["high"]
    assert awake(asleep(HIGH, MIDDLE, LOW).at("2026-11-26T06:40").after_a_pass()) == ["high"]


def test_the_schedule_asks_for_that_moment():
    sleeper = asleep(HIGH, LOW)

    at, _ = sleeper.schedules.waiting["gpu-1"]

    assert at == sleeper.at("2026-11-26T06:45").clock.now


@pytest.mark.parametrize("number", range(1, 12))
def test_all_stages_together_take_at_most_one_lead_more(number):
    sleeper = asleep(*(scaled("Deployment", f"s{n}", 1, priority=n) for n in range(number)))
    kept = sleeper.kept.snapshots(sleeper.cluster.arn)

    assert len(wake_stages.stages(kept)) == number
    assert LEAD <= wake_stages.ahead(kept, LEAD) <= 2 * LEAD


def test_the_next_stage_is_woken_once_the_pods_of_the_one_before_run():
    sleeper = asleep(HIGH, MIDDLE, LOW).at("2026-11-26T06:40")
    sleeper.settle()
    assert awake(sleeper) == ["high"]

    sleeper.run_pods("high-0")
    waits = sleeper.later(seconds=15).settle()
    assert awake(sleeper) == ["high"], "one of two pods still starts"
    assert "2 objects wait until the pods of Deployment ml/high run" in waits.outcome.reason
    assert waits.outcome.requeue_after == timedelta(seconds=15)

    sleeper.run_pods("high-1")
    sleeper.later(seconds=15).settle()
    assert awake(sleeper) == ["high", "middle"]

    sleeper.run_pods("middle-0")
    sleeper.later(seconds=15).settle()
    assert awake(sleeper) == ["high", "middle", "low"]


def test_pods_that_are_not_made_yet_do_not_count_as_running():
    sleeper = asleep(HIGH, LOW).at("2026-11-26T06:45")
    sleeper.server.on_change.clear()  # a controller that is slow
    sleeper.settle()

    assert awake(sleeper) == ["high"]


def test_a_stage_that_never_runs_keeps_nobody_asleep():
    """The last has the whole measured start-up to itself."""
    sleeper = asleep(HIGH, MIDDLE, LOW)

    for at, names in (
        ("06:40", ["high"]),
        ("06:44", ["high"]),
        ("06:45", ["high", "middle"]),
        ("06:49", ["high", "middle"]),
        ("06:50", ["high", "middle", "low"]),
    ):
        sleeper.at(f"2026-11-26T{at}").settle()
        assert awake(sleeper) == names, at


def test_a_waking_that_begins_late_wakes_all_that_are_due_at_once():
    sleeper = asleep(HIGH, MIDDLE, LOW).at("2026-11-26T06:52")

    sleeper.settle()

    assert awake(sleeper) == ["high", "middle", "low"]


def test_at_the_opening_and_when_a_person_says_so_all_are_woken():
    sleeper = asleep(HIGH, LOW)
    sleeper.later(hours=1).put_override(asleep=False)

    sleeper.settle()

    assert awake(sleeper) == ["high", "low"]
    assert sleeper.kept.snapshots(sleeper.cluster.arn) == ()


def test_who_is_edited_or_deleted_in_between_keeps_nobody_waiting():
    sleeper = asleep(HIGH, MIDDLE, LOW).at("2026-11-26T06:40")
    sleeper.settle()

    sleeper.edit(ref_of(HIGH), ("spec", "replicas"), 0)
    sleeper.later(seconds=15).settle()
    assert awake(sleeper) == ["middle"], "a person put it to sleep again, and that stays"

    sleeper.delete(ref_of(MIDDLE))
    sleeper.later(seconds=15).settle()
    assert awake(sleeper) == ["low"]
    sleeper.at(OPENING).settle()
    assert awake(sleeper) == ["low"]


def test_what_makes_jobs_from_a_queue_wakes_with_the_last_stage_and_a_cron_job_at_the_opening():
    nightly, queue = cron_job("nightly"), scaled_job("queue")
    sleeper = asleep(scaled("Deployment", "high", 1, priority=1000), nightly, queue).at("2026-11-26T06:50")
    assert len(wake_stages.stages(sleeper.kept.snapshots(sleeper.cluster.arn))) == 1

    woken = sleeper.settle()
    assert sleeper.value(ref_of(queue), "metadata", "annotations", "autoscaling.keda.sh/paused") is None
    assert sleeper.value(ref_of(nightly), "spec", "suspend") is True, "its missed run would start at once"
    [finding] = [one for one in woken.outcome.findings if one.code == "missed-run"]
    assert "CronJob ml/nightly (0 3 * * *)" in finding.message and "startingDeadlineSeconds" in finding.remedy

    reported = sleeper.at(OPENING).reconcile_once()
    assert sleeper.value(ref_of(nightly), "spec", "suspend") in (None, False)
    assert "missed-run" in {one.code for one in reported.outcome.findings}
    assert sleeper.settle().outcome.findings == ()


def test_a_cron_job_that_drops_late_runs_or_was_suspended_is_not_reported():
    late, paused = cron_job("late"), cron_job("paused", suspend=True)
    late["spec"]["startingDeadlineSeconds"] = 60
    sleeper = asleep(scaled("Deployment", "high", 1), late, paused).at("2026-11-26T06:52")

    assert "missed-run" not in {one.code for one in sleeper.settle().outcome.findings}
    sleeper.at(OPENING).settle()
    assert sleeper.value(ref_of(paused), "spec", "suspend") is True


def test_what_keda_scales_is_as_important_as_its_pods():
    scaler = scaled_object("keda", HIGH)
    sleeper = Sleeper()
    sleeper.controllers.demand[ref_of(scaler)] = 2
    sleeper.create(HIGH, scaler, LOW)
    sleeper.at(NIGHT).settle()

    sleeper.at("2026-11-26T06:45").settle()
    assert awake(sleeper) == ["high"]

    sleeper.run_pods("high-0", "high-1")
    sleeper.later(seconds=15).settle()
    assert awake(sleeper) == ["high", "low"]


def test_a_start_up_that_is_measured_shorter_meanwhile_puts_nobody_back_to_sleep():
    sleeper = asleep(HIGH, LOW).at("2026-11-26T06:45")
    sleeper.settle()

    quicker = '[["a",100],["b",100],["c",100]]'
    sleeper.edit(NODE_POOL, ("metadata", "annotations", STARTUP_ANNOTATION), quicker)
    found = sleeper.later(minutes=1).settle()

    assert found.outcome.stage is Stage.WAKING and awake(sleeper) == ["high"]
    sleeper.at(OPENING).settle()
    assert awake(sleeper) == ["high", "low"]


def test_a_person_who_says_sleep_while_it_wakes_is_obeyed():
    sleeper = asleep(HIGH, LOW).at("2026-11-26T06:45")
    sleeper.settle()

    sleeper.put_override(asleep=True)
    sleeper.settle()
    assert awake(sleeper) == []

    sleeper.at("2026-11-27T07:00").settle()
    assert awake(sleeper) == ["high", "low"]


@pytest.mark.parametrize("how", ["killed", "answer lost", *REFUSALS])
def test_a_waking_goes_on_in_its_order_wherever_a_reconcile_ends(how):
    whole = asleep(HIGH, MIDDLE, LOW).at("2026-11-26T06:40")
    before = len(whole.calls.made)
    whole.reconcile_once()

    for number in range(len(whole.calls.made) - before):
        sleeper = asleep(HIGH, MIDDLE, LOW).at("2026-11-26T06:40")
        for running in ((), ("high-0", "high-1"), ("middle-0",)):
            sleeper.run_pods(*running)
            sleeper.struck_reconcile(how, number)
            assert awake(sleeper) == ["high", "middle", "low"][: len(awake(sleeper))]
            if not running:
                assert "middle" not in awake(sleeper)
            sleeper.settle()
        assert awake(sleeper) == ["high", "middle", "low"]
        sleeper.at(OPENING).settle()
        assert [sleeper.replicas(item) for item in (HIGH, MIDDLE, LOW)] == [2, 1, 3]
        assert sleeper.kept.snapshots(sleeper.cluster.arn) == ()


# Where many clusters open at the same minute, each has its own moment.

NAMES = [f"gpu-{number}" for number in range(1000)]


def test_a_small_fleet_begins_as_late_as_it_can():
    assert {wake_stages.share(name, clusters) for clusters in (0, 1) for name in NAMES} == {timedelta(0)}
    assert max(wake_stages.share(name, 20) for name in NAMES) < timedelta(seconds=10)


def test_of_a_thousand_clusters_each_begins_at_its_own_moment_the_same_each_morning():
    shares = sorted(wake_stages.share(name, 1000) for name in NAMES)

    assert shares == sorted(wake_stages.share(name, 1000) for name in reversed(NAMES))
    assert timedelta(seconds=100) <= shares[0] and shares[-1] < timedelta(seconds=500)
    # In no half minute more than twice its share of them.
    begun = [sum(at <= share < at + timedelta(seconds=30) for share in shares) for at in shares]
    assert max(begun) < 2 * 1000 * 30 / 400


def test_no_fleet_is_so_large_that_its_nodes_run_for_an_hour():
    assert max(wake_stages.share(name, 1_000_000) for name in NAMES) < timedelta(minutes=15)


def test_a_cluster_of_a_large_fleet_is_woken_so_much_earlier_and_asks_for_that_moment():
    sleeper = Sleeper()
    sleeper.store.note_sweep(sleeper.clock.now, 1000)
    share = wake_stages.share(sleeper.cluster.name, 1000)
    sleeper.create(HIGH)
    sleeper.at(NIGHT).settle()
    begins = sleeper.at(OPENING).clock.now - LEAD - share

    assert sleeper.schedules.waiting["gpu-1"][0] == begins
    assert sleeper.kept.opening(sleeper.cluster.arn).due == begins
    sleeper.clock.now = begins - timedelta(seconds=1)
    assert awake(sleeper.after_a_pass()) == []
    sleeper.clock.now = begins
    assert awake(sleeper.after_a_pass()) == ["high"]
