"""How events reach the bus: shaped as CloudTrail's, late or lost when a test says so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.aws.cloudtrail import events as cloudtrail
from sandbox.aws.server import Aws
from tests.support.waiting import eventually

WHERE = {"account": "123456789012", "region": "eu-west-1"}
ARN = "arn:aws:eks:eu-west-1:123456789012:cluster/gpu-1"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws"), creating_seconds=0) as aws:
        yield aws


@pytest.fixture
def received(aws: Aws) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Everything of EKS and of alarms that arrived on the bus since the test began."""
    url = aws.client("sqs").create_queue(QueueName="seen")["QueueUrl"]
    pattern = json.dumps({"source": ["aws.eks", "aws.cloudwatch"]})
    aws.client("events").put_rule(Name="seen", EventPattern=pattern)
    aws.client("events").put_targets(Rule="seen", Targets=[{"Id": "1", "Arn": aws.arn("sqs", "seen")}])
    seen: list[dict[str, Any]] = []

    def read() -> list[dict[str, Any]]:
        while (
            found := aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages")
        ):
            for message in found:
                seen.append(json.loads(message["Body"]))
                aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return seen

    yield read
    eventually(lambda: aws.events.pending() == 0)
    aws.client("events").remove_targets(Rule="seen", Ids=["1"])
    aws.client("events").delete_rule(Name="seen")
    aws.client("sqs").delete_queue(QueueUrl=url)
    aws.events.delay_seconds, aws.events.lose_next = 0.0, 0
    aws.events.lose(None)


def create(aws: Aws, name: str, **more: Any) -> None:
    aws.client("eks").create_cluster(
        name=name, roleArn="arn:aws:iam::123456789012:role/eks", resourcesVpcConfig={}, **more
    )


def test_every_change_of_a_cluster_is_reported(aws, received):
    create(aws, "gpu-1", tags={"slicewise.dev/policy": "default"})
    eks = aws.client("eks")
    eks.tag_resource(resourceArn=ARN, tags={"team": "ml"})
    eks.untag_resource(resourceArn=ARN, tagKeys=["team"])
    eks.delete_cluster(name="gpu-1")

    created, tagged, untagged, deleted = (event["detail"] for event in received())
    assert [one["eventName"] for one in (created, tagged, untagged, deleted)] == [
        "CreateCluster",
        "TagResource",
        "UntagResource",
        "DeleteCluster",
    ]
    assert created["requestParameters"]["tags"] == {"slicewise.dev/policy": "default"}
    assert created["responseElements"]["cluster"]["arn"] == ARN
    assert tagged["requestParameters"]["resourceArn"] == ARN.replace(":", "%3A").replace("/", "%2F")
    assert untagged["requestParameters"]["tagKeys"] == ["team"]
    assert deleted["requestParameters"]["name"] == "gpu-1"


def test_an_event_looks_as_event_bridge_sends_it(aws, received):
    aws.events.send_record(cloudtrail.create_cluster("by-hand", **WHERE))

    [event] = received()
    assert set(event) == {
        *("version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"),
    }
    assert event["detail-type"] == "AWS API Call via CloudTrail"
    assert event["account"] == "123456789012"
    assert time.strptime(event["time"], "%Y-%m-%dT%H:%M:%SZ")


def test_events_come_late_by_the_delay(aws, received):
    aws.events.delay_seconds = 2
    sent = time.monotonic()
    create(aws, "late")

    eventually(received)
    assert time.monotonic() - sent >= 2
    aws.client("eks").delete_cluster(name="late")


def test_the_next_events_are_lost_and_what_was_lost_is_known(aws, received):
    aws.events.lose_next = 1
    create(aws, "lost")
    create(aws, "kept")

    assert [event["detail"]["requestParameters"]["name"] for event in received()] == ["kept"]
    assert "lost" in aws.events.lost[-1]["Detail"]


def test_events_are_lost_by_what_they_say(aws, received):
    aws.events.lose(lambda detail: detail.get("eventName") == "CreateCluster")
    create(aws, "silent")
    aws.client("eks").delete_cluster(name="silent")

    assert [event["detail"]["eventName"] for event in received()] == ["DeleteCluster"]


@pytest.mark.parametrize(
    ("record", "place", "value"),
    [
        pytest.param(
            cloudtrail.create_cluster("gpu-1", **WHERE, name_field="clusterName"),
            ("responseElements", "cluster", "clusterName"),
            "gpu-1",
            id="clusterName as in the 2018 sample",
        ),
        pytest.param(
            cloudtrail.create_cluster("gpu-1", **WHERE, error_code="AccessDenied"),
            ("errorCode",),
            "AccessDenied",
            id="a call that failed",
        ),
        pytest.param(
            cloudtrail.create_cluster("gpu-1", **WHERE, error_code="AccessDenied"),
            ("responseElements",),
            None,
            id="a call that failed has no answer",
        ),
        pytest.param(
            cloudtrail.tag_resource(ARN, {"a": "b"}, **WHERE, encoded=False),
            ("requestParameters", "resourceArn"),
            ARN,
            id="a plain ARN",
        ),
        pytest.param(
            cloudtrail.delete_cluster("gpu-1", **WHERE),
            ("requestParameters", "name"),
            "gpu-1",
            id="a deletion",
        ),
        pytest.param(
            cloudtrail.associate_access_policy("gpu-1", "arn:aws:iam::1:role/a", "arn:p", **WHERE),
            ("requestParameters", "principalArn"),
            "arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa",
            id="an encoded principal",
        ),
    ],
)
def test_the_builders_make_every_recorded_shape(record, place, value):
    found: Any = record
    for key in place:
        found = found[key]
    assert found == value


