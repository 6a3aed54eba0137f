"""Small Kubernetes objects for trying the sandbox out, by hand or in its own tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]

GPU = "nvidia.com/gpu"
CONFIG_LABEL = "nvidia.com/device-plugin.config"


def node_class(name: str = "default") -> Object:
    return {
        "apiVersion": "karpenter.kwok.sh/v1alpha1",
        "kind": "KWOKNodeClass",
        "metadata": {"name": name},
        "spec": {},
    }


def node_pool(
    name: str,
    *,
    key: str | Sequence[str],
    instance_types: Sequence[str] = ("g6.xlarge",),
    labels: Mapping[str, str] | None = None,
) -> Object:
    """A pool of on-demand GPU nodes that are born with the device plugin's `key`; idle ones go after 5 s."""
    keys = [key] if isinstance(key, str) else list(key)
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": name},
        "spec": {
            "template": {
                "metadata": {"labels": dict(labels or {})},
                "spec": {
                    "requirements": [
                        _among("node.kubernetes.io/instance-type", *instance_types),
                        _among("karpenter.sh/capacity-type", "on-demand"),
                        _among(CONFIG_LABEL, *keys),
                    ],
                    "taints": [{"key": GPU, "effect": "NoSchedule"}],
                    "nodeClassRef": {
                        "group": "karpenter.kwok.sh",
                        "kind": "KWOKNodeClass",
                        "name": "default",
                    },
                    "expireAfter": "Never",
                },
            },
            "disruption": {
                "consolidateAfter": "5s",
                "consolidationPolicy": "WhenEmpty",
                "budgets": [{"nodes": "100%"}],
            },
        },
    }


def node_overlay(pool: str, gpus: int, capacity: Mapping[str, int]) -> Object:
    """Overlay of `pool`'s instance types with that many GPUs."""
    return {
        "apiVersion": "karpenter.sh/v1alpha1",
        "kind": "NodeOverlay",
        "metadata": {"name": f"{pool}-{gpus}"},
        "spec": {
            "weight": 10 + gpus,
            "requirements": [
                _among("karpenter.sh/nodepool", pool),
                _among("karpenter.k8s.aws/instance-gpu-manufacturer", "nvidia"),
                _among("karpenter.k8s.aws/instance-gpu-count", str(gpus)),
            ],
            "capacity": {name: str(amount) for name, amount in capacity.items()},
        },
    }


def deployment(name: str, replicas: int, pool: str, resource: str = GPU) -> Object:
    """Pods that ask for one of `resource` each, on `pool`."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "nodeSelector": {"karpenter.sh/nodepool": pool},
                    "tolerations": [{"key": GPU, "operator": "Exists"}],
                    "containers": [
                        {
                            "name": "main",
                            "image": "example.com/none:1",
                            "resources": {"requests": {"cpu": "50m"}, "limits": {resource: "1"}},
                        }
                    ],
                },
            },
        },
    }


def plugin_config(replicas: int | None = None, strategy: str = "timeSlicing") -> str:
    """One key of the device plugin's ConfigMap; None is a whole GPU."""
    lines = ["version: v1"]
    if replicas is not None:
        lines += [
            "sharing:",
            f"  {strategy}:",
            "    failRequestsGreaterThanOne: true",
            "    resources:",
            f"      - {{name: {GPU}, replicas: {replicas}}}",
        ]
    return "\n".join(lines) + "\n"


def config_map(keys: Mapping[str, str], namespace: str = "gpu-operator") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "slicewise-device-plugin", "namespace": namespace},
        "data": dict(keys),
    }


def _among(key: str, *values: str) -> Object:
    return {"key": key, "operator": "In", "values": list(values)}
