"""N comes from evidence: more use or less evidence never raises it."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.tuning.rule.replicas import Demand, Host, TuningPolicy, choose_replicas, is_greedy
from slicewise.tuning.usage.evidence import Grade, measure

CARD = 22_888.0
HOUR = 3600
fractions = st.floats(0, 1)
anything = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.just(math.nan))


def pod(name="a", busy=0.06, memory=3000.0, days=7, **more):
    """One sample an hour keeps the tests quick."""
    series = busy if isinstance(busy, list) else [busy] * (24 * days)
    return measure(name, series, [memory], step_seconds=HOUR, **more)


def n_of(pods, card=CARD, **more):
    return choose_replicas("gpu-l4", pods, card, **more).target


def test_the_largest_peaks_that_can_meet_decide_on_memory():
    pods = [
        pod("a", 0.01, 9000),
        pod("b", 0.01, 9000),
        pod("c", 0.01, 9000),
        *(pod(f"s{i}", 0.01, 1000) for i in range(9)),
    ]

    choice = choose_replicas("gpu-l4", pods, CARD)

    assert (choice.target, choice.binding) == (2, "memory")


def test_batch_without_a_slowdown_budget_may_fill_the_gpu():
    pods = [pod(str(i), 0.2, 500) for i in range(8)]

    assert n_of(pods) == 2
    assert n_of(pods, policy=TuningPolicy(slowdown_budget=None)) == 4


def test_the_host_leaves_no_slice_stranded():
    choice = choose_replicas("gpu-l4", [pod(memory=500, busy=0.01)], CARD, host=Host(vcpu=3.92, pod_vcpu=1.5))

    assert (choice.target, choice.binding) == (2, "host")


def test_a_pod_without_a_full_day_counts_as_a_whole_gpu():
    young = pod("young", [0.01] * 23)

    assert not young.has_history
    assert n_of([pod(str(i), 0.01, 500) for i in range(5)] + [young]) == 1


def test_a_stale_series_is_no_history():
    assert pod(stale_seconds=2 * HOUR).grade is Grade.NONE


def test_a_flat_and_full_card_is_an_allocator_and_the_answer_its_setting():
    vllm = measure("vllm", [0.05] * 72, [20_500, 20_600], step_seconds=HOUR)

    choice = choose_replicas("gpu-l4", [vllm], CARD)

    assert is_greedy(vllm, CARD)
    assert "--gpu-memory-utilization to 0." in choice.advice
    assert not is_greedy(measure("model", [0.05] * 72, [4_000, 20_600], step_seconds=HOUR), CARD)


def test_the_decision_explains_itself():
    pods = [pod(str(i), [0.03, 0.09] * 84, 3260) for i in range(20)]

    assert choose_replicas("gpu-l4", pods, CARD, current=4).sentence == (
        "gpu-l4: N 4→5. Memory allows 6 (top-6 peaks 19.1 of 20.1 GiB), "
        "compute allows 5 (5·0.060 + 1.645·0.030·√5 = 0.41 ≤ 0.45), "
        "host allows 8 (nothing asked of it). Binding: compute. "
        "Predicted mean slowdown 1.4×, 0.0% of busy time over the budget. "
        "20 pods: 5→4 GPUs. Confidence: high, every pod measured for 7 days or more. "
        "N = 6 would need: 6·0.060 + 1.645·0.030·√6 = 0.48 > 0.45."
    )


def test_an_idle_pod_that_gets_busier_never_lowers_the_need():
    """Plain mean and deviation would: at (0, 0.4) they need more than at (0.4, 0.4)."""
    uneven = Demand([pod("a", 0.0), pod("b", 0.4)]).need(2)[0]

    assert uneven <= Demand([pod("a", 0.4), pod("b", 0.4)]).need(2)[0] + 1e-9


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(fractions, min_size=24, max_size=24), st.floats(0, 20_000)), min_size=1, max_size=5
    ),
    st.data(),
)
def test_more_memory_busier_or_a_smaller_card_never_raises_n(drawn, data):
    pods = [pod(str(i), busy, memory) for i, (busy, memory) in enumerate(drawn)]
    index = data.draw(st.integers(0, len(drawn) - 1))
    busy, memory = drawn[index]
    sample = data.draw(st.integers(0, 23))
    busier = [*busy[:sample], data.draw(st.floats(busy[sample], 1)), *busy[sample + 1 :]]
    gap = [*busy[:sample], math.nan, *busy[sample + 1 :]]
    n = n_of(pods)

    for worse in (
        pod(str(index), busier, memory),
        pod(str(index), gap, memory),
        pod(str(index), busy, memory * 1.3),
        pod(str(index), busy[:23], memory),
    ):
        assert n_of([*pods[:index], worse, *pods[index + 1 :]]) <= n
    assert n_of(pods, card=CARD * 0.8) <= n
    assert n_of(pods[::-1]) == n >= 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.lists(anything, max_size=30), st.lists(anything, max_size=3)), max_size=4),
    anything,
    anything,
)
def test_no_input_breaks_the_rule(drawn, card, stale):
    pods = [
        measure(str(i), busy, memory, step_seconds=HOUR, stale_seconds=stale)
        for i, (busy, memory) in enumerate(drawn)
    ]

    choice = choose_replicas("p", pods, card, host=Host(vcpu=card, pod_vcpu=stale if stale == stale else 0))

    assert 1 <= choice.target <= 8
    assert choice.sentence


def test_a_thousand_pods_take_less_than_a_second():
    week = [(i % 97) / 300 for i in range(7 * 144)]
    pods = [measure(str(i), week, [2000]) for i in range(1000)]
    began = time.process_time()

    choose_replicas("p", pods, CARD)

    assert time.process_time() - began < 1


@pytest.mark.parametrize("pods", [[], [pod(memory=math.nan)]], ids=["no pods", "memory unknown"])
def test_no_evidence_means_one(pods):
    assert n_of(pods) == 1
