"""A KServe InferenceService is stopped by its own annotation: its Deployments are KServe's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from slicewise.kube.objects import annotations_of
from slicewise.kube.ref import Ref, ref_of
from slicewise.offhours.targets import KEEP_AWAKE
from slicewise.planning.outcome import Stage

from tests.fakes.kube.controllers import KSERVE_STOP, inference_service, owned, scaled, scaled_object
from tests.fakes.sleeper import Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, codes, objects_of

LLM = inference_service("llm")
REF = ref_of(LLM)
DEPLOYMENT, POD = (
    Ref("apps/v1", "Deployment", "llm-predictor", "ml"),
    Ref("v1", "Pod", "llm-predictor-0", "ml"),
)


def with_service(item: Any = LLM) -> Sleeper:
    sleeper = Sleeper()
    sleeper.create(copy.deepcopy(item))
    return sleeper


def stopped(sleeper: Sleeper) -> str | None:
    return annotations_of(sleeper.server.objects[REF]).get(KSERVE_STOP)


def findings(plan: Any, code: str) -> list[Any]:
    return [one for one in plan.outcome.findings if one.code == code]


@pytest.mark.parametrize("stop", [None, "false"], ids=["no annotation", "false"])
def test_it_sleeps_and_wakes_as_it_was_and_its_deployment_is_kserves(stop):
    sleeper = with_service(inference_service("llm", stop=stop))
    before = objects_of(sleeper)
    assert sleeper.live(POD)

    asleep = sleeper.at(NIGHT).settle()
    assert stopped(sleeper) == "true"
    assert sleeper.live(POD) is None and sleeper.live(DEPLOYMENT) is None
    assert asleep.outcome.stage is Stage.ASLEEP and codes(asleep) == set()
    later = sleeper.later(hours=1).settle()
    assert codes(later) == set(), "nobody fights"

    awake = sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before and sleeper.live(POD) and codes(awake) == set()
    assert not any(call.startswith("kubernetes.scale") for call in sleeper.calls.made)


def test_one_that_its_user_has_stopped_stays_so():
    sleeper = with_service(inference_service("llm", stop="true"))
    before = objects_of(sleeper)

    sleeper.at(NIGHT).settle()
    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


@pytest.mark.parametrize("value", [None, "false"], ids=["removed", "false"])
def test_who_starts_it_at_night_keeps_it(value):
    sleeper = with_service()
    sleeper.at(NIGHT).settle()

    sleeper.edit(REF, ("metadata", "annotations", KSERVE_STOP), value)
    reported = sleeper.later(hours=1).settle()
    assert sleeper.live(POD) and "woken-by-somebody" in codes(reported)

    sleeper.at(MORNING).settle()
    assert stopped(sleeper) == value


def test_one_that_is_marked_stays_awake():
    marked = copy.deepcopy(LLM)
    marked["metadata"]["annotations"] = {KEEP_AWAKE: "true"}
    sleeper = with_service(marked)

    assert "kept-awake" in codes(sleeper.at(NIGHT).settle()) and stopped(sleeper) is None


@pytest.mark.parametrize("mode", ["Knative", "Serverless", "ModelMesh"])
@pytest.mark.parametrize("said_by", ["status", "annotation"])
def test_one_of_another_mode_is_left_and_reported(mode, said_by):
    item = copy.deepcopy(LLM)
    if said_by == "status":
        item["status"]["deploymentMode"] = mode
    else:
        item["status"].pop("deploymentMode")
        item["metadata"]["annotations"] = {"serving.kserve.io/deploymentMode": mode}
    sleeper = with_service(item)

    reported = sleeper.at(NIGHT).settle()

    [finding] = findings(reported, "left-awake")
    assert f"InferenceService ml/llm is left awake: whether one in KServe's mode {mode}" in finding.message
    assert stopped(sleeper) is None and sleeper.live(POD)


def _older(item: dict[str, Any]) -> None:
    item["status"]["conditions"] = []


def _on_its_own(item: dict[str, Any]) -> None:
    item["metadata"]["annotations"] = {"serving.kserve.io/disable-auto-update": "true"}


@pytest.mark.parametrize("change", [_older, _on_its_own])
def test_one_that_would_follow_no_stop_sleeps_by_its_deployments(change):
    """As before KServe 0.16, which knows none, and where a person has KServe leave it alone."""
    item = inference_service("llm", replicas=2)
    change(item)
    sleeper = with_service(item)
    before = objects_of(sleeper)

    asleep = sleeper.at(NIGHT).settle()
    assert stopped(sleeper) is None and sleeper.value(DEPLOYMENT, "spec", "replicas") == 0
    assert codes(asleep) == set()

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before and sleeper.value(DEPLOYMENT, "spec", "replicas") == 2


def test_the_scaled_object_that_kserve_makes_for_it_is_left_to_kserve():
    sleeper = with_service()
    scaler = scaled_object("llm-predictor", sleeper.server.objects[DEPLOYMENT])
    sleeper.create(owned(scaler, sleeper.server.objects[REF]))

    asleep = sleeper.at(NIGHT).settle()

    assert stopped(sleeper) == "true" and codes(asleep) == set()
    assert not any("ScaledObject ml/llm" in str(one) for plan in sleeper.plans for one in plan.actions)


def test_the_annotation_wakes_it_where_the_table_has_lost_it():
    sleeper = with_service()
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    sleeper.kept._kept.clear()

    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


def test_pods_that_outlive_its_stop_are_reported():
    sleeper = with_service()
    sleeper.server.on_change.clear()  # KServe is down
    sleeper.at(NIGHT).settle()

    reported = sleeper.later(minutes=6).settle()

    [finding] = findings(reported, "outlives-its-sleep")
    assert finding.message.startswith("InferenceService ml/llm was put to sleep, and 1 of its pods still run")
    assert reported.outcome.stage is Stage.GOING_TO_SLEEP


def test_one_that_does_not_come_back_is_reported_before_people_come():
    sleeper = with_service()
    sleeper.at(NIGHT).settle()
    sleeper.server.on_change.clear()  # KServe is down

    sleeper.at("2026-11-26T06:50").settle()
    reported = sleeper.at("2026-11-26T06:56").settle()

    [finding] = findings(reported, "still-pending")
    assert "InferenceService ml/llm has no pods: its controller has made no others" in finding.message


# What Knative scales


def test_what_knative_scales_is_left_and_reported():
    revision = {"apiVersion": "serving.knative.dev/v1", "kind": "Revision"}
    revision["metadata"] = {"name": "top", "uid": "uid-top"}
    deployment, sleeper = scaled("Deployment", "served", 1), Sleeper()
    sleeper.create(owned(deployment, revision))

    reported = sleeper.at(NIGHT).settle()

    [finding] = findings(reported, "left-awake")
    assert finding.message.startswith("Revision ml/top is left awake: Knative scales it by requests")
    assert sleeper.replicas(deployment) == 1 and "open-for-what-stays" in codes(reported)
