from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from slicewise.errors import LeaseHeld, Refused
from slicewise.gateways.dynamodb import StateTable
from slicewise.outcomes import Finding, Stage
from slicewise.ports import Store, Waiting
from slicewise.records import Record

from tests.fakes.calls import Calls
from tests.fakes.store import FakeStore

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
A = "arn:aws:eks:eu-west-1:111122223333:cluster/a"
B = "arn:aws:eks:eu-west-1:111122223333:cluster/b"


def record(cluster: str = A, **changes: object) -> Record:
    plain = Record(cluster, "onboarding", Stage.ONBOARDED, "nothing to change", at=NOW, since=NOW)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture(params=["fake", "gateway"])
def store(request) -> Store:
    return FakeStore(Calls()) if request.param == "fake" else request.getfixturevalue("table")


@pytest.fixture
def table(session, admin) -> StateTable:
    keys = [("pk", "HASH"), ("sk", "RANGE")]
    index_keys = [("capability", "HASH"), ("pk", "RANGE")]
    admin.client("dynamodb").create_table(
        TableName="slicewise-state",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "capability")
        ],
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "records",
                "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in index_keys],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    return StateTable("slicewise-state", session, "eu-west-1")


def test_a_lease_keeps_others_out_until_it_expires(store):
    store.acquire(A, "one", NOW, MINUTE)

    with pytest.raises(LeaseHeld):
        store.acquire(A, "two", NOW + MINUTE - timedelta(seconds=1), MINUTE)
    store.acquire(A, "two", NOW + MINUTE, MINUTE)


def test_a_released_lease_is_free_at_once(store):
    store.release(store.acquire(A, "one", NOW, MINUTE))

    store.acquire(A, "two", NOW, MINUTE)


def test_leases_of_two_clusters_do_not_touch(store):
    store.acquire(A, "one", NOW, MINUTE)

    store.acquire(B, "two", NOW, MINUTE)


def test_every_holder_gets_a_greater_token(store):
    first = store.acquire(A, "one", NOW, MINUTE)
    store.release(first)
    second = store.acquire(A, "two", NOW, MINUTE)
    third = store.acquire(A, "three", NOW + 2 * MINUTE, MINUTE)

    assert first.token < second.token < third.token


def test_renewing_pushes_the_end_out(store):
    lease = store.acquire(A, "one", NOW, MINUTE)
    store.renew(lease, NOW + MINUTE / 2, MINUTE)

    with pytest.raises(LeaseHeld):
        store.acquire(A, "two", NOW + MINUTE, MINUTE)


def test_who_lost_the_lease_can_neither_renew_it_nor_end_the_next_holders(store):
    late = store.acquire(A, "one", NOW, MINUTE)
    store.acquire(A, "two", NOW + MINUTE, MINUTE)

    with pytest.raises(LeaseHeld):
        store.renew(late, NOW + MINUTE, MINUTE)
    store.release(late)
    with pytest.raises(LeaseHeld):
        store.acquire(A, "three", NOW + MINUTE, MINUTE)


def test_who_waits_for_a_lease_is_known_until_its_kind_has_one(store):
    lease = store.acquire(A, "one", NOW, MINUTE, "onboarding")
    assert store.waiting(A) == Waiting(lease.token)

    for capability in ("tuning", "onboarding", "tuning"):
        store.note_waiting(A, capability, lease.token)
    assert store.waiting(A) == Waiting(lease.token, frozenset({"tuning", "onboarding"}))
    assert store.waiting(B).capabilities == frozenset()

    store.release(lease)
    second = store.acquire(A, "two", NOW, MINUTE, "tuning")
    assert store.waiting(A) == Waiting(second.token, frozenset({"onboarding"}))


def test_nobody_is_noted_as_waiting_for_a_lease_that_has_ended(store):
    first = store.acquire(A, "one", NOW, MINUTE)
    second = store.acquire(A, "two", NOW + MINUTE, MINUTE)

    store.note_waiting(A, "tuning", first.token)
    store.note_waiting(B, "tuning", first.token)

    assert store.waiting(A) == Waiting(second.token)
    assert store.waiting(B) == Waiting()


