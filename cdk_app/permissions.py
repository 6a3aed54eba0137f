"""
What each role may do, read in one place.

Actions, resources and condition keys are those of AWS's service authorization reference. The `eks:` calls are
fenced, since an identity that may make access entries and associate policies freely is admin of every
cluster:

* entries are made for our own roles only, each with its own Kubernetes group only;
* ClusterAdmin is the one policy that can be associated, cluster-wide, and only with the installer's entry;
* the authentication mode can be changed to API_AND_CONFIG_MAP only, on clusters that their owner tagged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from slicewise.kube.labels import ALLOW_ACCESS_ENTRIES_TAG, CLUSTER_TAG

# The runtime's names for the same things (slicewise.rights); a test compares them.
INSTALLER_GROUP = "slicewise:installer"
TUNER_GROUP = "slicewise:tuner"
SLEEPER_GROUP = "slicewise:sleeper"
# Of slicewise.onboarding.aws.fargate.
FARGATE_PROFILE = "slicewise-karpenter"
CLUSTER_NAME_TAG = "eks-cluster-name"
ROLE_PATH = "slicewise"
# The constructs of the installer's policies for that, and for the next.
FARGATE_POLICY_ID, INTERRUPTIONS_POLICY_ID = "InstallerOnFargate", "InstallerInterruptions"
# Of slicewise.onboarding.aws.interruptions.
INTERRUPTIONS_PREFIX = "slicewise-interruptions-"
INTERRUPTION_SOURCES = ("aws.ec2", "aws.health")
FARGATE_SERVICE, FARGATE_PODS = "eks-fargate.amazonaws.com", "eks-fargate-pods.amazonaws.com"
# How the names of clusters' alarms begin; the deployment's own begin with "slicewise-".
ALARM_PREFIX = "slicewise/"


@dataclass(frozen=True)
class RoleNames:
    """
    Roles that enter clusters. Karpenter's two are made where its roles are deployed, that of Fargate's pods
    where it may run there.

    Attributes:
        on_fargate: How the names of the roles begin that the installer makes for a Karpenter on Fargate, one
            a cluster.
        interruptions: How the names of queues and rules begin that it makes for interruption handling, one of
            each a cluster; empty where policies may not ask for that.
    """

    installer: str
    tuner: str
    sleeper: str
    karpenter_controller: str | None = None
    karpenter_node: str | None = None
    fargate_pods: str | None = None
    on_fargate: str = ""
    interruptions: str = ""

    @classmethod
    def with_prefix(
        cls, prefix: str, *, karpenter: bool, fargate: bool = False, interruptions: bool = False
    ) -> RoleNames:
        controller, node = f"{prefix}-karpenter-controller", f"{prefix}-karpenter-node"
        names = f"{prefix}-installer", f"{prefix}-tuner", f"{prefix}-sleeper"
        if not karpenter:
            return cls(*names)
        pods, on_fargate = (
            (f"{prefix}-karpenter-fargate-pods", f"{prefix}-on-fargate-") if fargate else (None, "")
        )
        # Unlike a role's, these names are of one Region.
        events = INTERRUPTIONS_PREFIX if interruptions else ""
        return cls(*names, controller, node, pods, on_fargate, events)


def role_arn(name: str) -> str:
    """From the name and not from the role, so that a role's policy can name the role itself."""
    return f"arn:{cdk.Aws.PARTITION}:iam::{cdk.Aws.ACCOUNT_ID}:role/{name}"


def cluster_admin_policy() -> str:
    return f"arn:{cdk.Aws.PARTITION}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


def installer(roles: RoleNames) -> list[iam.PolicyStatement]:
    """Reads clusters, lets itself, the tuner and the sleeper in, and is admin while it installs."""
    clusters = _eks("cluster/*")
    entries = [_entries_of(role) for role in (roles.installer, roles.tuner, roles.sleeper)]
    statements = [
        _allow(["eks:DescribeCluster", "eks:ListNodegroups"], clusters),
        _allow(["eks:DescribeNodegroup"], _eks("nodegroup/*/*/*")),
        _allow(
            ["eks:UpdateClusterConfig"],
            clusters,
            StringEquals={
                "eks:authenticationMode": "API_AND_CONFIG_MAP",
                f"aws:ResourceTag/{ALLOW_ACCESS_ENTRIES_TAG}": "true",
            },
        ),
        _may_let_in(roles.installer, INSTALLER_GROUP),
        _may_let_in(roles.tuner, TUNER_GROUP),
        _may_let_in(roles.sleeper, SLEEPER_GROUP),
        _allow(
            [
                "eks:DescribeAccessEntry",
                "eks:UpdateAccessEntry",
                "eks:DeleteAccessEntry",
                "eks:ListAssociatedAccessPolicies",
            ],
            *entries,
        ),
        *_own_admin_right(roles.installer),
    ]
    if roles.karpenter_controller and roles.karpenter_node:
        statements += _karpenter_installation(roles.karpenter_controller, roles.karpenter_node)
    return statements


