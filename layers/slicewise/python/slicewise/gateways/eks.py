"""The EKS API, and the tokens with which EKS's API servers know a caller."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError
from botocore.model import ServiceId
from botocore.session import Session
from botocore.signers import RequestSigner

from slicewise.errors import Conflict, Refused
from slicewise.gateways.botocore_clients import client, code_of, own_errors
from slicewise.model.cluster import AccessEntry, EksCluster, cluster_admin_policy
from slicewise.model.fargate import FargateProfile

_ABSENT = "ResourceNotFoundException"
_EXISTS = "ResourceInUseException"
_NOT_NOW = "InvalidRequestException"
_TOKEN_SECONDS = 60
_TOKEN_LIFETIME_SECONDS = 300  # EKS takes a token for 15 minutes; a fresh one every five leaves a margin
_STS = ServiceId("STS")  # what a client would say, which would cost a cold start 60 ms


class EksApi:
    """Implements ports.Eks."""

    def __init__(self, session: Session, region: str):
        self._session, self._region = session, region

    @cached_property
    def _eks(self) -> Any:
        return client("eks", self._session, self._region)

    def cluster_names(self) -> tuple[str, ...]:
        with own_errors("eks:ListClusters"):
            pages = self._eks.get_paginator("list_clusters").paginate()
            return tuple(name for page in pages for name in page["clusters"])

    def describe(self, name: str) -> EksCluster | None:
        found = self._found("describe_cluster", name=name)
        return _cluster(found["cluster"], self._region) if found else None

    def bottlerocket_gpu_node_groups(self, name: str) -> tuple[str, ...]:
        """Their NVIDIA variants run a device plugin of their own; the others never see a GPU."""
        names = self._listed("list_nodegroups", "nodegroups", name)
        return tuple(group for group in names if self._is_bottlerocket_gpu(name, group))

    def _is_bottlerocket_gpu(self, name: str, group: str) -> bool:
        found = self._found("describe_nodegroup", clusterName=name, nodegroupName=group)
        ami = (found or {}).get("nodegroup", {}).get("amiType") or ""
        return ami.startswith("BOTTLEROCKET") and "NVIDIA" in ami

    def access_entry(self, name: str, principal: str) -> AccessEntry | None:
        who = {"clusterName": name, "principalArn": principal}
        found = self._found("describe_access_entry", **who)
        if not found:
            return None
        entry = found["accessEntry"]
        kind = entry.get("type", "STANDARD")
        # EKS refuses the question for entries of other types (nodes'), which take no policies.
        listed = self._found("list_associated_access_policies", **who) if kind == "STANDARD" else {}
        if listed is None:
            return None
        policies = {
            policy["policyArn"]: policy.get("associatedAt")
            for policy in listed.get("associatedAccessPolicies", ())
            if policy["accessScope"]["type"] == "cluster"
        }
        return AccessEntry(
            principal=principal,
            groups=tuple(entry.get("kubernetesGroups") or ()),
            policies=tuple(policies),
            type=kind,
            created_at=entry.get("createdAt"),
            admin_since=policies.get(cluster_admin_policy(principal)),
        )

    def allow_access_entries(self, name: str) -> None:
        try:
            self._checked(
                "update_cluster_config",
                name=name,
                accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"},
            )
        except (Refused, Conflict):
            # EKS refuses a switch to the mode that is already there; that is what we want, not an error.
            cluster = self.describe(name)
            if not cluster or cluster.authentication_mode == "CONFIG_MAP":
                raise

    def put_access_entry(self, name: str, principal: str, groups: tuple[str, ...], type: str) -> None:
        who = {"clusterName": name, "principalArn": principal}
        # Other types than STANDARD (nodes) take no groups.
        with_groups = who | ({"kubernetesGroups": list(groups)} if type == "STANDARD" else {})
        if self._unless_there("create_access_entry", **with_groups, type=type) or type != "STANDARD":
            return
        self._checked("update_access_entry", **with_groups)

    def delete_access_entry(self, name: str, principal: str) -> None:
        self._found("delete_access_entry", clusterName=name, principalArn=principal)

    def grant_admin(self, name: str, principal: str) -> None:
        self._checked(
            "associate_access_policy",
            clusterName=name,
            principalArn=principal,
            policyArn=cluster_admin_policy(principal),
            accessScope={"type": "cluster"},
        )

    def revoke_admin(self, name: str, principal: str) -> None:
        self._found(
            "disassociate_access_policy",
            clusterName=name,
            principalArn=principal,
            policyArn=cluster_admin_policy(principal),
        )

    def addons(self, name: str) -> frozenset[str]:
        return frozenset(self._listed("list_addons", "addons", name))

    def pod_identity(self, name: str, namespace: str, service_account: str) -> str | None:
        listed = self._found(
            "list_pod_identity_associations",
            clusterName=name,
            namespace=namespace,
            serviceAccount=service_account,
        )
        for association in (listed or {}).get("associations", ()):
            described = self._found(
                "describe_pod_identity_association",
                clusterName=name,
                associationId=association["associationId"],
            )
            if described:
                role: str = described["association"]["roleArn"]
                return role
        return None

    def put_addon(self, name: str, addon: str) -> None:
        self._unless_there("create_addon", clusterName=name, addonName=addon)

    def put_pod_identity(self, name: str, namespace: str, service_account: str, role_arn: str) -> None:
        self._unless_there(
            "create_pod_identity_association",
            clusterName=name,
            namespace=namespace,
            serviceAccount=service_account,
            roleArn=role_arn,
        )

    def fargate_profiles(self, name: str) -> tuple[FargateProfile, ...]:
        names = self._listed("list_fargate_profiles", "fargateProfileNames", name)
        found = (
            self._found("describe_fargate_profile", clusterName=name, fargateProfileName=one) for one in names
        )
        return tuple(_profile(one["fargateProfile"]) for one in found if one)

    def create_fargate_profile(self, name: str, profile: FargateProfile) -> None:
        self._unless_there(
            "create_fargate_profile",
            clusterName=name,
            fargateProfileName=profile.name,
            podExecutionRoleArn=profile.role,
            subnets=list(profile.subnets),
            selectors=[dict(one) for one in profile.selectors],
            tags=dict(profile.tags),
        )

    def delete_fargate_profile(self, name: str, profile: str) -> None:
        self._found("delete_fargate_profile", clusterName=name, fargateProfileName=profile)

    def tag(self, name: str, key: str, value: str) -> None:
        cluster = self.describe(name)
        if cluster is None:
            raise Conflict(f"eks:TagResource of {name}: there is no such cluster")
        self._checked("tag_resource", resourceArn=cluster.arn, tags={key: value})

    def _listed(self, call: str, key: str, name: str) -> list[str]:
        """All pages; a cluster that was deleted since it was described has nothing."""
        with own_errors(_what(call, {"clusterName": name})):
            try:
                pages = self._eks.get_paginator(call).paginate(clusterName=name)
                return [item for page in pages for item in page[key]]
            except ClientError as error:
                if code_of(error) == _ABSENT:
                    return []
                raise

    def _call(self, call: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self._eks, call)(**arguments)
        return answer

    def _checked(self, call: str, **arguments: Any) -> dict[str, Any]:
        with own_errors(_what(call, arguments)):
            try:
                return self._call(call, **arguments)
            except ClientError as error:
                # "Not in this state": it is updating, or its mode has changed. Both need a new reconcile.
                if code_of(error) in (_NOT_NOW, _ABSENT):
                    raise Conflict(f"{_what(call, arguments)}: {error}") from error
                raise

    def _found(self, call: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer, or None where what is named does not exist."""
        with own_errors(_what(call, arguments)):
            try:
                return self._call(call, **arguments)
            except ClientError as error:
                if code_of(error) == _ABSENT:
                    return None
                if code_of(error) == _NOT_NOW:
                    raise Conflict(f"{_what(call, arguments)}: {error}") from error
                raise

    def _unless_there(self, call: str, **arguments: Any) -> bool:
        """Create; False where it exists already."""
        with own_errors(_what(call, arguments)):
            try:
                self._call(call, **arguments)
                return True
            except ClientError as error:
                if code_of(error) == _EXISTS:
                    return False
                if code_of(error) in (_NOT_NOW, _ABSENT):
                    raise Conflict(f"{_what(call, arguments)}: {error}") from error
                raise


