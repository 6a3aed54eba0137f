"""The alarms of one account and Region, in CloudWatch."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import boto3

from slicewise.gateways.aws import client, own_errors
from slicewise.model import Alarm

_SETTINGS = (
    *("AlarmDescription", "Metrics", "ComparisonOperator", "Threshold"),
    *("EvaluationPeriods", "DatapointsToAlarm", "TreatMissingData"),
)


class CloudWatchAlarms:
    """Implements ports.Alarms."""

    def __init__(self, session: boto3.Session, region: str):
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
            # CloudWatch ignores tags of an alarm that exists: ours never change, so that is as well.
            self._cloudwatch.put_metric_alarm(
                AlarmName=alarm.name, Tags=tags, **alarm.settings, **self._propagation()
            )

    def _propagation(self) -> dict[str, Any]:
        """
        Tags in the alarm's events, where the runtime's boto3 knows of them: they came in 2026. Without them
        the alarm's name tells the cluster.
        """
        request = self._cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape
        known = "ActionConfiguration" in request.members
        return {"ActionConfiguration": {"AlarmTagsPropagation": {"Enabled": True}}} if known else {}

    def delete(self, name: str) -> None:
        with own_errors(f"cloudwatch:DeleteAlarms {name}"):
            self._cloudwatch.delete_alarms(AlarmNames=[name])


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
