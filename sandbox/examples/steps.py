"""What tries of examples do alike: reckon from files, apply, and clean up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import GPU, wait
from sandbox.examples.catalog import Example
from sandbox.examples.world import ExampleCluster, rendered


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


def apply(story: Narrator, cluster: ExampleCluster, part: str = "") -> None:
    """
    With what is another of the example's objects here, and why.

    Args:
        part: A folder below the example's, which has no such changes.
    """
    story.saw(f"an engineer runs: kubectl apply -k {_path(cluster.example, part)}")
    for change in () if part else cluster.changes:
        story.quote(str(change))
    for line in cluster.apply_example(part):
        story.quote(line)


def clean_up(story: Narrator, cluster: ExampleCluster, *parts: str) -> None:
    """
    As the example's page ends; claims `cleaned-up`, which the example's row must have.

    That Karpenter removes a node which has no pod any more takes it most of a minute. `slice-inference` and
    `whole-gpu-training` wait for it, and hold it.

    Args:
        parts: Folders below the example's that were applied, too.
    """
    items = {
        cluster.kube.path(item): f"{item['kind']} {item['metadata']['name']}"
        for part in ("", *parts)
        for item in rendered(cluster.example, part)
    }
    for part in ("", *parts):
        story.saw(f"an engineer runs: kubectl delete -k {_path(cluster.example, part)}")
        cluster.delete_example(part)

    def left() -> dict[str, list[str]]:
        return {
            "objects": [says for path, says in items.items() if cluster.kube.find(path)],
            "pods": [pod["metadata"]["name"] for pod in cluster.pods()],
        }

    wait(story, lambda: not any(left().values()), "nothing of it is left")
    story.claim(
        "cleaned-up",
        "no object of its files is left, and no pod that holds a slice",
        expected={"objects": [], "pods": []},
        observed=left(),
    )


def _path(example: Example, part: str = "") -> str:
    """As an engineer in the repository's root has it."""
    return "/".join(filter(None, ("examples", example.name, part)))
