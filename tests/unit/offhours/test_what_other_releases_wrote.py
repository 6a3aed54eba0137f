"""
Nights of which another release, or a person, has written something down. What can be read is woken, and the
rest is told and kept.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from slicewise.kube.ref import Ref, ref_of
from slicewise.offhours.report import savings
from slicewise.planning.outcome import Stage
from slicewise.planning.record import UNKNOWN_TIME
from slicewise.policy.off_hours import Override

from tests.fakes.kube.controllers import scaled
from tests.fakes.sleeper import FALLBACK, FALLBACK_POOLS, NODE_POOL, Sleeper
from tests.support.mutations import mutated
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, codes

WAKING = "2026-11-26T06:51"
OTHER = scaled("StatefulSet", "store", 2)
DAMAGED = {"original": None, "ours": None, "uid": "", "window": "", "version": 0, "checksum": ""}


def asleep(*items, pools=None) -> Sleeper:
    sleeper = Sleeper(**({"pools": pools} if pools else {}))
    sleeper.create(*items)
    sleeper.at(NIGHT).settle()
    return sleeper


def rewrite(sleeper: Sleeper, of: Ref, **changes) -> None:
    """As the table's gateway reads what somebody did to the items of an object."""
    kept = sleeper.kept._kept
    for key, snapshot in list(kept.items()):
        if snapshot.ref == of:
            del kept[key]
            found = replace(snapshot, **changes)
            kept[sleeper.cluster.arn, *found.ref, found.field] = found


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (DAMAGED, "snapshot-damaged"),
        ({"original": 30}, "snapshot-damaged"),
        ({**DAMAGED, "ref": Ref("", "", "snapshot#v2#x"), "field": ""}, "snapshot-unknown"),
    ],
    ids=["unreadable", "edited", "another release's key"],
)
def test_what_can_be_read_wakes_and_the_rest_is_kept_and_reported(changes, code):
    sleeper = asleep(SERVER, OTHER)
    rewrite(sleeper, ref_of(SERVER), **changes)

    for moment in (WAKING, MORNING):
        last = sleeper.at(moment).settle()
        assert code in codes(last)

    assert sleeper.replicas(OTHER) == 2 and sleeper.replicas(SERVER) == 0
    assert last.outcome.stage is Stage.AWAKE
    [left] = sleeper.kept.snapshots(sleeper.cluster.arn)
    assert not left.intact, "it is all that is known of what it was"
    assert not [call for call in sleeper.calls.made if call.startswith("kubernetes.has_scale")]


def test_what_another_release_put_to_sleep_through_a_field_of_its_own_is_reported_and_kept():
    sleeper = asleep(SERVER, OTHER)
    [kept] = [one for one in sleeper.kept.snapshots(sleeper.cluster.arn) if one.ref == ref_of(SERVER)]
    rewrite(
        sleeper,
        ref_of(SERVER),
        field="spec.paused",
        checksum=replace(kept, field="spec.paused").sealed().checksum,
    )

    last = sleeper.at(MORNING).settle()

    [reported] = [finding for finding in last.outcome.findings if finding.code == "snapshot-unknown"]
    assert "spec.paused" in reported.message and "server" in reported.message
    [left] = sleeper.kept.snapshots(sleeper.cluster.arn)
    assert left.intact and sleeper.replicas(OTHER) == 2


def test_a_workload_of_which_something_unreadable_is_kept_is_left_running_at_night():
    sleeper = asleep(SERVER)
    rewrite(sleeper, ref_of(SERVER), **DAMAGED)
    sleeper.at(MORNING).settle()
    sleeper.edit(ref_of(SERVER), ("spec", "replicas"), 3)

    last = sleeper.at("2026-11-26T20:01").settle()

    assert sleeper.replicas(SERVER) == 3, "what it is now could not be written down"
    assert "snapshot-damaged" in codes(last)


def test_what_is_kept_of_a_pool_that_sleeps_is_not_taken_for_one_that_was_opened():
    sleeper = asleep(SERVER, pools=FALLBACK_POOLS)
    rewrite(sleeper, NODE_POOL, **DAMAGED)
    rewrite(sleeper, FALLBACK, **DAMAGED)

    last = sleeper.at(MORNING).settle()

    kept = [one.ref for one in sleeper.kept.snapshots(sleeper.cluster.arn)]
    assert kept.count(NODE_POOL) == 2 and "snapshot-damaged" in codes(last)
    assert sleeper.replicas(SERVER) == 3


# What a person said

NOBODY_KNOWS = Override(False, UNKNOWN_TIME, UNKNOWN_TIME, "somebody", unreadable=("asleep", "until"))


def test_what_was_said_and_cannot_be_read_leaves_it_to_the_calendar_and_is_reported():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.kept.put_override(sleeper.cluster.arn, NOBODY_KNOWS)

    last = sleeper.at(NIGHT).settle()

    assert sleeper.replicas(SERVER) == 0
    assert "override-unreadable" in codes(last)


def test_who_cannot_be_understood_until_midnight_is_awake_until_then():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    midnight = datetime(2026, 11, 25, 23, tzinfo=UTC)
    said = Override(False, UNKNOWN_TIME, midnight, "somebody", unreadable=("asleep",))
    sleeper.kept.put_override(sleeper.cluster.arn, said)

    assert "override-unreadable" in codes(sleeper.at(NIGHT).settle())
    assert sleeper.replicas(SERVER) == 3

    last = sleeper.at("2026-11-26T00:01").settle()
    assert sleeper.replicas(SERVER) == 0
    assert "override-unreadable" not in codes(last), "it is over"


# What the record before says


def test_a_reconcile_goes_on_whatever_the_record_before_holds():
    sleeper = asleep(SERVER)
    sleeper.node("node-1")
    known = list(sleeper.dry_run().details)
    assert known

    @settings(max_examples=100)
    @given(mutated(known))
    def holds(details):
        details = tuple(one for one in details if isinstance(one, dict))
        for moment in (NIGHT, WAKING, MORNING):
            json.dumps(sleeper.at(moment).dry_run(details).details)

    holds()


NOW = datetime(2026, 11, 25, 19, tzinfo=UTC)
NODES = [{"metadata": {"name": "a", "labels": {"node.kubernetes.io/instance-type": "g6.xlarge"}}}]


@pytest.mark.parametrize(
    "change",
    [
        {"counted": "x"},
        {"began": "2026-11-25T19:00:00"},
        {"ran": ["x"]},
        {"nodes": {"g6.xlarge": float("inf")}},
    ],
    ids=str,
)
def test_a_saving_that_cannot_be_read_is_counted_from_now_and_says_so(change):
    known = savings.counted((), NODES, NOW) | change

    again = savings.counted((known,), NODES, NOW + timedelta(hours=1))
    later = savings.counted((again,), (), NOW + timedelta(hours=2))
    assert later["saved"] == {"g6.xlarge": 1.0}
    assert "cannot be read" in savings.message(later)


def test_what_a_later_release_counts_beside_is_kept():
    known = savings.counted((), NODES, NOW) | {"carbon": 5}

    assert savings.counted((known,), NODES, NOW + timedelta(hours=1))["carbon"] == 5
