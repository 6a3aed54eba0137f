"""The rules' promises over any input: what is worse or less known never earns a denser place."""

import math
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slicewise.policy.model import Tuning
from slicewise.tuning.classes.rule import ClassPolicy, calibrate_classes, class_of, reclassify
from slicewise.tuning.packing.calibration import daily_target, joint_share
from slicewise.tuning.packing.placement import Request
from slicewise.tuning.packing.rule import PackingPolicy, calibrate_packing, repack, request_for
from slicewise.tuning.rule.replicas import Host, TuningPolicy, choose_replicas
from slicewise.tuning.rule.stabilization import Breach, Situation, decide
from slicewise.tuning.state.history import History
from slicewise.tuning.usage.evidence import Day, Grade, PodUse, measure

from bench.advisor import Offer, advise

pytestmark = pytest.mark.slow

CARD = 22_888.0
HOUR = 3600
fractions = st.floats(0, 1)
numbers = st.floats(allow_nan=True, allow_infinity=True)
days = st.lists(fractions, min_size=24, max_size=24)
some_pods = st.lists(st.tuples(days, st.floats(0, 23_000)), min_size=1, max_size=5)


def pod(name, busy, memory=3000.0, **more):
    return measure(name, busy, [memory], step_seconds=HOUR, **more)


@st.composite
def worse(draw):
    """A pod, and the same one with more memory, more busy time or less evidence."""
    busy, memory = draw(days), draw(st.floats(0, 23_000))
    at = draw(st.integers(0, 23))
    busier = [*busy[:at], draw(st.floats(busy[at], 1)), *busy[at + 1 :]]
    gap = [*busy[:at], math.nan, *busy[at + 1 :]]
    return pod("a", busy, memory), draw(
        st.sampled_from(
            [
                pod("a", busier, memory),
                pod("a", gap, memory),
                pod("a", busy[:23], memory),
                pod("a", busy, memory + draw(st.floats(0, 10_000))),
                pod("a", busy, math.nan),
                pod("a", busy, memory, stale_seconds=3601),
                pod("a", busy, memory, stale_seconds=math.nan),
                replace(pod("a", busy, memory), grade=Grade.NONE),
            ]
        )
    )


@settings(max_examples=150, deadline=None)
@given(worse(), st.floats(0.1, 3), st.floats(1, 30_000), st.floats(0, 1), st.floats(0, 1))
def test_a_worse_pod_a_smaller_card_or_a_tighter_threshold_never_gets_a_denser_class(
    pair, threshold, card, smaller, tighter
):
    before, after = pair
    policy = ClassPolicy(sizes=(1, 2, 3, 4, 6))
    size = class_of(before, threshold, card, policy)

    assert 1 <= class_of(after, threshold, card, policy) <= size
    assert class_of(before, threshold, card * smaller, policy) <= size
    assert class_of(before, threshold * tighter, card, policy) <= size


@settings(max_examples=150, deadline=None)
@given(worse(), st.floats(0.1, 3), st.integers(1, 30_000), st.floats(0.01, 1))
def test_a_worse_pod_or_a_tighter_threshold_never_asks_for_less_and_always_fits(
    pair, threshold, memory, tighter
):
    asked, more = (request_for(one, threshold, memory) for one in pair)
    tight = request_for(pair[0], threshold * tighter, memory)

    assert asked.memory_mib <= more.memory_mib <= memory
    assert asked.busy <= more.busy <= 1000
    assert asked.busy <= tight.busy <= 1000


@settings(max_examples=60, deadline=None)
@given(some_pods, st.data())
def test_a_pod_more_in_the_pool_of_the_largest_and_busiest_never_raises_n(drawn, data):
    """Not true of any pod: an idle one makes the mean lighter, and the pool really is."""
    pods = [pod(str(i), busy, memory) for i, (busy, memory) in enumerate(drawn)]
    n = choose_replicas("p", pods, CARD).target

    assert choose_replicas("p", [*pods, pod("full", [1.0] * 24, 23_000)], CARD).target <= n
    assert choose_replicas("p", [*pods, PodUse("new", math.nan)], CARD).target <= n
    assert choose_replicas("p", data.draw(st.permutations(pods)), CARD).target == n


@given(st.lists(numbers, max_size=12), st.lists(numbers, max_size=4), numbers, numbers, numbers)
@example([], [], 0.0, math.nan, 0.0)  # no card, so that what a pod reserves is all of it
@example([], [], 0.0, -math.inf, 0.5)
@settings(max_examples=100, deadline=None)
def test_no_policy_host_or_card_breaks_the_rule_or_overcommits(busy, memory, card, one, two):
    pods = [pod("a", [0.1] * 24), measure("b", busy * 2, memory, step_seconds=HOUR)]
    policy = TuningPolicy(one, two, one, 8)
    host = Host(one, two, card, two, one)

    choice = choose_replicas("p", pods, card, policy=policy, host=host)

    assert 1 <= choice.target <= 8
    assert choice.sentence
    if choice.target > 1:
        assert choice.target * 3000 <= card


