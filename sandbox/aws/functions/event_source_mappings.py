"""
Event source mappings: SQS to functions, as Lambda's own pollers do it.

Visibility, delay and redrive to the dead-letter queue are moto's; here is who takes
messages, how many at once, and which of them are done. FIFO queues and filters are not
played: `moto_fixes` refuses a mapping that asks for them.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from sandbox.aws.core import registry
from sandbox.aws.core.account import Account
from sandbox.aws.core.patching import Patches
from sandbox.aws.functions.functions import Functions

log = logging.getLogger(__name__)

DEFAULT_POLLERS = 2  # where the mapping sets no MaximumConcurrency; AWS starts with 5
# As many as a few cores have use for: each may run a function of its own.
MOST_POLLERS = 10
LOOK_SECONDS = 0.1


def install(patches: Patches) -> None:
    """Has what is sent or put back for later wait for the account's `delay_share` of that time."""
    from moto.sqs.models import SQSBackend

    def sending(real: Any) -> Any:
        def send_message(self: Any, *args: Any, **options: Any) -> Any:
            message = real(self, *args, **options)
            message.delayed_until = _sooner(self.account_id, message.delayed_until)
            return message

        return send_message

    def putting_back(real: Any) -> Any:
        def change_message_visibility(
            self: Any, queue_name: str, receipt_handle: str, visibility_timeout: int
        ) -> None:
            real(self, queue_name, receipt_handle, visibility_timeout)
            for message in self.get_queue(queue_name)._messages:
                if message.had_receipt_handle(receipt_handle):
                    message.visible_at = _sooner(self.account_id, message.visible_at)

        return change_message_visibility

    patches.wrap(SQSBackend, "send_message", sending)
    patches.wrap(SQSBackend, "change_message_visibility", putting_back)


def _sooner(number: str, at_ms: float) -> float:
    account, now_ms = registry.of(number), time.time() * 1000
    return now_ms + (at_ms - now_ms) * account.delay_share if account and at_ms > now_ms else at_ms


@dataclass(frozen=True)
class _ToDo:
    """
    What wakes a mapping's pollers.

    Attributes:
        taking: One poller after the other looks and takes: else all of them ask for the same message.
    """

    arrived: threading.Event = field(default_factory=threading.Event)
    taking: threading.Lock = field(default_factory=threading.Lock)


