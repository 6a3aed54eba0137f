"""A canary that fails, and whatever else breaks a promise on the way: the pool goes back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.kube.labels import ROLLOUT_ANNOTATION, TUNING_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.pools import layout

from tests.support.tuning.rollout_world import POOL, SETTINGS, World, at


def test_a_broken_promise_takes_the_pool_back_and_the_n_is_remembered():
    world = World(4, [4, 2]).hold_forever()

    def xid(w):
        w.broken = ["Xid 31 on node-001"]

    world.happens = {5: xid}
    last = world.change(8)

    assert last.finished and last.failed == "Xid 31 on node-001"
    assert last.message == "N is 4 again: Xid 31 on node-001"
    assert world.stands() == at(4, "ts-4", after="Never")
    assert list(world.annotation(TUNING_ANNOTATION)["failed"]) == ["8"]
    assert (world.karpenter.moved, world.karpenter.ever_drifted) == ([], set())


def test_a_canary_that_filled_up_is_replaced_on_the_way_back():
    world = World(4, [4, 4]).hold_forever()

    def fill(w):
        for _ in range(3):
            w.karpenter.add_pod(w.nodes[0])
        w.broken = ["a pod ran out of memory"]

    world.happens = {6: fill}
    world.change(8)

    assert world.stands() == at(4, "ts-4", after="Never")
    assert world.karpenter.replaced == [world.nodes[0]]
    assert world.karpenter.broken_promises == []


def test_a_plugin_that_does_not_follow_takes_the_pool_back():
    world = World(4, [4, 4]).hold_forever()
    world.karpenter.plugin = timedelta(hours=1)
    world.happens = {90: lambda w: setattr(w.karpenter, "plugin", timedelta(seconds=4))}

    last = world.change(8, reconciles=400)

    assert last.failed == f"node {world.nodes[0]} offers 4 of 8 slices 5 minutes after it was relabelled"
    assert world.stands() == at(4, "ts-4", after="Never")
    assert world.karpenter.moved == []


@pytest.mark.parametrize("strikes_at", range(4, 26, 3))
def test_a_promise_broken_at_any_time_of_growing_takes_the_pool_back(strikes_at):
    world = World(4, [4, 4, 3]).hold_forever()
    world.happens = {strikes_at: lambda w: setattr(w, "broken", ["a pod ran out of memory"])}

    last = world.change(8)

    if last.failed:
        assert world.stands() == at(4, "ts-4", after="Never")
        assert world.karpenter.broken_promises == []


def with_running_pods(world: World, since: timedelta = timedelta(0)) -> None:
    """The fake's pods have no kubelet that says when they began."""
    at = (world.clock.now - since).isoformat()
    for ref, pod in world.server.objects.items():
        if ref.kind == "Pod" and pod["spec"].get("nodeName") and "startTime" not in pod.get("status", {}):
            world.server.set_status(ref, {"phase": "Running", "startTime": at})


def budgets(world: World) -> list[dict]:
    return world.server.objects[POOL]["spec"]["disruption"]["budgets"]


def test_a_canary_to_which_nobody_came_is_reported_and_consolidation_goes_one_node_at_a_time():
    world = World(4, [4, 4])
    with_running_pods(world)
    world.change(5)

    assert any("the canary was empty" in said for said in world.tuner.said)
    assert world.annotation(TUNING_ANNOTATION)["untried"] == 4
    assert budgets(world) == [*layout.BUDGETS, layout.ONE_AT_A_TIME]


def test_a_canary_counts_while_a_gpu_of_it_holds_more_pods_than_before():
    world = World(4, [4, 4])
    with_running_pods(world)

    def one_more(w: World) -> None:
        if w.karpenter._has_room(w.nodes[0]):
            w.karpenter.add_pod(w.nodes[0])
            with_running_pods(w)

    world.happens = dict.fromkeys(range(1, 5), one_more)
    began = world.clock.now
    world.change(5)

    assert not any("empty" in said for said in world.tuner.said)
    assert "untried" not in world.annotation(TUNING_ANNOTATION)
    assert budgets(world) == layout.BUDGETS
    assert world.clock.now - began >= SETTINGS.canary


def test_a_pod_that_stays_too_short_on_the_canary_makes_it_no_trial():
    """It comes and goes, so that no pod is beyond the old N for as long as a canary lasts."""
    world = World(4, [4, 4])
    with_running_pods(world)
    names = []

    def to_and_fro(w: World) -> None:
        if names:
            w.karpenter.end_pod(names.pop())
        else:
            names.append(w.karpenter.add_pod(w.nodes[0]))
            with_running_pods(w)

    world.happens = dict.fromkeys(range(4, 12), to_and_fro)
    world.change(5)

    assert any("the canary was empty" in said for said in world.tuner.said)


def test_a_change_that_is_not_over_in_time_is_abandoned_reported_and_holds_nothing():
    """As on Spot, where the canary is taken away each time before its time is over."""
    world = World(4, [4, 4, 4])
    world.karpenter.stuck = set(world.nodes)
    world.tuner.settings = replace(SETTINGS, before_narrowing=timedelta(minutes=10))

    def interrupted(w: World) -> None:
        marks = w.server.objects[POOL]["metadata"]["annotations"]
        change = json.loads(marks.get(ROLLOUT_ANNOTATION, "{}"))
        canary = change.get("canary", {}).get("node")
        if Ref("v1", "Node", str(canary)) in w.server.objects and "revert" not in change:
            w.karpenter.add_node(0)
            w.karpenter._take_away(canary)

    world.happens = dict.fromkeys(range(3, 300), interrupted)
    began = world.clock.now
    last = world.change(5, reconciles=300)

    assert last.failed and "did not end" in last.failed
    assert world.clock.now - began < timedelta(minutes=30)
    assert world.stands()["rollout"] is None and world.stands()["after"] == "10m"
    assert any("change-given-up" in reported or "stays 4" in reported for reported in world.tuner.findings)


def test_a_budget_of_the_nodepool_that_lets_no_node_go_is_reported_with_its_end():
    world = World(8, [6, 6]).hold_forever()
    by_day = {"nodes": "0", "schedule": "0 0 * * *", "duration": "23h"}
    world.edit(POOL, "/spec/disruption/budgets", [by_day])
    world.karpenter.stuck = set(world.nodes)
    world.tuner.begin(4)
    for _ in range(30):
        world.tuner.step()
        world.let_pass(timedelta(seconds=20))

    [reported] = [one for one in world.tuner.findings if "disruption budget of NodePool" in one]
    assert "allows no drifted node to be replaced until" in reported and 'schedule "0 0 * * *"' in reported
