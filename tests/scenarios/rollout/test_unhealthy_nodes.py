"""Nodes that do not work as their labels say hold nobody else up, and none is replaced because of them."""

from __future__ import annotations

import json
from datetime import timedelta

from slicewise.app import TUNING
from slicewise.kube.labels import ROLLOUT_ANNOTATION, WAITED_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.pools import layout
from slicewise.trigger import Trigger

from tests.support.tuning.rollout_world import OVERLAYS, World
from tests.support.tuning.tuned_account import GPU_1, POLICY, TunedAccount

HALF_AN_HOUR = timedelta(minutes=30)


def labels(world: World, kind: str = "Node") -> list[str]:
    items = sorted(world.server.objects.items())
    return [i["metadata"]["labels"][layout.CONFIG_LABEL] for ref, i in items if ref.kind == kind]


def counted(world: World) -> list[str]:
    return [world.server.objects[ref]["spec"]["capacity"]["nvidia.com/gpu"] for ref in OVERLAYS]


def without(world: World, node: str) -> World:
    world.karpenter.unready.add(node)
    world.karpenter.tick()
    return world


# Growing


def test_a_node_that_never_gets_ready_is_skipped_and_the_others_grow():
    world = World(4, [4, 4, 0]).hold_forever()
    without(world, world.nodes[2])
    began = world.clock.now

    last = world.change(8)

    assert last.finished and world.stands()["keys"] == ("ts-8",) and counted(world) == ["8", "32", "64"]
    assert (labels(world), labels(world, "NodeClaim")) == (["ts-8", "ts-8", "ts-4"], ["ts-8"] * 3)
    assert (world.karpenter.ever_drifted, world.karpenter.replaced) == (set(), [])
    assert HALF_AN_HOUR < world.clock.now - began < 2 * HALF_AN_HOUR
    reported = [message for message in world.tuner.findings if world.nodes[2] in message]
    assert "so it blocks the rollout on NodePool slicewise-shared-l4, for 30 minutes at most" in reported[0]
    assert "changes without it. Fix the node and it is updated automatically" in reported[1]


def test_one_unhealthy_gpu_of_eight_holds_no_pool_up():
    world = World(4, [8, 20], gpus=8).hold_forever()
    world.karpenter.unhealthy[world.nodes[1]] = 1
    world.karpenter._follow(world.karpenter._node(world.nodes[1]), at_once=True)

    last = world.change(8)

    assert last.finished
    assert (labels(world), labels(world, "NodeClaim")) == (["ts-8", "ts-4"], ["ts-8", "ts-8"])
    assert (world.karpenter.ever_drifted, world.karpenter.moved) == (set(), [])


def test_a_node_that_gets_well_in_time_takes_part():
    world = World(4, [4, 0]).hold_forever()
    without(world, world.nodes[1])
    world.happens = {12: lambda w: w.karpenter.unready.clear()}

    world.change(8)

    assert labels(world) == ["ts-8", "ts-8"]
    node = world.server.objects[Ref("v1", "Node", world.nodes[1])]
    assert WAITED_ANNOTATION not in node["metadata"]["annotations"]


def test_a_pool_without_a_node_that_works_goes_back_after_half_an_hour():
    world = World(4, [0])
    without(world, world.nodes[0])

    last = world.change(8)

    assert last.failed == "for 30 minutes no node was ready to try N = 8"
    assert (world.stands()["keys"], world.stands()["after"]) == (("ts-4",), "10m")


# Plugins that do not follow


def test_one_late_plugin_of_many_is_skipped():
    world = World(4, [1] * 20).hold_forever()
    world.karpenter.silent.add(world.nodes[7])

    last = world.change(8, reconciles=200)

    assert last.message == "N is 8" and not last.failed
    assert world.stands()["labels"] == {"ts-8"}
    assert (world.karpenter.ever_drifted, world.karpenter.moved) == (set(), [])
    assert any(f"{world.nodes[7]} is ready and offers 4 of 8 slices" in f for f in world.tuner.findings)


def test_more_late_plugins_than_one_in_twenty_take_the_pool_back():
    world = World(4, [1] * 20).hold_forever()
    world.karpenter.silent |= set(world.nodes[7:9])

    last = world.change(8, reconciles=200)

    assert last.failed.endswith("5 minutes after it was relabelled, and so do 1 others")
    assert (world.stands()["keys"], world.stands()["labels"]) == (("ts-4",), {"ts-4"})
    assert (world.karpenter.ever_drifted, world.karpenter.moved) == (set(), [])


# Shrinking


def test_a_node_that_never_offered_a_slice_holds_no_roll_up():
    world = World(8, [6, 2, 0])
    without(world, world.nodes[2])

    last = world.change(4, reconciles=200)

    assert last.finished
    assert (world.stands()["keys"], world.stands()["labels"]) == (("ts-4",), {"ts-4"})
    assert world.karpenter.replaced == [world.nodes[0]]
    assert world.tuner.conflicts == []


