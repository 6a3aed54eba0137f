"""What tries of examples do alike: reckon from files, apply, and clean up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import GPU, wait
from sandbox.examples.catalog import Example
from sandbox.examples.world import ExampleCluster


def pool(example: Example, name: str) -> Mapping[str, Any]:
    """A pool as the example's policy has it, read without the code that acts on it."""
    found: Mapping[str, Any] = yaml.safe_load(example.policy.read_text())["pools"][name]
    return found


def slices_of(pod_spec: Mapping[str, Any], resource: str = GPU) -> int:
    """What one pod asks for."""
    return sum(int(one["resources"].get("limits", {}).get(resource, 0)) for one in pod_spec["containers"])


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Fields whose values are not the same, or that one of both lacks."""
    return sorted(field for field in before.keys() | after.keys() if before.get(field) != after.get(field))


def apply(story: Narrator, cluster: ExampleCluster) -> None:
    story.saw(f"an engineer runs: kubectl apply -k examples/{cluster.example.name}")
    for line in cluster.apply_example():
        story.quote(line)


def clean_up(story: Narrator, cluster: ExampleCluster) -> None:
    """Claims `no-node-is-left`, which the example's row must have."""
    story.saw(f"an engineer runs: kubectl delete -k examples/{cluster.example.name}")
    cluster.delete_example()
    wait(story, lambda: not cluster.gpu_nodes(), "no GPU node is left")
    story.claim(
        "no-node-is-left",
        "nodes without pods are not paid for",
        expected=[],
        observed=[node["metadata"]["name"] for node in cluster.gpu_nodes()],
    )