def test_a_record_comes_back_as_it_was_saved(store):
    whole = record(
        stage=Stage.REFUSED,
        findings=(Finding("auto-mode", "Auto Mode is on.", "Use a cluster without it.", refuses=True),),
        details=({"pool": "slicewise-shared-l4", "n": 4, "slowdown": 1.25, "bounds": [{"what": "memory"}]},),
        changed=("apply NodePool a: it is not there",),
        policy="default",
        fingerprint="f00",
        world="ba5",
        looked_at=NOW,
        next_look=NOW + MINUTE,
        conflicts=2,
        notified=("moved Deployment ml/a 2026-03-02T09:00:00Z",),
    )
    store.save(whole, store.acquire(A, "one", NOW, MINUTE), history=True)

    assert store.record(A, "onboarding") == whole
    assert store.record(A, "tuning") is None
    assert store.record(B, "onboarding") is None


def test_details_of_any_length_come_back_as_they_were_saved(store):
    long = [{"pool": f"pool-{i}", "text": "ä" * 60_000 * i} for i in range(12)]
    for details in (long, long[:1], (), long[3:], long):
        lease = store.acquire(A, "one", NOW, MINUTE)
        store.save(record(details=tuple(details)), lease, history=True)
        store.release(lease)

        assert store.record(A, "onboarding").details == tuple(details)
        assert store.record(A, "tuning") is None


@pytest.mark.parametrize(
    "much",
    [
        {"reason": "ä" * 205_000},
        {"findings": (Finding("a", "b" * 300_000, "c" * 120_000),)},
        {"changed": ("a" * 4_000,) * 103},
    ],
    ids=lambda much: next(iter(much)),
)
@pytest.mark.parametrize("history", [True, False])
def test_a_record_that_does_not_fit_into_an_item_is_refused(store, much, history):
    lease = store.acquire(A, "one", NOW, MINUTE)
    store.save(record(reason="before"), lease, history=False)

    with pytest.raises(Refused):
        store.save(record(**much), lease, history=history)
    assert store.record(A, "onboarding").reason == "before"


def test_a_record_that_just_fits_into_an_item_is_kept(store):
    lease = store.acquire(A, "one", NOW, MINUTE)

    store.save(record(reason="ä" * 200_000), lease, history=False)


def test_a_later_record_takes_the_place_of_the_one_before(store):
    lease = store.acquire(A, "one", NOW, MINUTE)
    store.save(record(reason="first", looked_at=NOW), lease, history=False)
    store.save(record(reason="second"), lease, history=False)

    assert store.record(A, "onboarding") == record(reason="second")


def test_a_pass_that_lost_its_lease_cannot_overwrite_a_later_ones_record(store):
    late = store.acquire(A, "one", NOW, MINUTE)
    store.save(record(reason="later"), store.acquire(A, "two", NOW + MINUTE, MINUTE), history=True)

    with pytest.raises(LeaseHeld):
        store.save(record(reason="late"), late, history=False)
    assert store.record(A, "onboarding").reason == "later"


def test_the_fleet_is_listed_without_its_history(store):
    for cluster in (A, B):
        lease = store.acquire(cluster, "one", NOW, MINUTE)
        for minute in range(3):
            store.save(record(cluster, at=NOW + minute * MINUTE), lease, history=True)
        store.save(record(cluster, capability="tuning", details=({"n": 4},)), lease, history=True)

    listed = sorted((found.cluster, found.capability, found.at) for found in store.records())
    assert {found.details for found in store.records()} == {()}
    assert listed == [
        (cluster, capability, at)
        for cluster in (A, B)
        for capability, at in (("onboarding", NOW + 2 * MINUTE), ("tuning", NOW))
    ]


def test_forgetting_a_cluster_leaves_the_others(store):
    for cluster in (A, B):
        store.save(record(cluster), store.acquire(cluster, "one", NOW, MINUTE), history=True)
        store.pause(cluster, "maintenance")

    store.forget(A)
    store.forget(A)

    assert store.record(A, "onboarding") is None
    assert store.paused(A) is None
    assert [found.cluster for found in store.records()] == [B]
    assert store.paused(B) == "maintenance"


