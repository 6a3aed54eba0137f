"""A cluster in which a team runs GPUs already: with a GPU Operator, slices and a NodePool of its own."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from sandbox.artifacts import charts
from sandbox.artifacts.tools import tools
from sandbox.cluster import samples
from sandbox.demo.steps import PODS
from sandbox.system import Cluster

RELEASE, NAMESPACE = "gpu-operator-1739580441", "gpu-operator"
NODE_POOL = "/apis/karpenter.sh/v1/nodepools/gpu"
CONFIG_MAP = f"/api/v1/namespaces/{NAMESPACE}/configmaps/team-slicing"
KEYS = {"whole": samples.plugin_config(), "few": samples.plugin_config(3)}
_LABEL = "nvidia.com/device-plugin.config"
_OF_POOL = {"labelSelector": "karpenter.sh/nodepool=gpu"}
VALUES: dict[str, Any] = {
    "driver": {"enabled": True, "version": "570.124.06"},
    "daemonsets": {
        "tolerations": [
            {"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        ]
    },
    "devicePlugin": {"config": {"name": "team-slicing", "default": "whole"}},
    "mig": {"strategy": "single"},
    "operator": {"upgradeCRD": False},
}


class TeamCluster:
    def __init__(self, cluster: Cluster):
        self.cluster, self.kube = cluster, cluster.kube

    def prepare(self, pods: int) -> None:
        """All that they have; their pods take some seconds more."""
        self.install()
        self.kube.apply(_node_pool(), field_manager="their-helm")
        self.kube.apply(samples.deployment("vision", pods, "gpu"))

    def install(self) -> None:
        """Their GPU Operator, with slices of their own."""
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        metadata = {"name": "team-slicing", "namespace": NAMESPACE}
        self.kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": KEYS})
        chart = charts.chart("gpu-operator")
        self.helm("install", RELEASE, str(chart.path), "--values", "-", given=json.dumps(VALUES))

    def helm(self, *arguments: str, given: str = "") -> str:
        """As an engineer of the team's runs it."""
        command = [str(tools().helm), "--kubeconfig", str(self.cluster.plane.kubeconfig)]
        done = subprocess.run(
            [*command, *arguments, "--namespace", NAMESPACE],
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    # What is theirs

    def pods(self) -> dict[str, str]:
        """Their uids, by name."""
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.kube.list(PODS)}

    def offers(self) -> list[str]:
        """Slices of each of their nodes."""
        nodes = self.kube.list("/api/v1/nodes", **_OF_POOL)
        return [node["status"]["allocatable"].get("nvidia.com/gpu", "0") for node in nodes]

    def node_pool(self) -> dict[str, Any]:
        return self.kube.get(NODE_POOL)

    def values(self) -> dict[str, Any]:
        return dict(json.loads(self.helm("get", "values", RELEASE, "--output", "json")))

    def everything(self) -> dict[str, Any]:
        """What people wrote, of each object that we may have touched; statuses and versions left out."""
        nodes = {
            f"{kind.rsplit('/', 1)[-1]}/{item['metadata']['name']}": _written(item)
            for kind in ("/api/v1/nodes", "/apis/karpenter.sh/v1/nodeclaims")
            for item in self.kube.list(kind, **_OF_POOL)
        }
        return {
            "NodePool": _written(self.node_pool()),
            "nodes": nodes,
            "ConfigMap": self.kube.get(CONFIG_MAP)["data"],
            "helm's values": self.values(),
            "helm's manifest": self.helm("get", "manifest", RELEASE),
        }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [what for what in before if before[what] != now.get(what)]


def _written(item: dict[str, Any]) -> dict[str, Any]:
    metadata = item["metadata"]
    return {
        "labels": metadata.get("labels") or {},
        "annotations": metadata.get("annotations") or {},
        "spec": item.get("spec"),
    }


def _node_pool() -> dict[str, Any]:
    """Of whole GPUs, which only empty nodes leave, and one at a time."""
    pool = samples.node_pool("gpu", key="none", labels={"team": "vision"})
    template = pool["spec"]["template"]["spec"]
    template["requirements"] = [one for one in template["requirements"] if one["key"] != _LABEL]
    disruption = {
        "consolidationPolicy": "WhenEmpty",
        "consolidateAfter": "Never",
        "budgets": [{"nodes": "1"}],
    }
    limits = {"cpu": "500", "nvidia.com/gpu": "10"}
    return {**pool, "spec": {**pool["spec"], "disruption": disruption, "limits": limits}}
