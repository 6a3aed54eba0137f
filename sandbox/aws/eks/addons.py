"""EKS add-ons (CREATING, then ACTIVE) and pod identity associations; nothing of them runs in a cluster."""

from __future__ import annotations

import time
import uuid
from typing import Any

from moto.core.responses import ActionResult
from moto.eks.exceptions import InvalidRequestException, ResourceInUseException, ResourceNotFoundException

from sandbox.aws.eks.access_entries import page
from sandbox.aws.eks.state import account_of, cluster_named, is_over, now, state_of


class Addons:
    def create_addon(self: Any) -> ActionResult:
        cluster, name = cluster_named(self, self._get_param("name")), self._get_param("addonName")
        addons = state_of(cluster).addons
        if cluster.status != "ACTIVE":
            raise InvalidRequestException(clusterName=cluster.name, message=f"cluster is {cluster.status}")
        if name in addons:
            raise ResourceInUseException(
                clusterName=cluster.name, addonName=name, message="add-on exists already"
            )
        addon = {
            "addonName": name,
            "clusterName": cluster.name,
            "status": "CREATING",
            "addonVersion": self._get_param("addonVersion") or "v1.0.0-eksbuild.1",
            "health": {"issues": []},
            "addonArn": cluster.arn.replace(":cluster/", ":addon/") + f"/{name}/{uuid.uuid4()}",
            "createdAt": now(),
            "modifiedAt": now(),
            "tags": self._get_param("tags") or {},
            "configurationValues": self._get_param("configurationValues") or "",
        }
        if role := self._get_param("serviceAccountRoleArn"):
            addon["serviceAccountRoleArn"] = role
        addons[name] = {"addon": addon, "made_at": time.monotonic()}
        return ActionResult({"addon": addon})

    def describe_addon(self: Any) -> ActionResult:
        return ActionResult({"addon": _addon(self)})

    def list_addons(self: Any) -> ActionResult:
        addons = state_of(cluster_named(self, self._get_param("name"))).addons
        return ActionResult(page(self, "addons", list(addons)))

    def update_addon(self: Any) -> ActionResult:
        addon = _addon(self)
        for key in ("addonVersion", "configurationValues", "serviceAccountRoleArn"):
            if value := self._get_param(key):
                addon[key] = value
        addon["modifiedAt"] = now()
        update = {"id": str(uuid.uuid4()), "status": "InProgress", "type": "AddonUpdate", "createdAt": now()}
        return ActionResult({"update": update})

    def delete_addon(self: Any) -> ActionResult:
        addon = _addon(self)
        del state_of(cluster_named(self, self._get_param("name"))).addons[addon["addonName"]]
        return ActionResult({"addon": {**addon, "status": "DELETING"}})


def _addon(response: Any) -> dict[str, Any]:
    cluster, name = cluster_named(response, response._get_param("name")), response._get_param("addonName")
    kept = state_of(cluster).addons.get(name)
    if kept is None:
        raise ResourceNotFoundException(
            clusterName=cluster.name, addonName=name, message=f"cluster {cluster.name} has no add-on {name}"
        )
    if kept["addon"]["status"] == "CREATING" and is_over(account_of(response), kept["made_at"]):
        kept["addon"]["status"] = "ACTIVE"
    return kept["addon"]


class PodIdentities:
    def create_pod_identity_association(self: Any) -> ActionResult:
        cluster = cluster_named(self, self._get_param("name"))
        namespace, account = self._get_param("namespace"), self._get_param("serviceAccount")
        associations = state_of(cluster).pod_identities
        if any(
            (one["namespace"], one["serviceAccount"]) == (namespace, account) for one in associations.values()
        ):
            raise ResourceInUseException(
                clusterName=cluster.name, message=f"{namespace}/{account} has an association already"
            )
        identity = "a-" + uuid.uuid4().hex[:17]
        associations[identity] = {
            "clusterName": cluster.name,
            "namespace": namespace,
            "serviceAccount": account,
            "roleArn": self._get_param("roleArn"),
            "associationArn": cluster.arn.replace(":cluster/", ":podidentityassociation/") + f"/{identity}",
            "associationId": identity,
            "tags": self._get_param("tags") or {},
            "createdAt": now(),
            "modifiedAt": now(),
        }
        return ActionResult({"association": associations[identity]})

    def describe_pod_identity_association(self: Any) -> ActionResult:
        return ActionResult({"association": _association(self)})

    def update_pod_identity_association(self: Any) -> ActionResult:
        association = _association(self)
        if role := self._get_param("roleArn"):
            association["roleArn"] = role
        association["modifiedAt"] = now()
        return ActionResult({"association": association})

    def delete_pod_identity_association(self: Any) -> ActionResult:
        association = _association(self)
        cluster = cluster_named(self, self._get_param("name"))
        del state_of(cluster).pod_identities[association["associationId"]]
        return ActionResult({"association": association})

    def list_pod_identity_associations(self: Any) -> ActionResult:
        associations = state_of(cluster_named(self, self._get_param("name"))).pod_identities.values()
        namespace, account = self._get_param("namespace"), self._get_param("serviceAccount")
        keys = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId")
        found = [
            {key: one[key] for key in keys}
            for one in associations
            if namespace in (None, one["namespace"]) and account in (None, one["serviceAccount"])
        ]
        return ActionResult(page(self, "associations", found))


def _association(response: Any) -> dict[str, Any]:
    cluster, identity = (
        cluster_named(response, response._get_param("name")),
        response._get_param("associationId"),
    )
    found = state_of(cluster).pod_identities.get(identity)
    if found is None:
        raise ResourceNotFoundException(
            clusterName=cluster.name, message=f"cluster {cluster.name} has no pod identity {identity}"
        )
    return found
