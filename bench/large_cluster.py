"""
A large cluster as plain objects in the sandbox: GPU nodes, their NodeClaims, pods that ask for slices.

Statuses are written as kubelets and Karpenter would, and nothing else runs: what is read stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import Any

from slicewise.kube.labels import POOL_LABEL
from slicewise.policy import model as policy
from slicewise.policy.model import Policy, Pool
from slicewise.pools import layout

from sandbox.cluster.control_plane import ControlPlane
from sandbox.cluster.instance_types import INSTANCE_TYPES, ZONES

Object = dict[str, Any]

NODES, PODS_A_NODE = 1_000, 10
TYPE = "g6.xlarge"
# In flight at once: more only wait for the API server.
THREADS = 16


@dataclass(frozen=True)
class Size:
    """
    Attributes:
        node_pools: As many pools of the policy, among which the nodes are spread evenly.
    """

    nodes: int = NODES
    node_pools: int = 1

    @cached_property
    def policy_text(self) -> str:
        replicas = f"replicas: {{start: {PODS_A_NODE}, max: 16}}"
        pools = (
            f"  {name}: {{sharing: time-slicing, gpus: [l4], {replicas}, maxGpus: {self.nodes}}}\n"
            for name in self._names
        )
        return f"pools:\n{''.join(pools)}metrics: {{source: none}}\n"

    @cached_property
    def policy(self) -> Policy:
        return policy.parse(self.policy_text, "bench")

    def pool_of(self, node: int) -> Pool:
        return self.policy.pools[node % self.node_pools]

    @property
    def _names(self) -> Iterable[str]:
        return ("shared",) if self.node_pools == 1 else (f"shared-{i:02}" for i in range(self.node_pools))


ONE_POOL = Size()
POLICY_TEXT = ONE_POOL.policy_text


def fill(plane: ControlPlane, size: Size, say: Callable[[str], None]) -> None:
    """Create everything, as it is once each pod runs. The control plane's controllers end before."""
    kube = plane.kube
    plane.stop_controllers()

    def create(item: Object) -> None:
        kube.create(item)
        if item["kind"] in ("NodeClaim", "Pod"):
            kube.merge(f"{kube.path(item)}/status", {"status": item["status"]})

    for what, items in (
        ("NodePools and NodeOverlays", pools(size)),
        ("nodes", (node(size, index) for index in range(size.nodes))),
        ("NodeClaims", (claim(size, index) for index in range(size.nodes))),
        ("pods", (pod(size, index) for index in range(size.nodes * PODS_A_NODE))),
    ):
        say(f"creating {what}")
        with ThreadPoolExecutor(THREADS) as threads:
            # A thousand at a time: they are made as fast as memory is there, and created slowly.
            while some := list(islice(items, 1000)):
                list(threads.map(create, some))


def pools(size: Size) -> Iterator[Object]:
    weights = layout.overlay_weights(size.policy)
    for pool in size.policy.pools:
        yield layout.node_pool(size.policy, pool, pool.models()[0], pool.start)
        yield from layout.overlays(pool, pool.models()[0], pool.start, weights)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _labels(size: Size, index: int) -> dict[str, str]:
    kind, pool = INSTANCE_TYPES[TYPE], size.pool_of(index)
    return {
        **kind.labels(),
        "karpenter.sh/nodepool": layout.node_pool_name(pool, pool.models()[0]),
        "karpenter.sh/capacity-type": "on-demand",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": TYPE,
        "nvidia.com/device-plugin.config": layout.config_key(pool.sharing, pool.start),
        POOL_LABEL: pool.name,
        "topology.kubernetes.io/zone": ZONES[index % len(ZONES)],
    }


def _resources() -> dict[str, str]:
    kind = INSTANCE_TYPES[TYPE]
    return {
        "cpu": str(kind.vcpu),
        "memory": f"{kind.memory_mib}Mi",
        "ephemeral-storage": "100Gi",
        "pods": "110",
        "nvidia.com/gpu": str(PODS_A_NODE),
    }


def node(size: Size, index: int) -> Object:
    name = f"node-{index:04}"
    gpu_discovery = {
        f"nvidia.com/{key}": value
        for key, value in (
            ("gpu.present", "true"),
            ("gpu.product", "NVIDIA-L4-SHARED"),
            ("gpu.count", "1"),
            ("gpu.memory", "23034"),
            ("gpu.replicas", str(PODS_A_NODE)),
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
            "labels": {**_labels(size, index), **gpu_discovery, "kubernetes.io/hostname": name},
        },
        "spec": {"providerID": f"aws:///{ZONES[index % len(ZONES)]}/i-{index:017}", "taints": [layout.TAINT]},
        "status": {
            "capacity": _resources(),
            "allocatable": _resources(),
            "conditions": _conditions(
                "Ready", **dict.fromkeys(("MemoryPressure", "DiskPressure", "PIDPressure"), "False")
            ),
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "images": [
                {
                    "names": [f"example.com/image-{i}@sha256:{i:064}", f"example.com/image-{i}:1"],
                    "sizeBytes": 1 << 30,
                }
                for i in range(12)
            ],
        },
    }


def claim(size: Size, index: int) -> Object:
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {"name": f"bench-{index:05}", "labels": _labels(size, index)},
        "spec": {
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "slicewise"},
            "requirements": [
                {"key": key, "operator": "In", "values": [value]}
                for key, value in sorted(_labels(size, index).items())
            ],
            "taints": [layout.TAINT],
            "expireAfter": "720h",
        },
        "status": {
            "nodeName": f"node-{index:04}",
            "providerID": f"aws:///{ZONES[index % len(ZONES)]}/i-{index:017}",
            "capacity": _resources(),
            "allocatable": _resources(),
            "conditions": _conditions("Launched", "Registered", "Initialized", "Consolidatable", "Ready"),
        },
    }


def pod(size: Size, index: int) -> Object:
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
            "nodeSelector": {POOL_LABEL: size.pool_of(index // PODS_A_NODE).name},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "terminationGracePeriodSeconds": 0,
            "containers": [_server()],
        },
        "status": {
            "phase": "Running",
            "conditions": _conditions("Initialized", "Ready", "ContainersReady"),
            "hostIP": "127.0.0.1",
            "podIP": "10.64.0.6",
            "startTime": _now(),
            "containerStatuses": [_server_status(index)],
        },
    }


def _server() -> Object:
    variables = [{"name": f"SETTING_{i}", "value": f"value {i} of a server"} for i in range(12)]
    return {
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


def _server_status(index: int) -> Object:
    return {
        "name": "server",
        "state": {"running": {"startedAt": _now()}},
        "ready": True,
        "restartCount": 0,
        "image": "example.com/inference:1",
        "imageID": f"example.com/inference@sha256:{1:064}",
        "containerID": f"containerd://{index:064}",
    }


def _conditions(*true: str, **others: str) -> list[Object]:
    return [
        {"type": kind, "status": value, "reason": kind, "message": "", "lastTransitionTime": _now()}
        for kind, value in (dict.fromkeys(true, "True") | others).items()
    ]
