"""
With which rights a deployed Slicewise did all that the tests of a process had it do.

Read from what was decided: by the sandbox's IAM about each call, and by the clusters' audit logs.
"""

from __future__ import annotations

from botocore.session import Session
from slicewise.gateways import eks

from sandbox.cluster import audit
from sandbox.cluster.client import KubeClient
from sandbox.system import Cluster, System
from tests.support.nonempty import nonempty

RBAC = "/apis/rbac.authorization.k8s.io/v1"
Right = tuple[str, str, str]  # verb, API group, resource

# Granted to our roles and used by the Lambda service in their name; the sandbox plays it as administrator.
USED_BY_LAMBDA_ITSELF = {
    "logs:CreateLogStream": "Lambda writes a function's log",
    "logs:PutLogEvents": "Lambda writes a function's log",
    "sqs:ReceiveMessage": "the event source mapping polls the queue",
    "sqs:DeleteMessage": "the event source mapping deletes what was handled",
    "sqs:GetQueueAttributes": "the event source mapping watches the queue's length",
}
# Of these queues only: what the clock calls and fails for good is put there by Lambda.
FAILED_CALLS = ("slicewise-sweep-dead-letters", "slicewise-openings-dead-letters")
# The session of a role in which a test asks for what the role may not do.
TRESPASSER = "trespasser"
# What a role does under the other deployment, and where that is looked at.
DONE_ELSEWHERE = {
    # A workload is moved to another class, and that is told.
    ("slicewise-tuner", "sns:Publish"): "test_pools.py",
    # A statement a role that is let in: the sleeper is only where a policy has off-hours.
    ("slicewise-installer", "eks:CreateAccessEntry"): "test_offhours.py",
    # When a cluster is offboarded, what others have to do first is told.
    ("slicewise-installer", "sns:Publish"): "test_adoption.py",
}
# Its owners refuse any change of this NodePool, by an admission policy of theirs.
REFUSED_BY_ITS_OWNERS = "gpu-stuck"
# For what no flow here meets, each with its reason.
SELDOM_ASKED: dict[Right, str] = {
    ("get", "*", "*/scale"): "a kind of the users' own, of which nothing else may be read"
}


def denied(system: System) -> list[str]:
    decisions = nonempty(system.aws.iam.decisions)
    return [str(decision) for decision in decisions if not decision.allowed]


def forbidden(system: System) -> list[str]:
    asked = [
        (name, request)
        for name, cluster in system.clusters.items()
        for request in audit.requests(cluster.plane.audit_log, user_contains="assumed-role/slicewise-")
    ]
    return [
        f"{name}: {request.verb} {request.resource} {request.name}"
        for name, request in nonempty(asked)
        if request.is_refused and TRESPASSER not in request.user and request.name != REFUSED_BY_ITS_OWNERS
    ]


def trespasser(system: System, cluster: Cluster, role: str) -> KubeClient:
    """Who has got hold of a role's credentials; what it is refused is not judged as ours."""
    keys = system.aws.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{system.aws.account}:role/{role}", RoleSessionName=TRESPASSER
    )["Credentials"]
    session = Session()
    session.set_credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    token = eks.token(cluster.name, system.aws.region, session)
    return KubeClient(cluster.plane.url, cluster.plane.ca_pem, token)


def unused_actions(system: System, role: str) -> list[str]:
    nonempty(system.aws.iam.granted(role))
    return [
        str(grant)
        for grant in system.aws.iam.unused_grants(role)
        if grant.action not in USED_BY_LAMBDA_ITSELF
        and (role, grant.action) not in DONE_ELSEWHERE
        and not any(resource.endswith(FAILED_CALLS) for resource in grant.resources)
    ]


def unused_verbs(system: System, role: str) -> list[Right]:
    """On no cluster, under the group's own rights: a request made as cluster admin proves nothing."""
    used = {
        _right_to(request)
        for cluster in system.clusters.values()
        for request in audit.requests(cluster.plane.audit_log, user_contains=f"assumed-role/{role}/")
        if request.code in (200, 404) and not _as_admin(request)
    }
    return sorted(nonempty(granted_verbs(system, role)) - used - SELDOM_ASKED.keys())


def granted_verbs(system: System, role: str) -> set[Right]:
    """In the clusters that still answer."""
    kubes = [cluster.kube for cluster in system.clusters.values() if cluster.kube.healthy()]
    return {right for kube in kubes for right in _granted(kube, role)}


def _right_to(request: audit.Request) -> Right:
    """Scaling is one right, whatever is scaled."""
    if request.subresource == "scale":
        return request.verb, "*", "*/scale"
    return request.verb, request.api_group, request.resource


def _as_admin(request: audit.Request) -> bool:
    return any(group.startswith("eks-access-policy:") for group in request.groups)


def _granted(kube: KubeClient, role: str) -> set[Right]:
    roles = [kube.find(f"{RBAC}/clusterroles/{role}")]
    roles += [item for item in kube.list(f"{RBAC}/roles") if item["metadata"]["name"] == role]
    return {
        (verb, group, resource)
        for found in roles
        if found
        for rule in found["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
