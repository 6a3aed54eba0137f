"""A cluster whose onboarding passes were killed at many moments, until one came to the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

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
from tests.support.waiting import eventually

NAME = "struck"
# What a reconcile takes for lost, and a second.
_LOST_AFTER = timedelta(seconds=61)


@dataclass
class Struck:
    """A cluster that was onboarded by passes of which most were killed; `left` is what each kill left."""

    cluster: Cluster
    left: dict[str, dict[str, object]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def struck(system: System) -> Struck:
    return _struck(system)


@cache
def _struck(system: System) -> Struck:
    story = Struck(system.start_control_plane(NAME))
    system.create_cluster(NAME, tags={POLICY_TAG: "one-pool"})
    for moment, has_come in _moments(system, story.cluster).items():
        killed = _kill(system, moment, has_come)
        story.left[moment] = {
            "killed": killed,
            "stage": (system.record(NAME) or {}).get("stage"),
            "admin": is_admin(system, NAME),
            "releases": operator_releases(story.cluster.kube),
            "node pools": list(ours(story.cluster.kube, NODE_POOLS)),
        }
        _minutes_pass(system)
        ask(system, NAME, f"killed when {moment}")
    system.wait_for_stage(NAME, "onboarded")
    _drop_the_messages_of_killed_reconciles(system)
    return story


def _moments(system: System, cluster: Cluster) -> dict[str, Callable[[], bool]]:
    """What must have happened before each kill, in the order of an onboarding."""

    def asked_of_aws(action: str) -> bool:
        asked = (one for one in system.aws.iam.decisions if one.role == INSTALLER and NAME in one.resource)
        return any(one.action == action for one in asked)

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


def _kill(system: System, moment: str, has_come: Callable[[], bool]) -> int:
    """Kill the pass at work at its first request after the moment has come; how many had to end."""
    functions, killed, one_by_one = system.aws.functions, list[int](), threading.Lock()
    ended = len(functions.runs)

    def witness(role: str) -> None:
        with one_by_one:  # helm asks for several things at once
            if role == INSTALLER and not killed and has_come():
                killed.append(functions.kill(ONBOARD))

    system.aws.witness = witness
    eventually(lambda: killed, f"it never came to this: {moment}")
    system.aws.witness = lambda role: None
    eventually(lambda: not functions.busy(ONBOARD) and len(functions.runs) > ended, "a killed pass goes on")
    return killed[0]


def _drop_the_messages_of_killed_reconciles(system: System) -> None:
    """
    They would come back after a quarter hour, their visibility timeout.

    Not before all others are worked off: a reconcile that a record says is queued, and that was dropped here,
    would keep the next ones from queueing theirs. Where that is the one that was killed, it counts as lost a
    minute after its time.
    """
    sqs, url = system.aws.client("sqs"), system.outputs["OnboardingQueueUrl"]
    counts = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"

    def only_theirs_are_left() -> bool:
        waiting = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(counts))["Attributes"]
        record = system.record(NAME) or {}
        return (
            all(waiting[count] == "0" for count in counts)
            and not system.aws.functions.busy(ONBOARD)
            and record["stage"] == "onboarded"
            and not _is_pending(record)
        )

    eventually(only_theirs_are_left, lambda: f"the queue is never empty; the record: {system.record(NAME)}")
    sqs.purge_queue(QueueUrl=url)


def _is_pending(record: Mapping[str, Any]) -> bool:
    due = record.get("next_look")
    return bool(due) and datetime.now(UTC) < datetime.fromisoformat(due) + _LOST_AFTER


def _minutes_pass(system: System) -> None:
    """A killed pass's lease runs out: after 2 minutes, or 7 where helm was at work."""
    system.aws.client("dynamodb").update_item(
        TableName=system.outputs["StateTableName"],
        Key={"pk": {"S": f"cluster#{system.arn(NAME)}"}, "sk": {"S": "lease"}},
        UpdateExpression="SET #until = :past",
        ExpressionAttributeNames={"#until": "until"},
        ExpressionAttributeValues={":past": {"N": "0"}},
    )
