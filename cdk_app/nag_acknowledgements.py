"""Findings of cdk-nag that stay, each with the reason why it is right here."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct

from cdk_app.components.function import ControllerFunction
from cdk_app.components.karpenter import (
    FARGATE_POLICY,
    MADE_BY_KARPENTER,
    NODE_POLICIES,
    PUBLIC_THINGS,
    USED_BY_KARPENTER,
    KarpenterRoles,
)
from cdk_app.components.offhours_schedules import OffHoursSchedules
from cdk_app.config import Config
from cdk_app.permissions import (
    ALARM_PREFIX,
    FARGATE_POLICY_ID,
    FARGATE_PROFILE,
    INTERRUPTIONS_POLICY_ID,
    INTERRUPTIONS_PREFIX,
    ROLE_PATH,
)

HERE = "<AWS::Region>:<AWS::AccountId>"

ANY_CLUSTER = (
    "Clusters are made after this stack, under names that are not known yet. What may be done to them is "
    "narrowed by conditions, and inside a cluster by its own RBAC."
)
ANY_ID = "The part behind the role's name is an id that EKS makes up; cluster names are not known in advance."
ANY_POLICY = "A policy that is added needs no new deployment of the functions."
ALARMS_BY_PREFIX = "Reading by a prefix of names is checked on all alarms; nothing is changed by it."
ALARMS_OF_CLUSTERS = "Clusters come and go, and each has alarms that are named after it."
NO_RESOURCE = "The service authorization reference knows no resource for this action."
PINNED_RUNTIME = (
    "Python 3.13 is supported until 2029. The layer carries bytecode of exactly this version, so that it "
    "changes on purpose and not with the construct library."
)
INTERFACES = (
    "The actions of AWSLambdaVPCAccessExecutionRole, which cannot be scoped before an interface exists."
)
FOR_NODES = "The managed policies that EKS documents for nodes; AWS adds to them what new versions need."
FENCED_BY_TAGS = (
    "Karpenter makes these under ids not known in advance; the cluster's tag fences what it may change."
)
CHOSEN_BY_NODE_CLASS = "Instances are launched into what a NodeClass names, which is decided in the cluster."
ROLES_OF_CLUSTERS = (
    "One a cluster, named after it; what each may do is bounded by Karpenter's policy, which is its boundary."
)
ANY_ISSUER = "An issuer's id is made up by EKS. What is deleted must carry our tag."
EVENTS_OF_CLUSTERS = "One queue and one rule a cluster, named after it; clusters come and go."
PUBLISHED = "AWS's own public parameters, such as the newest image's id."


def for_all(
    config: Config,
    onboard: ControllerFunction,
    tune: ControllerFunction,
    shift: ControllerFunction,
    sweep: ControllerFunction,
    watch: ControllerFunction,
    *,
    karpenter: KarpenterRoles | None,
) -> None:
    in_vpc, role_prefix = bool(config.subnet_ids), config.role_prefix
    _for_functions(onboard, tune, shift, sweep, watch, role_prefix=role_prefix, in_vpc=in_vpc)
    if karpenter:
        _for_karpenter(onboard, karpenter, role_prefix=role_prefix)


def _for_functions(
    onboard: ControllerFunction,
    tune: ControllerFunction,
    shift: ControllerFunction,
    sweep: ControllerFunction,
    watch: ControllerFunction,
    *,
    role_prefix: str,
    in_vpc: bool,
) -> None:
    entries = f"arn:<AWS::Partition>:eks:{HERE}:access-entry/*/role/<AWS::AccountId>/{role_prefix}"
    _wildcards(onboard.role, ANY_CLUSTER, f"arn:<AWS::Partition>:eks:{HERE}:cluster/*")
    _wildcards(onboard.role, ANY_CLUSTER, f"arn:<AWS::Partition>:eks:{HERE}:nodegroup/*/*/*")
    _wildcards(onboard.role, ANY_ID, *(f"{entries}-{name}/*" for name in ("installer", "tuner", "sleeper")))
    for one in (onboard, tune, shift):
        _wildcards(one.role, ANY_POLICY, f"arn:<AWS::Partition>:ssm:{HERE}:parameter/slicewise/policies/*")
    _wildcards(tune.role, ANY_CLUSTER, f"arn:<AWS::Partition>:eks:{HERE}:cluster/*")
    _wildcards(tune.role, NO_RESOURCE, "*")
    _wildcards(shift.role, ANY_CLUSTER, f"arn:<AWS::Partition>:eks:{HERE}:cluster/*")
    schedules = f"arn:<AWS::Partition>:scheduler:{HERE}:schedule/{OffHoursSchedules.group}/*"
    _wildcards(shift.role, ANY_CLUSTER, schedules)
    alarms = f"arn:<AWS::Partition>:cloudwatch:{HERE}:alarm"
    _wildcards(tune.role, ALARMS_BY_PREFIX, f"{alarms}:*")
    _wildcards(tune.role, ALARMS_OF_CLUSTERS, f"{alarms}:{ALARM_PREFIX}*")
    _wildcards(sweep.role, NO_RESOURCE, "*")
    for one in (onboard, tune, shift, sweep, watch):
        _acknowledge(one.function, "AwsSolutions-L1", PINNED_RUNTIME)
    for one in (onboard, tune, shift) if in_vpc else ():
        _wildcards(one, INTERFACES, "*")


def _for_karpenter(onboard: ControllerFunction, karpenter: KarpenterRoles, *, role_prefix: str) -> None:
    entries = (
        f"arn:<AWS::Partition>:eks:{HERE}:access-entry/*/role/<AWS::AccountId>/{role_prefix}-karpenter-node/*"
    )
    if karpenter.fargate_pods:
        _for_fargate(karpenter.fargate_pods, role_prefix=role_prefix)
    if events := cdk.Stack.of(karpenter).node.try_find_child(INTERRUPTIONS_POLICY_ID):
        queues = f"arn:<AWS::Partition>:sqs:{HERE}:{INTERRUPTIONS_PREFIX}*"
        rules = f"arn:<AWS::Partition>:events:{HERE}:rule/{INTERRUPTIONS_PREFIX}*"
        _wildcards(events, EVENTS_OF_CLUSTERS, queues, rules)
        _wildcards(karpenter.controller_policy, EVENTS_OF_CLUSTERS, queues)
    ec2 = "arn:<AWS::Partition>:ec2:<AWS::Region>"
    policy = karpenter.controller_policy
    _wildcards(onboard.role, ANY_ID, entries)
    _wildcards(onboard.role, ANY_CLUSTER, f"arn:<AWS::Partition>:eks:{HERE}:podidentityassociation/*/*")
    _wildcards(policy, FENCED_BY_TAGS, *(f"{ec2}:*:{kind}/*" for kind in MADE_BY_KARPENTER))
    _wildcards(
        policy, FENCED_BY_TAGS, "arn:<AWS::Partition>:iam::<AWS::AccountId>:instance-profile/karpenter/*"
    )
    _wildcards(policy, CHOSEN_BY_NODE_CLASS, *(f"{ec2}:*:{kind}/*" for kind in USED_BY_KARPENTER))
    _wildcards(policy, CHOSEN_BY_NODE_CLASS, *(f"{ec2}::{kind}/*" for kind in PUBLIC_THINGS))
    _wildcards(policy, PUBLISHED, "arn:<AWS::Partition>:ssm:<AWS::Region>::parameter/aws/service/*")
    _wildcards(policy, NO_RESOURCE, "*")
    for name in NODE_POLICIES:
        finding = f"AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/{name}]"
        _acknowledge(karpenter.nodes, finding, FOR_NODES)


def _for_fargate(pods: IConstruct, *, role_prefix: str) -> None:
    policy = cdk.Stack.of(pods).node.find_child(FARGATE_POLICY_ID)
    eks, ours = f"arn:<AWS::Partition>:eks:{HERE}", "arn:<AWS::Partition>:iam::<AWS::AccountId>"
    profiles, entries = f"{eks}:fargateprofile", f"{eks}:access-entry/*/role/<AWS::AccountId>"
    _wildcards(
        policy, ANY_CLUSTER, f"{eks}:cluster/*", f"{profiles}/*/*/*", f"{profiles}/*/{FARGATE_PROFILE}/*"
    )
    ids = (f"{entries}/{role_prefix}-karpenter-{name}/*" for name in ("node", "fargate-pods"))
    _wildcards(policy, ANY_ID, *ids)
    names = f"{role_prefix}-on-fargate-*"
    _wildcards(policy, ROLES_OF_CLUSTERS, f"{ours}:role/{ROLE_PATH}/{names}", f"{ours}:role/{names}")
    issuers = "oidc-provider/oidc.eks.<AWS::Region>.<AWS::URLSuffix>/id/*"
    _wildcards(policy, ANY_ISSUER, f"{ours}:{issuers}")
    _wildcards(policy, NO_RESOURCE, "*")
    finding = f"AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/{FARGATE_POLICY}]"
    _acknowledge(pods, finding, FOR_NODES)


def _wildcards(construct: IConstruct, reason: str, *resources: str) -> None:
    for resource in resources:
        _acknowledge(construct, f"AwsSolutions-IAM5[Resource::{resource}]", reason)


def _acknowledge(construct: IConstruct, finding: str, reason: str) -> None:
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions::{finding}", reason=reason))
