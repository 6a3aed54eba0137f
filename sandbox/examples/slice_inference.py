"""examples/slice-inference: pods of one slice each, on as few GPUs as N allows."""

from __future__ import annotations

import math
from typing import Any

import yaml

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import GPU, GPU_NODES, PODS, wait
from sandbox.examples.world import ExampleCluster, World, rendered

GPU_COUNT = "karpenter.k8s.aws/instance-gpu-count"


def show(story: Narrator, world: World) -> None:
    cluster = world.onboarded_cluster()
    n = int(yaml.safe_load(world.example.policy.read_text())["pools"]["shared"]["replicas"]["start"])
    slices, pods = _wanted(world)
    story.saw("an engineer runs: kubectl apply -k examples/slice-inference")
    for line in cluster.apply_example():
        story.quote(line)
    wait(story, lambda: _running(cluster) == pods, f"{pods} pods run, {slices} of them on a slice each")
    nodes = cluster.kube.list("/api/v1/nodes", **GPU_NODES)
    expected = math.ceil(slices / n)
    story.claim(
        "nodes-by-n",
        f"{slices} pods at {n} a GPU need {expected} GPUs, where whole GPUs would take {slices}",
        expected=expected,
        observed=sum(int(node["metadata"]["labels"][GPU_COUNT]) for node in nodes),
    )
    story.claim("pods-run", "all pods run", expected=pods, observed=_running(cluster))
    story.claim(
        "nodes-offer-n",
        f"each node offers {n} slices for each of its GPUs",
        expected=[n * int(node["metadata"]["labels"][GPU_COUNT]) for node in nodes],
        observed=[int(node["status"]["allocatable"].get(GPU, 0)) for node in nodes],
    )
    _clean_up(story, cluster)


def _wanted(world: World) -> tuple[int, int]:
    """How many slices its files ask for, and how many pods they make."""
    items = [item for item in rendered(world.example) if item["kind"] == "Deployment"]
    return sum(_slices(item) for item in items), sum(item["spec"]["replicas"] for item in items)


def _slices(deployment: dict[str, Any]) -> int:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    a_pod = sum(int(one["resources"].get("limits", {}).get(GPU, 0)) for one in containers)
    return a_pod * int(deployment["spec"]["replicas"])


def _running(cluster: ExampleCluster) -> int:
    return sum(pod["status"].get("phase") == "Running" for pod in cluster.kube.list(PODS))


def _clean_up(story: Narrator, cluster: ExampleCluster) -> None:
    story.saw("an engineer runs: kubectl delete -k examples/slice-inference")
    cluster.delete_example()
    wait(story, lambda: not cluster.kube.list("/api/v1/nodes", **GPU_NODES), "no GPU node is left")
    left = [node["metadata"]["name"] for node in cluster.kube.list("/api/v1/nodes", **GPU_NODES)]
    story.claim("no-node-is-left", "nodes without pods are not paid for", expected=[], observed=left)