def test_an_alarm_that_changes_state_is_reported_once_with_its_tags(aws, received):
    cloudwatch = aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="idle",
        Namespace="ContainerInsights",
        MetricName="node_gpu_utilization",
        Dimensions=[{"Name": "ClusterName", "Value": "gpu-1"}],
        Statistic="Maximum",
        Period=300,
        EvaluationPeriods=6,
        Threshold=5,
        ComparisonOperator="LessThanThreshold",
        Tags=[{"Key": "slicewise.dev/cluster", "Value": "gpu-1"}],
        ActionConfiguration={"AlarmTagsPropagation": {"Enabled": True}},
    )
    for reason in ("below", "still below"):
        cloudwatch.set_alarm_state(AlarmName="idle", StateValue="ALARM", StateReason=reason)

    [event] = received()
    detail = event["detail"]
    assert event["detail-type"] == "CloudWatch Alarm State Change"
    assert event["resources"] == [aws.arn("cloudwatch", "alarm:idle")]
    assert (detail["previousState"]["value"], detail["state"]["value"]) == ("INSUFFICIENT_DATA", "ALARM")
    assert detail["alarmTags"] == {"slicewise.dev/cluster": "gpu-1"}
    [metric] = detail["configuration"]["metrics"]
    assert metric["metricStat"]["metric"]["dimensions"] == {"ClusterName": "gpu-1"}


def test_an_alarm_on_metric_math_reports_its_metrics_and_no_tags_unless_asked_to(aws, received):
    cloudwatch = aws.client("cloudwatch")
    dimensions = [{"Name": "ClusterName", "Value": "gpu-1"}]
    metric = {"Namespace": "ContainerInsights", "MetricName": "node_gpu_limit", "Dimensions": dimensions}
    stat = {"Metric": metric, "Period": 300, "Stat": "p90"}
    queries = [
        {"Id": "busy", "MetricStat": stat, "ReturnData": False},
        {"Id": "asked", "Expression": "IF(busy > 90, 1, 0)", "ReturnData": True},
    ]
    cloudwatch.put_metric_alarm(
        AlarmName="math",
        Metrics=queries,
        EvaluationPeriods=3,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        Tags=[{"Key": "team", "Value": "ml"}],
    )
    cloudwatch.set_alarm_state(AlarmName="math", StateValue="ALARM", StateReason="r")

    [event] = received()
    busy, asked = event["detail"]["configuration"]["metrics"]
    assert busy["metricStat"] == {
        "metric": {
            "namespace": "ContainerInsights",
            "name": "node_gpu_limit",
            "dimensions": {"ClusterName": "gpu-1"},
        },
        "period": 300,
        "stat": "p90",
    }
    assert asked == {"id": "asked", "expression": "IF(busy > 90, 1, 0)", "returnData": True}
    assert "alarmTags" not in event["detail"]
    [kept] = cloudwatch.describe_alarms(AlarmNames=["math"])["MetricAlarms"]
    assert kept["Metrics"] == queries


def test_putting_an_alarm_again_keeps_its_state_and_tags(aws):
    cloudwatch = aws.client("cloudwatch")
    alarm = {
        "AlarmName": "kept",
        "Namespace": "N",
        "MetricName": "m",
        "Statistic": "Maximum",
        "Period": 300,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "LessThanThreshold",
    }
    cloudwatch.put_metric_alarm(**alarm, Threshold=1, Tags=[{"Key": "a", "Value": "1"}])
    cloudwatch.set_alarm_state(AlarmName="kept", StateValue="ALARM", StateReason="r")
    cloudwatch.put_metric_alarm(**alarm, Threshold=2, Tags=[{"Key": "a", "Value": "2"}])

    [found] = cloudwatch.describe_alarms(AlarmNames=["kept"])["MetricAlarms"]
    assert (found["StateValue"], found["Threshold"]) == ("ALARM", 2)
    assert cloudwatch.list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"] == [
        {"Key": "a", "Value": "1"}
    ]


def test_a_target_gets_its_constant_input(aws):
    url = aws.client("sqs").create_queue(QueueName="constant")["QueueUrl"]
    aws.client("events").put_rule(Name="constant", EventPattern=json.dumps({"source": ["mine"]}))
    target = {"Id": "1", "Arn": aws.arn("sqs", "constant"), "Input": json.dumps({"kind": "sweep"})}
    aws.client("events").put_targets(Rule="constant", Targets=[target])
    aws.client("events").put_events(Entries=[{"Source": "mine", "DetailType": "x", "Detail": "{}"}])

    [message] = aws.client("sqs").receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"]) == {"kind": "sweep"}


def test_a_rule_with_a_schedule_may_call_a_function_and_takes_no_event(aws):
    events, work = aws.client("events"), aws.arn("lambda", "function:work")
    events.put_rule(Name="clock", ScheduleExpression="rate(5 minutes)")
    events.put_targets(Rule="clock", Targets=[{"Id": "1", "Arn": work}])

    answer = events.put_events(Entries=[{"Source": "mine", "DetailType": "x", "Detail": "{}"}])
    assert answer["FailedEntryCount"] == 0


def test_a_target_that_would_never_fire_is_refused(aws):
    events = aws.client("events")
    events.put_rule(Name="direct", EventPattern=json.dumps({"source": ["mine"]}))

    with pytest.raises(events.exceptions.ClientError, match="put a queue in between"):
        events.put_targets(Rule="direct", Targets=[{"Id": "1", "Arn": aws.arn("lambda", "function:work")}])
