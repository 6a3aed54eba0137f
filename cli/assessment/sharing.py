"""Which pods could share a GPU, and which must not, with the reason. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cli.assessment.inventory import GpuNode, GpuPod


@dataclass(frozen=True)
class Exclusion:
    """
    Why a pod must not share a GPU, or cannot be moved to one that is shared.

    Attributes:
        code: Stable, for machines.
        message: The reason, to be read after "N pods:".
        remedy: What would let it share; "" where nothing should.
    """

    code: str
    message: str
    remedy: str = ""


DRA_CLAIM, EXCLUSIVE_MODE = "dra-claim", "exclusive-mode"
_Applies = Callable[[GpuPod, GpuNode], bool]
# In this order: the first that applies is the reason.
EXCLUSIONS: tuple[tuple[_Applies, Exclusion], ...] = (
    (
        lambda pod, node: pod.has_claims,
        Exclusion(
            DRA_CLAIM,
            "claim devices by dynamic resource allocation (DRA), where the claim decides who shares what; "
            "claims are not read, so all that others leave of their nodes counts as theirs",
        ),
    ),
    (
        lambda pod, node: bool(pod.mig) or bool(node.mig and not node.offered),
        Exclusion("mig", "hold MIG instances, whose memory the hardware isolates; time-slicing would not"),
    ),
    (
        lambda pod, node: node.model is None,
        Exclusion("unknown-gpu", "run on a GPU that EC2 does not sell, or that no label names"),
    ),
    (
        lambda pod, node: pod.most_of_one > 1,
        Exclusion(
            "more-than-one-gpu", "ask for several GPUs in one container, which slices of a GPU never give"
        ),
    ),
    (
        lambda pod, node: pod.gpus > 1,
        Exclusion(
            "several-containers", "have several containers with a GPU each, which are counted as they are"
        ),
    ),
    (
        lambda pod, node: node.mps,
        Exclusion(
            EXCLUSIVE_MODE,
            "run on GPUs in exclusive compute mode, which MPS sets: time-slicing needs the default mode",
            "Write `sharing: mps` for their pool, or switch MPS off first.",
        ),
    ),
    (
        lambda pod, node: node.whole_by_policy,
        Exclusion(
            "whole-by-policy",
            "run in a pool of which the policy in force says `sharing: none`",
            "Have them choose another pool of the policy.",
        ),
    ),
    (
        lambda pod, node: pod.workload.kind == "DaemonSet",
        Exclusion("daemon-set", "belong to a DaemonSet, which has one on each node however GPUs are shared"),
    ),
)


def exclusion(pod: GpuPod, node: GpuNode) -> Exclusion | None:
    """None for a pod that could share."""
    return next((why for applies, why in EXCLUSIONS if applies(pod, node)), None)
