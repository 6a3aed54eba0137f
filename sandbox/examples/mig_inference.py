"""examples/mig-inference: pods that each get a part of a card that its hardware cuts off."""

from __future__ import annotations

import math

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import GPU, wait
from sandbox.examples.steps import apply, clean_up, pool, slices_of
from sandbox.examples.world import World, cards, offered, rendered

# Of 1g.10gb on an H100 with 80 GB, by NVIDIA's table of profiles.
INSTANCES_A_CARD = 7


def show(story: Narrator, world: World) -> None:
    cluster = world.onboarded_cluster()
    resource = f"nvidia.com/mig-{pool(world.example, 'slices')['profile']}"
    spec = next(item["spec"] for item in rendered(world.example) if item["kind"] == "Deployment")
    pods, each = int(spec["replicas"]), slices_of(spec["template"]["spec"], resource)
    apply(story, cluster)
    wait(story, lambda: cluster.running() == pods, f"{pods} pods run, on a MIG device each")
    nodes = cluster.gpu_nodes()
    cards_needed = math.ceil(pods * each / INSTANCES_A_CARD)
    story.claim(
        "cards-by-profile",
        f"{pods} devices fit on {cards_needed} card, so one machine is enough, of whatever size EC2 has",
        expected=1,
        observed=len(nodes),
    )
    story.claim(
        "nodes-offer-devices",
        f"each card is cut into {INSTANCES_A_CARD} devices, and no whole GPU is offered beside them",
        expected=[(INSTANCES_A_CARD * cards(node), 0) for node in nodes],
        observed=[(offered(node, resource), offered(node, GPU)) for node in nodes],
    )
    story.claim("pods-run", "all pods run", expected=pods, observed=cluster.running())
    clean_up(story, cluster)
