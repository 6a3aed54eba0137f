"""EventBridge Scheduler: one schedule a cluster, for one moment, which deletes itself once it has fired."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError
from botocore.session import Session

from slicewise.gateways.botocore_clients import client, code_of, own_errors

_AT = "at(%Y-%m-%dT%H:%M:%S)"


class EventBridgeSchedules:
    """
    Implements ports.Schedules.

    Args:
        group: Of all these schedules; the deployment makes it.
        queue_arn: Where they send their message.
        role_arn: With it EventBridge Scheduler may send.
    """

    def __init__(self, group: str, queue_arn: str, role_arn: str, session: Session, region: str):
        self._group, self._queue, self._role = group, queue_arn, role_arn
        self._session, self._region = session, region

    @cached_property
    def _scheduler(self) -> Any:
        return client("scheduler", self._session, self._region)

    def next(self, cluster: str) -> datetime | None:
        with own_errors(f"scheduler:GetSchedule of {cluster}"):
            try:
                found = self._scheduler.get_schedule(GroupName=self._group, Name=_name(cluster))
            except ClientError as error:
                if code_of(error) == "ResourceNotFoundException":
                    return None
                raise
        try:
            return datetime.strptime(found["ScheduleExpression"], _AT).replace(tzinfo=UTC)
        except ValueError:
            return None  # another writer's schedule; it is overwritten

    def put(self, cluster: str, at: datetime, message: str) -> None:
        schedule = {
            "GroupName": self._group,
            "Name": _name(cluster),
            "Description": f"Slicewise: the next change of off-hours of {cluster}",
            "ScheduleExpression": at.astimezone(UTC).strftime(_AT),
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {"Arn": self._queue, "RoleArn": self._role, "Input": message},
        }
        with own_errors(f"scheduler:UpdateSchedule of {cluster}"):
            try:
                self._scheduler.update_schedule(**schedule)
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise
                self._scheduler.create_schedule(**schedule)

    def delete(self, cluster: str) -> None:
        with own_errors(f"scheduler:DeleteSchedule of {cluster}"):
            try:
                self._scheduler.delete_schedule(GroupName=self._group, Name=_name(cluster))
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise


def _name(cluster: str) -> str:
    """Names have at most 64 characters, those of clusters up to 100."""
    return f"{cluster[:40]}-{hashlib.sha256(cluster.encode()).hexdigest()[:10]}"