def installer_on_fargate(roles: RoleNames) -> list[iam.PolicyStatement]:
    """What it may do beside, where policies may put Karpenter on Fargate; nothing where they may not."""
    if not (roles.fargate_pods and roles.karpenter_controller and roles.karpenter_node):
        return []
    # EKS makes the second one, with a profile, and does not say that it deletes it.
    entries = [_entries_of(role) for role in (roles.karpenter_node, roles.fargate_pods)]
    return [
        *_fargate_profiles(roles.fargate_pods),
        *_identities_on_fargate(roles.on_fargate, roles.karpenter_controller),
        _allow(["eks:DescribeAccessEntry"], entries[1]),
        _allow(["eks:DeleteAccessEntry"], *entries),
    ]


def installer_of_interruptions(roles: RoleNames) -> list[iam.PolicyStatement]:
    """What it may do beside, where policies may ask for interruption handling: by names."""
    if not roles.interruptions:
        return []
    queues = _regional("sqs", f"{roles.interruptions}*")
    return [
        *_event_queues(queues),
        *_event_rules(_regional("events", f"rule/{roles.interruptions}*"), queues),
    ]


def tuner(amp_workspaces: Sequence[str] = ()) -> list[iam.PolicyStatement]:
    """
    Finds a cluster's endpoint, reads what was measured, keeps the cluster's alarms. What it may do inside is
    the cluster's RBAC for its group.
    """
    own_alarms = _regional("cloudwatch", f"alarm:{ALARM_PREFIX}*")
    statements = [
        _allow(["eks:DescribeCluster"], _eks("cluster/*")),
        # The first two are also what PromQL takes, of Container Insights' metrics by OpenTelemetry.
        _allow(["cloudwatch:ListMetrics", "cloudwatch:GetMetricData", "cloudwatch:GetMetricStatistics"], "*"),
        # By a prefix of names, which IAM checks on all alarms.
        _allow(["cloudwatch:DescribeAlarms"], _regional("cloudwatch", "alarm:*")),
        # Ours only change their state, which EventBridge reports. An alarm with actions could end machines:
        # each of them must be this one, which is none, and "all of none" holds (CloudWatch user guide, "Using
        # condition keys to limit alarm actions").
        _allow(
            ["cloudwatch:PutMetricAlarm"],
            own_alarms,
            **{"ForAllValues:StringEquals": {"cloudwatch:AlarmActions": ["none"]}},
        ),
        _allow(
            [
                "cloudwatch:DeleteAlarms",
                # CloudWatch asks for these two where an alarm is made with tags and sends them.
                "cloudwatch:TagResource",
                "cloudwatch:ListTagsForResource",
            ],
            own_alarms,
        ),
    ]
    if amp_workspaces:
        statements.append(_allow(["aps:QueryMetrics"], *amp_workspaces))
    return statements


def sleeper(group: str, scheduler_role: iam.IRole) -> list[iam.PolicyStatement]:
    """
    Finds a cluster's endpoint, keeps the schedules of one group. What it may do inside is the cluster's RBAC.
    """
    return [
        _allow(["eks:DescribeCluster"], _eks("cluster/*")),
        _allow(
            [
                "scheduler:GetSchedule",
                "scheduler:CreateSchedule",
                "scheduler:UpdateSchedule",
                "scheduler:DeleteSchedule",
            ],
            _regional("scheduler", f"schedule/{group}/*"),
        ),
        _allow(
            ["iam:PassRole"],
            scheduler_role.role_arn,
            StringEquals={"iam:PassedToService": "scheduler.amazonaws.com"},
        ),
    ]


def sweeper() -> list[iam.PolicyStatement]:
    """Lists clusters, nothing else: ListClusters knows no resource to be scoped to."""
    return [_allow(["eks:ListClusters"], "*")]


def use_table(table: dynamodb.ITable, *actions: str) -> iam.PolicyStatement:
    return _allow([f"dynamodb:{action}" for action in actions], table.table_arn)


def read_index(table: dynamodb.ITable, index: str) -> iam.PolicyStatement:
    return _allow(["dynamodb:Scan"], f"{table.table_arn}/index/{index}")


def watch_openings(table: dynamodb.ITable) -> list[iam.PolicyStatement]:
    """
    Which clusters are due to wake, and of a late one whether a person wants it asleep: in the items of any
    cluster, which no condition narrows.
    """
    return [
        _allow(["dynamodb:Query"], f"{table.table_arn}/index/openings"),
        use_table(table, "GetItem"),
    ]


