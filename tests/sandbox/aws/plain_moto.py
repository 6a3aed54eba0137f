"""
What moto does without the sandbox's fixes, observed in a process of its own.

`python -m tests.sandbox.aws.plain_moto` prints one JSON object: fault -> what was seen.
"""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

from sandbox.aws.core import botocore_files

REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/r"
ALARM = {
    "AlarmName": "a",
    "Namespace": "N",
    "MetricName": "m",
    "Statistic": "Maximum",
    "Period": 300,
    "EvaluationPeriods": 1,
    "Threshold": 1,
    "ComparisonOperator": "LessThanThreshold",
}
FUNCTION = {
    "FunctionName": "f",
    "Runtime": "python3.13",
    "Handler": "index.handler",
    "Role": ROLE,
    "Code": {"ZipFile": "def handler(e, c): return 'ran'"},
}


def client(service: str) -> Any:
    return boto3.client(
        service, region_name=REGION, aws_access_key_id="AKIAPLAIN00000000000", aws_secret_access_key="x"
    )


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        opened.writestr("index.py", "def handler(e, c): return 'ran'")
    return content.getvalue()


def role() -> None:
    principal = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    trust = json.dumps({"Version": "2012-10-17", "Statement": [principal]})
    client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=trust)


def function() -> str:
    role()
    made = client("lambda").create_function(**{**FUNCTION, "Code": {"ZipFile": archive()}})
    return made["FunctionArn"]


def stack(
    resources: dict[str, Any], outputs: dict[str, Any] | None = None, verb: str = "create_stack"
) -> Any:
    template = {"Resources": resources}
    if outputs:
        template["Outputs"] = {key: {"Value": value} for key, value in outputs.items()}
    cloudformation = client("cloudformation")
    getattr(cloudformation, verb)(StackName="s", TemplateBody=json.dumps(template))
    made = cloudformation.describe_stacks(StackName="s")["Stacks"][0].get("Outputs", [])
    return {output["OutputKey"]: output["OutputValue"] for output in made}


def in_stack(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": kind, "Properties": properties}


def layer(text: str = "one") -> dict[str, Any]:
    client("s3").put_object(Bucket="bucket", Key=f"{text}.zip", Body=archive())
    return in_stack(
        "AWS::Lambda::LayerVersion", LayerName="l", Content={"S3Bucket": "bucket", "S3Key": f"{text}.zip"}
    )


def bucket() -> None:
    client("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})


def invoke_echoes() -> Any:
    function()
    return json.loads(client("lambda").invoke(FunctionName="f", Payload=b'{"sent": 1}')["Payload"].read())


def mapped_queue_is_emptied() -> Any:
    sqs = client("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:123456789012:q"
    client("lambda").create_event_source_mapping(EventSourceArn=arn, FunctionName=function())
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return attributes["ApproximateNumberOfMessages"], attributes["ApproximateNumberOfMessagesNotVisible"]


def event_to(target: dict[str, Any]) -> Any:
    sqs, events = client("sqs"), client("events")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    events.put_rule(Name="r", EventPattern='{"source": ["s"]}')
    events.put_targets(
        Rule="r", Targets=[{"Id": "1", "Arn": f"arn:aws:sqs:{REGION}:123456789012:q"} | target]
    )
    events.put_events(Entries=[{"Source": "s", "DetailType": "t", "Detail": "{}"}])
    return json.loads(sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])


def event_lacks_account() -> Any:
    return "account" in event_to({})


def target_input_is_ignored() -> Any:
    return event_to({"Input": '{"mine": 1}'}).get("mine")


def function_target_fails_put_events() -> Any:
    try:
        event_to({"Arn": f"arn:aws:lambda:{REGION}:123456789012:function:f"})
    except NotImplementedError as error:
        return type(error).__name__


def function_properties_are_dropped() -> Any:
    role()
    stack({"F": in_stack("AWS::Lambda::Function", **FUNCTION, Architectures=["arm64"])})
    return client("lambda").get_function_configuration(FunctionName="f")["Architectures"]


def layer_reference_is_an_object() -> Any:
    bucket()
    return stack({"L": layer()}, {"Ref": {"Ref": "L"}})["Ref"].startswith("<moto.")


def layer_update_is_lost() -> Any:
    bucket()
    stack({"L": layer("one")})
    stack({"L": layer("two")}, verb="update_stack")
    [resource] = client("cloudformation").describe_stack_resources(StackName="s")["StackResources"]
    return "PhysicalResourceId" in resource


def topic_without_properties_is_replaced() -> Any:
    topic = {"T": {"Type": "AWS::SNS::Topic"}}
    first = stack(topic, {"Arn": {"Ref": "T"}})
    queue = {"Q": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "q"}}}
    return stack({**topic, **queue}, {"Arn": {"Ref": "T"}}, "update_stack") == first


