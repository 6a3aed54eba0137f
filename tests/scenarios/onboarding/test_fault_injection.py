"""An onboarding that is killed, refused and left unanswered at every single call."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import pytest
from slicewise.errors import Conflict, Refused
from slicewise.model.cluster import Release
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.account import POLICY, Account
from tests.fakes.calls import REFUSALS, strike
from tests.fakes.clock import START
from tests.support.onboarding_runs import (
    GPU_1,
    INSTALLS_KARPENTER,
    MARK,
    created,
    onboarded,
    smooth_way,
    stage,
    struck_at,
)


@pytest.mark.parametrize("kind", ["killed", "answer lost", *REFUSALS])
def test_struck_once_at_any_call_the_next_reconciles_reach_the_same_end(kind):
    """Killed after the call before is killed before this one, so "after" covers every place there is."""
    way = smooth_way()
    end = way[-1].state()

    for number, call in enumerate(way[-1].calls.made):
        struck = struck_at(number, kind, way)

        assert struck.state() == end, f"{kind} at call {number}, {call}"
        assert not struck.queues.dead, f"{kind} at call {number}, {call}"


@pytest.mark.parametrize(
    ("policy", "cluster"),
    [
        pytest.param(INSTALLS_KARPENTER, {"karpenter": False}, id="installing Karpenter, too"),
        pytest.param(
            POLICY,
            {
                "authentication_mode": "CONFIG_MAP",
                "tags": {
                    "slicewise.dev/policy": "default",
                    "slicewise.dev/allow-access-entries": "true",
                },
            },
            id="switching the authentication mode",
        ),
    ],
)
def test_killed_after_any_call_of_a_longer_way_the_end_is_the_same(policy, cluster):
    way = smooth_way(policy, **cluster)
    end = way[-1].state()

    for number, call in enumerate(way[-1].calls.made):
        assert struck_at(number, "killed", way).state() == end, call


def test_a_release_that_a_killed_helm_left_pending_is_fixed():
    begin = onboarded().calls.made.index("helm.upgrade gpu-operator/gpu-operator: begin")

    struck = onboarded(strike=strike("killed", begin))

    assert "helm.uninstall gpu-operator/gpu-operator" in struck.calls.made
    assert stage(struck) is Stage.ONBOARDED


def test_an_uninstallation_that_was_killed_is_ended_before_the_next_installation():
    """helm refuses to upgrade what is `uninstalling` for ever: it has no deployed release to start from."""
    undisturbed = onboarded()
    account = Account()
    account.create_cluster()
    begun = Release("gpu-operator", "gpu-operator", 1, "uninstalling", "gpu-operator", "v26.7.0", MARK)
    account.releases["gpu-1"].revisions["gpu-operator", "gpu-operator"] = [begun]
    account.send_created()
    account.run_until_idle()

    assert "helm.uninstall gpu-operator/gpu-operator" in account.calls.made
    assert stage(account) is Stage.ONBOARDED
    assert account.state()["releases"] == undisturbed.state()["releases"]


def test_a_killed_reconcile_holds_the_cluster_no_longer_than_its_lease():
    undisturbed = onboarded()
    begin = undisturbed.calls.made.index("helm.upgrade gpu-operator/gpu-operator: begin")
    account = Account()
    account.create_cluster()
    account.send_created()
    account.calls.kill_after = begin
    while not account.lost:
        account.reconcile()
        account._answer(*account.queues.receive(timedelta(minutes=16)))
    killed_at = account.clock.now

    account.send_created()
    while stage(account) is not Stage.ONBOARDED:
        account.reconcile()
        account._answer(*account.queues.receive(timedelta(minutes=16)))

    assert account.clock.now - killed_at < timedelta(minutes=9)


def _come_in_the_middle(account: Account, *triggers: Trigger) -> None:
    """While a pass looks, these are received by other processes."""
    describe = account.eks.describe

    def looking(name: str):
        account.eks.describe = describe
        for trigger in triggers:
            account.send(trigger)
            account._answer(*account.queues.receive(timedelta(minutes=16)))
        return describe(name)

    account.eks.describe = looking


def test_of_the_triggers_that_come_while_a_reconcile_is_at_work_one_waits_for_its_end():
    account = created(status="CREATING")
    _come_in_the_middle(account, *(Trigger(GPU_1, f"number {n}") for n in range(20)))

    account.answer_one()

    waiting = [json.loads(message.body) for message in account.queues.waiting]
    assert [body["reason"] for body in waiting if body.get("waits")] == ["number 0"]
    assert len(waiting) == 2  # and the look at a cluster that is being made
    account.answer_one()
    assert not account.lost and len(account.queues.waiting) == 1


def test_what_a_person_insists_on_is_not_dropped_for_another_that_waits():
    account = created(status="CREATING")
    _come_in_the_middle(account, Trigger(GPU_1, "a sweep"), Trigger(GPU_1, "by hand", forced=True))

    account.answer_one()

    waiting = [json.loads(message.body) for message in account.queues.waiting]
    assert {"a sweep", "by hand"} <= {body["reason"] for body in waiting if body.get("waits")}


def test_what_waits_goes_on_waiting_while_one_reconcile_follows_another():
    account = Account()
    cluster = account.create_cluster()
    account.send(Trigger(cluster.arn, "waits", waits=True))
    for number in range(5):
        lease = account.store.acquire(cluster.arn, f"pass {number}", account.clock.now, timedelta(minutes=1))
        account._answer(*account.queues.receive(timedelta(minutes=16)))
        account.store.release(lease)

    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED


def test_triggers_that_wait_do_not_all_come_back_at_once():
    random.seed(1)  # SQS delays by whole seconds: of the 16 that there are, 20 draws hit few now and then
    account = Account()
    cluster = account.create_cluster()
    account.store.acquire(cluster.arn, "another pass", account.clock.now, timedelta(seconds=60))
    for _ in range(20):
        account.send(Trigger(cluster.arn, "waits", waits=True))
    for _ in range(20):
        account._answer(*account.queues.receive(timedelta(minutes=16)))

    waits = [message.due - account.clock.now for message in account.queues.waiting]
    assert len(waits) == 20 and len(set(waits)) > 10
    assert timedelta(seconds=5) <= min(waits) and max(waits) <= timedelta(seconds=20)


def test_what_stays_refused_ends_on_the_dead_letter_queue_and_in_the_record():
    account = _never_admin(Refused("eks:AssociateAccessPolicy: AccessDenied"))

    assert len(account.queues.dead) == 1
    assert stage(account) is Stage.FAILED
    assert "eks:AssociateAccessPolicy" in account.record().reason


def test_what_never_stops_changing_is_given_to_the_alarm_in_the_end():
    account = _never_admin(Conflict("another writer"))

    assert len(account.queues.dead) == 1
    assert account.clock.now - START < timedelta(hours=1)


def _never_admin(error: Exception) -> Account:
    """An account with a cluster whose onboarding always fails at the same call, after the last try."""

    def call(*_args):
        raise error

    account = Account()
    account.create_cluster()
    account.eks.grant_admin = call
    account.send_created()
    account.run_until_idle()
    return account
