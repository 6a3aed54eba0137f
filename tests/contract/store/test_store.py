from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from botocore.awsrequest import AWSResponse
from slicewise.errors import LeaseHeld, Refused
from slicewise.fleet.sweep import sweep
from slicewise.gateways.state_store import StateTable
from slicewise.kube.ref import Ref
from slicewise.model.capabilities import CAPABILITIES
from slicewise.model.opening import Opening
from slicewise.model.sweeps import KEPT
from slicewise.planning.actions import Scale
from slicewise.planning.outcome import Finding, Outcome, Plan, Stage
from slicewise.planning.record import Record
from slicewise.planning.retries import Retry
from slicewise.policy.off_hours import Override
from slicewise.ports import Begun, Lease, Ports, Store
from slicewise.reconcile.reconciler import Capability, Reconciler
from slicewise.trigger import DeploymentScope, Trigger

from tests.contract.store import tables
from tests.contract.store.test_sleep_store import snapshot
from tests.fakes.aws.queues import FakeQueues
from tests.fakes.calls import Calls
from tests.fakes.clock import Clock
from tests.support import builders

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
A = "arn:aws:eks:eu-west-1:111122223333:cluster/a"
B = "arn:aws:eks:eu-west-1:111122223333:cluster/b"

_NOTHING = BytesIO()
_NOTHING.stream = lambda *_, **__: iter(())  # type: ignore[attr-defined]


def record(cluster: str = A, **changes: object) -> Record:
    plain = Record(cluster, "onboarding", Stage.ONBOARDED, "nothing to change", at=NOW, since=NOW)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def state_table(session, admin) -> StateTable:
    return tables.in_dynamodb(session, admin).store


def test_a_lease_keeps_others_out_until_it_expires(store):
    store.acquire(A, "one", NOW, MINUTE)

    with pytest.raises(LeaseHeld):
        store.acquire(A, "two", NOW + MINUTE - timedelta(seconds=1), MINUTE)
    store.acquire(A, "two", NOW + MINUTE, MINUTE)


def test_a_lease_whose_answer_was_lost_is_had_when_botocore_asks_again(state_table):
    lost = list[int]()

    def lose_the_first_answer(request, **_):
        """moto is asked, too; botocore takes the first answer."""
        if lost:
            return None
        lost.append(503)
        return AWSResponse(request.url, 503, {}, _NOTHING)

    state_table._db.meta.events.register_first("before-send.dynamodb.UpdateItem", lose_the_first_answer)

    lease = state_table.acquire(A, "one", NOW, MINUTE)

    assert lost
    with pytest.raises(LeaseHeld):
        state_table.acquire(A, "one", NOW, MINUTE)
    state_table.release(lease)
    assert state_table.acquire(A, "two", NOW, MINUTE).token > lease.token


def test_a_released_lease_is_free_at_once(store):
    store.release(store.acquire(A, "one", NOW, MINUTE))

    store.acquire(A, "two", NOW, MINUTE)


def test_leases_of_two_clusters_do_not_touch(store):
    store.acquire(A, "one", NOW, MINUTE)

    store.acquire(B, "two", NOW, MINUTE)


def test_who_never_had_the_lease_can_neither_renew_nor_end_it(store):
    stranger = Lease(A, "nobody", 7, NOW + MINUTE)

    with pytest.raises(LeaseHeld):
        store.renew(stranger, NOW, MINUTE)
    store.release(stranger)

    store.acquire(A, "one", NOW, MINUTE)


def test_every_holder_gets_a_greater_token(store):
    first = store.acquire(A, "one", NOW, MINUTE)
    store.release(first)
    second = store.acquire(A, "two", NOW, MINUTE)
    third = store.acquire(A, "three", NOW + 2 * MINUTE, MINUTE)

    assert first.token < second.token < third.token


def test_a_lease_that_is_lost_begins_again_beyond_every_token_of_before(store):
    """DynamoDB lets it expire after 90 days. Records stay, and only a later token replaces one."""
    for minute in range(3):
        lease = store.acquire(A, "one", NOW + minute * MINUTE, MINUTE)
        store.save(record(reason="before"), lease, history=False)
        store.release(lease)
    lose_the_lease(store)

    later = NOW + timedelta(days=91)
    lease = store.acquire(A, "two", later, MINUTE)
    store.save(record(reason="after", at=later), lease, history=False)

    assert store.record(A, "onboarding").reason == "after"


