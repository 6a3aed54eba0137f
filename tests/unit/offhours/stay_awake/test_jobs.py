"""Work that ends by itself: it runs to completion, is suspended for the night, or uses the night."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from slicewise import rights
from slicewise.errors import Refused, Unavailable
from slicewise.kube.labels import SUSPENDS
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.targets import KEEP_AWAKE
from slicewise.planning.outcome import Stage
from slicewise.policy.off_hours import Jobs, OffHours

from tests.fakes import sleeper as fakes
from tests.fakes.calls import REFUSALS
from tests.fakes.jobs import CRDS, JobControllers, job, job_set, ray_job, train_job, training
from tests.fakes.kube.controllers import owned, ray_cluster, scaled
from tests.fakes.kube.kubernetes import FakeKubernetes
from tests.fakes.sleeper import NIGHTS, NODE_POOL, Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, codes, objects_of

SUSPENDING, RUNNING = replace(NIGHTS, jobs=Jobs.SUSPEND), replace(NIGHTS, jobs=Jobs.RUN)
RAN_ON = "2026-11-25T23:00"
KINDS = {
    "Job": (job("train", 2), ("spec", "suspend")),
    "JobSet": (job_set("set"), ("spec", "suspend")),
    "TrainJob": (train_job("llm"), ("spec", "suspend")),
    "PyTorchJob": (training("ft"), ("spec", "runPolicy", "suspend")),
    "RayJob": (ray_job("tune", ray_cluster("c")), ("spec", "suspend")),
}
EACH = pytest.mark.parametrize("kind", KINDS)


def observation(*items: Object, policy: OffHours | None = SUSPENDING) -> Sleeper:
    sleeper = Sleeper(policy)
    sleeper.server.add_crds(*CRDS)
    JobControllers(sleeper.server)
    sleeper.create(*copy.deepcopy(items))
    return sleeper


def with_one(kind: str, **more: Any) -> Sleeper:
    return observation(KINDS[kind][0], **more)


def suspended(sleeper: Sleeper, kind: str) -> Any:
    item, path = KINDS[kind]
    return sleeper.value(ref_of(item), *path)


def pods(sleeper: Sleeper) -> set[str]:
    return {ref.name for ref in sleeper.server.objects if ref.kind == "Pod"}


def is_marked(sleeper: Sleeper) -> bool:
    return sleeper.value(NODE_POOL, "metadata", "annotations", SUSPENDS) is not None


def findings(plan: Any, code: str) -> list[Any]:
    return [one for one in plan.outcome.findings if one.code == code]


@EACH
def test_it_is_suspended_for_the_night_and_resumed_as_it_was(kind):
    sleeper = with_one(kind)
    before, ran = objects_of(sleeper), pods(sleeper)
    assert ran

    asleep = sleeper.at(NIGHT).settle()
    assert suspended(sleeper, kind) is True and pods(sleeper) == set() and is_marked(sleeper)
    assert asleep.outcome.stage is Stage.ASLEEP and codes(asleep) == set()
    assert sleeper.value(NODE_POOL, "spec", "limits", "nodes") == "0"

    woken = sleeper.at(MORNING).settle()
    after = objects_of(sleeper)
    assert (pods(sleeper), woken.outcome.stage, codes(woken)) == (ran, Stage.AWAKE, set())
    assert [after[ref]["spec"] for ref in before] == [before[ref]["spec"] for ref in before]
    assert not is_marked(sleeper) and sleeper.kept._kept == {}


@EACH
@pytest.mark.parametrize("jobs", [Jobs.FINISH, Jobs.RUN])
def test_by_any_other_policy_it_runs_to_its_end_and_nothing_of_it_is_read_that_was_not(kind, jobs):
    sleeper = with_one(kind, policy=replace(NIGHTS, jobs=jobs))
    before, ran = copy.deepcopy(sleeper.live(ref_of(KINDS[kind][0]))), pods(sleeper)

    reported = sleeper.at(NIGHT).settle()

    assert sleeper.live(ref_of(KINDS[kind][0])) == before and pods(sleeper) == ran
    [finding] = findings(reported, "job-runs")
    assert "runs to completion;" in finding.message and not is_marked(sleeper)
    listed = {call.removeprefix("kubernetes.list ") for call in sleeper.calls.made if ".list " in call}
    assert listed.isdisjoint(KINDS.keys() - {"Job", "JobSet"})


@EACH
def test_what_its_user_has_suspended_stays_so(kind):
    item, path = KINDS[kind]
    sleeper = observation(item)
    sleeper.edit(ref_of(item), path, True)
    before = copy.deepcopy(sleeper.live(ref_of(item)))

    sleeper.at(NIGHT).settle()
    sleeper.at(MORNING).settle()

    assert sleeper.live(ref_of(item)) == before


@EACH
def test_who_resumes_it_at_night_keeps_it(kind):
    item, path = KINDS[kind]
    sleeper = observation(item)
    sleeper.at(NIGHT).settle()

    sleeper.edit(ref_of(item), path, False)
    reported = sleeper.later(hours=1).settle()
    sleeper.at(MORNING).settle()

    assert "woken-by-somebody" in codes(reported) and suspended(sleeper, kind) is False and pods(sleeper)


@EACH
def test_one_that_is_marked_runs_on(kind):
    item = copy.deepcopy(KINDS[kind][0])
    item["metadata"]["labels"] = {KEEP_AWAKE: "true"}
    sleeper = observation(item)

    reported = sleeper.at(NIGHT).settle()

    assert not suspended(sleeper, kind) and len(findings(reported, "kept-awake")) == 1


@EACH
def test_the_annotation_resumes_it_where_the_table_has_lost_it(kind):
    sleeper = with_one(kind)
    ran = pods(sleeper)
    sleeper.at(NIGHT).settle()
    sleeper.kept._kept.clear()

    sleeper.at(MORNING).settle()

    assert pods(sleeper) == ran and not suspended(sleeper, kind) and not is_marked(sleeper)


@EACH
@pytest.mark.parametrize("policy", [NIGHTS, RUNNING, None], ids=["finish", "run", "none"])
@pytest.mark.parametrize("is_lost", [False, True], ids=["kept", "lost"])
def test_what_sleeps_is_resumed_though_the_policy_says_otherwise_by_then(kind, policy, is_lost):
    sleeper = with_one(kind)
    ran = pods(sleeper)
    sleeper.at(NIGHT).settle()
    sleeper.off_hours = policy
    if is_lost and policy:
        sleeper.kept._kept.clear()

    sleeper.at(MORNING).settle()

    assert pods(sleeper) == ran and not suspended(sleeper, kind) and not is_marked(sleeper)


HOWS = ("killed", "answer lost", *REFUSALS)


def survives(kind: str, how: str, number: int) -> None:
    sleeper = with_one(kind).at(NIGHT)
    ran = pods(sleeper)
    sleeper.struck_reconcile(how, number)
    sleeper.later(minutes=16).settle()
    assert suspended(sleeper, kind) is True and is_marked(sleeper), (how, number)
    sleeper.at(MORNING).struck_reconcile(how, number)
    sleeper.later(minutes=16).settle()
    assert pods(sleeper) == ran and not suspended(sleeper, kind), (how, number)
    assert not is_marked(sleeper) and sleeper.kept._kept == {}, (how, number)


def calls_of(kind: str) -> int:
    sleeper = with_one(kind).at(NIGHT)
    sleeper.settle()
    return len(sleeper.calls.made)


@EACH
def test_a_reconcile_that_ends_at_any_call_leaves_the_rest_to_the_next(kind):
    """All kinds together: each call of a pass."""
    for number in range([*KINDS].index(kind), calls_of(kind), len(KINDS)):
        survives(kind, HOWS[number % len(HOWS)], number)


@pytest.mark.soak
@EACH
@pytest.mark.parametrize("how", HOWS)
def test_a_reconcile_that_ends_at_any_call_in_any_way_leaves_the_rest_to_the_next(kind, how):
    for number in range(calls_of(kind)):
        survives(kind, how, number)


def test_several_are_resumed_though_one_fails_and_the_right_to_it_stays():
    sleeper = observation(job("a"), job("b"), job("c"))
    sleeper.at(NIGHT).settle()
    sleeper.off_hours = NIGHTS
    denied = f"kubernetes.patch {ref_of(job('b'))}"
    sleeper.calls.fails = lambda call: Refused("403") if call.startswith(denied) else None

    sleeper.at(MORNING)
    for _ in range(4):
        sleeper.reconcile_once()
        sleeper.later(minutes=1)
    assert pods(sleeper) == {"a-0", "c-0"} and is_marked(sleeper)

    sleeper.calls.fails = lambda call: None
    sleeper.settle()
    assert pods(sleeper) == {"a-0", "b-0", "c-0"} and not is_marked(sleeper)


# Who is not suspended, and why


@pytest.mark.parametrize("version, kind", [("batch/v1", "CronJob"), ("keda.sh/v1alpha1", "ScaledJob")])
def test_a_job_that_was_made_by_a_clock_or_a_queue_is_suspended_like_any_other(version, kind):
    above = {"apiVersion": version, "kind": kind, "metadata": {"name": "nightly", "uid": "uid-above"}}
    sleeper = observation(owned(job("nightly-1"), above))

    sleeper.at(NIGHT).settle()

    assert sleeper.value(ref_of(job("nightly-1")), "spec", "suspend") is True
    sleeper.edit(ref_of(job("nightly-1")), ("spec", "suspend"), False)
    assert "woken-by-somebody" in codes(sleeper.later(hours=1).settle()), "not by what made it"


def test_a_job_of_a_controller_that_is_not_known_runs_on_since_that_may_put_it_back():
    above = {"apiVersion": "example.com/v1", "kind": "Pipeline", "metadata": {"name": "p", "uid": "uid-p"}}
    sleeper = observation(owned(job("step"), above))

    reported = sleeper.at(NIGHT).settle()

    [finding] = findings(reported, "job-runs")
    assert "not suspended: Pipeline p makes it, and may put it back" in finding.message
    assert sleeper.value(ref_of(job("step")), "spec", "suspend") is False and pods(sleeper) == {"step-0"}


@pytest.mark.parametrize(
    "change, status, message",
    [
        ({"shutdownAfterJobFinishes": False}, "Running", "without shutdownAfterJobFinishes"),
        ({"clusterSelector": {"ray.io/cluster": "x"}}, "Running", "a cluster of others"),
        ({}, "Complete", "none that is Complete"),
        ({}, "Waiting", "none that is Waiting"),
    ],
)
def test_a_ray_job_that_kuberay_would_give_up_or_not_suspend_runs_on_and_says_why(change, status, message):
    item = copy.deepcopy(KINDS["RayJob"][0])
    sleeper = observation(item)
    item = sleeper.server.objects[ref_of(item)]
    item["spec"].update(change)
    item["status"] = {"jobDeploymentStatus": status}

    reported = sleeper.at(NIGHT).settle()

    [finding] = findings(reported, "job-runs")
    assert message in finding.message and finding.remedy and pods(sleeper)
    assert not suspended(sleeper, "RayJob")
    assert sleeper.value(NODE_POOL, "spec", "limits", "nodes") is not None


def test_a_job_of_a_kind_without_a_switch_runs_on_and_says_so():
    """As Volcano's, which is suspended by a command object of its own."""
    volcano = {
        "apiVersion": "batch.volcano.sh/v1alpha1",
        "kind": "Job",
        "metadata": {"name": "v", "uid": "u"},
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "v-0", "namespace": "ml"}}
    sleeper = observation(owned({**pod, "spec": job("x")["spec"]["template"]["spec"]}, volcano), SERVER)

    reported = sleeper.at(NIGHT).settle()

    [finding] = findings(reported, "job-runs")
    assert "Job ml/v runs to completion, not suspended: no field of Job is known" in finding.message
    assert sleeper.replicas(SERVER) == 0 and "v-0" in pods(sleeper)


