#!/usr/bin/env bash
# moto's CloudFormation: an update reports UPDATE_COMPLETE, changes nothing, and forgets the resource.
#
# Guess: moto either applies the new retention of a log group, or says that it can't.
# Seen:  moto has no update for that resource type. The stack says UPDATE_COMPLETE, the log group keeps
#        its old retention, its output and its entry in the stack are gone, and deleting the stack
#        leaves the log group behind. So on moto a test of an upgrade (create_stack, then update_stack) proves little.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  'moto[cloudformation]==5.2.5' boto3==1.44.5 botocore==1.44.5

AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=eu-west-1 "$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
from importlib.metadata import version

import boto3
from moto import mock_aws


def template(days):
    group = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/app", "RetentionInDays": days}}
    return json.dumps({"Resources": {"Group": group}, "Outputs": {"Name": {"Value": {"Ref": "Group"}}}})


def seen():
    [stack] = cloudformation.describe_stacks(StackName="app")["Stacks"]
    resources = cloudformation.describe_stack_resources(StackName="app")["StackResources"]
    return {
        "status": stack["StackStatus"],
        "outputs": [output["OutputValue"] for output in stack.get("Outputs", [])],
        "resources": [one["LogicalResourceId"] for one in resources if "LogicalResourceId" in one],
        "retention": groups(),
    }


def groups():
    return {one["logGroupName"]: one.get("retentionInDays") for one in logs.describe_log_groups()["logGroups"]}


with mock_aws():
    cloudformation, logs = boto3.client("cloudformation"), boto3.client("logs")
    cloudformation.create_stack(StackName="app", TemplateBody=template(7))
    created = seen()
    cloudformation.update_stack(StackName="app", TemplateBody=template(14))
    updated = seen()
    cloudformation.delete_stack(StackName="app")
    deleted = groups()

print(f"moto {version('moto')}")
print("guess: after the update the log group keeps its logs for 14 days; after the deletion it is gone")
print("seen, created:", created)
print("seen, updated:", updated)
print("seen, deleted:", deleted)
lost = {"status": "UPDATE_COMPLETE", "outputs": [], "resources": [], "retention": {"/app": 7}}
if (created["retention"], updated, deleted) != ({"/app": 7}, lost, {"/app": 7}):
    sys.exit("The behaviour has changed: moto updates log groups, or says that it does not.")
PYTHON
