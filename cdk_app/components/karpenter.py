"""
The two roles that Karpenter needs where Slicewise installs it: its controller's and its nodes'.

One pair serves every cluster of the account and Region. EKS Pod Identity puts the cluster's name on the
controller's session as a tag, and Karpenter puts the same name on all it makes (`eks:eks-cluster-name`), so
each cluster's controller can change its own things only. On Fargate, where Pod Identity does not work, each
cluster's controller has a role of its own, with that tag and the same policy (slicewise.onboarding.aws).

The actions are those that Karpenter 1.14.1 calls (its pkg/aws/sdk.go), less zonal shift, which is not
deployed here, and those of interruption handling where no policy may ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_app.permissions import CLUSTER_NAME_TAG, FARGATE_PODS, FARGATE_PROFILE, RoleNames

OUR_CLUSTER = "${aws:PrincipalTag/eks-cluster-name}"
ASKED_FOR_OUR_CLUSTER = {"aws:RequestTag/eks:eks-cluster-name": OUR_CLUSTER}
BELONGS_TO_OUR_CLUSTER = {"aws:ResourceTag/eks:eks-cluster-name": OUR_CLUSTER}
ASKED_FOR_A_NODE_POOL = {"aws:RequestTag/karpenter.sh/nodepool": "*"}
OF_A_NODE_POOL = {"aws:ResourceTag/karpenter.sh/nodepool": "*"}
MADE_BY_KARPENTER = (
    "fleet",
    "instance",
    "volume",
    "network-interface",
    "launch-template",
    "spot-instances-request",
)
USED_BY_KARPENTER = ("security-group", "subnet", "capacity-reservation", "placement-group")
PUBLIC_THINGS = ("image", "snapshot")
# What EKS documents for nodes, and Session Manager instead of SSH keys.
NODE_POLICIES = (
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonSSMManagedInstanceCore",
)


FARGATE_POLICY = "AmazonEKSFargatePodExecutionRolePolicy"


class KarpenterRoles(Construct):
    """
    Attributes:
        controller: For the pod identity association of kube-system/karpenter.
        nodes: For the nodes' instance profiles and their access entry.
        controller_policy: What the controller may do.
        fargate_pods: For the pods of a Fargate profile; None where Karpenter may not run there.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        controller_name: str,
        node_name: str,
        fargate_pods_name: str | None = None,
        interruption_queues: str = "",
    ):
        super().__init__(scope, id)
        self.nodes = iam.Role(
            self,
            "Node",
            role_name=node_name,
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            description="Slicewise: nodes that Karpenter starts",
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(name) for name in NODE_POLICIES],
        )
        self.controller = iam.Role(
            self,
            "Controller",
            role_name=controller_name,
            assumed_by=iam.SessionTagsPrincipal(
                iam.ServicePrincipal(
                    "pods.eks.amazonaws.com",
                    conditions={
                        "StringEquals": {
                            "aws:RequestTag/kubernetes-namespace": "kube-system",
                            "aws:RequestTag/kubernetes-service-account": "karpenter",
                        }
                    },
                )
            ),
            description="Slicewise: Karpenter's controller, in every cluster that it was installed in",
        )
        # A policy of its own: with inline ones the role would grow beyond what IAM takes.
        self.controller_policy = iam.ManagedPolicy(
            self,
            "ControllerPolicy",
            managed_policy_name=controller_name,
            statements=[
                *_instances(),
                *_instance_profiles(self.nodes.role_arn),
                *_reading(self.nodes.role_arn),
                *(_interruptions(interruption_queues) if interruption_queues else ()),
            ],
            roles=[self.controller],
        )

        self.fargate_pods = _fargate_pods(self, fargate_pods_name) if fargate_pods_name else None

    @classmethod
    def if_named(cls, scope: Construct, id: str, names: RoleNames) -> KarpenterRoles | None:
        """None where the deployment has no names for them."""
        controller, nodes = names.karpenter_controller, names.karpenter_node
        if not (controller and nodes):
            return None
        return cls(
            scope,
            id,
            controller_name=controller,
            node_name=nodes,
            fargate_pods_name=names.fargate_pods,
            interruption_queues=names.interruptions,
        )


def _fargate_pods(scope: Construct, name: str) -> iam.Role:
    """Pulls images and registers the pods' nodes; the pods themselves never have it."""
    profiles = f"fargateprofile/*/{FARGATE_PROFILE}/*"
    return iam.Role(
        scope,
        "FargatePods",
        role_name=name,
        assumed_by=iam.ServicePrincipal(
            FARGATE_PODS,
            # Else a profile of another account could have Fargate act by it.
            conditions={
                "ArnLike": {
                    "aws:SourceArn": f"arn:{cdk.Aws.PARTITION}:eks:{cdk.Aws.REGION}:"
                    f"{cdk.Aws.ACCOUNT_ID}:{profiles}"
                }
            },
        ),
        description="Slicewise: what runs Karpenter's pods on Fargate",
        managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(FARGATE_POLICY)],
    )


def _instances() -> list[iam.PolicyStatement]:
    return [*_launched(), *_changed()]


