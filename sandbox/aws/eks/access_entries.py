"""EKS access entries and the access policies associated with them."""

from __future__ import annotations

import re
import uuid
from typing import Any

from moto.core.responses import ActionResult
from moto.eks.exceptions import (
    InvalidParameterException,
    InvalidRequestException,
    ResourceInUseException,
    ResourceNotFoundException,
)

from sandbox.aws.eks.state import cluster_named, now, state_of

POLICY_ARN = "arn:aws:eks::aws:cluster-access-policy/"
POLICIES = frozenset(
    POLICY_ARN + name
    for name in (
        "AmazonEKSAdminPolicy",
        "AmazonEKSAdminViewPolicy",
        "AmazonEKSClusterAdminPolicy",
        "AmazonEKSEditPolicy",
        "AmazonEKSViewPolicy",
    )
)
RESERVED_GROUPS = ("system:", "eks:", "aws:", "amazon:", "iam:")
PRINCIPAL = re.compile(r"arn:aws:iam::(\d{12}):(role|user)/(?:.+/)?([^/]+)")


class AccessEntries:
    """Methods for EKSResponse; on the wire the cluster is `name`, not `clusterName`."""

    def create_access_entry(self: Any) -> ActionResult:
        cluster, arn = _cluster(self), self._get_param("principalArn")
        groups = self._get_param("kubernetesGroups") or []
        entries = state_of(cluster).entries
        if arn in entries:
            raise ResourceInUseException(clusterName=cluster.name, message=f"{arn} has an entry already")
        account, kind, principal = _principal(arn)
        _check_groups(groups)
        entry = {
            "clusterName": cluster.name,
            "principalArn": arn,
            "kubernetesGroups": groups,
            "accessEntryArn": (
                f"arn:aws:eks:{self.region}:{self.current_account}:access-entry/"
                f"{cluster.name}/{kind}/{account}/{principal}/{uuid.uuid4()}"
            ),
            "createdAt": now(),
            "modifiedAt": now(),
            "tags": self._get_param("tags") or {},
            "username": self._get_param("username") or _default_username(account, kind, principal, arn),
            "type": self._get_param("type") or "STANDARD",
        }
        entries[arn] = {"entry": entry, "policies": {}}
        return ActionResult({"accessEntry": entry})

    def describe_access_entry(self: Any) -> ActionResult:
        return ActionResult({"accessEntry": _entry(self)["entry"]})

    def update_access_entry(self: Any) -> ActionResult:
        entry, groups = _entry(self)["entry"], self._get_param("kubernetesGroups")
        if groups is not None:
            _check_groups(groups)
            entry["kubernetesGroups"] = groups
        if username := self._get_param("username"):
            entry["username"] = username
        entry["modifiedAt"] = now()
        return ActionResult({"accessEntry": entry})

    def delete_access_entry(self: Any) -> ActionResult:
        _entry(self)
        del state_of(_cluster(self)).entries[self._get_param("principalArn")]
        return ActionResult({})

    def list_access_entries(self: Any) -> ActionResult:
        policy = self._get_param("associatedPolicyArn")
        found = [
            arn
            for arn, one in state_of(_cluster(self)).entries.items()
            if not policy or policy in one["policies"]
        ]
        return ActionResult(page(self, "accessEntries", found))

    def associate_access_policy(self: Any) -> ActionResult:
        one, policy = _standard(_entry(self)), self._get_param("policyArn")
        scope = self._get_param("accessScope")
        if policy not in POLICIES:
            raise InvalidParameterException(message=f"there is no access policy {policy}")
        if scope["type"] == "namespace" and not scope.get("namespaces"):
            raise InvalidParameterException(message="a namespace scope needs namespaces")
        association = {"policyArn": policy, "accessScope": scope, "associatedAt": now(), "modifiedAt": now()}
        one["policies"][policy] = association
        entry = one["entry"]
        return ActionResult(
            {
                "clusterName": entry["clusterName"],
                "principalArn": entry["principalArn"],
                "associatedAccessPolicy": association,
            }
        )

    def disassociate_access_policy(self: Any) -> ActionResult:
        policies, policy = _entry(self)["policies"], self._get_param("policyArn")
        if policy not in policies:
            raise ResourceNotFoundException(message=f"{policy} is not associated with the access entry")
        del policies[policy]
        return ActionResult({})

    def list_associated_access_policies(self: Any) -> ActionResult:
        one = _standard(_entry(self))
        listed = page(self, "associatedAccessPolicies", list(one["policies"].values()))
        entry = one["entry"]
        return ActionResult(
            {"clusterName": entry["clusterName"], "principalArn": entry["principalArn"], **listed}
        )


def page(response: Any, key: str, items: list[Any]) -> dict[str, Any]:
    """The part of a list that `maxResults` and `nextToken` ask for."""
    size, start = int(response._get_param("maxResults") or 100), int(response._get_param("nextToken") or 0)
    listed: dict[str, Any] = {key: items[start : start + size]}
    if start + size < len(items):
        listed["nextToken"] = str(start + size)
    return listed


def _cluster(response: Any) -> Any:
    cluster = cluster_named(response, response._get_param("name"))
    if state_of(cluster).access["authenticationMode"] == "CONFIG_MAP":
        raise InvalidRequestException(
            clusterName=cluster.name,
            message="access entries need authentication mode API or API_AND_CONFIG_MAP",
        )
    return cluster


def _entry(response: Any) -> dict[str, Any]:
    entries, arn = state_of(_cluster(response)).entries, response._get_param("principalArn")
    if arn not in entries:
        raise ResourceNotFoundException(message=f"there is no access entry for {arn}")
    return entries[arn]


def _standard(one: dict[str, Any]) -> dict[str, Any]:
    if one["entry"]["type"] != "STANDARD":
        message = 'This operation can only be performed on Access Entries with a type of "STANDARD".'
        raise InvalidParameterException(message=message)
    return one


def _principal(arn: str | None) -> tuple[str, str, str]:
    match = PRINCIPAL.fullmatch(arn or "")
    if not match:
        raise InvalidParameterException(message=f"{arn} is not the ARN of a role or user")
    return match[1], match[2], match[3]


def _check_groups(groups: list[str]) -> None:
    for group in groups:
        if group.startswith(RESERVED_GROUPS):
            raise InvalidParameterException(message=f"the group name {group} is reserved")


def _default_username(account: str, kind: str, principal: str, arn: str) -> str:
    if kind == "user":
        return arn
    return f"arn:aws:sts::{account}:assumed-role/{principal}/{{{{SessionName}}}}"
