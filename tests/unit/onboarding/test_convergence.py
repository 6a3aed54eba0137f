"""
Wherever a pass is ended and whatever is lost, the next ones lead to the same cluster, then change nothing.
"""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, Release
from slicewise.planning.eks_actions import GrantAdmin, RevokeAdmin, UpgradeRelease
from slicewise.planning.outcome import Stage

from tests.support import builders
from tests.support.builders import INSTALLER, NODE_ROLE, TUNER
from tests.support.simulated_cluster import SimulatedCluster

SPLIT = "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: [1, 2, 3]}}"
POOLS = {
    "time-slicing": builders.DEFAULT_POOLS,
    "every way": """{
        shared: {sharing: time-slicing, gpus: [l4, a10g], maxGpus: 16},
        batch: {sharing: mps, gpus: [l4], maxGpus: 8},
        slices: {sharing: mig, gpus: [h100], profile: 1g.10gb, maxGpus: 8},
        whole: {sharing: none, gpus: [l4], maxGpus: 4}}""",
    "classes": SPLIT,
}
BARE = {"karpenter": None, "gate": False, "crds": set()}
KARPENTER_TOO = ("karpenter: {install: true}",)


def fresh(pools=builders.DEFAULT_POOLS, *more, **fields):
    return SimulatedCluster(policy=builders.policy(pools, *more), **fields)


@pytest.mark.parametrize("pools", POOLS.values(), ids=POOLS.keys())
def test_a_new_cluster_is_onboarded_and_then_left_unchanged(pools):
    cluster = fresh(pools)

    assert cluster.run().outcome.stage is Stage.ONBOARDED

    again = cluster.step()
    assert again.actions == ()
    assert again.outcome.reason == "nothing to change: the cluster is as its policy says"


def test_nothing_of_the_installation_outlives_it():
    cluster = fresh()

    cluster.run()

    assert CLUSTER_ADMIN_POLICY not in cluster.entries[INSTALLER].policies
    assert cluster.entries[INSTALLER].groups == ("slicewise:installer",)
    assert cluster.entries[TUNER].groups == ("slicewise:tuner",)
    assert not [ref for ref in cluster.objects if ref.name == "slicewise-gate-probe"]
    assert cluster.woken == ["tuning"]


def test_karpenter_is_installed_with_all_that_it_needs():
    cluster = fresh(builders.DEFAULT_POOLS, *KARPENTER_TOO, **BARE)

    assert cluster.run().outcome.stage is Stage.ONBOARDED

    values = cluster.releases["karpenter", "kube-system"].values
    assert values["settings"] == {"clusterName": "gpu-1", "featureGates": {"nodeOverlay": True}}
    assert cluster.addons == {"eks-pod-identity-agent"}
    assert cluster.identities == {"kube-system/karpenter": cluster.settings.karpenter_controller_role}
    assert cluster.entries[NODE_ROLE].type == "EC2_LINUX"
    order = [str(action) for action in cluster.done]
    assert order.index("install karpenter-crd 1.14.1 in kube-system") < order.index(
        "install karpenter 1.14.1 in kube-system"
    )


def all_kill_points(*more, **fields):
    cluster = fresh(POOLS["every way"], *more, **fields)
    cluster.run()
    return cluster, range(len(cluster.done))


@pytest.mark.parametrize(
    "more, fields", [((), {}), (KARPENTER_TOO, BARE)], ids=["karpenter there", "karpenter by us"]
)
def test_killed_before_any_action_the_next_reconcile_converges_to_the_same(more, fields):
    whole, points = all_kill_points(*more, **fields)
    assert len(points) > 30

    for point in points:
        killed = fresh(POOLS["every way"], *more, **fields, kill_after=point)
        assert killed.run().outcome.stage is Stage.ONBOARDED, point
        assert killed.installed() == whole.installed(), point
        assert killed.step().actions == (), point


@pytest.mark.parametrize("seconds", [1, 7, 30])
def test_access_that_takes_its_time_is_waited_for(seconds):
    cluster = fresh(slow=timedelta(seconds=seconds))

    assert cluster.run(reconciles=60).outcome.stage is Stage.ONBOARDED


def test_no_right_is_asked_for_twice():
    cluster = fresh(slow=timedelta(seconds=7))

    cluster.run()

    assert len([action for action in cluster.done if isinstance(action, GrantAdmin)]) == 1
    assert len([action for action in cluster.done if isinstance(action, RevokeAdmin)]) == 1


