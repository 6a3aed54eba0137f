"""
Interruption handling of a Karpenter that we install: one SQS queue a cluster, and one EventBridge rule. Pure.

Karpenter learns from the queue that EC2 will take a machine back, and drains it first. It deletes what it
receives, so no two clusters can share one. The rule is one for all five kinds of events where Karpenter's own
CloudFormation template has five: an event bus takes 300 rules (EventBridge quotas). And only that rule may
send, where the template lets every rule, and SQS itself.

By the queue's tag `eks-cluster-name` Karpenter's policy allows each cluster's controller its own queue alone
(cdk_app/components/karpenter.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from slicewise.kube.labels import CLUSTER_TAG
from slicewise.model.cluster import EksCluster, Release
from slicewise.model.interruptions import TARGET_ID, EventQueue, EventRule, InterruptionEvents
from slicewise.onboarding.aws.owned import CLUSTER_NAME_TAG, is_of, name_for
from slicewise.onboarding.observation import Settings
from slicewise.planning.actions import Action
from slicewise.planning.eks_actions import (
    CreateEventQueue,
    DeleteEventQueue,
    DeleteEventRule,
    PutEventRule,
    PutEventTarget,
    SetEventQueue,
)
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy

PREFIX = "slicewise-interruptions-"
# As Karpenter's CloudFormation template has it: an interruption that is older has happened.
RETENTION_SECONDS = 300
SOURCES = ("aws.ec2", "aws.health")
# Those of its template in 1.14; Karpenter drops what concerns no instance of its own.
DETAIL_TYPES = (
    "AWS Health Event",
    "EC2 Capacity Reservation Instance Interruption Warning",
    "EC2 Instance Rebalance Recommendation",
    "EC2 Instance State-change Notification",
    "EC2 Spot Instance Interruption Warning",
)

_PART = "interruption handling"
_UNREAD_POLL = timedelta(minutes=5)


# What it needs


def name_of(cluster: str) -> str:
    """Of the queue, and of the rule."""
    return name_for(PREFIX, cluster)


def queue(cluster: EksCluster) -> EventQueue:
    arn = _arn(cluster, "sqs", name_of(cluster.name))
    sends = {
        "Sid": "OurRuleSends",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {
            "ArnEquals": {"aws:SourceArn": _arn(cluster, "events", f"rule/{name_of(cluster.name)}")}
        },
    }
    tls = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": arn,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [sends, tls]}
    return EventQueue(name_of(cluster.name), policy, RETENTION_SECONDS, tags=_tags(cluster))


def rule(cluster: EksCluster) -> EventRule:
    """It matches every instance of the account and Region: events name no cluster."""
    return EventRule(
        name_of(cluster.name),
        pattern={"source": list(SOURCES), "detail-type": list(DETAIL_TYPES)},
        targets=(_arn(cluster, "sqs", name_of(cluster.name)),),
        tags=_tags(cluster),
    )


def _tags(cluster: EksCluster) -> dict[str, str]:
    return {CLUSTER_TAG: cluster.arn, CLUSTER_NAME_TAG: cluster.name}


def _arn(cluster: EksCluster, service: str, resource: str) -> str:
    return f"arn:{cluster.partition}:{service}:{cluster.region}:{cluster.account}:{resource}"


# What is to be done


def made(cluster: EksCluster, found: InterruptionEvents) -> Iterator[Action]:
    """Before the chart names the queue. The queue is there, and takes the rule's events, before that is."""
    if found.unread:
        return
    wanted, there = queue(cluster), found.queue
    if there is None:
        yield CreateEventQueue(wanted, "Karpenter learns of interruptions from it", _PART)
    elif not _is_as(wanted, there):
        why = "who may send to it, how long it keeps messages, its encryption, or a tag of ours"
        yield SetEventQueue(wanted, why, _PART)
    asked, has = rule(cluster), found.rule
    if has is None or (asked.pattern, asked.is_enabled) != (has.pattern, has.is_enabled):
        why = "EventBridge sends interruptions by it"
        yield PutEventRule(asked, why if has is None else "its pattern or state is not ours", _PART)
    for target in asked.targets:
        if has is None or target not in has.targets:
            yield PutEventTarget(asked.name, target, "interruptions go to Karpenter's queue", _PART)


def requeue_after(policy: Policy, found: InterruptionEvents | None, *, is_new: bool) -> timedelta | None:
    """
    Where it is not known what is there, before the next sweep: a machine may be taken back meanwhile.

    Args:
        is_new: The cluster has just become as its policy says, which may have asked for it before.
    """
    unread = found is not None and bool(found.unread)
    return _UNREAD_POLL if unread and (policy.handles_interruptions or is_new) else None


def _is_as(wanted: EventQueue, there: EventQueue) -> bool:
    """Tags of others may stand beside ours."""
    return (
        _plain(wanted.policy) == _plain(there.policy)
        and (wanted.retention, wanted.is_encrypted) == (there.retention, there.is_encrypted)
        and wanted.tags.items() <= there.tags.items()
    )


def _plain(part: Any) -> Any:
    """A policy in one form: AWS may answer a list of one as its one, and the other way round."""
    if isinstance(part, Mapping):
        return {key: _plain(value) for key, value in part.items()}
    if isinstance(part, list):
        return _plain(part[0]) if len(part) == 1 else [_plain(one) for one in part]
    return part


