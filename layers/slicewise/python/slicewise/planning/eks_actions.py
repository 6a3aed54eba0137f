"""
What an onboarding alone asks for, as in actions.py: helm's releases, access to the cluster, add-ons, and what
a Karpenter that we install needs in AWS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slicewise.model.fargate import FargateProfile, IamRole
from slicewise.model.interruptions import EventQueue, EventRule


@dataclass(frozen=True)
class ApplyChartCrds:
    """Server-side apply the CRDs of a chart's crds/ folder: helm never upgrades those itself."""

    chart: str
    version: str
    why: str

    def __str__(self) -> str:
        return f"apply the CRDs of chart {self.chart} {self.version}"


@dataclass(frozen=True)
class UpgradeRelease:
    """
    `helm upgrade --install` without waiting.

    Attributes:
        take_ownership: Adopt objects that helm did not make.
        changes: Each value that changes, in words; only where another owner runs the release.
    """

    name: str
    namespace: str
    chart: str
    version: str
    values: Mapping[str, Any]
    why: str
    take_ownership: bool = False
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"install {self.name} {self.version} in {self.namespace}"


@dataclass(frozen=True)
class TryUpgrade:
    """
    Have the API server check what an upgrade would write, before anything of another owner's is written.
    """

    name: str
    namespace: str
    chart: str
    version: str
    values: Mapping[str, Any]
    why: str

    def __str__(self) -> str:
        return f"try {self.name} {self.version} in {self.namespace}, writing nothing"


@dataclass(frozen=True)
class RollbackRelease:
    """
    Heal a release left `pending-*` by a killed helm: to its last deployed revision, or uninstall.

    Attributes:
        revision: Where one is named, the release becomes that again, pending or not.
    """

    name: str
    namespace: str
    why: str
    revision: int = 0

    def __str__(self) -> str:
        if self.revision:
            return f"make the release {self.name} in {self.namespace} revision {self.revision} again"
        return f"roll back the unfinished release {self.name} in {self.namespace}"


@dataclass(frozen=True)
class UninstallRelease:
    """`helm uninstall`; already deleted is fine."""

    name: str
    namespace: str
    why: str

    def __str__(self) -> str:
        return f"uninstall {self.name} in {self.namespace}"


@dataclass(frozen=True)
class AllowAccessEntries:
    """Switch CONFIG_MAP to API_AND_CONFIG_MAP. One-way: only ever planned where a tag allows it."""

    why: str

    def __str__(self) -> str:
        return "switch the authentication mode to API_AND_CONFIG_MAP"


@dataclass(frozen=True)
class PutAccessEntry:
    """Create the entry, or give an existing one these groups."""

    principal: str
    groups: tuple[str, ...]
    why: str
    type: str = "STANDARD"

    def __str__(self) -> str:
        role, who = self.principal.rsplit("/", 1)[-1], ", ".join(self.groups) or self.type
        return f"put an access entry for role {role} as {who}"


@dataclass(frozen=True)
class DeleteAccessEntry:
    """Take an identity's access to the cluster away; already deleted is fine."""

    principal: str
    why: str

    def __str__(self) -> str:
        return f"delete the access entry of {self.principal.rsplit('/', 1)[-1]}"


@dataclass(frozen=True)
class GrantAdmin:
    """Associate AmazonEKSClusterAdminPolicy with an entry, cluster-wide."""

    principal: str
    why: str

    def __str__(self) -> str:
        return f"make {self.principal.rsplit('/', 1)[-1]} cluster admin for the installation"


@dataclass(frozen=True)
class RevokeAdmin:
    """Disassociate AmazonEKSClusterAdminPolicy; already deleted is fine."""

    principal: str
    why: str

    def __str__(self) -> str:
        return f"revoke cluster admin from {self.principal.rsplit('/', 1)[-1]}"


