"""
EKS: clusters that take time to become ACTIVE, point at a real apiserver, and tell CloudTrail.

Access entries and add-ons have modules of their own; `state` has what moto's Cluster has no room
for. Request and response shapes follow botocore's model (moto routes and serialises by it); error
types are the API's, error texts are not AWS's own and must never be matched on.
"""

from __future__ import annotations

import base64
import time
import uuid
from typing import Any

from moto.core.responses import ActionResult
from moto.eks import urls
from moto.eks.exceptions import (
    InvalidParameterException,
    ResourceInUseException,
)
from moto.eks.models import Cluster
from moto.eks.responses import EKSResponse

from sandbox.artifacts import versions
from sandbox.aws.cloudtrail import events as cloudtrail
from sandbox.aws.cloudtrail.events import Events
from sandbox.aws.core.account import Attachment
from sandbox.aws.core.patching import Patches
from sandbox.aws.eks.access_entries import AccessEntries
from sandbox.aws.eks.addons import Addons, PodIdentities
from sandbox.aws.eks.fargate import FargateProfiles
from sandbox.aws.eks.state import ClusterState, account_of, cluster_named, keep, now, settled, state_of

# One-way: each mode can only be changed to one further right.
MODES = ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"]
# What CreateCluster is told and DescribeCluster tells again.
PASSED_THROUGH = ("computeConfig", "storageConfig", "upgradePolicy", "zonalShiftConfig", "deletionProtection")
NOBODY = "https://127.0.0.1:1"


class Clusters:
    """Replaces EKSResponse's methods of these names; `self` is moto's response object."""

    def create_cluster(self: Any) -> ActionResult:
        made = self.plain_create_cluster().result["cluster"]
        asked = self._get_param("accessConfig") or {}
        made.version = self._get_param("version") or versions.chosen().minor
        made.status = "CREATING"
        # moto's is the same for every cluster of a process.
        issuer = f"https://oidc.eks.{self.region}.amazonaws.com/id/{uuid.uuid4().hex.upper()}"
        made.identity = {"oidc": {"issuer": issuer}}
        state = ClusterState(
            account=account_of(self),
            access={"authenticationMode": asked.get("authenticationMode", "CONFIG_MAP")},
            changed_at=time.monotonic(),
            passed_through={key: self._get_param(key) for key in PASSED_THROUGH if self._get_param(key)},
        )
        keep(made, state)
        sent = cloudtrail.create_cluster(made.name, **where(self), tags=made.tags)
        _events(self).send_record(sent)
        return ActionResult({"cluster": described(self, made)})

    def describe_cluster(self: Any) -> ActionResult:
        return ActionResult({"cluster": described(self, cluster_named(self, self._get_param("name")))})

    def delete_cluster(self: Any) -> ActionResult:
        cluster = cluster_named(self, self._get_param("name"))
        if profiles := list(state_of(cluster).fargate_profiles):
            raise ResourceInUseException(
                clusterName=cluster.name, message=f"Cluster has Fargate profiles: {', '.join(profiles)}"
            )
        body = described(self, cluster) | {"status": "DELETING"}
        self.plain_delete_cluster()
        _events(self).send_record(cloudtrail.delete_cluster(cluster.name, **where(self)))
        return ActionResult({"cluster": body})

    def update_cluster_config(self: Any) -> ActionResult:
        cluster = cluster_named(self, self._get_param("name"))
        if cluster.status != "ACTIVE":
            raise ResourceInUseException(clusterName=cluster.name, message=f"Cluster is {cluster.status}")
        asked = self._get_param("accessConfig")
        if not asked:
            self.plain_update_cluster_config()
            return ActionResult({"update": _update("VpcConfigUpdate", {})})
        old, new = state_of(cluster).access["authenticationMode"], asked["authenticationMode"]
        if MODES.index(new) <= MODES.index(old):
            raise InvalidParameterException(
                clusterName=cluster.name, message=f"authentication mode cannot change from {old} to {new}"
            )
        state = state_of(cluster)
        state.access["authenticationMode"] = new
        cluster.status, state.changed_at = "UPDATING", time.monotonic()
        return ActionResult({"update": _update("AccessConfigUpdate", {"AuthenticationMode": f'"{new}"'})})

    def describe_update(self: Any) -> ActionResult:
        """Of the latest update, whichever was asked for: done when the cluster is ACTIVE again."""
        cluster = cluster_named(self, self._get_param("name"))
        status = "Successful" if cluster.status == "ACTIVE" else "InProgress"
        found = {"id": self._get_param("updateId"), "status": status}
        return ActionResult({"update": _update("AccessConfigUpdate", {}) | found})

    def tag_resource(self: Any) -> ActionResult:
        arn, tags = self._extract_arn_from_path(), self._get_param("tags")
        result = self.plain_tag_resource()
        _events(self).send_record(cloudtrail.tag_resource(arn, tags, **where(self)))
        return result

    def untag_resource(self: Any) -> ActionResult:
        arn, keys = self._extract_arn_from_path(), self._get_param("tagKeys")
        result = self.plain_untag_resource()
        keys = keys if isinstance(keys, list) else [keys]
        _events(self).send_record(cloudtrail.untag_resource(arn, keys, **where(self)))
        return result


