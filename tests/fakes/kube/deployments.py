"""
What a Deployment's controllers do with its pods, in memory: all are replaced at once where its template
changes, and it is rolled out once each has a node.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from slicewise.kube.labels import CLASS_LABEL, POOL_LABEL
from slicewise.kube.ref import Object, Ref
from slicewise.pools import layout

from tests.fakes.kube.kubernetes import FakeApiServer

NAMESPACE = "ml"


class Deployments:
    """
    Attributes:
        rolled: Names of Deployments, once for each new template.
    """

    def __init__(self, server: FakeApiServer) -> None:
        self._server = server
        self.rolled: list[str] = []
        server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        server.on_change.append(self._changed)

    def _changed(self, item: Object) -> None:
        if item["kind"] != "Deployment" or item["metadata"].get("namespace") != NAMESPACE:
            return
        name, template = item["metadata"]["name"], item["spec"]["template"]["spec"]
        digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:8]
        wanted = {f"{name}-{digest}-{number:05}" for number in range(item["spec"]["replicas"])}
        there = {pod["metadata"]["name"]: ref for ref, pod in self._pods(name)}
        if wanted == there.keys():
            return
        self.rolled += [] if not there else [name]
        for gone in there.keys() - wanted:
            self._server.delete(there[gone])
        owner = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": f"{name}-{digest}",
            "controller": True,
        }
        for pod in sorted(wanted - there.keys()):
            metadata = {
                "name": pod,
                "namespace": NAMESPACE,
                "labels": {"pod-template-hash": digest},
                "ownerReferences": [owner],
            }
            self._server.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template})

    def tick(self) -> None:
        """Tell how far each is rolled out."""
        for ref, item in self._server.of_kind("apps/v1", "Deployment"):
            if ref.namespace == NAMESPACE:
                pods = [pod for _, pod in self._pods(ref.name)]
                ready = sum(1 for pod in pods if pod["spec"].get("nodeName"))
                reported = {"observedGeneration": item["metadata"]["generation"], "replicas": len(pods)}
                reported |= {"updatedReplicas": len(pods), "availableReplicas": ready}
                self._server.set_status(ref, reported)

    def _pods(self, name: str) -> list[tuple[Ref, dict[str, Any]]]:
        return [
            (ref, pod)
            for ref, pod in self._server.of_kind("v1", "Pod")
            if ref.namespace == NAMESPACE and ref.name.rsplit("-", 2)[0] == name
        ]


def deployment(name: str, replicas: int, auto: bool = True, pool: str = "shared") -> dict[str, Any]:
    container = {"name": "main", "resources": {"limits": {layout.GPU_RESOURCE: "1"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {CLASS_LABEL: layout.AUTO} if auto else {},
        },
        "spec": {
            "replicas": replicas,
            "template": {
                "spec": {
                    "nodeSelector": {POOL_LABEL: pool},
                    "tolerations": [{"key": layout.GPU_RESOURCE, "operator": "Exists"}],
                    "containers": [container],
                }
            },
        },
    }
