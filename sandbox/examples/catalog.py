"""
Which examples there are, one row each: what it needs beside Slicewise, and what must hold when it is tried.

What an example does is in a module of its own, imported when it is tried: the list alone starts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from sandbox.examples.overlay import Change
from sandbox.rows import row_named

FOLDER = Path(__file__).resolve().parents[2] / "examples"
# Of every example's policy, what is another here: there is no EC2, and nobody waits minutes for an idle node.
HERE: Mapping[str, Any] = {
    "nodeClass": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default", "create": False},
    "consolidation": {"after": "10s"},
}
# Of a policy with hours: asleep when an engineer asks for it, whatever the time of day.
ALWAYS_DAY: Mapping[str, Any] = {"offHours": {"asleep": [date(2099, 12, 31)]}}
# What takes hours and days in a cluster, where an example waits for N to change.
_IN_SECONDS = {"trial": True, "raiseAfter": "0s", "lowerAfter": "0s", "dwell": "5s", "canary": "8s"}


@dataclass(frozen=True)
class Beside:
    """
    What an example has started before Slicewise is deployed.

    Attributes:
        here: Sections and fields of its policy that only that decides, such as a port.
        changes: Of its objects, what is another here; each is printed with its reason.
        handle: Whatever its module wants of it.
    """

    here: Mapping[str, Any] = field(default_factory=dict)
    changes: Sequence[Change] = ()
    handle: Any = None


@dataclass(frozen=True)
class Example:
    """
    Attributes:
        name: Of its folder below `examples/`, and of its policy once it is deployed.
        title: What a person sees, in one line.
        claims: Ids that `show` must come to.
        module: Below this package. Its `show(story, world)` tells and claims; its `beside(folder)`, where it
            has one, is a context with a `Beside`: it starts what has to run before the deployment.
        controllers: Rows of `sandbox/controllers/catalog.py` that run in its cluster.
        here: Of its policy what is another on this machine, beside `HERE`; fields of a section are merged.
        context: Of the deployment, as its page passes it with `-c`.
    """

    name: str
    title: str
    claims: tuple[str, ...]
    module: str
    controllers: tuple[str, ...] = ()
    here: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def policy(self) -> Path:
        return self.folder / "policy.yaml"

    def load(self) -> ModuleType:
        """The module that shows it."""
        return import_module(f"{__package__}.{self.module}")


EXAMPLES: Mapping[str, Example] = {
    row.name: row
    for row in (
        Example(
            name="slice-inference",
            title="eight small inference servers share two GPUs",
            claims=("onboarded", "nodes-by-n", "pods-run", "nodes-offer-n", "cleaned-up", "no-node-is-left"),
            module="slice_inference",
        ),
        Example(
            name="mig-inference",
            title="seven pods on parts of an H100 that its hardware cuts off",
            claims=("onboarded", "cards-by-profile", "nodes-offer-devices", "pods-run", "cleaned-up"),
            module="mig_inference",
        ),
        Example(
            name="whole-gpu-training",
            title="a Job with a GPU of its own, beside pods that share theirs",
            claims=("onboarded", "own-gpu", "node-goes-with-the-job", "cleaned-up"),
            module="whole_gpu_training",
        ),
        Example(
            name="video-encode",
            title="encodings share GPUs as far as their encoders serve, and wait in Kueue's queue for slices",
            claims=(
                *("onboarded", "quota-admits", "nodes-by-n", "encoders-bind", "n-follows-encoders"),
                *("quota-follows-by-hand", "next-is-admitted", "cleaned-up"),
            ),
            module="video_encode",
            controllers=("kueue",),
            here={"tuning": _IN_SECONDS},
        ),
        Example(
            name="ray",
            title="workers of a RayCluster on slices, asleep at night",
            claims=(
                "onboarded",
                "nodes-by-n",
                "slices-before-nodes",
                "asleep",
                "awake-as-before",
                "cleaned-up",
            ),
            module="ray",
            controllers=("kuberay",),
            here=ALWAYS_DAY,
        ),
        Example(
            name="kserve",
            title="replicas of an InferenceService on slices, asleep at night",
            claims=("onboarded", "nodes-by-n", "asleep", "awake-as-before", "cleaned-up"),
            module="kserve",
            controllers=("kserve",),
            here=ALWAYS_DAY,
        ),
        Example(
            name="fargate",
            title="a cluster without a node: Karpenter on Fargate, then GPU nodes, then nothing of it",
            claims=(
                *("onboarded", "profile-active", "one-subject", "release-values", "interruption-arrives"),
                *("gpu-nodes", "cleaned-up", "nothing-is-left", "nothing-denied"),
            ),
            module="fargate",
            context={"karpenter_on_fargate": "true", "karpenter_interruptions": "true"},
        ),
        Example(
            name="llm-queue",
            title="LLM servers on slices, as many as their requests and N call for",
            claims=(
                *("onboarded", "published", "from-zero", "replicas-by-queue", "slices-before-nodes"),
                *("n-is-followed", "latency-held", "not-without-n", "asleep", "awake-as-before"),
                *("back-to-zero", "cleaned-up"),
            ),
            module="llm_queue",
            controllers=("keda", "keda-adapter"),
            here={**ALWAYS_DAY, "tuning": _IN_SECONDS},
        ),
    )
}


def named(name: str) -> Example:
    """
    Raises:
        UnknownName: No row has this name.
    """
    return row_named(EXAMPLES, name, "example")