def test_until_onboarding_has_granted_the_right_it_runs_on_and_all_others_sleep():
    sleeper = observation(KINDS["JobSet"][0], SERVER)
    sleeper.calls.fails = lambda call: Refused("403") if call == "kubernetes.list JobSet" else None

    reported = sleeper.at(NIGHT).settle()

    assert "set-workers-0-0" in pods(sleeper) and sleeper.replicas(SERVER) == 0
    assert "cannot-be-read" in codes(reported)
    assert sleeper.at(MORNING).settle().outcome.stage is Stage.AWAKE


@pytest.mark.parametrize("policy, stage", [(SUSPENDING, Stage.WAKING), (NIGHTS, Stage.AWAKE)])
def test_a_list_of_jobs_that_fails_keeps_a_morning_open_only_where_some_may_be_suspended(policy, stage):
    sleeper = observation(SERVER, policy=policy)
    sleeper.at(NIGHT).settle()
    sleeper.calls.fails = lambda call: Unavailable("503") if call == "kubernetes.list Job" else None
    sleeper.create(job("new"))

    assert sleeper.at(MORNING).settle().outcome.stage is stage

    sleeper.calls.fails = lambda call: None
    assert sleeper.later(minutes=1).settle().outcome.stage is Stage.AWAKE


# Its order


