"""A NodePool that you or a tool made is taken over by a policy, tuned, and given back as it was."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from slicewise.app import TUNING
from slicewise.errors import Refused, Unavailable
from slicewise.kube.labels import (
    ASLEEP,
    ORIGINAL_ANNOTATION,
    POOL_LABEL,
    ROLLOUT_ANNOTATION,
    TUNING_ANNOTATION,
)
from slicewise.kube.ref import Ref
from slicewise.planning.outcome import Stage
from slicewise.policy.model import parse
from slicewise.pools import layout
from slicewise.trigger import Trigger
from slicewise.tuning.explain import lines

from tests.fakes.account import Account
from tests.fakes.calls import REFUSALS, strike
from tests.fakes.kube.karpenter import FakeKarpenter
from tests.support.futures import Futures
from tests.support.tuning.tuned_account import DAY, GPU_1, TunedAccount, before

POLICY = """
pools:
  shared: {sharing: time-slicing, gpus: [l4], adopt: gpu, replicas: {max: 8}, maxGpus: 16}
tuning: {raiseAfter: 2h, lowerAfter: 30m, dwell: 1h, canary: 2m, lock: 24h}
"""
WITHOUT_IT = "pools:\n  other: {sharing: none, gpus: [a10g], maxGpus: 4, gpuCounts: [1]}\n"
THEIRS: dict[str, Any] = {
    "apiVersion": "karpenter.sh/v1",
    "kind": "NodePool",
    "metadata": {"name": "gpu", "labels": {"team": "vision"}, "annotations": {"owner": "ann"}},
    "spec": {
        "template": {
            "metadata": {"labels": {"team": "vision"}},
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu"},
                "requirements": [
                    {"key": layout.GPU_NAME_LABEL, "operator": "In", "values": ["l4"]},
                    {"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "Gt", "values": ["0"]},
                ],
            },
        },
        "disruption": {
            "consolidationPolicy": "WhenEmpty",
            "consolidateAfter": "1h",
            "budgets": [{"nodes": "1"}],
        },
        "limits": {"cpu": "1000", "nvidia.com/gpu": "10"},
    },
}


class Adopting(TunedAccount):
    """An account whose cluster had a NodePool of its team's, with three nodes that run, before us."""

    def __init__(self, policy: str = POLICY, theirs: dict[str, Any] = THEIRS, nodes: int = 3) -> None:
        Account.__init__(self, policy)
        self.create_cluster()
        server = self.servers["gpu-1"]
        server.create(deepcopy(theirs))
        self.karpenter = FakeKarpenter(server, parse(POLICY, "default"), self.clock)
        for _ in range(nodes):
            self.karpenter.add_node(1, pool=theirs["metadata"]["name"])
        self.clock.pass_by(3 * DAY)

    def onboard(self) -> None:
        """Until tuning is woken, which then takes over."""
        self.send_created()
        while self.queues.waiting and not any(m.capability == TUNING for m in self.queues.waiting):
            self.answer_one()

    def idle(self) -> None:
        """Whole GPUs, measured, of which nothing much is used."""
        self.measure(memory_mib=2000.0, slots=1, busy=4.0)

    @property
    def node_pool(self) -> dict[str, Any]:
        return self.servers["gpu-1"].objects[Ref("karpenter.sh/v1", "NodePool", "gpu")]

    @property
    def marks(self) -> dict[str, str]:
        return self.node_pool["metadata"]["annotations"]

    @property
    def capacities(self) -> set[str]:
        objects = self.servers["gpu-1"].objects.items()
        overlays = [item for ref, item in objects if ref.kind == "NodeOverlay" and ref.name.endswith("-1")]
        return {item["spec"]["capacity"]["nvidia.com/gpu"] for item in overlays}

    def undisturbed(self) -> bool:
        seen = self.karpenter
        return not (seen.ever_drifted or seen.replaced or seen.moved or seen.broken_promises)


