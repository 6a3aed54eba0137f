#!/usr/bin/env bash
# moto's SQS: the name of a queue that was deleted a moment ago is free.
#
# Guess: it is refused for 60 seconds with QueueDeletedRecently, as the SQS API reference has it of CreateQueue, so a
#        test finds code that deletes a queue and makes it again at once.
# Seen:  it is made at once, under the same URL and empty.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  'moto[sqs]==5.2.5' boto3==1.44.5 botocore==1.44.5

AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=eu-west-1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import boto3
from moto import mock_aws

with mock_aws():
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="interruptions")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="a warning")
    sqs.delete_queue(QueueUrl=url)
    again = sqs.create_queue(QueueName="interruptions")["QueueUrl"]
    kept = sqs.receive_message(QueueUrl=again).get("Messages", [])

print(f"moto {version('moto')}")
print("guess: QueueDeletedRecently")
print("seen, made again at once under the same URL:", again == url, "- holds:", kept)
if (again == url, kept) != (True, []):
    sys.exit("The behaviour has changed.")
PYTHON
