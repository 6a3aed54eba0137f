"""
What stands in the table and is not as this release writes it: one field more, one fewer, another type,
garbage. Every item that can be read is, and none stops the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest
from boto3.dynamodb.types import TypeSerializer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from moto import mock_aws
from slicewise.errors import Conflict
from slicewise.fleet.sweep import sweep
from slicewise.gateways import record_details
from slicewise.gateways.cost_store import CostTable
from slicewise.gateways.dynamodb_codec import values_of
from slicewise.gateways.sleep_store import SleepTable
from slicewise.gateways.state_store import StateTable
from slicewise.kube.ref import Ref
from slicewise.model.costs import CostDay
from slicewise.model.opening import Opening
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.planning.outcome import Finding, Stage
from slicewise.planning.record import UNKNOWN_TIME, Record
from slicewise.planning.retries import Retry, as_json
from slicewise.policy.off_hours import Override
from slicewise.trigger import DeploymentScope

from tests.contract.store import tables
from tests.support import functions_aws
from tests.support.mutations import ITEM_GARBAGE, mutated

NOW = datetime(2026, 11, 25, 19, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOME = DeploymentScope("111122223333", "eu-west-1")
A, B = (f"arn:aws:eks:eu-west-1:111122223333:cluster/{name}" for name in "ab")
RECORD = Record(
    A,
    "onboarding",
    Stage.BLOCKED,
    "Auto Mode is on",
    at=NOW,
    since=NOW - MINUTE,
    findings=(Finding("auto-mode", "Auto Mode is on.", "Use a cluster without it.", blocking=True),),
    changed=("apply NodePool a: it is not there",),
    policy="default",
    cluster_fingerprint="e1",
    observed_at=NOW,
    requeue_at=NOW + MINUTE,
    conflicts=2,
    notified=("pods wait 2026-11-26T06:00:00+00:00",),
    retries=(Retry("Deployment ml/server", "scale it", 2, NOW, "denied"),),
)
DETAILS = ({"pool": "shared", "n": 4}, {"pool": "batch", "n": 1})
RETRY = as_json(RECORD.retries[0])
SNAPSHOT = Snapshot(
    Ref("apps/v1", "Deployment", "server", "ml"), "spec.replicas", "uid-1", 3, 0, "2026-11-26T06:00", NOW
).sealed()
OVERRIDE = Override(False, NOW, NOW + timedelta(hours=2), "ada", "a demo")
MANY = settings(max_examples=150)


class Table:
    """The deployed table on moto, and what puts items there that no code of ours would."""

    def __init__(self) -> None:
        self._raw = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        tables.create(self._raw)
        session = functions_aws.session(region="eu-west-1")
        self.store = StateTable("slicewise-state", session, "eu-west-1")
        self.sleep = SleepTable("slicewise-state", session, "eu-west-1")
        self.costs = CostTable("slicewise-state", session, "eu-west-1")

    def item(self, cluster: str, sort: str) -> dict[str, Any]:
        """Its fields, without its key."""
        found = self._raw.get_item(TableName="slicewise-state", Key=_key(cluster, sort))["Item"]
        return {name: value for name, value in values_of(found).items() if name not in ("pk", "sk")}

    def put(self, cluster: str, sort: str, fields: dict[str, Any]) -> None:
        self._raw.put_item(TableName="slicewise-state", Item=_spelt(fields) | _key(cluster, sort))


def _key(cluster: str, sort: str) -> dict[str, Any]:
    return {"pk": {"S": f"cluster#{cluster}"}, "sk": {"S": sort}}


def _plain(value: Any) -> Any:
    """As boto3 takes it: whole numbers of 38 digits, and no empty set."""
    if isinstance(value, float):
        return Decimal(str(value))
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, dict) else value


@contextmanager
def a_table() -> Iterator[Table]:
    with mock_aws():
        table = Table()
        for cluster in (A, B):
            lease = table.store.acquire(cluster, "one", NOW, MINUTE)
            table.store.save(replace(RECORD, cluster=cluster), lease, history=False)
            table.store.release(lease)
        yield table


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with a_table() as made:
        yield made


class Answering:
    """DynamoDB that answers each question with these items: hundreds of them take moto minutes."""

    def __init__(self, items: tuple[dict[str, Any], ...], details: tuple[dict[str, Any], ...]) -> None:
        self._items, self._details = [_spelt(one) for one in items], [_spelt(one) for one in details]

    def get_paginator(self, name: str) -> Answering:
        return self

    def paginate(self, **question: Any) -> list[dict[str, Any]]:
        sort = question.get("ExpressionAttributeValues", {}).get(":sk", {"S": ""})["S"]
        return [{"Items": self._details if sort.startswith("detail#") else self._items}]

    def get_item(self, **question: Any) -> dict[str, Any]:
        return {"Item": self._items[0]}


def _spelt(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: TypeSerializer().serialize(_plain(value)) for name, value in fields.items()}


def answered(of: type[Any], *items: dict[str, Any], details: tuple[dict[str, Any], ...] = ()) -> Any:
    """A gateway whose table holds these; `details` are those of a record."""
    gateway = of("slicewise-state", None, "eu-west-1")
    gateway._db = Answering(items, details)
    return gateway


def items_like(value: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Its key stays: without one an item is in no table."""
    fields = {name: one for name, one in value.items() if name not in ("pk", "sk", "capability")}
    key = {name: one for name, one in value.items() if name not in fields}
    return mutated(fields, ITEM_GARBAGE).map(lambda found: found | key)


