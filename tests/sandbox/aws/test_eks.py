"""EKS as boto3 sees it: clusters that take time, access entries, add-ons, and errors by type."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.aws.server import Aws

ROLE = "arn:aws:iam::123456789012:role/"
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
CLUSTER_SCOPE = {"type": "cluster"}
LONG = 3600  # until the test shortens it


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws"), creating_seconds=0) as aws:
        yield aws


@pytest.fixture
def eks(aws: Aws) -> Iterator[Any]:
    client = aws.client("eks")
    yield client
    for name in client.list_clusters()["clusters"]:
        client.delete_cluster(name=name)
    aws.creating_seconds = 0


def create(eks: Any, name: str = "gpu-1", mode: str | None = "API", **more: Any) -> dict[str, Any]:
    access = {"accessConfig": {"authenticationMode": mode}} if mode else {}
    return eks.create_cluster(name=name, roleArn=ROLE + "eks", resourcesVpcConfig={}, **access, **more)[
        "cluster"
    ]


def test_a_cluster_is_creating_without_an_endpoint_and_then_active_with_the_attached_one(aws, eks):
    aws.creating_seconds = LONG
    aws.attach("gpu-1", "https://127.0.0.1:6443", "-----BEGIN CERTIFICATE-----\n")
    created = create(eks)
    creating = eks.describe_cluster(name="gpu-1")["cluster"]
    aws.creating_seconds = 0.3
    eks.get_waiter("cluster_active").wait(name="gpu-1", WaiterConfig={"Delay": 1, "MaxAttempts": 5})
    active = eks.describe_cluster(name="gpu-1")["cluster"]

    assert created["status"] == creating["status"] == "CREATING"
    assert "endpoint" not in creating and "certificateAuthority" not in creating
    assert active["status"] == "ACTIVE"
    assert active["endpoint"] == "https://127.0.0.1:6443"
    assert base64.b64decode(active["certificateAuthority"]["data"]).startswith(b"-----BEGIN")
    aws.detach("gpu-1")


def test_the_default_attachment_stands_behind_every_other_cluster(aws, eks):
    aws.attach(None, "https://127.0.0.1:1", "ca")
    aws.attach("own", "https://127.0.0.1:2", "ca")
    create(eks, "own")
    create(eks, "other")

    assert eks.describe_cluster(name="own")["cluster"]["endpoint"] == "https://127.0.0.1:2"
    assert eks.describe_cluster(name="other")["cluster"]["endpoint"] == "https://127.0.0.1:1"
    aws.detach(None)
    aws.detach("own")


def test_describe_tells_what_create_was_told(eks):
    create(eks, version="1.34", tags={"slicewise.dev/policy": "default"}, computeConfig={"enabled": True})

    found = eks.describe_cluster(name="gpu-1")["cluster"]

    assert found["computeConfig"]["enabled"]
    assert found["tags"] == {"slicewise.dev/policy": "default"}
    assert found["version"] == "1.34"
    assert found["accessConfig"]["authenticationMode"] == "API"


def test_a_cluster_without_a_mode_is_config_map_and_takes_no_entries(eks):
    create(eks, mode=None)

    assert eks.describe_cluster(name="gpu-1")["cluster"]["accessConfig"]["authenticationMode"] == "CONFIG_MAP"
    with pytest.raises(eks.exceptions.InvalidRequestException):
        eks.create_access_entry(clusterName="gpu-1", principalArn=ROLE + "tuner")


def test_the_authentication_mode_goes_one_way(eks):
    create(eks, mode=None)
    eks.update_cluster_config(name="gpu-1", accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"})
    eks.create_access_entry(clusterName="gpu-1", principalArn=ROLE + "tuner")

    with pytest.raises(eks.exceptions.InvalidParameterException):
        eks.update_cluster_config(name="gpu-1", accessConfig={"authenticationMode": "CONFIG_MAP"})


def test_a_cluster_is_updating_while_its_mode_changes(aws, eks):
    create(eks, mode=None)
    eks.describe_cluster(name="gpu-1")
    aws.creating_seconds = LONG
    change = {"name": "gpu-1", "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"}}
    update = eks.update_cluster_config(**change)["update"]

    assert eks.describe_cluster(name="gpu-1")["cluster"]["status"] == "UPDATING"
    assert eks.describe_update(name="gpu-1", updateId=update["id"])["update"]["status"] == "InProgress"
    with pytest.raises(eks.exceptions.ResourceInUseException):
        eks.update_cluster_config(**change)
    aws.creating_seconds = 0
    assert eks.describe_cluster(name="gpu-1")["cluster"]["status"] == "ACTIVE"
    assert eks.describe_update(name="gpu-1", updateId=update["id"])["update"]["status"] == "Successful"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        pytest.param(lambda c: c.describe_cluster(name="nope"), "ResourceNotFoundException", id="no cluster"),
        pytest.param(
            lambda c: c.list_access_entries(clusterName="nope"),
            "ResourceNotFoundException",
            id="no cluster, entries",
        ),
        pytest.param(
            lambda c: c.describe_access_entry(clusterName="gpu-1", principalArn=ROLE + "nobody"),
            "ResourceNotFoundException",
            id="no entry",
        ),
        pytest.param(
            lambda c: c.associate_access_policy(
                clusterName="gpu-1", principalArn=ROLE + "nobody", policyArn=ADMIN, accessScope=CLUSTER_SCOPE
            ),
            "ResourceNotFoundException",
            id="policy without entry",
        ),
        pytest.param(
            lambda c: c.create_access_entry(
                clusterName="gpu-1", principalArn=ROLE + "a", kubernetesGroups=["system:masters"]
            ),
            "InvalidParameterException",
            id="system group",
        ),
        pytest.param(
            lambda c: c.create_access_entry(
                clusterName="gpu-1", principalArn="arn:aws:sts::123456789012:assumed-role/a/b"
            ),
            "InvalidParameterException",
            id="session instead of role",
        ),
        pytest.param(
            lambda c: c.create_cluster(name="gpu-1", roleArn=ROLE + "eks", resourcesVpcConfig={}),
            "ResourceInUseException",
            id="cluster twice",
        ),
        pytest.param(
            lambda c: c.describe_addon(clusterName="gpu-1", addonName="none"),
            "ResourceNotFoundException",
            id="no add-on",
        ),
    ],
)
def test_errors_have_the_types_that_boto3_names(eks, call, error):
    create(eks)

    with pytest.raises(getattr(eks.exceptions, error)):
        call(eks)


def test_an_entry_is_made_once_updated_listed_and_deleted(eks):
    create(eks)
    path_role = ROLE + "team/tuner"
    made = eks.create_access_entry(
        clusterName="gpu-1", principalArn=path_role, kubernetesGroups=["slicewise:tuner"]
    )
    with pytest.raises(eks.exceptions.ResourceInUseException):
        eks.create_access_entry(clusterName="gpu-1", principalArn=path_role)
    eks.update_access_entry(clusterName="gpu-1", principalArn=path_role, kubernetesGroups=["slicewise:other"])
    found = eks.describe_access_entry(clusterName="gpu-1", principalArn=path_role)["accessEntry"]

    assert made["accessEntry"]["username"] == "arn:aws:sts::123456789012:assumed-role/tuner/{{SessionName}}"
    assert found["kubernetesGroups"] == ["slicewise:other"]
    assert "/role/123456789012/tuner/" in found["accessEntryArn"]
    eks.delete_access_entry(clusterName="gpu-1", principalArn=path_role)
    assert eks.list_access_entries(clusterName="gpu-1")["accessEntries"] == []


def test_entries_are_paged_and_filtered_by_policy(eks):
    create(eks)
    for number in range(5):
        eks.create_access_entry(clusterName="gpu-1", principalArn=f"{ROLE}r{number}")
    eks.associate_access_policy(
        clusterName="gpu-1", principalArn=ROLE + "r3", policyArn=ADMIN, accessScope=CLUSTER_SCOPE
    )
    pages = list(
        eks.get_paginator("list_access_entries").paginate(
            clusterName="gpu-1", PaginationConfig={"PageSize": 2}
        )
    )

    assert [len(page["accessEntries"]) for page in pages] == [2, 2, 1]
    admins = eks.list_access_entries(clusterName="gpu-1", associatedPolicyArn=ADMIN)["accessEntries"]
    assert admins == [ROLE + "r3"]


def test_a_policy_is_associated_listed_and_taken_away(eks):
    create(eks)
    who = {"clusterName": "gpu-1", "principalArn": ROLE + "installer"}
    eks.create_access_entry(**who)
    eks.associate_access_policy(**who, policyArn=ADMIN, accessScope=CLUSTER_SCOPE)

    [policy] = eks.list_associated_access_policies(**who)["associatedAccessPolicies"]
    assert (policy["policyArn"], policy["accessScope"]["type"]) == (ADMIN, "cluster")
    eks.disassociate_access_policy(**who, policyArn=ADMIN)
    assert eks.list_associated_access_policies(**who)["associatedAccessPolicies"] == []
    with pytest.raises(eks.exceptions.ResourceNotFoundException):
        eks.disassociate_access_policy(**who, policyArn=ADMIN)


def test_an_addon_needs_an_active_cluster_and_becomes_active_in_time(aws, eks):
    create(eks)
    eks.describe_cluster(name="gpu-1")  # clusters become ACTIVE when they are looked at
    aws.creating_seconds = LONG
    create(eks, "slow")
    with pytest.raises(eks.exceptions.InvalidRequestException):
        eks.create_addon(clusterName="slow", addonName="eks-pod-identity-agent")
    made = eks.create_addon(clusterName="gpu-1", addonName="eks-pod-identity-agent")["addon"]
    with pytest.raises(eks.exceptions.ResourceInUseException):
        eks.create_addon(clusterName="gpu-1", addonName="eks-pod-identity-agent")

    assert made["status"] == "CREATING"
    aws.creating_seconds = 0.3
    eks.get_waiter("addon_active").wait(
        clusterName="gpu-1",
        addonName="eks-pod-identity-agent",
        WaiterConfig={"Delay": 1, "MaxAttempts": 5},
    )
    assert eks.list_addons(clusterName="gpu-1")["addons"] == ["eks-pod-identity-agent"]


def test_a_service_account_has_one_pod_identity(eks):
    create(eks)
    wanted = {"clusterName": "gpu-1", "namespace": "kube-system", "serviceAccount": "karpenter"}
    made = eks.create_pod_identity_association(**wanted, roleArn=ROLE + "karpenter")["association"]
    with pytest.raises(eks.exceptions.ResourceInUseException):
        eks.create_pod_identity_association(**wanted, roleArn=ROLE + "karpenter")

    [listed] = eks.list_pod_identity_associations(clusterName="gpu-1", namespace="kube-system")[
        "associations"
    ]
    assert listed["associationId"] == made["associationId"]
    found = eks.describe_pod_identity_association(clusterName="gpu-1", associationId=made["associationId"])
    assert found["association"]["roleArn"] == ROLE + "karpenter"


def test_a_node_group_says_which_image_it_runs(eks):
    create(eks)
    eks.create_nodegroup(
        clusterName="gpu-1",
        nodegroupName="gpu",
        nodeRole=ROLE + "node",
        subnets=["subnet-1"],
        amiType="BOTTLEROCKET_x86_64_NVIDIA",
    )

    group = eks.describe_nodegroup(clusterName="gpu-1", nodegroupName="gpu")["nodegroup"]
    assert group["amiType"] == "BOTTLEROCKET_x86_64_NVIDIA"
    eks.delete_nodegroup(clusterName="gpu-1", nodegroupName="gpu")
