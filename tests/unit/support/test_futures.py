"""Only what is alike in everything shares a future."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta

import pytest
from slicewise.app import TUNING
from slicewise.kube.ref import Ref
from slicewise.trigger import Trigger

from tests.fakes.calls import strike
from tests.fakes.sleeper import NODE_POOL, Sleeper
from tests.support.futures import Futures, mark
from tests.support.tuning.tuned_account import GPU_1, POOL, TunedAccount


@pytest.fixture(scope="module")
def account() -> TunedAccount:
    return TunedAccount(pods=(1,))


def _another_label(account: TunedAccount) -> None:
    pool = account.servers["gpu-1"].objects[Ref("karpenter.sh/v1", "NodePool", POOL)]
    pool["metadata"]["labels"]["team"] = "a"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda account: account.clock.pass_by(timedelta(seconds=1)), id="the time"),
        pytest.param(_another_label, id="a label in a cluster"),
        pytest.param(
            lambda account: account.queues.put(TUNING, Trigger(GPU_1, "x").message()), id="a message"
        ),
        pytest.param(lambda account: account.store.pause(None, "a test"), id="the table"),
        pytest.param(lambda account: account.eks.entries.clear(), id="who may enter"),
        pytest.param(lambda account: account.notices.sent.append(("told", "all of it")), id="a notice"),
        pytest.param(lambda account: account.policies.update(default="pools: {}"), id="a policy"),
        pytest.param(lambda account: account.karpenter.moved.append("pod-1"), id="what Karpenter did"),
        pytest.param(lambda account: account.measure(busy=99.0), id="what was measured"),
    ],
)
def test_accounts_that_differ_in_anything_are_not_alike(account, change):
    one, other = deepcopy(account), deepcopy(account)
    assert mark(one) == mark(other)

    change(other)

    assert mark(one) != mark(other)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda sleeper: sleeper.later(seconds=1), id="the time"),
        pytest.param(lambda sleeper: sleeper.node("n-1"), id="an object"),
        pytest.param(lambda sleeper: sleeper.edit(NODE_POOL, ("spec", "weight"), 1), id="a field"),
        pytest.param(lambda sleeper: sleeper.put_override(asleep=True), id="what a person said"),
        pytest.param(lambda sleeper: sleeper.kept._kept.clear(), id="the table"),
        pytest.param(lambda sleeper: sleeper.notified.add("told"), id="a notice"),
        pytest.param(lambda sleeper: sleeper.server.on_change.clear(), id="a controller"),
        pytest.param(lambda sleeper: setattr(sleeper, "mode", "recommend"), id="the policy"),
    ],
)
def test_sleeping_clusters_that_differ_in_anything_are_not_alike(change):
    one = Sleeper()
    one.at("2026-11-25T20:01").settle()
    other = deepcopy(one)
    assert mark(one) == mark(other)

    change(other)

    assert mark(one) != mark(other)


def test_a_copy_of_a_sleeping_cluster_is_a_world_of_its_own():
    one = Sleeper()
    other = deepcopy(one)

    other.at("2026-11-25T20:01").settle()

    assert mark(one) == mark(Sleeper()) and not one.calls.made and one.kept._kept == {}
    assert other.kept._kept and other.value(NODE_POOL, "spec", "limits", "nodes") == "0"


def test_who_has_only_looked_has_changed_nothing():
    one = Sleeper()
    other = deepcopy(one)

    other.dry_run()

    assert other.calls.made and mark(one) == mark(other)


def test_what_is_alike_is_played_once_and_a_strike_that_lies_ahead_is_another_future(account):
    played = []
    futures = Futures(TunedAccount.answer_next, played.append)
    struck, ahead = deepcopy(account), deepcopy(account)
    strike("403", len(account.calls.made) + 5)(ahead.calls)

    assert futures.end(struck) is futures.end(deepcopy(account)) is struck
    assert futures.end(ahead) is ahead
    assert played == [struck, ahead]


def test_it_is_played_until_it_was_struck_before_it_is_compared(account):
    ends, begin = [], len(account.calls.made)
    for number in (0, 3):
        struck = deepcopy(account)
        struck.queues.put(TUNING, Trigger(GPU_1, "a test").message())
        strike("killed", begin + number)(struck.calls)
        ends.append(Futures(TunedAccount.answer_next, TunedAccount.answer_all).end(struck))
        assert not struck.calls.lie_ahead and struck.lost

    assert ends[0].n == ends[1].n == 4
