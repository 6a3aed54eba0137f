"""examples/fargate: a cluster without a node gets Karpenter on Fargate and GPU nodes, and is offboarded."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from slicewise.kube.labels import POLICY_TAG

from sandbox.aws import network
from sandbox.aws.cloudtrail.events import spot_interruption
from sandbox.cluster.samples import node_class
from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.steps import apply, clean_up, pool
from sandbox.examples.world import CLUSTER, ExampleCluster, World

PROFILE, ROLE = "slicewise-karpenter", f"slicewise-on-fargate-{CLUSTER}"
EVENTS = f"slicewise-interruptions-{CLUSTER}"
OF_THE_EXAMPLE = "app=first-slices"
PODS = 5
KARPENTER = "/apis/apps/v1/namespaces/kube-system/deployments/karpenter"
ACCOUNT = "/api/v1/namespaces/kube-system/serviceaccounts/karpenter"


def show(story: Narrator, world: World) -> None:
    net = network.create(world.system.aws.client("ec2"))
    cluster = world.start_cluster(karpenter=False)
    cluster.cluster.plane.install_kwok_crds()
    cluster.kube.apply(node_class())  # as a platform team's own EC2NodeClass
    options = {"accessConfig": {"authenticationMode": "API"}, "resourcesVpcConfig": net.of_a_cluster}
    stage = world.onboard(cluster, **options).get("stage")
    says = "a cluster without Karpenter is onboarded by the event of its creation"
    story.claim("onboarded", says, expected="onboarded", observed=stage)
    _profile(story, world, net)
    _role(story, world)
    _release(story, cluster)
    _interruption(story, world)
    apply(story, cluster)
    wait(story, lambda: cluster.running(OF_THE_EXAMPLE) == PODS, f"{PODS} pods run")
    n = int(pool(world.example, "shared")["replicas"]["start"])
    story.claim(
        "gpu-nodes",
        f"{PODS} pods that ask for a slice get the nodes that {n} a GPU take",
        expected=-(-PODS // n),
        observed=cluster.gpus(),
    )
    clean_up(story, cluster)
    # A cluster is offboarded by people who have nothing on it any more.
    wait(story, lambda: not cluster.gpu_nodes(), "no GPU node is left")
    _offboarded(story, world, cluster)


def _profile(story: Narrator, world: World, net: network.Network) -> None:
    eks = world.system.aws.client("eks")
    found = eks.describe_fargate_profile(clusterName=CLUSTER, fargateProfileName=PROFILE)["fargateProfile"]
    story.claim(
        "profile-active",
        "the Fargate profile is ACTIVE, on the private subnets alone",
        expected=("ACTIVE", sorted(net.private)),
        observed=(found["status"], sorted(found["subnets"])),
    )


def _role(story: Narrator, world: World) -> None:
    """Who may assume it, as IAM has it."""
    found = world.system.aws.client("iam").get_role(RoleName=ROLE)["Role"]
    trust: Any = found["AssumeRolePolicyDocument"]
    trust = json.loads(unquote(trust)) if isinstance(trust, str) else trust
    subjects = [
        value
        for statement in trust["Statement"]
        for key, value in statement["Condition"]["StringEquals"].items()
        if key.endswith(":sub")
    ]
    story.claim(
        "one-subject",
        "its role is trusted to Karpenter's service account of this cluster, and to nothing else",
        expected=(1, ["system:serviceaccount:kube-system:karpenter"]),
        observed=(len(trust["Statement"]), subjects),
    )


def _release(story: Narrator, cluster: ExampleCluster) -> None:
    """What the real chart made of the values."""
    pod = cluster.kube.get(KARPENTER)["spec"]["template"]["spec"]
    annotations = cluster.kube.get(ACCOUNT)["metadata"]["annotations"]
    role = annotations["eks.amazonaws.com/role-arn"].rpartition("/")[2]
    [container] = pod["containers"]
    requests = container["resources"]["requests"]
    queue = next(one["value"] for one in container["env"] if one["name"] == "INTERRUPTION_QUEUE")
    story.claim(
        "release-values",
        "Karpenter's release has the role and the queue, asks for what Fargate sells, and needs no CoreDNS",
        expected=(ROLE, EVENTS, {"cpu": "500m", "memory": "1792Mi"}, "Default", False),
        observed=(role, queue, requests, pod["dnsPolicy"], pod.get("hostNetwork", False)),
    )


def _interruption(story: Narrator, world: World) -> None:
    """From the bus by the rule to the queue: further it is Karpenter's, which has no EC2 here."""
    aws = world.system.aws
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName=EVENTS)["QueueUrl"]
    aws.events.send(spot_interruption("i-0123456789abcdef0"))
    found = [json.loads(one["Body"]) for one in sqs.receive_message(QueueUrl=url).get("Messages", ())]
    story.claim(
        "interruption-arrives",
        "EC2's warning of a spot interruption waits in the cluster's queue",
        expected=[("EC2 Spot Instance Interruption Warning", "i-0123456789abcdef0")],
        observed=[(one["detail-type"], one["detail"]["instance-id"]) for one in found],
    )


def _offboarded(story: Narrator, world: World, cluster: ExampleCluster) -> None:
    system = world.system
    eks, iam = system.aws.client("eks"), system.aws.client("iam")
    sqs, events = system.aws.client("sqs"), system.aws.client("events")
    story.saw("an engineer runs: slicewise offboard gpu-1")
    eks.tag_resource(resourceArn=system.arn(CLUSTER), tags={POLICY_TAG: "offboard"})
    wait(story, lambda: system.record(CLUSTER) is None, "it is offboarded")
    story.claim(
        "nothing-is-left",
        "no profile, access entry, role, OIDC provider, queue or rule of ours is left",
        expected=[],
        observed=[
            *eks.list_fargate_profiles(clusterName=CLUSTER)["fargateProfileNames"],
            *eks.list_access_entries(clusterName=CLUSTER)["accessEntries"],
            *(one["RoleName"] for one in iam.list_roles(PathPrefix="/slicewise/")["Roles"]),
            *(one["Arn"] for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]),
            *sqs.list_queues(QueueNamePrefix=EVENTS).get("QueueUrls", ()),
            *(one["Name"] for one in events.list_rules(NamePrefix=EVENTS)["Rules"]),
        ],
    )
    story.claim(
        "nothing-denied",
        "every call to AWS was made with the functions' own roles, and none was denied",
        expected=[],
        observed=[str(decision) for decision in system.aws.iam.denied()],
    )
