"""The operators' topic in memory."""

from __future__ import annotations

from slicewise.sizes import cut

from sandbox.aws import limits
from tests.fakes.aws.refusals import check
from tests.fakes.calls import Calls


class FakeNotices:
    """Implements ports.Notices. `sent` holds (subject, text), as the topic gets them."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.sent: list[tuple[str, str]] = []

    def publish(self, subject: str, text: str) -> None:
        with self._calls.call("notices.publish"):
            line = "".join(sign if sign.isprintable() else " " for sign in subject)[: limits.SNS_SUBJECT]
            text = cut(text if line == subject else f"{subject}\n\n{text}", limits.SNS_MESSAGE)
            check("sns", "Publish", Subject=line, Message=text)
            self.sent.append((line, text))
