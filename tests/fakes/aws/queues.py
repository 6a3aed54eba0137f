"""Queues in memory that keep messages until they are due, and policies in a dict."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from slicewise.errors import Refused
from slicewise.model.capabilities import CAPABILITIES

from tests.fakes.aws.refusals import check, check_text
from tests.fakes.calls import Calls
from tests.fakes.clock import Clock


@dataclass(order=True)
class Message:
    due: datetime
    number: int
    capability: str = field(compare=False)
    body: str = field(compare=False)
    received: int = field(default=0, compare=False)


class FakeQueues:
    """Implements ports.Queues. `waiting` holds what nobody has received yet; `dead`, what was given up."""

    def __init__(self, clock: Clock, calls: Calls) -> None:
        self._clock, self._calls = clock, calls
        self.waiting: list[Message] = []
        self.dead: list[Message] = []
        self._in_flight: dict[str, Message] = {}
        self._numbers = 0

    def send(self, capability: str, message: str, delay: timedelta = timedelta(0)) -> None:
        with self._calls.call(f"queues.send {capability}"):
            self.put(capability, message, delay)

    def send_all(self, capability: str, messages: Iterable[tuple[str, timedelta]]) -> None:
        with self._calls.call(f"queues.send_all {capability}"):
            left = iter(messages)
            while batch := list(islice(left, 10)):
                if sum(len(body) for body, _ in batch) > 1000:
                    check("sqs", "SendMessageBatch", Entries=[{"MessageBody": body} for body, _ in batch])
                for body, delay in batch:
                    self.put(capability, body, delay)

    def retry_in(self, capability: str, receipt: str, delay: timedelta) -> None:
        with self._calls.call(f"queues.retry_in {capability}"):
            if receipt not in self._in_flight:
                raise Refused(f"sqs:ChangeMessageVisibility: receipt {receipt!r} is not valid")
            self._in_flight[receipt].due = self._clock.now + _delayed(delay)

    def put(self, capability: str, body: str, delay: timedelta = timedelta(0)) -> None:
        """From outside, past the counter."""
        if capability not in CAPABILITIES:
            raise KeyError(f"there is no queue {capability}")
        # Most are short and plain, and there are many.
        if len(body) > 1000 or not body or not body.isprintable():
            check("sqs", "SendMessage", MessageBody=body)
        self._numbers += 1
        self.waiting.append(Message(self._clock.now + _delayed(delay), self._numbers, capability, body))

    def receive(self, visibility: timedelta | Mapping[str, timedelta]) -> tuple[str, Message] | None:
        """
        The message that is due first, moving the clock to it; hidden for `visibility` from then on, of all
        queues or by queue.
        """
        if not self.waiting:
            return None
        message = min(self.waiting)
        self.waiting.remove(message)
        self._clock.now = max(self._clock.now, message.due)
        message.received += 1
        hidden = visibility if isinstance(visibility, timedelta) else visibility[message.capability]
        message.due = self._clock.now + hidden
        receipt = f"{message.number}-{message.received}"
        self._in_flight[receipt] = message
        return receipt, message

    def done(self, receipt: str) -> None:
        del self._in_flight[receipt]

    def failed(self, receipt: str, most_receives: int = 5) -> None:
        message = self._in_flight.pop(receipt)
        (self.dead if message.received >= most_receives else self.waiting).append(message)


def _delayed(delay: timedelta) -> timedelta:
    """SQS counts whole seconds, 900 at most."""
    return timedelta(seconds=math.ceil(min(max(delay.total_seconds(), 0), 900)))


_POLICY = re.compile("(holidays/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


class FakePolicies(dict[str, str]):
    """Implements ports.Policies: what a deployment has made parameters of."""

    def __init__(self, calls: Calls, **texts: str) -> None:
        super().__init__(texts)
        self._calls = calls

    def text(self, name: str) -> str | None:
        with self._calls.call(f"policies.text {name}"):
            if name in self:
                check_text("ssm", "PutParameter", Name=f"/slicewise/policies/{name}", Value=self[name])
            return self.get(name) if _POLICY.fullmatch(name) else None
