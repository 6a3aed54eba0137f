"""examples/slice-inference: pods of one slice each, on as few GPUs as N allows."""

from __future__ import annotations

import math

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.steps import apply, clean_up, pool, slices_of
from sandbox.examples.world import World, cards, offered, rendered


def show(story: Narrator, world: World) -> None:
    cluster = world.onboarded_cluster()
    n = int(pool(world.example, "shared")["replicas"]["start"])
    slices, pods = _wanted(world)
    apply(story, cluster)
    wait(story, lambda: cluster.running() == pods, f"{pods} pods run, {slices} of them on a slice each")
    expected = math.ceil(slices / n)
    story.claim(
        "nodes-by-n",
        f"{slices} pods at {n} a GPU need {expected} GPUs, where whole GPUs would take {slices}",
        expected=expected,
        observed=cluster.gpus(),
    )
    story.claim("pods-run", "all pods run", expected=pods, observed=cluster.running())
    nodes = cluster.gpu_nodes()
    story.claim(
        "nodes-offer-n",
        f"each node offers {n} slices for each of its GPUs",
        expected=[n * cards(node) for node in nodes],
        observed=[offered(node) for node in nodes],
    )
    clean_up(story, cluster)
    wait(story, lambda: not cluster.gpu_nodes(), "no GPU node is left")
    story.claim(
        "no-node-is-left",
        "nodes without pods are not paid for",
        expected=[],
        observed=[node["metadata"]["name"] for node in cluster.gpu_nodes()],
    )


def _wanted(world: World) -> tuple[int, int]:
    """How many slices its files ask for, and how many pods they make."""
    items = [item["spec"] for item in rendered(world.example) if item["kind"] == "Deployment"]
    slices = sum(slices_of(spec["template"]["spec"]) * spec["replicas"] for spec in items)
    return slices, sum(spec["replicas"] for spec in items)