def dropped(cluster: EksCluster, found: InterruptionEvents, karpenter: Release | None) -> Iterator[Action]:
    """
    Where the policy no longer asks for it.

    Args:
        karpenter: While its values name the queue, it reads it.
    """
    settings = (karpenter.values or {}).get("settings") if karpenter else None
    named = settings.get("interruptionQueue") if isinstance(settings, Mapping) else None
    if named != name_of(cluster.name):
        yield from taken_away(cluster.arn, found, "the policy asks for no interruption handling", _PART)


def taken_away(cluster_arn: str, found: InterruptionEvents, why: str, part: str = "") -> Iterator[Action]:
    """
    The rule first: it would send to a queue that is deleted.

    Args:
        part: Without one a failure ends all that comes after it, such as the deletion of a cluster's record.
    """
    if found.rule is not None and is_of(cluster_arn, found.rule):
        yield DeleteEventRule(found.rule.name, why, part)
    if found.queue is not None and is_of(cluster_arn, found.queue):
        yield DeleteEventQueue(found.queue.name, why, part)


def anything_of_ours(cluster_arn: str, found: InterruptionEvents | None) -> bool:
    return found is not None and (is_of(cluster_arn, found.queue) or is_of(cluster_arn, found.rule))


# What rules it out


def findings(
    cluster: EksCluster,
    policy: Policy,
    found: InterruptionEvents | None,
    settings: Settings,
    pod_identity: str | None,
) -> tuple[Finding, ...]:
    """
    Of what AWS says, before the cluster is read.

    Args:
        pod_identity: The role that EKS Pod Identity gives Karpenter's service account.
    """
    if not policy.handles_interruptions:
        return ()
    if not settings.can_handle_interruptions:
        return (_not_deployed(),)
    there = found or InterruptionEvents()
    return (
        *([_unread(cluster, there)] if there.unread else ()),
        *_taken(cluster, there),
        *_by_another_role(cluster, policy, settings, pod_identity),
    )


def _unread(cluster: EksCluster, found: InterruptionEvents) -> Finding:
    return Finding(
        "interruptions-unread",
        f"SQS queue {name_of(cluster.name)} and the EventBridge rule of that name cannot be read: "
        f"{found.unread.rstrip('.')}.",
        "See what denies it to the installer's role, such as a service control policy, or what keeps a "
        "function in a VPC from SQS and EventBridge. It is read again in five minutes; everything else goes "
        "on.",
    )


def _not_deployed() -> Finding:
    return Finding(
        "interruption-rights-missing",
        "The policy asks for Karpenter's interruption handling, but this deployment of Slicewise has no "
        "rights for that.",
        "Deploy Slicewise with -c install_karpenter=true -c karpenter_interruptions=true, or remove "
        "interruptions from the policy.",
        blocking=True,
    )


def _taken(cluster: EksCluster, found: InterruptionEvents) -> Iterator[Finding]:
    name = name_of(cluster.name)
    for kind, there, delete in (
        ("SQS queue", found.queue, _delete_queue(name)),
        ("EventBridge rule", found.rule, f"its targets first, then: aws events delete-rule --name {name}"),
    ):
        if there is not None and not is_of(cluster.arn, there):
            yield Finding(
                "interruption-name-taken",
                f"{kind} {name} is there, but it is not ours for this cluster.",
                f"Delete it if nothing needs it ({delete}), or remove interruptions from the policy.",
                blocking=True,
            )


def _delete_queue(name: str) -> str:
    url = f"aws sqs get-queue-url --queue-name {name} --query QueueUrl --output text"
    return f"aws sqs delete-queue --queue-url $({url})"


def _by_another_role(
    cluster: EksCluster, policy: Policy, settings: Settings, pod_identity: str | None
) -> Iterator[Finding]:
    """On nodes the deployment's own role has the rights; what another one may do is not ours to read."""
    if policy.is_on_fargate or pod_identity in (None, settings.karpenter_controller_role):
        return
    yield Finding(
        "interruption-rights-elsewhere",
        f"EKS Pod Identity gives Karpenter the role {str(pod_identity).rpartition('/')[2]}, which is not "
        "this deployment's: whether it may read the interruption queue is not known.",
        "Allow it sqs:GetQueueUrl, sqs:ReceiveMessage and sqs:DeleteMessage on "
        f"{_arn(cluster, 'sqs', name_of(cluster.name))}, or delete the association, and this deployment's "
        "role takes its place.",
    )


def of_another_karpenter(policy: Policy) -> tuple[Finding, ...]:
    if not policy.handles_interruptions:
        return ()
    return (
        Finding(
            "interruptions-not-ours",
            "The policy asks for interruption handling, but the cluster has a Karpenter that we did not "
            "install, and whose values we do not change.",
            "No action needed if its owner has set settings.interruptionQueue; else set it there.",
        ),
    )


def left(cluster: EksCluster, found: InterruptionEvents | None) -> Iterator[Finding]:
    """Of an offboarding that leaves Karpenter where it is."""
    name = name_of(cluster.name)
    if anything_of_ours(cluster.arn, found):
        yield Finding(
            "interruption-queue-stays",
            f"SQS queue {name} and the EventBridge rule of that name stay: a Karpenter that "
            "stays may read interruptions from them.",
            f"Once it is uninstalled: slicewise offboard {cluster.name}. If the cluster is deleted before, "
            f"they are left: aws events remove-targets --rule {name} --ids {TARGET_ID} && "
            f"aws events delete-rule --name {name} && {_delete_queue(name)}",
        )
