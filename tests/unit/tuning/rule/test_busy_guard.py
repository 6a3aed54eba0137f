"""Between two decisions: one pod leaves a GPU that has had no rest for an hour."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slicewise.tuning.classes import rule as class_rule
from slicewise.tuning.classes.decision import rule
from slicewise.tuning.classes.evidence import class_evidence
from slicewise.tuning.classes.rule import ClassPolicy, calibrate_classes
from slicewise.tuning.packing import rule as packing
from slicewise.tuning.packing.calibration import joint_share
from slicewise.tuning.packing.placement import Request
from slicewise.tuning.packing.rule import PackingPolicy
from slicewise.tuning.rule.busy_guard import leavers
from slicewise.tuning.usage.evidence import measure
from slicewise.tuning.usage.lanes import between, from_lanes, share_over_until, to_lanes
from slicewise.tuning.usage.readings import Device, Fault, PodPoints, Readings

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning.dcgm_samples import pod

SHARE = st.floats(0, 1)
POOL = builders.policy(
    "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: [1, 2, 3]}}"
).pools[0]


def test_the_busiest_leaves_with_the_reason_and_only_one_a_gpu():
    (found,) = leavers([{"a": 0.4, "b": 0.5, "c": 0.45}])

    assert (found.pod, found.reason) == (
        "b",
        "its GPU had no rest for an hour, 50% of which it was busy itself",
    )


def test_who_has_a_gpu_alone_may_be_as_busy_as_it_likes():
    assert leavers([{"a": 1.0}, {}]) == []


def test_in_a_class_it_tightens_by_one_and_who_shares_with_nobody_is_not_asked():
    card = {"a": 0.4, "b": 0.6, "whole": 0.9}

    (change,) = class_rule.crowded_out([card], {"a": 3, "b": 3, "whole": 1}, ClassPolicy())

    assert (change.pod, change.before, change.after) == ("b", 3, 2)


@pytest.mark.parametrize("asked, busy, after", [(400, 0.2, 500), (100, 0.4, 500), (900, 0.9, 1000)])
def test_packed_it_asks_for_what_it_was_busy_and_for_a_quarter_more_at_least(asked, busy, after):
    now = {"a": Request(3000, asked), "b": Request(3000, 1)}

    (change,) = packing.crowded_out([{"a": busy, "b": 0.1}], now, 0.8, PackingPolicy())

    assert (change.pod, change.request) == ("a", Request(3000, after))


@given(
    st.lists(st.dictionaries(st.sampled_from("abcde"), SHARE)),
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 3)),
)
def test_nobody_shares_with_more_by_it(cards, current):
    assert all(one.after < one.before for one in class_rule.crowded_out(cards, current, ClassPolicy()))


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=40), st.integers(0, 7))
def test_a_day_counts_up_to_the_first_look_that_finds_a_gpu_full(samples, span):
    end = len(samples)
    if span:
        looks = range(span, len(samples) + 1, span)
        end = next((at for at in looks if min(samples[at - span : at]) > 1000), end)

    counted = sum(value > 1000 for value in samples[:end]) / len(samples)
    assert share_over_until(to_lanes(samples), len(samples), span) == counted


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=40), st.data())
def test_a_part_of_a_day_is_its_samples(samples, data):
    begin = data.draw(st.integers(0, len(samples)))
    end = data.draw(st.integers(begin, len(samples)))

    assert list(from_lanes(between(to_lanes(samples), begin, end), end - begin)) == samples[begin:end]


def used(name, busy):
    return measure(name, busy, [3000.0], step_seconds=600)


def test_replays_count_a_gpu_until_it_would_have_been_relieved():
    """Two pods that are both busy for six hours: seen after one."""
    six_hours = [0.1] * 54 + [0.9] * 36 + [0.1] * 54
    days = [used(name, six_hours).days for name in "ab"]

    assert joint_share(days) == 36 / 144
    assert joint_share(days, watched=True) == 6 / 144


def test_a_rule_that_looks_between_decisions_dares_more():
    fleet = []
    for i in range(24):
        long = [0.05] * 6 * i + [0.9] * 36 + [0.05] * 144
        fleet.append(used(f"p{i}", (long[:144]) * 7))

    def threshold(watched):
        return calibrate_classes(fleet, 22_888, ClassPolicy(watched=watched)).threshold

    assert threshold(watched=True) > threshold(watched=False)


def seen(
    gpu=0.99, share=0.5, *, series=("a", "b"), gpus=1, fault=None, until=timedelta(minutes=10), steps=12
):
    """What a pass knows of a node with pods a and b, of which the last hours were measured."""
    times = [int((NOW - until).timestamp()) - 600 * back for back in reversed(range(steps))]
    busy = dict(zip(times, gpu if isinstance(gpu, list) else [gpu] * steps, strict=True))
    devices = tuple(
        Device("n-1", f"nvidia{i}", busy, dict.fromkeys(times, 6000.0), fault=fault) for i in range(gpus)
    )
    pods = tuple(
        PodPoints("team", name, "n-1", "", dict.fromkeys(times, share), dict.fromkeys(times, 3000.0))
        for name in series
    )
    node = builders.node("ts-2", name="n-1", gpus=gpus, age=timedelta(days=9))
    contents = builders.contents(nodes=(node,), pods=(pod("a", "n-1"), pod("b", "n-1")))
    return class_evidence(Readings(devices, pods), "prometheus", contents, POOL, NOW)


def full(gpu=0.99, **case):
    return seen(gpu, **case).full


def test_a_shared_gpu_that_never_rested_in_the_last_hour_is_full():
    assert full() == ({"team/a": pytest.approx(0.5), "team/b": pytest.approx(0.5)},)
    assert full([0.2] * 6 + [0.99] * 6) == full()


@pytest.mark.parametrize(
    "case",
    [
        {"gpu": [0.99] * 8 + [0.9] + [0.99] * 3},
        {"series": ("a",)},
        {"gpus": 2},
        {"fault": Fault.REPEATED},
        {"until": timedelta(hours=1)},
        {"steps": 5},
    ],
    ids=["rested once", "a pod not measured", "several GPUs", "not to be believed", "long ago", "too short"],
)
def test_what_was_not_measured_for_a_whole_hour_moves_nobody(case):
    assert full(**case) == ()


def test_where_nobody_can_say_who_is_to_leave_the_rule_foresees_more():
    assert seen(steps=288).watched
    assert not seen(steps=288, gpus=2).watched
    assert not seen(steps=288, series=()).watched

    policy = rule(POOL, watched=False)
    assert (policy.safety, policy.hot, policy.watched) == (0.9, 0.035, False)
