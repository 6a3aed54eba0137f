"""Queues in memory that keep messages until they are due, and policies in a dict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
            for message, delay in messages:
                self.put(capability, message, delay)

    def retry_in(self, capability: str, receipt: str, delay: timedelta) -> None:
        with self._calls.call(f"queues.retry_in {capability}"):
            self._in_flight[receipt].due = self._clock.now + min(delay, timedelta(seconds=900))

    def put(self, capability: str, body: str, delay: timedelta = timedelta(0)) -> None:
        """From outside, past the counter."""
        self._numbers += 1
        due = self._clock.now + min(delay, timedelta(seconds=900))
        self.waiting.append(Message(due, self._numbers, capability, body))

    def receive(self, visibility: timedelta) -> tuple[str, Message] | None:
        """The message that is due first, moving the clock to it; hidden for `visibility` from then on."""
        if not self.waiting:
            return None
        message = min(self.waiting)
        self.waiting.remove(message)
        self._clock.now = max(self._clock.now, message.due)
        message.received += 1
        message.due = self._clock.now + visibility
        receipt = f"{message.number}-{message.received}"
        self._in_flight[receipt] = message
        return receipt, message

    def done(self, receipt: str) -> None:
        del self._in_flight[receipt]

    def failed(self, receipt: str, most_receives: int = 5) -> None:
        message = self._in_flight.pop(receipt)
        (self.dead if message.received >= most_receives else self.waiting).append(message)


class FakePolicies(dict[str, str]):
    """Implements ports.Policies."""

    def __init__(self, calls: Calls, **texts: str) -> None:
        super().__init__(texts)
        self._calls = calls

    def text(self, name: str) -> str | None:
        with self._calls.call(f"policies.text {name}"):
            return self.get(name)
