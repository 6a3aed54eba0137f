"""The metric store: right values in aligned periods, pages, and no silent wrong numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.aws.cloudwatch.metrics import MetricStore, Series
from sandbox.aws.server import Aws

START = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NODE = [{"Name": "ClusterName", "Value": "gpu-1"}, {"Name": "NodeName", "Value": "n-1"}]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws")) as aws:
        values = [{"Timestamp": START + n * MINUTE, "Value": float(n)} for n in range(60)]
        datum = {"MetricName": "busy", "Dimensions": NODE, "Unit": "Percent"}
        aws.client("cloudwatch").put_metric_data(
            Namespace="GPU", MetricData=[datum | value for value in values]
        )
        yield aws


def query(statistic: str = "Average", period: int = 300, name: str = "busy", **more: Any) -> dict[str, Any]:
    metric = {"Namespace": "GPU", "MetricName": name, "Dimensions": NODE}
    return {"Id": more.pop("id", "q"), "MetricStat": {"Metric": metric, "Period": period, "Stat": statistic}}


def read(aws: Aws, *queries: dict[str, Any], start: datetime = START, **more: Any) -> dict[str, Any]:
    return aws.client("cloudwatch").get_metric_data(
        MetricDataQueries=list(queries), StartTime=start, EndTime=START + 60 * MINUTE, **more
    )


@pytest.mark.parametrize(
    ("statistic", "first"),
    [("Average", 2.0), ("Sum", 10.0), ("Minimum", 0.0), ("Maximum", 4.0), ("SampleCount", 5.0)],
)
def test_five_minutes_of_a_statistic(aws, statistic, first):
    [result] = read(aws, query(statistic), ScanBy="TimestampAscending")["MetricDataResults"]

    assert result["Values"][0] == first
    assert len(result["Values"]) == 12
    assert result["Timestamps"][0] == START
    assert result["StatusCode"] == "Complete"


def test_newest_come_first_unless_asked_otherwise(aws):
    [result] = read(aws, query())["MetricDataResults"]

    assert result["Timestamps"] == sorted(result["Timestamps"], reverse=True)


def test_periods_begin_on_the_clock_and_not_at_the_start_of_the_question(aws):
    [result] = read(aws, query(), start=START + 2 * MINUTE, ScanBy="TimestampAscending")["MetricDataResults"]

    assert result["Timestamps"][0] == START
    assert result["Values"][0] == 2.0  # minutes 0 to 4, also those before the start


def test_periods_of_get_metric_statistics_begin_at_the_start_of_the_question(aws):
    """As in the examples of its API reference: hours from 23:18 on begin at 18 minutes past."""
    found = aws.client("cloudwatch").get_metric_statistics(
        Namespace="GPU",
        MetricName="busy",
        Dimensions=NODE,
        StartTime=START + 2 * MINUTE,
        EndTime=START + 12 * MINUTE,
        Period=300,
        Statistics=["Minimum", "Maximum"],
    )["Datapoints"]

    points = {point["Timestamp"]: (point["Minimum"], point["Maximum"]) for point in found}
    assert points == {START + 2 * MINUTE: (2.0, 6.0), START + 7 * MINUTE: (7.0, 11.0)}


@pytest.mark.parametrize(("seconds", "minutes"), [(0, 3), (0.3, 4), (59, 4)])
def test_a_minute_that_began_before_the_end_of_the_question_counts(seconds, minutes):
    store, series = MetricStore(), Series("GPU", "busy", ())
    store.put_values(series, [(START + n * MINUTE, 1.0) for n in range(60)])

    found = store.read(series, "Sum", 600, START, START + 3 * MINUTE + timedelta(seconds=seconds))

    assert found == [(START, minutes)]


def test_long_answers_come_in_pages_that_add_up(aws):
    client = aws.client("cloudwatch")
    pages = list(
        client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[query(period=60, id="a"), query("Maximum", 60, id="b")],
            StartTime=START,
            EndTime=START + 60 * MINUTE,
            MaxDatapoints=25,
        )
    )
    collected: dict[str, list[float]] = {"a": [], "b": []}
    for page in pages:
        for result in page["MetricDataResults"]:
            collected[result["Id"]] += result["Values"]

    assert len(pages) == 5
    assert collected["a"] == collected["b"] == [float(n) for n in reversed(range(60))]


def test_a_metric_is_listed_once_and_found_by_its_dimensions(aws):
    client = aws.client("cloudwatch")
    listed = client.list_metrics(Namespace="GPU", Dimensions=[{"Name": "ClusterName", "Value": "gpu-1"}])

    assert [metric["MetricName"] for metric in listed["Metrics"]] == ["busy"]
    assert client.list_metrics(Dimensions=[{"Name": "ClusterName", "Value": "other"}])["Metrics"] == []


def test_metrics_are_listed_in_pages(aws):
    for number in range(501):
        aws.metrics.put_values(Series("Many", "m", (("n", str(number)),)), [(START, 1.0)])
    pages = list(aws.client("cloudwatch").get_paginator("list_metrics").paginate(Namespace="Many"))

    assert [len(page["Metrics"]) for page in pages] == [500, 1]


def test_distributions_and_sets_count_as_their_values(aws):
    client, at = aws.client("cloudwatch"), START + 1000 * MINUTE
    client.put_metric_data(
        Namespace="GPU",
        MetricData=[
            {"MetricName": "sets", "Timestamp": at, "Values": [1.0, 3.0], "Counts": [2.0, 1.0]},
            {
                "MetricName": "sets",
                "Timestamp": at,
                "StatisticValues": {"SampleCount": 1, "Sum": 10, "Minimum": 10, "Maximum": 10},
            },
        ],
    )
    [point] = client.get_metric_statistics(
        Namespace="GPU",
        MetricName="sets",
        StartTime=at - MINUTE,
        EndTime=at + MINUTE,
        Period=60,
        Statistics=["Sum", "SampleCount", "Maximum"],
    )["Datapoints"]

    assert (point["Sum"], point["SampleCount"], point["Maximum"]) == (15, 4, 10)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(query("p90"), id="percentile"),
        pytest.param({"Id": "q", "Expression": "m1 * 2"}, id="metric math"),
        pytest.param({"Id": "q", "Expression": "SELECT MAX(busy) FROM GPU", "Period": 60}, id="insights"),
    ],
)
def test_what_is_not_played_is_an_error_and_not_a_number(aws, wrong):
    client = aws.client("cloudwatch")
    with pytest.raises(client.exceptions.ClientError, match="the sandbox has no"):
        read(aws, wrong)


def test_a_week_of_many_series_is_read_in_a_moment(aws):
    minutes = 7 * 24 * 60
    for node in range(10):
        series = Series("Week", "busy", (("NodeName", str(node)),))
        aws.metrics.put_values(series, ((START + n * MINUTE, float(n % 100)) for n in range(minutes)))
    began = time.thread_time()  # not by the clock: the machine may be busy with others
    points = [
        aws.metrics.read(series, "Average", 300, START, START + minutes * MINUTE)
        for series in aws.metrics.series()
        if series.namespace == "Week"
    ]

    assert [len(one) for one in points] == [minutes // 5] * 10
    assert time.thread_time() - began < 5  # 0.3 s; moto's takes minutes


def test_a_series_of_which_nothing_is_reported_is_none():
    store = MetricStore()
    store.put_values(Series("GPU", "busy", ()), [])

    assert store.series() == []


# Searching


POOLS = [
    (("Cluster", "a"), ("NodePool", "x"), 3.0),
    (("Cluster", "a"), ("NodePool", "y"), 4.0),
    (("Cluster", "b"), ("NodePool", "x"), 5.0),
]


@pytest.fixture(scope="module")
def pools(aws: Aws) -> Aws:
    """GPUs of three NodePools, and of a cluster, which has another set of dimensions."""
    for *dimensions, value in POOLS:
        aws.metrics.put_values(Series("Search", "GPUs", tuple(dimensions)), [(recently(), value)])
    aws.metrics.put_values(Series("Search", "GPUs", (("Cluster", "a"),)), [(recently(), 100.0)])
    aws.metrics.put_values(Series("Search", "Others", POOLS[0][:2]), [(recently(), 100.0)])
    aws.metrics.put_values(
        Series("Search", "GPUs", (("Cluster", "old"), ("NodePool", "z"))),
        [(recently() - timedelta(days=15), 9.0)],
    )
    return aws


def recently() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def searched(aws: Aws, expression: str, **more: Any) -> list[dict[str, Any]]:
    return aws.client("cloudwatch").get_metric_data(
        MetricDataQueries=[{"Id": "q", "Expression": expression, **more}],
        StartTime=recently() - timedelta(days=30),
        EndTime=recently() + timedelta(hours=1),
    )["MetricDataResults"]


GPUS = "SEARCH('{Search,NodePool,Cluster} MetricName=\"GPUs\"', 'Average', 3600)"


def test_a_search_finds_each_recent_metric_with_just_these_dimensions(pools):
    found = searched(pools, GPUS, Label="GPUs")

    assert sorted(one["Values"][0] for one in found) == [3.0, 4.0, 5.0]
    assert {one["Label"] for one in found} == {"GPUs a x", "GPUs a y", "GPUs b x"}
    assert {one["Id"] for one in found} == {"q"}


def test_a_search_is_summed_by_time(pools):
    [one] = searched(pools, f"SUM({GPUS})", Label="all")

    assert (one["Label"], one["Values"], one["Timestamps"]) == ("all", [12.0], [recently()])


def test_a_search_that_finds_nothing_has_no_result(pools):
    assert searched(pools, GPUS.replace("GPUs", "None")) == searched(
        pools, f"SUM({GPUS})".replace("GPUs", "None")
    )
    assert searched(pools, GPUS.replace("GPUs", "None")) == []


@pytest.mark.parametrize(
    "expression", ["a + b", GPUS.replace(" MetricName=", " "), "SELECT AVG(GPUs) FROM Search", f"MAX({GPUS})"]
)
def test_other_expressions_are_refused_and_shown(pools, expression):
    with pytest.raises(
        pools.client("cloudwatch").exceptions.ClientError, match="the sandbox has no metric math"
    ):
        searched(pools, expression)