def written(write: Any, sort: str, cluster: str = A) -> dict[str, Any]:
    """An item as this release writes it."""
    with a_table() as table:
        write(table)
        return table.item(cluster, sort) | {"pk": f"cluster#{cluster}", "sk": sort}


# Records


def test_whatever_stands_in_one_record_the_fleet_is_listed():
    sort = "record#onboarding"
    whole, other = (written(lambda table: None, sort, cluster) for cluster in (A, B))

    @MANY
    @given(items_like(whole))
    @example({"pk": whole["pk"], "sk": sort})
    @example(whole | {"stage": "quarantined"})
    def holds(item):
        records = answered(StateTable, item, other).records()
        found, beside = {record.cluster: record for record in records}[A], replace(RECORD, cluster=B)

        assert beside in records
        assert replace(found, details=()) == found
        # What passes reckon with is what it seems to be.
        assert {asked.trigger.cluster for asked in sweep(["a", "b"], records, HOME)} == {A, B}
        assert found.capability == "onboarding" and isinstance(found.conflicts, int)
        assert found.at.tzinfo and found.since.tzinfo
        assert all(retry.at.tzinfo and retry.times >= 1 for retry in found.retries)

    holds()


def test_whatever_stands_in_its_details_a_record_is_read():
    whole = written(lambda table: None, "record#onboarding")
    details = [{**one, "pk": whole["pk"]} for one in record_details.items(DETAILS, "onboarding", 1, 7)]
    whole |= {"details_half": 1, "details_count": 2, "token": 7}

    @MANY
    @given(items_like(whole), items_like(details[0]))
    @example(whole, {"pk": whole["pk"], "sk": details[0]["sk"]})
    def holds(item, detail):
        found = answered(StateTable, item, details=(detail, details[1])).record(A, "onboarding")

        assert found.cluster == A and all(isinstance(one, dict) for one in found.details)
        if item == whole:
            # The other is whole; of this one all stands there, or is told to be unreadable, or was not ours.
            assert DETAILS[1] in found.details

    holds()


@pytest.mark.parametrize("change", [{"text": 5}, {"text": None}, {"token": "7"}], ids=str)
def test_a_detail_that_cannot_be_read_is_named_and_costs_the_others_nothing(change):
    whole = written(lambda table: None, "record#onboarding")
    first, second = [{**one, "pk": whole["pk"]} for one in record_details.items(DETAILS, "onboarding", 1, 7)]
    whole |= {"details_half": 1, "details_count": 2, "token": 7}

    found = answered(StateTable, whole, details=(first | change, second)).record(A, "onboarding")

    assert found.details == (DETAILS[1],)
    assert found.unreadable == ("detail#onboarding#1#0000",)


def test_details_that_a_release_of_before_kept_in_the_record_are_read(table):
    fields = table.item(A, "record#onboarding")
    old = {name: one for name, one in fields.items() if not name.startswith("details")}
    table.put(A, "record#onboarding", old | {"details": ['{"n": 4}', "[]", "{"]})

    found = table.store.record(A, "onboarding")
    assert found.details == ({"n": 4},) and found.unreadable == ("details[1]", "details[2]")


def test_the_table_names_the_fields_of_a_record_and_no_rename_in_code_changes_them(table):
    item = table.item(A, "record#onboarding")

    times = {"at": NOW, "since": NOW - MINUTE, "looked_at": NOW, "next_look": NOW + MINUTE}
    assert {name: item[name] for name in times} == {name: at.isoformat() for name, at in times.items()}
    assert (item["world"], item["policy"], item["next_try"], item["conflicts"]) == ("e1", "default", "", 2)
    assert set(item) == {
        *times,
        *("cluster", "capability", "stage", "reason", "findings", "changed", "policy", "fingerprint"),
        *("world", "conflicts", "notified", "retries", "next_try"),
        *("details_half", "details_count", "token"),
    }


