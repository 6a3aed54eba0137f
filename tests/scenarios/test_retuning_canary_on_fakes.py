"""A canary that fails, and whatever else breaks a promise on the way: the pool goes back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise import layout

from tests.retuned_world import World, at


def test_a_broken_promise_takes_the_pool_back_and_the_n_is_remembered():
    world = World(4, [4, 2]).hold_forever()

    def xid(w):
        w.broken = ["Xid 31 on node-001"]

    world.happens = {5: xid}
    last = world.change(8)

    assert last.finished and last.failed == "Xid 31 on node-001"
    assert last.says == "N is 4 again: Xid 31 on node-001"
    assert world.stands() == at(4, "ts-4", after="Never")
    assert list(world.annotation(layout.TUNING_ANNOTATION)["failed"]) == ["8"]
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

    last = world.change(8, passes=400)

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
