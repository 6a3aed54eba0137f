"""
EKS Fargate profiles: CREATING, then ACTIVE; DELETING, then gone. No pod runs on one here.

As the API reference has it (CreateFargateProfile, DeleteFargateProfile): private subnets alone, one profile
of a cluster that changes at a time, and none that is changed once it is there. That EKS lets the pods' role
into a cluster by an access entry of its own, moto lacks as well. Whether EKS takes that back with the last
profile is not documented, so here it stays.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from moto.core.responses import ActionResult
from moto.eks.exceptions import (
    InvalidParameterException,
    InvalidRequestException,
    ResourceInUseException,
    ResourceNotFoundException,
)

from sandbox.aws.eks.access_entries import page
from sandbox.aws.eks.state import account_of, cluster_named, is_over, now, state_of

CHANGING = ("CREATING", "DELETING")
MOST_SELECTORS, MOST_LABELS = 5, 5


class FargateProfiles:
    """Methods for EKSResponse; on the wire the cluster is `name`."""

    def create_fargate_profile(self: Any) -> ActionResult:
        cluster, name = cluster_named(self, self._get_param("name")), self._get_param("fargateProfileName")
        profiles = _settled(self, cluster)
        if cluster.status != "ACTIVE":
            raise InvalidRequestException(clusterName=cluster.name, message=f"cluster is {cluster.status}")
        if name in profiles:
            raise ResourceInUseException(clusterName=cluster.name, message=f"profile {name} exists already")
        _one_at_a_time(cluster, profiles)
        subnets = self._get_param("subnets") or list(cluster.resources_vpc_config["subnetIds"])
        role, selectors = self._get_param("podExecutionRoleArn"), self._get_param("selectors") or []
        for problem in (*_of_selectors(selectors), *_of_subnets(self, subnets), *_of_role(self, role)):
            raise InvalidParameterException(clusterName=cluster.name, message=problem)
        profile = {
            "fargateProfileName": name,
            "fargateProfileArn": cluster.arn.replace(":cluster/", ":fargateprofile/")
            + f"/{name}/{uuid.uuid4()}",
            "clusterName": cluster.name,
            "createdAt": now(),
            "podExecutionRoleArn": role,
            "subnets": subnets,
            "selectors": selectors,
            "status": "CREATING",
            "tags": self._get_param("tags") or {},
            "health": {"issues": []},
        }
        profiles[name] = {"profile": profile, "changed_at": time.monotonic()}
        _let_in(self, cluster, role)
        return ActionResult({"fargateProfile": profile})

    def describe_fargate_profile(self: Any) -> ActionResult:
        return ActionResult({"fargateProfile": _kept(self)["profile"]})

    def list_fargate_profiles(self: Any) -> ActionResult:
        profiles = _settled(self, cluster_named(self, self._get_param("name")))
        return ActionResult(page(self, "fargateProfileNames", list(profiles)))

    def delete_fargate_profile(self: Any) -> ActionResult:
        kept, cluster = _kept(self), cluster_named(self, self._get_param("name"))
        _one_at_a_time(cluster, state_of(cluster).fargate_profiles)
        kept["profile"]["status"], kept["changed_at"] = "DELETING", time.monotonic()
        return ActionResult({"fargateProfile": kept["profile"]})


def _settled(response: Any, cluster: Any) -> dict[str, Any]:
    profiles, account = state_of(cluster).fargate_profiles, account_of(response)
    for name, kept in list(profiles.items()):
        if kept["profile"]["status"] in CHANGING and is_over(account, kept["changed_at"]):
            if kept["profile"]["status"] == "DELETING":
                del profiles[name]
            else:
                kept["profile"]["status"] = "ACTIVE"
    return profiles


def _kept(response: Any) -> dict[str, Any]:
    cluster, name = (
        cluster_named(response, response._get_param("name")),
        response._get_param("fargateProfileName"),
    )
    found: dict[str, Any] | None = _settled(response, cluster).get(name)
    if found is None:
        raise ResourceNotFoundException(
            clusterName=cluster.name,
            fargateProfileName=name,
            message=f"cluster {cluster.name} has no Fargate profile {name}",
        )
    return found


def _one_at_a_time(cluster: Any, profiles: dict[str, Any]) -> None:
    for name, kept in profiles.items():
        if (status := kept["profile"]["status"]) in CHANGING:
            raise InvalidRequestException(
                clusterName=cluster.name, message=f"Fargate profile {name} is {status}: wait for its end"
            )


def _of_selectors(selectors: list[dict[str, Any]]) -> Iterator[str]:
    if not 1 <= len(selectors) <= MOST_SELECTORS:
        yield f"{len(selectors)} selectors: from 1 to {MOST_SELECTORS}"
    for one in selectors:
        if not one.get("namespace"):
            yield "a selector names no namespace"
        if len(one.get("labels") or {}) > MOST_LABELS:
            yield f"a selector has {len(one['labels'])} labels, and the most is {MOST_LABELS}"


def _of_subnets(response: Any, subnets: list[str]) -> Iterator[str]:
    from moto.ec2.models import ec2_backends

    backend = ec2_backends[response.current_account][response.region]
    known = {subnet.id: subnet for subnet in backend.describe_subnets()}
    for subnet in subnets:
        if subnet not in known:
            yield f"subnet {subnet} does not exist"
        elif any(
            (route.gateway_id or "").startswith("igw-")
            for table in _tables_of(backend, known[subnet])
            for route in table.routes
        ):
            yield f"subnet {subnet} is not private: it has a direct route to an internet gateway"


def _tables_of(backend: Any, subnet: Any) -> list[Any]:
    tables = [table for table in backend.describe_route_tables() if table.vpc_id == subnet.vpc_id]
    own = [table for table in tables if any(one.get("SubnetId") == subnet.id for one in table.associations)]
    return own or [table for table in tables if table.main_association_id]


def _of_role(response: Any, role: str) -> Iterator[str]:
    from moto.iam.models import iam_backends

    roles = {one.arn: one for one in iam_backends[response.current_account]["aws"].get_roles()}
    if role not in roles:
        yield f"role {role} does not exist"
    elif "eks-fargate-pods.amazonaws.com" not in str(roles[role].assume_role_policy_document):
        yield f"role {role} is not trusted to eks-fargate-pods.amazonaws.com"


def _let_in(response: Any, cluster: Any, role: str) -> None:
    state = state_of(cluster)
    if state.access["authenticationMode"] != "API" or role in state.entries:
        return
    name = role.rpartition("/")[2]
    entry = {
        "clusterName": cluster.name,
        "principalArn": role,
        "kubernetesGroups": ["system:bootstrappers", "system:nodes", "system:node-proxier"],
        "accessEntryArn": f"arn:aws:eks:{response.region}:{response.current_account}:access-entry/"
        f"{cluster.name}/role/{response.current_account}/{name}/{uuid.uuid4()}",
        "createdAt": now(),
        "modifiedAt": now(),
        "tags": {},
        "username": "system:node:{{SessionName}}",
        "type": "FARGATE_LINUX",
    }
    state.entries[role] = {"entry": entry, "policies": {}}
