"""One schedule a cluster: the fake and EventBridge Scheduler, held to the same behaviour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from slicewise.errors import Refused
from slicewise.gateways.scheduler import EventBridgeSchedules
from slicewise.trigger import DeploymentScope, Trigger

from tests.fakes.aws.schedules import FakeSchedules
from tests.fakes.calls import Calls

NIGHT = datetime(2026, 11, 25, 19, tzinfo=UTC)
GROUP = "slicewise-off-hours"
HOME = DeploymentScope("111122223333", "eu-west-1")
LONGEST = "gpu_" + "A" * 95 + "-"


@pytest.fixture(params=["fake", "gateway"])
def schedules(request):
    if request.param == "fake":
        return FakeSchedules(Calls())
    session, admin = map(request.getfixturevalue, ("session", "admin"))
    admin.client("scheduler").create_schedule_group(Name=GROUP)
    queue = "arn:aws:sqs:eu-west-1:111122223333:slicewise-off-hours"
    role = "arn:aws:iam::111122223333:role/schedules"
    return EventBridgeSchedules(GROUP, queue, role, session, "eu-west-1")


def message(cluster):
    return Trigger(HOME.arn(cluster), "off-hours end").message()


@pytest.mark.parametrize("cluster", ["gpu-1", "1", LONGEST], ids=["a name", "a digit", "the longest name"])
def test_a_schedule_is_for_one_moment_and_replaced_by_the_next(schedules, cluster):
    assert schedules.next(cluster) is None

    schedules.put(cluster, NIGHT, message(cluster))
    assert schedules.next(cluster) == NIGHT and schedules.next("gpu-2") is None

    schedules.put(cluster, NIGHT + timedelta(hours=11), message(cluster))
    assert schedules.next(cluster) == NIGHT + timedelta(hours=11)


def test_clusters_whose_long_names_begin_alike_have_schedules_of_their_own(schedules):
    schedules.put("a" * 99 + "1", NIGHT, message("a" * 99 + "1"))

    assert schedules.next("a" * 99 + "2") is None


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(NIGHT.replace(microsecond=1), id="a moment after"),
        pytest.param(NIGHT.replace(microsecond=999_999), id="what a person said for two hours from now"),
        pytest.param(NIGHT.astimezone(ZoneInfo("Europe/Berlin")), id="in the cluster's zone"),
    ],
)
def test_a_moment_comes_back_as_whole_seconds_of_utc(schedules, at):
    """Else each pass would find another moment there than it wants, and write it again."""
    schedules.put("gpu-1", at, message("gpu-1"))

    assert schedules.next("gpu-1") == NIGHT


def test_a_message_longer_than_a_schedule_holds_is_refused_and_a_trigger_is_never_that_long(schedules):
    with pytest.raises(Refused):
        schedules.put("gpu-1", NIGHT, "→" * 90_000)
    assert schedules.next("gpu-1") is None

    schedules.put(LONGEST, NIGHT, Trigger(HOME.arn(LONGEST), "→" * 90_000).message())
    assert schedules.next(LONGEST) == NIGHT


def test_deleting_twice_is_fine(schedules):
    schedules.put("gpu-1", NIGHT, message("gpu-1"))

    schedules.delete("gpu-1")
    schedules.delete("gpu-1")

    assert schedules.next("gpu-1") is None


def test_a_schedule_sends_the_trigger_to_the_queue_once_and_goes(session, admin):
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