def test_it_is_taken_over_with_no_node_replaced():
    account = Adopting()
    account.onboard()

    account.tune()

    assert account.undisturbed()
    assert account.n == 1
    assert account.node_pool["spec"]["limits"] == {"cpu": "1000", "nvidia.com/gpu": "16"}
    assert account.capacities == {"1"}
    assert account.tuned.stage is Stage.ONBOARDED
    template = account.node_pool["spec"]["template"]
    assert template["metadata"] == THEIRS["spec"]["template"]["metadata"], "that is hashed"


def test_its_n_then_follows_use_like_any_other():
    account = Adopting()
    account.onboard()
    account.idle()
    account.tune()

    account.hours(8)

    assert account.n > 1
    assert account.undisturbed() or account.karpenter.consolidated
    assert not account.karpenter.ever_drifted
    assert account.capacities == {str(account.n)}


def test_pods_that_wait_for_it_in_their_owners_words_want_a_higher_n():
    """One node, and no more may come: only that a pod waits speaks for two pods a GPU."""
    theirs = deepcopy(THEIRS)
    taint = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
    theirs["spec"]["template"]["spec"]["taints"] = [taint]
    account = Adopting(POLICY.replace("maxGpus: 16", "maxGpus: 1"), theirs, nodes=1)
    account.onboard()
    account.idle()
    account.tune()
    account.hours(8)
    assert account.n == 1, "nobody wants more"

    pod = account.servers["gpu-1"].objects[Ref("v1", "Pod", account.karpenter.add_pod(), "default")]
    pod["spec"]["nodeSelector"] = {"team": "vision"}
    pod["spec"]["tolerations"] = [{"key": "dedicated", "operator": "Exists"}]
    account.hours(4)

    assert account.n == 2
    assert not account.karpenter.ever_drifted


def test_it_is_restored_as_it_was_when_its_pool_leaves_the_policy():
    account = Adopting()
    before = deepcopy(account.node_pool)
    account.onboard()
    account.tune()

    account.policies["default"] = WITHOUT_IT
    account.send(Trigger(GPU_1, "the policy changed"))
    account.run_until_idle()
    account.tune()

    now = account.node_pool
    assert now["spec"] == before["spec"]
    assert now["metadata"]["labels"] == before["metadata"]["labels"]
    assert now["metadata"]["annotations"] == before["metadata"]["annotations"]
    assert account.undisturbed()


def test_it_is_restored_when_the_cluster_loses_its_tag():
    account = Adopting()
    before = deepcopy(account.node_pool)
    account.onboard()
    account.tune()

    account.eks.clusters["gpu-1"] = replace(account.eks.clusters["gpu-1"], tags={})
    account.tune()

    assert account.node_pool["spec"] == before["spec"]
    assert account.undisturbed()


def test_a_nodepool_that_sleeps_is_neither_taken_over_nor_restored():
    account = Adopting()
    account.node_pool["metadata"]["annotations"][ASLEEP] = "2026-03-02T07:00:00Z"
    account.onboard()
    account.tune()
    assert ORIGINAL_ANNOTATION not in account.node_pool["metadata"]["annotations"]

    del account.node_pool["metadata"]["annotations"][ASLEEP]
    account.tune()
    assert ORIGINAL_ANNOTATION in account.node_pool["metadata"]["annotations"]

    account.node_pool["metadata"]["annotations"][ASLEEP] = "2026-03-02T07:00:00Z"
    account.policies["default"] = WITHOUT_IT
    account.tune()
    assert ORIGINAL_ANNOTATION in account.node_pool["metadata"]["annotations"]


def test_under_another_pool_it_is_restored_and_taken_over_again():
    account = Adopting()
    account.onboard()
    account.tune()

    account.policies["default"] = POLICY.replace("shared:", "renamed:")
    account.send(Trigger(GPU_1, "the policy changed"))
    account.run_until_idle()
    account.tune()

    assert account.node_pool["metadata"]["labels"][POOL_LABEL] == "renamed"
    nodes = [item for ref, item in account.servers["gpu-1"].objects.items() if ref.kind == "Node"]
    assert {node["metadata"]["labels"][POOL_LABEL] for node in nodes} == {"renamed"}
    account.karpenter.tick()
    assert account.undisturbed()


