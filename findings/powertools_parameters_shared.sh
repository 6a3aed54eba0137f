#!/usr/bin/env bash
# Powertools Parameters: whoever changes a parameter that was read changes it for all who read it later.
#
# Guess: get_parameter(…, transform="json") gives each caller a value of its own; the cache spares the
#        call to AWS, not the parsing.
# Seen:  the parsed object itself is cached, for max_age (5 minutes, kept from one warm invocation to the
#        next), and every caller gets the same one. A default filled in, or an entry popped, in one
#        invocation is what the next invocations read, while AWS still has the stored value.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  aws-lambda-powertools==3.37.0 boto3==1.44.5 botocore==1.44.5

AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=eu-west-1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import boto3
from aws_lambda_powertools.utilities.parameters import SSMProvider
from botocore.stub import Stubber

client = boto3.client("ssm")
answers = Stubber(client)
for _ in range(2):
    answers.add_response("get_parameter", {"Parameter": {"Name": "/pools", "Value": '{"replicas": 4}'}})
answers.activate()
provider = SSMProvider(boto3_client=client)


def invocation(force_fetch=False):
    return provider.get("/pools", transform="json", force_fetch=force_fetch)


invocation()["replicas"] = 8  # one invocation changes what it takes for its own copy
later, fetched = invocation(), invocation(force_fetch=True)

print(f"aws-lambda-powertools {version('aws-lambda-powertools')}")
print("guess: the next invocation reads what is stored, replicas 4")
print("seen, next invocation:", later, "- with force_fetch:", fetched)
if (later, fetched) != ({"replicas": 8}, {"replicas": 4}):
    sys.exit("The behaviour has changed: callers get values of their own.")
PYTHON