def time_to_live_is_dropped() -> Any:
    table = in_stack(
        "AWS::DynamoDB::Table",
        TableName="t",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        TimeToLiveSpecification={"AttributeName": "expires", "Enabled": True},
    )
    stack({"T": table})
    described = client("dynamodb").describe_time_to_live(TableName="t")
    return described["TimeToLiveDescription"]["TimeToLiveStatus"]


def missing_change_set_fails() -> Any:
    try:
        client("cloudformation").delete_change_set(ChangeSetName="none", StackName="s")
    except Exception as error:
        return type(error).__name__


def alarm_is_not_made() -> Any:
    stack({"A": in_stack("AWS::CloudWatch::Alarm", **ALARM)})
    return client("cloudwatch").describe_alarms()["MetricAlarms"]


def any_schedule_is_accepted() -> Any:
    client("scheduler").create_schedule(
        Name="x",
        ScheduleExpression="cron(nope)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": f"arn:aws:sqs:{REGION}:123456789012:q", "RoleArn": ROLE},
    )
    return client("scheduler").get_schedule(Name="x")["ScheduleExpression"]


def alarm_begins_as_ok() -> Any:
    client("cloudwatch").put_metric_alarm(**ALARM)
    return client("cloudwatch").describe_alarms()["MetricAlarms"][0]["StateValue"]


def metric_is_listed_once_a_datapoint() -> Any:
    cloudwatch = client("cloudwatch")
    for _ in range(2):
        cloudwatch.put_metric_data(Namespace="N", MetricData=[{"MetricName": "m", "Value": 1}])
    return len(cloudwatch.list_metrics(Namespace="N")["Metrics"])


def periods_begin_at_the_question() -> Any:
    cloudwatch, start = client("cloudwatch"), datetime.now(UTC).replace(minute=2, second=0, microsecond=0)
    cloudwatch.put_metric_data(
        Namespace="N", MetricData=[{"MetricName": "m", "Value": 1, "Timestamp": start + timedelta(minutes=1)}]
    )
    metric = {"Metric": {"Namespace": "N", "MetricName": "m"}, "Period": 300, "Stat": "Sum"}
    found = cloudwatch.get_metric_data(
        MetricDataQueries=[{"Id": "q", "MetricStat": metric}],
        StartTime=start,
        EndTime=start + timedelta(minutes=10),
    )
    return found["MetricDataResults"][0]["Timestamps"][0].minute


def cluster_is_active_at_once() -> Any:
    made = client("eks").create_cluster(name="c", roleArn=ROLE, resourcesVpcConfig={})
    return made["cluster"]["status"], "accessConfig" in made["cluster"]


def node_groups_of_no_cluster_fail() -> Any:
    try:
        client("eks").list_nodegroups(clusterName="none")
    except Exception as error:
        return type(error).__name__


def access_entries_are_missing() -> Any:
    client("eks").create_cluster(name="c", roleArn=ROLE, resourcesVpcConfig={})
    try:
        client("eks").list_access_entries(clusterName="c")
    except Exception as error:
        return type(error).__name__


def profile_is_active_at_once_in_any_subnet() -> Any:
    client("eks").create_cluster(name="c", roleArn=ROLE, resourcesVpcConfig={})
    for name in ("a", "b"):
        made = client("eks").create_fargate_profile(
            fargateProfileName=name,
            clusterName="c",
            podExecutionRoleArn=ROLE,
            subnets=["subnet-none"],
            selectors=[{"namespace": "kube-system"}],
        )["fargateProfile"]
    return made["status"]


def issuer_is_that_of_every_cluster() -> bool:
    made = [
        client("eks").create_cluster(name=name, roleArn=ROLE, resourcesVpcConfig={})["cluster"]
        for name in ("a", "b")
    ]
    first, second = (one["identity"]["oidc"]["issuer"] for one in made)
    return bool(first == second)


def boundary_need_not_exist() -> bool:
    document = '{"Version": "2012-10-17", "Statement": []}'
    boundary = "arn:aws:iam::123456789012:policy/none"
    made = client("iam").create_role(
        RoleName="r", AssumeRolePolicyDocument=document, PermissionsBoundary=boundary
    )
    return "Role" in made


def each_message_counts_the_queue() -> bool:
    from moto.sqs.models import Queue

    counted, count = list[int](), Queue.approximate_number_of_messages.fget
    url = client("sqs").create_queue(QueueName="q")["QueueUrl"]
    client("sqs").send_message(QueueUrl=url, MessageBody="1")
    Queue.approximate_number_of_messages = property(lambda queue: counted.append(1) or count(queue))
    try:
        client("sqs").receive_message(QueueUrl=url)
    finally:
        Queue.approximate_number_of_messages = property(count)
    return bool(counted)


