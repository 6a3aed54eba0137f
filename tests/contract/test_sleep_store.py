"""What is kept about clusters that sleep: the fake and the table, held to the same behaviour."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from slicewise.errors import Conflict
from slicewise.gateways.dynamodb import StateTable
from slicewise.gateways.sleep_table import SleepTable
from slicewise.model import Ref
from slicewise.off_hours import Override
from slicewise.snapshots import Snapshot

from tests.contract.test_store import store  # noqa: F401
from tests.fakes.calls import Calls
from tests.fakes.sleep_store import FakeSleepStore

NOW = datetime(2026, 11, 25, 19, tzinfo=UTC)
A, B = (f"arn:aws:eks:eu-west-1:111122223333:cluster/{name}" for name in "ab")


def snapshot(name: str = "server", original: object = 3, **changes: object) -> Snapshot:
    plain = Snapshot(
        Ref("apps/v1", "Deployment", name, "ml"),
        "spec.replicas",
        "uid-1",
        original,
        0,
        "2026-11-26T06:00",
        NOW,
    )
    return replace(plain, **changes).sealed()  # type: ignore[arg-type]


@pytest.fixture(params=["fake", "gateway"])
def kept(request):
    if request.param == "fake":
        return FakeSleepStore(Calls())
    session, admin = map(request.getfixturevalue, ("session", "admin"))
    keys = [("pk", "HASH"), ("sk", "RANGE")]
    admin.client("dynamodb").create_table(
        TableName="slicewise-state",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
    )
    return SleepTable("slicewise-state", session, "eu-west-1")


@pytest.mark.parametrize(
    "original",
    [3, 0, True, None, "2", {"budgets": [{"nodes": "10%"}], "consolidateAfter": "10m"}],
    ids=["a count", "zero", "a flag", "nothing", "a text", "settings"],
)
def test_what_is_kept_comes_back_as_it_was(kept, original):
    one = snapshot(original=original, priority=1000, slices=4)
    kept.keep(A, one)

    assert kept.snapshots(A) == (one,) and one.intact
    assert kept.snapshots(B) == ()


def test_for_which_morning_it_was_woken_is_kept(kept):
    kept.keep(A, snapshot())
    kept.keep(A, snapshot().as_woken("2026-11-26T06:00"))

    assert kept.snapshots(A) == (snapshot().as_woken("2026-11-26T06:00"),)


def test_a_snapshot_is_written_once(kept):
    kept.keep(A, snapshot())

    with pytest.raises(Conflict):
        kept.keep(A, snapshot(original=0))
    assert kept.snapshots(A)[0].original == 3
    kept.keep(B, snapshot(original=0))


def test_only_the_version_before_is_replaced(kept):
    kept.keep(A, snapshot())
    kept.keep(A, snapshot().as_done())

    assert kept.snapshots(A)[0].done
    with pytest.raises(Conflict):
        kept.keep(A, snapshot().as_done())


def test_what_is_forgotten_is_gone_and_only_the_version_that_was_seen(kept):
    kept.keep(A, snapshot())
    kept.keep(A, snapshot().as_done())

    with pytest.raises(Conflict):
        kept.forget_snapshot(A, snapshot())
    kept.forget_snapshot(A, snapshot().as_done())
    kept.forget_snapshot(A, snapshot().as_done())
    assert kept.snapshots(A) == ()


def test_five_hundred_workloads_are_kept(kept):
    """More than a page of DynamoDB, whose names are long."""
    for number in range(500):
        kept.keep(A, snapshot(f"{'a' * 240}-{number:03}", original={"text": "x" * 2000}))

    assert len(kept.snapshots(A)) == 500


def test_what_a_person_said_last_counts(kept):
    assert kept.override(A) is None

    kept.say(A, Override(True, NOW, NOW + timedelta(hours=1), "ada"))
    last = Override(False, NOW, NOW + timedelta(hours=2), "bob", "a demo")
    kept.say(A, last)
    assert kept.override(A) == last and kept.override(B) is None

    kept.unsay(A)
    assert kept.override(A) is None


def test_what_is_kept_of_a_cluster_that_is_gone_goes_with_it(session, admin):
    store_of = StateTable("slicewise-state", session, "eu-west-1")
    admin.client("dynamodb").create_table(
        TableName="slicewise-state",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    table = SleepTable("slicewise-state", session, "eu-west-1")
    table.keep(A, snapshot())

    store_of.forget(A)

    assert table.snapshots(A) == ()
