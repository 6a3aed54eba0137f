"""IAM on assumed roles: what is granted goes through, the rest is refused, and everything is remembered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from sandbox.aws.iam.policy_language import UnknownOperator, like, matching, statements
from sandbox.aws.server import Aws

ACCOUNT, REGION = "123456789012", "eu-west-1"
POLICY_ARN = "arn:aws:eks::aws:cluster-access-policy/"
ENTRY = {"clusterName": "gpu-1", "principalArn": f"arn:aws:iam::{ACCOUNT}:role/tuner"}
TRUST = {"Version": "2012-10-17", "Statement": []}


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


GRANTS = [
    {
        "Effect": "Allow",
        "Action": ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:Query"],
        "Resource": [arn("dynamodb", "table/own"), arn("dynamodb", "table/own/index/by-policy")],
    },
    {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn("sqs", "own")},
    {
        "Effect": "Allow",
        "Action": "ssm:GetParametersByPath",
        "Resource": arn("ssm", "parameter/slicewise/policies"),
    },
    {"Effect": "Allow", "Action": "eks:Describe*", "Resource": arn("eks", "cluster/gpu-*")},
    {
        "Effect": "Allow",
        "Action": ["eks:AssociateAccessPolicy", "eks:DisassociateAccessPolicy"],
        "Resource": arn("eks", f"access-entry/*/role/{ACCOUNT}/tuner/*"),
        "Condition": {"ArnEquals": {"eks:policyArn": POLICY_ARN + "AmazonEKSClusterAdminPolicy"}},
    },
    {
        "Effect": "Allow",
        "Action": "eks:CreateAccessEntry",
        "Resource": arn("eks", "cluster/*"),
        "Condition": {
            "ArnEquals": {"eks:principalArn": ENTRY["principalArn"]},
            "ForAllValues:StringEquals": {"eks:kubernetesGroups": ["slicewise:tuner"]},
        },
    },
    {
        "Effect": "Allow",
        "Action": "eks:UpdateClusterConfig",
        "Resource": arn("eks", "cluster/*"),
        "Condition": {"StringEquals": {"aws:ResourceTag/slicewise.dev/may-switch": "yes"}},
    },
    {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": arn("lambda", "function:own")},
    {"Effect": "Allow", "Action": "eks:CreatePodIdentityAssociation", "Resource": arn("eks", "cluster/*")},
    {"Effect": "Allow", "Action": "iam:GetRole", "Resource": f"arn:aws:iam::{ACCOUNT}:role/karpenter*"},
    {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": f"arn:aws:iam::{ACCOUNT}:role/karpenter",
        "Condition": {"StringEquals": {"iam:PassedToService": "pods.eks.amazonaws.com"}},
    },
    # As the installer has it for interruptions.
    {
        "Effect": "Allow",
        "Action": "events:PutRule",
        "Resource": arn("events", "rule/own-*"),
        "Condition": {
            "Null": {"events:source": "false"},
            "ForAllValues:StringEquals": {"events:source": ["aws.ec2", "aws.health"]},
        },
    },
    {
        "Effect": "Allow",
        "Action": "events:PutTargets",
        "Resource": arn("events", "rule/own-*"),
        "Condition": {
            "Null": {"events:TargetArn": "false"},
            "ForAllValues:ArnLike": {"events:TargetArn": arn("sqs", "own*")},
        },
    },
    {
        "Effect": "Allow",
        "Action": "events:TagResource",
        "Resource": arn("events", "rule/own-*"),
        "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": ["ours"]}},
    },
    {"Effect": "Allow", "Action": "sqs:CreateQueue", "Resource": arn("sqs", "own-*")},
    {"Effect": "Allow", "Action": "cloudwatch:*", "Resource": "*"},
    {"Effect": "Deny", "Action": "cloudwatch:DeleteAlarms", "Resource": arn("cloudwatch", "alarm:precious")},
    {
        "Effect": "Deny",
        "Action": "cloudwatch:PutMetricAlarm",
        "Resource": "*",
        "Condition": {"ForAnyValue:StringLike": {"cloudwatch:AlarmActions": "*"}},
    },
]
ALARM = {
    "AlarmName": "a",
    "Namespace": "b",
    "MetricName": "c",
    "Period": 60,
    "Statistic": "Average",
    "EvaluationPeriods": 1,
    "Threshold": 1.0,
    "ComparisonOperator": "GreaterThanThreshold",
}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws"), creating_seconds=0) as aws:
        table = {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}]}
        for name in ("own", "other"):
            aws.client("dynamodb").create_table(
                TableName=name,
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
                **table,
            )
            aws.client("sqs").create_queue(QueueName=name)
        for name, tags in (("gpu-1", {}), ("cpu-1", {}), ("willing", {"slicewise.dev/may-switch": "yes"})):
            aws.client("eks").create_cluster(
                name=name,
                roleArn=f"arn:aws:iam::{ACCOUNT}:role/eks",
                resourcesVpcConfig={},
                accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"},
                tags=tags,
            )
        aws.client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(TRUST))
        document = json.dumps({"Version": "2012-10-17", "Statement": GRANTS})
        aws.client("iam").put_role_policy(RoleName="worker", PolicyName="work", PolicyDocument=document)
        yield aws


@pytest.fixture
def worker(aws: Aws) -> Callable[[str], Any]:
    keys = aws.client("sts").assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/worker", RoleSessionName="w1")
    keys = keys["Credentials"]
    session = boto3.Session(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=REGION
    )
    return lambda service: session.client(service, endpoint_url=aws.endpoint)


def queue_url(name: str) -> str:
    return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"


def put(table: str) -> dict[str, Any]:
    return {"TableName": table, "Item": {"pk": {"S": "a"}}}


def policy(name: str) -> dict[str, Any]:
    return {**ENTRY, "policyArn": POLICY_ARN + name, "accessScope": {"type": "cluster"}}


def rule(source: str = "aws.ec2", **more: Any) -> dict[str, Any]:
    return {"Name": "own-rule", "EventPattern": json.dumps({"source": [source]}), **more}


ALLOWED = {
    "a rule of a source that is named": ("events", "put_rule", rule()),
    "a rule with a tag that is named": ("events", "put_rule", rule(Tags=[{"Key": "ours", "Value": "x"}])),
    "a target that is named": (
        "events",
        "put_targets",
        {"Rule": "own-rule", "Targets": [{"Id": "1", "Arn": arn("sqs", "own")}]},
    ),
    "a queue without a tag": ("sqs", "create_queue", {"QueueName": "own-plain"}),
    "own table": ("dynamodb", "put_item", put("own")),
    "own transaction": ("dynamodb", "transact_write_items", {"TransactItems": [{"Put": put("own")}]}),
    "own queue": ("sqs", "send_message", {"QueueUrl": queue_url("own"), "MessageBody": "{}"}),
    "batch is the same grant": (
        "sqs",
        "send_message_batch",
        {"QueueUrl": queue_url("own"), "Entries": [{"Id": "1", "MessageBody": "{}"}]},
    ),
    "parameters by path": ("ssm", "get_parameters_by_path", {"Path": "/slicewise/policies/"}),
    "cluster by pattern": ("eks", "describe_cluster", {"name": "gpu-1"}),
    "switch a willing cluster": (
        "eks",
        "update_cluster_config",
        {"name": "willing", "accessConfig": {"authenticationMode": "API"}},
    ),
    "entry for the tuner": ("eks", "create_access_entry", {**ENTRY, "kubernetesGroups": ["slicewise:tuner"]}),
    "the one access policy": ("eks", "associate_access_policy", policy("AmazonEKSClusterAdminPolicy")),
    "pod identity with a role to pass": (
        "eks",
        "create_pod_identity_association",
        {
            "clusterName": "gpu-1",
            "namespace": "kube-system",
            "serviceAccount": "karpenter",
            "roleArn": f"arn:aws:iam::{ACCOUNT}:role/karpenter",
        },
    ),
    "whoami needs no grant": ("sts", "get_caller_identity", {}),
    "all of a service": ("cloudwatch", "list_metrics", {}),
    "an alarm that does nothing": ("cloudwatch", "put_metric_alarm", ALARM),
}
DENIED = {
    "a rule of another source": ("events", "put_rule", rule("aws.s3")),
    "a rule of no source": (
        "events",
        "put_rule",
        {"Name": "own-rule", "ScheduleExpression": "rate(1 minute)"},
    ),
    "a rule of another name": ("events", "put_rule", {**rule(), "Name": "other"}),
    "a rule with another tag": ("events", "put_rule", rule(Tags=[{"Key": "theirs", "Value": "x"}])),
    "another target beside one that is named": (
        "events",
        "put_targets",
        {
            "Rule": "own-rule",
            "Targets": [{"Id": "1", "Arn": arn("sqs", "own")}, {"Id": "2", "Arn": arn("sqs", "other")}],
        },
    ),
    "a queue with a tag": ("sqs", "create_queue", {"QueueName": "own-tagged", "tags": {"a": "b"}}),
    "other table": ("dynamodb", "put_item", put("other")),
    "other action on own table": ("dynamodb", "delete_item", {"TableName": "own", "Key": {"pk": {"S": "a"}}}),
    "one foreign item in a transaction": (
        "dynamodb",
        "transact_write_items",
        {"TransactItems": [{"Put": put("own")}, {"Put": put("other")}]},
    ),
    "other queue": ("sqs", "send_message", {"QueueUrl": queue_url("other"), "MessageBody": "{}"}),
    "purge own queue": ("sqs", "purge_queue", {"QueueUrl": queue_url("own")}),
    "parameters elsewhere": ("ssm", "get_parameters_by_path", {"Path": "/slicewise"}),
    "other cluster": ("eks", "describe_cluster", {"name": "cpu-1"}),
    "list clusters": ("eks", "list_clusters", {}),
    "switch an unwilling cluster": (
        "eks",
        "update_cluster_config",
        {"name": "cpu-1", "accessConfig": {"authenticationMode": "API"}},
    ),
    "entry for somebody else": (
        "eks",
        "create_access_entry",
        {"clusterName": "gpu-1", "principalArn": f"arn:aws:iam::{ACCOUNT}:role/friend"},
    ),
    "entry with another group": (
        "eks",
        "create_access_entry",
        {**ENTRY, "clusterName": "cpu-1", "kubernetesGroups": ["slicewise:tuner", "admins"]},
    ),
    "another access policy": ("eks", "associate_access_policy", policy("AmazonEKSViewPolicy")),
    "pod identity with another role": (
        "eks",
        "create_pod_identity_association",
        {
            "clusterName": "gpu-1",
            "namespace": "default",
            "serviceAccount": "x",
            "roleArn": f"arn:aws:iam::{ACCOUNT}:role/admin",
        },
    ),
    "other function": ("lambda", "invoke", {"FunctionName": "other"}),
    **{
        f"an alarm with {key}": (
            "cloudwatch",
            "put_metric_alarm",
            {**ALARM, key: ["arn:aws:sns:eu-west-1:1:a"]},
        )
        for key in ("AlarmActions", "OKActions", "InsufficientDataActions")
    },
    "explicit deny beats allow": ("cloudwatch", "delete_alarms", {"AlarmNames": ["precious"]}),
    "read a role": ("iam", "get_role", {"RoleName": "worker"}),
    "publish": ("sns", "publish", {"TopicArn": arn("sns", "notices"), "Message": "x"}),
    "put events": ("events", "put_events", {"Entries": [{"Source": "a", "DetailType": "b", "Detail": "{}"}]}),
}


@pytest.mark.parametrize(("service", "method", "arguments"), ALLOWED.values(), ids=ALLOWED)
def test_what_is_granted_goes_through(worker, service, method, arguments):
    getattr(worker(service), method)(**arguments)


@pytest.mark.parametrize(("service", "method", "arguments"), DENIED.values(), ids=DENIED)
def test_what_is_not_granted_is_refused_as_aws_refuses_it(aws, worker, service, method, arguments):
    before = len(aws.iam.denied("worker"))

    with pytest.raises(ClientError) as refused:
        getattr(worker(service), method)(**arguments)

    assert refused.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
    assert "is not authorized to perform" in refused.value.response["Error"]["Message"]
    assert len(aws.iam.denied("worker")) > before


def test_denials_are_remembered_with_action_and_resource(aws, worker):
    with pytest.raises(ClientError):
        worker("dynamodb").put_item(**put("other"))

    last = aws.iam.denied("worker")[-1]
    assert (last.action, last.resource) == ("dynamodb:PutItem", arn("dynamodb", "table/other"))
    assert str(last).startswith("denied worker dynamodb:PutItem on")


def test_grants_that_no_call_needed_are_listed_until_one_does(aws, worker):
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["sns:Publish", "sqs:Get*"], "Resource": "*"},
            {"Effect": "Allow", "Action": "sqs:PurgeQueue", "Resource": arn("sqs", "nothing")},
        ],
    }
    iam = aws.client("iam")
    iam.put_role_policy(RoleName="worker", PolicyName="idle", PolicyDocument=json.dumps(document))
    worker("sqs").get_queue_attributes(QueueUrl=queue_url("own"))
    idle = {
        (grant.action, grant.index) for grant in aws.iam.unused_grants("worker") if grant.policy == "idle"
    }
    iam.delete_role_policy(RoleName="worker", PolicyName="idle")

    assert idle == {("sns:Publish", 0), ("sqs:PurgeQueue", 1)}


def test_attached_policies_count_as_inline_ones_do(aws, worker):
    document = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "eks:ListClusters", "Resource": "*"}],
        }
    )
    made = aws.client("iam").create_policy(PolicyName="listing", PolicyDocument=document)["Policy"]["Arn"]
    aws.client("iam").attach_role_policy(RoleName="worker", PolicyArn=made)
    try:
        assert "gpu-1" in worker("eks").list_clusters()["clusters"]
    finally:
        aws.client("iam").detach_role_policy(RoleName="worker", PolicyArn=made)


def test_without_enforcement_denials_are_only_recorded(aws, worker):
    aws.iam.enforced = False
    try:
        worker("dynamodb").put_item(**put("other"))
    finally:
        aws.iam.enforced = True

    assert aws.iam.denied("worker")[-1].resource == arn("dynamodb", "table/other")


def allowed(condition: dict[str, Any], context: dict[str, list[str]]) -> bool:
    document = {"Statement": {"Effect": "Allow", "Action": "a:B", "Resource": "*", "Condition": condition}}
    return bool(matching(statements("p", document), "a:B", "r", context)[0])


@pytest.mark.parametrize(
    ("condition", "context", "expected"),
    [
        pytest.param({"StringEquals": {"k": ["x", "y"]}}, {"k": ["y"]}, True, id="any of the wanted"),
        pytest.param({"StringEquals": {"k": "x"}}, {}, False, id="missing key"),
        pytest.param({"StringEqualsIfExists": {"k": "x"}}, {}, True, id="missing key, if exists"),
        pytest.param({"StringNotEquals": {"k": "x"}}, {"k": ["y"]}, True, id="not equal"),
        pytest.param({"StringNotEquals": {"k": "x"}}, {}, True, id="not equal, missing"),
        pytest.param({"StringLike": {"K": "a*c"}}, {"k": ["abc"]}, True, id="key in another case"),
        pytest.param({"ForAllValues:StringEquals": {"k": ["x"]}}, {"k": ["x", "y"]}, False, id="not all"),
        pytest.param({"ForAllValues:StringEquals": {"k": ["x"]}}, {}, True, id="all of none"),
        pytest.param({"ForAnyValue:StringEquals": {"k": ["x"]}}, {"k": ["x", "y"]}, True, id="one of many"),
        pytest.param({"ForAnyValue:StringEquals": {"k": ["x"]}}, {}, False, id="one of none"),
        pytest.param({"Null": {"k": "true"}}, {}, True, id="wanted absent, is absent"),
        pytest.param({"Null": {"k": "false"}}, {}, False, id="wanted present, is absent"),
        pytest.param({"Bool": {"k": True}}, {"k": ["true"]}, True, id="boolean"),
        pytest.param({"StringEquals": {"k": "x"}, "Bool": {"b": "true"}}, {"k": ["x"]}, False, id="both"),
    ],
)
def test_conditions_mean_what_iam_says(condition, context, expected):
    assert allowed(condition, context) is expected


def test_an_operator_that_is_not_played_is_an_error_and_not_a_match():
    with pytest.raises(UnknownOperator, match="IpAddress"):
        allowed({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, {"aws:SourceIp": ["192.0.2.1"]})


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("a*", "abc", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("[a]", "a", False),
        ("a.c", "abc", False),
    ],
)
def test_only_star_and_question_mark_are_special(pattern, value, expected):
    assert like(pattern, value) is expected
