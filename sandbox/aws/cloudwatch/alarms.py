"""
Alarms that tell EventBridge when their state changes.

moto's send nothing, begin as OK and lose their state when they are put again. Nothing
evaluates an alarm here: a test, or whoever plays, calls SetAlarmState.

The event's shape after AWS's page on alarm events and EventBridge. `alarmTags` (sent when the
alarm propagates its tags) is known from patterns only, so its values being plain strings is
an inference. Alarms on metric math are kept and told; their expressions are not read.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend
from moto.cloudwatch.responses import CloudWatchResponse

from sandbox.aws.cloudtrail.events import Events
from sandbox.aws.core import registry
from sandbox.aws.core.patching import Patches

State = dict[str, Any]


def install(patches: Patches) -> None:
    patches.wrap(CloudWatchBackend, "set_alarm_state", _reporting)
    patches.wrap(CloudWatchBackend, "put_metric_alarm", _keeping_state)
    patches.wrap(CloudWatchResponse, "put_metric_alarm", _keeping_propagation)


def _reporting(real: Any) -> Any:
    """Fault healed: a change of state puts no event on the bus."""

    def set_alarm_state(self: Any, alarm_name: str, reason: str, reason_data: Any, state_value: str) -> None:
        alarm, account = self.alarms.get(alarm_name), registry.of(self.account_id)
        before = alarm and _state(alarm)
        real(self, alarm_name, reason, reason_data, state_value)
        if account and before["value"] != state_value:
            tags = self.tagger.list_tags_for_resource(alarm.alarm_arn)["Tags"]
            account.service(Events).send(
                {
                    "Source": "aws.cloudwatch",
                    "DetailType": "CloudWatch Alarm State Change",
                    "Resources": [alarm.alarm_arn],
                    "Detail": json.dumps(_detail(alarm, before, {tag["Key"]: tag["Value"] for tag in tags})),
                }
            )

    return set_alarm_state


def _keeping_state(real: Any) -> Any:
    """Faults healed: a new alarm is OK, not INSUFFICIENT_DATA; an update resets state and retags."""

    def put_metric_alarm(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if registry.of(self.account_id) is None:
            return real(self, name, *args, **kwargs)
        before = self.alarms.get(name)
        if before:
            kwargs["tags"] = None  # PutMetricAlarm ignores tags on update (botocore's own text)
        alarm = real(self, name, *args, **kwargs)
        if before:
            alarm.state_value, alarm.state_reason = before.state_value, before.state_reason
            alarm.state_reason_data = before.state_reason_data
            alarm.state_updated_timestamp = before.state_updated_timestamp
        else:
            alarm.state_value = "INSUFFICIENT_DATA"
        return alarm

    return put_metric_alarm


def _keeping_propagation(real: Any) -> Any:
    """Fault healed: ActionConfiguration, which says whether events carry the alarm's tags, is dropped."""

    def put_metric_alarm(self: Any) -> Any:
        answer = real(self)
        alarm = self.cloudwatch_backend.alarms[self._get_param("AlarmName")]
        alarm.action_configuration = self._get_param("ActionConfiguration")
        return answer

    return put_metric_alarm


def _detail(alarm: Any, before: State, tags: dict[str, str]) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "alarmName": alarm.name,
        "state": _state(alarm),
        "previousState": before,
        "configuration": {"description": alarm.description or "", "metrics": _metrics(alarm)},
    }
    propagation = (getattr(alarm, "action_configuration", None) or {}).get("AlarmTagsPropagation") or {}
    return detail | ({"alarmTags": tags, "alarmTagsStatus": "SUCCESS"} if propagation.get("Enabled") else {})


def _metrics(alarm: Any) -> list[dict[str, Any]]:
    if not alarm.metric_data_queries:
        metric = _metric(alarm.namespace, alarm.metric_name, alarm.dimensions)
        stat = {"metric": metric, "period": int(alarm.period or 0), "stat": alarm.statistic}
        return [{"id": str(uuid.uuid4()), "metricStat": stat, "returnData": True}]
    return [
        {"id": query.id, "returnData": bool(query.return_data)}
        | ({"expression": query.expression} if query.expression else {"metricStat": _stat(query.metric_stat)})
        for query in alarm.metric_data_queries
    ]


def _stat(stat: Any) -> dict[str, Any]:
    metric = _metric(stat.metric.namespace, stat.metric.metric_name, stat.metric.dimensions)
    return {"metric": metric, "period": int(stat.period), "stat": stat.stat}


def _metric(namespace: str, name: str, dimensions: Any) -> dict[str, Any]:
    named = {dimension.name: dimension.value for dimension in dimensions}
    return {"namespace": namespace, "name": name, "dimensions": named}


def _state(alarm: Any) -> State:
    state = {
        "value": alarm.state_value,
        "reason": alarm.state_reason,
        "reasonData": alarm.state_reason_data,
        "timestamp": _timestamp(alarm.state_updated_timestamp),
    }
    return {key: value for key, value in state.items() if value is not None}


def _timestamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"
