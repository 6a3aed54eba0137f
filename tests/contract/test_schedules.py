"""One schedule a cluster: the fake and EventBridge Scheduler, held to the same behaviour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from slicewise.gateways.schedules import EventBridgeSchedules

from tests.fakes.calls import Calls
from tests.fakes.schedules import FakeSchedules

NIGHT = datetime(2026, 11, 25, 19, tzinfo=UTC)
GROUP = "slicewise-off-hours"
LONGEST = "gpu-" + "a" * 96


@pytest.fixture(params=["fake", "gateway"])
def schedules(request):
    if request.param == "fake":
        return FakeSchedules(Calls())
    session, admin = map(request.getfixturevalue, ("session", "admin"))
    admin.client("scheduler").create_schedule_group(Name=GROUP)
    queue = "arn:aws:sqs:eu-west-1:111122223333:slicewise-off-hours"
    role = "arn:aws:iam::111122223333:role/schedules"
    return EventBridgeSchedules(GROUP, queue, role, session, "eu-west-1")


@pytest.mark.parametrize("cluster", ["gpu-1", LONGEST], ids=["a name", "the longest name"])
def test_a_schedule_is_for_one_moment_and_replaced_by_the_next(schedules, cluster):
    assert schedules.next(cluster) is None

    schedules.put(cluster, NIGHT, "{}")
    assert schedules.next(cluster) == NIGHT and schedules.next("gpu-2") is None

    schedules.put(cluster, NIGHT + timedelta(hours=11), "{}")
    assert schedules.next(cluster) == NIGHT + timedelta(hours=11)


def test_deleting_twice_is_fine(schedules):
    schedules.put("gpu-1", NIGHT, "{}")

    schedules.delete("gpu-1")
    schedules.delete("gpu-1")

    assert schedules.next("gpu-1") is None


def test_a_schedule_sends_the_hint_to_the_queue_once_and_goes(session, admin):
    admin.client("scheduler").create_schedule_group(Name=GROUP)
    queue, role = "arn:aws:sqs:eu-west-1:111122223333:q", "arn:aws:iam::111122223333:role/r"
    EventBridgeSchedules(GROUP, queue, role, session, "eu-west-1").put("gpu-1", NIGHT, '{"slicewise": 1}')

    [listed] = admin.client("scheduler").list_schedules(GroupName=GROUP)["Schedules"]
    found = admin.client("scheduler").get_schedule(GroupName=GROUP, Name=listed["Name"])
    target = found["Target"]
    assert (target["Arn"], target["RoleArn"], target["Input"]) == (queue, role, '{"slicewise": 1}')
    assert found["ScheduleExpression"] == "at(2026-11-25T19:00:00)"
    assert found["ScheduleExpressionTimezone"] == "UTC"
    assert found["ActionAfterCompletion"] == "DELETE"
    assert found["FlexibleTimeWindow"] == {"Mode": "OFF"}
