"""One NodePool, overlay or alarm that refuses every write keeps no other from being looked after."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from slicewise.app import ONBOARDING, TUNING
from slicewise.errors import Conflict, Refused, Unavailable
from slicewise.kube.labels import ORIGINAL_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY
from slicewise.planning.outcome import Stage
from slicewise.pools import layout, observed
from slicewise.trigger import Trigger

from tests.fakes.account import INSTALLER, Account
from tests.scenarios.tuning.test_adoption import THEIRS, WITHOUT_IT, Adopting
from tests.support.tuning.tuned_account import BY_GPU, DAY, GPU_1, TunedAccount

TEAMS = ("gpu-a", "gpu-b", "gpu-c", "gpu-d")
STUCK = "gpu-b"
POOLS = "".join(
    f"  {team}: {{sharing: time-slicing, gpus: [l4], adopt: {team}, replicas: {{max: 8}}}}\n"
    for team in TEAMS
)
FOUR = f"pools:\n{POOLS}tuning: {{raiseAfter: 2h, lowerAfter: 30m, dwell: 1h, canary: 2m, lock: 24h}}\n"
DENIED = Refused("422 policy 'platform-owns-nodepools' denied request")
ERRORS = [
    pytest.param(DENIED, id="a policy"),
    pytest.param(Refused("403 forbidden"), id="403"),
    pytest.param(Conflict("409 it has changed"), id="409 each time"),
    pytest.param(Unavailable("read timed out"), id="a timeout"),
]


class Teams(Adopting):
    """Four NodePools of four teams, with two nodes each."""

    def __init__(self) -> None:
        super().__init__(FOUR, named(TEAMS[0]), nodes=2)
        for team in TEAMS[1:]:
            self.servers["gpu-1"].create(named(team))
            for _ in range(2):
                self.karpenter.add_node(1, pool=team)
        self.clock.pass_by(3 * DAY)

    def pool(self, team: str) -> dict[str, Any]:
        return self.servers["gpu-1"].objects[Ref("karpenter.sh/v1", "NodePool", team)]

    @property
    def node_pool(self) -> dict[str, Any]:
        return self.pool(TEAMS[0])

    def ns(self) -> dict[str, tuple[str, ...]]:
        return {team: observed.config_keys_of(self.pool(team)) for team in TEAMS}

    def refuse(self, what: str, error: Exception) -> None:
        self.calls.fails = lambda call: error if call.startswith(what) else None


def work_for(account: TunedAccount, hours: int) -> None:
    """
    With the hourly sweep's triggers; what is refused is tried again and again, so that it is never idle.
    """
    for _ in range(hours):
        end = account.clock.now + timedelta(hours=1)
        account.queues.put(TUNING, Trigger(GPU_1, "the hourly sweep").message())
        while account.queues.waiting and min(account.queues.waiting).due <= end:
            account.answer_next()
        account.let_pass(end - account.clock.now)


def named(team: str) -> dict[str, Any]:
    theirs = deepcopy(THEIRS)
    return {**theirs, "metadata": {**theirs["metadata"], "name": team}}


@pytest.mark.parametrize("error", ERRORS)
def test_the_other_three_are_adopted_tuned_and_restored_in_the_same_reconciles(error):
    account = Teams()
    before = {team: deepcopy(account.pool(team)) for team in TEAMS}
    account.refuse(f"kubernetes.patch NodePool {STUCK}", error)
    account.onboard()
    account.idle()
    work_for(account, 1)

    others = [team for team in TEAMS if team != STUCK]
    assert all(ORIGINAL_ANNOTATION in account.pool(team)["metadata"]["annotations"] for team in others)
    [reported] = [one for one in account.tuned.findings if one.code == "cannot-be-changed"]
    assert f"take over NodePool {STUCK}" in reported.message and str(error) in reported.message

    work_for(account, 8)
    assert all(layout.slices_of_key(account.ns()[team][0]) > 1 for team in others), account.ns()
    assert account.pool(STUCK)["spec"] == before[STUCK]["spec"]
    assert not account.karpenter.ever_drifted and account.lost == []

    account.policies["default"] = WITHOUT_IT
    work_for(account, 1)
    for team in others:
        assert account.pool(team)["spec"]["disruption"] == before[team]["spec"]["disruption"]
        assert ORIGINAL_ANNOTATION not in account.pool(team)["metadata"]["annotations"]


def test_one_that_refuses_to_be_restored_keeps_no_other_from_it():
    account = Teams()
    before = {team: deepcopy(account.pool(team)) for team in TEAMS}
    account.onboard()
    account.tune()
    account.refuse(f"kubernetes.patch NodePool {STUCK}", DENIED)
    account.policies["default"] = WITHOUT_IT

    work_for(account, 1)

    for team in TEAMS:
        assert (account.pool(team)["spec"] == before[team]["spec"]) == (team != STUCK)
    assert "cannot-be-changed" in {one.code for one in account.tuned.findings}


TWO = """
pools:
  one: {sharing: time-slicing, gpus: [l4], maxGpus: 8}
  two: {sharing: time-slicing, gpus: [l4], maxGpus: 8}
"""


@pytest.mark.parametrize("what", ["NodePool slicewise-one-l4", "NodeOverlay slicewise-one-l4-1"])
@pytest.mark.parametrize("error", ERRORS)
def test_onboarding_makes_the_other_nodepools_and_does_not_stay_admin(what, error):
    account = Account(TWO)
    account.create_cluster()
    account.calls.fails = lambda call: error if call.startswith(f"kubernetes.apply {what}") else None
    account.send_created()
    account.run_until_idle()

    objects = account.servers["gpu-1"].objects
    assert Ref("karpenter.sh/v1", "NodePool", "slicewise-two-l4") in objects
    assert Ref("karpenter.sh/v1", "NodePool", "slicewise-one-l4") not in objects
    record = account.record(capability=ONBOARDING)
    assert record.stage is Stage.ONBOARDED
    assert what in next(one for one in record.findings if one.code == "cannot-be-changed").message
    assert account.record(capability="tuning"), "tuning was woken"
    assert CLUSTER_ADMIN_POLICY not in account.eks.entries["gpu-1", INSTALLER].policies
    assert account.lost == []

    account.calls.fails = lambda call: None
    account.clock.pass_by(timedelta(hours=1))
    account.send(Trigger(GPU_1, "the hourly sweep", forced=True))
    account.run_until_idle()
    assert Ref("karpenter.sh/v1", "NodePool", "slicewise-one-l4") in account.servers["gpu-1"].objects


@pytest.mark.parametrize("call", ["alarms.named", "alarms.put"])
@pytest.mark.parametrize("error", [Refused("403"), Unavailable("throttled")])
def test_alarms_that_cannot_be_read_or_put_keep_nobody_from_being_tuned(call, error):
    account = TunedAccount(policy=BY_GPU)
    account.alarms.kept.clear()
    account.calls.fails = lambda made: error if made.startswith(call) else None

    work_for(account, 1)

    record = account.tuned
    assert {"alarms-unreadable", "cannot-be-changed"} & {one.code for one in record.findings}
    assert record.details[0]["n"] == 4
    assert account.lost == []
