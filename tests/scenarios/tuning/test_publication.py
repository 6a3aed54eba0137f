"""
N is published on the workloads that have it while the policy asks for it, whatever strikes on the way.

Stand-ins as in test_tuning.py; the Deployment controller makes the pods, and never replaces one for this.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from slicewise.app import TUNING
from slicewise.errors import Refused
from slicewise.kube.labels import POOL_LABEL, PUBLISHES, SLICES_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.calls import REFUSALS, strike
from tests.fakes.kube.deployments import NAMESPACE, Deployments, deployment
from tests.support.futures import Futures
from tests.support.onboarding_runs import say_offboard
from tests.support.tuning.tuned_account import DAY, GPU_1, POLICY, TunedAccount, before

PLAIN = POLICY.replace("{start: 4, max: 8}", "{start: 2, max: 3}")
PUBLISHED = PLAIN.replace("lock: 24h}", "lock: 24h, publishSlices: true}")


class PublishedAccount(TunedAccount):
    """Three nodes, and Deployments whose pods have half a GPU each."""

    def __init__(self, *, policy: str = PUBLISHED, **replicas: int) -> None:
        super().__init__(pods=(0, 0, 0), policy=policy, slots=2)
        self.server = self.servers["gpu-1"]
        self.deployments = Deployments(self.server)
        for name, count in replicas.items():
            self.server.create(deployment(name, count, auto=False))
        self.let_pass(timedelta(seconds=30))
        self.clock.pass_by(3 * DAY)
        self.measure(slots=2)

    def published(self) -> dict[str, str | None]:
        return {
            ref.name: (item["metadata"].get("annotations") or {}).get(SLICES_ANNOTATION)
            for ref, item in sorted(self.server.of_kind("apps/v1", "Deployment"))
            if ref.namespace == NAMESPACE
        }

    def edit(self, name: str, change: Callable[[Any], object]) -> None:
        """By a person."""
        live = deepcopy(self.server.objects[Ref("apps/v1", "Deployment", name, NAMESPACE)])
        change(live)
        self.server.create(live)

    @property
    def is_marked(self) -> bool:
        return PUBLISHES in self.node_pool["metadata"]["annotations"]

    def writes(self) -> list[str]:
        return [call for call in self.calls.made if "patch Deployment" in call]

    def follow(self, policy: str) -> None:
        """Another policy is deployed, and the sweep has both reconcile by it."""
        self.policies["default"] = policy
        self.send(Trigger(GPU_1, "another policy"))
        self.answer_all()


def test_each_workload_gets_the_n_of_its_nodes_and_no_pod_is_replaced():
    account = PublishedAccount(a=3, b=2)
    assert account.published() == {"a": None, "b": None}

    account.tune()

    assert account.published() == {"a": "2", "b": "2"} and account.is_marked
    assert account.deployments.rolled == []


def test_while_n_is_unchanged_nothing_is_written():
    account = PublishedAccount(a=3)
    account.tune()
    written = len(account.writes())

    account.tune()

    assert len(account.writes()) == written == 1


def test_as_soon_as_one_node_of_it_has_another_n_a_workload_has_it_too():
    """The canary first: a scaler has too many replicas for a while, and never too few."""
    account = PublishedAccount(a=8)
    account.hours(1)
    mixed = []

    for _ in range(200):
        if account.n == 3 and account.is_idle:
            break
        if account.is_idle:
            account.let_pass(timedelta(hours=1))
            account.queues.put(TUNING, Trigger(GPU_1, "the hourly sweep").message())
        nodes = [item for _, item in account.server.of_kind("v1", "Node")]
        keys = {item["metadata"]["labels"]["nvidia.com/device-plugin.config"] for item in nodes}
        account.answer_next()
        if keys == {"ts-2", "ts-3"}:
            mixed.append(account.published()["a"])

    assert account.n == 3 and account.published() == {"a": "3"}
    assert len(mixed) > 1 and set(mixed) == {"3"}
    assert account.deployments.rolled == []


def test_one_that_refuses_it_concerns_no_other_and_gets_it_once_it_may():
    account = PublishedAccount(a=3, b=2, c=1)
    refused = Refused("403: admission webhook theirs denied the request")
    account.calls.fails = lambda what: refused if "patch Deployment ml/b" in what else None

    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    for _ in range(4):
        account.answer_next()

    assert account.published() == {"a": "2", "b": None, "c": "2"}
    assert account.tuned and [one.part for one in account.tuned.retries] == ["slices of Deployment ml/b"]
    account.calls.fails = lambda what: None
    account.hours(1)
    assert account.published() == {"a": "2", "b": "2", "c": "2"}
    assert account.tuned.retries == ()


def test_what_left_the_pool_loses_it():
    account = PublishedAccount(a=3, b=2)
    account.tune()
    assert account.published() == {"a": "2", "b": "2"}

    account.edit("b", lambda item: item["spec"].update(replicas=0))
    account.edit("b", lambda item: choose(item, "another"))
    account.tune()

    assert account.published() == {"a": "2", "b": None}


def choose(item: Any, pool: str) -> None:
    item["spec"]["template"]["spec"]["nodeSelector"] = {POOL_LABEL: pool}


def test_without_the_field_no_workload_is_written_nor_a_node_pool_marked():
    account = PublishedAccount(policy=PLAIN, a=3)

    account.tune()

    assert account.published() == {"a": None} and not account.is_marked and account.writes() == []


def test_once_the_policy_no_longer_asks_for_it_it_is_removed_and_then_the_right_to():
    account = PublishedAccount(a=3, b=2)
    account.tune()

    account.follow(PLAIN)
    account.tune()

    assert account.published() == {"a": None, "b": None} and not account.is_marked
    account.follow(PLAIN + "\n")
    role = account.server.objects[Ref("rbac.authorization.k8s.io/v1", "ClusterRole", "slicewise-tuner")]
    assert not any("apps" in rule["apiGroups"] and "patch" in rule["verbs"] for rule in role["rules"])


def test_offboarding_removes_it():
    account = PublishedAccount(a=0, b=0)
    account.tune()
    assert account.published() == {"a": "2", "b": "2"}
    for name in ("a", "b"):
        account.edit(name, lambda item: item["spec"]["template"]["spec"].pop("nodeSelector"))

    say_offboard(account)
    account.answer_gone(400)

    assert account.published() == {"a": None, "b": None}
    assert account.tuned is None


def test_without_a_policy_it_is_removed():
    account = PublishedAccount(a=3)
    account.tune()
    cluster = account.eks.clusters["gpu-1"]
    account.eks.clusters["gpu-1"] = replace(cluster, tags={"slicewise.dev/policy": "none"})

    record = account.tune()

    assert account.published() == {"a": None} and not account.is_marked
    assert record.stage is Stage.UNMANAGED


# Faults


@cache
def _ways() -> dict[str, list[PublishedAccount]]:
    """Nothing strikes: what stands before each message, and at the end."""
    begins = PublishedAccount(a=3, b=2)
    begins.calls.made.clear()
    begins.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    there = begins.way()
    ends = deepcopy(there[-1])
    ends.policies["default"] = PLAIN
    ends.calls.made.clear()
    ends.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    return {"begins": there, "ends": ends.way()}


def _ended(account: PublishedAccount) -> object:
    return account.published(), account.is_marked, account.deployments.rolled, account.n


def _go_on(account: PublishedAccount) -> None:
    account.answer_all()
    account.hours(1)


_FUTURES = Futures(PublishedAccount.answer_next, _go_on)


@pytest.mark.parametrize("way", ["begins", "ends"])
@pytest.mark.parametrize("kind", ["killed", "answer lost", *REFUSALS])
@pytest.mark.parametrize(
    "share",
    [pytest.param(5, id="here and there"), pytest.param(1, id="everywhere", marks=pytest.mark.exhaustive)],
)
def test_struck_once_at_any_call_the_next_reconciles_reach_the_same_end(share, kind, way):
    smoothly = _ways()[way]
    calls = smoothly[-1].calls.made
    assert len(calls) > 20 and any("patch Deployment ml/a" in call for call in calls)

    for number in range(0, len(calls), share):
        account = before(number, smoothly)
        strike(kind, number)(account.calls)
        assert _ended(_FUTURES.end(account)) == _ended(smoothly[-1]), f"{kind} at {number}: {calls[number]}"
