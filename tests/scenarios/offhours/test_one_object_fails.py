"""One object that cannot be read or changed keeps no other from its sleep, nor from its morning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.app import OFF_HOURS
from slicewise.errors import Conflict, Refused, Unavailable
from slicewise.kube.ref import Ref, ref_of
from slicewise.offhours import plan
from slicewise.planning.outcome import Stage

from tests.fakes.account import Account
from tests.fakes.kube.controllers import cron_job, pod_spec, scaled, scaled_object
from tests.fakes.sleeper import NODE_POOL, Sleeper
from tests.scenarios.offhours.test_offhours import account as plain_account
from tests.scenarios.offhours.test_offhours import berlin, stage, until

account = plain_account
CHAT, EMBED, RAG = (scaled("Deployment", name, 2) for name in ("a-chat", "b-embed", "c-rag"))
DENIED = Refused("PATCH …/b-embed/scale: 422 policy 'at-least-one' denied request: b-embed needs one replica")
ERRORS = [
    pytest.param(DENIED, id="a policy"),
    pytest.param(Refused("403 forbidden"), id="403"),
    pytest.param(Conflict("409 it has changed"), id="409 each time"),
    pytest.param(Unavailable("429 slow down"), id="429"),
    pytest.param(Unavailable("500 failed calling webhook"), id="500"),
    pytest.param(Unavailable("read timed out"), id="a timeout"),
]


@pytest.fixture
def three(account: Account) -> Account:
    server = account.servers["gpu-1"]
    for item in (CHAT, EMBED, RAG):
        server.create(item)
    return account


def replicas(account: Account) -> list[int]:
    objects = account.servers["gpu-1"].objects
    return [objects[ref_of(item)]["spec"]["replicas"] for item in (CHAT, EMBED, RAG)]


def fails(what: str, error: Exception) -> Callable[[str], Exception | None]:
    return lambda call: error if call.startswith(what) else None


def findings(account: Account) -> dict[str, str]:
    record = account.record(capability=OFF_HOURS)
    assert record
    return {finding.code: str(finding) for finding in record.findings}


@pytest.mark.parametrize("error", ERRORS)
def test_one_that_cannot_be_put_to_sleep_stops_nobody(three, error):
    three.calls.fails = fails(f"kubernetes.scale {ref_of(EMBED)}", error)

    until(three, berlin(21))

    assert replicas(three) == [0, 2, 0]
    assert stage(three) is Stage.GOING_TO_SLEEP, "it does not say that all sleep"
    assert three.schedules.waiting["gpu-1"][0] == berlin(7, 1) - timedelta(minutes=10)
    assert "Deployment ml/b-embed" in findings(three)["cannot-be-changed"]
    assert str(error) in findings(three)["cannot-be-changed"]
    assert three.lost == [] and three.queues.dead == []
    [(subject, text)] = three.notices.sent
    assert subject == "Slicewise: 1 object of gpu-1 cannot be changed" and str(error) in text

    until(three, berlin(7.1, 1))
    assert replicas(three) == [2, 2, 2] and stage(three) is Stage.AWAKE


@pytest.mark.parametrize("error", ERRORS)
def test_one_that_cannot_be_woken_stops_nobody_and_is_reported_before_the_opening(three, error):
    until(three, berlin(22))
    three.calls.fails = fails(f"kubernetes.scale {ref_of(EMBED)}", error)

    until(three, berlin(6.99, 1))
    assert replicas(three) == [2, 0, 2]
    assert any("cannot be changed" in subject and str(error) in text for subject, text in three.notices.sent)

    until(three, berlin(7.3, 1))
    assert stage(three) is Stage.WAKING, "it does not say that all are awake"
    three.calls.fails = lambda call: None
    until(three, berlin(7.3, 1) + timedelta(minutes=1))
    assert replicas(three) == [2, 2, 2] and stage(three) is Stage.AWAKE


def test_a_node_pool_that_cannot_be_closed_leaves_the_workloads_to_sleep(three):
    three.calls.fails = fails("kubernetes.patch NodePool", Refused("403"))

    until(three, berlin(21))

    assert replicas(three) == [0, 0, 0]
    assert "NodePool slicewise-shared-l4" in findings(three)["cannot-be-changed"]


def test_a_table_that_refuses_one_snapshot_leaves_that_object_awake_and_no_other(three):
    three.calls.fails = fails(f"sleep.keep {ref_of(EMBED)}", Unavailable("throttled"))

    until(three, berlin(21))

    assert replicas(three) == [0, 2, 0], "what is not written down is not changed"


def test_a_schedule_that_cannot_be_put_is_tried_again_and_keeps_nobody_awake(three):
    three.calls.fails = fails("schedules.put", Unavailable("throttled"))
    until(three, berlin(20.1))
    assert replicas(three) == [0, 0, 0] and "gpu-1" not in three.schedules.waiting

    three.calls.fails = lambda call: None
    until(three, berlin(20.2))
    assert three.schedules.waiting["gpu-1"][0] == berlin(7, 1) - timedelta(minutes=10)


def test_notices_that_cannot_be_sent_keep_nobody_asleep_and_are_sent_later(three):
    until(three, berlin(22))
    three.calls.fails = lambda call: Unavailable("throttled") if "publish" in call else None
    until(three, berlin(6.95, 1))
    assert replicas(three) == [2, 2, 2] and three.notices.sent == []

    three.calls.fails = lambda call: None
    until(three, berlin(7, 1))
    assert [subject for subject, _ in three.notices.sent] == ["Slicewise: 9 pods of gpu-1 do not run yet"]


def test_all_writes_fail_for_an_hour_and_then_each_is_made(three):
    """As where etcd is full: what is read is answered, and each write is an error of the server's."""
    until(three, berlin(22))
    full = Unavailable("500 etcdserver: mvcc: database space exceeded")
    three.calls.fails = lambda call: (
        full if call.startswith(("kubernetes.scale", "kubernetes.patch")) else None
    )
    until(three, berlin(7.2, 1))
    assert replicas(three) == [0, 0, 0] and three.notices.sent

    three.calls.fails = lambda call: None
    until(three, berlin(7.3, 1))
    assert replicas(three) == [2, 2, 2] and stage(three) is Stage.AWAKE