@dataclass(frozen=True)
class PutAddon:
    """Install an EKS add-on in its default version; that it is there already is fine."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"install the EKS add-on {self.name}"


@dataclass(frozen=True)
class PutPodIdentity:
    """Give a service account an IAM role; that it has one already is fine."""

    namespace: str
    service_account: str
    role_arn: str
    why: str

    def __str__(self) -> str:
        return f"give {self.namespace}/{self.service_account} the role {self.role_arn.rsplit('/', 1)[-1]}"


@dataclass(frozen=True)
class CreateFargateProfile:
    """EKS needs minutes for it: a later reconcile finds it ACTIVE."""

    profile: FargateProfile
    why: str
    part: str = ""

    def __str__(self) -> str:
        # With its subnets: where the cluster has others, what was refused is tried again at once.
        return f"create the Fargate profile {self.profile.name} in {', '.join(self.profile.subnets)}"


@dataclass(frozen=True)
class DeleteFargateProfile:
    """With the pods that run on it; already deleted is fine."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"delete the Fargate profile {self.name}"


@dataclass(frozen=True)
class CreateRole:
    """An IAM role, without its policies."""

    role: IamRole
    why: str

    def __str__(self) -> str:
        return f"create the IAM role {self.role.name}"


@dataclass(frozen=True)
class AttachRolePolicy:
    """Attached already is fine."""

    role: str
    policy: str
    why: str

    def __str__(self) -> str:
        return f"attach the policy {self.policy.rpartition('/')[2]} to the IAM role {self.role}"


@dataclass(frozen=True)
class DeleteRole:
    """An IAM role, from which managed policies are detached first; already deleted is fine."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"delete the IAM role {self.name}"


@dataclass(frozen=True)
class CreateOidcProvider:
    """An OIDC provider in IAM, of an issuer's URL."""

    issuer: str
    audience: str
    tags: Mapping[str, str]
    why: str

    def __str__(self) -> str:
        return f"create an OIDC provider in IAM for {self.issuer}"


@dataclass(frozen=True)
class DeleteOidcProvider:
    """Already deleted is fine."""

    arn: str
    why: str

    def __str__(self) -> str:
        return f"delete the OIDC provider {self.arn.partition('/')[2]} from IAM"


@dataclass(frozen=True)
class CreateEventQueue:
    """An SQS queue with its policy; one that is there with the same attributes is fine."""

    queue: EventQueue
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"create the SQS queue {self.queue.name}"


@dataclass(frozen=True)
class SetEventQueue:
    """All but its tags."""

    queue: EventQueue
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"set the attributes of the SQS queue {self.queue.name}"


@dataclass(frozen=True)
class DeleteEventQueue:
    """Already deleted is fine."""

    name: str
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"delete the SQS queue {self.name}"


@dataclass(frozen=True)
class PutEventRule:
    """An EventBridge rule, without its targets."""

    rule: EventRule
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"put the EventBridge rule {self.rule.name}"


@dataclass(frozen=True)
class PutEventTarget:
    """Have a rule send to an ARN; that it does already is fine."""

    rule: str
    target: str
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"have the EventBridge rule {self.rule} send to {self.target.rpartition(':')[2]}"


@dataclass(frozen=True)
class DeleteEventRule:
    """With its targets; already deleted is fine."""

    name: str
    why: str
    part: str = ""

    def __str__(self) -> str:
        return f"delete the EventBridge rule {self.name}"


Installation = (
    ApplyChartCrds
    | TryUpgrade
    | UpgradeRelease
    | RollbackRelease
    | UninstallRelease
    | AllowAccessEntries
    | PutAccessEntry
    | DeleteAccessEntry
    | GrantAdmin
    | RevokeAdmin
    | PutAddon
    | PutPodIdentity
    | CreateFargateProfile
    | DeleteFargateProfile
    | CreateRole
    | AttachRolePolicy
    | DeleteRole
    | CreateOidcProvider
    | DeleteOidcProvider
    | CreateEventQueue
    | SetEventQueue
    | DeleteEventQueue
    | PutEventRule
    | PutEventTarget
    | DeleteEventRule
)
