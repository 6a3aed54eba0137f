"""Whatever happens at night, in the end each object is as the last person left it, or as it was."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slicewise.planning.outcome import Plan
from slicewise.policy.off_hours import Jobs
from slicewise.policy.switches import Switch

from sandbox.controllers.stand_ins import predictors
from tests.fakes import jobs
from tests.fakes.kube.controllers import (
    cron_job,
    notebook,
    predictor,
    ray_cluster,
    scaled,
    scaled_job,
    scaled_object,
)
from tests.fakes.kube.kueue import API, CRDS, Kueue, cluster_queue, flavors, in_queue, job, local_queue
from tests.fakes.sleeper import FALLBACK, FALLBACK_POOLS, NIGHTS, NODE_POOL, Sleeper
from tests.support.offhours_nights import (
    NODES,
    PAUSED_JOB,
    PAUSED_OBJECT,
    REPLICAS,
    STOP_POLICY,
    STOPPED,
    SUSPEND,
    Night,
    Steps,
    Thing,
    steps_with,
)

SUSPENDING = replace(NIGHTS, jobs=Jobs.SUSPEND)
_TARGET, _RESUMED = scaled("Deployment", "of-keda", 2), scaled("Deployment", "resumed", 3)
_POOL, _FALLBACK = (
    {"apiVersion": ref.api_version, "kind": "NodePool", "metadata": {"name": ref.name}}
    for ref in (NODE_POOL, FALLBACK)
)
SWITCH = Switch("ml.example.com", "Predictor", SUSPEND, True)
_QUEUE = cluster_queue("gpus", 2)
THINGS = (
    Thing(scaled("Deployment", "server", 3, priority=1000), REPLICAS, (1, 3, 4, 0)),
    Thing(scaled("StatefulSet", "store", 2, priority=1000), REPLICAS, (1, 2, 5, 0)),
    Thing(scaled("Rollout", "web", 3, version="argoproj.io/v1alpha1"), REPLICAS, (2, 3, 0)),
    Thing(scaled("LeaderWorkerSet", "llm", 1, version="leaderworkerset.x-k8s.io/v1"), REPLICAS, (1, 2, 0)),
    Thing(cron_job("nightly"), SUSPEND, (False, True), absent=False),
    Thing(jobs.job("train"), SUSPEND, (False, True), absent=False),
    Thing(scaled_object("keda", _TARGET, "2"), PAUSED_OBJECT, (None, "1", "2", "0")),
    Thing(scaled_object("resumed", _RESUMED), PAUSED_OBJECT, (None, "3", "0")),
    Thing(scaled_job("queue"), PAUSED_JOB, (None, "false", "true")),
    Thing(ray_cluster("rc"), SUSPEND, (None, False, True)),
    Thing(notebook("nb-ada"), STOPPED, (None, "2026-11-25T18:00:00Z", "slicewise-off-hours")),
    Thing(predictor("gpt"), SUSPEND, (None, False, True)),
    Thing(in_queue(scaled("Deployment", "queued", 2)), REPLICAS, (1, 2, 0)),
    Thing(_QUEUE, STOP_POLICY, ("None", "HoldAndDrain", "Hold"), replaceable=False),
    Thing(_POOL, NODES, (None, "7", "0"), replaceable=False),
    Thing(_FALLBACK, NODES, (None, "7", "0"), replaceable=False),
)
STEPS = steps_with(THINGS, "refuse", "change_policy")


class Queued(Night):
    """A queue that its user stopped gives nobody quota: what waits behind such pods does so for minutes."""

    def _next_morning(self) -> Plan:
        found = super()._next_morning()
        if "until what slept has its quota" in found.outcome.reason:
            return self.sleeper.later(minutes=4).settle()
        return found


@cache
def noon() -> Sleeper:
    """To be copied."""
    sleeper = Sleeper(replace(SUSPENDING, kinds=(SWITCH,)), FALLBACK_POOLS)
    sleeper.server.add_crds(*CRDS)
    sleeper.create(predictors())
    Kueue(sleeper.server)
    jobs.JobControllers(sleeper.server)
    sleeper.create(*flavors(), _QUEUE, local_queue("team", "gpus"), job("waits"))
    sleeper.create(_TARGET, _RESUMED, *(thing.item for thing in THINGS if thing.replaceable))
    return sleeper


def night() -> Night:
    return Queued(deepcopy(noon()), THINGS, NODE_POOL)


def play(steps: Steps) -> None:
    played = night()
    played.play(steps)
    queued = played.sleeper.server.of_kind(API, "Workload")
    assert all(item["spec"]["active"] for _, item in queued), "what waited waits on as it did"


_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)


@given(st.lists(STEPS, max_size=14))
@settings(max_examples=150, deadline=None, suppress_health_check=_SLOW)
def test_the_last_person_wins(steps):
    play(steps)


@pytest.mark.exhaustive
@given(st.lists(STEPS, min_size=3, max_size=14))
@settings(max_examples=2_000, deadline=None, suppress_health_check=_SLOW)
def test_the_last_person_wins_two_thousand_times(steps):
    play(steps)


@pytest.mark.exhaustive
@pytest.mark.soak
@given(st.lists(STEPS, min_size=3, max_size=14))
@settings(max_examples=10_000, deadline=None, suppress_health_check=_SLOW)
def test_the_last_person_wins_ten_thousand_times(steps):
    play(steps)


def test_a_persons_limit_of_0_is_restored_and_not_taken_for_our_own():
    """Set between a look and its writes, by a pass that could not read what stays awake: we write 0 last."""
    pool = next(thing for thing in THINGS if thing.ref == NODE_POOL)

    for call in range(30):
        play([("edit", pool, 2, True), ("run", ("lost", call)), ("run", ("", 0))])


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_reconcile_may_end_at_any_call_of_a_sleep_and_a_wake(how):
    """And every pass after it as well, each at the same call: the next that lives finishes."""
    whole = night()
    whole.time(9 * 60)
    whole.run(("", 0))
    calls = len(whole.sleeper.calls.made)

    for number in range(calls + 1):
        play(
            [
                ("run", (how, number)),
                ("time", 60),
                ("run", (how, number)),
                ("refuse",),
                ("time", 525),  # of two stages the first is woken, then the second
                ("run", (how, number)),
                ("time", 5),
                ("refuse",),
                ("run", (how, number)),
                ("time", 15),
                ("run", (how, number)),
            ]
        )
