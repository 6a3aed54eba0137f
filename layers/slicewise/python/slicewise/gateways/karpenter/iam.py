"""IAM: roles that trust a cluster's service account, and the OIDC providers that they trust it by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from botocore.session import Session

from slicewise.gateways.botocore_clients import own_errors
from slicewise.gateways.karpenter.named_calls import NamedCalls
from slicewise.model.fargate import IamRole, OidcProvider

_ABSENT = {"NoSuchEntity"}
# A request at the same moment, and what still hangs on something that is to be deleted.
_CONFLICTS = {"ConcurrentModification", "DeleteConflict", "EntityAlreadyExists"}


class IamApi:
    """Implements ports.Iam."""

    def __init__(self, session: Session, region: str):
        self._calls = NamedCalls("iam", session, region, absent=_ABSENT, conflicts=_CONFLICTS)

    def role(self, name: str) -> IamRole | None:
        found = self._calls.found("get_role", name, RoleName=name)
        listed = self._calls.found("list_attached_role_policies", name, RoleName=name) if found else None
        if found is None or listed is None:
            return None
        return _role(found["Role"], tuple(one["PolicyArn"] for one in listed["AttachedPolicies"]))

    def create_role(self, role: IamRole) -> None:
        self._calls.made(
            "create_role",
            role.name,
            Path=role.path,
            RoleName=role.name,
            AssumeRolePolicyDocument=json.dumps(role.trust, sort_keys=True),
            PermissionsBoundary=role.boundary,
            Description="Slicewise: Karpenter's controller on Fargate, in one cluster",
            Tags=_listed(role.tags),
        )

    def attach_policy(self, name: str, policy: str) -> None:
        self._calls.made("attach_role_policy", name, RoleName=name, PolicyArn=policy)

    def delete_role(self, name: str) -> None:
        role = self.role(name)
        if role is None:
            return
        for policy in role.policies:
            self._calls.found("detach_role_policy", name, RoleName=name, PolicyArn=policy)
        self._calls.found("delete_role", name, RoleName=name)

    def oidc_provider(self, arn: str) -> OidcProvider | None:
        found = self._calls.found("get_open_id_connect_provider", arn, OpenIDConnectProviderArn=arn)
        if found is None:
            return None
        return OidcProvider(arn, tuple(found.get("ClientIDList") or ()), _by_key(found.get("Tags")))

    def create_oidc_provider(self, issuer: str, audience: str, tags: Mapping[str, str]) -> None:
        self._calls.made(
            "create_open_id_connect_provider",
            issuer,
            Url=issuer,
            ClientIDList=[audience],
            Tags=_listed(tags),
        )

    def delete_oidc_provider(self, arn: str) -> None:
        self._calls.found("delete_open_id_connect_provider", arn, OpenIDConnectProviderArn=arn)

    def roles_trusting(self, provider: str) -> tuple[str, ...]:
        with own_errors("iam:ListRoles"):
            pages = self._calls.client.get_paginator("list_roles").paginate()
            roles = [role for page in pages for role in page["Roles"]]
        trusting = (one["RoleName"] for one in roles if provider in json.dumps(_trust_of(one)))
        return tuple(sorted(trusting))


def _role(found: Mapping[str, Any], policies: tuple[str, ...]) -> IamRole:
    boundary = (found.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn", "")
    return IamRole(
        found["Arn"], _trust_of(found), boundary, tuple(sorted(policies)), _by_key(found.get("Tags"))
    )


def _trust_of(role: Mapping[str, Any]) -> Any:
    """botocore parses it; where it did not, it is JSON, URL-encoded."""
    document = role.get("AssumeRolePolicyDocument") or {}
    return json.loads(unquote(document)) if isinstance(document, str) else document


def _listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def _by_key(tags: Any) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in tags or ()}
