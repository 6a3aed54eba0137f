#!/usr/bin/env bash
# moto's DynamoDB: of two conditional puts at one time, both may succeed.
#
# Guess: ConditionExpression decides, as in DynamoDB: one writer gets the lock, the other
#        ConditionalCheckFailedException. A lock that passes its tests on moto is a lock.
# Seen:  moto reads the item, evaluates the condition, and stores, with nothing held in between.
#        Two threads that both read before either stores both succeed. (boto3 clients are safe to share
#        between threads; moto's server answers each request in a thread, too.)
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  'moto[dynamodb]==5.2.5' boto3==1.44.5 botocore==1.44.5

AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=eu-west-1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.dynamodb.models.table import Table

real, both_have_read = Table.get_item, threading.Barrier(2)


def get_item(*arguments, **named):
    """moto's own read; then wait until the other writer has read, too, so that the race is met each time."""
    found = real(*arguments, **named)
    try:
        both_have_read.wait(2)
    except threading.BrokenBarrierError:
        pass  # the other one was kept out, as it should be
    return found


def take(writer):
    try:
        dynamodb.put_item(
            TableName="locks",
            Item={"name": {"S": "cluster"}, "holder": {"S": writer}},
            ConditionExpression="attribute_not_exists(holder)",
        )
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "succeeded"


with mock_aws():
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="locks",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
    )
    Table.get_item = get_item
    with ThreadPoolExecutor(2) as threads:
        answers = sorted(threads.map(take, ("one", "two")))
    Table.get_item = real
    after = take("three")

print(f"moto {version('moto')}")
print("guess: one writer succeeds, the other gets ConditionalCheckFailedException")
print("seen, both at one time:", answers, "- and one that comes later:", after)
if (answers, after) != (["succeeded"] * 2, "ConditionalCheckFailedException"):
    sys.exit("The behaviour has changed: moto keeps the second writer out.")
PYTHON