def test_a_gpu_that_is_unhealthy_keeps_no_node_from_shrinking_in_place():
    world = World(8, [3, 2], gpus=8).hold_forever()
    world.karpenter.unhealthy[world.nodes[1]] = 1
    world.karpenter._follow(world.karpenter._node(world.nodes[1]), at_once=True)

    world.change(4)

    assert world.stands()["labels"] == {"ts-4"}
    assert (world.karpenter.ever_drifted, world.karpenter.moved) == (set(), [])


def test_a_plugin_that_does_not_shrink_gets_its_label_back_and_its_node_is_replaced():
    world = World(8, [2, 1, 1]).hold_forever()
    world.karpenter.silent.add(world.nodes[1])
    world.karpenter.stuck.add(world.nodes[1])
    world.tuner.begin(4)
    for _ in range(60):
        world.tuner.step()
        world.let_pass(timedelta(seconds=10))

    node = world.server.objects[Ref("v1", "Node", world.nodes[1])]
    assert node["metadata"]["labels"][layout.CONFIG_LABEL] == "ts-8"
    assert world.karpenter.ever_drifted == {world.nodes[1]}
    world.karpenter.stuck.clear()
    assert world.change(4).finished
    assert world.stands()["labels"] == {"ts-4"}


def test_a_roll_that_lasts_releases_consolidation():
    world = World(8, [6, 2])
    world.karpenter.stuck.add(world.nodes[0])
    world.tuner.begin(4)
    for _ in range(40):
        world.let_pass(timedelta(minutes=1))
        world.tuner.step()

    assert world.stands()["after"] == "10m"
    assert world.tuner.said[-1].startswith("Karpenter replaces 1 node")
    world.karpenter.stuck.clear()
    assert world.change(4).finished
    assert world.stands()["after"] == "10m"


def test_a_node_that_uses_the_disruption_budget_up_is_reported():
    world = World(8, [6, 6])
    world.karpenter.stuck |= set(world.nodes)
    off = {"conditions": [{"type": "Ready", "status": "False"}], "allocatable": {"nvidia.com/gpu": "8"}}
    world.karpenter.silent.add(world.nodes[1])
    world.server.set_status(Ref("v1", "Node", world.nodes[1]), off)
    world.tuner.begin(4)
    for _ in range(12):
        world.let_pass(timedelta(seconds=10))
        world.tuner.step()

    assert any(
        f"Node {world.nodes[1]} is not ready, and Karpenter counts it" in f for f in world.tuner.findings
    )


# Going back


def test_going_back_replaces_no_node_that_was_skipped():
    world = World(4, [4, 4, 0]).hold_forever()
    without(world, world.nodes[2])

    def harm(w):
        if not w.broken and "ts-4" in labels(w) and labels(w, "NodeClaim")[2] == "ts-8":
            w.broken = ["Xid 79 on a GPU"]

    world.happens = dict.fromkeys(range(120), harm)
    last = world.change(8)

    assert last.failed == "Xid 79 on a GPU"
    assert world.stands()["labels"] == {"ts-4"}
    assert (world.karpenter.ever_drifted, world.karpenter.moved) == (set(), [])


# Afterwards


def test_a_node_that_was_skipped_follows_once_it_works_again():
    account = TunedAccount(pods=(4, 4))
    aside = account.fullest()
    account.karpenter.unready.add(aside)
    node = account.karpenter._node(aside)["metadata"]
    node["labels"][layout.CONFIG_LABEL] = "ts-2"
    node["annotations"][WAITED_ANNOTATION] = account.clock.now.isoformat()

    account.hours(1)
    reported = {finding.code for finding in account.tuned.findings}
    assert "node-set-aside" in reported and "foreign-edit" not in reported
    account.karpenter.unready.clear()
    account.let_pass(timedelta(minutes=1))
    account.hours(1)

    node = account.karpenter._node(aside)["metadata"]
    assert node["labels"][layout.CONFIG_LABEL] == "ts-4"
    assert WAITED_ANNOTATION not in node["annotations"]


def test_a_nodepool_that_is_being_rolled_keeps_no_other_from_growing():
    account = TunedAccount(policy=POLICY.replace("[l4]", "[l4, a10g]"))
    for _ in range(5):
        account.karpenter.add_node(4, gpu="a10g")
    account.let_pass(timedelta(days=3))
    account.measure()
    account.hours(2)
    shrinks = json.dumps({"from": 4, "to": 2, "since": account.clock.now.isoformat(), "reason": "a test"})
    account.node_pool["metadata"]["annotations"][ROLLOUT_ANNOTATION] = shrinks
    account.let_pass(timedelta(hours=1))

    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    account.answer_next()

    assert "slicewise-shared-l4: N 4→2" in account.tuned.reason
    assert "slicewise-shared-a10g: N 4→5" in account.tuned.reason
