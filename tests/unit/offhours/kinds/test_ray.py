"""A RayCluster is suspended by its own field, and what KubeRay makes for others is left to them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from slicewise.errors import Refused
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.offhours.targets import KEEP_AWAKE
from slicewise.planning.outcome import Stage

from tests.fakes.kube.controllers import owned, ray_cluster, scaled
from tests.fakes.sleeper import Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, codes, objects_of

RAY = ray_cluster("rc")
RC = ref_of(RAY)
LATE = "2026-11-26T06:56"


def above(kind: str) -> Object:
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": {"name": "top", "uid": "uid-top"}}


def pods(sleeper: Sleeper) -> set[str]:
    return {ref.name for ref in sleeper.server.objects if ref.kind == "Pod"}


def with_ray(*items: Any) -> Sleeper:
    sleeper = Sleeper()
    sleeper.create(*(items or (copy.deepcopy(RAY),)))
    return sleeper


def suspended(sleeper: Sleeper) -> Any:
    return sleeper.value(RC, "spec", "suspend")


def findings(plan: Any, code: str) -> list[Any]:
    return [one for one in plan.outcome.findings if one.code == code]


@pytest.mark.parametrize("flag", [None, False], ids=["no field", "false"])
def test_a_ray_cluster_sleeps_and_wakes_as_it_was(flag):
    sleeper = with_ray(ray_cluster("rc", suspend=flag), SERVER)
    before, ran = objects_of(sleeper), pods(sleeper)
    assert {"rc-head", "rc-gpu-0", "rc-gpu-1"} <= ran

    asleep = sleeper.at(NIGHT).settle()
    assert suspended(sleeper) is True and pods(sleeper) == set()
    assert asleep.outcome.stage is Stage.ASLEEP and codes(asleep) == set()

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before and pods(sleeper) == ran


def test_no_field_of_a_worker_group_is_ever_written():
    """With `suspend` in one, KubeRay 1.5 stops to reconcile the whole cluster."""
    sleeper = with_ray()
    groups = copy.deepcopy(sleeper.value(RC, "spec", "workerGroupSpecs"))

    sleeper.at(NIGHT).settle()
    assert sleeper.value(RC, "spec", "workerGroupSpecs") == groups
    assert not any(call.startswith("kubernetes.scale") for call in sleeper.calls.made)


def test_one_that_its_user_has_suspended_stays_so():
    sleeper = with_ray(ray_cluster("rc", suspend=True))
    before = objects_of(sleeper)

    sleeper.at(NIGHT).settle()
    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before and suspended(sleeper) is True


def test_who_resumes_it_at_night_keeps_it():
    sleeper = with_ray()
    sleeper.at(NIGHT).settle()

    sleeper.edit(RC, ("spec", "suspend"), False)
    reported = sleeper.later(hours=1).settle()
    assert suspended(sleeper) is False and "woken-by-somebody" in codes(reported)

    sleeper.at(MORNING).settle()
    assert suspended(sleeper) is False


def test_one_that_is_marked_stays_awake():
    marked = copy.deepcopy(RAY)
    marked["metadata"]["labels"] = {KEEP_AWAKE: "true"}
    sleeper = with_ray(marked)

    reported = sleeper.at(NIGHT).settle()

    assert not suspended(sleeper) and len(findings(reported, "kept-awake")) == 1


def test_a_ray_services_cluster_is_left_and_reported_once_by_the_services_name():
    sleeper = with_ray(owned(RAY, above("RayService")), SERVER)
    before = copy.deepcopy(sleeper.server.objects[RC])

    reported = sleeper.at(NIGHT).settle()

    [finding] = findings(reported, "left-awake")
    assert finding.message.startswith("RayService ml/top is left awake") and "2 GPU slices" in finding.message
    assert sleeper.server.objects[RC] == before and sleeper.replicas(SERVER) == 0
    assert "cannot-be-scaled" not in codes(reported)
    assert "open-for-what-stays" in codes(reported), "a lost node is replaced"


@pytest.mark.parametrize("kind", ["RayJob", "RayCronJob"])
def test_a_ray_jobs_cluster_runs_to_its_end(kind):
    sleeper = with_ray(owned(RAY, above(kind)))

    reported = sleeper.at(NIGHT).settle()

    [finding] = findings(reported, "job-runs")
    assert finding.message.startswith(f"{kind} ml/top runs to completion") and not suspended(sleeper)


def test_pods_that_outlive_its_suspension_are_reported():
    sleeper = with_ray()
    sleeper.server.on_change.clear()  # KubeRay's operator is down
    sleeper.at(NIGHT).settle()

    reported = sleeper.later(minutes=6).settle()

    [finding] = findings(reported, "outlives-its-sleep")
    assert "RayCluster ml/rc was put to sleep, and 2 of its pods" in finding.message
    assert reported.outcome.stage is Stage.GOING_TO_SLEEP


def test_one_that_does_not_come_back_is_reported_before_people_come():
    sleeper = with_ray()
    sleeper.at(NIGHT).settle()
    sleeper.server.on_change.clear()
    sleeper.at("2026-11-26T06:51").settle()

    reported = sleeper.at(LATE).reconcile_once()

    [pending] = findings(reported, "still-pending")
    assert "RayCluster ml/rc is still suspended: KubeRay's operator has not followed" in pending.message
    assert "not-resumed" in codes(reported) and suspended(sleeper) is False
    opened = sleeper.at(MORNING).settle()
    assert opened.outcome.stage is Stage.WAKING

    sleeper.server.on_change.append(sleeper.controllers.reconcile)
    sleeper.controllers.reconcile(sleeper.server.objects[RC])
    assert sleeper.later(minutes=1).settle().outcome.stage is Stage.AWAKE
    assert suspended(sleeper) is None and "rc-gpu-1" in pods(sleeper)


def test_where_the_right_is_missing_it_is_left_with_its_pods_and_everything_else_sleeps():
    sleeper = with_ray(copy.deepcopy(RAY), SERVER)
    sleeper.calls.fails = lambda call: Refused("403") if call == "kubernetes.list RayCluster" else None

    reported = sleeper.at(NIGHT).settle()

    assert sleeper.replicas(SERVER) == 0 and not suspended(sleeper)
    assert "cannot-be-read" in codes(reported)
    awake = sleeper.at(MORNING).settle()
    assert awake.outcome.stage is Stage.AWAKE and sleeper.notices.sent == [], "none of them ever slept"


def test_where_the_right_is_taken_away_at_night_the_morning_waits_for_it():
    sleeper = with_ray()
    sleeper.at(NIGHT).settle()
    sleeper.calls.fails = lambda call: Refused("403") if call == "kubernetes.list RayCluster" else None

    assert sleeper.at(MORNING).settle().outcome.stage is Stage.WAKING

    sleeper.calls.fails = lambda call: None
    assert sleeper.later(minutes=1).settle().outcome.stage is Stage.AWAKE and suspended(sleeper) is None


def test_without_kuberay_nothing_of_it_is_asked_for():
    sleeper = Sleeper()
    sleeper.server.delete(Ref("apiextensions.k8s.io/v1", "CustomResourceDefinition", "rayclusters.ray.io"))
    sleeper.create(SERVER)

    sleeper.at(NIGHT).settle()

    assert "kubernetes.list RayCluster" not in sleeper.calls.made and sleeper.replicas(SERVER) == 0


def test_keda_that_cannot_be_read_keeps_no_ray_cluster_awake():
    """It scales nothing without a `scale` subresource."""
    sleeper = with_ray(copy.deepcopy(RAY), SERVER)
    sleeper.calls.fails = lambda call: Refused("403") if call == "kubernetes.list ScaledObject" else None

    sleeper.at(NIGHT).settle()

    assert suspended(sleeper) is True and sleeper.replicas(SERVER) == 3


def test_the_annotation_wakes_it_where_the_table_has_lost_it():
    sleeper = with_ray()
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    sleeper.kept._kept.clear()

    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


def test_it_is_put_to_sleep_after_what_makes_work_and_woken_by_its_priority():
    high = ray_cluster("high", priority=1000)
    sleeper = with_ray(high, scaled("Deployment", "low", 1))
    sleeper.at(NIGHT).settle()

    sleeper.at("2026-11-26T06:45").settle()
    assert sleeper.value(ref_of(high), "spec", "suspend") in (None, False)
    assert sleeper.value(Ref("apps/v1", "Deployment", "low", "ml"), "spec", "replicas") == 0

    sleeper.run_pods("high-head", "high-gpu-0", "high-gpu-1")
    sleeper.later(seconds=15).settle()
    assert sleeper.value(Ref("apps/v1", "Deployment", "low", "ml"), "spec", "replicas") == 1


def test_what_kueue_admits_is_left_since_it_would_be_started_again():
    queued = copy.deepcopy(RAY)
    queued["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "gpu"}
    sleeper = with_ray(queued, SERVER)

    reported = sleeper.at(NIGHT).settle()

    [finding] = findings(reported, "left-awake")
    assert "Kueue admits it" in finding.message and not suspended(sleeper) and sleeper.replicas(SERVER) == 0


@pytest.mark.parametrize("where", ["headGroupSpec", "workerGroupSpecs"])
def test_a_mark_in_any_of_its_templates_keeps_it_awake(where):
    """The head runs on a CPU node: its pod is not among those that are looked at."""
    marked = copy.deepcopy(RAY)
    group = marked["spec"][where]
    (group if isinstance(group, dict) else group[0])["template"]["metadata"] = {
        "labels": {KEEP_AWAKE: "true"}
    }
    sleeper = with_ray(marked)

    assert "kept-awake" in codes(sleeper.at(NIGHT).settle()) and not suspended(sleeper)


def test_a_pod_that_waits_for_its_node_is_not_taken_for_an_operator_that_does_not_follow():
    """The state stays `suspended` until all pods run; the condition says at once that it is not."""
    sleeper = with_ray()
    sleeper.at(NIGHT).settle()
    sleeper.server.on_change.remove(sleeper.controllers.reconcile)
    sleeper.at("2026-11-26T06:51").reconcile_once()
    resumed = {"state": "suspended", "conditions": [{"type": "RayClusterSuspended", "status": "False"}]}
    sleeper.server.set_status(RC, resumed)

    reported = sleeper.later(seconds=15).settle()

    assert suspended(sleeper) is None and "not-resumed" not in codes(reported)
