"""A Rollout between two versions sleeps only where nothing goes on without it. Statuses are as of 1.10."""

from __future__ import annotations

from typing import Any

import pytest
from slicewise.kube.ref import Object, ref_of
from slicewise.planning.outcome import Stage

from tests.fakes.kube.controllers import PAUSED, scaled, scaled_object
from tests.fakes.sleeper import Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, codes, objects_of

TIMED = [{"setWeight": 20}, {"pause": {"duration": "60s"}}, {"setWeight": 60}, {"pause": {}}]
BETWEEN = {"stableRS": "6d9f", "currentPodHash": "7c41"}


def rollout(strategy: Any = None, status: Any = None, **fields: Any) -> Object:
    item = scaled("Rollout", "web", 5, version="argoproj.io/v1alpha1")
    item["spec"] |= {"strategy": strategy or {"canary": {"steps": TIMED}}, **fields}
    return {**item, "status": status or {}}


def _run(of: str, phase: str) -> Any:
    return {f"{of}AnalysisRunStatus": {"name": "web-7c41", "status": phase}}


def night_of(item: Object) -> tuple[Sleeper, Any]:
    sleeper = Sleeper()
    sleeper.create(item)
    sleeper.before = objects_of(sleeper)  # type: ignore[attr-defined]
    return sleeper, sleeper.at(NIGHT).settle()


SLEEPS = [
    pytest.param({}, None, id="never rolled out"),
    pytest.param(
        {"stableRS": "6d9f", "currentPodHash": "6d9f", "currentStepIndex": 4}, None, id="all is stable"
    ),
    pytest.param({**BETWEEN, "currentStepIndex": 3}, None, id="at a pause without an end"),
    pytest.param({**BETWEEN, "currentStepIndex": 1, "abort": True}, None, id="aborted"),
    pytest.param({**BETWEEN, "currentStepIndex": 4}, None, id="past its steps"),
    pytest.param(BETWEEN, {"blueGreen": {"autoPromotionEnabled": False}}, id="blue-green, by a person"),
    pytest.param(
        {**BETWEEN, "blueGreen": {"previewSelector": "7c41", **_run("prePromotion", "Successful")}},
        {"blueGreen": {"autoPromotionEnabled": False}},
        id="blue-green, by a person, after its analysis",
    ),
    pytest.param(
        {**BETWEEN, "currentStepIndex": 3, "abort": True, "canary": _run("currentBackground", "Running")},
        None,
        id="aborted, its analysis about to end",
    ),
]
LEFT = [
    pytest.param({**BETWEEN, "currentStepIndex": 1}, None, id="at a timed pause"),
    pytest.param({**BETWEEN, "currentStepIndex": 0}, None, id="at a weight"),
    pytest.param(
        BETWEEN, {"blueGreen": {"autoPromotionSeconds": 600}}, id="blue-green, promoted by the clock"
    ),
]


MEASURED = [
    pytest.param({"currentStepIndex": 3, "canary": _run("currentBackground", "Running")}, None, id="canary"),
    pytest.param(
        {"blueGreen": _run("prePromotion", "Pending")},
        {"blueGreen": {"autoPromotionEnabled": False}},
        id="blue-green, by a person",
    ),
]


@pytest.mark.parametrize(("status", "strategy"), SLEEPS)
def test_what_stays_at_its_step_sleeps_and_wakes_as_it_was(status, strategy):
    sleeper, reported = night_of(rollout(strategy, status))
    assert sleeper.replicas(rollout()) == 0 and "left-awake" not in codes(reported)

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == sleeper.before


@pytest.mark.parametrize(("status", "strategy"), LEFT)
def test_what_would_promote_itself_with_no_pod_is_left_awake(status, strategy):
    sleeper, reported = night_of(rollout(strategy, status))

    [finding] = [one for one in reported.outcome.findings if one.code == "left-awake"]
    assert "Rollout ml/web is left awake: it is between two versions" in finding.message
    assert (
        "5 GPU slices" in finding.message
        and objects_of(sleeper)[ref_of(rollout())] == sleeper.before[ref_of(rollout())]
    )
    assert "open-for-what-stays" in codes(reported)


@pytest.mark.parametrize(("status", "strategy"), MEASURED)
def test_what_an_analysis_would_abort_for_want_of_pods_is_left_awake(status, strategy):
    sleeper, reported = night_of(rollout(strategy, {**BETWEEN, **status}))

    [finding] = [one for one in reported.outcome.findings if one.code == "left-awake"]
    assert "an analysis of its new version runs" in finding.message and sleeper.replicas(rollout()) == 5


def test_once_it_is_through_it_sleeps_in_the_same_night():
    sleeper, _ = night_of(rollout(None, {**BETWEEN, "currentStepIndex": 1}))

    done = {"stableRS": "7c41", "currentPodHash": "7c41", "currentStepIndex": 4}
    sleeper.server.set_status(ref_of(rollout()), done)
    reported = sleeper.later(minutes=15).settle()

    assert sleeper.replicas(rollout()) == 0 and reported.outcome.stage is Stage.ASLEEP


def test_one_that_its_user_has_paused_is_left_since_it_does_not_scale():
    sleeper, reported = night_of(rollout(paused=True))

    [finding] = [one for one in reported.outcome.findings if one.code == "left-awake"]
    assert "paused does not scale" in finding.message and "spec.paused" in finding.remedy
    assert sleeper.replicas(rollout()) == 5


def test_keda_is_not_paused_for_one_that_is_left():
    item = rollout(None, {**BETWEEN, "currentStepIndex": 1})
    scaler = scaled_object("web", item)
    sleeper = Sleeper()
    sleeper.create(item, scaler)

    sleeper.at(NIGHT).settle()

    marks = sleeper.server.objects[ref_of(scaler)]["metadata"].get("annotations", {})
    assert PAUSED not in marks and sleeper.replicas(item) == 5