def test_shared_gpus_are_restored_shared():
    account = Adopting()
    account.onboard()
    account.idle()
    account.tune()
    account.hours(8)
    n = account.n

    account.policies["default"] = WITHOUT_IT
    record = account.tune()

    assert account.n == n, "else Karpenter would replace nodes whose pods run"
    assert account.node_pool["spec"]["disruption"] == THEIRS["spec"]["disruption"]
    assert account.node_pool["spec"]["limits"] == {"cpu": "1000", "nvidia.com/gpu": str(10 * n)}
    assert "given-back-shared" in {finding.code for finding in record.findings}
    assert not account.karpenter.ever_drifted


@pytest.mark.parametrize("created_after", range(5))
def test_a_node_that_is_created_meanwhile_is_caught(created_after):
    account = Adopting()
    account.onboard()
    for _ in range(created_after):
        account.answer_next()

    account.karpenter.add_node(1, pool="gpu")
    account.answer_all()

    assert account.undisturbed()
    assert account.n == 1


PROTECTED = {
    "consolidationPolicy": "WhenEmpty",
    "consolidateAfter": "Never",
    "budgets": [
        {"nodes": "0", "schedule": "0 6 * * 1-5", "duration": "14h"},
        {"nodes": "0", "reasons": ["Drifted"]},
    ],
}


def protected() -> dict[str, Any]:
    """A NodePool that its team has made safe, with all that a NodePool can say beside."""
    theirs = deepcopy(THEIRS)
    theirs["spec"] |= {"disruption": deepcopy(PROTECTED), "weight": 7}
    theirs["spec"]["template"]["spec"] |= {
        "taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}],
        "expireAfter": "720h",
        "terminationGracePeriod": "2h",
    }
    return theirs


UNBOUNDED = POLICY.replace(", maxGpus: 16", "")


def adopted_under(policy: str, theirs: dict[str, Any]) -> Adopting:
    account = Adopting(policy, theirs)
    account.onboard()
    account.tune()
    account.tune()
    assert ORIGINAL_ANNOTATION in account.node_pool["metadata"]["annotations"]
    return account


def without_our_requirements(spec: dict[str, Any]) -> dict[str, Any]:
    left = deepcopy(spec)
    template = left["template"]["spec"]
    ours = (POOL_LABEL, layout.CONFIG_LABEL)
    template["requirements"] = [one for one in template["requirements"] if one["key"] not in ours]
    return left


def test_what_the_policy_does_not_write_stays_as_its_owner_has_it():
    account = adopted_under(UNBOUNDED, protected())

    assert without_our_requirements(account.node_pool["spec"]) == protected()["spec"]
    assert "adopt-changes" not in codes_of(account)


def test_its_own_limit_counts_where_the_policy_names_none():
    account = adopted_under(UNBOUNDED, THEIRS)
    account.idle()
    account.hours(8)

    assert account.n > 1
    assert account.node_pool["spec"]["limits"] == {"cpu": "1000", "nvidia.com/gpu": str(10 * account.n)}


def test_without_any_limit_of_gpus_none_is_set():
    theirs = deepcopy(THEIRS)
    theirs["spec"]["limits"] = {"cpu": "1000"}
    account = adopted_under(UNBOUNDED, theirs)
    account.idle()
    account.hours(8)

    assert account.n > 1
    assert account.node_pool["spec"]["limits"] == {"cpu": "1000"}