# What cannot be read


MODEL = scaled("ModelServer", "own", 2, version="inference.example.com/v1")
OTHER = scaled("ModelServer", "peer", 2, version="inference.example.com/v1")


def codes(plan) -> set[str]:
    return {finding.code for finding in plan.outcome.findings}


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Unavailable("500 the path .spec.replicas of Worker is absent"), id="500"),
        pytest.param(Refused("403"), id="403"),
    ],
)
def test_an_object_whose_scale_cannot_be_read_is_left_and_reported(error):
    sleeper = Sleeper()
    sleeper.create(CHAT, MODEL, OTHER)
    sleeper.calls.fails = fails(f"kubernetes.replicas {ref_of(MODEL)}", error)

    asleep = sleeper.at("2026-11-25T20:01").settle()

    assert [sleeper.replicas(item) for item in (CHAT, MODEL, OTHER)] == [0, 2, 0]
    [finding] = [one for one in asleep.outcome.findings if one.code == "cannot-be-read"]
    assert "ModelServer ml/own" in finding.message and str(error) in finding.message


def test_what_cannot_be_read_in_the_morning_is_not_taken_for_deleted():
    """Its original would be forgotten, and nobody could ever wake it."""
    sleeper = Sleeper()
    sleeper.create(CHAT, MODEL, OTHER)
    sleeper.at("2026-11-25T20:01").settle()
    sleeper.calls.fails = fails(f"kubernetes.replicas {ref_of(MODEL)}", Refused("403"))

    woken = sleeper.at("2026-11-26T07:00").settle()
    assert [sleeper.replicas(item) for item in (CHAT, MODEL, OTHER)] == [2, 0, 2]
    assert "gone-while-asleep" not in codes(woken)
    assert woken.outcome.stage is Stage.WAKING and woken.outcome.requeue_after

    sleeper.calls.fails = lambda call: None
    sleeper.settle()
    assert sleeper.replicas(MODEL) == 2


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "CronJob", "ScaledObject", "ScaledJob"])
@pytest.mark.parametrize("error", [Unavailable("500 conversion webhook failed"), Refused("403")])
def test_a_kind_that_cannot_be_listed_keeps_no_other_from_sleep_or_morning(kind, error):
    store, nightly = scaled("StatefulSet", "store", 2), cron_job("nightly")
    scaler = scaled_object("keda", scaled("Deployment", "of-keda", 1))
    for at in ("dusk", "dawn"):
        sleeper = Sleeper()
        sleeper.create(CHAT, store, nightly, scaled("Deployment", "of-keda", 1), scaler)
        if at == "dusk":
            sleeper.calls.fails = fails(f"kubernetes.list {kind}", error)
        sleeper.at("2026-11-25T20:01").settle()
        asleep = {"Deployment": CHAT, "StatefulSet": store}
        for name, item in asleep.items():
            sleeps = at == "dawn" or kind not in (name, "ScaledObject")  # KEDA may scale any of them
            assert (sleeper.replicas(item) == 0) == sleeps, (at, name)

        sleeper.calls.fails = fails(f"kubernetes.list {kind}", error)
        reported = sleeper.at("2026-11-26T07:00").settle()
        assert "cannot-be-read" in codes(reported) and "gone-while-asleep" not in codes(reported)
        sleeper.calls.fails = lambda call: None
        sleeper.settle()
        assert sleeper.replicas(CHAT) == sleeper.replicas(store) == 2
        assert not sleeper.value(ref_of(nightly), "spec", "suspend")
        assert sleeper.kept.snapshots(sleeper.cluster.arn) == ()


