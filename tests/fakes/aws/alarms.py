"""CloudWatch's alarms in a dict; a test sets their states."""

from __future__ import annotations

from dataclasses import replace

from slicewise.model.cluster import Alarm

from tests.fakes.aws.refusals import check, check_text
from tests.fakes.calls import Calls
from tests.fakes.clock import Clock


class FakeAlarms:
    """Implements ports.Alarms. `kept` holds what stands, by name, tags included."""

    def __init__(self, calls: Calls, clock: Clock) -> None:
        self._calls, self._clock = calls, clock
        self.kept: dict[str, Alarm] = {}

    def named(self, prefix: str) -> tuple[Alarm, ...]:
        with self._calls.call(f"alarms.named {prefix}"):
            check_text("cloudwatch", "DescribeAlarms", AlarmNamePrefix=prefix)
            found = sorted(name for name in self.kept if name.startswith(prefix))
            return tuple(replace(self.kept[name], tags={}) for name in found)

    def put(self, alarm: Alarm) -> None:
        with self._calls.call(f"alarms.put {alarm.name}"):
            tags = [{"Key": key, "Value": value} for key, value in alarm.tags.items()]
            check("cloudwatch", "PutMetricAlarm", AlarmName=alarm.name, Tags=tags, **alarm.settings)
            before = self.kept.get(alarm.name)
            if before:
                alarm = replace(before, settings=alarm.settings)
            else:
                alarm = replace(alarm, state="INSUFFICIENT_DATA", state_since=self._clock.now)
            self.kept[alarm.name] = alarm

    def delete(self, name: str) -> None:
        with self._calls.call(f"alarms.delete {name}"):
            check("cloudwatch", "DeleteAlarms", AlarmNames=[name])
            self.kept.pop(name, None)

    def set_state(self, name: str, state: str) -> None:
        self.kept[name] = replace(self.kept[name], state=state, state_since=self._clock.now)
