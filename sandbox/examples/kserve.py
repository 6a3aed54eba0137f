"""examples/kserve: replicas of an InferenceService on slices, and a night of it."""

from __future__ import annotations

import math
from typing import Any

from sandbox.cluster.client import condition
from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.night import Night
from sandbox.examples.steps import apply, clean_up, differing, pool, slices_of
from sandbox.examples.world import ExampleCluster, World, rendered

CHAT = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/chat"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS_OF_CHAT = "serving.kserve.io/inferenceservice=chat"
STOP = "serving.kserve.io/stop"


def show(story: Narrator, world: World) -> None:
    cluster = world.onboarded_cluster()
    n = int(pool(world.example, "shared")["replicas"]["start"])
    asked = next(item for item in rendered(world.example) if item["kind"] == "InferenceService")
    predictor = asked["spec"]["predictor"]
    replicas, each = int(predictor["minReplicas"]), slices_of(predictor)
    apply(story, cluster)
    wait(story, lambda: _is_ready(cluster, replicas), f"KServe has made a Deployment of {replicas} replicas")
    story.claim(
        "nodes-by-n",
        f"{replicas} replicas at {n} a GPU",
        expected={"GPUs": math.ceil(replicas * each / n), "replicas": replicas, "ready": "True"},
        observed={
            "GPUs": cluster.gpus(),
            "replicas": cluster.running(PODS_OF_CHAT),
            "ready": condition(cluster.kube.get(CHAT), "Ready"),
        },
    )
    _a_night(story, world, cluster, replicas)
    clean_up(story, cluster)


def _a_night(story: Narrator, world: World, cluster: ExampleCluster, replicas: int) -> None:
    before, night = _written(cluster), Night(world, cluster)
    night.begins()
    service = cluster.kube.get(CHAT)
    story.claim(
        "asleep",
        "KServe's own stop is set; it has deleted what it had made, and no GPU is paid for",
        expected={"stop": "true", "Deployments": 0, "pods": 0, "GPUs": 0},
        observed={
            "stop": service["metadata"].get("annotations", {}).get(STOP),
            "Deployments": len(cluster.kube.list(DEPLOYMENTS)),
            "pods": len(cluster.pods(PODS_OF_CHAT)),
            "GPUs": cluster.gpus(),
        },
    )
    night.ends(lambda: _is_ready(cluster, replicas) and _written(cluster) == before)
    story.claim(
        "awake-as-before",
        "it serves again with as many replicas, and what people wrote of it is what it was",
        expected={"replicas": replicas, "ready": "True", "fields that differ": []},
        observed={
            "replicas": cluster.running(PODS_OF_CHAT),
            "ready": condition(cluster.kube.get(CHAT), "Ready"),
            "fields that differ": differing(before, _written(cluster)),
        },
    )


def _is_ready(cluster: ExampleCluster, replicas: int) -> bool:
    ready = condition(cluster.kube.get(CHAT), "Ready") == "True"
    return ready and cluster.running(PODS_OF_CHAT) == replicas


def _written(cluster: ExampleCluster) -> dict[str, Any]:
    """What people write of it, its annotations among the fields of its spec."""
    service = cluster.kube.get(CHAT)
    return service["spec"] | {"annotations": service["metadata"].get("annotations")}
