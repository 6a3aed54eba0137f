"""The SNS topic that operators are subscribed to."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from botocore.session import Session

from slicewise.gateways.aws import client, own_errors

_LONGEST_SUBJECT = 100  # SNS API reference, Publish


class SnsNotices:
    """Implements ports.Notices."""

    def __init__(self, topic_arn: str, session: Session, region: str):
        self._topic, self._session, self._region = topic_arn, session, region

    @cached_property
    def _sns(self) -> Any:
        return client("sns", self._session, self._region)

    def publish(self, subject: str, text: str) -> None:
        with own_errors(f"sns:Publish to {self._topic}"):
            self._sns.publish(TopicArn=self._topic, Subject=subject[:_LONGEST_SUBJECT], Message=text)
