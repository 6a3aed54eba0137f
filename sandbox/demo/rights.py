"""The demo's last chapter: with which rights all of it was done."""

from __future__ import annotations

from sandbox.cluster import audit
from sandbox.demo.narrator import Narrator
from sandbox.system import System


def show(story: Narrator, system: System) -> None:
    denied = [f"{decision}" for decision in system.aws.iam.denied()]
    forbidden = [
        f"{cluster.name}: {request.verb} {request.resource}"
        for cluster in system.clusters.values()
        for request in audit.requests(cluster.plane.audit_log, user_contains="assumed-role/slicewise-")
        if request.is_refused and not request.is_refused_by_owners
    ]
    story.claim(
        "nothing-denied",
        "every call to AWS and Kubernetes was made with the functions' own roles, and no right was missing",
        expected=[],
        observed=denied + forbidden,
    )
    admins = [name for name in system.clusters if _is_admin(system, name, system.outputs["InstallerRoleArn"])]
    story.claim(
        "admin-revoked", "the installer is cluster admin nowhere any more", expected=[], observed=admins
    )


def _is_admin(system: System, name: str, principal: str) -> bool:
    eks = system.aws.client("eks")
    if principal not in eks.list_access_entries(clusterName=name)["accessEntries"]:
        return False
    found = eks.list_associated_access_policies(clusterName=name, principalArn=principal)
    return bool(found["associatedAccessPolicies"])
