"""Schedules: expressions as EventBridge Scheduler reads them, and firing by the sandbox's clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.aws.scheduler.expressions import InvalidExpression, parse
from sandbox.aws.server import Aws

HOUR = timedelta(hours=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        ("rate(5 minutes)", "UTC", "2026-01-01T00:07", "2026-01-01T00:10"),
        ("rate(1 hour)", "UTC", "2026-01-01T01:00", "2026-01-01T02:00"),
        ("cron(0 20 ? * MON-FRI *)", "UTC", "2026-01-02T20:00", "2026-01-05T20:00"),
        ("cron(0 20 ? * 2-6 *)", "UTC", "2026-01-02T20:00", "2026-01-05T20:00"),
        ("cron(*/15 8-9 * * ? *)", "UTC", "2026-01-01T09:45", "2026-01-02T08:00"),
        ("cron(0 0 L * ? *)", "UTC", "2028-02-01T00:00", "2028-02-29T00:00"),
        ("cron(0 0 1W * ? *)", "UTC", "2026-07-31T00:00", "2026-08-03T00:00"),
        ("cron(0 0 ? * 6#3 *)", "UTC", "2026-01-01T00:00", "2026-01-16T00:00"),
        ("cron(0 0 ? * 2L *)", "UTC", "2026-01-01T00:00", "2026-01-26T00:00"),
        ("cron(0 0 29 FEB ? *)", "UTC", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("cron(0 20 * * ? *)", "Europe/Berlin", "2026-01-01T00:00", "2026-01-01T19:00"),
        ("cron(0 20 * * ? *)", "Europe/Berlin", "2026-07-01T00:00", "2026-07-01T18:00"),
        # 29 March 2026: clocks go from 02:00 to 03:00.
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-03-28T02:00", "2026-03-30T00:30"),
        # 25 October 2026: 02:30 occurs twice; the first one is at 00:30 UTC.
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T00:30"),
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("at(2026-12-24T07:00:00)", "Europe/Berlin", "2026-01-01T00:00", "2026-12-24T06:00"),
    ],
)
def test_the_next_time_of_an_expression(expression, zone, after, expected):
    start = utc("2026-01-01T00:00")
    assert parse(expression, zone).following(utc(after), start) == utc(expected)


@pytest.mark.parametrize("expression", ["at(2020-01-01T00:00:00)", "cron(0 0 1 1 ? 2020)"])
def test_what_is_over_never_fires(expression):
    assert parse(expression).following(utc("2026-01-01T00:00"), utc("2026-01-01T00:00")) is None


@pytest.mark.parametrize(
    "expression",
    [
        *("cron(nope)", "cron(0 20 * * * *)", "cron(0 20 ? * ? *)", "cron(60 20 ? * MON *)"),
        *("cron(0 24 ? * MON *)", "cron(0 20 ? * FUN *)", "cron(0 20 32 * ? *)", "cron(0 20 ? 13 MON *)"),
        *("cron(0 20 ? * MON-FRI)", "cron(5-1 0 * * ? *)", "cron(0 0 * * ? 1969)", "cron(*/0 0 * * ? *)"),
        *("rate(0 hours)", "rate(1 fortnight)", "rate(1.5 hours)", "rate(hour)", "rate( 1 hour)"),
        *("at(tomorrow)", "at(2026-13-01T00:00:00)", "every hour", "", "rate(1 hour) "),
    ],
)
def test_nonsense_is_no_expression(expression):
    with pytest.raises(InvalidExpression):
        parse(expression)


def test_a_zone_that_nobody_knows_is_refused():
    with pytest.raises(InvalidExpression, match="Mars/Olympus"):
        parse("rate(1 hour)", "Mars/Olympus")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws")) as aws:
        iam = aws.client("iam")
        for role, action in (("scheduler", "sqs:SendMessage"), ("powerless", "sqs:PurgeQueue")):
            trust = json.dumps({"Version": "2012-10-17", "Statement": []})
            statement = {"Effect": "Allow", "Action": action, "Resource": aws.arn("sqs", "due")}
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)
            iam.put_role_policy(
                RoleName=role,
                PolicyName="p",
                PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
            )
        yield aws


@pytest.fixture
def scheduler(aws: Aws) -> Iterator[Any]:
    client = aws.client("scheduler")
    aws.client("sqs").create_queue(QueueName="due")
    yield client
    for schedule in client.list_schedules()["Schedules"]:
        client.delete_schedule(Name=schedule["Name"], GroupName=schedule["GroupName"])
    aws.client("sqs").delete_queue(QueueUrl=queue_url(aws))


def queue_url(aws: Aws) -> str:
    return aws.client("sqs").get_queue_url(QueueName="due")["QueueUrl"]


def schedule(
    aws: Aws, name: str, expression: str, *, role: str = "scheduler", body: str | None = None, **more: Any
) -> None:
    aws.client("scheduler").create_schedule(
        Name=name,
        ScheduleExpression=expression,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": aws.arn("sqs", "due"),
            "RoleArn": f"arn:aws:iam::{aws.account}:role/{role}",
            **({} if body is None else {"Input": body}),
        },
        **more,
    )


def messages(aws: Aws) -> list[Any]:
    found = aws.client("sqs").receive_message(QueueUrl=queue_url(aws), MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in found.get("Messages", [])]


def test_what_is_due_fires_in_order_of_time(aws, scheduler):
    schedule(aws, "hourly", "rate(1 hour)", body='"hourly"')
    schedule(aws, "often", "rate(25 minutes)", body='"often"')
    assert messages(aws) == []

    aws.clock.advance(timedelta(minutes=61))

    assert messages(aws) == ["often", "often", "hourly"]


def test_the_input_carries_the_scheduled_time_and_the_schedule(aws, scheduler):
    text = '{"at": "<aws.scheduler.scheduled-time>", "who": "<aws.scheduler.schedule-arn>"}'
    schedule(aws, "tokens", "rate(1 hour)", body=text)
    due = aws.clock.now() + HOUR

    aws.clock.advance(2 * HOUR - timedelta(minutes=1))

    [message] = messages(aws)
    assert message["who"] == aws.arn("scheduler", "schedule/default/tokens")
    scheduled = datetime.strptime(message["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(scheduled - due) < timedelta(seconds=5)


def test_without_an_input_the_target_gets_an_envelope_with_detail_as_text(aws, scheduler):
    schedule(aws, "bare", "rate(1 hour)")

    aws.clock.advance(HOUR)

    [message] = messages(aws)
    assert (message["source"], message["detail"]) == ("aws.scheduler", "{}")


def test_a_cron_follows_its_time_zone(aws, scheduler):
    schedule(aws, "evening", "cron(0 20 * * ? *)", body='"x"', ScheduleExpressionTimezone="Europe/Berlin")

    aws.clock.advance(timedelta(hours=24))

    fired = [firing.at for firing in aws.schedules.fired if firing.schedule == "evening"]
    assert [(moment.hour, moment.minute) for moment in fired] in ([(19, 0)], [(18, 0)])


def test_a_disabled_or_ended_schedule_stays_silent(aws, scheduler):
    schedule(aws, "off", "rate(1 hour)", body='"off"', State="DISABLED")
    schedule(aws, "ended", "rate(1 hour)", body='"ended"', EndDate=aws.clock.now() + timedelta(minutes=1))

    aws.clock.advance(3 * HOUR)

    assert messages(aws) == []


def test_a_one_time_schedule_fires_once_and_deletes_itself_when_told(aws, scheduler):
    when = (aws.clock.now() + HOUR).strftime("%Y-%m-%dT%H:%M:%S")
    schedule(aws, "once", f"at({when})", body='"once"', ActionAfterCompletion="DELETE")

    aws.clock.advance(3 * HOUR)

    assert messages(aws) == ["once"]
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException):
        scheduler.get_schedule(Name="once")


def test_a_role_that_may_not_send_makes_the_firing_fail(aws, scheduler):
    schedule(aws, "vain", "rate(1 hour)", role="powerless", body='"vain"')

    aws.clock.advance(HOUR)

    assert messages(aws) == []
    assert "sqs:SendMessage" in aws.schedules.fired[-1].failure
    assert aws.iam.denied("powerless")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"ScheduleExpression": "cron(nope)"}, id="expression"),
        pytest.param({"ScheduleExpressionTimezone": "Mars/Olympus"}, id="time zone"),
        pytest.param(
            {"Target": {"Arn": "arn:aws:sns:eu-west-1:1:t", "RoleArn": "arn:aws:iam::1:role/r"}}, id="target"
        ),
    ],
)
def test_nonsense_is_refused_at_creation(aws, scheduler, change):
    good = {
        "Name": "bad",
        "ScheduleExpression": "rate(1 hour)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": aws.arn("sqs", "due"), "RoleArn": "arn:aws:iam::123456789012:role/scheduler"},
    }
    with pytest.raises(scheduler.exceptions.ValidationException):
        scheduler.create_schedule(**good | change)


def test_a_group_that_is_not_there_is_not_found(aws, scheduler):
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException):
        schedule(aws, "lost", "rate(1 hour)", GroupName="nowhere")


def test_what_has_fired_does_not_fire_again_once_the_clock_follows_real_time(aws, scheduler):
    schedule(aws, "hourly", "rate(1 hour)", body='"hourly"')
    aws.clock.advance(HOUR)

    aws.clock.follow_real_time()
    aws.clock.tick()

    assert abs(aws.clock.now() - datetime.now(UTC)) < timedelta(seconds=1)
    assert messages(aws) == ["hourly"]


def test_the_clock_does_not_go_back(aws):
    with pytest.raises(ValueError, match="does not go back"):
        aws.clock.advance(-HOUR)