def lose_the_lease(store: Store) -> None:
    if isinstance(store, StateTable):
        store._delete({"pk": f"cluster#{A}", "sk": "lease"})
    else:
        store._leases.clear()


def test_a_reconcile_is_seen_from_its_lease_to_its_end(store):
    assert store.begun(A) == ()

    first = store.acquire(A, "stream 1", NOW, MINUTE, "onboarding")
    assert store.begun(A) == (Begun("onboarding", NOW, NOW + MINUTE, "stream 1"),)

    store.release(store.renew(first, NOW, MINUTE))
    assert store.begun(A) == store.begun(B) == ()


def test_a_reconcile_that_never_ended_is_seen_until_its_kind_has_ended_one(store):
    store.acquire(A, "stream 1", NOW, MINUTE, "tuning")
    later = NOW + MINUTE
    store.release(store.acquire(A, "stream 2", later, MINUTE, "onboarding"))
    store.release(store.acquire(A, "a person", later, MINUTE))
    assert store.begun(A) == (Begun("tuning", NOW, NOW + MINUTE, "stream 1"),)

    again = store.acquire(A, "stream 3", later, MINUTE, "tuning")
    assert [begun.holder for begun in store.begun(A)] == ["stream 3"]
    store.release(again)
    assert store.begun(A) == ()


def test_the_newest_sweeps_are_remembered_oldest_first(store):
    assert store.sweeps() == ()

    for hour in range(KEPT + 2):
        store.note_sweep(NOW + hour * timedelta(hours=1), hour)

    assert store.sweeps() == tuple(NOW + hour * timedelta(hours=1) for hour in range(2, KEPT + 2))


def test_the_fleet_is_as_large_as_the_newest_sweep_found_it(store):
    assert store.fleet_size() == 0

    store.note_sweep(NOW, 1000)
    store.note_sweep(NOW + MINUTE, 7)

    assert store.fleet_size() == 7


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
    assert waiting(store, A) == {}

    for late, capability in enumerate((*CAPABILITIES, *CAPABILITIES)):
        store.note_waiting(A, capability, NOW + late * timedelta(seconds=1.5))
    noted = {name: NOW + (number + 3) * timedelta(seconds=1.5) for number, name in enumerate(CAPABILITIES)}
    assert waiting(store, A) == noted and waiting(store, B) == {}

    store.release(lease)
    store.acquire(A, "two", NOW, MINUTE, "tuning")
    del noted["tuning"]
    assert waiting(store, A) == noted


def test_a_lease_of_no_capability_leaves_those_that_wait(store):
    store.release(store.acquire(A, "one", NOW, MINUTE))
    store.note_waiting(A, "tuning", NOW)

    store.acquire(A, "a person", NOW, MINUTE)

    assert waiting(store, A) == {"tuning": NOW}


def test_where_there_never_was_a_lease_nobody_is_noted_as_waiting_for_it(store):
    store.note_waiting(B, "tuning", NOW)

    assert waiting(store, B) == {}


def waiting(store: Store, cluster: str) -> dict[str, datetime]:
    noted = {capability: store.waiting(cluster, capability) for capability in CAPABILITIES}
    return {capability: comes for capability, comes in noted.items() if comes}


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_record_comes_back_as_it_was_saved(store, capability):
    whole = record(
        capability=capability,
        stage=Stage.BLOCKED,
        findings=(Finding("auto-mode", "Auto Mode is on.", "Use a cluster without it.", blocking=True),),
        details=({"pool": "slicewise-shared-l4", "n": 4, "slowdown": 1.25, "bounds": [{"what": "memory"}]},),
        changed=("apply NodePool a: it is not there",),
        policy="default",
        fingerprint="f00",
        cluster_fingerprint="ba5",
        observed_at=NOW,
        requeue_at=NOW + MINUTE,
        conflicts=2,
        notified=("moved Deployment ml/a 2026-03-02T09:00:00Z",),
        retries=(Retry("Deployment ml/a", "scale it", 2, NOW, "denied", conflict=True, notified=True),),
        skew_since=NOW,
        next_try="try 1 of 5 failed; the queue tries again in 10 s",
    )
    store.save(whole, store.acquire(A, "one", NOW, MINUTE), history=True)

    assert store.record(A, capability) == whole
    assert [store.record(A, other) for other in CAPABILITIES if other != capability] == [None, None]
    assert store.record(B, capability) is None