def test_the_table_names_the_fields_of_findings_and_retries_and_no_rename_in_code_changes_them(table):
    item = table.item(A, "record#onboarding")

    assert item["findings"] == [
        {
            "code": "auto-mode",
            "says": "Auto Mode is on.",
            "remedy": "Use a cluster without it.",
            "refuses": True,
        }
    ]
    assert [json.loads(one) for one in item["retries"]] == [
        {
            "part": "Deployment ml/server",
            "action": "scale it",
            "times": 2,
            "at": NOW.isoformat(),
            "says": "denied",
            "conflict": False,
            "notified": False,
            "refused_by": "",
            "version": "",
        }
    ]


@pytest.mark.parametrize(
    ("before", "now"),
    [("left-alone", Stage.UNMANAGED), ("refused", Stage.BLOCKED), ("gone", Stage.DELETED)],
)
def test_a_stage_that_has_another_name_now_is_read(table, before, now):
    table.put(A, "record#onboarding", table.item(A, "record#onboarding") | {"stage": before})

    found = table.store.record(A, "onboarding")
    assert found.stage is now and found.unreadable == ()


def test_a_stage_that_only_another_release_knows_keeps_its_text(table):
    table.put(A, "record#onboarding", table.item(A, "record#onboarding") | {"stage": "quarantined"})

    found = table.store.record(A, "onboarding")
    assert found == replace(RECORD, stage="quarantined")
    assert found.unreadable == ()


def test_what_another_release_adds_is_left_out(table):
    fields = table.item(A, "record#onboarding")
    [finding] = fields["findings"]
    later = [json.dumps(RETRY | {"webhook": "x"})]
    table.put(
        A,
        "record#onboarding",
        fields | {"owner": "ada", "findings": [finding | {"links": ["x"]}], "retries": later},
    )

    assert table.store.record(A, "onboarding") == RECORD


@pytest.mark.parametrize(
    ("changes", "named", "counts_as"),
    [
        ({"since": "yesterday"}, "since", {"since": NOW}),
        ({"at": "2026-11-25T19:00:00"}, "at", {"at": NOW - MINUTE}),
        ({"next_look": 5}, "next_look", {"requeue_at": None}),
        ({"conflicts": "two"}, "conflicts", {"conflicts": 0}),
        ({"conflicts": True}, "conflicts", {"conflicts": 0}),
        ({"changed": ["a", 5]}, "changed[1]", {"changed": ("a",)}),
        ({"changed": "a"}, "changed", {"changed": ()}),
        ({"findings": [{"says": "x"}]}, "findings[0]", {"findings": ()}),
        ({"notified": ["a", None]}, "notified[1]", {"notified": ("a",)}),
        ({"retries": ['{"part": "a"}']}, "retries[0]", {"retries": ()}),
        ({"retries": [json.dumps(RETRY | {"at": "2026-11-25T19:00:00"})]}, "retries[0]", {"retries": ()}),
        ({"retries": [json.dumps(RETRY | {"times": "two"})]}, "retries[0]", {"retries": ()}),
        ({"details_count": "many"}, "details_count", {}),
        ({"policy": ["default"]}, "policy", {"policy": ""}),
    ],
)
def test_what_cannot_be_read_of_a_record_is_named_and_counts_as_absent(table, changes, named, counts_as):
    table.put(A, "record#onboarding", table.item(A, "record#onboarding") | changes)

    found = table.store.record(A, "onboarding")
    assert named in found.unreadable
    assert replace(found, unreadable=()) == replace(RECORD, **counts_as)


def test_a_record_that_is_saved_again_is_whole(table):
    table.put(A, "record#onboarding", {"capability": "onboarding"})
    found = table.store.record(A, "onboarding")
    assert found.unreadable

    table.store.save(found, table.store.acquire(A, "two", NOW, MINUTE), history=False)

    assert table.store.record(A, "onboarding").unreadable == ()


def test_an_item_that_is_no_record_is_not_listed_as_one(table):
    table.put(A, "details#onboarding#shared", {"capability": "onboarding"})

    assert len(table.store.records()) == 2


# Sleep