@pytest.mark.parametrize(
    ("written", "changes"),
    [
        ("policy: WhenEmptyOrUnderutilized", {"consolidationPolicy": "WhenEmptyOrUnderutilized"}),
        ("after: 5m", {"consolidateAfter": "5m"}),
        ("idleAfter: 2m", {}),
    ],
)
def test_only_the_field_that_the_policy_writes_is_taken_over_and_it_is_restored(written, changes):
    policy = UNBOUNDED + f"consolidation: {{{written}}}\n"
    account = adopted_under(policy, protected())
    assert account.node_pool["spec"]["disruption"] == PROTECTED | changes

    account.policies["default"] = UNBOUNDED
    account.tune()
    assert account.node_pool["spec"]["disruption"] == PROTECTED, "the policy no longer writes it"

    account.policies["default"] = policy
    account.tune()
    account.policies["default"] = WITHOUT_IT
    account.tune()
    assert account.node_pool["spec"] == protected()["spec"]


def test_business_hours_are_added_to_its_budgets_and_loosen_none():
    hours = 'businessHours: {timeZone: UTC, hours: ["Mon-Fri 08:00-18:00"]}'
    account = adopted_under(UNBOUNDED + f"consolidation: {{{hours}}}\n", protected())

    budgets = account.node_pool["spec"]["disruption"]["budgets"]
    assert budgets[:2] == PROTECTED["budgets"]
    assert len(budgets) > 2

    account.policies["default"] = WITHOUT_IT
    account.tune()
    assert account.node_pool["spec"]["disruption"] == PROTECTED


def test_what_its_owner_changes_later_is_kept_and_stays_when_it_is_restored():
    account = adopted_under(UNBOUNDED + "consolidation: {after: 5m}\n", protected())
    later = [{"nodes": "3"}]
    account.node_pool["spec"]["disruption"]["budgets"] = deepcopy(later)
    account.node_pool["spec"]["limits"]["cpu"] = "2000"
    account.tune()
    assert account.node_pool["spec"]["disruption"]["budgets"] == later

    account.policies["default"] = WITHOUT_IT
    account.tune()
    assert account.node_pool["spec"]["disruption"] == PROTECTED | {"budgets": later}
    assert account.node_pool["spec"]["limits"] == {"cpu": "2000", "nvidia.com/gpu": "10"}


def test_what_an_earlier_release_wrote_over_is_put_back():
    account = adopted_under(UNBOUNDED, protected())
    marks = account.node_pool["metadata"]["annotations"]
    kept = json.loads(marks[ORIGINAL_ANNOTATION])
    marks[ORIGINAL_ANNOTATION] = json.dumps({k: v for k, v in kept.items() if k != "taken"})
    disruption = {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "10m"}
    ref = Ref("karpenter.sh/v1", "NodePool", "gpu")
    value = {**disruption, "budgets": [dict(budget) for budget in layout.BUDGETS]}
    server = account.servers["gpu-1"]
    server.patch(ref, [{"op": "replace", "path": "/spec/disruption", "value": value}], manager="slicewise")

    account.tune()

    assert account.node_pool["spec"]["disruption"] == PROTECTED
    assert account.undisturbed()


def test_what_the_policy_writes_over_is_reported_before_it_does():
    account = Adopting(POLICY + "consolidation: {after: 5m}\n", protected())
    account.onboard()

    [reported] = [one for one in account.record().findings if one.code == "adopt-changes"]
    assert "limit 10 of nvidia.com/gpu becomes 16 GPUs (maxGpus)" in reported.message
    assert "consolidateAfter Never becomes 5m (consolidation.after)" in reported.message
    account.answer_next()
    assert "adopt-changes" in codes_of(account), "also the pass that labels nodes says so"
    account.answer_all()
    assert account.node_pool["spec"]["disruption"] == PROTECTED | {"consolidateAfter": "5m"}


def codes_of(account: Adopting) -> set[str]:
    assert account.tuned
    return {finding.code for finding in account.tuned.findings}