def test_details_come_back_as_json_has_them(store):
    """What decides on them next must not meet a tuple in tests and a list in AWS."""
    reported = ({"nodes": ("a", "b"), "by": {"n": None, "share": 0.5}, "n": True},)
    store.save(record(details=reported), store.acquire(A, "one", NOW, MINUTE), history=False)

    assert store.record(A, "onboarding").details == (
        {"nodes": ["a", "b"], "by": {"n": None, "share": 0.5}, "n": True},
    )


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
    store.save(record(reason="first", observed_at=NOW), lease, history=False)
    store.save(record(reason="second"), lease, history=False)

    assert store.record(A, "onboarding") == record(reason="second")


def test_a_reconcile_that_lost_its_lease_cannot_overwrite_a_later_ones_record(store):
    late = store.acquire(A, "one", NOW, MINUTE)
    store.save(record(reason="later"), store.acquire(A, "two", NOW + MINUTE, MINUTE), history=True)

    with pytest.raises(LeaseHeld):
        store.save(record(reason="late"), late, history=False)
    assert store.record(A, "onboarding").reason == "later"


UNHEARD_OF = "defragmentation"


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


@pytest.mark.parametrize("capability", [*CAPABILITIES, UNHEARD_OF])
def test_no_capability_is_left_out_of_the_fleet(store, capability):
    """Also one that another release keeps records of: its cluster has to be forgotten as well."""
    store.save(record(A, capability=capability), store.acquire(A, "one", NOW, MINUTE), history=True)

    assert [(found.cluster, found.capability) for found in store.records()] == [(A, capability)]


@pytest.mark.parametrize("onboarding", [stage for stage in Stage if stage is not Stage.DELETED])
def test_a_cluster_that_sleeps_is_swept_whatever_became_of_its_onboarding(store, onboarding):
    """It may have lost the message that was to wake it."""
    lease = store.acquire(A, "one", NOW, MINUTE)
    store.save(record(A, stage=onboarding), lease, history=False)
    store.save(record(A, capability="off-hours", stage=Stage.ASLEEP), lease, history=False)

    triggers = sweep(["a"], store.records(), DeploymentScope("111122223333", "eu-west-1"))

    assert "off-hours" in {one.capability for one in triggers}


def test_a_fleet_of_more_records_than_one_answer_holds_is_listed_whole(store):
    """A page is 1 MiB."""
    clusters = [f"arn:aws:eks:eu-west-1:111122223333:cluster/{number:02}-{'c' * 97}" for number in range(12)]
    for cluster in clusters:
        lease = store.acquire(cluster, "one", NOW, MINUTE)
        store.save(record(cluster, details=({"text": "x" * 140_000},)), lease, history=True)

    assert sorted(found.cluster for found in store.records()) == clusters


def test_forgetting_a_cluster_leaves_the_others(store):
    for cluster in (A, B):
        store.save(record(cluster), store.acquire(cluster, "one", NOW, MINUTE), history=True)
        store.pause(cluster, "maintenance")

    store.delete_state(A)
    store.delete_state(A)

    assert store.record(A, "onboarding") is None
    assert store.paused(A) is None
    assert [found.cluster for found in store.records()] == [B]
    assert store.paused(B) == "maintenance"


def test_what_sleeps_is_forgotten_with_its_cluster_and_no_other_is(table):
    said = Override(True, NOW, NOW + MINUTE, "ada")
    for cluster in (A, B):
        table.sleep.keep(cluster, snapshot())
        table.sleep.put_override(cluster, said)
        table.sleep.put_opening(cluster, Opening(NOW, NOW + MINUTE))

    table.store.delete_state(A)

    assert table.sleep.snapshots(A) == () and table.sleep.override(A) is None
    assert table.sleep.openings(NOW) == {B: Opening(NOW, NOW + MINUTE)}
    assert table.sleep.snapshots(B) == (snapshot(),) and table.sleep.override(B) == said


