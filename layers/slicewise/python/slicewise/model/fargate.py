"""
Frozen values of what stands in AWS for a Karpenter on Fargate: profiles, a role, the cluster's OIDC provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FargateProfile:
    """
    An EKS Fargate profile, which nobody can change once it is there.

    Attributes:
        status: CREATING, ACTIVE, DELETING, CREATE_FAILED or DELETE_FAILED.
        role: ARN of the pod execution role.
        selectors: Which pods run on it: {"namespace": ..., "labels": {...}} each.
        issues: What EKS says is wrong with it, in its words.
    """

    name: str
    status: str = "ACTIVE"
    role: str = ""
    subnets: tuple[str, ...] = ()
    selectors: tuple[Mapping[str, Any], ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    issues: tuple[str, ...] = ()

    @property
    def is_changing(self) -> bool:
        return self.status in ("CREATING", "DELETING")


@dataclass(frozen=True)
class IamRole:
    """
    An IAM role.

    Attributes:
        arn: With its path, as in "arn:aws:iam::111122223333:role/slicewise/name".
        trust: The policy that says who may assume it.
        boundary: ARN of the permissions boundary; empty without one.
        policies: ARNs of the managed policies that are attached.
    """

    arn: str
    trust: Mapping[str, Any]
    boundary: str = ""
    policies: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.arn.rpartition("/")[2]

    @property
    def path(self) -> str:
        """With the slashes at both ends that IAM wants."""
        return self.arn.partition(":role")[2].removesuffix(self.name)


@dataclass(frozen=True)
class OidcProvider:
    """
    An OIDC provider of IAM's.

    Attributes:
        arn: Ends in the issuer's URL without its scheme.
        audiences: For whom its tokens may be, such as "sts.amazonaws.com".
    """

    arn: str
    audiences: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FargateAccess:
    """
    What was read of one cluster's.

    Attributes:
        profiles: All of the cluster, also those of others.
        role: Karpenter's; None where there is none by its name.
        provider: Of the cluster's issuer.
        former_provider: The one that the role trusts, where that is another: of an earlier cluster of this
            name.
        public_subnets: Of the cluster's subnets, those with a route to an internet gateway.
        trusted_by: Names of other roles that trust the provider; read for an offboarding alone.
    """

    profiles: tuple[FargateProfile, ...] = ()
    role: IamRole | None = None
    provider: OidcProvider | None = None
    former_provider: OidcProvider | None = None
    public_subnets: frozenset[str] = frozenset()
    trusted_by: tuple[str, ...] = ()
