"""The operators' topic in memory."""

from __future__ import annotations

from tests.fakes.calls import Calls


class FakeNotices:
    """Implements ports.Notices. `sent` holds (subject, text)."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.sent: list[tuple[str, str]] = []

    def publish(self, subject: str, text: str) -> None:
        with self._calls.call("notices.publish"):
            self.sent.append((subject, text))
