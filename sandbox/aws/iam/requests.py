"""
What a call asks IAM for: actions, the ARNs they act on, and the condition keys that AWS fills in.

EKS after AWS's Service Authorization Reference (read in a copy of November 2026); the other
services' resources and action names from memory of it. A call of a service that has no entry
here is checked on resource "*", so that a scoped grant for it is refused, loudly, until it is added.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox.aws.eks.state import state_of

Parameters = dict[str, Any]
ContextValues = dict[str, list[str]]


@dataclass(frozen=True)
class Call:
    """One API call. `parameters` carries the API's own member names."""

    service: str
    operation: str
    parameters: Parameters
    account: str
    region: str

    def arn(self, resource: str, service: str | None = None) -> str:
        return f"arn:aws:{service or self.service}:{self.region}:{self.account}:{resource}"


@dataclass(frozen=True)
class Needed:
    """One thing that must be granted for a call to go through."""

    action: str
    resource: str
    context: ContextValues = field(default_factory=dict)


# Operations that IAM knows by another action's name.
ACTIONS = {
    ("lambda", "Invoke"): "InvokeFunction",
    ("lambda", "InvokeAsync"): "InvokeFunction",
    ("sqs", "SendMessageBatch"): "SendMessage",
    ("sqs", "DeleteMessageBatch"): "DeleteMessage",
    ("sqs", "ChangeMessageVisibilityBatch"): "ChangeMessageVisibility",
    ("sns", "PublishBatch"): "Publish",
}
TRANSACTION_ACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "Get": "GetItem",
    "ConditionCheck": "ConditionCheckItem",
}
# The parameter that holds a role which the caller hands to a service: needs iam:PassRole, too.
PASSED_ROLES = {
    ("eks", "CreatePodIdentityAssociation"): ("roleArn", "pods.eks.amazonaws.com"),
    ("eks", "UpdatePodIdentityAssociation"): ("roleArn", "pods.eks.amazonaws.com"),
    ("eks", "CreateAddon"): ("serviceAccountRoleArn", "eks.amazonaws.com"),
    ("eks", "CreateCluster"): ("roleArn", "eks.amazonaws.com"),
    ("eks", "CreateFargateProfile"): ("podExecutionRoleArn", "eks-fargate-pods.amazonaws.com"),
    ("lambda", "CreateFunction"): ("Role", "lambda.amazonaws.com"),
}
NEEDS_NO_GRANT = {("sts", "GetCallerIdentity"), ("sts", "GetSessionToken")}


def needed(call: Call) -> list[Needed]:
    """Everything that has to be allowed, the call's own action first."""
    if (call.service, call.operation) in NEEDS_NO_GRANT:
        return []
    if call.service == "dynamodb" and call.parameters.get("TransactItems"):
        return list(_transaction(call))
    action = f"{call.service}:{ACTIONS.get((call.service, call.operation), call.operation)}"
    context = _context(call)
    wanted = [Needed(action, resource, context) for resource in _resources(call)]
    more = (*_passed_roles(call), *_alarm_tags(call), *_tags_at_creation(call), *_linked_role(call))
    return [*wanted, *more, *_subnets_of_a_profile(call)]


def _transaction(call: Call) -> Iterator[Needed]:
    """A transaction is checked item by item, as the single writes that it consists of."""
    for item in call.parameters["TransactItems"]:
        for verb, body in item.items():
            table = _table_arn(call, body["TableName"])
            yield Needed(f"dynamodb:{TRANSACTION_ACTIONS[verb]}", table, _context(call))


def _passed_roles(call: Call) -> Iterator[Needed]:
    role, service = None, ""
    if passed := PASSED_ROLES.get((call.service, call.operation)):
        role, service = call.parameters.get(passed[0]), passed[1]
    if call.service == "scheduler" and call.operation in ("CreateSchedule", "UpdateSchedule"):
        role, service = (call.parameters.get("Target") or {}).get("RoleArn"), "scheduler.amazonaws.com"
    if role:
        if call.operation.endswith(("PodIdentityAssociation", "CreateFargateProfile")):
            # EKS reads its trust policy in the caller's name.
            yield Needed("iam:GetRole", role, _context(call))
        yield Needed("iam:PassRole", role, {**_context(call), "iam:PassedToService": [service]})


def _alarm_tags(call: Call) -> Iterator[Needed]:
    """What PutMetricAlarm needs for tags, and to tell them in events (botocore's own text)."""
    if (call.service, call.operation) != ("cloudwatch", "PutMetricAlarm"):
        return
    propagation = (call.parameters.get("ActionConfiguration") or {}).get("AlarmTagsPropagation") or {}
    for action, asked in (
        ("TagResource", call.parameters.get("Tags")),
        ("ListTagsForResource", propagation.get("Enabled")),
    ):
        if asked:
            yield Needed(f"cloudwatch:{action}", _cloudwatch(call)[0], _context(call))