def _what(call: str, arguments: dict[str, Any]) -> str:
    operation = "".join(word.capitalize() for word in call.split("_"))
    name = arguments.get("clusterName") or arguments.get("name") or arguments.get("resourceArn")
    return f"eks:{operation} of {name}" + (
        f" for {arguments[k]}" if (k := "principalArn") in arguments else ""
    )


def _cluster(found: dict[str, Any], region: str) -> EksCluster:
    network = found.get("resourcesVpcConfig") or {}
    return EksCluster(
        arn=found["arn"],
        name=found["name"],
        region=region,
        account=found["arn"].split(":")[4],
        status=found["status"],
        version=found.get("version", ""),
        # Clusters older than access entries have no accessConfig.
        authentication_mode=(found.get("accessConfig") or {}).get("authenticationMode") or "CONFIG_MAP",
        created_at=found["createdAt"],
        auto_mode=bool((found.get("computeConfig") or {}).get("enabled")),
        endpoint=found.get("endpoint"),
        ca_data=(found.get("certificateAuthority") or {}).get("data"),
        public_endpoint=network.get("endpointPublicAccess", True),
        tags=found.get("tags") or {},
        vpc=network.get("vpcId") or "",
        subnets=tuple(network.get("subnetIds") or ()),
        issuer=((found.get("identity") or {}).get("oidc") or {}).get("issuer") or "",
    )


