"""
What a project's own files say, as its installation has it in a cluster.

The files leave namespaces and names open, or name others, which kustomize replaces; what they place in
kube-system belongs to the API server or to the controller manager, and stays there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

KUBERNETES_OWN = "kube-system"


def read(folder: Path) -> list[Object]:
    """Every object of a folder of a build."""
    return [item for file in sorted(folder.glob("*.json")) for item in json.loads(file.read_text())]


def role(item: Object, namespace: str, prefix: str) -> Object:
    """A ServiceAccount, a role or a binding, in the namespace of the installation."""
    cluster_wide = item["kind"].startswith("Cluster")
    metadata = _prefixed(item["metadata"], prefix)
    found = {**item, "metadata": metadata if cluster_wide else _placed(metadata, namespace)}
    if "roleRef" in item:
        found["roleRef"] = _prefixed(item["roleRef"], prefix)
        found["subjects"] = [_placed(_prefixed(subject, prefix), namespace) for subject in item["subjects"]]
    return found


def account(name: str, namespace: str, cluster_role: str) -> list[Object]:
    """A ServiceAccount that has this ClusterRole."""
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": cluster_role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    ]


def webhooks(items: Sequence[Object], prefix: str, port: int, ca: bytes) -> list[Object]:
    """
    Webhook configurations that ask a port of this machine, where they would ask a Service.

    What a kustomization, or a JSON patch of one, among `items` says of a webhook is added to it: which
    namespaces, or which objects, it is for.
    """
    added = {hook["name"]: hook for item in items for hook in _patched(item)}
    return [
        {
            **item,
            "metadata": _prefixed(item["metadata"], prefix),
            "webhooks": [_asking(hook | added.get(hook["name"], {}), port, ca) for hook in item["webhooks"]],
        }
        for item in items
        if "webhooks" in item
    ]


def aggregated(items: Sequence[Object], port: int) -> list[Object]:
    """
    APIServices, and the Services that they name, which lead to a port of this machine.

    An API server follows a Service of type ExternalName by its name. The certificate there is not of the
    Service's name, so it is not checked.
    """
    return [_registered(item, port) if item["kind"] == "APIService" else _led(item, port) for item in items]


def _registered(item: Object, port: int) -> Object:
    spec = item["spec"]
    return {
        **item,
        "spec": {**spec, "service": spec["service"] | {"port": port}, "insecureSkipTLSVerify": True},
    }


def _led(item: Object, port: int) -> Object:
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"name": "https", "port": port}]}
    return {**item, "spec": spec}


def _patched(item: Object | Sequence[Object]) -> list[Object]:
    """A list is a JSON patch, whose operations each put a whole webhook in the place of one."""
    if not isinstance(item, dict):
        return [operation["value"] for operation in item]
    patches = [yaml.safe_load(patch["patch"]) for patch in item.get("patches", ())]
    return [hook for patch in patches for hook in patch["webhooks"]]


def _asking(hook: Object, port: int, ca: bytes) -> Object:
    path = hook["clientConfig"]["service"]["path"]
    client = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": base64.b64encode(ca).decode()}
    return {**hook, "clientConfig": client}


def _placed(named: Mapping[str, Any], namespace: str) -> Object:
    return {**named} if named.get("namespace") == KUBERNETES_OWN else {**named, "namespace": namespace}


def _prefixed(named: Mapping[str, Any], prefix: str) -> Object:
    return {**named, "name": prefix + named["name"]}
