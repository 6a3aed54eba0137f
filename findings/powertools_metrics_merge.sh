#!/usr/bin/env bash
# Powertools Metrics: values in different units, and metrics of different namespaces, become one, silently.
#
# Guess: (1) the same metric added in seconds and then in milliseconds is converted, kept apart, or refused.
#        (2) two Metrics objects with different namespaces write to their own namespaces.
# Seen:  (1) one metric comes out, with the unit that was named last: 30 s and 250 ms are "30 and 250 ms".
#        (2) all Metrics objects of a process share one set; who flushes takes all of it into its own
#            namespace. (A namespace apart needs EphemeralMetrics or single_metric.)
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aws-lambda-powertools==3.37.0

POWERTOOLS_SERVICE_NAME=tuner "$folder/venv/bin/python" -W error - <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit


def written(function):
    """The one line of embedded metrics that a call of `function` leaves: unit or namespace, and values."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        function({}, None)
    line = json.loads(output.getvalue())
    [block] = line["_aws"]["CloudWatchMetrics"]
    return block["Namespace"], [(one["Name"], one["Unit"], line[one["Name"]]) for one in block["Metrics"]]


capacity, cost = Metrics(namespace="Capacity"), Metrics(namespace="Cost")


@capacity.log_metrics
def two_units(event, context):
    capacity.add_metric("wait", MetricUnit.Seconds, 30)
    capacity.add_metric("wait", MetricUnit.Milliseconds, 250)


@capacity.log_metrics
def two_namespaces(event, context):
    capacity.add_metric("nodes", MetricUnit.Count, 3)
    cost.add_metric("dollars", MetricUnit.Count, 7)


units, namespaces = written(two_units), written(two_namespaces)

print(f"aws-lambda-powertools {version('aws-lambda-powertools')}")
print("guess: 30 s and 250 ms are told apart; `dollars` goes to namespace Cost; or there is a warning")
print("seen, 30 s then 250 ms:", units)
print("seen, two namespaces:", namespaces)
merged = ("Capacity", [("wait", "Milliseconds", [30.0, 250.0])])
if (units, namespaces[0], len(namespaces[1])) != (merged, "Capacity", 2):
    sys.exit("The behaviour has changed: units or namespaces are kept apart.")
PYTHON
