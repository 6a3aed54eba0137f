"""Mishaps in the middle of a change of N: none kills a pod that could stay or makes it last for ever."""

from __future__ import annotations

from datetime import timedelta

from slicewise.kube.labels import CHANGED_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.pools import layout

from tests.scenarios.rollout.test_contested import enforce
from tests.scenarios.rollout.test_interrupted import as_far_as, cordoned, shrinking, untagged
from tests.support.tuning.rollout_world import POOL, World, at, halfway

HALF_AN_HOUR = timedelta(minutes=30)


def label_of(world: World, kind: str, name: str) -> str:
    api = "v1" if kind == "Node" else "karpenter.sh/v1"
    return world.server.objects[Ref(api, kind, name)]["metadata"]["labels"][layout.CONFIG_LABEL]


# Growing


def test_a_node_with_more_slices_in_use_than_the_new_n_keeps_them():
    world = halfway(World(4, [4, 4, 4]).hold_forever())
    world.label(world.nodes[1], "ts-16")
    world.let_pass(timedelta(seconds=10))
    for _ in range(6):
        world.karpenter.add_pod(world.nodes[1])

    assert world.change(8).finished

    assert label_of(world, "Node", world.nodes[1]) == "ts-16"
    assert (world.karpenter.broken_promises, world.karpenter.ever_drifted) == ([], set())


def test_a_node_that_karpenter_wants_to_take_away_and_cannot_holds_no_pool_up():
    world = World(4, [4, 4, 3]).hold_forever()
    going = world.nodes[2]
    taints = [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]
    world.happens = {1: lambda w: w.edit(Ref("v1", "Node", going), "/spec/taints", taints)}

    last = world.change(8, reconciles=200)

    assert last.finished
    assert (world.karpenter.ever_drifted, world.karpenter.replaced) == (set(), [])


def test_a_tool_that_keeps_the_limit_holds_no_pool_up():
    world = World(4, [4, 4]).hold_forever()

    def back(item):
        if item["kind"] == "NodePool":
            item["spec"]["limits"]["nvidia.com/gpu"] = "40"

    world.server.on_change.append(back)

    assert world.change(8).finished
    assert world.stands()["labels"] == {"ts-8"}


def test_a_promise_that_breaks_where_a_tool_has_the_new_n_starts_no_to_and_fro():
    world = World(4, [4, 3]).hold_forever()
    world.karpenter.stuck |= set(world.nodes)
    world.happens = {
        4: lambda w: enforce(w, "ts-8"),
        9: lambda w: setattr(w, "broken", ["Xid 79 on a GPU"]),
    }

    last = world.change(8)

    assert last.finished
    assert len([message for message in world.tuner.said if message.startswith("back to N = 4")]) <= 1


# Shrinking


def test_a_node_that_is_not_ready_for_a_moment_is_not_replaced_because_of_it():
    world = World(8, [2, 3, 2]).hold_forever()
    kubelet = Ref("v1", "Node", world.nodes[1])
    world.karpenter.silent.add(world.nodes[1])
    off = {"conditions": [{"type": "Ready", "status": "False"}], "allocatable": {"nvidia.com/gpu": "8"}}
    world.server.set_status(kubelet, off)
    world.happens = {30: lambda w: w.karpenter.silent.clear()}

    assert world.change(4, reconciles=200).finished

    assert world.stands() == at(4, "ts-4", after="Never")
    assert (world.karpenter.moved, world.karpenter.ever_drifted) == ([], set())


def test_a_node_that_stays_away_is_replaced_after_half_an_hour():
    world = World(8, [2, 3, 2]).hold_forever()
    world.karpenter.silent.add(world.nodes[1])
    off = {"conditions": [{"type": "Ready", "status": "False"}], "allocatable": {"nvidia.com/gpu": "8"}}
    world.server.set_status(Ref("v1", "Node", world.nodes[1]), off)
    began = world.clock.now

    assert world.change(4, reconciles=200).finished

    assert world.karpenter.replaced == [world.nodes[1]]
    assert HALF_AN_HOUR < world.clock.now - began < 2 * HALF_AN_HOUR


def test_no_pod_moves_twice_where_many_nodes_are_replaced():
    world = World(8, [5] * 5).hold_forever()

    world.change(4, reconciles=200)

    assert world.stands() == at(4, "ts-4", after="Never")
    assert len(world.karpenter.moved) == len(set(world.karpenter.moved)) == 25


def test_a_node_that_has_just_come_to_replace_others_is_not_closed():
    """Its NodeClaim names it some moments later; closed, it would make Karpenter start another (run)."""
    world = World(8, [6, 6]).hold_forever()
    world.karpenter.stuck |= set(world.nodes)
    world.tuner.begin(4)
    while not world.stands()["cordoned"]:
        world.let_pass(timedelta(seconds=10))
        world.tuner.step()
    new = world.karpenter.add_node(0)
    world.server.set_status(Ref("karpenter.sh/v1", "NodeClaim", new), {})

    world.tuner.step()

    assert world.stands()["cordoned"] == world.nodes


def test_a_node_that_is_not_replaced_for_long_takes_pods_again_where_the_new_n_has_room():
    world = World(8, [8, 8], gpus=4).hold_forever()
    world.karpenter.stuck |= set(world.nodes)
    world.tuner.begin(4)
    for _ in range(20):
        world.let_pass(timedelta(seconds=10))
        world.tuner.step()
    assert sorted(world.stands()["cordoned"]) == world.nodes

    world.let_pass(HALF_AN_HOUR)
    world.tuner.step()

    assert world.stands()["cordoned"] == []


def test_who_keeps_the_old_n_drifts_no_node_whose_pods_fit_for_longer_than_a_reconcile():
    world = halfway(World(4, [2, 2, 2]).hold_forever())
    world.karpenter.stuck |= set(world.nodes)
    while label_of(world, "NodeClaim", world.nodes[0]) == "ts-4":
        world.tuner.step()
        world.let_pass(timedelta(seconds=5))

    enforce(world, "ts-4")
    world.server.objects[POOL]["spec"]["template"]["spec"]["requirements"] = [
        {"key": layout.CONFIG_LABEL, "operator": "In", "values": ["ts-4"]}
    ]
    for _ in range(8):
        world.tuner.step()
        world.let_pass(timedelta(seconds=2))

    claims = world.karpenter._of("NodeClaim")
    assert {claim["metadata"]["labels"][layout.CONFIG_LABEL] for claim in claims} == {"ts-4"}
    world.change(8)
    assert world.stands() == at(4, "ts-4", after="Never")
    assert world.karpenter.moved == []


# Letting go


def test_a_cordon_is_released_also_where_a_mark_is_of_the_future():
    account = shrinking(cordoned)
    account.karpenter.silent |= set(cordoned(account))
    nodes = cordoned(account)

    def is_relabelled(account) -> bool:
        return CHANGED_ANNOTATION in account.karpenter._node(nodes[0])["metadata"]["annotations"]

    as_far_as(account, is_relabelled)
    marks = account.karpenter._node(nodes[0])["metadata"]["annotations"]
    marks[CHANGED_ANNOTATION] = "2027-06-01T00:00:00Z"

    untagged(account)
    account.tune()

    assert cordoned(account) == []
