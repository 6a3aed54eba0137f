"""From Kubernetes 1.37 on an autoscaler may bring back what is at 0: it is held for the night."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from slicewise.errors import Refused
from slicewise.kube.ref import Object, ref_of
from slicewise.offhours.sleep_fields import NO_SCALE_UP
from slicewise.offhours.targets import KEEP_AWAKE
from slicewise.planning.outcome import Stage

from tests.fakes.calls import REFUSALS
from tests.fakes.kube.controllers import autoscaler, keeping_volumes, scaled
from tests.fakes.sleeper import Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, codes, objects_of

IDLE = scaled("Deployment", "queue", 0)
OF_IDLE, OF_SERVER = autoscaler("queue", IDLE), autoscaler("server", SERVER)
OWN = {"scaleUp": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}}


def cluster(*items: Object, version: str = "1.37") -> Sleeper:
    sleeper = Sleeper()
    sleeper.cluster = replace(sleeper.cluster, version=version)
    sleeper.create(*copy.deepcopy(items))
    for item in items:
        if item["kind"] == "HorizontalPodAutoscaler":
            sleeper.controllers.demand[ref_of(item)] = 3
    return sleeper


def behavior(sleeper: Sleeper, item: Object) -> Any:
    return sleeper.value(ref_of(item), "spec", "behavior")


@pytest.mark.parametrize("own", [None, OWN], ids=["none", "its own"])
@pytest.mark.parametrize("target", [IDLE, SERVER], ids=["at 0 by its autoscaler", "put to 0 by us"])
def test_nothing_is_brought_back_at_night_and_all_is_restored(target, own):
    held = autoscaler("it", target, **({"behavior": own} if own else {}))
    sleeper = cluster(target, held)
    before = objects_of(sleeper)

    sleeper.at(NIGHT).settle()
    assert behavior(sleeper, held) == NO_SCALE_UP.asleep
    sleeper.controllers.wake_from_zero()
    asleep = sleeper.later(minutes=15).settle()
    assert sleeper.replicas(target) == 0 and asleep.outcome.stage is Stage.ASLEEP and codes(asleep) == set()

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before
    sleeper.controllers.wake_from_zero()
    assert sleeper.replicas(target) == 3, "by day it does its work"


def test_without_the_hold_it_would_come_back():
    """What the others show is not the stand-in's kindness."""
    sleeper = cluster(IDLE, OF_IDLE, version="1.36")
    sleeper.at(NIGHT).settle()

    sleeper.controllers.wake_from_zero()

    assert sleeper.replicas(IDLE) == 3


