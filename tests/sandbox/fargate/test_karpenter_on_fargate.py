"""
A deployment that may put Karpenter on Fargate and have it handle interruptions: a cluster without a node gets
GPU nodes, and is offboarded.

IAM is enforced: whatever the installer does beyond its grants fails here. That a pod runs on Fargate is not
shown: no stand-in plays it.
"""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
import yaml

from sandbox.aws import network
from sandbox.aws.cloudtrail.events import spot_interruption
from sandbox.cluster.samples import node_class
from sandbox.system import Cluster, System
from tests.sandbox import rights
from tests.sandbox.fleet import helm
from tests.sandbox.system_fixtures import (
    ACCOUNTS,
    INSTALLER,
    POLICY_TAG,
    asking_pods,
    is_admin,
    nodes_of,
    running,
    shared,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

NAME, POLICY = "fargate", "on-fargate"
ROLE = f"slicewise-on-fargate-{NAME}"
EVENTS = f"slicewise-interruptions-{NAME}"
ON_FARGATE = {
    "pools": {"shared": shared(4)},
    "karpenter": {"install": True, "on": "fargate", "interruptions": True},
    "consolidation": {"policy": "WhenEmpty", "after": "1s"},
    "nodeClass": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default", "create": False},
}
# What the installer may do for Karpenter on nodes alone, which another deployment's tests do.
ON_NODES = ("eks:CreateAddon", "eks:ListAddons", "eks:CreatePodIdentityAssociation")


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fargate")
    (folder / "policies").mkdir()
    (folder / "policies" / f"{POLICY}.yaml").write_text(yaml.safe_dump(ON_FARGATE))
    with System.start(
        folder,
        account=next(ACCOUNTS),
        context={
            "policies": str(folder / "policies"),
            "karpenter_on_fargate": "true",
            "karpenter_interruptions": "true",
        },
        creating_seconds=1,
        delay_share=0.2,
    ) as running_system:
        yield running_system


@pytest.fixture(scope="module")
def net(system):
    return network.create(system.aws.client("ec2"))


@pytest.fixture(scope="module")
def cluster(system: System, net) -> Cluster:
    found = system.start_control_plane(NAME, karpenter=False)
    found.plane.install_kwok_crds()
    found.kube.apply(node_class())  # as a platform team's own EC2NodeClass
    system.create_cluster(
        NAME,
        tags={POLICY_TAG: POLICY},
        accessConfig={"authenticationMode": "API"},
        resourcesVpcConfig=net.of_a_cluster,
    )
    system.wait_for_stage(NAME, "onboarded")
    return found


@pytest.fixture(scope="module")
def offboarded(system: System, cluster: Cluster) -> Cluster:
    cluster.kube.delete(cluster.kube.path(asking_pods("first", 5, "shared")))
    system.aws.client("eks").tag_resource(resourceArn=system.arn(NAME), tags={POLICY_TAG: "offboard"})
    eventually(lambda: system.record(NAME) is None, lambda: system.record(NAME), within_seconds=240)
    return cluster


def role(system: System) -> dict:
    found = system.aws.client("iam").get_role(RoleName=ROLE)["Role"]
    document = found["AssumeRolePolicyDocument"]
    return found | {"trust": json.loads(unquote(document)) if isinstance(document, str) else document}


def test_the_profile_is_active_on_private_subnets_for_karpenters_pods_alone(system, net, cluster):
    eks = system.aws.client("eks")

    assert eks.list_fargate_profiles(clusterName=NAME)["fargateProfileNames"] == ["slicewise-karpenter"]
    profile = eks.describe_fargate_profile(clusterName=NAME, fargateProfileName="slicewise-karpenter")[
        "fargateProfile"
    ]
    assert profile["status"] == "ACTIVE"
    assert set(profile["subnets"]) == set(net.private)
    assert profile["selectors"] == [
        {
            "namespace": "kube-system",
            "labels": {"app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter"},
        }
    ]


def test_the_role_is_trusted_to_one_service_account_and_bounded(system, cluster):
    issuer = system.aws.client("eks").describe_cluster(name=NAME)["cluster"]["identity"]["oidc"]["issuer"]
    host, found = issuer.removeprefix("https://"), role(system)

    [statement] = found["trust"]["Statement"]
    assert statement["Principal"]["Federated"].endswith(f":oidc-provider/{host}")
    assert statement["Condition"] == {
        "StringEquals": {
            f"{host}:aud": "sts.amazonaws.com",
            f"{host}:sub": "system:serviceaccount:kube-system:karpenter",
        }
    }
    assert found["Path"] == "/slicewise/"
    boundary = found["PermissionsBoundary"]["PermissionsBoundaryArn"]
    attached = system.aws.client("iam").list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]
    assert [one["PolicyArn"] for one in attached] == [boundary]
    assert boundary.endswith(":policy/slicewise-karpenter-controller")


