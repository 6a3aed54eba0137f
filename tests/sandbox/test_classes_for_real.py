"""A pool that is split into classes, on the real scheduler and the real Karpenter."""

from __future__ import annotations

from collections import Counter

import pytest
from slicewise import layout
from slicewise.policy import parse

from sandbox import samples
from sandbox.kube import KubeClient, condition
from tests.sandbox.retuned_pool import DEPLOYMENTS, NODE_POOLS, NODES, OVERLAYS, PODS
from tests.waiting import eventually

pytestmark = pytest.mark.sandbox

POLICY = """
pools:
  mixed: {sharing: time-slicing, gpus: [l4], classes: [1, 2, 3], maxGpus: 16, gpuCounts: [1]}
consolidation: {policy: WhenEmpty, after: 1s}
nodeClass: {group: karpenter.kwok.sh, kind: KWOKNodeClass, name: default, create: false}
"""
POOL = {layout.POOL_LABEL: "mixed"}
ON_GPUS = {"key": "nvidia.com/gpu", "operator": "Exists"}


def workload(name: str, replicas: int, size: int | None = None) -> dict:
    """As a person writes it who chose the class, or none."""
    item = samples.deployment(name, replicas, "")
    pod_spec = item["spec"]["template"]["spec"]
    pod_spec["nodeSelector"], pod_spec["tolerations"] = dict(POOL), [ON_GPUS]
    if size:
        pod_spec["nodeSelector"][layout.CLASS_LABEL] = str(size)
        pod_spec["tolerations"].append({"key": layout.CLASS_LABEL, "value": str(size)})
    return item


class Split:
    """The pool, as onboarding makes it."""

    def __init__(self, kube: KubeClient):
        self.kube, self.policy = kube, parse(POLICY, "mixed")
        self._apps: set[str] = set()
        weights = layout.overlay_weights(self.policy)
        for part in self.policy.parts:
            for gpu in part.models():
                for overlay in layout.overlays(part, gpu, part.start, weights):
                    kube.apply(overlay, field_manager="slicewise")
                kube.apply(layout.node_pool(self.policy, part, gpu, part.start), field_manager="slicewise")
        eventually(lambda: all(condition(o, "Ready") == "True" for o in self.ours(OVERLAYS)))

    def ours(self, kind: str) -> list[dict]:
        return self.kube.list(kind, labelSelector=f"{layout.POOL_LABEL}=mixed")

    def run(self, *workloads: dict) -> None:
        for item in workloads:
            self.kube.apply(item)
        self._apps |= {item["metadata"]["name"] for item in workloads}
        wanted = {item["metadata"]["name"]: item["spec"]["replicas"] for item in workloads}
        eventually(
            lambda: {name: len(self.running(name)) for name in wanted} == wanted,
            lambda: {name: self.running(name) for name in wanted},
            within_seconds=120,
        )

    def running(self, app: str) -> dict[str, str]:
        """Names of an app's pods that run and stay, with their nodes."""
        return {
            pod["metadata"]["name"]: pod["spec"]["nodeName"]
            for pod in self.kube.list(PODS, labelSelector=f"app={app}")
            if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
        }

    def nodes(self) -> dict[str, dict]:
        return {node["metadata"]["name"]: node for node in self.ours(NODES)}

    def clean(self) -> None:
        for app in self._apps:
            self.kube.delete(f"{DEPLOYMENTS}/{app}", missing_ok=True)
        for item in self.ours(NODE_POOLS):
            self.kube.delete(f"{NODE_POOLS}/{item['metadata']['name']}")


@pytest.fixture(scope="module")
def split(retuning_plane):
    made = Split(retuning_plane.kube)
    yield made
    made.clean()


def test_pods_of_a_class_fill_nodes_of_its_n_and_one_without_has_a_gpu_to_itself(split):
    split.run(workload("none", 2), workload("two", 5, 2), workload("three", 7, 3))

    nodes = split.nodes()
    on = {app: Counter(split.running(app).values()) for app in ("none", "two", "three")}
    slices = {
        app: {nodes[node]["status"]["allocatable"]["nvidia.com/gpu"] for node in counts}
        for app, counts in on.items()
    }
    assert slices == {"none": {"1"}, "two": {"2"}, "three": {"3"}}
    assert {app: len(counts) for app, counts in on.items()} == {"none": 2, "two": 3, "three": 3}
    assert len(nodes) == 8