def note_sweeps(table: dynamodb.ITable) -> iam.PolicyStatement:
    """When the fleet was swept, in one item of what is stored about the fleet."""
    only = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["fleet"]}}
    return _allow(["dynamodb:GetItem", "dynamodb:PutItem"], table.table_arn, **only)


def send(*queues: sqs.IQueue) -> iam.PolicyStatement:
    return _allow(["sqs:SendMessage"], *(queue.queue_arn for queue in queues))


def publish(topic: sns.ITopic) -> iam.PolicyStatement:
    return _allow(["sns:Publish"], topic.topic_arn)


def read_policies(prefix: str) -> iam.PolicyStatement:
    """`prefix` starts and ends with a slash, as the parameters' names do."""
    return _allow(["ssm:GetParameter"], _regional("ssm", f"parameter{prefix}*"))


def _karpenter_installation(controller_role: str, node_role: str) -> list[iam.PolicyStatement]:
    return [
        _allow(
            ["eks:CreateAccessEntry"],
            _eks("cluster/*"),
            ArnEquals={"eks:principalArn": role_arn(node_role)},
            StringEquals={"eks:accessEntryType": "EC2_LINUX"},
        ),
        _allow(["eks:DescribeAccessEntry"], _entries_of(node_role)),
        _allow(["eks:ListAddons", "eks:CreateAddon"], _eks("cluster/*")),
        _allow(["eks:ListPodIdentityAssociations", "eks:CreatePodIdentityAssociation"], _eks("cluster/*")),
        _allow(["eks:DescribePodIdentityAssociation"], _eks("podidentityassociation/*/*")),
        # EKS reads the role's trust policy in the caller's name before it associates it.
        _allow(["iam:GetRole"], role_arn(controller_role)),
        _allow(
            ["iam:PassRole"],
            role_arn(controller_role),
            StringEquals={"iam:PassedToService": ["eks.amazonaws.com", "pods.eks.amazonaws.com"]},
        ),
    ]


def _fargate_profiles(pod_role: str) -> list[iam.PolicyStatement]:
    """One by its name, in any cluster; of the others it is only read whether one is changing."""
    ours = _eks(f"fargateprofile/*/{FARGATE_PROFILE}/*")
    linked = f"role/aws-service-role/{FARGATE_SERVICE}/AWSServiceRoleForAmazonEKSForFargate"
    return [
        _allow(["eks:ListFargateProfiles", "eks:CreateFargateProfile"], _eks("cluster/*")),
        _allow(["eks:DescribeFargateProfile"], _eks("fargateprofile/*/*/*")),
        # It gets its tag as it is made.
        _allow(["eks:TagResource"], ours, **{"ForAllValues:StringEquals": {"aws:TagKeys": [CLUSTER_TAG]}}),
        _allow(["eks:DeleteFargateProfile"], ours),
        # Which subnets are public is said by their route tables. EKS checks in the caller's name whether
        # those of a profile are private (AWS CDK, pull requests 6074 and 7706). IAM knows no resource.
        _allow(["ec2:DescribeRouteTables", "ec2:DescribeSubnets"], "*"),
        # EKS reads the role's trust policy in the caller's name.
        _allow(["iam:GetRole"], role_arn(pod_role)),
        _allow(
            ["iam:PassRole"],
            role_arn(pod_role),
            StringEquals={"iam:PassedToService": ["eks.amazonaws.com", FARGATE_PODS]},
        ),
        # EKS makes its own role for Fargate with an account's first profile, in the caller's name.
        _allow(
            ["iam:CreateServiceLinkedRole"],
            f"arn:{cdk.Aws.PARTITION}:iam::{cdk.Aws.ACCOUNT_ID}:{linked}",
            StringEquals={"iam:AWSServiceName": FARGATE_SERVICE},
        ),
    ]