THEIR_KEY = {"key": layout.CONFIG_LABEL, "operator": "In", "values": ["theirs"]}


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (
            {"metadata": {"labels": {POOL_LABEL: "mine"}}},
            f"template has the label {POOL_LABEL}",
        ),
        ({"spec": {"requirements": [THEIR_KEY]}}, f"requires another {layout.CONFIG_LABEL}"),
    ],
    ids=["a hashed label", "a key of their own"],
)
def test_what_cannot_be_taken_over_is_refused_before_anything_is_touched(change, reported):
    theirs = deepcopy(THEIRS)
    for part, value in change.items():
        theirs["spec"]["template"][part] |= value
    account = Adopting(theirs=theirs, nodes=0)
    before = deepcopy(account.node_pool)
    account.onboard()

    record = account.record()
    assert record.stage is Stage.BLOCKED
    assert reported in record.reason
    assert account.node_pool == before


@pytest.mark.parametrize(
    ("changed", "reported"),
    [
        ({"replicas": 3}, "it is static (spec.replicas is 3)"),
        (
            {"template": {"metadata": {"labels": {layout.MIG_LABEL: "all-1g.10gb"}}}},
            "its GPUs are split by MIG (nvidia.com/mig.config=all-1g.10gb)",
        ),
    ],
    ids=["static", "MIG"],
)
def test_an_odd_nodepool_is_refused_by_name_before_anything_is_touched(changed, reported):
    theirs = deepcopy(THEIRS)
    theirs["spec"] |= {key: value for key, value in changed.items() if key != "template"}
    theirs["spec"]["template"] |= changed.get("template", {})
    account = Adopting(theirs=theirs, nodes=0)
    before = deepcopy(account.node_pool)
    account.onboard()

    assert account.record().stage is Stage.BLOCKED
    assert "NodePool gpu" in account.record().reason and reported in account.record().reason
    assert account.node_pool == before


def test_a_nodepool_on_capacity_reservations_is_adopted_and_reported_what_that_means():
    theirs = deepcopy(THEIRS)
    reserved = {"key": layout.CAPACITY_TYPE_LABEL, "operator": "In", "values": ["reserved", "on-demand"]}
    theirs["spec"]["template"]["spec"]["requirements"].append(reserved)
    account = Adopting(UNBOUNDED, theirs=theirs)
    account.onboard()

    [reported] = [one for one in account.record().findings if one.code == "adopt-reserved"]
    assert "NodePool gpu uses capacity reservations" in reported.message
    account.tune()
    assert without_our_requirements(account.node_pool["spec"]) == theirs["spec"]
    assert account.undisturbed()


def taken_away(account: Adopting) -> None:
    """A tool has the NodePool as its repository says: our requirements are gone from it."""
    server = account.servers["gpu-1"]
    path, requirements = (
        "/spec/template/spec/requirements",
        THEIRS["spec"]["template"]["spec"]["requirements"],
    )
    operation = {"op": "replace", "path": path, "value": deepcopy(requirements)}
    server.patch(Ref("karpenter.sh/v1", "NodePool", "gpu"), [operation], manager="argocd-controller")


def shared_by(account: Adopting) -> int:
    account.onboard()
    account.idle()
    account.tune()
    account.hours(8)
    assert account.n and account.n > 1
    return account.n


def test_a_requirement_that_a_tool_takes_away_is_reported_and_n_stays_what_its_nodes_do():
    account = Adopting()
    n = shared_by(account)
    taken_away(account)
    account.tune()
    assert account.n == n, "it is put back at once, the first time"
    taken_away(account)
    bare = account.karpenter.add_node(0, pool="gpu")

    account.send(Trigger(GPU_1, "the hourly sweep"))
    account.run_until_idle()
    record = account.tune()

    assert account.n is None, "that tool is not fought"
    [reported] = [one for one in record.findings if one.code == "requirement-taken-away"]
    assert "argocd-controller" in reported.message and f"N stays {n}" in reported.message
    assert "ignoreDifferences" in reported.remedy
    assert account.capacities == {str(n)}
    assert account.node_pool["spec"]["limits"]["nvidia.com/gpu"] == str(16 * n)
    assert record.details[0]["n"] == n
    node = account.servers["gpu-1"].objects.get(Ref("v1", "Node", bare))
    assert node is None or node["metadata"]["labels"][layout.CONFIG_LABEL] == f"ts-{n}"
    assert not account.karpenter.ever_drifted