def _profile(found: Mapping[str, Any]) -> FargateProfile:
    return FargateProfile(
        name=found["fargateProfileName"],
        status=found["status"],
        role=found["podExecutionRoleArn"],
        subnets=tuple(found.get("subnets") or ()),
        selectors=tuple(found.get("selectors") or ()),
        tags=found.get("tags") or {},
        issues=tuple(
            f"{issue.get('code', '')}: {issue.get('message', '')}"
            for issue in (found.get("health") or {}).get("issues") or ()
        ),
    )


def token(cluster_name: str, region: str, session: Session) -> str:
    """
    A bearer token for the cluster's API server: a presigned sts:GetCallerIdentity that names the cluster.

    Signing is local (about 0.1 ms) and needs no permission; EKS accepts the token for 15 minutes.
    """
    events = session.get_component("event_emitter")
    credentials = session.get_credentials()
    if credentials is None:
        raise Refused("no AWS credentials: an EKS token is signed with them. Name a profile, or log in.")
    signer = RequestSigner(_STS, region, "sts", "v4", credentials, events)
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    url = signer.generate_presigned_url(
        {
            "method": "GET",
            "url": f"https://sts.{region}.{suffix}/?Action=GetCallerIdentity&Version=2011-06-15",
            "body": {},
            "headers": {"x-k8s-aws-id": cluster_name},
            "context": {},
        },
        region_name=region,
        expires_in=_TOKEN_SECONDS,
        operation_name="",
    )
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def tokens(cluster: EksCluster, session: Session) -> Callable[[], str]:
    """A source of tokens for one cluster, each used for five of its fifteen minutes."""
    kept: list[tuple[float, str]] = []

    def current() -> str:
        if not kept or time.monotonic() - kept[0][0] > _TOKEN_LIFETIME_SECONDS:
            kept[:] = [(time.monotonic(), token(cluster.name, cluster.region, session))]
        return kept[0][1]

    return current
