#!/usr/bin/env bash
# botocore: of what a service's model says about a parameter, the minimum is checked, the maximum never is.
#
# Guess: a client, and botocore.stub.Stubber in tests, check parameters against the model that they carry:
#        least and most, pattern and list of values. Or they check types alone.
# Seen:  types, required members and `min` are checked. `max`, `pattern` and `enum` stand in the same model and are
#        not read: a test with the Stubber accepts the names and sizes that AWS refuses.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check boto3==1.44.5 botocore==1.44.5

AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=eu-west-1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import boto3
from botocore.exceptions import ParamValidationError
from botocore.stub import Stubber

scheduler = boto3.client("scheduler")
said = scheduler.meta.service_model.operation_model("CreateSchedule").input_shape.members
whole = {
    "Name": "night",
    "ScheduleExpression": "rate(1 hour)",
    "FlexibleTimeWindow": {"Mode": "OFF"},
    "Target": {"Arn": "arn:aws:sqs:eu-west-1:123456789012:q", "RoleArn": "arn:aws:iam::123456789012:role/r"},
}


def tried(**changed):
    with Stubber(scheduler) as stub:
        stub.add_response("create_schedule", {"ScheduleArn": "arn:aws:scheduler:eu-west-1:123456789012:schedule/a/b"})
        try:
            scheduler.create_schedule(**whole | changed)
        except ParamValidationError:
            return "refused"
    return "accepted"


seen = {
    f"Name of 0 letters (min {said['Name'].metadata['min']})": tried(Name=""),
    f"Name of 200 letters (max {said['Name'].metadata['max']})": tried(Name="n" * 200),
    f"Name holidays/2026 (pattern {said['Name'].metadata['pattern']})": tried(Name="holidays/2026"),
    f"State MAYBE (enum {said['State'].metadata['enum']})": tried(State="MAYBE"),
    "Name 7 (type string)": tried(Name=7),
}

print(f"botocore {version('botocore')}")
print("guess: all five are refused")
for what, answer in seen.items():
    print(f"seen: {what} -> {answer}")
if list(seen.values()) != ["refused", "accepted", "accepted", "accepted", "refused"]:
    sys.exit("The behaviour has changed: botocore checks more of its model, or less.")
PYTHON
