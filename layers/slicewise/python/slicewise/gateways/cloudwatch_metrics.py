"""Enhanced Container Insights (classic), read from CloudWatch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import ceil, floor, inf
from typing import Any, NamedTuple

from botocore.session import Session
from botocore.utils import parse_timestamp

from slicewise.gateways.botocore_clients import client, own_errors
from slicewise.model.cluster import Series, only_the_last
from slicewise.model.spans import DAY, HOUR

NAMESPACE = "ContainerInsights"
_OF_A_GPU = frozenset({"ClusterName", "NodeName", "InstanceId", "InstanceType", "GpuDevice"})
_OF_A_NODE = frozenset({"ClusterName", "NodeName", "InstanceId"})
# Statistics of a step, by name, and what the series of each is called: peaks of memory must not be averaged
# away; and where the fewest pods on a node and the most differ, the step says nothing about one pod.
_WANTED = {
    "node_gpu_utilization": (_OF_A_GPU, {"Average": "node_gpu_utilization"}),
    "node_gpu_memory_used": (_OF_A_GPU, {"Maximum": "node_gpu_memory_used"}),
    "node_gpu_usage_total": (
        _OF_A_NODE,
        {"Minimum": "node_gpu_usage_total", "Maximum": "node_gpu_usage_total/most"},
    ),
}
# The fewest and the most pods of a step, as one statistic of each of its minutes, in which the agent counts
# once: half the price of two of the step, and ten times the points. So only for the few steps of most
# reconciles.
_BY_MINUTE = {"node_gpu_usage_total": "Average"}
_MINUTE, _SHORT = timedelta(minutes=1), timedelta(hours=3)
MAX_QUERIES = 500  # a GetMetricData
# Up to so many metrics, a short time is read by GetMetricStatistics: one request a metric, with all its
# statistics, at the price of one metric of GetMetricData; and the first million requests of an account's
# month are free, GetMetricData's excepted (CloudWatch pricing). Of more metrics the requests, one after the
# other, would take longer than they save: 60 take some two seconds.
FEW_METRICS = 60
# Those of a reconcile, by the time that it takes to go through them; 15 calls: 370 GPUs for a week.
MAX_POINTS = 1_500_000


class _Metric(NamedTuple):
    """
    One statistic of one metric, every `period`; `series` is what its points are called here.

    Of a `period` shorter than a step, the series has each step's lowest value, and `most` the highest.
    """

    name: str
    dimensions: Mapping[str, str]
    statistic: str
    series: str
    period: timedelta
    most: str = ""


class CloudWatchMetrics:
    """
    Implements ports.Metrics.

    What a read costs: 0.01 $ a 1,000 metrics, so 0.00003 $ a node with one GPU (two statistics a GPU, one a
    node): hourly, ten such nodes cost 0.22 $ a month, and nothing while the account has free requests left
    (`FEW_METRICS`). Metrics without a point in three hours, which are those of deleted nodes, are not listed
    and cost nothing.
    """

    def __init__(self, session: Session, region: str):
        self._session, self._region = session, region

    @cached_property
    def _cloudwatch(self) -> Any:
        # botocore takes 80 µs to put a moment into the local time zone, which is most of a read's time.
        parsers = self._session.get_component("response_parser_factory")
        parsers.set_parser_defaults(timestamp_parser=_moment)
        return client("cloudwatch", self._session, self._region)

    def read(self, cluster: str, start: datetime, end: datetime, step: timedelta) -> Iterator[Series]:
        """Some hundred metrics at a time, so that no more of their points are in memory."""
        # On the clock: CloudWatch's periods begin there, no matter what is asked for.
        seconds = int(step.total_seconds())
        start = datetime.fromtimestamp(int(start.timestamp()) // seconds * seconds, UTC)
        if start >= end:
            return
        with own_errors(f"cloudwatch:ListMetrics of {cluster}"):
            listed = [(name, found) for name in _WANTED for found in self._listed(name, cluster)]
        short = end - start <= _SHORT
        if short and len(listed) <= FEW_METRICS:
            with own_errors(f"cloudwatch:GetMetricStatistics of {cluster}"):
                few = [one for metric in listed for one in self._statistics(*metric, start, end, step)]
            yield from few
            return
        metrics = [metric for one in listed for metric in _to_query(*one, step, by_minute=short)]
        begin, why = _affordable(start, end, step, len(metrics))
        for first in range(0, len(metrics), MAX_QUERIES):
            with own_errors(f"cloudwatch:GetMetricData of {cluster}"):
                found = list(self._values(metrics[first : first + MAX_QUERIES], begin, end, step, why))
            yield from found

    def _listed(self, name: str, cluster: str) -> Iterable[Mapping[str, str]]:
        """The dimensions of each metric of this name that is read."""
        pages = self._cloudwatch.get_paginator("list_metrics").paginate(
            Namespace=NAMESPACE,
            MetricName=name,
            Dimensions=[{"Name": "ClusterName", "Value": cluster}],
            RecentlyActive="PT3H",
        )
        for page in pages:
            for metric in page["Metrics"]:
                found = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
                if found.keys() == _WANTED[name][0]:
                    yield found

    def _statistics(
        self, name: str, dimensions: Mapping[str, str], start: datetime, end: datetime, step: timedelta
    ) -> Iterable[Series]:
        """A metric's series, by one request; `start` is on the clock, where its periods then begin."""
        statistics = _WANTED[name][1]
        answer = self._cloudwatch.get_metric_statistics(
            Namespace=NAMESPACE,
            MetricName=name,
            Dimensions=_wire(dimensions),
            StartTime=start,
            EndTime=end,
            Period=int(step.total_seconds()),
            Statistics=list(statistics),
        )
        # In no order, says its API reference.
        points = sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])
        times = tuple(int(point["Timestamp"].timestamp()) for point in points)
        if times:
            for statistic, series in statistics.items():
                yield Series(series, dimensions, times, tuple(point[statistic] for point in points))

    def _values(
        self, metrics: Sequence[_Metric], start: datetime, end: datetime, step: timedelta, why: str
    ) -> Iterable[Series]:
        points: dict[str, dict[int, float]] = {f"m{n}": {} for n in range(len(metrics))}
        status: dict[str, str] = {}
        messages: list[str] = []
        pages = self._cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[_query(f"m{n}", metric) for n, metric in enumerate(metrics)],
            StartTime=start,
            EndTime=end,
            ScanBy="TimestampAscending",
        )
        for page in pages:
            messages += (one.get("Value", "") for one in page.get("Messages") or ())
            for result in page["MetricDataResults"]:
                times = (int(at.timestamp()) for at in result["Timestamps"])
                points[result["Id"]].update(zip(times, result["Values"], strict=True))
                if status.get(result["Id"]) not in _LEFT_OUT:
                    status[result["Id"]] = result.get("StatusCode", _COMPLETE)
        for n, metric in enumerate(metrics):
            if found := points[f"m{n}"]:
                missing = _left_out(metric, status[f"m{n}"], messages) or why
                for name, values in _of_steps(metric, found, int(step.total_seconds())):
                    yield Series(name, metric.dimensions, tuple(values), tuple(values.values()), missing)


