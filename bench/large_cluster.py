"""A large cluster as plain objects in the sandbox: GPU nodes, their NodeClaims, pods that ask for slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from slicewise import layout, policy

from sandbox.control_plane import ControlPlane
from sandbox.instances import INSTANCE_TYPES, ZONES

Object = dict[str, Any]

NODES, PODS_A_NODE = 1_000, 10
TYPE = "g6.xlarge"
POLICY_TEXT = f"""
pools:
  shared: {{sharing: time-slicing, gpus: [l4], replicas: {{start: {PODS_A_NODE}, max: 16}}, maxGpus: {NODES}}}
metrics: {{source: none}}
"""
POLICY = policy.parse(POLICY_TEXT, "bench")
POOL = POLICY.pools[0]
GPU = POOL.models()[0]
NODE_POOL = layout.node_pool_name(POOL, GPU)
# In flight at once: more only wait for the API server.
THREADS = 16


def fill(plane: ControlPlane, nodes: int, say: Callable[[str], None]) -> None:
    """Create everything and return once each pod runs; kwok plays the kubelets."""
    kube = plane.kube

    def create(item: Object) -> None:
        kube.create(item)
        if item["kind"] == "NodeClaim":
            kube.merge(f"{kube.path(item)}/status", {"status": item["status"]})

    for what, items in (
        ("NodePool and NodeOverlays", pool()),
        ("nodes", map(node, range(nodes))),
        ("NodeClaims", map(claim, range(nodes))),
        ("pods", map(pod, range(nodes * PODS_A_NODE))),
    ):
        say(f"creating {what}")
        with ThreadPoolExecutor(THREADS) as threads:
            for _ in threads.map(create, items):
                pass


def pool() -> Iterator[Object]:
    yield layout.node_pool(POLICY, POOL, GPU, POOL.start)
    yield from layout.overlays(POOL, GPU, POOL.start, layout.overlay_weights(POLICY))


def _labels(index: int) -> dict[str, str]:
    kind = INSTANCE_TYPES[TYPE]
    return {
        **kind.labels(),
        "karpenter.sh/nodepool": NODE_POOL,
        "karpenter.sh/capacity-type": "on-demand",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": TYPE,
        "nvidia.com/device-plugin.config": layout.config_key(POOL.sharing, POOL.start),
        "slicewise.dev/pool": POOL.name,
        "topology.kubernetes.io/zone": ZONES[index % len(ZONES)],
    }


def _resources() -> dict[str, str]:
    kind = INSTANCE_TYPES[TYPE]
    return {
        "cpu": str(kind.vcpu),
        "memory": f"{kind.memory_mib}Mi",
        "ephemeral-storage": "100Gi",
        "pods": "110",
        "nvidia.com/gpu": str(POOL.start),
    }


def node(index: int) -> Object:
    name = f"node-{index:04}"
    gpu_discovery = {
        f"nvidia.com/{key}": value
        for key, value in (
            ("gpu.present", "true"),
            ("gpu.product", "NVIDIA-L4-SHARED"),
            ("gpu.count", "1"),
            ("gpu.memory", "23034"),
            ("gpu.replicas", str(POOL.start)),
            ("gpu.sharing-strategy", "time-slicing"),
            ("cuda.driver.major", "580"),
            ("gpu.family", "ada-lovelace"),
        )
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {**_labels(index), **gpu_discovery, "kubernetes.io/hostname": name},
        },
        "spec": {"providerID": f"aws:///{ZONES[index % len(ZONES)]}/i-{index:017}", "taints": [layout.TAINT]},
        "status": {
            "capacity": _resources(),
            "allocatable": _resources(),
            "images": [
                {
                    "names": [f"example.com/image-{i}@sha256:{i:064}", f"example.com/image-{i}:1"],
                    "sizeBytes": 1 << 30,
                }
                for i in range(12)
            ],
        },
    }


def claim(index: int) -> Object:
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {"name": f"{NODE_POOL}-{index:05}", "labels": _labels(index)},
        "spec": {
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "slicewise"},
            "requirements": [
                {"key": key, "operator": "In", "values": [value]}
                for key, value in sorted(_labels(index).items())
            ],
            "taints": [layout.TAINT],
            "expireAfter": "720h",
        },
        "status": {
            "nodeName": f"node-{index:04}",
            "providerID": f"aws:///{ZONES[index % len(ZONES)]}/i-{index:017}",
            "capacity": _resources(),
            "allocatable": _resources(),
            "conditions": [
                {"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": since}
                for kind in ("Launched", "Registered", "Initialized", "Consolidatable", "Ready")
            ],
        },
    }


def pod(index: int) -> Object:
    variables = [{"name": f"SETTING_{i}", "value": f"value {i} of a server"} for i in range(12)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"inference-{index:05}",
            "namespace": "default",
            "labels": {"app": "inference", "version": "1"},
            "annotations": {"example.com/config-hash": f"{index:064}"},
        },
        "spec": {
            "nodeName": f"node-{index // PODS_A_NODE:04}",
            "nodeSelector": {"slicewise.dev/pool": POOL.name},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "server",
                    "image": "example.com/inference:1",
                    "env": variables,
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "128Mi"},
                        "limits": {"nvidia.com/gpu": "1"},
                    },
                }
            ],
        },
    }


def starting(plane: ControlPlane) -> bool:
    """Whether kwok has not brought up every pod yet."""
    return bool(plane.kube.list("/api/v1/pods", fieldSelector="status.phase=Pending", limit="1"))
