"""A small app as `cdk synth` leaves it: event rule -> queue -> function -> table, with all around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REGION, ACCOUNT = "eu-west-1", "123456789012"
BUCKET_IN_ASSETS = "assets-${AWS::AccountId}"
BUCKET = {"Fn::Sub": BUCKET_IN_ASSETS}
ADMIN_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

HANDLER = """
import json, os, time
import boto3
import greeting

table, sts = boto3.client("dynamodb"), boto3.client("sts")
invocations = 0


def handler(event, context):
    global invocations
    invocations += 1
    if "Records" not in event:
        return act(event, context)
    failures = []
    for record in event["Records"]:
        body = json.loads(record["body"])
        if body.get("raise"):
            raise RuntimeError("told to")
        if body.get("fail"):
            failures.append({"itemIdentifier": record["messageId"]})
            continue
        detail = body.get("detail", {})
        name = (detail.get("requestParameters") or {}).get("name") or body.get("name", "nameless")
        count = record["attributes"]["ApproximateReceiveCount"]
        table.put_item(
            TableName=os.environ["TABLE_NAME"],
            Item={"pk": {"S": name}, "body": {"S": record["body"]}, "receives": {"N": count}},
        )
    return {"batchItemFailures": failures}


def act(event, context):
    if event.get("spawn"):
        import subprocess
        print("spawned", subprocess.Popen(["sleep", "60"]).pid, flush=True)
    if event.get("sleep"):
        time.sleep(event["sleep"])
    if event.get("exit"):
        os._exit(3)
    if event.get("call"):
        service, method, arguments = event["call"]
        getattr(boto3.client(service), method)(**arguments)
    tool = os.path.join(os.environ["OPT_ROOT"], "tool", "tool")
    return {
        "greeting": greeting.WORDS,
        "who": sts.get_caller_identity()["Arn"],
        "invocations": invocations,
        "environment": dict(os.environ),
        "tool_is_executable": os.access(tool, os.X_OK),
        "memory": context.memory_limit_in_mb,
        "remaining_ms": context.get_remaining_time_in_millis(),
    }