@pytest.mark.parametrize("where", ["", "the Rollout", "the workload"])
def test_one_of_a_rollout_at_0_whose_template_is_another_workloads_is_held_too(where):
    web, deployment = (
        scaled("Rollout", "web", 0, version="argoproj.io/v1alpha1"),
        scaled("Deployment", "web", 0),
    )
    del web["spec"]["template"]
    web["spec"]["workloadRef"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    for item, name in ((web, "the Rollout"), (deployment, "the workload")):
        if where == name:
            item["metadata"]["labels"] = {KEEP_AWAKE: "true"}
    held = autoscaler("web", web)
    sleeper = cluster(deployment, held)
    sleeper.server.objects[ref_of(web)] = {**web, "metadata": {**web["metadata"], "uid": "web"}}

    sleeper.at(NIGHT).settle()

    assert (behavior(sleeper, held) == NO_SCALE_UP.asleep) is (not where)


def test_before_1_37_no_autoscaler_is_asked_for():
    sleeper = cluster(SERVER, OF_SERVER, version="1.36")

    sleeper.at(NIGHT).settle()

    assert "kubernetes.list HorizontalPodAutoscaler" not in sleeper.calls.made
    assert behavior(sleeper, OF_SERVER) is None and sleeper.replicas(SERVER) == 0


@pytest.mark.parametrize(
    "untouched",
    [
        pytest.param(autoscaler("it", SERVER, least=1), id="it never goes to 0"),
        pytest.param(autoscaler("it", scaled("Deployment", "cpu", 2, pool=None)), id="nothing of ours"),
    ],
)
def test_others_are_left_unchanged(untouched):
    sleeper = cluster(SERVER, scaled("Deployment", "cpu", 2, pool=None, slices=0), untouched)

    sleeper.at(NIGHT).settle()

    assert behavior(sleeper, untouched) is None and sleeper.replicas(SERVER) == 0


def test_one_whose_target_stays_awake_is_left_to_its_work():
    marked = copy.deepcopy(SERVER)
    marked["metadata"]["labels"] = {KEEP_AWAKE: "true"}
    sleeper = cluster(marked, OF_SERVER)

    sleeper.at(NIGHT).settle()

    assert behavior(sleeper, OF_SERVER) is None and sleeper.replicas(SERVER) == 3


def test_it_is_held_before_its_target_goes_to_0_and_let_go_after_it_is_back():
    sleeper = cluster(SERVER, OF_SERVER)
    order = []
    for at in (NIGHT, MORNING):
        found = sleeper.at(at).dry_run()
        writes = [str(one.ref) for one in found.actions if hasattr(one, "ref") and one.ref.namespace == "ml"]
        order.append([name for name in writes if "server" in name])
        sleeper.settle()

    assert order[0].index(str(ref_of(OF_SERVER))) < order[0].index(str(ref_of(SERVER)))
    assert order[1].index(str(ref_of(OF_SERVER))) > order[1].index(str(ref_of(SERVER)))


def test_where_the_target_could_not_be_restored_it_stays_held():
    sleeper = cluster(SERVER, OF_SERVER)
    sleeper.at(NIGHT).settle()
    sleeper.calls.fails = lambda call: REFUSALS["403"] if call.startswith("kubernetes.scale") else None

    sleeper.at(MORNING).reconcile_once()
    assert behavior(sleeper, OF_SERVER) == NO_SCALE_UP.asleep

    sleeper.calls.fails = lambda call: None
    sleeper.later(minutes=1).settle()
    assert behavior(sleeper, OF_SERVER) is None and sleeper.replicas(SERVER) == 3


def test_who_changes_its_behavior_at_night_keeps_it():
    sleeper = cluster(SERVER, OF_SERVER)
    sleeper.at(NIGHT).settle()

    sleeper.edit(ref_of(OF_SERVER), ("spec", "behavior"), OWN)
    sleeper.at(MORNING).settle()

    assert behavior(sleeper, OF_SERVER) == OWN and sleeper.replicas(SERVER) == 3


def test_until_onboarding_has_granted_it_nothing_waits_for_it():
    """A cluster that EKS has upgraded to 1.37 in the night."""
    sleeper = cluster(SERVER, OF_SERVER)
    sleeper.calls.fails = lambda call: (
        REFUSALS["403"] if call == "kubernetes.list HorizontalPodAutoscaler" else None
    )

    reported = sleeper.at(NIGHT).settle()
    assert sleeper.replicas(SERVER) == 0 and "cannot-be-read" in codes(reported)
    assert sleeper.at(MORNING).settle().outcome.stage is Stage.AWAKE and sleeper.notices.sent == []


def test_the_annotation_gives_it_back_where_the_table_has_lost_it():
    sleeper = cluster(IDLE, OF_IDLE)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    sleeper.kept._kept.clear()

    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


@pytest.mark.parametrize("own", [{}, {"scaleUp": OWN["scaleUp"]}], ids=["no scaleUp", "its own scaleUp"])
def test_a_manifest_that_is_applied_again_at_night_leaves_nothing_held(own):
    """Flux and kubectl write the keys that they have: scaleDown comes back, and the hold stays ours."""
    down = {"scaleDown": {"stabilizationWindowSeconds": 600}}
    held = autoscaler("server", SERVER, behavior={**down, **own})
    sleeper = cluster(SERVER, held)
    sleeper.at(NIGHT).settle()

    sleeper.edit(ref_of(held), ("spec", "behavior", "scaleDown"), down["scaleDown"])
    reported = sleeper.later(hours=1).settle()
    assert "woken-by-somebody" not in codes(reported)

    sleeper.at(MORNING).settle()
    assert behavior(sleeper, held) == {**down, **own}


@pytest.mark.parametrize("where", ["its own", "its pods'"])
def test_one_whose_target_is_marked_and_at_0_is_left_to_its_work(where):
    marked, mark = copy.deepcopy(IDLE), {"labels": {KEEP_AWAKE: "true"}}
    if where == "its own":
        marked["metadata"] |= mark
    else:
        marked["spec"]["template"]["metadata"] = mark
    sleeper = cluster(marked, OF_IDLE)

    sleeper.at(NIGHT).settle()

    assert behavior(sleeper, OF_IDLE) is None


def test_one_of_a_target_that_is_read_through_scale_alone_is_held_once_it_has_started_something():
    """At 0 nothing says where the pods of such a target would run: on our pools, or anywhere."""
    model = scaled("ModelServer", "model", 0, version="inference.example.com/v1")
    held = autoscaler("model", model)
    sleeper = cluster(model, held)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    assert behavior(sleeper, held) is None

    sleeper.controllers.wake_from_zero()
    assert sleeper.replicas(model) == 3
    sleeper.later(minutes=15).settle()
    assert sleeper.replicas(model) == 0 and behavior(sleeper, held) == NO_SCALE_UP.asleep
    sleeper.controllers.wake_from_zero()
    assert sleeper.replicas(model) == 0

    sleeper.at(MORNING).settle()
    assert sleeper.replicas(model) == 3, "as many as it had started"
    sleeper.server.scale(ref_of(model), 3, 0, manager="horizontal-pod-autoscaler")
    assert objects_of(sleeper) == before


def test_one_whose_target_is_refused_its_sleep_is_released_for_its_work():
    sleeper = cluster(SERVER, OF_SERVER)
    before = objects_of(sleeper)
    what = f"kubernetes.scale {ref_of(SERVER)}"
    denied = Refused('403 admission webhook "floor.example.com" denied the request: no')
    sleeper.calls.fails = lambda call: denied if call.startswith(what) else None

    sleeper.at(NIGHT).reconcile_once()
    assert behavior(sleeper, OF_SERVER) == NO_SCALE_UP.asleep, "it is held before its target is tried"
    for _ in range(3):
        sleeper.reconcile_once()

    assert behavior(sleeper, OF_SERVER) is None and sleeper.replicas(SERVER) == 3
    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before


def test_one_whose_target_is_left_for_its_volumes_is_left_to_its_work():
    store = keeping_volumes(scaled("StatefulSet", "store", 1))
    held = autoscaler("store", store)
    sleeper = cluster(store, held)

    reported = sleeper.at(NIGHT).settle()

    assert "volumes-would-go" in codes(reported) and behavior(sleeper, held) is None
