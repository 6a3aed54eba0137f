"""What strikes a change of N on its way: a pass that is stopped after a write, and a person's edit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from slicewise.errors import Conflict
from slicewise.kube.labels import ROLLOUT_ANNOTATION
from slicewise.pools import layout
from slicewise.tuning.rollout.stages import Advance

from tests.support.tuning.rollout_world import MPS, OVERLAYS, POLICY, POOL, World, at, halfway

# Stopped after every call


def stories() -> dict[str, Callable[[], tuple[World, int, dict[str, object]]]]:
    def reported(n, pods, target, key, policy=POLICY, broken_at=None):
        def make():
            world = World(n, pods, policy).hold_forever()
            if broken_at:
                world.happens = {broken_at: lambda w: setattr(w, "broken", ["Xid 31"])}
            return world, target, at(n if broken_at else target, key, after="Never")

        return make

    return {
        "grow": reported(4, [4, 3], 8, "ts-8"),
        "shrink": reported(8, [8, 3], 4, "ts-4"),
        "revert": reported(4, [4, 3], 8, "ts-4", broken_at=9),
        "one to two": reported(1, [1], 2, "ts-2"),
        "two to one": reported(2, [0, 1], 1, "exclusive"),
        "mps": reported(4, [4], 8, "mps-8", MPS),
    }


@pytest.mark.parametrize("story", stories())
def test_stopped_after_any_write_the_next_reconcile_ends_the_same(story):
    """A pass that ends at a read has done what one has done that ended at the write before."""
    world, target, wanted = stories()[story]()
    world.change(target)
    assert world.stands() == wanted
    writes = [number for number, call in enumerate(world.calls.made) if "patch" in call]

    for number in writes:
        world, target, wanted = stories()[story]()
        world.calls.kill_after = number

        world.change(target, reconciles=200)

        assert world.stands() == wanted, number
        assert world.karpenter.broken_promises == []
        if story in ("grow", "one to two"):
            assert world.karpenter.ever_drifted == set()


@pytest.mark.parametrize("story", stories())
def test_an_answer_that_is_lost_after_any_write_ends_the_same(story):
    world, target, _ = stories()[story]()
    world.change(target)
    writes = [number for number, call in enumerate(world.calls.made) if "patch" in call]

    for number in writes:
        world, target, wanted = stories()[story]()
        world.calls.lose_answer[number] = Conflict("it took too long")

        world.change(target, reconciles=200)

        assert world.stands() == wanted, number


# A person in the middle


def test_a_persons_edit_of_what_a_write_rests_on_is_a_conflict():
    world = halfway(World(4, [4, 4]).hold_forever())
    looked = world.tuner.state()
    world.edit(POOL, "/metadata/annotations/slicewise.dev~1rollout", "{}")

    from slicewise.tuning.rollout import patches

    action = patches.require(looked, ("ts-8",), "a stale plan")
    world.tuner._act(Advance((action,), "", None))

    assert len(world.tuner.conflicts) == 1
    assert set(world.tuner.state().keys) == {"ts-4", "ts-8"}


EDITS = {
    "requirement": lambda w: w.edit(
        POOL, "/spec/template/spec/requirements",
        [{"key": layout.CONFIG_LABEL, "operator": "In", "values": ["ts-6"]}],
    ),
    "overlay": lambda w: w.edit(OVERLAYS[0], "/spec/capacity/nvidia.com~1gpu", "6"),
    "limit": lambda w: w.edit(POOL, "/spec/limits/nvidia.com~1gpu", "20"),
    "node": lambda w: w.label(w.nodes[1], "ts-6"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_a_persons_edit_in_the_middle_is_reported_and_taken_along(edit):
    world = halfway(World(4, [4, 4, 4]).hold_forever())
    world.karpenter.stuck |= set(world.nodes)  # Karpenter looks at drift every 10 s, a pass sooner

    EDITS[edit](world)
    world.change(8)

    assert any(
        "another writer changed it during the rollout" in reported for reported in world.tuner.findings
    )
    assert world.stands() == at(8, "ts-8", after="Never")
    assert world.karpenter.replaced == []


def test_consolidation_that_a_person_sets_meanwhile_is_theirs_in_the_end():
    world = halfway(World(4, [4, 4]))

    world.edit(POOL, "/spec/disruption/consolidateAfter", "1h")
    world.change(8)

    assert world.stands()["after"] == "1h"
    assert any(
        "onsolidateAfter of NodePool slicewise-shared-l4 is 1h" in reported
        for reported in world.tuner.findings
    )


@pytest.mark.parametrize("target", [8, 4])
def test_a_pool_whose_annotation_was_removed_halfway_ends_at_one_n(target):
    world = halfway(World(12 - target, [4, 4]), target)
    del world.server.objects[POOL]["metadata"]["annotations"][ROLLOUT_ANNOTATION]

    for _ in range(60):
        if world.tuner.step() is None:
            break
        world.let_pass(timedelta(seconds=10))

    # Growing, Karpenter still counted with the old N; shrinking, with the new one.
    assert world.stands()["keys"] == (("ts-4",))
    assert world.stands()["labels"] == {"ts-4"}


def test_a_garbled_annotation_counts_as_absent_and_is_reported():
    world = World(4, [4])
    world.edit(POOL, "/metadata/annotations/slicewise.dev~1rollout", "from 4 to 8")
    world.edit(POOL, "/metadata/annotations/slicewise.dev~1tuning", '{"changed_at": "yesterday"}')

    state = world.tuner.state()

    assert state.rollout is None and state.n == 4
    assert [finding.code for finding in state.findings] == ["annotation-unreadable"] * 2
