"""Accounts on the way through an onboarding, for the scenarios: fakes of AWS, the cluster and helm."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

from slicewise.kube.labels import POLICY_TAG
from slicewise.kube.ref import Ref
from slicewise.model.cluster import OFFBOARD
from slicewise.onboarding.observation import Settings
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.account import HOME, INSTALLER, POLICY, SETTINGS, Account
from tests.fakes.calls import Calls, strike
from tests.support.futures import Futures

POOL = Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4")
GPU_1 = HOME.arn("gpu-1")
MARK = {"slicewise": {"adopted": False}}
INSTALLS_KARPENTER = POLICY + "karpenter: {install: true}\n"


def onboarded(
    policy: str = POLICY,
    strike: Callable[[Calls], object] | None = None,
    settings: Settings = SETTINGS,
    **cluster,
) -> Account:
    """An account in which one cluster's event was answered until nothing was left to answer."""
    account = created(policy, settings, **cluster)
    if strike:
        strike(account.calls)
    account.run_until_idle()
    return account


def created(policy: str = POLICY, settings: Settings = SETTINGS, **cluster) -> Account:
    account = Account(policy, settings=settings)
    account.create_cluster(**cluster)
    account.send_created()
    return account


def say_offboard(account: Account) -> None:
    cluster = account.eks.clusters["gpu-1"]
    account.eks.clusters["gpu-1"] = replace(cluster, tags={POLICY_TAG: OFFBOARD})
    account.send(Trigger(GPU_1, "its tag changed"))


def offboarded(account: Account) -> Account:
    say_offboard(account)
    account.run_until_idle()
    return account


def smooth_way(policy: str = POLICY, settings: Settings = SETTINGS, **cluster) -> list[Account]:
    """The account before each message that is answered, and at the end."""
    return way_of(created(policy, settings, **cluster))


def way_of(account: Account) -> list[Account]:
    found = [deepcopy(account)]
    while account.answer_one():
        found.append(deepcopy(account))
    return found


def struck_at(number: int, kind: str, way: list[Account]) -> Account:
    """Goes the way from the message of which this call is part, since up to there nothing differs."""
    account = deepcopy([account for account in way if len(account.calls.made) <= number][-1])
    strike(kind, number)(account.calls)
    return FUTURES.end(account)


FUTURES = Futures(Account.answer_one, Account.run_until_idle)


def stage(account: Account, name: str = "gpu-1") -> Stage | None:
    record = account.record(name)
    return record.stage if record else None


def entry(account: Account, principal: str = INSTALLER):
    return account.eks.entries.get(("gpu-1", principal))