def test_whatever_stands_in_one_snapshot_the_others_are_read():
    other = replace(SNAPSHOT, ref=SNAPSHOT.ref._replace(name="other")).sealed()
    sort = "snapshot#apps/v1#Deployment#ml#{}#spec.replicas"
    whole = written(lambda table: table.sleep.keep(A, SNAPSHOT), sort.format("server"))
    beside = written(lambda table: table.sleep.keep(A, other), sort.format("other"))

    @MANY
    @given(items_like(whole))
    @example({"pk": whole["pk"], "sk": whole["sk"]})
    def holds(item):
        read, found = answered(SleepTable, item, beside).snapshots(A)

        assert found == other
        assert read.ref == SNAPSHOT.ref and isinstance(read.priority, int) and read.taken_at.tzinfo
        # It is used only where all that it rests on is what was kept.
        rests_on = ("original", "ours", "uid", "window")
        assert not read.intact or all(getattr(read, name) == getattr(SNAPSHOT, name) for name in rests_on)

    holds()


def test_a_snapshot_whose_key_another_release_made_is_known_by_its_key(table):
    table.put(A, "snapshot#v2#whatever", {"original": "3"})

    [found] = table.sleep.snapshots(A)
    assert (found.ref.kind, found.ref.name, found.intact) == ("", "snapshot#v2#whatever", False)


@pytest.mark.parametrize("written", [4, "-1", "1.5", "four", "", True, ["4"], "٤"])
def test_what_is_no_count_is_never_resumed_at(written, table):
    """KEDA 2.21 takes any text as a count, and then scales its target no more."""
    key = "snapshot#apps/v1#Deployment#ml#server#spec.replicas"
    table.sleep.keep(A, SNAPSHOT)
    table.put(A, key, {**table.item(A, key), "resume_at": written})

    [found] = table.sleep.snapshots(A)
    assert found.resume_at == "" and found.intact


def test_the_checksum_of_a_snapshot_is_the_same_in_every_release():
    """Kept by one release, given back by another: it must never be reckoned otherwise."""
    assert SNAPSHOT.checksum == "5c3983a8ca40334939e4f917dd9999e0"


def test_whatever_a_person_said_can_be_asked_for():
    whole = written(lambda table: table.sleep.put_override(A, OVERRIDE), "override")

    @MANY
    @given(items_like(whole))
    @example({"pk": whole["pk"], "sk": whole["sk"]})
    def holds(item):
        found = answered(SleepTable, item).override(A)

        assert isinstance(found.asleep, bool) and isinstance(found.reason, str)
        assert found.until.tzinfo and found.set_at.tzinfo
        # What it rests on is as it stands there, or is told to be unreadable.
        assert all(
            field in found.unreadable or _is_read(getattr(found, name), item[field])
            for name, field in (("asleep", "asleep"), ("set_at", "said_at"), ("until", "until"))
        )

    holds()


def _is_read(value: Any, stands: Any) -> bool:
    return value == (datetime.fromisoformat(stands) if isinstance(stands, str) else stands)


@pytest.mark.parametrize(
    ("changes", "holds", "asleep"),
    [
        ({}, True, True),
        ({"asleep": "yes"}, True, False),
        ({"asleep": None}, True, False),
        ({"until": "tomorrow"}, False, True),
        ({"until": None}, False, True),
        ({"said_at": 5}, True, True),
        ({"by": 5}, True, True),
        ({"reason": ["x"]}, True, True),
    ],
    ids=str,
)
def test_what_cannot_be_read_of_an_override_has_the_safe_side_count(table, changes, holds, asleep):
    """Awake until the end that it names; without an end the calendar counts."""
    table.sleep.put_override(A, replace(OVERRIDE, asleep=True))
    table.put(A, "override", table.item(A, "override") | changes)

    found = table.sleep.override(A)
    assert (found.holds(NOW), found.asleep) == (holds, asleep)
    assert found.unreadable == tuple(name for name in changes if changes[name] != "")


@pytest.mark.parametrize(
    ("changes", "counts_as"),
    [
        ({"opens": "in the morning"}, Opening(NOW, NOW)),
        ({"opens": None}, Opening(NOW, NOW)),
        ({"opens": 7}, Opening(NOW, NOW)),
        ({"opens": "2026-11-25T19:10:00"}, Opening(NOW, NOW)),
        ({"stage": "half awake"}, Opening(NOW, NOW + MINUTE)),
    ],
    ids=str,
)
def test_what_cannot_be_read_of_an_opening_keeps_it_due(table, changes, counts_as):
    table.sleep.put_opening(A, Opening(NOW, NOW + MINUTE))
    table.sleep.put_opening(B, Opening(NOW, NOW + MINUTE))
    table.put(A, "opening", table.item(A, "opening") | changes)

    assert table.sleep.opening(A) == counts_as
    assert table.sleep.openings(NOW) == {A: counts_as, B: Opening(NOW, NOW + MINUTE)}


