"""The SNS topic that operators are subscribed to."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from botocore.session import Session

from slicewise.gateways.botocore_clients import client, own_errors
from slicewise.sizes import cut

# SNS API reference, Publish: a subject has less than 100 characters and no control characters; a message has
# 256 KiB at most where its topic does not say otherwise, which ours does not.
_LONGEST_SUBJECT = 99
_LONGEST_TEXT = 256 * 1024


class SnsNotices:
    """Implements ports.Notices."""

    def __init__(self, topic_arn: str, session: Session, region: str):
        self._topic, self._session, self._region = topic_arn, session, region

    @cached_property
    def _sns(self) -> Any:
        return client("sns", self._session, self._region)

    def publish(self, subject: str, text: str) -> None:
        line = "".join(sign if sign.isprintable() else " " for sign in subject)[:_LONGEST_SUBJECT]
        # Names of clusters and workloads are long, and come last.
        whole = text if line == subject else f"{subject}\n\n{text}"
        with own_errors(f"sns:Publish to {self._topic}"):
            self._sns.publish(TopicArn=self._topic, Subject=line, Message=cut(whole, _LONGEST_TEXT))
