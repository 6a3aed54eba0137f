"""A cluster is tagged `offboard`: what is ours goes, what was adopted is as it was, nobody is stranded."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from slicewise.app import OFF_HOURS, ONBOARDING, TUNING
from slicewise.kube.labels import ASLEEP, CLASS_LABEL, POLICY_TAG, POOL_LABEL
from slicewise.kube.objects import MANAGED_BY, MANAGER
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import OFFBOARD
from slicewise.planning.outcome import Stage
from slicewise.pools import layout
from slicewise.trigger import Trigger

from tests.fakes.account import TUNER, Account
from tests.fakes.calls import REFUSALS, strike
from tests.fakes.kube.controllers import Controllers
from tests.scenarios.offhours.test_offhours import ASLEEP_AT_NIGHT, SERVER, berlin, replicas, until
from tests.scenarios.tuning.test_adoption import POLICY as ADOPTING
from tests.scenarios.tuning.test_adoption import THEIRS, Adopting
from tests.support.futures import Futures
from tests.support.onboarding_runs import say_offboard
from tests.support.tuning.tuned_account import GPU_1, TunedAccount, before

BOTH = ADOPTING.replace(
    "pools:",
    "pools:\n  other: {sharing: time-slicing, gpus: [a10g], replicas: {start: 2, max: 4}, maxGpus: 4}",
)


NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}}


def affinity(operator: str, *values: str) -> Object:
    one = {"key": POOL_LABEL, "operator": operator, **({"values": list(values)} if values else {})}
    term = {"nodeSelectorTerms": [{"matchExpressions": [one]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}


def deployment(chooses: Object) -> Object:
    """At no replicas."""
    containers = [{"name": "main", "resources": {"limits": {layout.GPU_RESOURCE: "1"}}}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "nightly", "namespace": "ml"},
        "spec": {"replicas": 0, "template": {"spec": {**chooses, "containers": containers}}},
    }


def offboarded(account: TunedAccount, reconciles: int = 400) -> TunedAccount:
    say_offboard(account)
    account.answer_gone(reconciles)
    return account


def of_ours(account: Account) -> list[Ref]:
    objects = account.servers["gpu-1"].objects.items()
    return [ref for ref, item in objects if (item["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER]


def nothing_is_left(account: Account, operator: bool = False) -> None:
    """But for GPU Operator, where NodePools of others go on and rest on it."""
    there = {Ref("v1", "Namespace", "gpu-operator"), layout.CONFIG_MAP} if operator else set()
    assert set(of_ours(account)) == there
    assert bool(account.releases["gpu-1"].revisions) == operator
    assert not account.eks.entries
    assert [account.record(capability=name) for name in (ONBOARDING, TUNING, OFF_HOURS)] == [None] * 3
    assert not account.alarms.named("slicewise/")
    assert account.schedules.next("gpu-1") is None
    assert not account.queues.dead


def test_a_cluster_without_workloads_is_as_if_we_had_never_been_there():
    account = TunedAccount(pods=(0, 0))

    offboarded(account)

    nothing_is_left(account)
    assert not [ref for ref in account.servers["gpu-1"].objects if ref.kind in ("NodeClaim", "Node")]
    assert "Slicewise: gpu-1 is offboarded" in [subject for subject, _ in account.notices.sent]


def test_nobody_is_let_in_any_more_who_is_allowed_nothing():
    """A late pass of tuning's gets no answer, rather than being forbidden each request."""
    account = TunedAccount(pods=(0, 0))

    offboarded(account)

    made = account.calls.made
    [out] = [n for n, call in enumerate(made) if call.startswith("eks.delete_access_entry") and TUNER in call]
    right = next(n for n, call in enumerate(made) if call == "kubernetes.delete ClusterRole slicewise-tuner")
    assert out < right


def test_pods_that_can_run_nowhere_else_are_named_and_keep_their_nodes():
    account = TunedAccount(pods=(2,))
    pods = {ref for ref in account.servers["gpu-1"].objects if ref.kind == "Pod"}

    say_offboard(account)
    account.run_until(account.clock.now + timedelta(hours=3))

    finding = next(one for one in account.record().findings if one.code == "still-asked-for")
    assert all(ref.name in finding.message for ref in pods)
    assert POOL_LABEL in finding.remedy
    assert {ref for ref in account.servers["gpu-1"].objects if ref.kind == "Pod"} == pods
    assert not (account.karpenter.moved or account.karpenter.replaced)
    assert account.n == 4, "and a node that fails is replaced, since its NodePool stays open"

    for ref in pods:
        account.servers["gpu-1"].delete(ref)
    account.answer_gone(400)

    nothing_is_left(account)