def test_an_opening_whose_time_is_garbage_is_distinguished_from_any_that_we_write(table):
    table.sleep.put_opening(A, Opening(NOW, NOW + MINUTE))
    table.put(A, "opening", table.item(A, "opening") | {"due": "soon"})

    assert table.sleep.opening(A) == Opening(UNKNOWN_TIME, NOW + MINUTE)


def test_an_item_of_another_kind_in_the_index_is_no_opening(table):
    table.put(A, "watched", {"watch": "openings", "due": NOW.isoformat()})

    assert table.sleep.openings(NOW) == {}


# Switches and leases


@pytest.mark.parametrize("keeps", ["yes", 1, None, ["x"]], ids=str)
def test_where_nobody_can_read_whether_a_pause_keeps_asleep_what_sleeps_gets_its_morning(table, keeps):
    table.put(A, "pause", {"reason": "an audit", "keep_asleep": keeps})

    assert table.store.paused(A) == "an audit" and not table.store.keeps_asleep(A)


@pytest.mark.parametrize("fields", [{}, {"reason": 5}, {"reason": ""}, {"reason": None}], ids=str)
def test_a_pause_whose_reason_cannot_be_read_is_a_pause(table, fields):
    table.put(A, "pause", fields)

    assert table.store.paused(A)


@pytest.mark.parametrize("until", ["for ever", None, {"at": 5}, [1]], ids=str)
def test_a_lease_whose_end_cannot_be_read_keeps_nobody_out(table, until):
    table.put(A, "lease", {"token": 7, "until": until})

    assert table.store.acquire(A, "two", NOW, MINUTE).token == 8


@pytest.mark.parametrize("comes", ["soon", 5, [], {}, "2026-11-25T19:00:00"], ids=str)
def test_who_waits_for_a_lease_is_nobody_where_that_cannot_be_read(table, comes):
    """Nor by what a release of before kept in `waiting`, without a time: that would be trusted for ever."""
    table.put(A, "lease", {"token": 7, "waits#tuning": comes, "waiting": ["tuning"]})

    assert table.store.waiting(A, "tuning") is None
    table.store.note_waiting(A, "tuning", NOW)
    assert table.store.waiting(A, "tuning") == NOW


@pytest.mark.parametrize("fields", [{}, {"times": "now"}, {"times": [5, "x", NOW.isoformat()]}], ids=str)
def test_sweeps_that_cannot_be_read_are_left_out(table, fields):
    table._raw.put_item(
        TableName="slicewise-state",
        Item={name: TypeSerializer().serialize(value) for name, value in fields.items()}
        | {"pk": {"S": "fleet"}, "sk": {"S": "sweep"}},
    )

    assert table.store.sweeps() == (
        (NOW,) if len(fields.get("times", ())) == 3 and fields["times"] != "now" else ()
    )
    table.store.note_sweep(NOW + MINUTE, 1)
    assert table.store.sweeps()[-1] == NOW + MINUTE


@pytest.mark.parametrize("clusters", ["many", None, -4, True, 1.5], ids=str)
def test_a_fleet_whose_size_cannot_be_read_counts_as_small(table, clusters):
    item = {"pk": "fleet", "sk": "sweep", "times": [NOW.isoformat()], "clusters": _plain(clusters)}
    spelt = {name: TypeSerializer().serialize(value) for name, value in item.items()}
    table._raw.put_item(TableName="slicewise-state", Item=spelt)

    assert table.store.fleet_size() == 0 and table.store.sweeps() == (NOW,)


def test_a_day_of_costs_that_a_later_release_wrote_outlives_a_rollback(table):
    today = int(NOW.replace(hour=0).timestamp())
    earlier, next_day = (
        CostDay(today, today + 1200, b"of release 1"),
        CostDay(today + 86_400, today + 86_400, b"1"),
    )
    table.costs.keep(A, earlier, NOW)
    sort = f"cost#{today:010}"
    later = {"content": b"of release 2", "through": today + 600, "day": today, "version": 2}
    table.put(A, sort, later)

    assert table.costs.newest(A, NOW) is None
    with pytest.raises(Conflict):
        table.costs.keep(A, earlier, NOW)
    table.costs.keep(A, next_day, NOW)

    assert table.item(A, sort) == later
    assert table.costs.days(A, today, today + 86_400) == (next_day,)
