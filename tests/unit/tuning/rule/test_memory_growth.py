"""Memory that grows: what a fleet's days say of it, and that no GPU's pods outgrow their card together."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.tuning.rule.memory_growth import AGES, MemoryGrowth
from slicewise.tuning.rule.memory_sum import Growth, Member, fits, overflow_chance, upper_bound
from slicewise.tuning.usage.evidence import PodUse

from tests.support.tuning.memory_pods import DAY, fleet, pod

CARD, H = 22_888.0, 0.1


def growth_of(*chances):
    return Growth(tuple(chances), (), 1)


chances = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(lambda drawn: sorted(drawn, reverse=True))
peaks = st.floats(10, 20_000)


def test_without_daily_peaks_nothing_is_known_to_grow_and_headroom_is_all():
    growth = MemoryGrowth([PodUse("a", 5000.0, (DAY,))])
    (member,) = growth.members([PodUse("a", 5000.0, (DAY,))])

    assert (member.peak_mib, member.growth.over) == (5000.0, ())
    assert upper_bound([member], CARD, H) == pytest.approx(5000 / 0.9)


def test_a_fleet_that_never_grew_is_bounded_by_headroom_alone():
    still = [pod(f"p{i}", *[3000.0] * 7) for i in range(3)]
    growth = MemoryGrowth(still)

    assert growth.growth(still[0]).quantile(0.999) == 1
    assert fits(growth.copies(still[0], 6), CARD, H) and not fits(growth.copies(still[0], 7), CARD, H)


def test_what_others_grew_by_is_expected_of_a_pod_that_did_not():
    pods = fleet()
    calm = pods[1]

    assert MemoryGrowth(pods).growth(calm).chance_over(1.25) > 0
    assert MemoryGrowth(pods).may_reach(calm) > calm.memory_mib


def test_the_more_days_a_workload_has_without_growth_the_less_is_expected_of_it():
    others = [pod(f"o{i}", *[4000.0 * 1.1**day for day in range(60)]) for i in range(5)]
    short, long = (pod("calm", *[4000.0] * days) for days in (10, 60))

    assert MemoryGrowth([*others, long]).growth(long).chance_over(1.05) < MemoryGrowth(
        [*others, short]
    ).growth(short).chance_over(1.05)


def test_who_leaks_is_expected_to_go_on_more_than_its_calm_neighbours():
    leaks = pod("leaks", *[4000.0 * 1.2**day for day in range(7)])
    growth = MemoryGrowth([leaks, *(pod(f"p{i}", *[4000.0] * 7) for i in range(20))])

    assert growth.growth(leaks).quantile(0.9) > growth.growth(pod("p1", *[4000.0] * 7)).quantile(0.9)


def test_a_pod_is_never_below_its_siblings_peaks():
    mine, other = pod("a-1", 4000, 4000, workload="a"), pod("a-2", 4000, 9000, workload="a")
    growth = MemoryGrowth([mine, other])

    assert growth.peak(mine) == 9000
    assert upper_bound(growth.members([mine]), CARD, H) >= 9000


def test_a_restarted_pod_that_comes_back_to_what_its_siblings_hold_has_not_grown():
    saw = [
        pod("a-1", 2000, 6000, 2000, 6000, workload="a"),
        pod("a-2", 6000, 2000, 6000, 2000, workload="a"),
    ]

    assert MemoryGrowth(saw).growth(saw[0]).quantile(0.999) == 1


def test_pods_of_a_workload_grow_together_and_those_of_others_do_not():
    alone = growth_of(*[0.02] * 40)

    assert overflow_chance([Member(16_000, alone)], CARD) == pytest.approx(0.02)
    assert overflow_chance([Member(8000, alone), Member(8000, alone)], CARD) < 0.001


def test_days_that_were_not_measured_say_nothing():
    gap = pod("a", 4000, math.nan, 4000, math.nan)

    assert MemoryGrowth([gap]).growth(gap).quantile(0.999) == 1


def test_the_first_days_of_others_say_what_a_young_pod_may_do():
    """All grew on their second day, none thereafter."""
    pods = [pod(f"p{i}", 3000, *[4500] * 13) for i in range(30)]
    young, grown_up = pod("young", 3000), pods[0]
    growth = MemoryGrowth([*pods, young])

    assert growth.growth(young).quantile(0.9) >= 1.5
    assert growth.growth(grown_up).quantile(0.9) < 1.05


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(100, 10_000), min_size=1, max_size=14), min_size=2, max_size=6))
def test_fewer_days_of_history_never_lower_the_bound(drawn):
    pods = [pod(f"p{i}", *days) for i, days in enumerate(drawn)]
    growth = MemoryGrowth(pods)
    strangers = [pod("s", *[5000.0] * age, workload=f"age {age}") for age in AGES]
    # Of the same fleet, each seen for the first time: only its age tells it apart.
    reach = [growth.may_reach(one) for one in strangers]

    assert reach == sorted(reach, reverse=True)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(peaks, chances), min_size=1, max_size=4), st.data())
def test_a_larger_peak_or_growth_never_lowers_the_bound(drawn, data):
    members = [Member(peak, growth_of(*over)) for peak, over in drawn]
    index = data.draw(st.integers(0, len(drawn) - 1))
    peak, over = drawn[index]
    worse_over = [min(1.0, chance + data.draw(st.floats(0, 0.3))) for chance in over]
    worse_over = sorted(worse_over, reverse=True) + [worse_over[-1]] * data.draw(st.integers(0, 30))
    chance, bound = overflow_chance(members, CARD), upper_bound(members, CARD, H)

    for worse in (
        Member(peak * data.draw(st.floats(1, 2)), members[index].growth),
        Member(peak, growth_of(*worse_over)),
    ):
        changed = [*members[:index], worse, *members[index + 1 :]]
        assert overflow_chance(changed, CARD) >= chance - 1e-9
        assert upper_bound(changed, CARD, H) >= bound - CARD / 100
    assert overflow_chance([*members, Member(100.0)], CARD) >= chance - 1e-9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(peaks, chances), min_size=1, max_size=4))
def test_the_bound_is_never_below_the_known_peaks_over_what_headroom_leaves(drawn):
    members = [Member(peak, growth_of(*over)) for peak, over in drawn]

    assert upper_bound(members, CARD, H) >= sum(member.peak_mib for member in members) / (1 - H) - 1e-6
    if fits(members, CARD, H):
        assert sum(member.peak_mib for member in members) <= 0.9 * CARD


def test_the_convolution_is_what_drawing_at_random_gives():
    rng = random.Random(1)
    over = [0.5 * 0.9**step for step in range(60)]
    members = [Member(peak, growth_of(*over)) for peak in (3000.0, 5000.0, 7000.0)]

    def grown() -> float:
        at = rng.random()
        return 1.01 ** next((step for step, chance in enumerate(over) if chance <= at), len(over))

    drawn = sum(sum(member.peak_mib * grown() for member in members) > 17_000 for _ in range(20_000)) / 20_000

    # Rounded upwards on a grid, so at least what is drawn, and not much more.
    assert drawn - 0.01 <= overflow_chance(members, 17_000) <= drawn + 0.08


def test_the_order_of_pods_changes_nothing():
    pods = fleet()

    assert [MemoryGrowth(pods).may_reach(one) for one in pods] == [
        MemoryGrowth(pods[::-1]).may_reach(one) for one in pods
    ]


def test_any_one_workload_may_surge_while_the_others_stay():
    seldom = growth_of(0.001)
    large, small = Member(14_000, seldom), Member(6000, seldom)

    assert fits([large, small], CARD, H)
    assert not fits([large, small], CARD, H, surge=1.35)
    assert fits([Member(12_000, seldom), small], CARD, H, surge=1.35)
    # Siblings surge together, and who never grew does not.
    assert not fits([Member(2 * 9000, seldom)], CARD, H, surge=1.35)
    assert fits([Member(14_000), Member(6000)], CARD, H, surge=1.35)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(100, 20_000), min_size=1, max_size=6), st.floats(1, 2))
def test_pods_whose_requests_fit_a_card_leave_room_for_a_surge_of_any_one(drawn, surge):
    pods = [pod(f"p{i}", peak / 1.2, peak) for i, peak in enumerate(drawn)]
    growth = MemoryGrowth(pods)
    asked = [growth.request_mib(one, CARD, H, level=0, surge=surge) for one in pods]

    if len(pods) > 1 and sum(asked) <= (1 - H) * CARD:
        assert fits(growth.members(pods), CARD, H, level=0, surge=surge)


def test_a_surge_that_is_more_than_what_was_learnt_is_reported_instead():
    pods = fleet()
    growth = MemoryGrowth(pods)

    assert growth.explain(pods[1], 0.97).endswith("pods like it grew more in a day")
    assert growth.explain(pods[1], 0.97, 4) == "peak 3.9 GiB, its GPU must have room for 15.6 of it"
    still = MemoryGrowth([pod("a", 3000, 3000)])
    assert "must have room" not in still.explain(pod("a", 3000, 3000), 0.97, 4)
