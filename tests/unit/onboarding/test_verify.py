"""Applied is not working: what Karpenter and GPU Operator say about it is awaited, and told."""

from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.kube.ref import Ref
from slicewise.planning.outcome import Stage

from tests.support import builders
from tests.support.simulated_cluster import SimulatedCluster

OPERATOR = ("gpu-operator", "gpu-operator")


@pytest.fixture
def cluster():
    found = SimulatedCluster()
    found.run()
    return found


def set_condition(cluster, kind, **condition):
    """Karpenter's word on the first object of a kind."""
    ref = next(ref for ref in sorted(cluster.objects) if ref.kind == kind)
    cluster.objects[ref] = {
        **cluster.objects[ref],
        "status": {"conditions": [{"observedGeneration": 1, **condition}]},
    }


def awaited(cluster):
    found = cluster.step()
    assert (found.outcome.stage, found.outcome.requeue_after) == (Stage.VERIFYING, timedelta(seconds=15))
    return found.outcome.findings


def test_a_conflict_with_another_owners_overlay_is_reported_in_karpenters_words(cluster):
    set_condition(
        cluster,
        "NodeOverlay",
        type="ValidationSucceeded",
        status="False",
        reason="Conflict",
        message="with theirs",
    )

    (finding,) = awaited(cluster)

    assert finding.code == "overlay-refused"
    assert finding.message == "Karpenter refuses NodeOverlay slicewise-shared-l4-1: with theirs."


@pytest.mark.parametrize("kind", ["NodePool", "EC2NodeClass"])
def test_what_karpenter_calls_not_ready_is_awaited(cluster, kind):
    set_condition(cluster, kind, type="Ready", status="False", message="no subnets")

    (finding,) = awaited(cluster)

    assert finding.code == "not-ready"
    assert finding.message.endswith("is not ready: no subnets.")


@pytest.mark.parametrize("status", ["True", "Unknown"])
def test_a_node_pool_that_nobody_objects_to_is_fine(cluster, status):
    set_condition(cluster, "NodePool", type="Ready", status=status)

    assert cluster.step().outcome.stage is Stage.ONBOARDED


def test_a_missing_cluster_policy_is_reported(cluster):
    del cluster.objects[Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy")]

    (finding,) = awaited(cluster)

    assert finding.code == "cluster-policy-absent"


def test_a_newer_release_that_is_not_deployed_is_reported_not_touched(cluster):
    cluster.releases[OPERATOR] = replace(cluster.releases[OPERATOR], chart_version="v27.1.0", status="failed")
    cluster.done.clear()

    findings = awaited(cluster)

    assert [finding.code for finding in findings] == ["release-newer", "gpu-operator-not-deployed"]
    assert cluster.done == []


def test_an_older_generation_of_ready_is_no_answer(cluster):
    ref = next(ref for ref in sorted(cluster.objects) if ref.kind == "NodeOverlay")
    metadata = cluster.objects[ref]["metadata"]
    cluster.objects[ref] = {**cluster.objects[ref], "metadata": {**metadata, "generation": 2}}

    (finding,) = awaited(cluster)

    assert finding.code == "overlay-not-ready"


def test_a_claim_of_a_mig_pool_is_held_against_its_profile():
    cluster = SimulatedCluster(
        policy=builders.policy("{s: {sharing: mig, gpus: [h100], profile: 1g.10gb, maxGpus: 8}}")
    )
    cluster.run()
    mig = {"nvidia.com/mig.config": "all-1g.10gb"}
    good = {"nvidia.com/mig-1g.10gb": "56", "nvidia.com/gpu": "0"}
    for capacity, codes in ((good, []), ({"nvidia.com/gpu": "8"}, ["overlay-without-effect"])):
        cluster.claims = [
            builders.node_claim(
                "slicewise-s-h100", "exclusive", gpu="h100", gpus=8, capacity=capacity, labels=mig
            )
        ]
        assert [finding.code for finding in cluster.step().outcome.findings] == codes