@pytest.mark.parametrize("error", [Unavailable("500 conversion webhook failed"), Refused("403")])
def test_nothing_is_scaled_while_nobody_can_say_whom_keda_scales(error):
    """KEDA would put its target back, minute by minute, and both would go on writing."""
    target = scaled("Deployment", "of-keda", 2)
    scaler = scaled_object("keda", target)
    sleeper = Sleeper()
    sleeper.controllers.demand[ref_of(scaler)] = 2
    sleeper.create(CHAT, target, scaler, cron_job("nightly"))
    sleeper.node("node-1")
    sleeper.calls.fails = fails("kubernetes.list ScaledObject", error)

    asleep = sleeper.at("2026-11-25T20:01").settle()
    assert not [call for call in sleeper.calls.made if call.startswith("kubernetes.scale ")]
    assert sleeper.value(ref_of(cron_job("nightly")), "spec", "suspend") is True, "KEDA scales no CronJob"
    [finding] = [one for one in asleep.outcome.findings if one.code == "cannot-be-read"]
    assert "every ScaledObject" in finding.message
    assert asleep.outcome.requeue_after and asleep.outcome.requeue_after <= timedelta(minutes=15), (
        "it is read again soon"
    )
    assert sleeper.value(NODE_POOL, "spec", "limits", "nodes") == "1", "what is left keeps a way to a node"

    sleeper.calls.fails = lambda call: None
    sleeper.settle()
    assert sleeper.replicas(CHAT) == sleeper.replicas(target) == 0

    sleeper.calls.fails = fails("kubernetes.list ScaledObject", error)
    sleeper.at("2026-11-26T07:00").settle()
    assert sleeper.replicas(CHAT) == 2, "its morning needs nobody's word"
    assert sleeper.replicas(target) == 0
    sleeper.calls.fails = lambda call: None
    sleeper.settle()
    assert sleeper.replicas(target) == 2 and sleeper.kept._kept == {}


def test_nor_is_what_an_earlier_reconcile_was_about_to_scale():
    """In between somebody may have made a ScaledObject for it."""
    sleeper = Sleeper()
    sleeper.create(CHAT)
    sleeper.calls.fails = fails("kubernetes.scale ", Unavailable("503"))
    sleeper.at("2026-11-25T20:01").reconcile_once()
    assert [kept.done for kept in sleeper.kept._kept.values() if kept.ref == ref_of(CHAT)] == [False]

    sleeper.calls.fails = fails("kubernetes.list ScaledObject", Refused("403"))
    sleeper.settle()
    assert sleeper.replicas(CHAT) == 2

    sleeper.calls.fails = lambda call: None
    sleeper.settle()
    assert sleeper.replicas(CHAT) == 0


