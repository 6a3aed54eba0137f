"""The alarms of one account and Region, in CloudWatch."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError
from botocore.session import Session

from slicewise.gateways.botocore_clients import client, code_of, own_errors
from slicewise.model.cluster import Alarm

_SETTINGS = (
    *("AlarmDescription", "Metrics", "ComparisonOperator", "Threshold"),
    *("EvaluationPeriods", "DatapointsToAlarm", "TreatMissingData"),
)


class CloudWatchAlarms:
    """Implements ports.Alarms."""

    def __init__(self, session: Session, region: str):
        self._session, self._region = session, region

    @cached_property
    def _cloudwatch(self) -> Any:
        return client("cloudwatch", self._session, self._region)

    def named(self, prefix: str) -> tuple[Alarm, ...]:
        with own_errors(f"cloudwatch:DescribeAlarms {prefix}*"):
            pages = self._cloudwatch.get_paginator("describe_alarms").paginate(
                AlarmNamePrefix=prefix, AlarmTypes=["MetricAlarm"]
            )
            found = [_alarm(item) for page in pages for item in page["MetricAlarms"]]
        return tuple(sorted(found, key=lambda alarm: alarm.name))

    def put(self, alarm: Alarm) -> None:
        tags = [{"Key": key, "Value": value} for key, value in alarm.tags.items()]
        with own_errors(f"cloudwatch:PutMetricAlarm {alarm.name}"):
            self._cloudwatch.put_metric_alarm(
                AlarmName=alarm.name,
                # Of an alarm that exists CloudWatch ignores them: ours never change, so that is as well.
                Tags=tags,
                # So that its events name the cluster (since 2026; else the alarm's name does).
                ActionConfiguration={"AlarmTagsPropagation": {"Enabled": True}},
                **alarm.settings,
            )

    def delete(self, name: str) -> None:
        with own_errors(f"cloudwatch:DeleteAlarms {name}"):
            try:
                self._cloudwatch.delete_alarms(AlarmNames=[name])
            except ClientError as error:
                if code_of(error) != "ResourceNotFound":
                    raise


def _alarm(item: dict[str, Any]) -> Alarm:
    settings = {key: item[key] for key in _SETTINGS if item.get(key) is not None}
    # In one order, so that the same settings are equal values.
    settings["Metrics"] = sorted(settings.get("Metrics", ()), key=lambda query: query["Id"])
    return Alarm(
        item["AlarmName"],
        settings,
        state=item.get("StateValue", ""),
        state_since=item.get("StateTransitionedTimestamp") or item.get("StateUpdatedTimestamp"),
    )