def test_waiting_for_people_asks_for_a_reconcile_four_times_an_hour_at_most():
    account = TunedAccount(pods=(2,))
    say_offboard(account)
    account.run_until(account.clock.now + timedelta(hours=1))
    before = len(account.calls.made)

    account.run_until(account.clock.now + timedelta(hours=10))

    reconciles = [call for call in account.calls.made[before:] if call.startswith("store.acquire")]
    assert len(reconciles) <= 10 * 4 * 3


def test_a_cluster_that_was_never_ours_is_left_unchanged_without_a_trace():
    account = Account()
    account.create_cluster(tags={POLICY_TAG: OFFBOARD})

    account.send_created()
    account.sweep()
    account.run_until_idle()

    assert not [
        call for call in account.calls.made if call.startswith(("eks.put", "eks.grant", "kubernetes"))
    ]
    assert account.record() is None


@pytest.mark.parametrize("tags", [{}, {POLICY_TAG: "none"}], ids=["gone", "none"])
def test_a_tag_that_is_merely_missing_empties_and_deletes_nothing(tags):
    account = TunedAccount(pods=(2, 0))
    before = of_ours(account)

    account.eks.clusters["gpu-1"] = replace(account.eks.clusters["gpu-1"], tags=tags)
    account.send(Trigger(GPU_1, "its tag changed"))
    account.answer_gone(400)
    account.hours(3)

    assert of_ours(account) == before
    limits = [
        item["spec"]["limits"]
        for ref, item in account.servers["gpu-1"].objects.items()
        if ref.kind == "NodePool"
    ]
    assert {limit[layout.GPU_RESOURCE] for limit in limits} != {"0"}


def test_tagged_with_a_policy_again_half_way_it_is_onboarded_as_before():
    account = TunedAccount(pods=(0,))
    whole = {
        ref: item["spec"] for ref, item in account.servers["gpu-1"].objects.items() if ref.kind == "NodePool"
    }
    say_offboard(account)
    while not any(
        item["metadata"]["annotations"].get("slicewise.dev/applied") == layout.CLOSED
        for ref, item in account.servers["gpu-1"].objects.items()
        if ref.kind == "NodePool"
    ):
        account.answer_next()

    account.eks.clusters["gpu-1"] = replace(account.eks.clusters["gpu-1"], tags={POLICY_TAG: "default"})
    account.send(Trigger(GPU_1, "its tag changed"))
    account.answer_gone(400)

    assert account.record().stage is Stage.ONBOARDED
    assert {
        ref: item["spec"] for ref, item in account.servers["gpu-1"].objects.items() if ref.kind == "NodePool"
    } == whole


def test_an_operator_that_others_gpus_rest_on_stays_and_is_reported():
    account = TunedAccount(pods=())
    labels = {"nvidia.com/gpu.count": "1"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "theirs", "labels": labels}, "spec": {}}
    account.servers["gpu-1"].create(node)

    offboarded(account)

    assert ("gpu-operator", "gpu-operator") in account.releases["gpu-1"].revisions
    assert set(of_ours(account)) == {Ref("v1", "Namespace", "gpu-operator"), layout.CONFIG_MAP}
    assert any("theirs" in text and "GPU Operator stays" in text for _, text in account.notices.sent)
    assert not account.eks.entries


class TestAnAdoptedNodePool:
    def shared(self) -> Adopting:
        account = Adopting()
        self.before = self.theirs(account)
        account.onboard()
        account.idle()
        account.tune()
        account.hours(8)
        assert account.n > 1
        return account

    def begin_to_grow(self, account: Adopting) -> None:
        for _ in range(12):
            account.let_pass(timedelta(hours=1))
            account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
            for _ in range(4):
                account.answer_next()
                if account.tuned and account.tuned.stage is Stage.TUNING:
                    return
                if not account.queues.waiting:
                    break
        raise AssertionError("N never grew")

    def theirs(self, account: Adopting) -> dict[Ref, Any]:
        kinds = ("NodePool", "NodeClaim", "Node")
        objects = account.servers["gpu-1"].objects.items()
        return {ref: deepcopy(_lasting(item)) for ref, item in objects if ref.kind in kinds}

    def test_goes_back_to_whole_gpus_and_is_as_it_was(self):
        account = self.shared()

        offboarded(account)

        now = self.theirs(account)
        node_pool = Ref("karpenter.sh/v1", "NodePool", "gpu")
        assert now[node_pool] == self.before[node_pool]
        kept = [ref for ref in now if ref in self.before]
        assert {ref: now[ref] for ref in kept} == {ref: self.before[ref] for ref in kept}
        assert not [ref for ref, item in now.items() if POOL_LABEL in item["metadata"].get("labels", {})]
        assert not account.karpenter.broken_promises
        nothing_is_left(account, operator=True)

    def test_at_one_pod_a_gpu_no_node_is_replaced(self):
        account = Adopting()
        self.before = self.theirs(account)
        account.onboard()
        account.tune()

        offboarded(account)

        assert self.theirs(account) == self.before
        assert account.undisturbed()
        nothing_is_left(account, operator=True)

    def test_a_change_to_more_slices_that_is_half_way_goes_back(self):
        account = Adopting()
        self.before = self.theirs(account)
        account.onboard()
        account.idle()
        account.tune()
        self.begin_to_grow(account)

        offboarded(account)

        node_pool = Ref("karpenter.sh/v1", "NodePool", "gpu")
        assert self.theirs(account)[node_pool] == self.before[node_pool]
        nothing_is_left(account, operator=True)


