"""Events that must come to nothing: repeated, malformed, of others, too late."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.account import Account, created_event
from tests.fakes.clock import START
from tests.support.onboarding_runs import GPU_1, created, onboarded, stage


def test_a_hundred_duplicates_of_an_event_change_nothing_more():
    once = onboarded()

    account = Account()
    account.create_cluster()
    for _ in range(100):
        account.send_created()
    account.run_until_idle(limit=1000)

    assert account.state() == once.state()
    assert not account.lost


def test_a_hundred_duplicates_do_not_queue_a_hundred_reconciles_each_minute():
    account = Account()
    account.create_cluster(status="CREATING")
    for _ in range(100):
        account.send_created()

    for _ in range(100):
        account._answer(*account.queues.receive(timedelta(minutes=16)))

    assert len(account.queues.waiting) == 1


def _with_a_reconcile_to_come() -> Account:
    """Of a cluster that is still being created."""
    account = created(status="CREATING")
    account.answer_one()
    return account


def test_looks_that_come_early_by_our_clock_are_followed_by_the_next_all_the_same():
    """Clocks differ between machines; a look that waited for itself would be the last."""
    account = _with_a_reconcile_to_come()

    for _ in range(3):
        [look] = account.queues.waiting
        look.due = account.clock.now
        account.answer_one()

    assert len(account.queues.waiting) == 1


def test_a_reconcile_that_is_delivered_twice_queues_one():
    account = _with_a_reconcile_to_come()
    [look] = account.queues.waiting
    account.queues.put("onboarding", look.body, timedelta(seconds=61))

    account.answer_one()
    account.answer_one()

    assert len(account.queues.waiting) == 1


def test_an_event_that_arrives_while_a_reconcile_runs_is_checked_later():
    account = Account()
    account.create_cluster()
    account.store.acquire(GPU_1, "another function", account.clock.now, timedelta(minutes=2))
    account.send_created()
    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED
    assert not account.lost
    assert account.clock.now - START >= timedelta(minutes=2)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("{", id="malformed JSON"),
        pytest.param(json.dumps({"hello": "world"}), id="an unknown shape"),
    ],
)
def test_a_malformed_message_is_dropped_with_one_loud_line(body):
    account = Account()
    account.queues.put("onboarding", body)
    account.run_until_idle()

    assert [str(error)[:27] for error in account.lost] == ["dropped a malformed message"]
    assert not account.queues.dead
    assert account.calls.made == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps({"detail-type": "Something Else", "detail": {}}), id="unknown detail-type"),
        pytest.param(
            json.dumps(
                json.loads(created_event("gpu-1"))
                | {
                    "detail": json.loads(created_event("gpu-1"))["detail"]
                    | {"errorCode": "ResourceLimitExceeded"}
                }
            ),
            id="a failed CreateCluster",
        ),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": GPU_1.replace("eu-west-1", "us-east-1")}),
            id="another Region's ARN",
        ),
    ],
)
def test_what_is_not_for_us_makes_no_call(body):
    account = Account()
    account.create_cluster()
    account.queues.put("onboarding", body)
    account.run_until_idle()

    assert account.calls.made == []
    assert not account.lost


def test_a_cluster_that_is_deleted_already_leaves_nothing_behind():
    account = Account()
    account.send_created()
    account.run_until_idle()

    assert account.record() is None
    assert account.store.history == []
    assert not account.lost


def test_a_proof_that_comes_after_the_deletion_leaves_nothing_behind():
    account = Account()
    account.send(Trigger(GPU_1, "the hourly sweep"), "tuning")
    account.run_until_idle()

    assert account.store.records() == ()


def test_a_deleted_cluster_is_forgotten():
    account = onboarded()
    del account.eks.clusters["gpu-1"]
    account.send(Trigger(GPU_1, "DeleteCluster seen by CloudTrail"))
    account.run_until_idle()

    assert account.store.records() == ()