def _to_query(
    name: str, dimensions: Mapping[str, str], step: timedelta, *, by_minute: bool
) -> Iterable[_Metric]:
    """Of one metric, by GetMetricData, each of whose statistics is paid for."""
    statistics = _WANTED[name][1]
    if by_minute and name in _BY_MINUTE:
        fewest, most = statistics.values()
        return [_Metric(name, dimensions, _BY_MINUTE[name], fewest, _MINUTE, most)]
    return [_Metric(name, dimensions, *of_one, step) for of_one in statistics.items()]


def _of_steps(
    metric: _Metric, found: Mapping[int, float], step: int
) -> Iterable[tuple[str, Mapping[int, float]]]:
    """Name and points of each series that is made of a metric's answer; `step` is in seconds."""
    if not metric.most:
        return [(metric.series, found)]
    fewest: dict[int, float] = {}
    most: dict[int, float] = {}
    for at, value in found.items():
        begin = at // step * step
        # Where the agent counts more often, a minute's mean may lie between two counts.
        fewest[begin] = min(fewest.get(begin, inf), float(floor(value)))
        most[begin] = max(most.get(begin, 0.0), float(ceil(value)))
    return [(metric.series, fewest), (metric.most, most)]


_COMPLETE = "Complete"
# On any page: PartialData only says that another page follows, unless it was the last one.
_LEFT_OUT = ("InternalError", "Forbidden")


def _left_out(metric: _Metric, status: str, messages: Sequence[str]) -> str:
    """
    Args:
        status: Of the metric's last page.
        messages: Of the whole answer, such as that it has too many metrics: as much as possible was read.
    """
    if status != _COMPLETE:
        return f"CloudWatch left out points of {metric.name} ({status})"
    return f"CloudWatch says: {'; '.join(messages)}" if messages else ""


def _moment(value: Any) -> datetime:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else parse_timestamp(value)


def _wire(dimensions: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in dimensions.items()]


def _query(id: str, metric: _Metric) -> dict[str, Any]:
    return {
        "Id": id,
        "MetricStat": {
            "Metric": {
                "Namespace": NAMESPACE,
                "MetricName": metric.name,
                "Dimensions": _wire(metric.dimensions),
            },
            "Period": int(metric.period.total_seconds()),
            "Stat": metric.statistic,
        },
    }


def _affordable(start: datetime, end: datetime, step: timedelta, series: int) -> tuple[datetime, str]:
    """
    From when on there is room for so many series, in whole days, or hours where it is less than one, and why
    it is not `start`. Two hours always: else reconciles an hour apart would leave a gap between them for
    ever.
    """
    room = max(2 * HOUR, MAX_POINTS // max(1, series) * step)
    if end - start <= room:
        return start, ""
    unit = DAY if room >= DAY else HOUR
    span = room // unit * unit
    return end - span, only_the_last(span, series)
