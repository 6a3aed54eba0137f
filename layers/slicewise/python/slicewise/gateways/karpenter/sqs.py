"""SQS queues that events are sent to. Those of the capabilities' triggers are in gateways/sqs.py."""

from __future__ import annotations

import json
from collections.abc import Mapping

from botocore.session import Session

from slicewise.errors import Conflict
from slicewise.gateways.karpenter.named_calls import NamedCalls
from slicewise.model.interruptions import EventQueue

# The codes of the query protocol, which SQS still sends beside the names of the errors, and those names.
_ABSENT = {"NonExistentQueue", "QueueDoesNotExist"}
_CONFLICTS = {"QueueAlreadyExists", "QueueNameExists", "QueueDeletedRecently"}
_READ = ("MessageRetentionPeriod", "SqsManagedSseEnabled", "Policy")


class SqsEventQueues:
    """Implements ports.EventQueues."""

    def __init__(self, session: Session, region: str):
        self._calls = NamedCalls("sqs", session, region, absent=_ABSENT, conflicts=_CONFLICTS)

    def queue(self, name: str) -> EventQueue | None:
        url = self._url(name)
        found = (
            self._calls.found("get_queue_attributes", name, QueueUrl=url, AttributeNames=_READ)
            if url
            else None
        )
        tags = self._calls.found("list_queue_tags", name, QueueUrl=url) if found else None
        if found is None or tags is None:
            return None
        return _queue(name, found["Attributes"], tags.get("Tags") or {})

    def create_queue(self, queue: EventQueue) -> None:
        self._calls.made(
            "create_queue",
            queue.name,
            QueueName=queue.name,
            Attributes=_attributes(queue),
            tags=dict(queue.tags),
        )

    def set_queue(self, queue: EventQueue) -> None:
        if (url := self._url(queue.name)) is None:
            raise Conflict(f"sqs:SetQueueAttributes of {queue.name}: there is no such queue")
        self._calls.made("set_queue_attributes", queue.name, QueueUrl=url, Attributes=_attributes(queue))
        self._calls.made("tag_queue", queue.name, QueueUrl=url, Tags=dict(queue.tags))

    def delete_queue(self, name: str) -> None:
        if url := self._url(name):
            self._calls.found("delete_queue", name, QueueUrl=url)

    def _url(self, name: str) -> str | None:
        found = self._calls.found("get_queue_url", name, QueueName=name)
        return found["QueueUrl"] if found else None


def _attributes(queue: EventQueue) -> dict[str, str]:
    return {
        "MessageRetentionPeriod": str(queue.retention),
        "SqsManagedSseEnabled": "true" if queue.is_encrypted else "false",
        "Policy": json.dumps(queue.policy, sort_keys=True),
    }


def _queue(name: str, found: Mapping[str, str], tags: Mapping[str, str]) -> EventQueue:
    return EventQueue(
        name,
        policy=json.loads(found.get("Policy") or "{}"),
        retention=int(found["MessageRetentionPeriod"]),
        is_encrypted=found.get("SqsManagedSseEnabled") == "true",
        tags=dict(tags),
    )
