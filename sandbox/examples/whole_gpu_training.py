"""examples/whole-gpu-training: a Job with a GPU of its own, whose node goes when it ends."""

from __future__ import annotations

from typing import Any

from slicewise.kube.labels import POOL_LABEL

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import slice_pods, wait
from sandbox.examples.steps import apply, clean_up, pool
from sandbox.examples.world import ExampleCluster, World, cards, offered

JOB = "/apis/batch/v1/namespaces/default/jobs/whole-gpu-training"
OF_THE_JOB = "job-name=whole-gpu-training"
# Of another team, whose pods share.
SERVERS = 4


def show(story: Narrator, world: World) -> None:
    cluster = world.onboarded_cluster()
    cluster.kube.apply(slice_pods("servers", SERVERS))
    wait(story, lambda: cluster.running("app=servers") == SERVERS, f"{SERVERS} servers of another team run")
    apply(story, cluster)
    wait(story, lambda: cluster.running(OF_THE_JOB) == 1, "the Job's pod runs")
    n = int(pool(world.example, "shared")["replicas"]["start"])
    story.claim(
        "own-gpu",
        "the pod that trains has a node of its own, which offers whole GPUs; the others share theirs",
        expected={"shared": [(1, n, SERVERS)], "whole": [(1, 1, 1)]},
        observed={name: _nodes(cluster, name) for name in ("shared", "whole")},
    )
    _it_ends(story, cluster)
    cluster.kube.delete("/apis/apps/v1/namespaces/default/deployments/servers")
    clean_up(story, cluster)


def _nodes(cluster: ExampleCluster, name: str) -> list[tuple[int, int, int]]:
    """Of a pool's nodes: cards, slices that they offer, and pods that hold one."""
    on = [pod["spec"].get("nodeName") for pod in cluster.pods()]
    return [
        (cards(node), offered(node), on.count(node["metadata"]["name"])) for node in _of_pool(cluster, name)
    ]


def _of_pool(cluster: ExampleCluster, name: str) -> list[dict[str, Any]]:
    return [node for node in cluster.gpu_nodes() if node["metadata"]["labels"][POOL_LABEL] == name]


def _it_ends(story: Narrator, cluster: ExampleCluster) -> None:
    cluster.end(cluster.pods(OF_THE_JOB))
    story.saw("the training ends; no container runs here, so its kubelet is played")
    wait(story, lambda: not _of_pool(cluster, "whole"), "its node is removed")
    status = cluster.kube.get(JOB).get("status", {})
    story.claim(
        "node-goes-with-the-job",
        "the Job ran once, on the node it began on, and the node went when it ended",
        expected={"succeeded": 1, "failed": 0, "nodes": 0},
        observed={
            "succeeded": status.get("succeeded", 0),
            "failed": status.get("failed", 0),
            "nodes": len(_of_pool(cluster, "whole")),
        },
    )