def test_it_is_put_back_a_day_later_and_stays_where_the_tool_has_learnt_to_leave_it():
    account = Adopting()
    n = shared_by(account)
    for _ in range(2):
        taken_away(account)
        account.tune()
    assert account.n is None

    account.hours(25)

    assert account.n == n
    assert "requirement-taken-away" not in codes_of(account)
    assert not account.karpenter.ever_drifted


def test_a_nodepool_that_is_not_there_is_refused():
    account = Adopting(POLICY.replace("adopt: gpu", "adopt: gone"))
    account.onboard()

    assert account.record().stage is Stage.BLOCKED
    assert "adopts NodePool gone, which is not there" in account.record().reason


@pytest.mark.parametrize(
    ("label", "value", "reported"),
    [
        (layout.GPU_NAME_LABEL, "t4", "has t4 GPUs, and the pool is for l4"),
        (layout.CONFIG_LABEL, "ts-3", f"is labelled {layout.CONFIG_LABEL}=ts-3"),
    ],
    ids=["another model", "a key of their own"],
)
def test_a_node_that_is_no_whole_gpu_of_the_model_keeps_it_from_being_taken_over(label, value, reported):
    account = Adopting()
    account.servers["gpu-1"].objects[Ref("v1", "Node", "node-003")]["metadata"]["labels"][label] = value
    account.onboard()

    record = account.tune()

    assert [finding.code for finding in record.findings] == ["not-adopted"]
    assert reported in record.findings[0].message
    assert ORIGINAL_ANNOTATION not in account.node_pool["metadata"]["annotations"]


def asking_for(gpus: int, name: str, kind: str = "Deployment", **chooses: Any) -> dict[str, Any]:
    """What makes pods that ask for so many GPUs."""
    container = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    template = {"template": {"spec": {"containers": [container], **chooses}}}
    job = {"jobTemplate": {"spec": template}} if kind == "CronJob" else template
    version = "apps/v1" if kind in ("Deployment", "StatefulSet") else "batch/v1"
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": job}


def test_a_running_pod_that_asks_for_two_gpus_is_named_and_n_stays_one_as_long_as_it_is_there():
    account = Adopting()
    server = account.servers["gpu-1"]
    account.karpenter.add_pod("node-001", name="training")
    pod = server.objects[Ref("v1", "Pod", "training", "default")]
    pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "2"
    account.onboard()
    account.idle()
    account.tune()
    account.hours(8)

    assert account.n == 1 and ORIGINAL_ANNOTATION in account.node_pool["metadata"]["annotations"]
    [reported] = [one for one in account.tuned.findings if one.code == "more-than-one-gpu"]
    assert "Pod default/training (2 GPUs)" in reported.message and "so N stays 1" in reported.message

    account.karpenter.end_pod("training")
    account.hours(4)
    assert account.n > 1
    assert "more-than-one-gpu" not in codes_of(account)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Job", "CronJob"])
def test_so_does_a_template_that_has_no_pod_now(kind):
    account = Adopting()
    account.onboard()
    account.servers["gpu-1"].create(asking_for(2, "train", kind))
    account.idle()
    account.tune()
    account.hours(8)

    assert account.n == 1
    [reported] = [one for one in account.tuned.findings if one.code == "more-than-one-gpu"]
    assert f"{kind} default/train (2 GPUs)" in reported.message
    assert any("To let N rise" in line for line in lines(account.tuned.details[0]))

    account.servers["gpu-1"].delete(Ref(asking_for(2, "train", kind)["apiVersion"], kind, "train", "default"))
    account.hours(4)
    assert account.n > 1


