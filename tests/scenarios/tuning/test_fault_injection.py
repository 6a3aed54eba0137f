"""Tuning that is struck at every call, by triggers that come twice or as garbage, and by an empty table."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta
from functools import cache

import pytest
from slicewise.app import TUNING
from slicewise.costs.text import load
from slicewise.kube.labels import ROLLOUT_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.pools import layout
from slicewise.trigger import Trigger

from tests.fakes.calls import REFUSALS, strike
from tests.support.futures import Futures
from tests.support.tuning.tuned_account import GPU_1, POLICY, POOL, TunedAccount, alarm_event, before

OVERLAY = Ref("karpenter.sh/v1alpha1", "NodeOverlay", f"{POOL}-1")
GPU = layout.GPU_RESOURCE
POOL_REF = Ref("karpenter.sh/v1", "NodePool", POOL)

SMALL = POLICY.replace("{start: 4, max: 8}", "{start: 2, max: 3}")


@cache
def _due() -> TunedAccount:
    account = TunedAccount(pods=(2, 2, 2), policy=SMALL, slots=2)
    account.costs.kept.clear()
    account.tune()
    account.let_pass(timedelta(hours=2))
    account.calls.made.clear()
    return account


def due() -> TunedAccount:
    """An account whose next pass begins to raise N from 2 to 3: small, since many are made of it."""
    return deepcopy(_due())


@cache
def _on_the_way() -> list[TunedAccount]:
    """Nothing strikes: what stands before each message, and at the end."""
    account = due()
    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    return account.way()


@cache
def struck(kind: str, number: int) -> dict:
    """What stands in the end; all calls are struck for one test, and some of them for a quick one, too."""
    account = before(number, _on_the_way())
    strike(kind, number)(account.calls)
    return ended(_FUTURES.end(account))


def _go_on(account: TunedAccount) -> None:
    account.answer_all()
    if account.n == 2:
        account.hours(1)  # metrics that could not be read are read again by the next sweep


_FUTURES = Futures(TunedAccount.answer_next, _go_on)


@pytest.fixture(scope="module")
def smoothly() -> TunedAccount:
    account = _on_the_way()[-1]
    assert account.costs.kept
    return account


def ended(account: TunedAccount) -> dict:
    """What stands in the end, but for names of nodes and for times."""
    live = account.servers["gpu-1"].objects
    annotations = live[POOL_REF]["metadata"]["annotations"]
    return {
        "n": account.n,
        "limits": live[POOL_REF]["spec"]["limits"],
        "disruption": live[POOL_REF]["spec"]["disruption"],
        "rollout": ROLLOUT_ANNOTATION in annotations,
        "overlays": live[OVERLAY]["spec"]["capacity"],
        "nodes": sorted(
            item["metadata"]["labels"][layout.CONFIG_LABEL]
            for ref, item in live.items()
            if ref.kind in ("Node", "NodeClaim")
        ),
        "drifted": account.karpenter.ever_drifted,
        "promises": account.karpenter.broken_promises,
        "stage": account.tuned.stage,
        "all that was paid for is counted, once": counted_once(account),
    }


def counted_once(account: TunedAccount) -> bool:
    """
    All of three machines; of one that goes, but for what days say is uncertain of its end. Where the first
    day could not be kept there is none: the next sweep's reconcile begins it.
    """
    days = [day for kept in account.costs.kept.values() if (day := load(kept))]
    seconds = sum(hour.machine_seconds for day in days for of in day.hours.values() for hour in of.values())
    uncertain = sum(second for day in days for second in day.uncertain.values())
    most = 3 * sum(day.through - day.since for day in days)
    return most - uncertain <= seconds <= most


KINDS = ["killed", "answer lost", *REFUSALS]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "share",
    [pytest.param(13, id="here and there"), pytest.param(1, id="everywhere", marks=pytest.mark.exhaustive)],
)
def test_struck_once_at_any_call_the_next_reconciles_reach_the_same_end(share, kind, smoothly):
    calls = len(smoothly.calls.made)
    assert calls > 150

    # Killed at each of them; of the others, each kind takes its turn.
    first, stride = (0, 1) if kind == "killed" else (KINDS.index(kind) - 1, 2 * (len(KINDS) - 1) - 1)
    for number in range(first, calls, stride * share if kind == "killed" else stride * -(-share // 4)):
        assert struck(kind, number) == ended(smoothly), (
            f"{kind} at call {number}: {smoothly.calls.made[number]}"
        )


def test_triggers_that_come_twice_late_or_as_garbage_change_nothing(smoothly):
    account = due()
    for body in ("{", "[]", json.dumps({"slicewise": 9}), alarm_event("idle", "ALARM", "ALARM")):
        account.queues.put(TUNING, body)
    for delay in (0, 0, 1, 5, 30):
        account.queues.put(TUNING, json.dumps({"slicewise": 1, "cluster": GPU_1}), timedelta(seconds=delay))

    account.answer_all()

    assert ended(account) == ended(smoothly)


def test_with_an_empty_table_the_next_reconcile_goes_on_from_the_cluster(smoothly):
    account = due()
    account.queues.put(TUNING, json.dumps({"slicewise": 1, "cluster": GPU_1}))
    while account.queues.waiting:
        account.let_pass(min(account.queues.waiting).due - account.clock.now)
        account.store._records.clear()
        account._answer(*account.queues.receive(timedelta(minutes=6)))

    assert ended(account) == ended(smoothly)