def smooth_way(account: TunedAccount) -> list[TunedAccount]:
    """The account before each message that is answered, and at the end."""
    say_offboard(account)
    return account.way()


def _go_on(account: TunedAccount) -> None:
    account.answer_gone(400)
    account.sweep()
    account.answer_gone(400)


_FUTURES = Futures(TunedAccount.answer_next, _go_on)


def adopted_and_ours() -> TunedAccount:
    account = Adopting(policy=BOTH)
    account.onboard()
    account.tune()
    account.run_until_idle()
    return account


@pytest.mark.parametrize("kind", ["killed", "answer lost", *REFUSALS])
def test_struck_once_at_any_call_the_next_reconciles_reach_the_same_end(kind):
    way = smooth_way(adopted_and_ours())
    end, begin = way[-1].state(), len(way[0].calls.made)
    calls = list(enumerate(way[-1].calls.made))[begin:]

    # Killed at each call; of the others a sample, since each is a world that goes on for minutes.
    for number, call in calls if kind == "killed" else calls[::5]:
        struck = before(number, way)
        strike(kind, number)(struck.calls)
        struck = _FUTURES.end(struck)

        assert struck.state() == end, f"{kind} at call {number}, {call}"
        nothing_is_left(struck, operator=True)


def _lasting(item: Object) -> Object:
    metadata = {
        key: value
        for key, value in item["metadata"].items()
        if key in ("name", "labels", "annotations") and value
    }
    return {"metadata": metadata, "spec": item.get("spec")}