def _identities_on_fargate(prefix: str, controller_policy: str) -> list[iam.PolicyStatement]:
    """
    Roles in a path of ours, which may never do more than Karpenter's policy, whatever is attached; and OIDC
    providers of EKS's issuers, of which only those go that carry our tag.
    """
    roles = role_arn(f"{ROLE_PATH}/{prefix}*")
    policy = f"arn:{cdk.Aws.PARTITION}:iam::{cdk.Aws.ACCOUNT_ID}:policy/{controller_policy}"
    issuers = f"oidc-provider/oidc.eks.{cdk.Aws.REGION}.{cdk.Aws.URL_SUFFIX}/id/*"
    providers = f"arn:{cdk.Aws.PARTITION}:iam::{cdk.Aws.ACCOUNT_ID}:{issuers}"
    ours = _eks("cluster/*")
    return [
        _allow(
            ["iam:CreateRole"],
            roles,
            ArnEquals={"iam:PermissionsBoundary": policy},
            StringLike={f"aws:RequestTag/{CLUSTER_TAG}": ours, f"aws:RequestTag/{CLUSTER_NAME_TAG}": "*"},
        ),
        # A role gets its tags as it is made.
        _allow(
            ["iam:TagRole"],
            roles,
            **_our_tags(),
        ),
        _allow(["iam:AttachRolePolicy", "iam:DetachRolePolicy"], roles, ArnEquals={"iam:PolicyARN": policy}),
        # Of a role that is not there IAM knows the name alone, and decides on it without a path.
        _allow(["iam:GetRole"], roles, role_arn(f"{prefix}*")),
        _allow(["iam:ListAttachedRolePolicies", "iam:DeleteRole"], roles),
        _allow(["iam:GetOpenIDConnectProvider"], providers),
        _allow(
            ["iam:CreateOpenIDConnectProvider", "iam:TagOpenIDConnectProvider"],
            providers,
            StringLike={f"aws:RequestTag/{CLUSTER_TAG}": ours},
        ),
        _allow(
            ["iam:DeleteOpenIDConnectProvider"],
            providers,
            StringLike={f"aws:ResourceTag/{CLUSTER_TAG}": ours},
        ),
        # Who else trusts a provider of ours, before it goes. IAM lists all roles or none.
        _allow(["iam:ListRoles"], "*"),
    ]


def _event_queues(queues: str) -> list[iam.PolicyStatement]:
    """They get their tags as they are made; by one of these, Karpenter may read its own."""
    reading = ["sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ListQueueTags"]
    return [
        _allow([*reading, "sqs:CreateQueue", "sqs:SetQueueAttributes", "sqs:DeleteQueue"], queues),
        _allow(["sqs:TagQueue"], queues, **_our_tags()),
    ]


def _event_rules(rules: str, queues: str) -> list[iam.PolicyStatement]:
    """They match two sources of AWS's own events, and send to these queues and to nothing else."""
    reading = ["events:DescribeRule", "events:ListTargetsByRule", "events:ListTagsForResource"]
    return [
        _allow([*reading, "events:RemoveTargets", "events:DeleteRule"], rules),
        _allow(["events:TagResource"], rules, **_our_tags()),
        _allow(
            ["events:PutRule"],
            rules,
            Null={"events:source": "false"},
            **{"ForAllValues:StringEquals": {"events:source": list(INTERRUPTION_SOURCES)}},
        ),
        _allow(
            ["events:PutTargets"],
            rules,
            Null={"events:TargetArn": "false"},
            **{"ForAllValues:ArnLike": {"events:TargetArn": queues}},
        ),
    ]


def _our_tags() -> dict[str, Mapping[str, object]]:
    return {"ForAllValues:StringEquals": {"aws:TagKeys": [CLUSTER_TAG, CLUSTER_NAME_TAG]}}


def _own_admin_right(installer: str) -> list[iam.PolicyStatement]:
    only = {"eks:policyArn": cluster_admin_policy()}
    return [
        _allow(
            ["eks:AssociateAccessPolicy"],
            _entries_of(installer),
            ArnEquals=only,
            StringEquals={"eks:accessScope": "cluster"},
        ),
        # A request to disassociate carries no scope, and a condition on what is not there would refuse it.
        _allow(["eks:DisassociateAccessPolicy"], _entries_of(installer), ArnEquals=only),
    ]


def _may_let_in(role: str, group: str) -> iam.PolicyStatement:
    return _allow(
        ["eks:CreateAccessEntry"],
        _eks("cluster/*"),
        ArnEquals={"eks:principalArn": role_arn(role)},
        StringEquals={"eks:accessEntryType": "STANDARD"},
        **{"ForAllValues:StringEquals": {"eks:kubernetesGroups": [group]}},
    )


def _entries_of(role: str) -> str:
    """Entries of one role in any cluster: access-entry/<cluster>/role/<account>/<role name>/<id>."""
    return _eks(f"access-entry/*/role/{cdk.Aws.ACCOUNT_ID}/{role}/*")


def _eks(resource: str) -> str:
    return _regional("eks", resource)


def _regional(service: str, resource: str) -> str:
    return f"arn:{cdk.Aws.PARTITION}:{service}:{cdk.Aws.REGION}:{cdk.Aws.ACCOUNT_ID}:{resource}"


def _allow(actions: list[str], *resources: str, **conditions: Mapping[str, object]) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=actions, resources=list(resources), conditions=conditions or None)
