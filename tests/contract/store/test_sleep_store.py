"""What is kept about clusters that sleep: the fake and the table, held to the same behaviour."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from slicewise.errors import Conflict, Refused
from slicewise.kube.ref import Ref
from slicewise.model.opening import Opening
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.policy.off_hours import Override

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


@pytest.fixture
def kept(table):
    return table.sleep


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


def test_what_we_had_written_before_is_kept_until_the_other_is_written(kept):
    kept.keep(A, snapshot())
    changed = snapshot().with_ours(1)
    kept.keep(A, changed)

    assert kept.snapshots(A) == (changed,) and changed.intact
    assert (changed.earlier, changed.ours, changed.original, changed.done) == ((0,), 1, 3, False)
    kept.keep(A, changed.as_done())
    assert kept.snapshots(A)[0].earlier == () and kept.snapshots(A)[0].intact


def test_the_count_at_which_it_resumes_is_kept_and_is_no_part_of_the_checksum(kept):
    """The release before reads such an item, and gives back what stood there."""
    resuming = snapshot(original=None, resume_at="14")
    kept.keep(A, resuming)

    assert kept.snapshots(A) == (resuming,)
    assert resuming.checksum == snapshot(original=None).checksum


def test_how_many_maps_were_made_for_a_field_is_kept_and_is_no_part_of_the_checksum(kept):
    nested = snapshot(original=None, made=2)
    kept.keep(A, nested)

    assert kept.snapshots(A) == (nested,)
    assert nested.checksum == snapshot(original=None).checksum


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
        kept.delete_snapshot(A, snapshot())
    kept.delete_snapshot(A, snapshot().as_done())
    kept.delete_snapshot(A, snapshot().as_done())
    assert kept.snapshots(A) == ()


def test_what_the_table_lacks_is_written_again_or_forgotten_without_having_been_there(kept):
    recovered = snapshot(version=0, recovered=True)
    kept.delete_snapshot(A, recovered)

    kept.keep(A, recovered.as_done())
    assert kept.snapshots(A) == (recovered.as_done(),) and not kept.snapshots(A)[0].recovered
    with pytest.raises(Conflict):
        kept.delete_snapshot(A, recovered)


def test_five_hundred_workloads_are_kept(kept):
    """More than a page of DynamoDB, whose names are long."""
    for number in range(500):
        kept.keep(A, snapshot(f"{'a' * 240}-{number:03}", original={"text": "x" * 2000}))

    assert len(kept.snapshots(A)) == 500


def test_what_a_person_said_last_counts(kept):
    assert kept.override(A) is None

    kept.put_override(A, Override(True, NOW, NOW + timedelta(hours=1), "ada"))
    last = Override(False, NOW, NOW + timedelta(hours=2), "bob", "a demo")
    kept.put_override(A, last)
    assert kept.override(A) == last and kept.override(B) is None

    kept.delete_override(A)
    assert kept.override(A) is None


def test_the_longest_names_that_kubernetes_has_are_kept(kept):
    group, kind, namespace, name = "g" * 253, "K" * 63, "n" * 63, "o" * 253
    longest = replace(snapshot(), ref=Ref(f"{group}/v1alpha1", kind, name, namespace)).sealed()
    cluster = f"arn:aws-us-gov:eks:us-gov-west-1:111122223333:cluster/{'c' * 100}"
    kept.keep(cluster, longest)
    kept.keep(cluster, longest.as_done())
    kept.delete_snapshot(cluster, longest.as_done())

    assert kept.snapshots(cluster) == ()


def test_what_is_kept_is_reported_in_one_order(kept):
    for name, namespace, kind in (
        ("b", "ml", "StatefulSet"),
        ("a", "web", "Deployment"),
        ("b", "ml", "Deployment"),
    ):
        kept.keep(A, replace(snapshot(), ref=Ref("apps/v1", kind, name, namespace)).sealed())

    assert [str(one.ref) for one in kept.snapshots(A)] == [
        "Deployment ml/b",
        "Deployment web/a",
        "StatefulSet ml/b",
    ]


def test_a_kept_value_is_a_copy_as_json_has_it(kept):
    original = {"budgets": ({"nodes": "10%"},)}
    kept.keep(A, snapshot(original=original))
    original["budgets"] = ()

    [found] = kept.snapshots(A)
    assert found.original == {"budgets": [{"nodes": "10%"}]} and found.intact


def test_what_is_larger_than_an_item_is_refused(kept):
    with pytest.raises(Refused):
        kept.keep(A, snapshot(original={"text": "x" * 410_000}))
    with pytest.raises(Refused):
        kept.put_override(A, Override(True, NOW, NOW, "ada", "→" * 140_000))

    assert kept.snapshots(A) == () and kept.override(A) is None


OPENING = Opening(NOW + timedelta(hours=10, minutes=50), NOW + timedelta(hours=11))


def test_when_a_cluster_must_be_awake_is_kept_until_it_is_deleted(kept):
    assert kept.opening(A) is None
    kept.put_opening(A, OPENING)
    kept.put_opening(A, replace(OPENING, due=NOW))

    assert kept.opening(A) == replace(OPENING, due=NOW) and kept.opening(B) is None
    kept.delete_opening(A)
    kept.delete_opening(A)
    assert kept.opening(A) is None


def test_an_opening_is_kept_in_utc_to_the_second(kept):
    berlin = timezone(timedelta(hours=1))
    kept.put_opening(A, Opening(NOW.astimezone(berlin), OPENING.opens.replace(microsecond=5)))

    assert kept.opening(A) == Opening(NOW, OPENING.opens)


def test_one_query_finds_the_openings_that_are_due_and_no_others(kept):
    clusters = [f"{A}{number}" for number in range(5)]
    for number, cluster in enumerate(clusters):
        kept.put_opening(cluster, replace(OPENING, due=NOW + timedelta(seconds=number)))
        kept.keep(cluster, snapshot())
    kept.delete_opening(clusters[1])

    assert kept.openings(NOW - timedelta(seconds=1)) == {}
    assert kept.openings(NOW + timedelta(seconds=3, milliseconds=4)) == {
        cluster: replace(OPENING, due=NOW + timedelta(seconds=number))
        for number, cluster in enumerate(clusters)
        if number in (0, 2, 3)
    }