@given(st.data())
@hypothesis_settings(max_examples=40, deadline=None)
def test_whatever_is_lost_later_comes_back(data):
    cluster = fresh(POOLS["every way"])
    cluster.run()
    whole = cluster.installed()
    for ref in data.draw(st.sets(st.sampled_from(sorted(cluster.objects)), min_size=1, max_size=6)):
        if ref.kind != "ClusterPolicy":  # helm's to restore, not ours
            del cluster.objects[ref]

    assert cluster.run().outcome.stage is Stage.ONBOARDED
    assert cluster.installed() == whole


@pytest.mark.parametrize("revision", [1, 2], ids=["first install killed", "upgrade killed"])
def test_a_release_that_a_killed_helm_left_is_rolled_back_first(revision):
    cluster = fresh()
    cluster.run()
    place = ("gpu-operator", "gpu-operator")
    pending = "pending-install" if revision == 1 else "pending-upgrade"
    cluster.releases[place] = replace(cluster.releases[place], status=pending, revision=revision)
    cluster.done.clear()

    assert cluster.run().outcome.stage is Stage.ONBOARDED

    reported = [str(action) for action in cluster.done]
    assert reported.index("roll back the unfinished release gpu-operator in gpu-operator") < reported.index(
        "install gpu-operator v26.7.0 in gpu-operator"
    )


def test_a_new_version_in_the_deployment_upgrades_the_release_and_its_crds():
    cluster = fresh()
    cluster.run()
    cluster.settings = builders.settings(gpu_operator=builders.Chart("charts/gpu-operator.tgz", "v26.9.0"))
    cluster.done.clear()

    cluster.run()

    assert cluster.releases["gpu-operator", "gpu-operator"].chart_version == "v26.9.0"
    assert "apply the CRDs of chart charts/gpu-operator.tgz v26.9.0" in [str(a) for a in cluster.done]


def test_a_crd_that_a_user_deleted_is_applied_again():
    cluster = fresh()
    cluster.run()
    cluster.crds.discard("clusterpolicies.nvidia.com")
    cluster.done.clear()

    assert cluster.run().outcome.stage is Stage.ONBOARDED

    assert "apply the CRDs of chart charts/gpu-operator.tgz v26.7.0" in [str(a) for a in cluster.done]


def test_a_newer_release_is_never_downgraded():
    cluster = fresh()
    cluster.run()
    cluster.settings = builders.settings(gpu_operator=builders.Chart("charts/gpu-operator.tgz", "v26.3.0"))

    plan = cluster.step()

    assert plan.actions == ()
    assert [finding.code for finding in plan.outcome.findings] == ["release-newer"]


def test_a_joined_release_keeps_its_owners_values():
    theirs = {"driver": {"enabled": True, "version": "1"}, "toolkit": {"env": ["a"]}, "extra": {"x": 1}}
    cluster = fresh(builders.DEFAULT_POOLS, "gpuOperator: {adopt: true}")
    place = ("gpu-operator", "gpu-operator")
    cluster.releases[place] = Release(*place, 3, "deployed", "gpu-operator", "v25.3.0", theirs)

    assert cluster.run().outcome.stage is Stage.ONBOARDED

    values = cluster.releases[place].values
    assert {key: values[key] for key in theirs} == theirs
    assert values["devicePlugin"]["config"]["name"] == "slicewise-device-plugin"
    assert cluster.step().actions == ()


ADDRESS = "https://charts.example.com/gpu-operator-v26.7.0.tgz"


def test_a_chart_that_nobody_checks_is_reported_when_it_is_installed_and_how_to_have_it_checked():
    cluster = fresh()
    cluster.settings = builders.settings(gpu_operator=builders.Chart(ADDRESS, "v26.7.0"))

    plans = [cluster.step() for _ in range(12)]
    [installs] = [
        plan for plan in plans if any(isinstance(action, UpgradeRelease) for action in plan.actions)
    ]
    [finding] = installs.outcome.findings

    assert finding.code == "chart-unchecked" and not finding.blocking
    assert f"Chart gpu-operator v26.7.0 is installed as it comes from {ADDRESS}" in finding.message
    assert f"`curl -fsSL {ADDRESS} | sha256sum`" in finding.remedy
    assert "-c gpu_operator_sha256=" in finding.remedy
    assert plans[-1].outcome.findings == (), "it is news of an installation only"


@pytest.mark.parametrize(
    "chart",
    [builders.Chart(ADDRESS, "v26.7.0", "0" * 64), builders.Chart("charts/gpu-operator.tgz", "v26.7.0")],
    ids=["with a digest", "carried along"],
)
def test_a_chart_that_is_checked_is_no_news(chart):
    cluster = fresh()
    cluster.settings = builders.settings(gpu_operator=chart)

    assert [cluster.step().outcome.findings for _ in range(12)] == [()] * 12
