"""The SQS queues of the capabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from itertools import islice
from typing import Any

from botocore.session import Session

from slicewise.errors import Unavailable
from slicewise.gateways.botocore_clients import client, own_errors

_MAX_DELAY = timedelta(seconds=900)
_BATCH = 10


class SqsQueues:
    """
    Implements ports.Queues.

    Args:
        urls: Queue URL by capability: "onboarding", "tuning".
    """

    def __init__(self, urls: Mapping[str, str], session: Session, region: str):
        self._urls = urls
        self._session, self._region = session, region

    @cached_property
    def _sqs(self) -> Any:
        return client("sqs", self._session, self._region)

    def send(self, capability: str, message: str, delay: timedelta = timedelta(0)) -> None:
        with own_errors(f"sqs:SendMessage to {capability}"):
            self._sqs.send_message(
                QueueUrl=self._urls[capability], MessageBody=message, DelaySeconds=_seconds(delay)
            )

    def send_all(self, capability: str, messages: Iterable[tuple[str, timedelta]]) -> None:
        left = iter(messages)
        while batch := list(islice(left, _BATCH)):
            entries = [
                {"Id": str(index), "MessageBody": body, "DelaySeconds": _seconds(delay)}
                for index, (body, delay) in enumerate(batch)
            ]
            with own_errors(f"sqs:SendMessageBatch to {capability}"):
                answer = self._sqs.send_message_batch(QueueUrl=self._urls[capability], Entries=entries)
            if failed := answer.get("Failed"):
                raise Unavailable(
                    f"{len(failed)} of {len(batch)} messages to {capability} were not taken: {failed[0]}"
                )

    def retry_in(self, capability: str, receipt: str, delay: timedelta) -> None:
        with own_errors(f"sqs:ChangeMessageVisibility of {capability}"):
            self._sqs.change_message_visibility(
                QueueUrl=self._urls[capability], ReceiptHandle=receipt, VisibilityTimeout=_seconds(delay)
            )


def _seconds(delay: timedelta) -> int:
    """Whole seconds, rounded up: a reconcile that comes early would find nothing new."""
    return math.ceil(min(max(delay, timedelta(0)), _MAX_DELAY).total_seconds())