# What needs a right of its own where something is made with tags.
_TAGGED_AT_CREATION = {
    ("iam", "CreateRole"): "iam:TagRole",
    ("iam", "CreateOpenIDConnectProvider"): "iam:TagOpenIDConnectProvider",
    ("eks", "CreateFargateProfile"): "eks:TagResource",
    ("sqs", "CreateQueue"): "sqs:TagQueue",
    ("events", "PutRule"): "events:TagResource",
}


def _tags_at_creation(call: Call) -> Iterator[Needed]:
    action = _TAGGED_AT_CREATION.get((call.service, call.operation))
    if not action or not (call.parameters.get("Tags") or call.parameters.get("tags")):
        return
    resources = _resources(call)
    if action == "eks:TagResource":
        cluster, profile = (call.parameters.get(key) for key in ("clusterName", "fargateProfileName"))
        resources = [call.arn(f"fargateprofile/{cluster or call.parameters.get('name')}/{profile}/*")]
    yield from (Needed(action, resource, _context(call)) for resource in resources)


def _linked_role(call: Call) -> Iterator[Needed]:
    """With an account's first Fargate profile EKS makes a role of its own. Here each is the first."""
    if (call.service, call.operation) == ("eks", "CreateFargateProfile"):
        service = "eks-fargate.amazonaws.com"
        name = f"aws-service-role/{service}/AWSServiceRoleForAmazonEKSForFargate"
        context = {**_context(call), "iam:AWSServiceName": [service]}
        yield Needed("iam:CreateServiceLinkedRole", f"arn:aws:iam::{call.account}:role/{name}", context)


def _subnets_of_a_profile(call: Call) -> Iterator[Needed]:
    """EKS looks in the caller's name whether they are private (AWS CDK, pull requests 6074 and 7706)."""
    if (call.service, call.operation) == ("eks", "CreateFargateProfile"):
        for action in ("ec2:DescribeSubnets", "ec2:DescribeRouteTables"):
            yield Needed(action, "*", _context(call))


def _resources(call: Call) -> list[str]:
    find = _BY_SERVICE.get(call.service)
    return (find(call) if find else None) or ["*"]


def _dynamodb(call: Call) -> list[str]:
    wanted = call.parameters
    if name := wanted.get("TableName"):
        index = wanted.get("IndexName")
        return [_table_arn(call, name) + (f"/index/{index}" if index else "")]
    return [_table_arn(call, name) for name in wanted.get("RequestItems") or {}]


def _table_arn(call: Call, name: str) -> str:
    return name if name.startswith("arn:") else call.arn(f"table/{name}", "dynamodb")


def _sqs(call: Call) -> list[str]:
    name = call.parameters.get("QueueUrl") or call.parameters.get("QueueName")
    return [call.arn(name.rstrip("/").split("/")[-1])] if name else []


def _sns(call: Call) -> list[str]:
    arn = call.parameters.get("TopicArn") or call.parameters.get("TargetArn")
    return [arn] if arn else []


def _ssm(call: Call) -> list[str]:
    wanted = call.parameters
    names = [wanted.get("Name") or wanted.get("Path") or "", *(wanted.get("Names") or [])]
    return [call.arn(f"parameter/{name.strip('/')}") for name in names if name]


_ON_CLUSTER = {
    *("CreateAccessEntry", "ListAccessEntries", "CreateAddon", "ListAddons", "CreateNodegroup"),
    *("CreateFargateProfile", "ListFargateProfiles"),
    *("CreatePodIdentityAssociation", "ListPodIdentityAssociations", "ListNodegroups"),
}


def _eks(call: Call) -> list[str]:
    wanted = call.parameters
    cluster = wanted.get("clusterName") or wanted.get("name")
    if call.operation in ("ListClusters", "CreateCluster", "DescribeAddonVersions", "ListAccessPolicies"):
        return []
    if arn := wanted.get("resourceArn"):
        return [arn]
    if not cluster or call.operation in _ON_CLUSTER:
        return [call.arn(f"cluster/{cluster}")] if cluster else []
    if wanted.get("principalArn"):
        return [_existing_entry_arn(call, cluster)]
    if addon := wanted.get("addonName"):
        return [call.arn(f"addon/{cluster}/{addon}/*")]
    if group := wanted.get("nodegroupName"):
        return [call.arn(f"nodegroup/{cluster}/{group}/*")]
    if profile := wanted.get("fargateProfileName"):
        return [call.arn(f"fargateprofile/{cluster}/{profile}/*")]
    if association := wanted.get("associationId"):
        return [call.arn(f"podidentityassociation/{cluster}/{association}")]
    return [call.arn(f"cluster/{cluster}")]


