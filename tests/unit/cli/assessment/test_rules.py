"""What each rule needs, reckoned beside the rules for fleets that are easy to reckon."""

from __future__ import annotations

import math

import pytest
from slicewise.tuning.rule.replicas import Host
from slicewise.tuning.usage.evidence import PodUse, measure

from cli.assessment.rules import (
    BOUND,
    CLASSES,
    ONE_N,
    PACKING,
    TITLES,
    TWO,
    WHOLE,
    lower_bound,
    rules,
    unmeasured,
)

L4_MIB = 22_888
WEEK = 7 * 144


def pods(count: int, busy: float, memory_mib: float, name: str = "p") -> list[PodUse]:
    return [measure(f"team/{name}-{i}", [busy] * WEEK, [memory_mib]) for i in range(count)]


def gpus(found) -> dict[str, int | None]:
    return {one.rule: one.gpus for one in found.estimates}


def test_small_steady_pods_need_what_memory_and_time_say():
    """0.9 · 22,888 MiB hold three of 6,000; at 5 % each, time is no bound before that."""
    found = gpus(rules("l4", pods(12, 0.05, 6000), L4_MIB, Host()))

    assert found == {
        WHOLE: 12,
        TWO: 6,
        ONE_N: 4,
        CLASSES: 4,
        PACKING: 4,
        BOUND: math.ceil(12 * 6000 / L4_MIB),
    }


def test_one_large_pod_forces_one_n_for_all_but_not_one_class():
    """Two pods of 20,000 and 6,000 MiB do not fit in 20,599; three of 6,000 do."""
    found = rules("l4", [*pods(6, 0.05, 6000), *pods(1, 0.05, 20_000, "large")], L4_MIB, Host())

    assert gpus(found)[ONE_N] == 7
    assert gpus(found)[CLASSES] == 1 + 2
    two = next(one for one in found.estimates if one.rule == TWO)
    assert (two.title, two.risk[:27]) == ("N = 2 for all, refused", "the rule refuses it: memory")


def test_busy_pods_share_by_time_alone():
    """Two steady pods of 40 % are 80 % of a GPU: more than the slowdown budget leaves of it."""
    found = rules("l4", pods(6, 0.4, 1000), L4_MIB, Host())

    assert gpus(found)[ONE_N] == 6
    assert found.choice.binding == "compute"
    assert gpus(found)[BOUND] == math.ceil(6 * 0.4)


def test_what_the_machine_has_bounds_one_n_and_warns_of_the_others():
    """4 vCPU for pods that ask for 2 each."""
    found = rules("l4", pods(12, 0.05, 6000), L4_MIB, Host(vcpu=4, pod_vcpu=2))

    assert gpus(found)[ONE_N] == 6
    classes = next(one for one in found.estimates if one.rule == CLASSES)
    assert "need larger machines than today's (4 vCPU a GPU over 2 a pod)" in classes.risk


def test_a_pod_that_was_never_measured_counts_as_a_whole_gpu():
    unknown = PodUse("team/new-0", math.nan)

    found = gpus(rules("l4", [*pods(6, 0.05, 6000), unknown], L4_MIB, Host()))

    assert found[ONE_N] == 7
    assert found[CLASSES] == 1 + 2
    assert found[BOUND] == 2, "of the bound it is no part, since nothing is certain of it"


def test_without_measurements_only_counting_is_left_and_says_so():
    found = unmeasured(7, "no metrics were named")

    assert gpus(found) == {WHOLE: 7, TWO: 4, ONE_N: None, CLASSES: None, PACKING: None, BOUND: None}
    assert "not known: no metrics were named" in found.estimates[2].risk
    assert found.estimates[1].title == "N = 2 for all, if it fits"


@pytest.mark.parametrize("made", [rules("l4", [], L4_MIB, Host()), unmeasured(0, "no metrics were named")])
def test_where_no_pod_could_share_only_whole_gpus_are_left(made):
    assert gpus(made) == {WHOLE: 0}


def test_every_rule_has_a_title():
    assert {one.rule for one in rules("l4", pods(2, 0.1, 100), L4_MIB, Host()).estimates} == set(TITLES)


def test_the_lower_bound_is_the_larger_of_memory_and_time():
    assert lower_bound(pods(10, 0.9, 10), L4_MIB) == 9
    assert lower_bound(pods(10, 0.01, L4_MIB / 2), L4_MIB) == 5
