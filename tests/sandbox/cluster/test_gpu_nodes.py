"""
Real Karpenter and stand-in GPUs together: the right number of nodes, and each way to fail.

The failure modes use plain nodes without Karpenter: it would only blur them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.cluster import samples
from sandbox.cluster.client import KubeClient
from sandbox.cluster.instance_types import INSTANCE_TYPES
from sandbox.gpus.gpu_nodes import CONFIG_LABEL, MIG_LABEL, MIG_STATE_LABEL, GpuNodes
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

CONFIG_MAP = "/api/v1/namespaces/gpu-operator/configmaps/slicewise-device-plugin"
KEYS = {
    "exclusive": samples.plugin_config(),
    "ts-4": samples.plugin_config(4),
    "ts-8": samples.plugin_config(8),
    "mps-4": samples.plugin_config(4, strategy="mps"),
    "refused": samples.plugin_config(1),
    "spare": samples.plugin_config(2),
}
_numbers = itertools.count()


@pytest.fixture
def stand_in(kube: KubeClient) -> Iterator[GpuNodes]:
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gpu-operator"}})
    kube.delete(CONFIG_MAP, missing_ok=True)
    kube.create(samples.config_map(KEYS))
    with GpuNodes(kube, delay_seconds=0.2, requires_cluster_policy=False) as running:
        yield running


class Node:
    """A GPU node by hand, as a kubelet would have registered it."""

    def __init__(self, kube: KubeClient, labels: dict[str, str], instance_type: str):
        self.kube, self.name = kube, f"by-hand-{next(_numbers)}"
        self.path = f"/api/v1/nodes/{self.name}"
        kind = INSTANCE_TYPES[instance_type]
        resources = {"cpu": str(kind.vcpu), "memory": f"{kind.memory_mib}Mi", "pods": "110"}
        kube.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": self.name,
                    "annotations": {"kwok.x-k8s.io/node": "fake"},
                    "labels": {"node.kubernetes.io/instance-type": instance_type, **labels},
                },
                "status": {"capacity": resources, "allocatable": resources},
            }
        )

    def relabel(self, label: str, value: str) -> None:
        self.kube.merge(self.path, {"metadata": {"labels": {label: value}}})

    def allocatable(self, resource: str = samples.GPU) -> str | None:
        return self.kube.get(self.path)["status"]["allocatable"].get(resource)

    def gets(self, amount: str | None, resource: str = samples.GPU) -> bool:
        return eventually(lambda: self.allocatable(resource) == amount)

    def stays_at(self, amount: str | None) -> bool:
        time.sleep(1.2)  # several times the stand-in's delay
        return self.allocatable() == amount

    def labels(self) -> dict[str, str]:
        return self.kube.get(self.path)["metadata"]["labels"]


@pytest.fixture
def gpu_node(kube: KubeClient) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def make(key: str | None = None, instance_type: str = "g6.xlarge", **labels: str) -> Node:
        nodes.append(Node(kube, {**({CONFIG_LABEL: key} if key else {}), **labels}, instance_type))
        return nodes[-1]

    yield make
    for node in nodes:
        kube.delete(node.path, missing_ok=True)


# With the real Karpenter


@pytest.fixture
def pool(kube: KubeClient) -> Iterator[str]:
    """A NodePool of single-GPU nodes at ts-4, with its overlay. Its nodes go after the test, unwatched."""
    name = f"pool-{next(_numbers)}"
    kube.apply(samples.node_class())
    kube.create(samples.node_overlay(name, gpus=1, capacity={samples.GPU: 4}))
    kube.create(samples.node_pool(name, key="ts-4"))
    yield name
    kube.delete(f"/apis/apps/v1/namespaces/default/deployments/{name}", missing_ok=True)
    kube.delete(f"/apis/karpenter.sh/v1/nodepools/{name}")
    kube.delete(f"/apis/karpenter.sh/v1alpha1/nodeoverlays/{name}-1")


def nodes_of(kube: KubeClient, pool: str) -> list[dict[str, Any]]:
    return kube.list("/api/v1/nodes", labelSelector=f"karpenter.sh/nodepool={pool}")


def running(kube: KubeClient, app: str) -> int:
    pods = kube.list("/api/v1/namespaces/default/pods", labelSelector=f"app={app}")
    return sum(pod["status"].get("phase") == "Running" for pod in pods)


def test_sixteen_pods_at_four_a_gpu_take_four_nodes_and_one_more_a_fifth(
    kube: KubeClient, stand_in: GpuNodes, pool: str
):
    kube.create(samples.deployment(pool, replicas=16, pool=pool))
    eventually(lambda: running(kube, pool) == 16)
    assert len(nodes_of(kube, pool)) == 4

    kube.merge(f"/apis/apps/v1/namespaces/default/deployments/{pool}", {"spec": {"replicas": 17}})
    eventually(lambda: running(kube, pool) == 17)
    assert len(nodes_of(kube, pool)) == 5


def test_nodes_are_created_without_gpus_and_pods_wait_for_the_plugin(
    kube: KubeClient, stand_in: GpuNodes, pool: str
):
    stand_in.broken = True
    kube.create(samples.deployment(pool, replicas=2, pool=pool))
    eventually(lambda: len(nodes_of(kube, pool)) == 1)
    time.sleep(2)

    (node,) = nodes_of(kube, pool)
    assert samples.GPU not in node["status"]["allocatable"]
    assert running(kube, pool) == 0
    (claim,) = kube.list("/apis/karpenter.sh/v1/nodeclaims", labelSelector=f"karpenter.sh/nodepool={pool}")
    assert claim["status"]["capacity"][samples.GPU] == "4", "the overlay's, as the AWS provider reports"

    stand_in.broken = False
    eventually(lambda: running(kube, pool) == 2)


def bound_pod(kube: KubeClient, node: Node, slices: int) -> str:
    path = f"/api/v1/namespaces/default/pods/asks-for-{slices}-{next(_numbers)}"
    container = {
        "name": "main",
        "image": "example.com/none:1",
        "resources": {"limits": {samples.GPU: str(slices)}},
    }
    kube.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": path.rpartition("/")[2], "namespace": "default"},
            "spec": {"nodeName": node.name, "containers": [container]},
        }
    )
    return path


@pytest.mark.parametrize(("key", "phase"), [("ts-4", "Failed"), ("exclusive", "Running")])
def test_only_a_shared_gpu_refuses_a_pod_that_wants_two(kube, stand_in, gpu_node, key, phase):
    node = gpu_node(key, "g6.12xlarge")
    eventually(lambda: node.allocatable() is not None)

    two, one = bound_pod(kube, node, 2), bound_pod(kube, node, 1)

    eventually(lambda: kube.get(one)["status"]["phase"] == "Running")
    eventually(lambda: kube.get(two)["status"]["phase"] == phase)
    if phase == "Failed":
        assert kube.get(two)["status"]["reason"] == "UnexpectedAdmissionError"


# What the operands report


@pytest.mark.parametrize(
    ("key", "amount", "strategy", "product"),
    [
        ("exclusive", "4", "none", "NVIDIA-L4"),
        ("ts-4", "16", "time-slicing", "NVIDIA-L4-SHARED"),
        ("mps-4", "16", "mps", "NVIDIA-L4-SHARED"),
        (None, "4", "none", "NVIDIA-L4"),
    ],
    ids=["whole GPUs", "time-sliced", "mps", "no label, so the default"],
)
def test_a_node_reports_gpus_times_replicas(stand_in, gpu_node, key, amount, strategy, product):
    node = gpu_node(key, "g6.12xlarge")

    assert node.gets(amount)
    eventually(lambda: node.labels().get("nvidia.com/gpu.product") == product)
    assert node.labels()["nvidia.com/gpu.sharing-strategy"] == strategy
    assert node.labels()["nvidia.com/gpu.count"] == "4", "physical ones"


def test_a_relabelled_node_changes_without_losing_its_capacity(stand_in, gpu_node):
    node = gpu_node("ts-4")
    assert node.gets("4")

    node.relabel(CONFIG_LABEL, "ts-8")

    assert node.gets("8")


def test_gpus_are_gone_for_the_length_of_a_blip(kube, stand_in, gpu_node):
    stand_in._blip = 5.0
    node = gpu_node("ts-4")
    assert node.gets("4")

    node.relabel(CONFIG_LABEL, "ts-8")

    assert node.gets("0")
    assert node.gets("8")


def test_mig_slices_every_gpu_by_the_label(stand_in, gpu_node):
    node = gpu_node("exclusive", "p4d.24xlarge", **{MIG_LABEL: "all-1g.5gb"})

    assert node.gets("56", "nvidia.com/mig-1g.5gb")
    assert node.allocatable() is None
    assert node.labels()[MIG_STATE_LABEL] == "success"


def test_a_mig_layout_that_the_gpu_lacks_fails(stand_in, gpu_node):
    node = gpu_node("exclusive", "p4d.24xlarge", **{MIG_LABEL: "all-1g.24gb"})

    eventually(lambda: node.labels().get(MIG_STATE_LABEL) == "failed")
    assert node.gets("8"), "whole GPUs"


# Failure modes


def test_a_new_node_with_an_unknown_key_never_gets_gpus_until_the_key_is_there(kube, stand_in, gpu_node):
    node = gpu_node("ts-16")
    assert node.stays_at(None)

    kube.merge(CONFIG_MAP, {"data": {"ts-16": samples.plugin_config(16)}})
    assert node.gets("16")


def test_a_running_node_keeps_its_configuration_when_the_new_key_is_unknown(stand_in, gpu_node):
    node = gpu_node("ts-4")
    assert node.gets("4")

    node.relabel(CONFIG_LABEL, "no-such-key")

    assert node.stays_at("4")


def test_a_refused_configuration_takes_the_gpus_away_until_the_label_changes(stand_in, gpu_node):
    node = gpu_node("ts-4")
    assert node.gets("4")

    node.relabel(CONFIG_LABEL, "refused")
    assert node.gets("0")
    assert node.stays_at("0")

    node.relabel(CONFIG_LABEL, "ts-4")
    assert node.gets("4")


def test_an_edited_key_is_noticed_only_when_the_plugin_restarts(kube, stand_in, gpu_node):
    node = gpu_node("spare")
    assert node.gets("2")

    kube.merge(CONFIG_MAP, {"data": {"spare": samples.plugin_config(3)}})
    assert node.stays_at("2")

    stand_in.restart_plugin(node.name)
    assert node.gets("3")


def test_deleting_a_key_in_use_crash_loops_at_the_next_change_until_the_pod_goes(kube, stand_in, gpu_node):
    node = gpu_node("spare")
    assert node.gets("2")

    kube.merge(CONFIG_MAP, {"data": {"spare": None}})
    assert node.stays_at("2")
    node.relabel(CONFIG_LABEL, "ts-4")
    assert node.stays_at("2")
    assert stand_in.crash_looping(node.name)

    stand_in.restart_plugin(node.name)
    assert node.gets("4")


def test_without_a_cluster_policy_there_are_no_gpus(kube, stand_in, gpu_node):
    stand_in.stop()
    with GpuNodes(kube, delay_seconds=0.1):
        assert gpu_node("ts-4").stays_at(None)