def test_the_charts_own_objects_have_the_role_and_the_profiles_labels(cluster):
    """Of the real chart, so that the names of its values are the right ones."""
    deployment = cluster.kube.get("/apis/apps/v1/namespaces/kube-system/deployments/karpenter")
    account = cluster.kube.get("/api/v1/namespaces/kube-system/serviceaccounts/karpenter")

    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith(
        f":role/slicewise/{ROLE}"
    )
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert (labels["app.kubernetes.io/name"], labels["app.kubernetes.io/instance"]) == ("karpenter",) * 2
    assert template["spec"]["dnsPolicy"] == "Default" and not template["spec"].get("hostNetwork")
    [container] = template["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "1792Mi"}


def test_by_its_charts_own_values_karpenter_never_runs_on_a_node_that_it_started(cluster):
    """Ours set none, on Fargate and on nodes."""
    deployment = cluster.kube.get("/apis/apps/v1/namespaces/kube-system/deployments/karpenter")

    affinity = deployment["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [{"key": "karpenter.sh/nodepool", "operator": "DoesNotExist"}]}]


def queue(system: System) -> tuple[str, dict]:
    """Its URL and attributes."""
    sqs = system.aws.client("sqs")
    url = sqs.get_queue_url(QueueName=EVENTS)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def test_the_chart_hands_karpenter_the_queues_name(cluster):
    deployment = cluster.kube.get("/apis/apps/v1/namespaces/kube-system/deployments/karpenter")

    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert {one["name"]: one.get("value") for one in container["env"]}["INTERRUPTION_QUEUE"] == EVENTS


def test_an_interruption_waits_in_the_queue_and_no_other_event_does(system, cluster):
    url, attributes = queue(system)
    others = {"Source": "aws.s3", "DetailType": "Object Created", "Detail": "{}", "Resources": []}

    system.aws.events.send(others)
    system.aws.events.send(spot_interruption("i-0123456789abcdef0"))

    assert (attributes["MessageRetentionPeriod"], attributes["SqsManagedSseEnabled"]) == ("300", "true")
    [message] = system.aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    event = json.loads(message["Body"])
    assert event["detail-type"] == "EC2 Spot Instance Interruption Warning"
    assert event["detail"]["instance-id"] == "i-0123456789abcdef0"


def test_a_queue_that_was_edited_is_as_it_was_after_the_next_reconcile(system, cluster):
    url, before = queue(system)
    edited = {"MessageRetentionPeriod": "3600"}
    system.aws.client("sqs").set_queue_attributes(QueueUrl=url, Attributes=edited)

    assert system.slicewise("onboard", NAME).returncode == 0

    eventually(lambda: queue(system)[1]["MessageRetentionPeriod"] == "300", lambda: system.record(NAME))
    assert queue(system)[1]["Policy"] == before["Policy"]


def test_pods_get_gpu_nodes(system, cluster):
    cluster.kube.apply(asking_pods("first", 5, "shared"))

    eventually(lambda: running(cluster.kube, "first") == 5, "the pods do not run")
    assert len(nodes_of(cluster.kube, "shared")) == 2
    assert not is_admin(system, NAME)


def test_a_cluster_with_a_profile_cannot_be_deleted(system, cluster):
    eks = system.aws.client("eks")

    with pytest.raises(eks.exceptions.ResourceInUseException, match="slicewise-karpenter"):
        eks.delete_cluster(name=NAME)


def test_offboarding_leaves_no_queue_and_no_rule(system, offboarded):
    prefix = "slicewise-interruptions-"

    assert not system.aws.client("sqs").list_queues(QueueNamePrefix=prefix).get("QueueUrls")
    assert system.aws.client("events").list_rules(NamePrefix=prefix)["Rules"] == []


def test_offboarding_leaves_nothing_in_eks_nor_in_iam(system, offboarded):
    eks, iam = system.aws.client("eks"), system.aws.client("iam")

    assert eks.list_fargate_profiles(clusterName=NAME)["fargateProfileNames"] == []
    assert eks.list_access_entries(clusterName=NAME)["accessEntries"] == []
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    assert [one["RoleName"] for one in iam.list_roles(PathPrefix="/slicewise/")["Roles"]] == []
    releases = helm(offboarded, "list", "--all-namespaces", "--short")
    assert releases.split() == []
    # With its last object, and its chart, goes the kind itself.
    assert not offboarded.kube.serves("karpenter.sh/v1", "NodePool")


def test_no_call_was_denied_and_no_right_for_fargate_and_interruptions_was_unused(system, offboarded):
    assert rights.denied(system) == []
    assert rights.forbidden(system) == []
    place = (
        "Fargate",
        "fargate",
        "OpenID",
        "Role",
        "DescribeRouteTables",
        "DescribeSubnets",
        "interruptions",
    )
    unused = [
        grant
        for grant in system.aws.iam.unused_grants(INSTALLER)
        if any(word in f"{grant.action} {grant.resources}" for word in place)
        and grant.action not in ("iam:PassRole", "iam:GetRole")
    ]
    assert [str(grant) for grant in unused] == []
