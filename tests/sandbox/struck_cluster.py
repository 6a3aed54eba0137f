"""A cluster whose onboarding passes were killed at many moments, until one came to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from sandbox.system import Cluster, System
from tests.sandbox.system_fixtures import (
    INSTALLER,
    NODE_OVERLAYS,
    NODE_POOLS,
    ONBOARD,
    POLICY_TAG,
    ask,
    is_admin,
    operator_releases,
    ours,
    requests_of,
)
from tests.waiting import eventually

NAME = "struck"


@dataclass
class Struck:
    """A cluster that was onboarded by passes of which most were killed; `left` is what each kill left."""

    cluster: Cluster
    left: dict[str, dict[str, object]] = field(default_factory=dict)


@pytest.fixture(scope="session")
def struck(system: System) -> Struck:
    story = Struck(system.start_control_plane(NAME))
    system.create_cluster(NAME, tags={POLICY_TAG: "one-pool"})
    for moment, has_come in _moments(system, story.cluster).items():
        eventually(has_come, f"it never came to this: {moment}", every=0.002)
        killed = _kill(system)
        story.left[moment] = {
            "killed": killed,
            "stage": (system.record(NAME) or {}).get("stage"),
            "admin": is_admin(system, NAME),
            "releases": operator_releases(story.cluster.kube),
            "node pools": list(ours(story.cluster.kube, NODE_POOLS)),
        }
        _minutes_pass(system)
        ask(system, NAME, f"killed when {moment}")
    system.wait_for_stage(NAME, "onboarded", within_seconds=120)
    # The messages of killed passes would come back after a quarter hour, their visibility timeout.
    system.aws.client("sqs").purge_queue(QueueUrl=system.outputs["OnboardingQueueUrl"])
    return story


def _moments(system: System, cluster: Cluster) -> dict[str, Callable[[], bool]]:
    """What must have happened before each kill, in the order of an onboarding."""

    def asked_of_aws(action: str) -> bool:
        return any(one.action == action for one in system.aws.iam.decisions if one.role == INSTALLER)

    def written(resource: str, least: int = 1) -> Callable[[], bool]:
        def enough() -> bool:
            made = [r for r in requests_of(cluster, INSTALLER) if r.verb == "patch"]
            names = {r.name for r in made if r.resource == resource and r.name != "slicewise-gate-probe"}
            return len(names) >= least

        return enough

    return {
        "cluster admin was granted": lambda: asked_of_aws("eks:AssociateAccessPolicy"),
        "the gate's probe was set": lambda: bool(cluster.kube.list(NODE_OVERLAYS)),
        "one role was written": written("clusterroles"),
        "helm was in the middle": lambda: "pending-install" in operator_releases(cluster.kube),
        "two overlays were written": written("nodeoverlays", 2),
        "the NodePool was written": written("nodepools"),
        "cluster admin was revoked": lambda: asked_of_aws("eks:DisassociateAccessPolicy"),
    }


def _kill(system: System) -> int:
    """Kill the passes at work, and wait until they have ended; how many."""
    functions = system.aws.functions
    ended = len(functions.runs)
    killed = functions.kill(ONBOARD)
    eventually(lambda: len(functions.runs) >= ended + killed, "a killed pass goes on", every=0.02)
    return killed


def _minutes_pass(system: System) -> None:
    """A killed pass's lease runs out: after 2 minutes, or 7 where helm was at work."""
    system.aws.client("dynamodb").update_item(
        TableName=system.outputs["StateTableName"],
        Key={"pk": {"S": f"cluster#{system.arn(NAME)}"}, "sk": {"S": "lease"}},
        UpdateExpression="SET #until = :past",
        ExpressionAttributeNames={"#until": "until"},
        ExpressionAttributeValues={":past": {"N": "0"}},
    )