"""


def template(**changes: Any) -> dict[str, Any]:
    """`timeout`, `alarm_threshold`, `extra_queue` and `layer_key` are what updates may change."""
    resources = {
        "Dlq": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "work-dlq"}},
        "Queue": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "QueueName": "work",
                "VisibilityTimeout": changes.get("visibility", 3),
                "RedrivePolicy": {
                    "deadLetterTargetArn": {"Fn::GetAtt": ["Dlq", "Arn"]},
                    "maxReceiveCount": 2,
                },
            },
        },
        "QueuePolicy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [{"Ref": "Queue"}],
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Principal": {"Service": "events.amazonaws.com"},
                            "Action": "sqs:SendMessage",
                            "Resource": {"Fn::GetAtt": ["Queue", "Arn"]},
                        }
                    ],
                },
            },
        },
        "Topic": {"Type": "AWS::SNS::Topic"},
        "TopicPolicy": {
            "Type": "AWS::SNS::TopicPolicy",
            "Properties": {
                "Topics": [{"Ref": "Topic"}],
                "PolicyDocument": {"Version": "2012-10-17", "Statement": []},
            },
        },
        "Subscription": {
            "Type": "AWS::SNS::Subscription",
            "Properties": {
                "TopicArn": {"Ref": "Topic"},
                "Protocol": "sqs",
                "Endpoint": {"Fn::GetAtt": ["Dlq", "Arn"]},
            },
        },
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "TableName": "clusters",
                "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
                "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": True},
            },
        },
        "Rule": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "EventPattern": {
                    "source": ["aws.eks"],
                    "detail": {"eventName": ["CreateCluster"], "errorCode": [{"exists": False}]},
                },
                "State": "ENABLED",
                "Targets": [{"Id": "Queue", "Arn": {"Fn::GetAtt": ["Queue", "Arn"]}}],
            },
        },
        "Schedule": {
            "Type": "AWS::Scheduler::Schedule",
            "Properties": {
                "Name": "sweep",
                "ScheduleExpression": "rate(1 hour)",
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {
                    "Arn": {"Fn::GetAtt": ["Queue", "Arn"]},
                    "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
                    "Input": json.dumps({"name": "swept"}),
                    "RetryPolicy": {"MaximumRetryAttempts": "3"},
                },
            },
        },
        "Alarm": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmName": "work-dead",
                "Namespace": "AWS/SQS",
                "MetricName": "ApproximateNumberOfMessagesVisible",
                "Dimensions": [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["Dlq", "QueueName"]}}],
                "Statistic": "Maximum",
                "Period": 300,
                "EvaluationPeriods": 1,
                "Threshold": changes.get("alarm_threshold", 1),
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
                "AlarmActions": [{"Ref": "Topic"}],
            },
        },
        "Logs": {
            "Type": "AWS::Logs::LogGroup",
            "Properties": {"LogGroupName": "/aws/lambda/work", "RetentionInDays": 30},
        },
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": "runner",
                "ManagedPolicyArns": [{"Ref": "Listing"}],
                "AssumeRolePolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Principal": {"Service": "lambda.amazonaws.com"},
                            "Action": "sts:AssumeRole",
                        }
                    ],
                },
            },
        },
        "Listing": {
            "Type": "AWS::IAM::ManagedPolicy",
            "Properties": {
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": "eks:ListClusters", "Resource": "*"}],
                }
            },
        },
        "Policy": {
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyName": "work",
                "Roles": [{"Ref": "Role"}],
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Action": ["dynamodb:PutItem", "dynamodb:UpdateItem"],
                            "Resource": {"Fn::GetAtt": ["Table", "Arn"]},
                        },
                        {
                            "Effect": "Allow",
                            "Action": "eks:AssociateAccessPolicy",
                            "Resource": "*",
                            "Condition": {"ArnEquals": {"eks:policyArn": ADMIN_POLICY}},
                        },
                        {
                            "Effect": "Allow",
                            "Action": "eks:Describe*",
                            "Resource": f"arn:aws:eks:{REGION}:{ACCOUNT}:*/gpu-*",
                        },
                    ],
                },
            },
        },
        "Layer": {
            "Type": "AWS::Lambda::LayerVersion",
            "Properties": {
                "LayerName": "words",
                "Content": {"S3Bucket": BUCKET, "S3Key": changes.get("layer_key", "layer.zip")},
            },
        },
        "Function": {
            "Type": "AWS::Lambda::Function",
            "DependsOn": ["Policy"],
            "Properties": {
                "FunctionName": "work",
                "Runtime": "python3.13",
                "Architectures": ["arm64"],
                "Handler": "app.handler",
                "Code": {"S3Bucket": BUCKET, "S3Key": "code.zip"},
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Layers": [{"Ref": "Layer"}],
                "Timeout": changes.get("timeout", 3),
                "MemorySize": 256,
                "Environment": {"Variables": {"TABLE_NAME": {"Ref": "Table"}}},
                "LoggingConfig": {"LogFormat": "JSON", "LogGroup": {"Ref": "Logs"}},
                "Tags": [{"Key": "app", "Value": "slicewise"}],
            },
        },
        "Mapping": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]},
                "FunctionName": {"Ref": "Function"},
                "BatchSize": 10,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "ScalingConfig": {"MaximumConcurrency": 2},
            },
        },
        "CDKMetadata": {"Type": "AWS::CDK::Metadata", "Properties": {"Analytics": "v2"}},
    }
    if changes.get("extra_queue"):
        resources["Extra"] = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "extra"}}
    outputs = {
        "QueueUrl": {"Ref": "Queue"},
        "DlqUrl": {"Ref": "Dlq"},
        "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
        "AlarmArn": {"Fn::GetAtt": ["Alarm", "Arn"]},
        "LayerArn": {"Ref": "Layer"},
        "TopicArn": {"Ref": "Topic"},
    }
    parameter = {
        "Type": "AWS::SSM::Parameter::Value<String>",
        "Default": "/cdk-bootstrap/hnb659fds/version",
    }
    return {
        "Parameters": {"BootstrapVersion": parameter},
        "Resources": resources,
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }


def write_assembly(folder: Path, *, words: str = "hello", **changes: Any) -> Path:
    """The folder that `assembly.deploy` reads."""
    code, layer = folder / "asset.code", folder / f"asset.layer-{words}"
    (layer / "python").mkdir(parents=True, exist_ok=True)
    (layer / "tool").mkdir(exist_ok=True)
    code.mkdir(parents=True, exist_ok=True)
    (code / "app.py").write_text(HANDLER)
    (layer / "python" / "greeting.py").write_text(f"WORDS = {words!r}\n")
    (layer / "tool" / "tool").write_text("#!/bin/sh\necho tool\n")
    (layer / "tool" / "tool").chmod(0o755)
    body = template(layer_key=f"layer-{words}.zip", **changes)
    (folder / "Work.template.json").write_text(json.dumps(body))
    files = {"code": (code, "code.zip"), "layer": (layer, f"layer-{words}.zip")}
    listing = {
        key: {
            "source": {"path": source.name, "packaging": "zip"},
            "destinations": {"current": {"bucketName": BUCKET_IN_ASSETS, "objectKey": name}},
        }
        for key, (source, name) in files.items()
    }
    (folder / "Work.assets.json").write_text(json.dumps({"files": listing}))
    artifact = {
        "type": "aws:cloudformation:stack",
        "properties": {"templateFile": "Work.template.json", "stackName": "work"},
    }
    (folder / "manifest.json").write_text(json.dumps({"artifacts": {"Work": artifact}}))
    return folder
