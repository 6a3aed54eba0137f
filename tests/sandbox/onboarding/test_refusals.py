"""Clusters that must be refused: told at once why, left as they were, and onboarded once that has changed."""

from __future__ import annotations

import json

import pytest

from sandbox.cluster import components
from tests.sandbox.fleet import AUTO_MODE, DUPLICATES, OCCUPIED, foreign_device_plugin, helm
from tests.sandbox.system_fixtures import (
    INSTALLER,
    NODE_OVERLAYS,
    NODE_POOLS,
    POLICY_TAG,
    ask,
    check_capacity,
    codes,
    has_entry,
    history,
    is_admin,
    log_lines,
    onboard_now,
    operator_releases,
    ours,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def occupied(fleet):
    return fleet.occupied


@pytest.fixture(scope="module")
def refused(system, occupied):
    return system.wait_for_stage(OCCUPIED, "blocked")


@pytest.fixture(scope="module")
def gate_off(system, occupied, refused):
    """What stood in the way is gone and adopting is allowed, but Karpenter's gate is off, unlike it says."""
    occupied.kube.delete(occupied.kube.path(foreign_device_plugin()))
    occupied.kube.delete(f"{NODE_POOLS}/slicewise-shared-l4")
    occupied.plane.stop_karpenter()
    occupied.plane.start_karpenter(components.feature_gates(False))
    system.aws.client("eks").tag_resource(resourceArn=system.arn(OCCUPIED), tags={POLICY_TAG: "adopting"})
    system.wait_for_stage(OCCUPIED, "installing")
    return system.wait_for_stage(OCCUPIED, "blocked")


@pytest.fixture(scope="module")
def adopted(system, occupied, gate_off):
    occupied.plane.restart_karpenter(node_overlay_gate=True)
    ask(system, OCCUPIED, forced=True)
    return system.wait_for_stage(OCCUPIED, "onboarded")


def test_everything_that_stands_in_the_way_is_reported_at_once_with_remedies(refused):
    assert codes(refused) == {"foreign-device-plugin", "name-taken", "foreign-gpu-operator"}
    assert all(finding["remedy"] and finding["refuses"] for finding in refused["findings"])


def test_a_refused_cluster_holds_nothing_of_ours(system, occupied, refused):
    kinds = (NODE_POOLS, NODE_OVERLAYS, "/apis/rbac.authorization.k8s.io/v1/clusterroles")
    assert {kind: ours(occupied.kube, kind) for kind in kinds} == {kind: {} for kind in kinds}
    assert operator_releases(occupied.kube) == ["deployed"]
    assert not has_entry(system, OCCUPIED, INSTALLER)


def test_a_refused_cluster_is_not_entered_again_until_something_changes(system, refused):
    assert "It is read again when" in onboard_now(system, OCCUPIED, "the hourly sweep")["reason"]
    assert not has_entry(system, OCCUPIED, INSTALLER)


def test_a_gate_that_is_off_shows_by_its_effect_whatever_the_deployment_says(system, occupied, gate_off):
    assert codes(gate_off) == {"node-overlay-gate-off"}
    assert "it has not answered a NodeOverlay" in gate_off["reason"]
    assert occupied.kube.list(NODE_OVERLAYS) == []
    assert operator_releases(occupied.kube) == ["deployed"]
    assert not has_entry(system, OCCUPIED, INSTALLER)


def test_an_adopted_release_keeps_its_owner_s_values(system, occupied, adopted):
    values = json.loads(
        helm(occupied, "get", "values", "gpu-operator", "--namespace", "gpu-operator", "--output", "json")
    )

    assert operator_releases(occupied.kube) == ["superseded", "deployed"]
    theirs = {"operator": {"upgradeCRD": False}, "dcgm": {"enabled": True}}
    assert (values["slicewise"]["adopted"], values["slicewise"]["before"]) == (True, theirs)
    assert {key: values[key] for key in theirs} == theirs
    assert values["devicePlugin"]["config"]["name"] == "slicewise-device-plugin"
    assert not is_admin(system, OCCUPIED)


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        (AUTO_MODE, None, "auto-mode"),  # the fleet has it
        ("config-map", {"accessConfig": {"authenticationMode": "CONFIG_MAP"}}, "access-entries-off"),
    ],
)
def test_what_eks_says_is_enough_to_refuse(system, fleet, name, options, code):
    if options:
        system.create_cluster(name, tags={POLICY_TAG: "one-pool"}, **options)

    record = system.wait_for_stage(name, "blocked")
    assert codes(record) == {code}
    assert all(finding["remedy"] for finding in record["findings"])


def test_a_hundred_duplicates_end_in_one_record_and_no_dead_letter(system, fleet):
    def answered() -> int:
        """By a pass, or by a word to the pass at work, which then looks once more."""
        lines = (line for line in log_lines(system) if line["message"] == "decided")
        return sum(line["cluster"] == system.arn(AUTO_MODE) for line in lines)

    # One for the creation itself; a sweep of another test may add more.
    eventually(lambda: answered() >= 1 + DUPLICATES, lambda: f"{answered()} answers")
    eventually(lambda: system.record(AUTO_MODE, "onboarding")["stage"] == "blocked")

    assert history(system, AUTO_MODE) == 1, [
        line for line in log_lines(system) if line.get("cluster") == system.arn(AUTO_MODE)
    ]
    letters = system.aws.client("sqs").get_queue_attributes(
        QueueUrl=system.outputs["DeadLettersUrl"], AttributeNames=["ApproximateNumberOfMessages"]
    )
    assert letters["Attributes"] == {"ApproximateNumberOfMessages": "0"}


def test_a_tuner_that_cannot_reach_a_cluster_says_so_and_is_called_again(system, fleet):
    """No control plane stands behind this cluster: the deployed function fails, and the trigger is kept."""
    system.wait_for_stage(AUTO_MODE, "blocked")

    record = check_capacity(system, AUTO_MODE)
    assert record["stage"] == "waiting"
    assert "no answer: " in record["reason"]


def test_bottlerocket_gpu_nodes_have_a_plugin_of_their_own(system):
    eks = system.aws.client("eks")
    system.create_cluster("bottlerocket")
    system.wait_for_stage("bottlerocket", "unmanaged")
    eks.create_nodegroup(
        clusterName="bottlerocket",
        nodegroupName="gpus",
        amiType="BOTTLEROCKET_x86_64_NVIDIA",
        instanceTypes=["g6.xlarge"],
        subnets=["subnet-0a"],
        nodeRole=f"arn:aws:iam::{system.aws.account}:role/nodes",
    )
    eks.tag_resource(resourceArn=system.arn("bottlerocket"), tags={POLICY_TAG: "one-pool"})

    record = system.wait_for_stage("bottlerocket", "blocked")
    assert codes(record) == {"bottlerocket"}
