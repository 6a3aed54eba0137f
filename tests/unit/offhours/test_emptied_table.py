"""A table that was emptied at night costs no more than what it alone knew."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from slicewise.errors import Unavailable
from slicewise.kube.labels import ASLEEP, ASLEEP_WAS, RETAINS
from slicewise.kube.ref import Ref, ref_of
from slicewise.policy.off_hours import Volumes

from tests.fakes.calls import REFUSALS
from tests.fakes.kube.controllers import cron_job, keeping_volumes, scaled, scaled_job, scaled_object
from tests.fakes.sleeper import FALLBACK, FALLBACK_POOLS, NIGHTS, NODE_POOL, Sleeper
from tests.support.mutations import mutated
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, codes, objects_of

pytestmark = pytest.mark.slow

NODES = ("spec", "limits", "nodes")
NOTE = ("metadata", "annotations", ASLEEP_WAS)
RETAINING = replace(NIGHTS, volumes=Volumes.RETAIN)
CRON = cron_job("nightly", suspend=False)  # as the API server fills it in
SUSPENDED = cron_job("by-hand", suspend=True)
TARGET = scaled("Deployment", "of-keda", 2)
SCALER, TURNED_DOWN = scaled_object("keda", TARGET), scaled_object("keda-2", TARGET, "2")
QUEUE = scaled_job("queue")
STORE = keeping_volumes(scaled("StatefulSet", "store", 2))
NOTED = (CRON, SUSPENDED, TARGET, SCALER, QUEUE)


def with_workloads(*items, off_hours=NIGHTS) -> Sleeper:
    sleeper = Sleeper(off_hours, pools=FALLBACK_POOLS)
    for item in items:
        if item["kind"] == "ScaledObject":
            sleeper.controllers.demand[ref_of(item)] = 2
        sleeper.create(item)
    return sleeper


def empty(sleeper: Sleeper) -> None:
    sleeper.kept._kept.clear()


def forgotten() -> Sleeper:
    """Also by the objects themselves, as a night of a release before, or a tool that prunes annotations."""
    sleeper = with_workloads(SERVER)
    sleeper.at(NIGHT).settle()
    empty(sleeper)
    sleeper.edit(NODE_POOL, NOTE, None)
    return sleeper


def notes(sleeper: Sleeper) -> set[Ref]:
    return {
        ref
        for ref, item in sleeper.server.objects.items()
        if ASLEEP_WAS in (item["metadata"].get("annotations") or {})
    }


# What is noted


def test_what_sleeps_carries_what_it_was_and_what_is_awake_carries_nothing():
    sleeper = with_workloads(*NOTED, SERVER)
    before = objects_of(sleeper)

    assert sleeper.at(NIGHT).reconcile_once(), "two fields of one object are no conflict"
    sleeper.settle()
    # The fallback has no node by day either, but it was told that only empty nodes go.
    assert notes(sleeper) == {ref_of(CRON), ref_of(SCALER), ref_of(QUEUE), NODE_POOL, FALLBACK}
    entry = json.loads(sleeper.value(ref_of(CRON), *NOTE))["spec.suspend"]
    assert entry["original"] is False and entry["ours"] is True
    assert entry["uid"] == sleeper.value(ref_of(CRON), "metadata", "uid")
    assert set(json.loads(sleeper.value(NODE_POOL, *NOTE))) == {"spec.limits.nodes", "spec.disruption"}

    sleeper.at(MORNING).settle()
    assert notes(sleeper) == set() and objects_of(sleeper) == before


@pytest.mark.parametrize("when", ["at night", "in the morning"])
@pytest.mark.parametrize("lost", ["all", "one by one"])
def test_objects_that_carry_what_they_were_wake_as_they_were(when, lost):
    everything = with_workloads(*NOTED)
    everything.at(NIGHT).settle()
    keys = sorted(everything.kept._kept) if lost == "one by one" else [None]
    assert len(everything.kept._kept) >= 6
    for key in keys:
        sleeper = with_workloads(*NOTED)
        before = objects_of(sleeper)
        sleeper.at(NIGHT).settle()
        ends = {kept.window for kept in sleeper.kept._kept.values()}
        if key is None:
            empty(sleeper)
        else:
            del sleeper.kept._kept[key]

        if when == "at night":
            reported = sleeper.later(hours=1).reconcile_once()
            assert "recovered-from-annotations" in codes(reported)
            sleeper.settle()
            assert sleeper.kept._kept.keys() == everything.kept._kept.keys(), "it is written down again"
            assert {kept.window for kept in sleeper.kept._kept.values()} == ends
        sleeper.at(MORNING).settle()

        assert objects_of(sleeper) == before and sleeper.kept._kept == {}
        [(subject, text)] = [one for one in sleeper.notices.sent if "not in the table" in one[0]]
        assert "set their replicas by hand" in text and "gpu-1" in subject


def test_a_target_of_keda_wakes_with_its_scaler_though_replicas_are_kept_nowhere_else():
    sleeper = with_workloads(TARGET, SCALER)
    sleeper.at(NIGHT).settle()
    assert sleeper.replicas(TARGET) == 0
    empty(sleeper)

    sleeper.at(MORNING).settle()

    assert sleeper.replicas(TARGET) == 2


def test_replicas_are_lost_with_the_table_and_that_is_reported():
    sleeper = with_workloads(SERVER)
    sleeper.at(NIGHT).settle()
    empty(sleeper)

    woken = sleeper.at(MORNING).reconcile_once()

    assert sleeper.replicas(SERVER) == 0
    [finding] = [one for one in woken.outcome.findings if one.code == "recovered-from-annotations"]
    assert "Replicas are in the table alone" in finding.message and "kubectl get" in finding.remedy


@pytest.mark.parametrize("asleep", [True, False])
def test_a_set_that_retains_its_volumes_gets_its_own_word_back(asleep):
    sleeper = with_workloads(STORE, off_hours=RETAINING)
    sleeper.at(NIGHT).settle()
    assert "whenScaled" in sleeper.value(ref_of(STORE), *NOTE)
    empty(sleeper)
    if not asleep:
        sleeper.at("2026-11-26T06:55")  # it has no replicas by itself, so nothing says that it woke
        sleeper.edit(ref_of(STORE), ("spec", "replicas"), 2)
    sleeper.settle()

    sleeper.at("2026-11-26T12:00").settle()

    path = ("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")
    assert sleeper.value(ref_of(STORE), *path) == "Delete" and notes(sleeper) == set()
    assert sleeper.value(NODE_POOL, "metadata", "annotations", RETAINS) is None


def test_a_limit_that_was_narrowed_and_widened_in_the_night_is_restored_as_it_was_by_day():
    sleeper = Sleeper()
    sleeper.edit(NODE_POOL, NODES, "9")
    stays = scaled("Deployment", "stays", 1)
    stays["metadata"]["labels"] = {"slicewise.dev/keep-awake": "true"}
    sleeper.create(stays)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "1"
    sleeper.delete(ref_of(stays))
    sleeper.later(minutes=30).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "0"
    empty(sleeper)

    sleeper.at(MORNING).settle()

    del before[ref_of(stays)]
    assert objects_of(sleeper) == before


def test_a_person_who_changed_it_at_night_wins_over_what_is_noted():
    sleeper = with_workloads(CRON, QUEUE)
    sleeper.at(NIGHT).settle()
    sleeper.edit(ref_of(CRON), ("spec", "suspend"), False)
    sleeper.edit(NODE_POOL, NODES, "7")
    empty(sleeper)

    woken = sleeper.at(MORNING).reconcile_once()

    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False
    assert sleeper.value(NODE_POOL, *NODES) == "7"
    assert "changed-while-asleep" in codes(woken)
    sleeper.settle()
    assert notes(sleeper) == set()


def test_whoever_wakes_one_at_night_finds_nothing_noted_the_night_after_next():
    sleeper = with_workloads(CRON)
    sleeper.at(NIGHT).settle()
    sleeper.edit(ref_of(CRON), ("spec", "suspend"), False)
    for moment in (MORNING, "2026-11-26T20:01", "2026-11-27T07:00"):
        sleeper.at(moment).settle()

    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False and notes(sleeper) == set()


@pytest.mark.parametrize("how", ["killed", "answer lost", *REFUSALS])
def test_wherever_reconciles_end_and_the_table_is_emptied_each_object_wakes_as_it_was(how):
    number, done = 0, False
    while not done:
        sleeper = with_workloads(CRON, TARGET, SCALER)
        sleeper.edit(NODE_POOL, NODES, "9")
        before = objects_of(sleeper)
        begin = len(sleeper.calls.made)
        sleeper.at(NIGHT).struck_reconcile(how, number)
        done = len(sleeper.calls.made) - begin <= number
        empty(sleeper)
        sleeper.settle()
        empty(sleeper)
        sleeper.at(MORNING).struck_reconcile(how, number)
        empty(sleeper)
        sleeper.settle()

        assert objects_of(sleeper) == before and notes(sleeper) == set() and sleeper.kept._kept == {}
        number += 1
    assert number > 10


# What does not count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "it is not used"),
        ("[1]", "it is not used"),
        ('{"spec.suspend": 3}', "spec.suspend is not used"),
        ('{"spec.suspend": {"original": false, "ours": true, "uid": 7}}', "spec.suspend is not used"),
        ("edited", "spec.suspend is not used"),
        ('{"spec.paused": {}}', "spec.paused is not used"),
    ],
)
def test_a_note_that_cannot_be_read_is_reported_and_neither_used_nor_removed(text, message):
    sleeper = with_workloads(CRON)
    sleeper.at(NIGHT).settle()
    if text == "edited":
        text = sleeper.value(ref_of(CRON), *NOTE).replace('"original":false', '"original":true')
    sleeper.edit(ref_of(CRON), NOTE, text)
    empty(sleeper)

    last = sleeper.at(MORNING).settle()

    [finding] = [one for one in last.outcome.findings if one.code == "original-unreadable"]
    assert message in finding.message and "kubectl annotate cronjob nightly -n ml" in finding.remedy
    assert sleeper.value(ref_of(CRON), *NOTE) == text
    assert sleeper.value(ref_of(CRON), "spec", "suspend") is True, "nobody knows what it was"


def one_asleep() -> Sleeper:
    return with_workloads(CRON).at(NIGHT).after_a_pass()


NEEDED = ("uid", "original", "ours", "window", "checksum")
ENTRIES = json.loads(one_asleep().value(ref_of(CRON), *NOTE))


def rests_on(entries: Any) -> Any:
    """What of a note a morning rests on: its values of these keys; None where one is missing."""
    entry = entries.get("spec.suspend") if isinstance(entries, dict) else None
    if not isinstance(entry, dict) or not entry.keys() >= set(NEEDED):
        return None
    return json.dumps([entry[key] for key in NEEDED])


@given(mutated(ENTRIES))
@settings(max_examples=150, deadline=None)
def test_whatever_a_note_has_become_it_wakes_an_object_as_it_was_or_not_at_all(entries):
    sleeper, pointer = one_asleep(), f"/metadata/annotations/{ASLEEP_WAS.replace('/', '~1')}"
    # As our own writer, so that nothing but its content speaks against it.
    changed = ({"op": "replace", "path": pointer, "value": json.dumps(entries)},)
    sleeper.server.patch(ref_of(CRON), changed, "slicewise")
    empty(sleeper)

    last = sleeper.at(MORNING).settle()

    counts = rests_on(entries) == rests_on(ENTRIES)
    assert sleeper.value(ref_of(CRON), "spec", "suspend") is not counts
    in_findings = {"original-unreadable", "original-copied"} & codes(last)
    assert bool(in_findings) == bool(sleeper.value(ref_of(CRON), *NOTE) not in (None, "{}"))
    assert all(str(finding).encode() for finding in last.outcome.findings)


@pytest.mark.parametrize(
    "text", ["{", json.dumps({"spec.suspend": {**ENTRIES["spec.suspend"], "original": True}})]
)
def test_the_table_wakes_what_has_a_note_that_cannot_be_read_and_leaves_that(text):
    sleeper = with_workloads(CRON)
    sleeper.at(NIGHT).settle()
    sleeper.edit(ref_of(CRON), NOTE, text)

    last = sleeper.at(MORNING).settle()
    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False
    assert sleeper.value(ref_of(CRON), *NOTE) == text and "original-unreadable" in codes(last)

    sleeper.at("2026-11-26T20:01").settle()
    assert sleeper.value(ref_of(CRON), "spec", "suspend") is True, "it sleeps by the table alone"
    assert sleeper.value(ref_of(CRON), *NOTE) == text
    sleeper.at("2026-11-27T07:00").settle()
    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False


def copied(sleeper: Sleeper, name: str) -> Ref:
    item = sleeper.live(ref_of(CRON))
    metadata = {"name": name, "namespace": "ml", "annotations": dict(item["metadata"]["annotations"])}
    sleeper.create({**CRON, "metadata": metadata, "spec": item["spec"]})
    return ref_of(CRON)._replace(name=name)


def test_a_copy_under_another_name_is_not_woken_by_a_note_of_the_first():
    sleeper = with_workloads(CRON)
    sleeper.at(NIGHT).settle()
    copy = copied(sleeper, "copy")
    empty(sleeper)

    last = sleeper.at(MORNING).settle()

    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False
    assert sleeper.value(copy, "spec", "suspend") is True
    [finding] = [one for one in last.outcome.findings if one.code == "original-copied"]
    assert "CronJob ml/copy" in finding.message and "by somebody" in finding.message


def test_one_of_another_uid_is_not_woken_though_nobody_tells_who_wrote_its_note():
    sleeper = with_workloads(CRON)
    sleeper.at(NIGHT).settle()
    item = sleeper.live(ref_of(CRON))
    sleeper.delete(ref_of(CRON))
    sleeper.server.apply(
        {
            **CRON,
            "metadata": {**CRON["metadata"], "annotations": item["metadata"]["annotations"]},
            "spec": item["spec"],
        },
        "slicewise",
    )
    empty(sleeper)

    last = sleeper.at(MORNING).settle()

    assert sleeper.value(ref_of(CRON), "spec", "suspend") is True and "original-copied" in codes(last)


def test_a_field_that_only_another_release_puts_to_sleep_is_reported_and_left():
    sleeper = with_workloads(CRON)
    sleeper.at(NIGHT).settle()
    [kept] = [kept for kept in sleeper.kept._kept.values() if kept.ref == ref_of(CRON)]
    other = replace(kept, field="spec.paused").sealed()
    entry = {**ENTRIES["spec.suspend"], "checksum": other.checksum}
    text = json.dumps({**ENTRIES, "spec.paused": entry})
    pointer = f"/metadata/annotations/{ASLEEP_WAS.replace('/', '~1')}"
    sleeper.server.patch(ref_of(CRON), ({"op": "replace", "path": pointer, "value": text},), "slicewise")
    empty(sleeper)

    last = sleeper.at(MORNING).settle()

    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False and sleeper.kept._kept == {}
    assert json.loads(sleeper.value(ref_of(CRON), *NOTE)) == {"spec.paused": entry}
    [finding] = [one for one in last.outcome.findings if one.code == "original-unreadable"]
    assert "spec.paused is not used" in finding.message


def test_one_that_a_person_puts_to_sleep_for_good_carries_nothing_of_ours_any_more():
    sleeper = with_workloads(CRON)
    sleeper.at(NIGHT).settle()
    sleeper.edit(ref_of(CRON), ("spec", "suspend"), False)
    sleeper.edit(ref_of(CRON), ("spec", "suspend"), True)
    sleeper.put_override(
        True, sleeper.clock.now + timedelta(days=1)
    )  # another sleep, with no morning before it

    sleeper.settle()
    assert ref_of(CRON) not in notes(sleeper)
    sleeper.at("2026-11-27T12:00").settle()
    assert sleeper.value(ref_of(CRON), "spec", "suspend") is True


def test_a_copy_beside_our_pools_is_left_unchanged_at_night():
    sleeper = with_workloads(CRON)
    sleeper.at(NIGHT).settle()
    sleeper.create(
        {
            **cron_job("elsewhere", pool=None, slices=0),
            "metadata": {
                "name": "elsewhere",
                "namespace": "ml",
                "annotations": {ASLEEP_WAS: sleeper.value(ref_of(CRON), *NOTE)},
            },
        }
    )

    last = sleeper.settle()

    assert sleeper.value(ref_of(CRON)._replace(name="elsewhere"), "spec", "suspend") is None
    assert "original-copied" in codes(last)


def test_one_that_was_recreated_asleep_wakes_by_the_table_and_is_only_reported_without():
    for emptied in (False, True):
        sleeper = with_workloads(CRON)
        sleeper.at(NIGHT).settle()
        item = sleeper.live(ref_of(CRON))
        sleeper.delete(ref_of(CRON))
        metadata = {
            "name": "nightly",
            "namespace": "ml",
            "annotations": dict(item["metadata"]["annotations"]),
        }
        sleeper.create({**CRON, "metadata": metadata, "spec": item["spec"]})
        if emptied:
            empty(sleeper)

        last = sleeper.at(MORNING).settle()

        assert sleeper.value(ref_of(CRON), "spec", "suspend") is emptied
        assert ("original-copied" in codes(last)) is emptied
        assert (ref_of(CRON) in notes(sleeper)) is emptied


def test_a_tool_that_puts_a_note_of_long_ago_back_is_not_contested():
    sleeper = with_workloads(CRON)
    sleeper.at(NIGHT).settle()
    text = sleeper.value(ref_of(CRON), *NOTE)
    sleeper.at(MORNING).settle()
    sleeper.edit(ref_of(CRON), NOTE, text)
    sleeper.edit(ref_of(CRON), ("spec", "suspend"), True)

    last = sleeper.later(hours=1).settle()

    assert (
        sleeper.value(ref_of(CRON), "spec", "suspend") is True and sleeper.value(ref_of(CRON), *NOTE) == text
    )
    assert "original-copied" in codes(last) and not last.actions


def test_the_table_wins_where_both_know():
    sleeper = with_workloads(SCALER, TARGET)
    sleeper.at(NIGHT).settle()
    [key] = [key for key, kept in sleeper.kept._kept.items() if kept.ref == ref_of(SCALER)]
    sleeper.kept._kept[key] = replace(sleeper.kept._kept[key], original="3").sealed()

    sleeper.at(MORNING).settle()

    path = ("metadata", "annotations", "autoscaling.keda.sh/paused-replicas")
    assert sleeper.value(ref_of(SCALER), *path) == "3" and notes(sleeper) == set()


def test_an_item_of_the_table_that_was_edited_is_put_right_by_the_note():
    sleeper = with_workloads(SCALER, TARGET)
    sleeper.at(NIGHT).settle()
    [key] = [key for key, kept in sleeper.kept._kept.items() if kept.ref == ref_of(SCALER)]
    sleeper.kept._kept[key] = replace(sleeper.kept._kept[key], original="30")

    sleeper.settle()
    assert sleeper.kept._kept[key].intact and sleeper.kept._kept[key].original is None
    sleeper.at(MORNING).settle()

    assert sleeper.replicas(TARGET) == 2 and sleeper.kept._kept == {}


def test_an_object_whose_annotations_are_full_sleeps_by_the_table_alone():
    sleeper = with_workloads(CRON)
    sleeper.edit(ref_of(CRON), ("metadata", "annotations", "team/notes"), "x" * (256 * 1024 - 200))

    sleeper.at(NIGHT).settle()
    assert sleeper.value(ref_of(CRON), "spec", "suspend") is True and ref_of(CRON) not in notes(sleeper)

    sleeper.at(MORNING).settle()
    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False


# What nothing says any more


def test_a_node_pool_that_we_closed_is_opened_again_and_that_is_reported():
    sleeper = forgotten()

    woken = sleeper.at(MORNING).reconcile_once()

    assert sleeper.value(NODE_POOL, *NODES) is None
    assert sleeper.value(NODE_POOL, "spec", "limits", "nvidia.com/gpu") == "64"
    assert sleeper.value(NODE_POOL, "metadata", "annotations", ASLEEP) is None
    [finding] = [one for one in woken.outcome.findings if one.code == "sleep-forgotten"]
    assert "NodePool slicewise-shared-l4" in finding.message and "by hand" in finding.remedy
    assert sleeper.value(FALLBACK, *NODES) == "0", "that one has none by day"
    assert sleeper.settle().outcome.findings == ()


def test_a_node_pool_that_stayed_open_for_what_stays_awake_gets_all_its_nodes_again():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    stays = scaled("Deployment", "stays", 1)
    stays["metadata"]["labels"] = {"slicewise.dev/keep-awake": "true"}
    sleeper.create(stays)
    sleeper.at(NIGHT).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "1"
    empty(sleeper)
    sleeper.edit(NODE_POOL, NOTE, None)

    woken = sleeper.at(MORNING).reconcile_once()

    assert sleeper.value(NODE_POOL, *NODES) is None and "sleep-forgotten" in codes(woken)


def test_a_night_whose_table_was_emptied_keeps_workloads_that_are_seen_afterwards_as_ever():
    sleeper = forgotten()
    sleeper.edit(ref_of(SERVER), ("spec", "replicas"), 2)
    sleeper.later(hours=1).settle()
    assert sleeper.replicas(SERVER) == 0

    sleeper.at(MORNING).settle()
    assert sleeper.replicas(SERVER) == 2


def test_a_limit_of_no_nodes_that_a_person_set_is_left_and_reported():
    sleeper = Sleeper()
    sleeper.edit(NODE_POOL, NODES, "0")

    reported = sleeper.reconcile_once()

    assert sleeper.value(NODE_POOL, *NODES) == "0" and "closed-by-somebody" in codes(reported)
    [finding] = reported.outcome.findings
    assert "kubectl" in finding.message


# What a lost table must not lead to


def test_a_recovered_word_on_volumes_is_not_taken_for_one_that_stands():
    """A tool put both fields back, and our annotation stayed: scaled now, its volumes would go."""
    whole = ("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")
    sleeper = with_workloads(STORE, off_hours=RETAINING)
    sleeper.at(NIGHT).settle()
    for path, value in ((whole, "Delete"), (("spec", "replicas"), 2)):
        sleeper.edit(ref_of(STORE), path, value)
    volumes = claims(sleeper)
    empty(sleeper)

    sleeper.later(hours=1).settle()

    assert claims(sleeper) == volumes and volumes
    assert sleeper.replicas(STORE) == 2 or sleeper.value(ref_of(STORE), *whole) == "Retain"


def claims(sleeper: Sleeper) -> set[Ref]:
    return {ref for ref in sleeper.server.objects if ref.kind == "PersistentVolumeClaim"}


def test_a_forgotten_node_pool_is_opened_though_a_reconcile_was_waking_before_the_opening():
    sleeper = forgotten()

    sleeper.at("2026-11-26T06:50").settle()
    sleeper.at(MORNING).settle()

    assert sleeper.value(NODE_POOL, *NODES) is None


@pytest.mark.parametrize("how", ["kill_before", "kill_after"])
def test_a_forgotten_node_pool_is_opened_whatever_call_a_reconcile_ends_at(how):
    for call in range(40):
        sleeper = forgotten()
        sleeper.at(MORNING)
        setattr(sleeper.calls, how, len(sleeper.calls.made) + call)
        sleeper.reconcile_once()
        setattr(sleeper.calls, how, None)
        sleeper.settle()
        assert sleeper.value(NODE_POOL, *NODES) is None, call


def test_a_pause_after_the_table_was_emptied_keeps_nothing_asleep():
    sleeper = with_workloads(CRON, SERVER)
    sleeper.at(NIGHT).settle()
    empty(sleeper)
    sleeper.store.pause(sleeper.cluster.arn, "the table was emptied")

    sleeper.at(MORNING).settle()

    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False
    assert sleeper.value(NODE_POOL, *NODES) is None


def test_the_table_has_nothing_again_before_the_operators_were_notified_of_what_it_lost():
    sleeper = with_workloads(CRON, SERVER)
    sleeper.at(NIGHT).settle()
    empty(sleeper)
    sleeper.calls.fails = lambda what: Unavailable("503") if "publish" in str(what) else None
    sleeper.later(minutes=5).reconcile_once()
    assert sleeper.failed and not sleeper.kept.snapshots(sleeper.cluster.arn)

    sleeper.calls.fails = lambda what: None
    sleeper.later(minutes=5).settle()

    assert any(key.startswith("recovered ") for key in sleeper.notified)
    assert sleeper.kept.snapshots(sleeper.cluster.arn)
