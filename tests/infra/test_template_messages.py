"""No message is lost silently: queues, dead letters, alarms, rules and the schedule."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from moto.events.models import EventPattern
from slicewise.app import CAPABILITIES, OFF_HOURS, ONBOARDING, TIMEOUTS, TUNING
from slicewise.fleet.openings import EVERY, PASSES_AT_ONCE
from slicewise.reconcile.batch import MOST_RECEIVES

from tests.infra.templates import Template, as_list, spelt_out

ROOT = Path(__file__).parents[2]
QUEUE, ALARM, RULE = "AWS::SQS::Queue", "AWS::CloudWatch::Alarm", "AWS::Events::Rule"


def dead_letter_ids(template: Template) -> set[str]:
    return {item.id for item in template.all(QUEUE) if item.properties["QueueName"].endswith("-dead-letters")}


def test_every_queue_that_is_worked_on_has_dead_letters(template):
    worked_on = [item for item in template.all(QUEUE) if item.id not in dead_letter_ids(template)]

    assert {item.properties["QueueName"] for item in worked_on} == {
        "slicewise-onboarding",
        "slicewise-tuning",
        "slicewise-off-hours",
    }
    for item in worked_on:
        redrive = item.properties["RedrivePolicy"]
        assert redrive["deadLetterTargetArn"]["Fn::GetAtt"][0] in dead_letter_ids(template)
        assert redrive["maxReceiveCount"] == 5


def test_every_rule_target_and_the_schedule_have_dead_letters(template):
    arns = {f"<{id}.Arn>" for id in dead_letter_ids(template)}
    targets = [target for rule in template.all(RULE) for target in rule.properties["Targets"]]
    targets += [item.properties["Target"] for item in template.all("AWS::Scheduler::Schedule")]

    assert len(targets) == 5
    assert {spelt_out(target["DeadLetterConfig"]["Arn"]) for target in targets} <= arns


@pytest.mark.parametrize("name", ["slicewise-sweep-fleet", "slicewise-watch-openings"])
def test_a_call_by_the_clock_that_fails_in_the_function_is_kept_too(template, name):
    config = template.function(name).properties["DeadLetterConfig"]

    assert spelt_out(config["TargetArn"]) in {f"<{id}.Arn>" for id in dead_letter_ids(template)}


def test_queues_are_encrypted_and_refuse_plain_http(template):
    denied = {
        queue["Ref"]
        for policy in template.all("AWS::SQS::QueuePolicy")
        for queue in policy.properties["Queues"]
        for statement in policy.properties["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
    }

    assert denied == {item.id for item in template.all(QUEUE)}
    assert all(item.properties["SqsManagedSseEnabled"] for item in template.all(QUEUE))


def test_a_message_stays_hidden_longer_than_its_function_may_run(template):
    for mapping in template.all("AWS::Lambda::EventSourceMapping"):
        function = template.body["Resources"][mapping.properties["FunctionName"]["Ref"]]
        queue = template.body["Resources"][mapping.properties["EventSourceArn"]["Fn::GetAtt"][0]]

        assert queue["Properties"]["VisibilityTimeout"] > function["Properties"]["Timeout"]


def test_a_killed_reconcile_is_followed_before_the_next_sweep(template):
    visibility = [item.properties.get("VisibilityTimeout", 0) for item in template.all(QUEUE)]

    assert max(visibility) < 3600


def test_messages_are_handled_one_by_one_and_fail_alone(template):
    for mapping in template.all("AWS::Lambda::EventSourceMapping"):
        assert mapping.properties["BatchSize"] == 1
        assert mapping.properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping.properties["ScalingConfig"]["MaximumConcurrency"] >= 2  # Lambda's least


def test_as_many_clusters_wake_at_once_as_the_simulation_reckons_with(template):
    queues = {item.properties["QueueName"]: item.id for item in template.all(QUEUE)}
    at_once = {
        mapping.properties["EventSourceArn"]["Fn::GetAtt"][0]: mapping.properties["ScalingConfig"]
        for mapping in template.all("AWS::Lambda::EventSourceMapping")
    }

    assert at_once[queues["slicewise-off-hours"]] == {"MaximumConcurrency": PASSES_AT_ONCE}
    # New accounts have ten places, others a thousand; the account has other functions.
    assert sum(one["MaximumConcurrency"] for one in at_once.values()) <= 200


def test_functions_that_wake_themselves_are_not_stopped_as_a_loop(template):
    """Waiting 45 minutes for a cluster, a minute at a time, is more than the 16 turns that Lambda allows."""
    loops = {
        item.properties["FunctionName"]: item.properties.get("RecursiveLoop", "Terminate")
        for item in template.all("AWS::Lambda::Function")
    }

    assert loops == {
        "slicewise-onboard-cluster": "Allow",
        "slicewise-tune-slicing": "Allow",
        "slicewise-shift-capacity": "Allow",
        "slicewise-sweep-fleet": "Terminate",
        "slicewise-watch-openings": "Terminate",
    }


def test_every_dead_letter_queue_has_an_alarm_at_the_first_message(template):
    watched = {
        item.properties["Dimensions"][0]["Value"]["Fn::GetAtt"][0]
        for item in template.all(ALARM)
        if item.properties["MetricName"] == "ApproximateNumberOfMessagesVisible"
        and item.properties["Threshold"] == 1
        and item.properties["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    }

    assert watched == dead_letter_ids(template)


def test_every_worked_on_queue_has_an_alarm_on_the_age_of_messages(template):
    watched = {
        item.properties["Dimensions"][0]["Value"]["Fn::GetAtt"][0]
        for item in template.all(ALARM)
        if item.properties["MetricName"] == "ApproximateAgeOfOldestMessage"
    }

    assert watched == {item.id for item in template.all(QUEUE)} - dead_letter_ids(template)


def test_every_alarm_notifies_the_topic_and_may(template):
    topic = template.all("AWS::SNS::Topic")[0]
    statements = template.all("AWS::SNS::TopicPolicy")[0].properties["PolicyDocument"]["Statement"]
    may_publish = [
        item
        for item in statements
        if item["Effect"] == "Allow" and item["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    ]

    assert all(item.properties["AlarmActions"] == [{"Ref": topic.id}] for item in template.all(ALARM))
    assert len(may_publish) == 1 and "sns:Publish" in as_list(may_publish[0]["Action"])


def test_an_alarm_says_that_the_fleet_was_not_swept_for_two_hours(template):
    alarm = template.one(ALARM, AlarmName="slicewise-no-sweep").properties
    [function] = alarm["Dimensions"]

    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "Invocations")
    assert function["Value"]["Ref"] == template.function("slicewise-sweep-fleet").id
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 2 * 3600
    assert (alarm["Statistic"], alarm["Threshold"], alarm["ComparisonOperator"]) == (
        *("Sum", 1),
        "LessThanThreshold",
    )
    assert alarm["TreatMissingData"] == "breaching", "a function that nobody calls has no data"


def test_openings_are_checked_every_five_minutes_by_a_rule_of_its_own(template):
    """Not by EventBridge Scheduler, which wakes clusters: what ends the one leaves the other."""
    rule = template.one(RULE, Name="slicewise-openings").properties
    function = template.function("slicewise-watch-openings")
    [target] = rule["Targets"]

    assert rule["ScheduleExpression"] == f"rate({EVERY.seconds // 60} minutes)" == "rate(5 minutes)"
    assert rule["State"] == "ENABLED" and target["Arn"] == {"Fn::GetAtt": [function.id, "Arn"]}
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] < EVERY.seconds
    called = template.one("AWS::Lambda::Permission").properties
    assert called["FunctionName"] == target["Arn"] and called["Principal"] == "events.amazonaws.com"


def test_an_alarm_says_that_nobody_has_checked_openings_for_a_quarter_of_an_hour(template):
    alarm = template.one(ALARM, AlarmName="slicewise-no-look-at-openings").properties
    [function] = alarm["Dimensions"]

    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "Invocations")
    assert function["Value"]["Ref"] == template.function("slicewise-watch-openings").id
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 15 * 60
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "LessThanThreshold")
    assert alarm["TreatMissingData"] == "breaching", "a function that nobody calls has no data"


def test_one_cluster_asleep_past_its_hour_is_an_alarm_on_what_the_function_writes(template):
    alarm = template.one(ALARM, AlarmName="slicewise-asleep-past-its-hour").properties
    environment = template.function("slicewise-watch-openings").properties["Environment"]["Variables"]
    line = written_by_the_function(environment["POWERTOOLS_SERVICE_NAME"])
    [block] = line["_aws"]["CloudWatchMetrics"]

    assert [alarm["Namespace"], alarm["MetricName"]] == [block["Namespace"], block["Metrics"][0]["Name"]]
    assert {one["Name"]: one["Value"] for one in alarm["Dimensions"]} == {
        name: line[name] for name in block["Dimensions"][0]
    }
    assert line["AsleepPastItsHour"] == [1.0] and alarm["Threshold"] == 1
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (EVERY.seconds, 1), "the very first look rings"


def written_by_the_function(service: str) -> dict:
    """The line of metrics that its handler leaves with one cluster that is late."""
    code = "import handler; handler.report(('arn:aws:eks:eu-west-1:111122223333:cluster/gpu-1',))"
    path = os.pathsep.join(
        str(ROOT / folder) for folder in ("lambdas/watch_openings", "layers/slicewise/python")
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": path, "POWERTOOLS_SERVICE_NAME": service},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert any(line.get("clusters") == ["gpu-1"] for line in lines), "the log names it"
    [metrics] = [line for line in lines if "_aws" in line]
    return metrics


PARTS = re.compile(r"What failed: (.+) For the clusters: (.+) First command: (.+)")
# CloudWatch API reference, PutMetricAlarm.
LONGEST_DESCRIPTION = 1024


def reported_by_alarms(template: Template) -> dict[str, tuple[str, ...]]:
    """By name, what failed, what it means for the clusters, and the first command."""
    descriptions = {
        item.properties["AlarmName"]: item.properties["AlarmDescription"] for item in template.all(ALARM)
    }
    assert max(map(len, descriptions.values())) <= LONGEST_DESCRIPTION
    found = {name: PARTS.fullmatch(text) for name, text in descriptions.items()}
    assert all(found.values()), [name for name, parts in found.items() if not parts]
    return {name: parts.groups() for name, parts in found.items()}


def test_every_alarm_says_what_failed_what_it_means_and_what_to_type_first(template):
    reported = reported_by_alarms(template)

    assert len(reported) == len(template.all(ALARM)) == 11
    commands = {command for *_, command in reported.values()}
    assert {command.split()[0] for command in commands} == {"aws", "slicewise"}
    changing = re.compile(r"\b(delete|put|update|start|purge|redrive|invoke)\b")
    assert not any(changing.search(command) for command in commands)


def test_the_page_on_alarms_has_each_of_them_with_the_same_first_command(template):
    page = (ROOT / "docs/deploying.md").read_text()
    rows = re.findall(r"^\| `(slicewise-[a-z-]+)` \| (.+) \| (.+) \| `(.+)` \|$", page, re.MULTILINE)

    reported = reported_by_alarms(template)
    assert {name: command for name, _, _, command in rows} == {name: one[2] for name, one in reported.items()}


def test_functions_end_when_the_runtime_thinks_they_do(template):
    """A lease lasts as long as the function may run: a shorter one would be taken from a pass that looks."""
    names = {
        ONBOARDING: "slicewise-onboard-cluster",
        TUNING: "slicewise-tune-slicing",
        OFF_HOURS: "slicewise-shift-capacity",
    }

    assert {name: template.function(function).properties["Timeout"] for name, function in names.items()} == {
        name: timeout.total_seconds() for name, timeout in TIMEOUTS.items()
    }
    assert names.keys() == set(CAPABILITIES)


def test_messages_have_the_tries_that_records_tell(template):
    policies = [item.properties.get("RedrivePolicy") for item in template.all(QUEUE)]

    assert {policy["maxReceiveCount"] for policy in policies if policy} == {MOST_RECEIVES}


def test_nobody_is_subscribed_unless_an_address_is_given(template, full):
    assert not template.all("AWS::SNS::Subscription")
    assert full.one("AWS::SNS::Subscription").properties["Endpoint"] == "gpu-team@example.com"


def test_the_sweep_runs_hourly_and_not_on_the_stroke(template):
    schedule = template.one("AWS::Scheduler::Schedule").properties

    assert schedule["ScheduleExpression"] == "rate(1 hour)"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}


def cloudtrail(name: str, **detail: object) -> dict:
    return {
        "source": "aws.eks",
        "detail-type": "AWS API Call via CloudTrail",
        "region": "eu-west-1",
        "account": "111122223333",
        "detail": {"eventSource": "eks.amazonaws.com", "eventName": name, "awsRegion": "eu-west-1", **detail},
    }


ARN = "arn:aws:eks:eu-west-1:111122223333:cluster/gpu-1"
NODE_GROUP = "arn:aws:eks:eu-west-1:111122223333:nodegroup/cluster/group/8cc1f3b0"


def tagged(arn: str) -> dict:
    return {"requestParameters": {"resourceArn": arn, "tags": {"slicewise.dev/policy": "default"}}}


def alarm(name: str, state: str, **more: object) -> dict:
    return {
        "source": "aws.cloudwatch",
        "detail-type": "CloudWatch Alarm State Change",
        "detail": {"alarmName": name, "state": {"value": state}, **more},
    }


EVENTS = {
    "GPUs are idle": (alarm("slicewise/gpu-1/idle", "ALARM"), True),
    "GPUs are no longer idle": (alarm("slicewise/gpu-1/idle", "OK"), True),
    "no data": (alarm("slicewise/gpu-1/idle", "INSUFFICIENT_DATA"), False),
    "the deployment's own alarm": (alarm("slicewise-tuning-waits", "ALARM"), False),
    "somebody's alarm": (alarm("cpu", "ALARM"), False),
    "an alarm edited": (
        alarm("slicewise/gpu-1/idle", "ALARM") | {"detail-type": "CloudWatch Alarm Configuration Change"},
        False,
    ),
    "created": (cloudtrail("CreateCluster", requestParameters={"name": "gpu-1"}), True),
    "created, old field name": (
        cloudtrail("CreateCluster", requestParameters={"clusterName": "gpu-1"}),
        True,
    ),
    "deleted": (cloudtrail("DeleteCluster", requestParameters={"name": "gpu-1"}), True),
    "tagged": (cloudtrail("TagResource", **tagged(ARN)), True),
    "tagged, ARN encoded": (
        cloudtrail("TagResource", **tagged(ARN.replace(":", "%3A").replace("/", "%2F"))),
        True,
    ),
    "untagged": (cloudtrail("UntagResource", **tagged(ARN)), True),
    "by CloudFormation": (cloudtrail("CreateCluster", userIdentity={"invokedBy": "cloudformation"}), True),
    "creation failed": (cloudtrail("CreateCluster", errorCode="ResourceInUseException"), False),
    "tagging failed": (cloudtrail("TagResource", errorCode="AccessDenied", **tagged(ARN)), False),
    "a node group tagged": (cloudtrail("TagResource", **tagged(NODE_GROUP)), False),
    "an add-on made": (cloudtrail("CreateAddon", requestParameters={"name": "gpu-1"}), False),
    "another service's": (
        cloudtrail("CreateCluster") | {"source": "aws.ecs"},
        False,
    ),
    "a native event": (
        {"source": "aws.eks", "detail-type": "EKS Addon Creation Succeeded", "detail": {}},
        False,
    ),
}


@pytest.mark.parametrize(("event", "wanted"), EVENTS.values(), ids=EVENTS.keys())
def test_rules_take_the_events_that_matter_and_no_others(template, event, wanted):
    found = [rule.properties.get("EventPattern") for rule in template.all(RULE)]
    patterns = [EventPattern.load(json.dumps(pattern)) for pattern in found if pattern]

    assert sum(pattern.matches_event(event) for pattern in patterns) == (1 if wanted else 0)