def test_nothing_below_an_owner_that_cannot_be_read_is_scaled():
    """A Rollout's ReplicaSet at 0 would be put back by the Rollout, which nobody would understand."""
    web = scaled("Rollout", "web", 3, version="argoproj.io/v1alpha1")
    sleeper = Sleeper()
    sleeper.create(web)
    sleeper.server.objects[Ref("apps/v1", "ReplicaSet", "web-7d9c", "ml")]["spec"]["replicas"] = 3
    sleeper.calls.fails = fails("kubernetes.list Rollout", Unavailable("500 conversion webhook failed"))

    asleep = sleeper.at("2026-11-25T20:01").settle()

    assert not [call for call in sleeper.calls.made if call.startswith("kubernetes.scale ")]
    assert "cannot-be-read" in codes(asleep)


def test_three_kinds_without_an_answer_are_a_cluster_that_does_not_answer():
    sleeper = Sleeper()
    sleeper.create(CHAT)
    nothing = Unavailable("endpoint out of reach")
    sleeper.calls.fails = lambda call: (
        nothing if call.startswith("kubernetes.list") and "Pod" not in call and ("Node" not in call) else None
    )

    assert "out-of-reach" in codes(sleeper.at("2026-11-25T20:01").reconcile_once())
    asked = [call for call in sleeper.calls.made if call.startswith("kubernetes.list")]
    assert len(asked) == 6, "three that must be, and three tries"


def test_of_a_kind_that_hangs_five_objects_are_tried():
    items = [
        scaled("ModelServer", f"m{number}", 1, version="inference.example.com/v1") for number in range(9)
    ]
    sleeper = Sleeper()
    sleeper.create(CHAT, *items)
    sleeper.calls.fails = fails("kubernetes.replicas", Unavailable("timed out"))

    asleep = sleeper.at("2026-11-25T20:01").settle()

    tries = [call for call in sleeper.calls.made if call.startswith("kubernetes.replicas")]
    assert len(tries) == 5 * len(sleeper.plans)
    assert sleeper.replicas(CHAT) == 0
    assert len([one for one in asleep.outcome.findings if one.code == "cannot-be-read"]) == 9


def test_pods_of_nobody_are_unaffected_by_what_cannot_be_read():
    sleeper = Sleeper()
    bare = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "n", "namespace": "ml"},
        "spec": pod_spec(),
    }
    sleeper.create(bare)
    sleeper.calls.fails = fails("kubernetes.list ScaledJob", Refused("403"))

    assert {"bare-pod", "cannot-be-read"} <= codes(sleeper.at("2026-11-25T20:01").settle())


def test_a_policy_that_denies_hundreds_keeps_no_other_awake(account, monkeypatch):
    """One pass changes so many objects at most: those that it denies must not be these, pass after pass."""
    monkeypatch.setattr(plan, "MOST_OBJECTS", 2)
    server = account.servers["gpu-1"]
    for item in (CHAT, EMBED, RAG):
        server.create(item)
    denied = tuple(f"kubernetes.scale {ref_of(item)}" for item in (CHAT, EMBED))
    account.calls.fails = lambda call: DENIED if call.startswith(denied) else None

    until(account, berlin(21))

    assert replicas(account) == [2, 2, 0]


def test_one_that_is_denied_all_night_costs_as_many_reconciles_as_it_has_tries(three):
    three.calls.fails = fails(f"kubernetes.scale {ref_of(EMBED)}", DENIED)
    until(three, berlin(21))
    before = len(three.calls.made)

    until(three, berlin(23))

    looks = sum(call.startswith("store.acquire") for call in three.calls.made[before:])
    assert looks < 30, "each 15 minutes, and the sweep's"


@pytest.mark.parametrize("window", ["", "the next sleep", "2026-03-04T07:00:00"])
def test_a_kept_item_that_cannot_be_read_keeps_no_other_asleep(three, window):
    until(three, berlin(21))
    [key] = [key for key, kept in three.sleep._kept.items() if kept.ref == ref_of(EMBED)]
    three.sleep._kept[key] = replace(three.sleep._kept[key], window=window, checksum="")

    until(three, berlin(8, 1))

    assert replicas(three)[0] == replicas(three)[2] == 2
