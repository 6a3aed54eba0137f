"""A tool that keeps the NodePool as its repository says it is, while N is changed."""

from __future__ import annotations

import json

import pytest
from slicewise.kube.labels import ROLLOUT_ANNOTATION
from slicewise.pools import layout, observed

from tests.support.tuning.rollout_world import POOL, World, at


def enforce(world: World, key: str, every: int = 1) -> list[str]:
    """The requirement is put back at each, or each so many-th, of our writes; what was put back."""
    writes, put_back = [], []

    def back(item):
        if item["kind"] != "NodePool" or observed.config_keys_of(item) == (key,):
            return
        writes.append(item)
        if len(writes) % every:
            return
        put_back.append(observed.config_keys_of(item))
        requirements = [
            {**one, "values": [key]} if one["key"] == layout.CONFIG_LABEL else one
            for one in item["spec"]["template"]["spec"]["requirements"]
        ]
        item["spec"]["template"]["spec"]["requirements"] = requirements
        item["metadata"]["managedFields"] = [
            {
                "manager": "argocd-controller",
                "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:requirements": {}}}}},
            }
        ]

    world.server.on_change.append(back)
    return put_back


def test_who_takes_the_requirement_back_three_times_has_it_and_is_reported():
    world = World(4, [4, 3]).hold_forever()
    put_back = enforce(world, "ts-4")

    last = world.change(8)

    assert last.finished and last.failed == "argocd-controller put the requirement back to ts-4 3 times"
    assert put_back == [("ts-4", "ts-8")] * 3
    assert world.stands() == at(4, "ts-4", after="Never")
    assert (world.karpenter.ever_drifted, world.karpenter.moved) == (set(), [])
    (reported,) = {
        message for message in world.tuner.findings if "argocd-controller puts the requirement" in message
    }
    assert "Argo CD: ignoreDifferences" in reported and "replicas: {start: 4, max: 4}" in reported


@pytest.mark.parametrize("every", [2, 3, 5])
def test_who_takes_it_back_now_and_then_keeps_no_change_from_its_end(every):
    world = World(4, [4, 3, 2]).hold_forever()
    enforce(world, "ts-4", every)

    world.change(8, reconciles=200)

    assert world.stands()["rollout"] is None
    assert world.karpenter.broken_promises == []


def test_a_repository_that_has_the_new_n_already_is_followed():
    world = World(4, [4, 3]).hold_forever()
    world.happens = {4: lambda w: enforce(w, "ts-8")}
    world.karpenter.stuck |= set(world.nodes)  # Karpenter acts on drift every 10 s, a pass sooner

    last = world.change(8)

    assert last.finished and not last.failed
    assert world.stands() == at(8, "ts-8", after="Never")


def test_who_keeps_n_from_shrinking_is_not_contested_again_for_a_day():
    world = World(8, [6, 2]).hold_forever()
    put_back = enforce(world, "ts-8")

    world.change(4)

    assert world.stands() == at(8, "ts-8", after="Never")
    assert world.karpenter.moved == []
    refused = world.tuner.begin(4)
    assert "was contested" in refused.findings[0].message and len(put_back) == 3


def test_nodes_that_were_shrinking_are_uncordoned_as_soon_as_the_pool_turns_round():
    world = World(8, [6, 2]).hold_forever()
    world.tuner.begin(4)
    while not world.stands()["cordoned"]:
        world.let_pass(None)
        world.tuner.step()
    twice = json.dumps(world.annotation(ROLLOUT_ANNOTATION) | {"taken_back": 2})
    world.edit(POOL, "/metadata/annotations/slicewise.dev~1rollout", twice)
    enforce(world, "ts-8")
    world.edit(POOL, "/metadata/annotations/touched", "by the tool")

    while not world.tuner.state().rollout.defers_to:
        world.tuner.step()
    world.tuner.step()

    assert world.stands()["cordoned"] == []


def test_a_person_who_takes_the_requirement_back_once_is_reported_and_the_change_goes_on():
    world = World(4, [4, 3]).hold_forever()
    put_back = enforce(world, "ts-4")
    world.server.on_change.append(lambda item: world.server.on_change.clear() if put_back else None)

    assert world.change(8).finished
    assert world.stands() == at(8, "ts-8", after="Never")


def test_a_key_that_has_no_part_in_the_change_is_not_contested_for_ever():
    world = World(4, [4, 3]).hold_forever()
    world.karpenter.stuck |= set(world.nodes)
    put_back = enforce(world, "ts-6")
    world.tuner.begin(8)
    for _ in range(60):
        world.tuner.step()
        world.let_pass(None)

    assert len(put_back) <= 3
    assert world.stands()["rollout"] is None
    assert world.tuner.said[-1] == "N is left to argocd-controller, whose requirement is ts-6"