@pytest.mark.parametrize(
    "other",
    [
        asking_for(1, "small"),
        asking_for(2, "elsewhere", nodeSelector={POOL_LABEL: "other"}),
        asking_for(2, "by-name", nodeSelector={layout.NODE_POOL_LABEL: "cpu"}),
    ],
    ids=["one GPU", "another pool", "another NodePool"],
)
def test_what_asks_for_one_or_goes_elsewhere_keeps_nobody_from_sharing(other):
    account = Adopting()
    account.onboard()
    account.servers["gpu-1"].create(other)
    account.idle()
    account.tune()
    account.hours(8)

    assert account.n > 1


def test_one_that_comes_while_n_grows_from_one_takes_it_back():
    account = Adopting()
    account.onboard()
    account.idle()
    account.tune()
    for _ in range(8):
        account.let_pass(timedelta(hours=1))
        account.queues.put(TUNING, Trigger(GPU_1, "the hourly sweep").message())
        while account.queues.waiting and ROLLOUT_ANNOTATION not in account.marks:
            account.answer_next()
        if ROLLOUT_ANNOTATION in account.marks:
            break
    account.karpenter.add_pod(account.karpenter.add_node(0, pool="gpu"), name="training")
    pod = account.servers["gpu-1"].objects[Ref("v1", "Pod", "training", "default")]
    pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "2"

    account.answer_all()

    assert account.n == 1
    assert list(json.loads(account.annotation(TUNING_ANNOTATION))["failed"]) == ["2"]
    assert "more-than-one-gpu" in codes_of(account)
    assert not account.karpenter.ever_drifted


def test_on_a_shared_pool_each_that_asks_for_two_is_reported_with_what_would_let_it_run():
    account = TunedAccount()
    account.servers["gpu-1"].create(asking_for(2, "train", "CronJob"))

    record = account.tune()

    [reported] = [one for one in record.findings if one.code == "more-than-one-gpu"]
    assert "CronJob default/train (2 GPUs)" in reported.message and "kubelet refuses" in reported.message
    assert "sharing: none" in reported.remedy
    assert any("To let them run" in line for line in lines(record.details[0]))


WHOLE = """
pools:
  whole: {sharing: none, gpus: [l4], maxGpus: 4}
  mixed: {sharing: time-slicing, gpus: [l4], maxGpus: 4, classes: [1, 2]}
"""


def test_pools_of_whole_gpus_and_classes_of_one_serve_them_and_are_reported_nothing():
    account = TunedAccount(policy=WHOLE, pods=())
    server = account.servers["gpu-1"]
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    server.create(asking_for(2, "train", "CronJob"))
    account.calls.fails = lambda call: Refused("403") if call.startswith("kubernetes.list Job") else None

    record = account.tune()

    reported = [str(one) for one in record.findings if one.code in ("more-than-one-gpu", "templates-unread")]
    assert reported == [], "the class of two tolerates nobody who does not choose it"


@pytest.mark.parametrize("error", [Refused("403 forbidden"), Unavailable("timed out")])
def test_templates_that_cannot_be_read_keep_n_at_one_and_end_nothing(error):
    account = Adopting()
    account.onboard()
    account.calls.fails = lambda call: error if call.startswith("kubernetes.list CronJob") else None
    account.idle()
    account.tune()
    account.hours(8)

    assert account.n == 1
    assert "templates-unread" in codes_of(account)
    assert account.tuned.stage is Stage.ONBOARDED

    account.calls.fails = lambda call: None
    account.hours(4)
    assert account.n > 1 and "templates-unread" not in codes_of(account)


