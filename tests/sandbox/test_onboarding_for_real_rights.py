"""
With which rights all of this was done: none were missing, and none were granted for nothing.

Runs last (tests run in the order of their files' names), since it judges what the other files' clusters have
seen; alone, it would first have to live through all of it, so then it is skipped.
"""

from __future__ import annotations

import pytest

from sandbox import audit
from tests.sandbox.system_fixtures import INSTALLER, SLEEPER, SWEEPER, TUNER, is_admin

pytestmark = pytest.mark.sandbox

# Granted to our roles and used by the Lambda service in their name; the sandbox plays it as administrator.
USED_BY_LAMBDA_ITSELF = {
    "logs:CreateLogStream": "Lambda writes a function's log",
    "logs:PutLogEvents": "Lambda writes a function's log",
    "sqs:ReceiveMessage": "the event source mapping polls the queue",
    "sqs:DeleteMessage": "the event source mapping deletes what was handled",
    "sqs:GetQueueAttributes": "the event source mapping watches the queue's length",
}
# Of one queue only: a sweep that fails for good is put there by Lambda.
FAILED_SWEEPS = "slicewise-sweep-dead-letters"
# On `bare` somebody gives the installer's entry another group: one look is refused, then the entry is mended.
AFTER_SOMEBODY_CHANGED_OUR_ENTRY = ["bare: get namespaces gpu-operator"]
# For what no flow here meets, each with its reason.
SELDOM = {
    ("get", "*", "*/scale"): "a kind of the users' own, of which nothing else may be read",
}
FLOWS = {"struck", "pools", "bare", "occupied", "tuned", "nightly"}


@pytest.fixture(scope="module", autouse=True)
def all_flows(request, system):
    if missing := FLOWS - set(system.clusters):
        pytest.skip(f"judges what other files do, of which these did not run: {', '.join(sorted(missing))}")


def test_no_call_to_aws_was_denied(system):
    assert [str(decision) for decision in system.aws.iam.denied()] == []


def test_no_request_to_kubernetes_was_forbidden(system):
    assert [
        f"{name}: {request.verb} {request.resource} {request.name}"
        for name, cluster in system.clusters.items()
        for request in audit.requests(cluster.plane.audit_log, user_contains="assumed-role/slicewise-")
        if request.code == 403
    ] == AFTER_SOMEBODY_CHANGED_OUR_ENTRY


@pytest.mark.parametrize("role", [INSTALLER, TUNER, SLEEPER, SWEEPER])
def test_every_action_that_a_role_may_do_was_done(system, role):
    unused = [
        str(grant)
        for grant in system.aws.iam.unused_grants(role)
        if grant.action not in {**USED_BY_LAMBDA_ITSELF, **SELDOM}
        and not any(resource.endswith(f":{FAILED_SWEEPS}") for resource in grant.resources)
    ]

    assert unused == []


@pytest.mark.parametrize("role", [INSTALLER, TUNER, SLEEPER])
def test_every_verb_that_a_group_may_use_was_used_without_being_admin(system, role):
    """On some cluster, under the group's own rights: a request made as cluster admin proves nothing."""
    granted, used = set(), set()
    for cluster in system.clusters.values():
        if not cluster.kube.healthy():
            continue
        granted |= _granted(cluster.kube, role)
        used |= {
            _right_to(request)
            for request in audit.requests(cluster.plane.audit_log, user_contains=f"assumed-role/{role}/")
            if request.code in (200, 404) and not _as_admin(request)
        }

    assert granted and sorted(granted - used - SELDOM.keys()) == []


def _right_to(request: audit.Request) -> tuple[str, str, str]:
    """Scaling is one right, whatever is scaled."""
    if request.subresource == "scale":
        return request.verb, "*", "*/scale"
    return request.verb, request.api_group, request.resource


def _as_admin(request: audit.Request) -> bool:
    return any(group.startswith("eks-access-policy:") for group in request.groups)


def _granted(kube, role) -> set[tuple[str, str, str]]:
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    roles = [kube.find(f"{rbac}/clusterroles/{role}")]
    roles += [item for item in kube.list(f"{rbac}/roles") if item["metadata"]["name"] == role]
    return {
        (verb, group, resource)
        for found in roles
        if found
        for rule in found["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_installer_is_cluster_admin_nowhere_any_more(system):
    left = set(system.aws.client("eks").list_clusters()["clusters"])
    known = {"struck", "pools", "occupied"} & left

    assert [name for name in sorted(known) if is_admin(system, name)] == []
