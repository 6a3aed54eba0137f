"""What a proof pass decides: nothing is done, what was found is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from slicewise.actions import Outcome, Plan, Stage
from slicewise.model import ClusterContents, EksCluster
from slicewise.records import Record
from slicewise.slicing.proof import prove


@dataclass(frozen=True)
class ProofWorld:
    """
    Attributes:
        cluster: None where EKS knows no such cluster.
        watched: Whether a policy applies to the cluster; contents are read only then.
    """

    cluster: EksCluster | None
    watched: bool = False
    paused: str | None = None
    contents: ClusterContents | None = None


def plan(world: ProofWorld, now: datetime) -> Plan:
    if world.cluster is None:
        return Plan(Outcome(Stage.GONE, "the cluster is gone; the sweep has it forgotten"))
    if world.paused:
        return Plan(Outcome(Stage.PAUSED, f"paused: {world.paused}"))
    if not world.watched:
        return Plan(Outcome(Stage.LEFT_ALONE, "no policy asks for this cluster"))
    if world.contents is None:
        return Plan(Outcome(Stage.WAITING, f"the cluster is {world.cluster.status}"))
    proof = prove(world.contents, now)
    return Plan(Outcome(Stage.ONBOARDED, proof.summary, proof.findings))


def remembered(world: ProofWorld, before: Record | None, now: datetime) -> dict[str, object]:
    """What the record of this pass keeps of its world."""
    return {"looked_at": now if world.contents else before and before.looked_at}
