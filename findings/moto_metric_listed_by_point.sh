#!/usr/bin/env bash
# moto's CloudWatch: ListMetrics has a metric once for each datapoint, and statistics begin at the first one.
#
# Guess: a metric that was put three times is listed once, as CloudWatch lists it: code that reads each listed
#        metric reads it once. Periods of GetMetricStatistics begin at StartTime, as in the API's examples.
# Seen:  it is listed three times, so such code counts its points three times. The first period begins at the
#        first point that there is, whatever StartTime says: points at minutes 4, 6 and 12 are one sum of ten
#        minutes, where CloudWatch has two.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  'moto[cloudwatch]==5.2.5' boto3==1.44.5 botocore==1.44.5

AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=eu-west-1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import boto3
from moto import mock_aws

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def asked_from(start):
    """Sums of ten minutes, by the minute after noon at which each begins."""
    found = cloudwatch.get_metric_statistics(
        Namespace="GPU",
        MetricName="busy",
        StartTime=start,
        EndTime=NOON + 30 * MINUTE,
        Period=600,
        Statistics=["Sum"],
    )
    return {int((point["Timestamp"] - NOON) / MINUTE): point["Sum"] for point in found["Datapoints"]}


with mock_aws():
    cloudwatch = boto3.client("cloudwatch")
    for minute in (4, 6, 12):
        cloudwatch.put_metric_data(
            Namespace="GPU",
            MetricData=[{"MetricName": "busy", "Timestamp": NOON + minute * MINUTE, "Value": 1.0}],
        )
    listed = [metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace="GPU")["Metrics"]]
    on_the_clock, later = asked_from(NOON), asked_from(NOON + 3 * MINUTE)

print(f"moto {version('moto')}")
print("guess: one metric is listed; sums {0: 2.0, 10: 1.0} from 12:00, {3: 3.0} from 12:03")
print("seen, listed:", listed)
print("seen, sums by minute, from 12:00:", on_the_clock, "- from 12:03:", later)
if (listed, on_the_clock, later) != (["busy"] * 3, {4: 3.0}, {4: 3.0}):
    sys.exit("The behaviour has changed.")
PYTHON
