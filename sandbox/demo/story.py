"""
The main job, told while it happens: a cluster is created, its pods share GPUs, and how many do follows use.

Each claim is something that was seen, compared with what should be; `out/demo.json` keeps them for machines.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slicewise.kube.labels import POLICY_TAG

from sandbox.artifacts import binaries, charts, program
from sandbox.controllers import catalog
from sandbox.demo import costs as demo_costs
from sandbox.demo import offhours as demo_offhours
from sandbox.demo import onboarding as demo_onboarding
from sandbox.demo import rights as demo_rights
from sandbox.demo import takeover as demo_takeover
from sandbox.demo import tuning as demo_tuning
from sandbox.demo.launch_log import LaunchLog
from sandbox.demo.narrator import Narrator
from sandbox.system import System


@dataclass(frozen=True)
class Chapter:
    """`claims` are those that `show` must come to."""

    title: str
    show: Callable[[Narrator, System], None]
    claims: tuple[str, ...]


DEPLOYED = "Slicewise is deployed into an account"
CHAPTERS = (
    Chapter(
        f"A team creates an EKS cluster with the tag {POLICY_TAG}",
        demo_onboarding.a_cluster_is_created,
        ("onboarded-by-event",),
    ),
    Chapter(
        "Pods ask for one slice each, and Karpenter starts just enough nodes",
        demo_onboarding.pods_share_gpus,
        ("nodes-for-16-pods", "nodes-for-17-pods", "pods-running", "idle-nodes-gone"),
    ),
    Chapter(
        "Events come twice, or never",
        demo_onboarding.events_come_twice_or_never,
        ("duplicate-event-changes-nothing", "lost-event-repaired"),
    ),
    Chapter(
        "Clusters that Slicewise must refuse, before it touches anything",
        demo_onboarding.clusters_that_must_stay_unchanged,
        ("refused-auto-mode", "refused-config-map", "refused-gate-off", "refused-untouched"),
    ),
    Chapter("How many pods share a GPU follows what they use", demo_tuning.show, demo_tuning.PROMISED),
    Chapter(
        "A night: GPU workloads sleep, and wake as they were", demo_offhours.show, demo_offhours.PROMISED
    ),
    Chapter(
        "A team's own cluster is taken over, and left as it came",
        demo_takeover.show,
        demo_takeover.PROMISED,
    ),
    Chapter("With which rights", demo_rights.show, ("nothing-denied", "admin-revoked")),
)
PROMISED = (*(claim for chapter in CHAPTERS for claim in chapter.claims), *demo_costs.PROMISED)
# Longer than a cluster here is CREATING: else its first look finds it so, and the next comes a minute later.
CLOUDTRAIL_DELAY = 3.0
# What passes wait for in an account, such as an operator's installation, takes seconds here.
DELAY_SHARE = 0.4


def run(out: Path) -> bool:
    """
    Tell the story on stdout and write its claims to `out`, and its report beside it; whether all claims hold.
    """
    # Their minutes, once a machine, are not the story's.
    binaries.ensure(print)
    program.built(catalog.KUBERAY.program, print)
    story = Narrator(sys.stdout, PROMISED)
    story.show(
        """Slicewise on this machine. Real: Kubernetes' control plane, Karpenter, helm, the template that
        `cdk deploy` deploys, the Lambda functions' built code and their IAM policies. Simulated: AWS's APIs,
        the kubelets, and the GPUs. Nothing leaves this machine."""
    )
    story.show(
        """In short: pods that each ask for one slice share a GPU. Karpenter starts nodes for pods that are
        pending: its NodePools say which nodes it may start, and a NodeOverlay how many slices a new node
        will have. Slicewise keeps pods, NodePools and NodeOverlays in step. Each line below begins with the
        second at which it was seen; a claim (✓ or ✗) compares what was seen with what should be."""
    )
    with tempfile.TemporaryDirectory(prefix="slicewise-demo-") as folder:
        try:
            _report(story, Path(folder), out.with_name("report.html").absolute())
        finally:
            story.write(out)
    held = sum(claim.holds for claim in story.claims)
    story.chapter("The end")
    story.show(
        f"{held} of {len(story.promised)} claims hold, after {story.seconds:.0f} s; they are kept in {out}. "
        "To look around in it yourself: .venv/bin/python -m sandbox up --keep"
    )
    return story.all_hold


def _report(story: Narrator, folder: Path, page: Path) -> None:
    story.chapter(f"1. {DEPLOYED}")
    with (
        System.start(
            folder,
            cloudtrail_delay_seconds=CLOUDTRAIL_DELAY,
            delay_share=DELAY_SHARE,
            progress=story.saw,
        ) as system,
        LaunchLog(system) as launches,
    ):
        story.saw(f"done; the GPU Operator will come from {charts.chart('gpu-operator').origin}")
        for number, chapter in enumerate(CHAPTERS, start=2):
            story.chapter(f"{number}. {chapter.title}")
            chapter.show(story, system)
        story.chapter(f"{len(CHAPTERS) + 2}. {demo_costs.TITLE}")
        demo_costs.show(story, system, launches, page)
