"""Jobs that Kueue admits, where the policy has jobs suspended, or lets them use the night."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from slicewise.errors import Refused, Unauthorized
from slicewise.kube.ref import Ref, ref_of
from slicewise.offhours.targets import KEEP_AWAKE
from slicewise.planning.outcome import Stage
from slicewise.policy.off_hours import Jobs, OffHours

from tests.fakes.calls import strike
from tests.fakes.kube.controllers import scaled
from tests.fakes.kube.kueue import job
from tests.fakes.sleeper import NIGHTS, NODE_POOL
from tests.unit.offhours.kinds.test_kueue import (
    HOWS,
    JOBS,
    MIXED,
    SERVED,
    SERVER,
    WAKING,
    Queued,
    findings,
    morning,
    workload,
)
from tests.unit.offhours.sleeping import MORNING, NIGHT, codes, objects_of

SUSPENDING, RUNNING = replace(NIGHTS, jobs=Jobs.SUSPEND), replace(NIGHTS, jobs=Jobs.RUN)
RAN = job("ran")
EITHER = pytest.mark.parametrize("mixed", [False, True], ids=["ours alone", "mixed"])


def queued(*items, policy: OffHours = SUSPENDING, gpus: int = 3, mixed: bool = False) -> Queued:
    sleeper = Queued(*items, gpus=gpus, mixed=mixed)
    sleeper.off_hours = policy
    return sleeper


@EITHER
def test_one_that_runs_is_ended_by_its_workload_and_has_its_quota_again_before_what_waited(mixed):
    sleeper = queued(SERVER, RAN, *JOBS, mixed=mixed)
    before = objects_of(sleeper)
    assert sleeper.admitted() == {*SERVED, "job-ran"}

    asleep = sleeper.at(NIGHT).settle()
    assert sleeper.pods() == set() and sleeper.admitted() == set()
    assert sleeper.value(workload("job-ran"), "spec", "active") is False
    assert asleep.outcome.stage is Stage.ASLEEP and codes(asleep) == {"queue-held"}
    assert sleeper.value(NODE_POOL, "spec", "limits", "nodes") == "0"
    assert not any("patch Job ml/" in call for call in sleeper.calls.made), "Kueue would start it again"

    morning(sleeper.at(WAKING))
    sleeper.later(minutes=1).settle()
    assert objects_of(sleeper) == before
    assert sleeper.admitted() == {*SERVED, "job-ran"} and sleeper.held() == set()


def test_what_ran_has_its_quota_before_one_that_waited_under_an_earlier_name():
    sleeper = queued(job("z"), gpus=1)
    sleeper.create(job("a"))
    assert sleeper.admitted() == {"job-z"}
    sleeper.at(NIGHT).settle()

    sleeper.at(WAKING).reconcile_once()
    sleeper.later(seconds=15).reconcile_once()
    first = sleeper.later(seconds=15).reconcile_once()

    assert sleeper.admitted() == {"job-z"}, first.outcome
    morning(sleeper)
    assert sleeper.admitted() == {"job-z"} and sleeper.held() == set()


def test_it_is_ended_only_once_its_queue_is_held_since_its_quota_would_go_to_the_next():
    sleeper = queued(RAN, *JOBS, gpus=1)

    sleeper.at(NIGHT).reconcile_once()
    assert sleeper.policy() == "Hold" and sleeper.admitted() == {"job-ran"}
    sleeper.later(seconds=15).reconcile_once()

    assert sleeper.admitted() == set() and sleeper.pods() == set()


def test_one_that_is_marked_runs_on():
    marked = job("ran")
    marked["spec"]["template"]["spec"]["nodeSelector"] = {"slicewise.dev/pool": "shared"}
    marked["metadata"]["annotations"] = {KEEP_AWAKE: "true"}
    sleeper = queued(marked)

    reported = sleeper.at(NIGHT).settle()

    assert sleeper.admitted() == {"job-ran"} and "kept-awake" in codes(reported)


def test_who_makes_it_active_at_night_keeps_it():
    sleeper = queued(RAN, mixed=True)
    sleeper.at(NIGHT).settle()

    sleeper.edit(workload("job-ran"), ("spec", "active"), True)
    reported = sleeper.later(hours=1).settle()
    morning(sleeper.at(WAKING))

    assert "woken-by-somebody" in codes(reported) and sleeper.admitted() == {"job-ran"}


def test_what_the_table_has_lost_is_made_active_again():
    sleeper = queued(RAN, scaled("Deployment", "free", 1))
    sleeper.at(NIGHT).settle()
    for key in [key for key, one in sleeper.kept._kept.items() if one.ref.kind != "Deployment"]:
        del sleeper.kept._kept[key]

    morning(sleeper.at(WAKING))
    sleeper.later(minutes=1).settle()

    assert sleeper.admitted() == {"job-ran"} and sleeper.held() == set()


def test_pods_that_outlive_it_are_reported_with_kueue():
    sleeper = queued(RAN, mixed=True)
    sleeper.kueue.is_running = False
    sleeper.at(NIGHT).settle()

    reported = sleeper.later(minutes=6).settle()

    [finding] = findings(reported, "outlives-its-sleep")
    assert "Job ml/ran was put to sleep" in finding.message and "Kueue has not ended" in finding.message
    assert reported.outcome.stage is Stage.GOING_TO_SLEEP


def test_where_kueue_cannot_be_read_no_job_is_suspended_since_it_may_be_kueues():
    sleeper = queued(RAN, SERVER)
    sleeper.calls.fails = lambda call: Refused("403") if call == "kubernetes.list Workload" else None
    sleeper.at(NIGHT).settle()

    reported = sleeper.later(minutes=11).settle()

    [finding] = findings(reported, "job-runs")
    assert "whether Kueue admits it cannot be read" in finding.message and "ran" in sleeper.pods()
    assert sleeper.value(ref_of(RAN), "spec", "suspend") is False and sleeper.replicas(SERVER) == 0


def observation(mixed: bool) -> Queued:
    return queued(RAN, *JOBS, mixed=mixed, gpus=1)


def struck(sleeper: Queued, how: str, number: int) -> Queued:
    """Some looks, as they come one after another, of which one call is struck."""
    strike(how, len(sleeper.calls.made) + number)(sleeper.calls)
    for _ in range(3):
        with suppress(Refused, Unauthorized):
            sleeper.reconcile_once()
        sleeper.later(seconds=15)
    sleeper.calls.revive()
    sleeper.calls.kill_after, sleeper.calls.lose_answer, sleeper.calls.refuse = None, {}, {}
    return sleeper


def survives(how: str, number: int, mixed: bool) -> None:
    before = objects_of(observation(mixed))
    sleeper = struck(observation(mixed).at(NIGHT), how, number)
    sleeper.later(minutes=16).settle()
    assert not sleeper.pods(), (how, number)
    morning(struck(sleeper.at(WAKING), how, number).later(minutes=1))
    sleeper.later(minutes=1).settle()
    assert objects_of(sleeper) == before and sleeper.held() == set(), (how, number)
    assert sleeper.admitted() == {"job-ran"} and not sleeper.kept._kept, (how, number)


def calls_of(mixed: bool) -> int:
    sleeper = struck(observation(mixed).at(NIGHT), "killed", 10_000)
    return len(sleeper.calls.made)


@EITHER
def test_a_reconcile_that_ends_at_any_call_leaves_the_rest_to_the_next(mixed):
    """Every sixth; the soak has them all."""
    for number in range(mixed, calls_of(mixed), 6):
        survives(HOWS[number // 6 % len(HOWS)], number, mixed)


@pytest.mark.soak
@EITHER
@pytest.mark.parametrize("how", HOWS)
def test_a_reconcile_that_ends_at_any_call_in_any_way_leaves_the_rest_to_the_next(how, mixed):
    for number in range(calls_of(mixed)):
        survives(how, number, mixed)


# They use the night


@EITHER
def test_where_jobs_may_use_the_night_nothing_of_kueue_is_written_and_queued_ones_start(mixed):
    sleeper = queued(SERVER, *JOBS, job("waits"), policy=RUNNING, gpus=2, mixed=mixed)

    reported = sleeper.at(NIGHT).settle()
    assert sleeper.admitted() == {"job-a", "job-b"} and {"a", "b"} <= sleeper.pods()
    assert sleeper.value(NODE_POOL, "spec", "limits", "nodes") is None
    assert "queues-open" in codes(reported) and "queue-held" not in codes(reported)

    morning(sleeper.at(WAKING))
    written = [
        call for call in sleeper.calls.made if "patch ClusterQueue" in call or "patch Workload" in call
    ]
    assert written == [] and sleeper.replicas(SERVER) == 2
    assert sleeper.admitted() == {"job-a", "job-b"}, "what slept waits behind them: it is in the docs"


@EITHER
def test_a_night_that_began_with_queues_held_releases_them_at_the_next_reconcile(mixed):
    sleeper = queued(SERVER, *JOBS, policy=NIGHTS, gpus=2, mixed=mixed)
    sleeper.at(NIGHT).settle()
    assert sleeper.admitted() == set()

    sleeper.off_hours = RUNNING
    sleeper.later(minutes=15).settle()

    assert sleeper.admitted() == {"job-a", "job-b"} and sleeper.held() == set()
    assert sleeper.policy(MIXED if mixed else Ref(MIXED.api_version, "ClusterQueue", "gpus")) == "None"
    sleeper.at(MORNING).settle()
    assert sleeper.replicas(SERVER) == 2 and sleeper.kept._kept == {}


def test_kueue_that_cannot_be_read_keeps_nothing_awake_where_no_queue_is_held():
    sleeper = queued(SERVER, policy=RUNNING)
    sleeper.calls.fails = lambda call: Refused("403") if call == "kubernetes.list Workload" else None

    sleeper.at(NIGHT).settle()

    assert sleeper.replicas(SERVER) == 0