def _existing_entry_arn(call: Call, cluster: str) -> str:
    entry = _access_entry(call)
    if entry:
        return entry["accessEntryArn"]
    principal = call.parameters["principalArn"].split(":")
    kind, _, name = principal[-1].partition("/")
    return call.arn(f"access-entry/{cluster}/{kind}/{principal[4]}/{name.split('/')[-1]}/*")


def _lambda(call: Call) -> list[str]:
    name = call.parameters.get("FunctionName")
    return [call.arn(f"function:{name.split(':')[6] if name.startswith('arn:') else name}")] if name else []


def _scheduler(call: Call) -> list[str]:
    wanted = call.parameters
    if call.operation.endswith("ScheduleGroup"):
        return [call.arn(f"schedule-group/{wanted['Name']}")]
    if arn := wanted.get("ResourceArn"):
        return [arn]
    return [call.arn(f"schedule/{wanted.get('GroupName', 'default')}/{wanted.get('Name', '*')}")]


def _cloudwatch(call: Call) -> list[str]:
    wanted = call.parameters
    if arn := wanted.get("ResourceARN"):
        return [arn]
    if call.operation == "DescribeAlarms":
        return [call.arn("alarm:*")]
    names = [wanted["AlarmName"]] if wanted.get("AlarmName") else wanted.get("AlarmNames") or []
    return [call.arn(f"alarm:{name}") for name in names]


def _events(call: Call) -> list[str]:
    if call.operation == "PutEvents":
        buses = {entry.get("EventBusName") or "default" for entry in call.parameters.get("Entries", [])}
        return [call.arn(f"event-bus/{bus.split('/')[-1]}") for bus in sorted(buses)]
    if arn := call.parameters.get("ResourceARN"):
        return [arn]
    name = call.parameters.get("Name") or call.parameters.get("Rule")
    return [call.arn(f"rule/{name}")] if name else []


def _events_context(call: Call) -> ContextValues:
    """After the EventBridge user guide, "Using IAM policy conditions"."""
    wanted, context = call.parameters, ContextValues()
    pattern = json.loads(wanted.get("EventPattern") or "{}")
    for key in ("source", "detail-type"):
        if values := pattern.get(key):
            context[f"events:{key}"] = [str(value) for value in values]
    if targets := wanted.get("Targets"):
        context["events:TargetArn"] = [target["Arn"] for target in targets]
    if tags := wanted.get("Tags"):
        context |= _requested(tags)
    return context


def _requested(tags: list[dict[str, str]]) -> ContextValues:
    return {
        "aws:TagKeys": [tag["Key"] for tag in tags],
        **{f"aws:RequestTag/{tag['Key']}": [tag["Value"]] for tag in tags},
    }


def _logs(call: Call) -> list[str]:
    name = call.parameters.get("logGroupName")
    return [call.arn(f"log-group:{name}:*")] if name else []


def _sts(call: Call) -> list[str]:
    return [call.parameters["RoleArn"]] if call.parameters.get("RoleArn") else []


def _iam(call: Call) -> list[str]:
    wanted = call.parameters
    if arn := wanted.get("OpenIDConnectProviderArn"):
        return [arn]
    if url := wanted.get("Url"):
        return [f"arn:aws:iam::{call.account}:oidc-provider/{url.removeprefix('https://')}"]
    if not (name := wanted.get("RoleName")):
        return []
    there = _role(call, name)
    path = there.path if there else wanted.get("Path") or "/"
    return [f"arn:aws:iam::{call.account}:role{path}{name}"]


def _role(call: Call, name: str) -> Any | None:
    from moto.iam.models import iam_backends

    roles = iam_backends[call.account]["aws"].get_roles()
    return next((role for role in roles if role.name == name), None)


def _iam_context(call: Call) -> ContextValues:
    from moto.iam.models import iam_backends

    wanted, context = call.parameters, ContextValues()
    if boundary := wanted.get("PermissionsBoundary"):
        context["iam:PermissionsBoundary"] = [boundary]
    if policy := wanted.get("PolicyArn"):
        context["iam:PolicyARN"] = [policy]
    if isinstance(tags := wanted.get("Tags"), list):
        context |= _requested(tags)
    found: Any = _role(call, wanted["RoleName"]) if wanted.get("RoleName") else None
    if arn := wanted.get("OpenIDConnectProviderArn"):
        found = iam_backends[call.account]["aws"].open_id_providers.get(arn)
    listed = (found.get_tags() if wanted.get("OpenIDConnectProviderArn") else found.tags) if found else []
    return context | {f"aws:ResourceTag/{tag['Key']}": [tag["Value"]] for tag in listed}


