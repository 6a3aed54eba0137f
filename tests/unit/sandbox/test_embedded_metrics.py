"""The sandbox's CloudWatch Logs takes lines of metrics as the specification has them, and no others."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest

from sandbox.aws.cloudwatch.embedded_metrics import Malformed, points, take
from sandbox.aws.cloudwatch.metrics import Bucket, MetricStore, Series

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIRECTIVE = {
    "Namespace": "Slicewise",
    "Dimensions": [["Cluster"], ["Cluster", "NodePool"]],
    "Metrics": [{"Name": "GPUs", "Unit": "Count"}, {"Name": "Busy"}],
}
LINE = {
    "_aws": {"Timestamp": int(NOW.timestamp() * 1000), "CloudWatchMetrics": [DIRECTIVE]},
    "Cluster": "gpu-1",
    "NodePool": "shared",
    "GPUs": [3.0, 5.0],
    "Busy": 0.5,
}


def changed(change) -> str:
    line = deepcopy(LINE)
    change(line, line["_aws"], line["_aws"]["CloudWatchMetrics"][0])
    return json.dumps(line)


def test_each_metric_is_put_for_each_set_of_dimensions():
    found = {(one.name, one.dimensions): bucket for one, _, bucket in points(json.dumps(LINE), NOW)}

    assert found["GPUs", (("Cluster", "gpu-1"),)] == Bucket(2, 8.0, 3.0, 5.0)
    assert found["Busy", (("Cluster", "gpu-1"), ("NodePool", "shared"))] == Bucket(1, 0.5, 0.5, 0.5)
    assert len(found) == 4


WRONG = {
    "no timestamp": lambda line, aws, one: aws.pop("Timestamp"),
    "a timestamp as text": lambda line, aws, one: aws.update(Timestamp="now"),
    "too old": lambda line, aws, one: aws.update(Timestamp=_ms(NOW - timedelta(days=14, seconds=1))),
    "too far ahead": lambda line, aws, one: aws.update(Timestamp=_ms(NOW + timedelta(hours=2, seconds=1))),
    "no namespace": lambda line, aws, one: one.pop("Namespace"),
    "no dimensions": lambda line, aws, one: one.pop("Dimensions"),
    "dimensions that are one list": lambda line, aws, one: one.update(Dimensions=["Cluster"]),
    "a dimension without a target": lambda line, aws, one: line.pop("Cluster"),
    "a dimension that is a number": lambda line, aws, one: line.update(Cluster=1),
    "an empty dimension": lambda line, aws, one: line.update(Cluster=""),
    "31 dimensions": lambda line, aws, one: _many_dimensions(line, one),
    "101 metrics": lambda line, aws, one: one.update(Metrics=[{"Name": "GPUs"}] * 101),
    "101 values": lambda line, aws, one: line.update(GPUs=[1] * 101),
    "a metric without a target": lambda line, aws, one: line.pop("GPUs"),
    "a metric that is text": lambda line, aws, one: line.update(GPUs="3"),
    "a metric that is true": lambda line, aws, one: line.update(GPUs=True),
    "an unknown unit": lambda line, aws, one: one["Metrics"][0].update(Unit="GPUs"),
    "an odd resolution": lambda line, aws, one: one["Metrics"][0].update(StorageResolution=30),
    "longer than an event": lambda line, aws, one: line.update(more="x" * 1_048_576),
}


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _many_dimensions(line, directive) -> None:
    names = [f"d{number}" for number in range(31)]
    line.update(dict.fromkeys(names, "x"))
    directive["Dimensions"] = [names]


@pytest.mark.parametrize("what", WRONG)
def test_a_line_that_breaks_the_specification_is_refused(what):
    with pytest.raises(Malformed):
        tuple(points(changed(WRONG[what]), NOW))


def test_limits_themselves_are_fine():
    line = changed(lambda line, aws, one: aws.update(Timestamp=_ms(NOW - timedelta(days=14))))

    assert len(tuple(points(line, NOW))) == 4


def test_wrong_lines_make_no_metric_and_are_counted_by_their_log_group():
    store, good = MetricStore(), json.dumps(LINE)
    log = [good, "plain text", '{"message": "no metric"}', '{"_aws": ', changed(WRONG["an unknown unit"])]

    take(store, "/aws/lambda/work", "\n".join(log), NOW)

    group = (("LogGroupName", "/aws/lambda/work"),)
    assert {one for one in store.series() if one.namespace == "AWS/Logs"} == {
        Series("AWS/Logs", "EMFParsingErrors", group),
        Series("AWS/Logs", "EMFValidationErrors", group),
    }
    assert len([one for one in store.series() if one.namespace == "Slicewise"]) == 4