def _launched() -> list[iam.PolicyStatement]:
    """What is started gets its cluster's tag in the same call."""
    launch = ["ec2:RunInstances", "ec2:CreateFleet"]
    made = [_ec2(kind) for kind in MADE_BY_KARPENTER]
    used = [_ec2(kind) for kind in USED_BY_KARPENTER]
    public = [f"arn:{cdk.Aws.PARTITION}:ec2:{cdk.Aws.REGION}::{kind}/*" for kind in PUBLIC_THINGS]
    ours = {"StringEquals": BELONGS_TO_OUR_CLUSTER, "StringLike": OF_A_NODE_POOL}
    created = {"ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]}
    return [
        _allow(launch, [*used, *public]),
        _allow(launch, [_ec2("launch-template")], **ours),
        _allow(
            [*launch, "ec2:CreateLaunchTemplate"],
            made,
            StringEquals=ASKED_FOR_OUR_CLUSTER,
            StringLike=ASKED_FOR_A_NODE_POOL,
        ),
        _allow(
            ["ec2:CreateTags"],
            made,
            StringEquals={**ASKED_FOR_OUR_CLUSTER, **created},
            StringLike=ASKED_FOR_A_NODE_POOL,
        ),
    ]


def _changed() -> list[iam.PolicyStatement]:
    """Only what has the cluster's tag."""
    names = {"aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]}
    return [
        _allow(
            ["ec2:CreateTags"],
            [_ec2("instance")],
            StringEquals=BELONGS_TO_OUR_CLUSTER,
            StringLike=OF_A_NODE_POOL,
            StringEqualsIfExists=ASKED_FOR_OUR_CLUSTER,
            # Instances get their node's name once it has one.
            **{"ForAllValues:StringEquals": names},
        ),
        _allow(
            ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"],
            [_ec2("instance"), _ec2("launch-template")],
            StringEquals=BELONGS_TO_OUR_CLUSTER,
            StringLike=OF_A_NODE_POOL,
        ),
    ]


def _instance_profiles(node_role: str) -> list[iam.PolicyStatement]:
    # Karpenter gives its profiles the path /karpenter/<region>/<cluster>/<node class id>/.
    profiles = [f"arn:{cdk.Aws.PARTITION}:iam::{cdk.Aws.ACCOUNT_ID}:instance-profile/karpenter/*"]
    here = cdk.Aws.REGION
    asked = {**ASKED_FOR_OUR_CLUSTER, "aws:RequestTag/topology.kubernetes.io/region": here}
    ours = {**BELONGS_TO_OUR_CLUSTER, "aws:ResourceTag/topology.kubernetes.io/region": here}
    asked_class = {"aws:RequestTag/karpenter.k8s.aws/ec2nodeclass": "*"}
    our_class = {"aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass": "*"}
    return [
        _allow(["iam:CreateInstanceProfile"], profiles, StringEquals=asked, StringLike=asked_class),
        _allow(
            ["iam:TagInstanceProfile"],
            profiles,
            StringEquals={**asked, **ours},
            StringLike={**asked_class, **our_class},
        ),
        _allow(
            [
                "iam:AddRoleToInstanceProfile",
                "iam:RemoveRoleFromInstanceProfile",
                "iam:DeleteInstanceProfile",
            ],
            profiles,
            StringEquals=ours,
            StringLike=our_class,
        ),
        _allow(["iam:GetInstanceProfile"], profiles),
        _allow(["iam:ListInstanceProfiles"], ["*"]),
        _allow(["iam:PassRole"], [node_role], StringEquals={"iam:PassedToService": "ec2.amazonaws.com"}),
    ]


def _reading(node_role: str) -> list[iam.PolicyStatement]:
    describe = [
        "CapacityReservations",
        "Images",
        "InstanceStatus",
        "InstanceTypeOfferings",
        "InstanceTypes",
        "Instances",
        "LaunchTemplates",
        "PlacementGroups",
        "SecurityGroups",
        "SpotPriceHistory",
        "Subnets",
    ]
    in_region = {"aws:RequestedRegion": cdk.Aws.REGION}
    cluster = f"arn:{cdk.Aws.PARTITION}:eks:{cdk.Aws.REGION}:{cdk.Aws.ACCOUNT_ID}:cluster/{OUR_CLUSTER}"
    public = f"arn:{cdk.Aws.PARTITION}:ssm:{cdk.Aws.REGION}::parameter/aws/service/*"
    return [
        _allow([f"ec2:Describe{what}" for what in describe], ["*"], StringEquals=in_region),
        _allow(["pricing:GetProducts"], ["*"]),
        _allow(["ssm:GetParameter"], [public]),
        _allow(["eks:DescribeCluster"], [cluster]),
        _allow(["iam:GetRole"], [node_role]),
    ]


def _interruptions(prefix: str) -> list[iam.PolicyStatement]:
    """
    Of each cluster's queue, by its name; and by its tag, since a long name of a cluster is cut in the
    queue's. Not every Region lets a policy ask for a queue's tag (SQS developer guide, "ABAC for Amazon
    SQS").
    """
    queues = f"arn:{cdk.Aws.PARTITION}:sqs:{cdk.Aws.REGION}:{cdk.Aws.ACCOUNT_ID}:{prefix}"
    read = ["sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:DeleteMessage"]
    return [
        _allow(read, [f"{queues}{OUR_CLUSTER}"]),
        _allow(read, [f"{queues}*"], StringEquals={f"aws:ResourceTag/{CLUSTER_NAME_TAG}": OUR_CLUSTER}),
    ]


def _ec2(kind: str) -> str:
    return f"arn:{cdk.Aws.PARTITION}:ec2:{cdk.Aws.REGION}:*:{kind}/*"


def _allow(
    actions: list[str], resources: list[str], **conditions: Mapping[str, object]
) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions or None)
