"""The sandbox's clock: real time plus what tests have advanced it by."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """
    Only schedules follow it; queues, tokens and CloudTrail keep real time, since the
    clients that talk to them do.
    """

    def __init__(self, start: datetime | None = None):
        self._lock = threading.Lock()
        self._offset = start - datetime.now(UTC) if start else timedelta(0)
        self._listeners: list[Callable[[datetime], None]] = []

    def now(self) -> datetime:
        """Aware UTC."""
        with self._lock:
            return datetime.now(UTC) + self._offset

    def advance(self, by: timedelta) -> None:
        """Move on; whatever became due has fired, in order, when this returns."""
        if by < timedelta(0):
            raise ValueError(f"the clock does not go back: {by}")
        with self._lock:
            self._offset += by
        self.tick()

    def advance_to(self, when: datetime) -> None:
        self.advance(when - self.now())

    def on_tick(self, listener: Callable[[datetime], None]) -> None:
        self._listeners.append(listener)

    def tick(self) -> None:
        for listener in self._listeners:
            listener(self.now())

    def follow_real_time(self) -> None:
        """
        Forget what it was advanced by, for what lasts seconds by the clock of those who do not follow this
        one. What has fired does not fire again.
        """
        with self._lock:
            self._offset = timedelta(0)
