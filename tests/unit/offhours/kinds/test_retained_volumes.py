"""Several StatefulSets that retain their volumes: one that cannot be given back keeps what that needs."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from slicewise.errors import Refused, Unavailable
from slicewise.kube.labels import RETAINS
from slicewise.kube.ref import Object, ref_of
from slicewise.policy.off_hours import Volumes

from tests.fakes.kube.controllers import keeping_volumes, scaled
from tests.fakes.sleeper import NIGHTS, NODE_POOL, Sleeper
from tests.unit.offhours.sleeping import NIGHT
from tests.unit.offhours.test_emptied_table import empty, notes

RETAINING = replace(NIGHTS, volumes=Volumes.RETAIN)
SETS = tuple(keeping_volumes(scaled("StatefulSet", name, 1)) for name in ("a", "b", "c"))
NOON = "2026-11-26T12:00"


def asleep() -> Sleeper:
    sleeper = Sleeper(RETAINING)
    for one in SETS:
        sleeper.create(one)
    sleeper.at(NIGHT).settle()
    assert all(said_by(sleeper, one) == "Retain" for one in SETS) and is_marked(sleeper)
    return sleeper


def said_by(sleeper: Sleeper, one: Object) -> str:
    return sleeper.value(ref_of(one), "spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")


def is_marked(sleeper: Sleeper) -> bool:
    return sleeper.value(NODE_POOL, "metadata", "annotations", RETAINS) is not None


def deny(sleeper: Sleeper, *sets: Object) -> None:
    """Their replicas come back, which need another right."""
    patches = tuple(f"kubernetes.patch {ref_of(one)}" for one in sets)
    sleeper.calls.fails = lambda call: Refused("403") if patches and call.startswith(patches) else None


@pytest.mark.parametrize("denied", [*itertools.combinations(SETS, 1), *itertools.combinations(SETS, 2)])
@pytest.mark.parametrize("policy", [RETAINING, NIGHTS, None], ids=["retain", "leave", "none"])
def test_the_mark_stays_until_the_last_set_has_its_own_word(denied, policy):
    sleeper = asleep()
    sleeper.off_hours = policy
    deny(sleeper, *denied)
    sleeper.at(NOON)
    for _ in range(6):
        sleeper.reconcile_once()
        assert is_marked(sleeper)
        sleeper.later(minutes=1)
    restored = {"Delete": [one for one in SETS if one not in denied], "Retain": list(denied)}
    for word, sets in restored.items():
        assert [said_by(sleeper, one) for one in sets] == [word] * len(sets)

    deny(sleeper)
    sleeper.settle()

    assert [said_by(sleeper, one) for one in SETS] == ["Delete"] * 3
    assert not is_marked(sleeper) and sleeper.kept._kept == {} and notes(sleeper) == set()


@pytest.mark.parametrize("how", ["kill_before", "kill_after"])
def test_whatever_call_a_reconcile_ends_at_a_set_without_its_word_has_the_mark(how):
    for call in range(60):
        sleeper = asleep()
        sleeper.off_hours = None
        sleeper.at(NOON)
        setattr(sleeper.calls, how, len(sleeper.calls.made) + call)
        sleeper.reconcile_once()
        setattr(sleeper.calls, how, None)
        assert is_marked(sleeper) or all(said_by(sleeper, one) == "Delete" for one in SETS), call

        sleeper.settle()

        assert [said_by(sleeper, one) for one in SETS] == ["Delete"] * 3, call
        assert not is_marked(sleeper) and sleeper.kept._kept == {}, call


def test_in_the_morning_the_next_reconcile_comes_at_once_where_sets_are_still_to_be_forgotten():
    sleeper = asleep()
    sleeper.at(NOON).reconcile_once()  # as the replicas: they come back first

    waits = [
        found.outcome.requeue_after
        for found in sleeper.plans
        if any("awake" in str(one) for one in found.actions)
    ]

    assert waits and max(waits).total_seconds() == 1


def test_what_the_table_has_lost_is_found_though_the_policy_says_leave_by_then():
    sleeper = asleep()
    sleeper.off_hours = NIGHTS
    empty(sleeper)
    replicas = ("spec", "replicas")
    for one in SETS:  # they went with the table
        sleeper.edit(ref_of(one), replicas, 1)

    sleeper.at(NOON).settle()

    assert [said_by(sleeper, one) for one in SETS] == ["Delete"] * 3
    assert not is_marked(sleeper) and notes(sleeper) == set()


def test_the_mark_stays_while_nobody_can_read_which_sets_need_it():
    sleeper = asleep()
    sleeper.off_hours = NIGHTS
    empty(sleeper)
    for one in SETS:
        sleeper.edit(ref_of(one), ("spec", "replicas"), 1)
    gone = Unavailable("503")
    sleeper.calls.fails = lambda call: gone if call.startswith("kubernetes.list StatefulSet") else None

    for _ in range(3):
        sleeper.at(NOON).reconcile_once()
    assert is_marked(sleeper)

    sleeper.calls.fails = lambda call: None
    sleeper.settle()
    assert [said_by(sleeper, one) for one in SETS] == ["Delete"] * 3 and not is_marked(sleeper)
