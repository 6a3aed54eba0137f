"""
A cluster's life with Slicewise: without a policy, then tagged, Karpenter installed, pods, untagged, deleted.
"""

from __future__ import annotations

import pytest

from sandbox.artifacts import charts
from tests.sandbox.fleet import BARE, helm
from tests.sandbox.system_fixtures import (
    NODE_CLAIMS,
    NODE_POOLS,
    POLICY_TAG,
    asking_pods,
    is_admin,
    nodes_of,
    ours,
    running,
)
from tests.support.nonempty import nonempty
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

OPERATOR_NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gpu-operator"}}
OPERATOR_ACCOUNT = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "gpu-operator", "namespace": "gpu-operator"},
}


@pytest.fixture(scope="module")
def bare(fleet):
    return fleet.bare


@pytest.fixture(scope="module")
def onboarded(system, bare):
    """Tagged, after it had been left alone; with two things of somebody's in the way that do not stop us."""
    assert system.wait_for_stage(BARE, "unmanaged")
    # Somebody made an entry for our role by hand, with a group that gives it nothing.
    system.aws.client("eks").create_access_entry(
        clusterName=BARE, principalArn=system.outputs["InstallerRoleArn"], kubernetesGroups=["viewers"]
    )
    # helm refuses to take over what it did not make.
    for leftover in (OPERATOR_NAMESPACE, OPERATOR_ACCOUNT):
        bare.kube.apply(leftover)
    system.aws.client("eks").tag_resource(resourceArn=system.arn(BARE), tags={POLICY_TAG: "with-karpenter"})
    failed = system.wait_for_stage(BARE, "waiting")
    assert "no answer: helm upgrade gpu-operator" in failed["reason"]
    bare.kube.delete(bare.kube.path(OPERATOR_ACCOUNT))
    system.wait_for_stage(BARE, "onboarded")
    return bare


@pytest.fixture(scope="module")
def with_pods(onboarded):
    """Five of them, on nodes that the Karpenter started which we installed."""
    onboarded.kube.apply(asking_pods("first", 5, "shared"))
    eventually(lambda: running(onboarded.kube, "first") == 5, "the pods do not run")
    return onboarded


def test_a_cluster_without_a_policy_is_left_unchanged_and_says_so(system, bare):
    record = system.wait_for_stage(BARE, "unmanaged")

    assert record["reason"] == "no policy applies to this cluster: it has no tag slicewise.dev/policy"
    assert system.aws.client("eks").list_access_entries(clusterName=BARE)["accessEntries"] == []


def test_the_policy_tag_has_it_onboarded_and_karpenter_installed(system, onboarded, record_property):
    record_property("karpenter's chart", charts.chart("karpenter").origin)

    for release in ("karpenter", "karpenter-crd"):
        assert "STATUS: deployed" in helm(onboarded, "status", release, "--namespace", "kube-system")
    assert "NodeOverlay=true" in (onboarded.plane.karpenter_gates or "")
    assert list(ours(onboarded.kube, NODE_POOLS)) == ["slicewise-shared-l4"]
    assert not is_admin(system, BARE)


def test_karpenter_gets_its_roles_from_eks(system, onboarded):
    eks = system.aws.client("eks")

    assert "eks-pod-identity-agent" in eks.list_addons(clusterName=BARE)["addons"]
    associations = eks.list_pod_identity_associations(clusterName=BARE)["associations"]
    assert [(one["namespace"], one["serviceAccount"]) for one in associations] == [
        ("kube-system", "karpenter")
    ]
    assert (
        system.aws.arn("iam", "role/slicewise-karpenter-node").replace(f":{system.aws.region}:", "::")
        in (eks.list_access_entries(clusterName=BARE)["accessEntries"])
    )


def test_the_karpenter_that_we_installed_starts_nodes_with_slices(with_pods):
    assert len(nodes_of(with_pods.kube, "shared")) == 2


def test_without_the_tag_the_cluster_is_left_unchanged_and_keeps_what_it_has(system, with_pods):
    kube = with_pods.kube
    pools, claims = nonempty(ours(kube, NODE_POOLS)), nonempty(kube.list(NODE_CLAIMS))

    system.aws.client("eks").untag_resource(resourceArn=system.arn(BARE), tagKeys=[POLICY_TAG])

    record = system.wait_for_stage(BARE, "unmanaged")
    assert "no policy applies to this cluster" in record["reason"]
    assert record["changed"] == []
    assert ours(kube, NODE_POOLS).keys() == pools.keys()
    assert len(kube.list(NODE_CLAIMS)) == len(claims)


def test_of_a_deleted_cluster_nothing_is_remembered_but_what_it_cost(system, onboarded):
    assert "record#onboarding" in _items(system)

    system.aws.client("eks").delete_cluster(name=BARE)

    # What is left of the lease is the number that fences off late passes, until DynamoDB lets it expire.
    eventually(lambda: _items(system) == ["lease"], lambda: _items(system))


def _items(system) -> list[str]:
    """But for days of costs, which a report has of deleted clusters, too."""
    found = system.aws.client("dynamodb").query(
        TableName=system.outputs["StateTableName"],
        KeyConditionExpression="pk = :cluster",
        ExpressionAttributeValues={":cluster": {"S": f"cluster#{system.arn(BARE)}"}},
    )
    return [sk for item in found["Items"] if not (sk := item["sk"]["S"]).startswith("cost#")]