def test_a_job_is_resumed_with_the_last_however_important_it_is():
    important = job("train", priority=1000)
    sleeper = observation(
        important, scaled("Deployment", "first", 1, priority=500), scaled("Deployment", "last", 1)
    )
    sleeper.at(NIGHT).settle()

    sleeper.at("2026-11-26T06:45").settle()
    assert sleeper.value(Ref("apps/v1", "Deployment", "first", "ml"), "spec", "replicas") == 1
    assert sleeper.value(ref_of(important), "spec", "suspend") is True

    sleeper.run_pods("first-0")
    sleeper.later(seconds=15).settle()
    assert sleeper.value(ref_of(important), "spec", "suspend") is False


def test_one_that_has_ended_before_people_come_is_no_news():
    sleeper = observation(job("short"))
    sleeper.at(NIGHT).settle()
    sleeper.at("2026-11-26T06:51").settle()
    sleeper.server.on_change.clear()
    sleeper.delete(Ref("v1", "Pod", "short-0", "ml"))

    reported = sleeper.at("2026-11-26T06:56").reconcile_once()

    assert "still-pending" not in codes(reported)


def test_one_that_is_made_at_night_is_suspended_by_the_next_reconcile():
    sleeper = observation(SERVER)
    sleeper.at(NIGHT).settle()
    sleeper.create(job("late"))

    sleeper.later(minutes=15).settle()

    assert pods(sleeper) == set()