class Mappings:
    """
    Keeps as many pollers running as the deployed mappings ask for, up to a few.

    One thread looks at all queues and wakes the pollers of those that have messages: thirty pollers that each
    look by themselves take a twentieth of a core while nothing happens.
    """

    def __init__(self, account: Account, functions: Functions):
        self._account, self._functions, self._stopping = account, functions, threading.Event()
        self._pollers: dict[str, list[threading.Thread]] = {}
        self._to_do: dict[str, _ToDo] = {}
        self._watcher = threading.Thread(target=self._watch, name="sqs-mappings", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        self._stopping.set()
        self._watcher.join(timeout=2)
        for to_do in self._to_do.values():
            to_do.arrived.set()
        for group in self._pollers.values():
            for poller in group:
                poller.join(timeout=2)

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            mappings = {mapping.uuid: mapping for mapping in _mappings(self._functions)}
            for mapping in mappings.values():
                self._man(mapping)
            for uuid, to_do in self._to_do.items():
                mapping = mappings.get(uuid)
                # Without a mapping they wake to end.
                if mapping is None or not mapping.enabled or _has_messages(self._account, mapping):
                    to_do.arrived.set()

    def _man(self, mapping: Any) -> None:
        asked = (mapping.scaling_config or {}).get("MaximumConcurrency", DEFAULT_POLLERS)
        wanted = min(int(asked), MOST_POLLERS)
        alive = [poller for poller in self._pollers.get(mapping.uuid, []) if poller.is_alive()]
        to_do = self._to_do.setdefault(mapping.uuid, _ToDo())
        while mapping.enabled and len(alive) < wanted:
            poller = threading.Thread(target=self._poll, args=(mapping.uuid, to_do), daemon=True)
            poller.start()
            alive.append(poller)
        self._pollers[mapping.uuid] = alive

    def _poll(self, uuid: str, to_do: _ToDo) -> None:
        sqs = self._account.client("sqs")
        while to_do.arrived.wait() and not self._stopping.is_set():
            mapping = next((one for one in _mappings(self._functions) if one.uuid == uuid), None)
            if mapping is None or not mapping.enabled:
                return
            try:
                with to_do.taking:
                    url, messages = self._take_batch(sqs, mapping)
                    if not messages:
                        to_do.arrived.clear()
                        continue
                self._handle(sqs, url, mapping, messages)
            except Exception:
                # A queue that is being deleted, a function that is being replaced: look again.
                if not self._stopping.wait(0.5):
                    log.warning("polling %s failed", mapping.event_source_arn, exc_info=True)

    def _take_batch(self, sqs: Any, mapping: Any) -> tuple[str, list[dict[str, Any]]]:
        if not _has_messages(self._account, mapping):
            return "", []
        url = sqs.get_queue_url(QueueName=mapping.event_source_arn.split(":")[-1])["QueueUrl"]
        return url, _receive(sqs, url, mapping)

    def _handle(self, sqs: Any, url: str, mapping: Any, messages: list[dict[str, Any]]) -> None:
        records = [_record(message, mapping.event_source_arn, self._account.region) for message in messages]
        outcome = self._functions.invoke(mapping.function_arn, {"Records": records})
        if outcome.failed:
            return  # all of them become visible again when their time is up
        failed = _failed_ids(mapping, outcome.payload)
        if not failed <= {message["MessageId"] for message in messages}:
            return  # an unknown or empty id fails the whole batch, as in AWS
        done = [message for message in messages if message["MessageId"] not in failed]
        if done:
            entries = [{"Id": str(i), "ReceiptHandle": one["ReceiptHandle"]} for i, one in enumerate(done)]
            sqs.delete_message_batch(QueueUrl=url, Entries=entries)


def _mappings(functions: Functions) -> list[Any]:
    found = list(functions.backend()._event_source_mappings.values())
    return [mapping for mapping in found if ":sqs:" in mapping.event_source_arn]


def _has_messages(account: Account, mapping: Any) -> bool:
    """
    Looked up in moto's memory; a queue that is gone has none. Long polls through HTTP would take a third of a
    core for the queues of one deployment while nothing happens, and notice a delayed message a second late.
    """
    from moto.sqs.models import sqs_backends

    queue = sqs_backends[account.account][account.region].queues.get(mapping.event_source_arn.split(":")[-1])
    return bool(queue and queue.messages)


def _receive(sqs: Any, url: str, mapping: Any) -> list[dict[str, Any]]:
    size, window = int(mapping.batch_size), float(mapping.max_batch_window or 0)
    end, messages = time.monotonic() + window, list[dict[str, Any]]()
    while len(messages) < size:
        found = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=min(size - len(messages), 10),
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        messages += found
        if not messages or (not found and time.monotonic() >= end):
            break
        if not found:
            time.sleep(0.05)
        elif not window:
            break
    return messages


def _failed_ids(mapping: Any, payload: bytes) -> set[str | None]:
    if "ReportBatchItemFailures" not in (mapping.function_response_types or []):
        return set()
    answer = json.loads(payload or b"null") or {}
    return {failure.get("itemIdentifier") for failure in answer.get("batchItemFailures") or []}


def _record(message: dict[str, Any], queue_arn: str, region: str) -> dict[str, Any]:
    """As in AWS's own sample of an SQS event."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {
            name: {
                **{key[0].lower() + key[1:]: part for key, part in value.items()},
                "stringListValues": [],
                "binaryListValues": [],
            }
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": region,
    }
