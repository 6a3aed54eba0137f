"""examples/ray: workers of a RayCluster on slices, which Ray's autoscaler adds, and a night of it."""

from __future__ import annotations

import math
from typing import Any

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.night import Night
from sandbox.examples.steps import apply, clean_up, differing, pool, slices_of
from sandbox.examples.world import ExampleCluster, World, rendered

RAY = "/apis/ray.io/v1/namespaces/default/rayclusters/ray"
WORKERS, HEAD = "ray.io/node-type=worker", "ray.io/node-type=head"


def show(story: Narrator, world: World) -> None:
    cluster = world.onboarded_cluster()
    n = int(pool(world.example, "shared")["replicas"]["start"])
    [group] = next(item for item in rendered(world.example) if item["kind"] == "RayCluster")["spec"][
        "workerGroupSpecs"
    ]
    workers, each = int(group["replicas"]), slices_of(group["template"]["spec"])
    apply(story, cluster)
    wait(story, lambda: _is_ready(cluster, workers), f"KubeRay has made a head and {workers} workers")
    story.claim(
        "nodes-by-n",
        f"{workers} workers at {n} a GPU; the head needs none",
        expected={"GPUs": math.ceil(workers * each / n), "head runs": 1, "state": "ready"},
        observed={"GPUs": cluster.gpus(), "head runs": cluster.running(HEAD), "state": _state(cluster)},
    )
    full = math.ceil(workers * each / n) * n // each
    _autoscaler_asks_for(story, cluster, full)
    story.claim(
        "slices-before-nodes",
        f"{full - workers} workers more fit into slices that were free: no GPU was added",
        expected={"workers": full, "GPUs": full * each // n},
        observed={"workers": cluster.running(WORKERS), "GPUs": cluster.gpus()},
    )
    _a_night(story, world, cluster, full)
    clean_up(story, cluster)


def _autoscaler_asks_for(story: Narrator, cluster: ExampleCluster, workers: int) -> None:
    spec = cluster.kube.get(RAY)["spec"]
    group = {**spec["workerGroupSpecs"][0], "replicas": workers}
    cluster.kube.merge(f"{RAY}?fieldManager=autoscaler", {"spec": {"workerGroupSpecs": [group]}})
    story.saw(f"tasks wait: Ray's autoscaler asks for {workers} workers (played: no container runs here)")
    wait(story, lambda: _is_ready(cluster, workers), f"{workers} workers run")


def _a_night(story: Narrator, world: World, cluster: ExampleCluster, workers: int) -> None:
    before, night = cluster.kube.get(RAY)["spec"], Night(world, cluster)
    night.begins()
    story.claim(
        "asleep",
        "the RayCluster is suspended by its own field; KubeRay has ended its pods, and no GPU is paid for",
        expected={"suspend": True, "pods": 0, "GPUs": 0},
        observed={
            "suspend": cluster.kube.get(RAY)["spec"].get("suspend"),
            "pods": len(cluster.pods("ray.io/cluster=ray")),
            "GPUs": cluster.gpus(),
        },
    )
    night.ends(lambda: _is_ready(cluster, workers) and cluster.kube.get(RAY)["spec"] == before)
    story.claim(
        "awake-as-before",
        "head and workers are back, and the RayCluster's spec is what it was",
        expected={"workers": workers, "head runs": 1, "fields that differ": []},
        observed={
            "workers": cluster.running(WORKERS),
            "head runs": cluster.running(HEAD),
            "fields that differ": differing(before, cluster.kube.get(RAY)["spec"]),
        },
    )


def _is_ready(cluster: ExampleCluster, workers: int) -> bool:
    return _state(cluster) == "ready" and cluster.running(WORKERS) == workers and cluster.running(HEAD) == 1


def _state(cluster: ExampleCluster) -> Any:
    return cluster.kube.get(RAY).get("status", {}).get("state")