_BY_SERVICE: dict[str, Callable[[Call], list[str]]] = {
    "dynamodb": _dynamodb,
    "sqs": _sqs,
    "sns": _sns,
    "ssm": _ssm,
    "eks": _eks,
    "lambda": _lambda,
    "scheduler": _scheduler,
    "cloudwatch": _cloudwatch,
    "events": _events,
    "logs": _logs,
    "sts": _sts,
    "iam": _iam,
}


_ALARM_ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")


def _context(call: Call) -> ContextValues:
    context: ContextValues = {
        "aws:RequestedRegion": [call.region],
        "aws:SecureTransport": ["true"],  # on AWS it is; the loopback endpoint is not what is tested
        "aws:PrincipalAccount": [call.account],
    }
    tags = call.parameters.get("tags")
    if isinstance(tags, dict):
        context["aws:TagKeys"] = list(tags)
        context |= {f"aws:RequestTag/{key}": [value] for key, value in tags.items()}
    if call.service == "cloudwatch" and (namespace := call.parameters.get("Namespace")):
        context["cloudwatch:namespace"] = [namespace]
    if call.service == "cloudwatch":
        context["cloudwatch:AlarmActions"] = [
            action for key in _ALARM_ACTIONS for action in call.parameters.get(key) or ()
        ]
    if call.service == "eks":
        context |= _eks_context(call)
    if call.service == "iam":
        context |= _iam_context(call)
    if call.service == "events":
        context |= _events_context(call)
    return context


def _eks_context(call: Call) -> ContextValues:
    wanted, context = call.parameters, ContextValues()
    cluster = _cluster(call)
    if cluster is not None:
        context |= {f"aws:ResourceTag/{key}": [value] for key, value in cluster.tags.items()}
    asked = {
        "eks:authenticationMode": (wanted.get("accessConfig") or {}).get("authenticationMode"),
        "eks:policyArn": wanted.get("policyArn"),
        "eks:accessScope": (wanted.get("accessScope") or {}).get("type"),
    }
    if call.operation == "CreateAccessEntry":
        asked |= {
            "eks:principalArn": wanted.get("principalArn"),
            "eks:username": wanted.get("username"),
            "eks:accessEntryType": wanted.get("type"),
        }
        if groups := wanted.get("kubernetesGroups"):
            context["eks:kubernetesGroups"] = groups
    context |= {key: [value] for key, value in asked.items() if value}
    if namespaces := (wanted.get("accessScope") or {}).get("namespaces"):
        context["eks:namespaces"] = namespaces
    if wanted.get("principalArn") and call.operation != "CreateAccessEntry":
        context |= _existing_entry_context(call)
    return context


def _existing_entry_context(call: Call) -> ContextValues:
    """Keys of the access entry itself, not of the request: so says the resource types table."""
    context = {
        "eks:clusterName": [call.parameters["clusterName"]],
        "eks:principalArn": [call.parameters["principalArn"]],
    }
    if entry := _access_entry(call):
        context |= {"eks:username": [entry["username"]], "eks:accessEntryType": [entry["type"]]}
        # An access entry is a resource of its own: the cluster's tags are not its tags.
        context |= {f"aws:ResourceTag/{key}": [value] for key, value in entry["tags"].items()}
        if entry["kubernetesGroups"]:
            context["eks:kubernetesGroups"] = entry["kubernetesGroups"]
    return context


def _cluster(call: Call) -> Any | None:
    from moto.eks.models import eks_backends

    clusters = eks_backends[call.account][call.region].clusters
    if arn := call.parameters.get("resourceArn"):
        return clusters.get(arn.split("/")[-1]) if ":cluster/" in arn else None
    if call.parameters.get("principalArn") and call.operation != "CreateAccessEntry":
        return None
    return clusters.get(call.parameters.get("clusterName") or call.parameters.get("name"))


def _access_entry(call: Call) -> dict[str, Any] | None:
    from moto.eks.models import eks_backends

    cluster = eks_backends[call.account][call.region].clusters.get(call.parameters.get("clusterName"))
    if cluster is None:
        return None
    kept = state_of(cluster).entries.get(call.parameters.get("principalArn"))
    return kept and kept["entry"]