def test_a_forgotten_clusters_token_still_grows(store):
    before = store.acquire(A, "one", NOW, MINUTE)
    store.delete_state(A)
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
    return admin.client("dynamodb").scan(TableName=tables.NAME)["Items"]


@pytest.mark.parametrize("puts", range(7))
def test_a_reconcile_killed_while_it_saves_leaves_the_record_before_whole(state_table, monkeypatch, puts):
    lease = state_table.acquire(A, "one", NOW, MINUTE)
    state_table.save(record(details=DETAILS), lease, history=False)
    state_table.release(lease)
    later, put = state_table.acquire(A, "two", NOW, MINUTE), state_table._db.put_item
    left = iter(range(puts))

    def killed(**options):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return put(**options)

    monkeypatch.setattr(state_table._db, "put_item", killed)
    with pytest.raises(KeyboardInterrupt):
        state_table.save(record(details=DETAILS[::-1], reason="later"), later, history=False)
    monkeypatch.undo()

    assert state_table.record(A, "onboarding") == record(details=DETAILS)
    third = state_table.acquire(A, "three", NOW + MINUTE, MINUTE)
    state_table.save(record(details=DETAILS[1:]), third, history=False)
    assert state_table.record(A, "onboarding").details == DETAILS[1:]


def test_a_reconcile_that_lost_its_lease_leaves_the_details_of_a_later_one(state_table):
    late = state_table.acquire(A, "one", NOW, MINUTE)
    state_table.save(
        record(details=DETAILS), state_table.acquire(A, "two", NOW + MINUTE, MINUTE), history=False
    )

    for _ in range(2):
        with pytest.raises(LeaseHeld):
            state_table.save(record(details=DETAILS[:1]), late, history=False)
    assert state_table.record(A, "onboarding").details == DETAILS


def test_a_person_reads_either_the_record_before_or_the_one_after(state_table, monkeypatch):
    """Between the read of a record and that of its details, two passes save theirs."""
    for number in range(2):
        lease = state_table.acquire(A, "one", NOW + number * MINUTE, MINUTE)
        state_table.save(record(details=DETAILS), lease, history=False)
    read, later = state_table._details, [DETAILS[:2], DETAILS[1:]]

    def overtaken(*arguments):
        while later:
            lease = state_table.acquire(A, "two", NOW + timedelta(hours=3 - len(later)), MINUTE)
            state_table.save(record(details=later.pop(0)), lease, history=False)
        return read(*arguments)

    monkeypatch.setattr(state_table, "_details", overtaken)

    assert state_table.record(A, "onboarding").details == DETAILS[1:]


def test_items_of_details_are_no_records(state_table, admin):
    state_table.save(record(details=DETAILS), state_table.acquire(A, "one", NOW, MINUTE), history=True)
    sizes = [len(str(item)) for item in kept_items(admin)]

    assert len(state_table.records()) == 1 and max(sizes) < 400_000
    state_table.delete_state(A)
    assert [item["sk"]["S"] for item in kept_items(admin)] == ["lease"]


def test_details_that_an_older_release_kept_in_the_record_itself_are_read(state_table, admin):
    state_table.save(record(), state_table.acquire(A, "one", NOW, MINUTE), history=False)
    admin.client("dynamodb").update_item(
        TableName=tables.NAME,
        Key={"pk": {"S": f"cluster#{A}"}, "sk": {"S": "record#onboarding"}},
        UpdateExpression="SET details = :old REMOVE details_count, details_half",
        ExpressionAttributeValues={":old": {"L": [{"S": '{"pool": "a"}'}]}},
    )

    assert state_table.record(A, "onboarding").details == ({"pool": "a"},)