def test_killed_at_every_call_the_next_reconcile_goes_on():
    account = Adopting()
    account.onboard()
    way = account.way()
    whole = way[-1]
    assert ORIGINAL_ANNOTATION in whole.node_pool["metadata"]["annotations"]

    futures = Futures(Adopting.answer_next, Adopting.answer_all)
    for number in range(len(way[0].calls.made), len(whole.calls.made)):
        struck = before(number, way)
        strike("killed", number)(struck.calls)
        struck = futures.end(struck)
        assert struck.node_pool["spec"] == whole.node_pool["spec"], whole.calls.made[number]
        assert struck.undisturbed(), whole.calls.made[number]


WRITTEN = (
    POLICY + 'consolidation: {after: 5m, businessHours: {timeZone: UTC, hours: ["Mon-Fri 08:00-18:00"]}}\n'
)


# Taken over, then left by the policy; with the sweep's triggers: an answer that is lost ends a pass.
SWEEPS = (WRITTEN, WRITTEN, WITHOUT_IT, WITHOUT_IT)


def come_by(account: Adopting, policy: str) -> list[Adopting]:
    account.policies["default"] = policy
    account.queues.put(TUNING, Trigger(GPU_1, "the hourly sweep").message())
    return account.way()


@cache
def undisturbed_way() -> list[tuple[int, Adopting]]:
    """The account before each message that is answered and at the end, with the sweep of which it is part."""
    account = Adopting(WRITTEN, protected(), nodes=1)
    account.onboard()
    return [(sweep, one) for sweep, policy in enumerate(SWEEPS) for one in come_by(account, policy)]


def struck_at(number: int, kind: str) -> Adopting:
    """From the message of which this call is part: up to there nothing differs."""
    way = undisturbed_way()
    sweep, found = [(sweep, one) for sweep, one in way if len(one.calls.made) <= number][-1]
    account = deepcopy(found)
    strike(kind, number)(account.calls)
    return _FUTURES.end(account, sweep)


def _go_on(account: Adopting, sweep: int) -> None:
    account.answer_gone()
    for policy in SWEEPS[sweep + 1 :]:
        account.policies["default"] = policy
        account.queues.put(TUNING, Trigger(GPU_1, "the hourly sweep").message())
        account.answer_gone()


_FUTURES = Futures(Adopting.answer_next, _go_on)


@pytest.mark.parametrize("kind", ["killed", "answer lost", *REFUSALS])
def test_struck_at_any_call_from_its_take_over_until_it_is_restored_it_is_as_it_was(kind):
    (_, begun), *_, (_, whole) = undisturbed_way()
    first = len(begun.calls.made)
    assert whole.node_pool["spec"] == protected()["spec"]

    # Each call is struck by two of the kinds at least, and every write by all.
    writes = {i for i, call in enumerate(whole.calls.made) if call.startswith("kubernetes.patch")}
    for number in range(first, len(whole.calls.made)):
        if number not in writes and number % 3 != len(kind) % 3:
            continue
        struck = struck_at(number, kind)
        assert struck.node_pool["spec"] == protected()["spec"], (kind, whole.calls.made[number])
        assert struck.marks == THEIRS["metadata"]["annotations"], (kind, whole.calls.made[number])
        assert struck.undisturbed(), (kind, whole.calls.made[number])


def test_one_whose_device_plugin_shares_gpus_by_its_default_is_not_taken_over():
    """To say of its nodes that they have whole GPUs would take slices away under pods."""
    account = Adopting(nodes=1)
    before = deepcopy(account.node_pool["spec"])
    [node] = [ref for ref in account.servers["gpu-1"].objects if ref.kind == "Node"]
    account.karpenter.silent.add(node.name)
    status = account.servers["gpu-1"].objects[node]["status"]
    account.servers["gpu-1"].set_status(node, {**status, "allocatable": {"nvidia.com/gpu": "2"}})

    account.onboard()
    account.tune()

    assert account.node_pool["spec"] == before
    assert layout.CONFIG_LABEL not in account.servers["gpu-1"].objects[node]["metadata"]["labels"]
    [reported] = [one for one in account.tuned.findings if one.code == "not-adopted"]
    assert "offers 2 slices of 1 GPU" in reported.message