# By scale, as long as jobs finish


SCALED = scaled("PyTorchJob", "ft", 2, version="kubeflow.org/v1")


class Elsewhere(FakeKubernetes):
    """The number of workers stands where the `scale` subresource finds it, not where a Deployment has it."""

    def list(self, *arguments: Any, **options: Any) -> tuple[Object, ...]:
        found = super().list(*arguments, **options)
        return tuple(
            {**one, "spec": {key: value for key, value in one["spec"].items() if key != "replicas"}}
            if one["kind"] == "PyTorchJob"
            else one
            for one in found
        )


def test_one_that_was_scaled_to_0_gets_its_workers_though_jobs_are_suspended_by_then(monkeypatch):
    monkeypatch.setattr(fakes, "FakeKubernetes", Elsewhere)
    sleeper = Sleeper(SUSPENDING)
    sleeper.server.add_crds(*CRDS)
    sleeper.create(SCALED)
    sleeper.at(NIGHT).settle()
    # As the release before, where its pods said so.
    Elsewhere.held(sleeper.server, sleeper.calls, rights.SLEEPER).scale(ref_of(SCALED), 2, 0)
    uid = sleeper.value(ref_of(SCALED), "metadata", "uid")
    at = sleeper.clock.now
    kept = Snapshot(ref_of(SCALED), "spec.replicas", uid, 2, 0, "2026-11-26T06:00:00+00:00", at, done=True)
    sleeper.kept.keep(sleeper.cluster.arn, kept.sealed())

    sleeper.later(hours=1).settle()
    sleeper.at(MORNING).settle()

    assert sleeper.replicas(SCALED) == 2 and sleeper.kept._kept == {}


# They use the night


def test_where_jobs_may_use_the_night_node_pools_stay_open_and_it_is_reported():
    sleeper = observation(SERVER, job("train"), policy=RUNNING)
    limits = copy.deepcopy(sleeper.value(NODE_POOL, "spec", "limits"))

    reported = sleeper.at(NIGHT).settle()

    assert sleeper.value(NODE_POOL, "spec", "limits") == limits and sleeper.replicas(SERVER) == 0
    assert sleeper.value(NODE_POOL, "spec", "disruption", "consolidationPolicy") == "WhenEmpty"
    [finding] = findings(reported, "queues-open")
    assert "slicewise-shared-l4 may have GPU nodes" in finding.message
    assert not findings(reported, "open-for-what-stays")


def test_a_night_that_began_closed_is_opened_by_the_next_reconcile():
    sleeper = observation(SERVER, policy=NIGHTS)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    assert sleeper.value(NODE_POOL, "spec", "limits", "nodes") == "0"

    sleeper.off_hours = RUNNING
    sleeper.at(RAN_ON).settle()
    assert sleeper.value(NODE_POOL, "spec", "limits", "nodes") is None and sleeper.replicas(SERVER) == 0

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before