@pytest.mark.parametrize("sign", ["x", "→", "😀", "\x00"], ids=["one byte", "three bytes", "four", "escaped"])
def test_the_longest_record_that_a_reconcile_can_make_is_kept_and_reports_what_is_not(store, sign):
    """DynamoDB takes 400 KB."""
    texts = tuple(Finding(f"a-code-{n}", sign * 2000, sign * 1500) for n in range(500))
    details = tuple({"pool": f"p{n}", "why": sign * 1000} for n in range(400))
    changed = tuple(Would(sign * 2000) for _ in range(500))
    plan = Plan(Outcome(Stage.TUNING, sign * 5000, texts), changed, details)

    reconcile_once(store, plan)

    kept = store.record(A, "tuning")
    assert 20 < len(kept.findings) < 102 and kept.findings[-1].code == "more-findings"
    lost = len(details) - len(kept.details)
    found = len(texts) + bool(lost)
    assert kept.findings[-1].message == f"{found - len(kept.findings) + 1} more are not saved."
    assert (kept.findings[0].code == "details-not-kept") == bool(lost)
    assert 20 < len(kept.changed) < 102 and kept.changed[-1] == f"and {500 - len(kept.changed) + 1} more"
    assert kept.reason.endswith("bytes)")


@pytest.mark.parametrize("sign", ["x", "→"], ids=["one byte", "three bytes"])
def test_the_longest_answers_to_what_failed_are_kept_as_far_as_they_fit(store, sign):
    """Together with all else of a record; what is lost of them is tried again at once."""
    texts = tuple(Finding(f"a-code-{n}", sign * 2000, sign * 1500) for n in range(500))
    details = tuple({"pool": f"p{n}", "why": sign * 1000} for n in range(400))
    names = [Ref("apps/v1", "Deployment", f"{n:03}{'d' * 200}", "n" * 63) for n in range(200)]
    scales = tuple(Scale(ref, 1, 0, "off-hours begin", part=str(ref)) for ref in names)

    reconcile_once(store, Plan(Outcome(Stage.TUNING, "r", texts), scales, details), answer=sign * 5000)

    kept = store.record(A, "tuning")
    assert 20 < len(kept.retries) < len(names)
    assert all(len(retry.message.encode()) <= 400 for retry in kept.retries)


def test_a_record_that_is_too_large_is_refused(store):
    whole = record(changed=("x" * 1000,) * 420)

    with pytest.raises(Refused):
        store.save(whole, store.acquire(A, "one", NOW, MINUTE), history=False)
    assert store.record(A, "onboarding") is None


def test_a_pause_whose_reason_is_too_long_is_refused(store):
    with pytest.raises(Refused):
        store.pause(A, "x" * 410_000)
    assert store.paused(A) is None


class Would:
    """An action that is not allowed: it is told, and nothing more."""

    why = "it is long"

    def __init__(self, message):
        self.message = message

    def __str__(self):
        return self.message


class Refusing:
    """An API server that takes no change, and says so at length."""

    def __init__(self, answer):
        self.answer = answer

    def scale(self, ref, seen, replicas):
        raise Refused(self.answer)


def reconcile_once(store, plan, answer=""):
    """A pass of tuning that may not act, or whose every action gets this answer; it keeps its record."""
    ports = Ports(
        *(None, store, FakeQueues(Clock(), Calls()), None, lambda cluster: Refusing(answer), None),
        sleep=None,
        schedules=None,
        notices=None,
    )  # type: ignore[arg-type]
    cluster = builders.cluster()
    is_preview = Capability(
        "tuning",
        observe=lambda trigger, record, now: None,
        plan=lambda world, now: plan,
        cluster=lambda world: cluster,
        enforced=lambda world: bool(answer),
        record_fields=lambda world, before, now: {
            "policy": "p" * 256,
            "fingerprint": "f" * 64,
            "cluster_fingerprint": "w" * 64,
        },
    )
    Reconciler(is_preview, ports, lambda: NOW).run(Trigger(A, "a test"))


@pytest.mark.parametrize("paused", [A, None], ids=["the cluster", "the fleet"])
def test_a_pause_keeps_asleep_only_where_it_says_so(store, paused):
    assert not store.keeps_asleep(A)
    store.pause(paused, "audit")
    assert not store.keeps_asleep(A)

    store.pause(paused, "audit", keep_asleep=True)
    assert store.keeps_asleep(A) and store.keeps_asleep(B) == (paused is None)
    assert store.paused(A) == "audit"

    store.pause(paused, "audit")
    assert not store.keeps_asleep(A)
    store.pause(paused, "audit", keep_asleep=True)
    store.resume(paused)
    assert not store.keeps_asleep(A)