class TestAClusterThatSleeps:
    def asleep(self) -> Account:
        account = Account(ASLEEP_AT_NIGHT)
        account.clock.now = berlin(12)
        account.create_cluster()
        account.send_created()
        account.run_until_idle()
        server = account.servers["gpu-1"]
        server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}})
        Controllers(server)
        server.create(SERVER)
        until(account, berlin(20.5))
        assert replicas(account) == 0
        return account

    def test_is_woken_before_anything_goes(self):
        account = self.asleep()
        begin = len(account.calls.made)

        say_offboard(account)
        account.run_until(berlin(21.5))

        assert replicas(account) == 3
        calls = account.calls.made[begin:]
        woken = max(number for number, call in enumerate(calls) if call.startswith("kubernetes.scale"))
        gone = [number for number, call in enumerate(calls) if call.startswith("kubernetes.delete")]
        assert not gone or woken < gone[0]
        finding = next(one for one in account.record().findings if one.code == "still-asked-for")
        assert "ml/server" in finding.message, "its pods are awake, and can run nowhere else"

    def test_with_an_emptied_table_its_objects_are_asked_what_sleeps(self):
        """Replicas were in the table alone, and are lost with it: who had some is named, and nothing goes."""
        account = self.asleep()
        account.store.delete_state(GPU_1)

        say_offboard(account)
        account.run_until(berlin(22.5))

        server = account.servers["gpu-1"]
        node_pool = server.objects[Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4")]
        assert ASLEEP not in node_pool["metadata"]["annotations"]
        assert reported(account, "still-asked-for") == ["Deployment ml/server"]

        server.delete(ref_of(SERVER))
        account.run_until(berlin(23.5))

        nothing_is_left(account)


def reported(account: Account, code: str) -> list[str]:
    """What the findings with that code name."""
    found = [one.message for one in account.record().findings if one.code == code]
    return [match for message in found for match in re.findall(r"(?:[A-Z]\w+ )?[\w-]+/[\w-]+", message)]


class TestWhoIsAskedBeforeANodePoolGoes:
    def waits(self, *items: Object, pods: tuple[int, ...] = (0,)) -> TunedAccount:
        account = TunedAccount(pods=pods)
        for item in items:
            account.servers["gpu-1"].create(NAMESPACE)
            account.servers["gpu-1"].create(item)
        say_offboard(account)
        account.run_until(account.clock.now + timedelta(hours=2))
        return account

    @pytest.mark.parametrize(
        "chooses",
        [
            {"nodeSelector": {POOL_LABEL: "shared"}},
            {"nodeSelector": {CLASS_LABEL: "4"}},
            {"nodeSelector": {layout.NODE_POOL_LABEL: "slicewise-shared-l4"}},
            {"affinity": affinity("In", "shared")},
            {"affinity": affinity("Exists")},
        ],
    )
    def test_a_workload_without_a_pod_now_is_named(self, chooses):
        account = self.waits(deployment(chooses))

        assert reported(account, "still-asked-for") == ["Deployment ml/nightly"]
        assert account.n == 4

    @pytest.mark.parametrize("affinity", [affinity("NotIn", "shared"), affinity("In", "another")])
    def test_one_that_keeps_away_holds_nothing(self, affinity):
        account = TunedAccount(pods=(0,))
        account.servers["gpu-1"].create(NAMESPACE)
        account.servers["gpu-1"].create(deployment({"affinity": affinity}))

        nothing_is_left(offboarded(account))

    def test_a_pod_that_comes_while_it_is_closed_is_named_and_waited_for(self):
        account = TunedAccount(pods=(0,))
        say_offboard(account)
        while account.n is None or not closed(account):
            account.answer_next()
        account.karpenter.add_pod(name="late")

        account.run_until(account.clock.now + timedelta(hours=2))

        assert reported(account, "still-asked-for") == ["default/late"]
        assert closed(account)

    def test_where_nobody_else_has_gpus_a_pod_that_chooses_nothing_stays_as_well(self):
        account = TunedAccount(pods=(0,))
        [node] = [ref.name for ref in account.servers["gpu-1"].objects if ref.kind == "Node"]
        name = account.karpenter.add_pod(node)
        pod = account.servers["gpu-1"].objects[Ref("v1", "Pod", name, "default")]
        pod["spec"].pop("nodeSelector")

        say_offboard(account)
        account.run_until(account.clock.now + timedelta(hours=2))

        assert reported(account, "still-asked-for") == [f"default/{name}"]


def closed(account: TunedAccount) -> bool:
    objects = account.servers["gpu-1"].objects.items()
    return any(
        item["metadata"]["annotations"].get("slicewise.dev/applied") == layout.CLOSED
        for ref, item in objects
        if ref.kind == "NodePool"
    )


def test_a_tuner_whose_entry_was_deleted_gets_it_back_and_goes_on():
    account = TunedAccount(pods=(0,))
    del account.eks.entries["gpu-1", TUNER]

    offboarded(account)

    nothing_is_left(account)


def test_a_node_class_that_a_teams_node_pool_uses_stays_and_is_reported():
    account = TunedAccount(pods=())
    node_pool = deepcopy(THEIRS)
    node_pool["spec"]["template"]["spec"]["nodeClassRef"]["name"] = "slicewise"
    account.servers["gpu-1"].create(node_pool)

    offboarded(account)

    node_class = Ref("karpenter.k8s.aws/v1", "EC2NodeClass", "slicewise")
    assert node_class in account.servers["gpu-1"].objects
    assert any("NodePool gpu, which is not ours, rests on it" in text for _, text in account.notices.sent)


def test_a_node_pool_with_our_label_alone_is_not_deleted():
    account = TunedAccount(pods=())
    node_pool = deepcopy(THEIRS)
    node_pool["metadata"]["labels"] = {MANAGED_BY: MANAGER}
    account.servers["gpu-1"].create(node_pool)

    say_offboard(account)
    account.run_until(account.clock.now + timedelta(hours=3))

    assert Ref("karpenter.sh/v1", "NodePool", "gpu") in account.servers["gpu-1"].objects


def test_a_node_pool_that_the_policy_dropped_goes_as_well():
    account = TunedAccount(pods=(0,))
    other = (
        "pools:\n  other: {sharing: time-slicing, gpus: [a10g], replicas: {start: 2, max: 4}, maxGpus: 4}\n"
    )
    account.policies["default"] = other
    account.send(Trigger(GPU_1, "the policy changed"))
    account.run_until_idle()
    assert Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4") in account.servers["gpu-1"].objects

    offboarded(account)

    nothing_is_left(account)