def test_a_forgotten_clusters_token_still_grows(store):
    before = store.acquire(A, "one", NOW, MINUTE)
    store.forget(A)
    store.release(before)

    assert store.acquire(A, "two", NOW, MINUTE).token > before.token


@pytest.mark.parametrize("paused", [A, None], ids=["one cluster", "the fleet"])
def test_a_pause_holds_until_it_is_lifted(store, paused):
    store.pause(paused, "the auditors are here")
    assert store.paused(A) == "the auditors are here"
    assert store.paused(B) == (None if paused else "the auditors are here")

    store.resume(paused)
    store.resume(paused)
    assert store.paused(A) is None


# Of the table alone: what a pass leaves that ends between two of its calls.

DETAILS = tuple({"pool": name, "text": name * 350_000} for name in "abc")


def kept_items(admin):
    return admin.client("dynamodb").scan(TableName="slicewise-state")["Items"]


@pytest.mark.parametrize("puts", range(7))
def test_a_pass_killed_while_it_saves_leaves_the_record_before_whole(table, monkeypatch, puts):
    lease = table.acquire(A, "one", NOW, MINUTE)
    table.save(record(details=DETAILS), lease, history=False)
    table.release(lease)
    later, put = table.acquire(A, "two", NOW, MINUTE), table._db.put_item
    left = iter(range(puts))

    def killed(**options):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return put(**options)

    monkeypatch.setattr(table._db, "put_item", killed)
    with pytest.raises(KeyboardInterrupt):
        table.save(record(details=DETAILS[::-1], reason="later"), later, history=False)
    monkeypatch.undo()

    assert table.record(A, "onboarding") == record(details=DETAILS)
    third = table.acquire(A, "three", NOW + MINUTE, MINUTE)
    table.save(record(details=DETAILS[1:]), third, history=False)
    assert table.record(A, "onboarding").details == DETAILS[1:]


def test_a_pass_that_lost_its_lease_leaves_the_details_of_a_later_one(table):
    late = table.acquire(A, "one", NOW, MINUTE)
    table.save(record(details=DETAILS), table.acquire(A, "two", NOW + MINUTE, MINUTE), history=False)

    for _ in range(2):
        with pytest.raises(LeaseHeld):
            table.save(record(details=DETAILS[:1]), late, history=False)
    assert table.record(A, "onboarding").details == DETAILS


def test_a_person_reads_either_the_record_before_or_the_one_after(table, monkeypatch):
    """Between the read of a record and that of its details, two passes save theirs."""
    for number in range(2):
        lease = table.acquire(A, "one", NOW + number * MINUTE, MINUTE)
        table.save(record(details=DETAILS), lease, history=False)
    read, later = table._details, [DETAILS[:2], DETAILS[1:]]

    def overtaken(*arguments):
        while later:
            lease = table.acquire(A, "two", NOW + timedelta(hours=3 - len(later)), MINUTE)
            table.save(record(details=later.pop(0)), lease, history=False)
        return read(*arguments)

    monkeypatch.setattr(table, "_details", overtaken)

    assert table.record(A, "onboarding").details == DETAILS[1:]


def test_items_of_details_are_no_records(table, admin):
    table.save(record(details=DETAILS), table.acquire(A, "one", NOW, MINUTE), history=True)
    sizes = [len(str(item)) for item in kept_items(admin)]

    assert len(table.records()) == 1 and max(sizes) < 400_000
    table.forget(A)
    assert [item["sk"]["S"] for item in kept_items(admin)] == ["lease"]


def test_details_that_an_older_release_kept_in_the_record_itself_are_read(table, admin):
    table.save(record(), table.acquire(A, "one", NOW, MINUTE), history=False)
    admin.client("dynamodb").update_item(
        TableName="slicewise-state",
        Key={"pk": {"S": f"cluster#{A}"}, "sk": {"S": "record#onboarding"}},
        UpdateExpression="SET details = :old REMOVE details_count, details_half",
        ExpressionAttributeValues={":old": {"L": [{"S": '{"pool": "a"}'}]}},
    )

    assert table.record(A, "onboarding").details == ({"pool": "a"},)
