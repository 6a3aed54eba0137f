"""EventBridge Scheduler in memory: what is due is told, and sent to a queue by whoever moves the clock."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.fakes.aws.refusals import check
from tests.fakes.calls import Calls

_TARGET = {"Arn": "arn:aws:sqs:eu-west-1:111122223333:q", "RoleArn": "arn:aws:iam::111122223333:role/r"}


class FakeSchedules:
    """
    Implements ports.Schedules.

    Attributes:
        waiting: When and with which message each cluster's schedule fires.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.waiting: dict[str, tuple[datetime, str]] = {}

    def next(self, cluster: str) -> datetime | None:
        with self._calls.call("schedules.next"):
            return self.waiting[cluster][0] if cluster in self.waiting else None

    def put(self, cluster: str, at: datetime, message: str) -> None:
        with self._calls.call(f"schedules.put {at:%H:%M}"):
            check("scheduler", "CreateSchedule", Target={**_TARGET, "Input": message})
            # An at() expression tells whole seconds, in the zone that is named beside it.
            self.waiting[cluster] = at.astimezone(UTC).replace(microsecond=0), message

    def delete(self, cluster: str) -> None:
        with self._calls.call("schedules.delete"):
            self.waiting.pop(cluster, None)
