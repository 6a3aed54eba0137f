"""A change of N amid any mishaps in any order ends, holds nothing, and moves no pod that may stay."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest
from slicewise.kube.labels import CORDONED_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.pools import layout, observed

from tests.fakes.calls import Killed
from tests.support.tuning.rollout_world import OVERLAYS, POLICY, POOL, World

# The first passes meet mishaps, the others must come to an end.
MISHAPS, PASSES = 60, 160


def node_goes_away(world: World, chance: Random) -> None:
    node = chance.choice(world.nodes)
    world.karpenter.silent.add(node)
    off = {"type": "Ready", "status": "False"}
    offers = {"nvidia.com/gpu": str(world.karpenter._slices(node))}
    if Ref("v1", "Node", node) in world.server.objects:
        world.server.set_status(Ref("v1", "Node", node), {"conditions": [off], "allocatable": offers})


def empty_node_never_comes(world: World, chance: Random) -> None:
    node = chance.choice(world.nodes)
    if not world.karpenter._pods_on(node):
        world.karpenter.unready.add(node)


def plugin_falls_silent(world: World, chance: Random) -> None:
    world.karpenter.silent.add(chance.choice(world.nodes))


def nodes_get_well(world: World, chance: Random) -> None:
    world.karpenter.unready.clear()
    world.karpenter.silent.clear()


def pod_comes(world: World, chance: Random) -> None:
    world.karpenter.add_pod()


def pod_ends(world: World, chance: Random) -> None:
    if pods := world.karpenter._of("Pod"):
        world.karpenter.end_pod(chance.choice(pods)["metadata"]["name"])


def node_is_created(world: World, chance: Random) -> None:
    world.karpenter.add_node()


def machine_is_not_to_be_had(world: World, chance: Random) -> None:
    for name in world.karpenter.vain:
        world.server.delete(Ref("karpenter.sh/v1", "NodeClaim", name))
    keys = observed.config_keys_of(world.server.objects[POOL])
    name = world.karpenter._launch(POOL.name, chance.choice(keys))
    world.server.delete(Ref("v1", "Node", name))
    world.karpenter.vain.append(name)


def pass_is_killed(world: World, chance: Random) -> None:
    world.calls.kill_after = len(world.calls.made) + chance.randrange(12)


def promise_breaks(world: World, chance: Random) -> None:
    if chance.random() < 0.3:
        world.broken = ["a pod ran out of memory"]


def person_cordons(world: World, chance: Random) -> None:
    node = Ref("v1", "Node", chance.choice(world.nodes))
    if node in world.server.objects:
        world.edit(node, "/spec/unschedulable", True)


def person_edits_an_overlay(world: World, chance: Random) -> None:
    world.edit(OVERLAYS[0], "/spec/capacity/nvidia.com~1gpu", "6")


def person_edits_the_limit(world: World, chance: Random) -> None:
    world.edit(POOL, "/spec/limits/nvidia.com~1gpu", "200")


def person_gives_a_node_more_slices(world: World, chance: Random) -> None:
    if Ref("v1", "Node", node := chance.choice(world.nodes)) in world.server.objects:
        world.label(node, "ts-16")


WHAT_HAPPENS: list[Callable[[World, Random], None]] = [
    *(node_goes_away, empty_node_never_comes, plugin_falls_silent, nodes_get_well, node_is_created),
    *(pod_comes, pod_comes, pod_ends, pod_ends, machine_is_not_to_be_had, promise_breaks),
    *(pass_is_killed, pass_is_killed, person_cordons, person_edits_an_overlay, person_edits_the_limit),
    person_gives_a_node_more_slices,
]


def live_through(seed: int) -> tuple[World, str]:
    """The world at the end of a change, and the key of the N that it was to come to."""
    chance = Random(seed)
    before, after = chance.sample(chance.choice([(4, 8), (2, 3), (1, 2), (4, 5)]), 2)
    pods = [chance.randint(0, before) for _ in range(chance.randint(1, 5))]
    world = World(before, pods, gpus=chance.choice([1, 1, 4])).hold_forever()
    world.tuner.begin(after)
    for number in range(PASSES):
        if number < MISHAPS and chance.random() < 0.35:
            chance.choice(WHAT_HAPPENS)(world, chance)
        if number == MISHAPS:
            nodes_get_well(world, chance)
        try:
            step = world.tuner.step(world.broken)
        except Killed:
            world.calls.revive()
            continue
        if step is None:
            break
        world.let_pass(min(step.requeue_after or timedelta(seconds=15), timedelta(minutes=6)))
    return world, layout.config_key(POLICY.pools[0].sharing, after)


@pytest.mark.parametrize("seed", range(20))
def test_a_change_amid_mishaps(seed):
    judge(seed)


@pytest.mark.exhaustive
def test_many_changes_amid_mishaps():
    for seed in range(20, 200):
        judge(seed)


def judge(seed: int) -> None:
    world, key = live_through(seed)
    stands, karpenter = world.stands(), world.karpenter
    cordoned = [node for node in karpenter._of("Node") if node["spec"].get("unschedulable")]
    marks = [node["metadata"]["annotations"] for node in cordoned]
    claims = {claim["metadata"]["labels"][layout.CONFIG_LABEL] for claim in karpenter._of("NodeClaim")}

    assert stands["rollout"] is None, f"seed {seed}: no end: {world.tuner.said[-5:]}"
    assert karpenter.broken_promises == [], f"seed {seed}"
    assert not any(CORDONED_ANNOTATION in found for found in marks), f"seed {seed}"
    assert claims <= set(stands["keys"]), f"seed {seed}"
    grew = layout.slices_of_key(key) > world.n and stands["keys"] == (key,)
    if grew and not any(said.startswith("back to") for said in world.tuner.said):
        assert karpenter.moved == [], f"seed {seed}"
        assert karpenter.ever_drifted <= set(karpenter.vain), f"seed {seed}"