def _events(response: Any) -> Events:
    return account_of(response).service(Events)


def where(response: Any) -> dict[str, str]:
    return {"account": response.current_account, "region": response.region}


def described(response: Any, cluster: Any) -> dict[str, Any]:
    state = state_of(cluster)
    body = {
        "name": cluster.name,
        "arn": cluster.arn,
        "createdAt": cluster.created_at,
        "version": cluster.version,
        "roleArn": cluster.role_arn,
        "resourcesVpcConfig": _network(response, cluster.resources_vpc_config),
        "kubernetesNetworkConfig": cluster.kubernetes_network_config,
        "logging": cluster.logging,
        "identity": cluster.identity,
        "status": cluster.status,
        "platformVersion": cluster.platformVersion,
        "tags": cluster.tags,
        "encryptionConfig": cluster.encryption_config,
        "health": {"issues": []},
        "accessConfig": state.access,
        **state.passed_through,
    }
    if cluster.status == "CREATING":
        return body  # as in AWS: neither endpoint nor authority yet
    account = account_of(response)
    # Without a control plane nobody listens; moto's own answer is a host on the internet, and no certificate.
    attachment = account.attachment(cluster.name) or Attachment(NOBODY, account.webhook_ca_pem, cluster.name)
    authority = base64.b64encode(attachment.ca_pem.encode()).decode()
    return body | {"endpoint": attachment.endpoint, "certificateAuthority": {"data": authority}}


def _network(response: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """With the VPC that its subnets are in, where EC2 knows them."""
    from moto.ec2.models import ec2_backends

    backend = ec2_backends[response.current_account][response.region]
    of = {subnet.id: subnet.vpc_id for subnet in backend.describe_subnets()}
    found = next((of[subnet] for subnet in asked.get("subnetIds") or () if subnet in of), None)
    return {**asked, **({"vpcId": found} if found else {})}


def _update(kind: str, parameters: dict[str, str]) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "status": "InProgress",
        "type": kind,
        "params": [{"type": key, "value": value} for key, value in parameters.items()],
        "createdAt": now(),
        "errors": [],
    }


def install(patches: Patches) -> None:
    # moto itself asks this before it makes a node group.
    patches.replace(Cluster, "is_active", property(lambda cluster: settled(cluster).status == "ACTIVE"))
    for name in vars(Clusters):
        if hasattr(EKSResponse, name) and not name.startswith("_"):
            patches.replace(EKSResponse, f"plain_{name}", getattr(EKSResponse, name))
    for group in (Clusters, AccessEntries, Addons, PodIdentities, FargateProfiles):
        for name, method in vars(group).items():
            if not name.startswith("_"):
                patches.replace(EKSResponse, name, method)
    for path in (
        "access-entries$",
        "access-entries/(?P<principalArn>.+)$",
        "addons$",
        "addons/(?P<addonName>[^/]+)$",
        "addons/(?P<addonName>[^/]+)/update$",
        "pod-identity-associations$",
        "pod-identity-associations/(?P<associationId>[^/]+)$",
        "updates/(?P<updateId>[^/]+)$",
    ):
        patches.put(urls.url_paths, "{0}/clusters/(?P<name>[^/]+)/" + path, urls.response.dispatch)