@pytest.mark.parametrize("what", ["vcpu", "memory_mib", "pods", "pod_vcpu", "pod_memory_mib"])
def test_what_is_not_known_of_the_host_never_raises_n(what):
    host = Host(8, 32_000, 20, 2, 8_000)
    choice = choose_replicas("p", [pod("a", [0.01] * 48, 100)], CARD, host=replace(host, **{what: math.nan}))

    assert choice.target == 1
    assert "is not known" in choice.sentence


@settings(max_examples=100, deadline=None)
@given(st.lists(numbers, max_size=30), st.lists(numbers, max_size=3), numbers, numbers, numbers, numbers)
def test_no_evidence_card_or_threshold_breaks_classes_and_packing(
    busy, memory, card, threshold, contended, raw
):
    odd = PodUse("odd", raw, (Day(0.1, 0.2, 0, 24),))
    pods = {one.name: one for one in (measure("a", busy, memory, step_seconds=HOUR), odd)}
    nodes = [["a", "odd"], ["nobody knows it"], []]

    for change in reclassify(pods, nodes, {"a": 3}, threshold, card, contended):
        assert change.after in (1, 2, 3)
    for change in repack(pods, nodes, {"a": Request(1, 1)}, threshold, card):
        assert 0 <= change.request.busy <= 1000
    assert calibrate_classes(list(pods.values()), card, happened=[contended]).threshold > 0
    assert calibrate_packing(list(pods.values()), card, happened=[contended]).threshold > 0
    assert advise(raw, contended, [Offer("a", "mig", card, 1, threshold, raw)], "a").reason


@given(st.lists(st.one_of(fractions, st.just(math.nan)), max_size=10), st.integers(0, 9), fractions)
def test_a_day_contended_longer_or_not_measured_never_loosens_the_target(happened, at, more):
    target = daily_target(0.01, 0.8, happened)

    assert 0 < target <= 0.01
    if at < len(happened):
        if happened[at] <= more:
            longer = [*happened[:at], more, *happened[at + 1 :]]
            assert daily_target(0.01, 0.8, longer) <= target
        assert daily_target(0.01, 0.8, [*happened[:at], math.nan, *happened[at + 1 :]]) <= target


def test_pods_that_are_sampled_at_different_steps_are_added_at_the_same_times():
    hourly = measure("a", [0.9] * 12 + [0.0] * 12, [1], step_seconds=HOUR)
    finer = measure("b", [0.0] * 72 + [0.9] * 72, [1], step_seconds=600)

    assert joint_share([hourly.days, finer.days]) == 0
    assert joint_share([hourly.days, hourly.days]) == 0.5


moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
maybe = st.one_of(st.none(), moments)
levels = st.one_of(st.none(), st.integers(1, 60))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(-2, 60),
    st.builds(
        Situation,
        target=st.integers(-2, 60),
        slots_in_use=st.integers(0, 60),
        demand=st.booleans(),
        breach=st.one_of(st.none(), st.sampled_from(Breach)),
        estimated=st.booleans(),
        frozen=st.sampled_from(["", "asleep"]),
    ),
    st.builds(
        History,
        changed_at=maybe,
        above_since=maybe,
        below_since=maybe,
        above_target=levels,
        below_target=levels,
        failed=st.dictionaries(st.integers(1, 9), moments, max_size=2),
    ),
    moments,
)
def test_control_never_leaps_nor_rises_on_bad_news_whatever_the_clock_says(current, situation, history, now):
    step = decide(current, situation, history, Tuning(), now)

    assert step.reason
    assert 1 <= step.after <= step.before + 1
    if situation.estimated or situation.frozen or situation.breach or not situation.demand:
        assert step.after <= step.before
    if step.after > step.before:
        assert step.after <= situation.target
    since = [moment for moment in (history.changed_at, history.above_since) if moment]
    if any(moment > now - timedelta(hours=6) for moment in since):
        assert step.after <= step.before


def test_a_hundred_thousand_pods_are_judged_in_the_time_of_as_many_thousands():
    kinds = [pod(f"k{i}", [i / 400] * 24 * 3, 100 + 10 * i) for i in range(100)]
    pods = [replace(kinds[i % 100], name=f"p{i}") for i in range(100_000)]
    nodes = [[one.name for one in pods[i : i + 2]] for i in range(0, len(pods), 2)]
    known = {one.name: one for one in pods}
    asks = {one.name: request_for(one, 0.8, 20_599) for one in pods}

    for run in (
        lambda: choose_replicas("p", pods, CARD),
        lambda: calibrate_classes(pods, CARD),
        lambda: calibrate_packing(pods, CARD),
        lambda: reclassify(known, nodes, dict.fromkeys(known, 2), 0.8, CARD, 0.05),
        lambda: repack(known, nodes, asks, 0.8, CARD, PackingPolicy()),
    ):
        began = time.process_time()
        run()
        assert time.process_time() - began < 100
