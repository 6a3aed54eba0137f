"""Pods that contend are parted, requests that are too large fall, memory is never overcommitted."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.tuning.classes.rule import ClassPolicy, calibrate_classes, class_of, reclassify
from slicewise.tuning.packing.calibration import daily_target, joint_share, recent_share
from slicewise.tuning.packing.placement import Fleet, Request, settle
from slicewise.tuning.packing.rule import PackingPolicy, calibrate_packing, repack, request_for
from slicewise.tuning.usage.evidence import PodUse, effective_busy, measure
from slicewise.tuning.usage.lanes import from_lanes, share_over, to_lanes

from tests.support.nonempty import nonempty

CARD = 22_888.0


def pod(name, busy=0.1, memory=3000.0, days=4):
    series = busy if isinstance(busy, list) else [busy] * (24 * days)
    return measure(name, series, [memory], step_seconds=3600)


def named(*pods):
    return {one.name: one for one in pods}


@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=40),
    st.lists(st.integers(0, 5000), min_size=1, max_size=40),
)
def test_lanes_add_and_count_like_lists(left, right):
    size = min(len(left), len(right))
    total = to_lanes(left[:size]) + to_lanes(right[:size])
    sums = [a + b for a, b in zip(left[:size], right[:size], strict=True)]

    assert list(from_lanes(total, size)) == sums
    assert share_over(total, size) == sum(value > 1000 for value in sums) / size


@given(st.lists(st.floats(0, 1), min_size=24, max_size=24))
def test_effective_busy_lies_between_mean_and_peak(busy):
    days = pod("a", busy).days

    assert days[0].mean - 1e-9 <= effective_busy(days) <= days[0].peak + 1e-9


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 20_000), st.integers(1, 1000)), min_size=1, max_size=40),
    st.integers(0, 9),
)
def test_a_settled_fleet_is_within_capacity_and_holds_each_pod_once(drawn, seed):
    order = list(range(len(drawn)))
    random.Random(seed).shuffle(order)
    groups = settle([Request(*ask) for ask in drawn], order, 20_599).groups()

    assert sorted(p for group in groups for p in group) == sorted(order)
    for group in groups:
        assert sum(drawn[p][0] for p in group) <= 20_599
        assert sum(drawn[p][1] for p in group) <= 1000


def test_consolidation_empties_a_gpu_only_if_all_its_pods_fit_elsewhere():
    fleet = Fleet([Request(1, 600), Request(1, 600), Request(1, 300)], 10)
    fleet.put(0, fleet.new_node())
    fleet.put(1, fleet.new_node())
    fleet.put(2, fleet.new_node())

    assert len(fleet.consolidate()) == 1
    assert sorted(map(sorted, fleet.groups())) == [[0, 2], [1]]


def test_consolidation_on_a_copy_leaves_apart_who_must_not_meet():
    fleet = Fleet([Request(1, 100)] * 3, 10)
    for pod in range(3):
        fleet.put(pod, fleet.new_node())

    fleet.consolidate(lambda group: not {0, 1} <= set(group))

    assert sorted(map(sorted, fleet.groups())) in ([[0], [1, 2]], [[0, 2], [1]])


def test_a_pod_without_history_asks_for_a_whole_gpu():
    assert request_for(PodUse("new", 100.0), 0.7, 20_599) == Request(20_599, 1000)


def test_an_idle_pod_still_asks_for_a_thousandth():
    assert request_for(pod("idle", 0.0), 0.7, 20_599).busy == 1


def test_a_hot_gpu_lets_one_pod_go_with_the_reason():
    pods = named(pod("a", 0.7), pod("b", 0.6))
    asks = {"a": Request(3000, 400), "b": Request(3000, 400)}

    (change,) = repack(pods, [["a", "b"]], asks, 0.8, CARD)

    assert (change.pod, change.request.busy) == ("b", 750)
    assert change.reason == "its GPU would have been contended 100.0% of the time, over 3.0%"


def test_a_pod_that_leaves_a_hot_gpu_asks_for_so_much_that_it_lands_on_a_cool_one():
    """At 750 thousandths there is room beside c, who is busier than it asks for."""
    pods = named(pod("a", 0.7), pod("b", 0.6), pod("c", 0.5))
    asks = {"a": Request(3000, 900), "b": Request(3000, 400), "c": Request(3000, 200)}

    def changed(rounds):
        changes = repack(pods, [["a", "b"], ["c"]], asks, 0.8, CARD, PackingPolicy(rounds=rounds))
        return [(change.pod, change.request.busy) for change in changes]

    assert changed(rounds=1) == [("b", 750)]
    assert changed(rounds=4) == [("b", 938)]


def test_what_contended_lately_counts_more_than_what_contended_days_ago():
    busy = [0.9] * 6 + [0.0] * 66
    early, late = pod("a", busy).days, pod("a", busy[::-1]).days

    assert joint_share([early, early]) == joint_share([late, late]) == 6 / 72
    assert recent_share([early, early]) == pytest.approx(1 / 36)
    assert recent_share([late, late]) == pytest.approx((1 + 1 / 4 + 1 / 12) / 3)


def test_no_more_pods_are_raised_a_day_than_the_policy_allows():
    pods = named(*(pod(f"{g}{i}", 0.7) for g in "abcd" for i in "12"))
    nodes = [[f"{g}1", f"{g}2"] for g in "abcd"]
    asks = {name: Request(3000, 400) for name in pods}

    assert len(repack(pods, nodes, asks, 0.8, CARD, PackingPolicy(moves=2))) == 2


def test_a_memory_peak_that_outgrew_its_request_is_changed_whatever_the_limit():
    (change,) = repack(
        named(pod("a", 0.1, 9000)), [["a"]], {"a": Request(3000, 400)}, 0.8, CARD, PackingPolicy(moves=0)
    )

    assert change.request.memory_mib == 9000


def test_a_request_falls_only_where_a_gpu_can_go():
    pods = named(pod("small", 0.05), pod("other", 0.4))
    asks = {"small": Request(3000, 900), "other": Request(3000, 500)}

    assert [c.pod for c in repack(pods, [["small"], ["other"]], asks, 0.8, CARD)] == ["small"]
    assert repack(named(pod("small", 0.05)), [["small"]], {"small": Request(3000, 900)}, 0.8, CARD) == []


@pytest.mark.parametrize(("apart", "lowered"), [(False, 0), (True, 1)])
def test_no_request_falls_where_pods_would_meet_that_are_busy_at_the_same_time(apart, lowered):
    burst = [0.9, *[0.0] * 9] * 12
    pods = named(pod("a", burst), pod("b", burst[::-1] if apart else burst))
    asks = {name: Request(3000, 900) for name in pods}

    assert len(repack(pods, [["a"], ["b"]], asks, 0.8, CARD)) == 2 * lowered


def test_who_finds_room_for_its_old_request_is_not_restarted_for_a_lower_one():
    pods = named(pod("small", 0.05), pod("other", 0.08))
    asks = {"small": Request(3000, 900), "other": Request(3000, 300)}

    assert len(repack(pods, [["small"], ["other"]], asks, 0.8, CARD)) == 1


def test_the_order_of_pods_does_not_matter():
    pods = named(*(pod(f"p{i}", 0.4 + i / 20) for i in range(8)))
    nodes = [["p0", "p7"], ["p1", "p6"], ["p2", "p5"], ["p3", "p4"]]
    asks = {name: Request(3000, 450) for name in pods}
    mixed = [node[::-1] for node in nodes[::-1]]

    changes = nonempty(repack(pods, nodes, asks, 0.8, CARD))
    assert changes == repack(pods, mixed, asks, 0.8, CARD)


def test_too_little_history_calibrates_to_the_tightest_threshold():
    assert calibrate_packing([pod("a", days=1)], CARD).folds == 0
    assert calibrate_packing([], CARD).threshold == calibrate_packing([pod("a", days=1)], CARD).threshold


def test_the_threshold_tightens_after_days_that_overspent():
    rng = random.Random(1)
    pods = [pod(f"p{i}", [rng.random() ** 3 for _ in range(24 * 5)]) for i in range(40)]

    spent = [calibrate_packing(pods, CARD, happened=[share]).threshold for share in (0.0, 0.008, 0.05)]

    assert spent[0] >= spent[1] > spent[2]


def test_a_class_is_what_memory_and_busy_time_allow():
    policy = ClassPolicy()

    assert class_of(pod("a", 0.1, 3000), 0.8, CARD, policy) == 3
    assert class_of(pod("a", 0.1, 9000), 0.8, CARD, policy) == 2
    assert class_of(pod("a", 0.5, 3000), 0.8, CARD, policy) == 1
    assert class_of(PodUse("new", 100.0), 0.8, CARD, policy) == 1


def test_a_class_tightens_on_a_hot_gpu_and_loosens_only_with_room():
    pods = named(pod("a", 0.7), pod("b", 0.6), pod("c", 0.39), pod("d", 0.3))
    now = {"a": 2, "b": 2, "c": 1, "d": 1}

    changes = reclassify(pods, [["a", "b"], ["c"], ["d"]], now, 0.8, CARD, 0.0)

    assert [(c.pod, c.before, c.after) for c in changes] == [("a", 2, 1), ("d", 1, 2)]


def test_the_less_a_restart_saves_the_more_room_it_needs():
    """From 1 to 2 pods a GPU saves a half, from 2 to 3 a sixth."""
    pods = named(pod("one", 0.8 / 2 * 0.89), pod("two", 0.8 / 3 * 0.89), pod("idle", 0.8 / 3 * 0.7))

    changes = reclassify(pods, [["one"], ["two", "idle"]], {"one": 1, "two": 2, "idle": 2}, 0.8, CARD, 0.0)

    assert [(c.pod, c.after) for c in changes] == [("idle", 3), ("one", 2)]


def test_what_days_overspent_is_taken_back_and_what_they_left_is_added_up_to_the_gate():
    assert daily_target(0.01, 0.9, []) == pytest.approx(0.009)
    assert daily_target(0.01, 0.9, [0.011]) == pytest.approx(0.007)
    assert daily_target(0.01, 0.9, [0.03]) == pytest.approx(0.0025)
    assert daily_target(0.01, 0.9, [0.0]) == 0.01
    # A week later it is forgotten.
    assert daily_target(0.01, 0.9, [0.03] + [0.009] * 6) == pytest.approx(0.009)


def test_a_broken_promise_tightens_every_pod_that_outgrew_its_class():
    pods = named(pod("a", 0.45), pod("b", 0.45))
    now, nodes = {"a": 2, "b": 2}, [["a", "b"]]

    assert reclassify(pods, nodes, now, 0.8, CARD, 0.0) == []
    assert len(reclassify(pods, nodes, now, 0.8, CARD, 0.05)) == 2


def test_a_class_that_memory_outgrew_tightens_at_once():
    pods = named(pod("a", 0.1, 15_000), pod("b", 0.1, 3000))

    assert [c.pod for c in reclassify(pods, [["a", "b"]], {"a": 2, "b": 3}, 0.8, CARD, 0.0)] == ["a"]


def test_a_thousand_pods_are_repacked_and_reclassified_in_a_second_each():
    rng = random.Random(0)
    pods = [
        pod(f"p{i}", [rng.random() * rng.random() for _ in range(7 * 24)], rng.randrange(1000, 9000))
        for i in range(1000)
    ]
    threshold = 0.7
    asks = [request_for(p, threshold, 20_599) for p in pods]
    groups = settle(asks, range(1000), 20_599).groups()
    nodes = [[pods[i].name for i in group] for group in groups]
    began = time.process_time()
    repack(named(*pods), nodes, {p.name: a for p, a in zip(pods, asks, strict=True)}, threshold, CARD)
    packed = time.process_time()
    reclassify(named(*pods), nodes, {p.name: 2 for p in pods}, threshold, CARD, 0.05)
    classified = time.process_time()

    assert packed - began < 1
    assert classified - packed < 1
    assert calibrate_classes(pods[:50], CARD).threshold > 0
