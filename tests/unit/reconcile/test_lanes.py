"""Which actions run side by side, and which wait."""

from __future__ import annotations

from threading import Barrier

import pytest
from slicewise.kube.ref import Ref
from slicewise.planning.actions import Delete
from slicewise.reconcile import lanes


def act(name: str, part: str = "") -> Delete:
    return Delete(Ref("v1", "Pod", name), "a test", part=part)


A1, A2, B1, C1, ALONE = (act("a1", "a"), act("a2", "a"), act("b1", "b"), act("c1", "c"), act("alone"))


def test_parts_of_one_rank_run_side_by_side_each_in_its_order():
    ranks = {"a": "workload", "b": "workload"}

    assert list(lanes.stretches((A1, B1, A2), ranks)) == [((A1, A2), (B1,))]


def test_what_has_another_rank_or_none_waits():
    ranks = {"a": "makes work", "b": "workload", "c": "workload"}

    found = list(lanes.stretches((A1, ALONE, A2, B1, C1), ranks))

    assert found == [((A1,),), ((ALONE,),), ((A2,),), ((B1,), (C1,))]


def test_without_ranks_everything_is_one_lane():
    assert list(lanes.stretches((A1, B1, ALONE), {})) == [((A1, B1, ALONE),)]


def test_lanes_are_under_way_together():
    both = Barrier(2, timeout=30)

    lanes.run(((A1,), (B1,)), lambda lane: both.wait(), threads=2)


def test_one_thread_does_one_after_another():
    done = []

    lanes.run(((A1, A2), (B1,)), done.append, threads=1)

    assert done == [(A1, A2), (B1,)]


def test_what_one_raises_is_raised_when_all_have_ended():
    done = []

    def do(lane):
        if lane == (A1,):
            raise ValueError("a test")
        done.append(lane)

    with pytest.raises(ValueError):
        lanes.run(((A1,), (B1,), (C1,)), do, threads=2)
    assert sorted(done, key=str) == [(B1,), (C1,)]
