"""A change of N from its first write to its last, where nothing strikes it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.kube.labels import TUNING_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.pools import layout, observed

from tests.support.tuning.rollout_world import MPS, OVERLAYS, POOL, SETTINGS, World, at, halfway

# Growing


def test_growing_replaces_no_node_and_moves_no_pod():
    world = World(4, [4, 4, 4, 4, 4, 3])

    last = world.change(8)

    assert last.finished and last.message == "N is 8"
    assert world.stands() == at(8, "ts-8")
    assert (world.karpenter.ever_drifted, world.karpenter.replaced) == (set(), [])
    assert world.annotation(TUNING_ANNOTATION)["changed_at"]


def test_nodes_that_the_new_n_makes_superfluous_go_only_after_the_change():
    world = World(4, [4, 4, 4, 4])
    moved_before_the_end = []
    release = world.tuner._act

    def act(found):
        if found.finished:
            moved_before_the_end.append(list(world.karpenter.moved))
        return release(found)

    world.tuner._act = act
    world.change(8)
    world.let_pass(timedelta(seconds=10))

    assert moved_before_the_end == [[]]
    assert len(world.karpenter.consolidated) == 2


def test_a_change_is_reported_as_it_goes():
    world = World(4, [4, 4])

    world.change(8)

    assert world.tuner.said == [
        "N becomes 8 instead of 4: the rule says so",
        "node node-001 is the canary",
        "node node-001 tries N = 8 for 2 more minutes, without a pod more than before yet",
        "the canary was empty: no GPU of node node-001 ran more than 4 pods for long enough",
        "nodes may have ts-4 or ts-8",
        "1 of 2 nodes are relabelled",
        "2 of 2 nodes are relabelled",
        "Karpenter counts 8 slices a GPU",
        "the NodePool's limit is updated",
        "Karpenter is given time to see what was written",
        "new nodes start with ts-8: every NodeClaim carries it",
        "all nodes are updated; the final check is pending",
        "N is 8",
    ]


def test_the_canary_is_the_node_with_the_most_pods():
    world = World(4, [1, 4, 2])

    world.change(8, reconciles=200)

    assert f"node {world.nodes[1]} is the canary" in world.tuner.said


def test_a_tenth_of_the_nodes_reload_at_a_time():
    world = World(4, [2] * 20).hold_forever()
    most = 0

    def watch(item):
        nonlocal most
        if item["kind"] == "Node":
            state = world.karpenter
            reloading = [
                n
                for n in state._of("Node")
                if n["metadata"]["labels"][layout.CONFIG_LABEL] == "ts-8"
                and state._slices(n["metadata"]["name"]) == 4
            ]
            most = max(most, len(reloading))

    world.server.on_change.append(watch)
    world.change(8)

    assert most == 2


def test_an_empty_pool_needs_no_canary():
    world = World(4, [])

    world.change(8)

    assert world.stands() == at(8, "ts-8") | {"labels": set()}
    assert not any("canary" in said for said in world.tuner.said)


def test_nodes_created_in_the_middle_are_caught():
    world = World(4, [4, 4, 4]).hold_forever()
    world.happens = {number: lambda w: w.karpenter.add_node(2) for number in (4, 6, 8, 10, 12)}

    world.change(8)

    assert world.stands() == at(8, "ts-8", after="Never")
    assert world.karpenter.ever_drifted == set()
    assert world.karpenter.moved == []


def test_a_node_created_from_the_nodepool_before_it_was_narrowed_is_taken_along():
    """Karpenter had read the NodePool a moment before: the NodeClaim comes a moment after."""
    world = World(4, [4, 4]).hold_forever()
    done = []

    def late(item):
        if item["kind"] == "NodePool" and observed.config_keys_of(item) == ("ts-8",) and not done:
            done.append(world.karpenter._launch(POOL.name, "ts-4"))

    world.server.on_change.append(late)
    world.karpenter.stuck |= {f"node-{n:03}" for n in range(99)}  # Karpenter takes 10 s to act on drift

    world.change(8)

    assert done and world.stands() == at(8, "ts-8", after="Never")
    assert world.karpenter.replaced == []


def test_a_node_claim_whose_node_has_not_come_gets_the_new_key_before_it():
    world = halfway(World(4, [4]).hold_forever())
    name = world.karpenter._launch(POOL.name, "ts-4")
    node = world.server.objects[Ref("v1", "Node", name)]
    world.server.delete(Ref("v1", "Node", name))
    world.happens = {12: lambda w: w.server.create(node)}

    world.change(8)

    assert "1 of 1 nodes are relabelled; 1 more start with the new key" in world.tuner.said
    assert world.stands() == at(8, "ts-8", after="Never")
    assert (world.tuner.conflicts, world.karpenter.ever_drifted) == ([], set())


def test_a_node_created_between_observation_and_narrowing_is_a_conflict_and_taken_along():
    world = World(4, [4]).hold_forever()
    listed = world.tuner.kubernetes.list

    def list_(api_version, kind, **narrowed):
        if (
            "karpenter.sh/nodepool" in narrowed.get("labels", "")
            and len(world.karpenter._of("NodeClaim")) == 1
        ):
            world.karpenter.add_node(1, "ts-4")
        return listed(api_version, kind, **narrowed)

    world.tuner.kubernetes.list = list_
    world.change(8)

    assert world.tuner.conflicts == ["NodeClaim node-006 of slicewise-shared-l4 does not carry ts-8 yet"]
    assert world.stands() == at(8, "ts-8", after="Never")
    assert (world.karpenter.ever_drifted, len(world.karpenter._of("Node"))) == (set(), 2)


def test_a_node_that_is_not_ready_holds_the_change_up_and_is_reported():
    world = World(4, [4, 4])
    ref = Ref("v1", "Node", world.nodes[1])
    world.karpenter._follow = lambda node, at_once=False: None
    world.server.set_status(ref, {"allocatable": {"nvidia.com/gpu": "0"}})
    world.tuner.begin(8)
    for _ in range(10):
        world.karpenter._follow = type(world.karpenter)._follow.__get__(world.karpenter)
        world.karpenter._followed[world.nodes[1]] = ("ts-4", world.clock.now + timedelta(days=1))
        found = world.tuner.step()
        world.let_pass(timedelta(minutes=1))

    assert not found.finished
    assert any(
        f"Node {world.nodes[1]} is not ready and offers 0 of 4 slices" in f for f in world.tuner.findings
    )


# Shrinking


def test_shrinking_kills_no_pod_where_they_fit_and_replaces_the_others():
    world = World(8, [8, 3, 2])

    last = world.change(4)

    assert last.finished
    assert world.stands() == at(4, "ts-4")
    assert world.karpenter.broken_promises == []
    assert world.karpenter.replaced == [world.nodes[0]]
    assert len(world.karpenter.moved) == 8


def test_shrinking_where_all_fit_moves_nobody():
    world = World(8, [4, 3, 0]).hold_forever()

    world.change(4)

    assert world.stands() == at(4, "ts-4", after="Never")
    assert (world.karpenter.moved, world.karpenter.ever_drifted) == ([], set())


def test_a_pod_that_comes_before_the_cordon_saves_its_node_from_shrinking():
    world = World(8, [4]).hold_forever()

    def bind(item):
        if item["kind"] == "Node" and item["spec"].get("unschedulable") and not world.karpenter.moved:
            world.server.on_change.clear()
            world.karpenter.add_pod(world.nodes[0])

    world.server.on_change.append(bind)
    world.change(4)

    assert world.stands() == at(4, "ts-4", after="Never")
    assert world.karpenter.broken_promises == []
    assert world.karpenter.replaced == [world.nodes[0]]


def test_a_pod_that_comes_between_observation_and_write_is_a_conflict():
    world = World(8, [4]).hold_forever()
    kubernetes, done = world.tuner.kubernetes, []
    write = kubernetes.patch

    def patch(ref, operations, subresource=""):
        if ref.kind == "Node" and any(o.get("value") == "ts-4" for o in operations):
            done.append("relabelled")
        return write(ref, operations, subresource)

    kubernetes.patch = patch
    world.tuner.begin(4)
    for _ in range(40):
        state = world.tuner.state()
        if state.nodes and state.nodes[0].cordoned_by_us and not done:
            world.let_pass(SETTINGS.settle)
            looked = world.tuner.state()
            from slicewise.tuning.rollout.stages import advance

            step = advance(looked, looked.rollout, (), (), SETTINGS, world.clock())
            if any("label Node" in str(action) for action in step.actions):
                world.karpenter.add_pod(world.nodes[0])
                world.tuner._act(step)
                break
        world.tuner.step()
        world.let_pass(timedelta(seconds=2))

    assert done == []
    assert world.tuner.conflicts == [f"5 slices of node {world.nodes[0]} are in use, more than 4"]


def test_on_several_gpus_all_pods_must_fit_on_one():
    world = World(8, [4, 5], gpus=4).hold_forever()

    world.change(4)

    assert world.stands() == at(4, "ts-4", after="Never")
    assert world.karpenter.replaced == [world.nodes[1]]


def test_what_forbids_a_roll_is_reported_with_since_when():
    world = World(8, [8, 2])
    world.karpenter.stuck.add(world.nodes[0])
    pods = world.karpenter._pods_on(world.nodes[0])
    world.edit(Ref("v1", "Pod", pods[0]["metadata"]["name"], "default"), "/metadata/annotations",
               {"karpenter.sh/do-not-disrupt": "true"})  # fmt: skip
    world.server.create(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "all", "namespace": "default"},
            "spec": {"minAvailable": "100%", "selector": {"matchLabels": {"app": "demo"}}},
            "status": {"disruptionsAllowed": 0},
        }
    )
    with pytest.raises(AssertionError, match="no end"):
        world.change(4, reconciles=40)

    (reported,) = [f for f in world.tuner.findings if "due for replacement since" in f]
    assert f"pod default/{pods[0]['metadata']['name']} says karpenter.sh/do-not-disrupt" in reported
    assert "PodDisruptionBudget default/all allows no disruption of 8 pods" in reported

    world.karpenter.stuck.clear()
    world.change(4)
    assert world.stands() == at(4, "ts-4")


# One slice a GPU


def test_one_becomes_two_with_the_pods_that_run():
    world = World(1, [1, 1]).hold_forever()

    world.change(2)

    assert world.stands() == at(2, "ts-2", after="Never")
    assert (world.karpenter.moved, world.karpenter.ever_drifted) == ([], set())


def test_two_becomes_one_in_place_only_where_nothing_runs():
    world = World(2, [0, 1]).hold_forever()

    world.change(1)

    assert world.stands() == at(1, "exclusive", after="Never")
    assert world.karpenter.replaced == [world.nodes[1]]
    assert world.karpenter.broken_promises == []


# MPS


def test_under_mps_nodes_are_replaced():
    world = World(4, [4, 4], MPS)

    world.change(8)

    assert world.stands() == at(8, "mps-8")
    assert world.karpenter.replaced[:2] == world.nodes
    assert not any("label" in done for done in world.tuner.done)


def test_under_mps_fewer_slices_come_the_same_way():
    world = World(8, [5], MPS).hold_forever()

    world.change(4)

    assert world.stands() == at(4, "mps-4", after="Never")
    assert world.karpenter.replaced == world.nodes


# What does not begin


def refused(world: World, target: int = 8) -> str:
    found = world.tuner.begin(target)
    assert not found.actions
    return found.findings[0].message


def test_nothing_begins_where_karpenter_does_not_follow():
    world = World(4, [4])
    world.server.objects[OVERLAYS[0]]["status"] = {}

    assert (
        refused(world)
        == "NodeOverlay slicewise-shared-l4-1 is not ready, so Karpenter would not plan with it."
    )


def test_nothing_begins_while_nodes_are_being_replaced():
    world = World(4, [4])
    claim = Ref("karpenter.sh/v1", "NodeClaim", world.nodes[0])
    world.server.set_status(
        claim, {"nodeName": world.nodes[0], "conditions": [{"type": "Drifted", "status": "True"}]}
    )

    assert refused(world) == f"NodeClaim {world.nodes[0]} is being replaced for another reason."


def test_nothing_begins_where_n_is_there_already():
    assert refused(World(4, []), 4) == "N of NodePool slicewise-shared-l4 is 4 already."
