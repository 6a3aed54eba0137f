#!/usr/bin/env bash
# moto's EventBridge: a rule that has a schedule and no event pattern gets every event that is put.
#
# Guess: as in EventBridge, a rule with ScheduleExpression alone is run by its schedule and matches no event, so
#        in tests, where no time passes, its targets hear nothing.
# Seen:  moto matches an event against the pattern that is not there, and so sends each event of the bus to the
#        rule's targets: a function that a clock should call is called with other people's events.
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

with mock_aws():
    events, sqs = boto3.client("events"), boto3.client("sqs")
    url = sqs.create_queue(QueueName="hourly")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="hourly", ScheduleExpression="rate(1 hour)")
    events.put_targets(Rule="hourly", Targets=[{"Id": "queue", "Arn": arn}])
    order = {"Source": "shop", "DetailType": "OrderPlaced", "Detail": json.dumps({"id": 7})}
    events.put_events(Entries=[order])
    got = [json.loads(one["Body"]) for one in sqs.receive_message(QueueUrl=url).get("Messages", [])]

seen = [one.get("detail-type") for one in got]
print(f"moto {version('moto')}")
print("guess: the target of a rule with a schedule alone gets nothing when an event is put")
print("seen:", seen)
if seen != ["OrderPlaced"]:
    sys.exit("The behaviour has changed: the rule's target got no event of the bus.")
PYTHON