def writers_that_find_a_condition_true() -> int:
    """Of two that write at one time where nothing may stand."""
    from moto.dynamodb.models.table import Table

    key, dynamodb = {"AttributeName": "pk"}, client("dynamodb")
    dynamodb.create_table(
        TableName="leases",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[key | {"AttributeType": "S"}],
        KeySchema=[key | {"KeyType": "HASH"}],
    )
    both_have_read, real = threading.Barrier(2), Table.get_item

    def get_item(*arguments: Any, **named: Any) -> Any:
        found = real(*arguments, **named)
        with suppress(threading.BrokenBarrierError):
            both_have_read.wait(1)
        return found

    def write(writer: str) -> bool:
        try:
            dynamodb.update_item(
                TableName="leases",
                Key={"pk": {"S": "a"}},
                UpdateExpression="SET writer = :writer",
                ConditionExpression="attribute_not_exists(writer)",
                ExpressionAttributeValues={":writer": {"S": writer}},
            )
        except ClientError:
            return False
        return True

    Table.get_item = get_item
    try:
        with ThreadPoolExecutor(2) as threads:
            return sum(threads.map(write, ("one", "two")))
    finally:
        Table.get_item = real


def services_are_looked_up_on_disk() -> bool:
    from moto import backends

    return backends.list_of_moto_modules() is not backends.list_of_moto_modules()


def taken(call: Callable[[], Any]) -> bool:
    try:
        call()
    except ClientError:
        return False
    return True


def queue_counts_letters() -> bool:
    url = client("sqs").create_queue(QueueName="q")["QueueUrl"]
    return taken(lambda: client("sqs").send_message(QueueUrl=url, MessageBody="é" * 600_000))


def queue_takes_what_is_no_text() -> bool:
    url = client("sqs").create_queue(QueueName="q")["QueueUrl"]
    return taken(lambda: client("sqs").send_message(QueueUrl=url, MessageBody="a\x00"))


def topic_counts_letters() -> bool:
    topic = client("sns").create_topic(Name="t")["TopicArn"]
    return taken(lambda: client("sns").publish(TopicArn=topic, Message="é" * 140_000))


def topic_takes_any_subject() -> bool:
    topic = client("sns").create_topic(Name="t")["TopicArn"]
    return taken(lambda: client("sns").publish(TopicArn=topic, Message="x", Subject="a\nb"))


def schedule(**changes: Any) -> Any:
    plain = {
        "Name": "x",
        "ScheduleExpression": "at(2026-01-01T00:00:00)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": f"arn:aws:sqs:{REGION}:123456789012:q", "RoleArn": ROLE, "Input": "{}"},
    }
    return client("scheduler").create_schedule(**plain | changes)


def schedules_have_any_name() -> bool:
    return taken(lambda: schedule(Name="a" * 65)) and taken(lambda: schedule(Name="of two words"))


def schedule_input_has_any_length() -> bool:
    target = {"Arn": f"arn:aws:sqs:{REGION}:123456789012:q", "RoleArn": ROLE, "Input": "x" * 262_145}
    return taken(lambda: schedule(Target=target))


def parameter_has_any_length() -> bool:
    return taken(lambda: client("ssm").put_parameter(Name="/a", Value="x" * 4097, Type="String"))


def parameter_may_nest_another() -> bool:
    return taken(lambda: client("ssm").put_parameter(Name="/a", Value="{{ssm:b}}", Type="String"))


def alarm_has_any_name() -> bool:
    return taken(lambda: client("cloudwatch").put_metric_alarm(**ALARM | {"AlarmName": "a" * 256}))


def no_alarm_is_deleted() -> bool:
    return taken(lambda: client("cloudwatch").delete_alarms(AlarmNames=["none"]))


LIMITS: tuple[Callable[[], bool], ...] = (
    queue_counts_letters,
    queue_takes_what_is_no_text,
    topic_counts_letters,
    topic_takes_any_subject,
    schedules_have_any_name,
    schedule_input_has_any_length,
    parameter_has_any_length,
    parameter_may_nest_another,
    alarm_has_any_name,
    no_alarm_is_deleted,
)

PROBES: tuple[Callable[[], Any], ...] = (
    *LIMITS,
    each_message_counts_the_queue,
    writers_that_find_a_condition_true,
    services_are_looked_up_on_disk,
    invoke_echoes,
    mapped_queue_is_emptied,
    event_lacks_account,
    target_input_is_ignored,
    function_target_fails_put_events,
    function_properties_are_dropped,
    layer_reference_is_an_object,
    layer_update_is_lost,
    topic_without_properties_is_replaced,
    time_to_live_is_dropped,
    missing_change_set_fails,
    alarm_is_not_made,
    any_schedule_is_accepted,
    alarm_begins_as_ok,
    metric_is_listed_once_a_datapoint,
    periods_begin_at_the_question,
    cluster_is_active_at_once,
    node_groups_of_no_cluster_fail,
    access_entries_are_missing,
    profile_is_active_at_once_in_any_subnet,
    issuer_is_that_of_every_cluster,
    boundary_need_not_exist,
)


def observe(probe: Callable[[], Any]) -> Any:
    with mock_aws(config={"lambda": {"use_docker": False}}):
        try:
            return probe()
        except Exception as error:
            return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable()
    botocore_files.read_once()  # botocore's own: each probe's session would parse megabytes again
    print(json.dumps({probe.__name__: observe(probe) for probe in PROBES}))
