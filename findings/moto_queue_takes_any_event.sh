#!/usr/bin/env bash
# moto: an EventBridge rule's events reach a queue whose policy denies them, and a deleted queue's name is free at once.
#
# Guess: a queue for Karpenter's interruptions that forgot to let EventBridge send stays empty, so a test that sends an
#        event finds the mistake. A queue that is made again within 60 seconds after it was deleted is refused with
#        QueueDeletedRecently, as the SQS API reference has it.
# Seen:  the event arrives, though the policy denies every sender, and an event of source aws.ec2 may be put, which AWS
#        refuses. The queue is made again at once, under the same URL and empty.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  'moto[events,sqs]==5.2.5' boto3==1.44.5 botocore==1.44.5

AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=eu-west-1 "$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
from importlib.metadata import version

import boto3
from moto import mock_aws

NAME = "interruptions"
NOBODY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}],
}


def received(url):
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"])["detail-type"] for message in found]


with mock_aws():
    sqs, events = boto3.client("sqs"), boto3.client("events")
    url = sqs.create_queue(QueueName=NAME, Attributes={"Policy": json.dumps(NOBODY)})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=NAME, EventPattern=json.dumps({"source": ["aws.ec2"]}))
    events.put_targets(Rule=NAME, Targets=[{"Id": "queue", "Arn": arn}])
    warning = {
        "Source": "aws.ec2",
        "DetailType": "EC2 Spot Instance Interruption Warning",
        "Detail": json.dumps({"instance-id": "i-0", "instance-action": "terminate"}),
    }
    put = events.put_events(Entries=[warning])["FailedEntryCount"]
    arrived = received(url)
    sqs.delete_queue(QueueUrl=url)
    again = sqs.create_queue(QueueName=NAME)["QueueUrl"]
    kept = received(again)

print(f"moto {version('moto')}")
print("guess: the put is refused; nothing arrives; QueueDeletedRecently")
print("seen, entries that failed:", put, "- arrived:", arrived)
print("seen, made again at once:", again == url, "- holds:", kept)
if (put, arrived, again == url, kept) != (0, [warning["DetailType"]], True, []):
    sys.exit("The behaviour has changed.")
PYTHON
