"""
CloudWatch metrics: a store that keeps one bucket a minute a series, aligns to the clock, and pages.
GetMetricStatistics alone aligns to StartTime, as the examples of its API reference do.

moto's own starts its buckets at StartTime, lists a metric once a datapoint, never pages, and takes
quadratic time (16 s for five series of three days; 0.05 s here). Expressions that search are in
search.py. Not played, and refused in so many words: percentiles, other metric math and Metrics Insights;
high-resolution metrics are kept by the minute. Retention tiers, and the two-week limit on old points of
PutMetricData, are not enforced.
"""

from __future__ import annotations

import bisect
import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult

from sandbox.aws.cloudwatch import search
from sandbox.aws.core import registry
from sandbox.aws.core.patching import Patches

MINUTE = 60
# GetMetricData returns at most this many datapoints in one answer, ListMetrics that many metrics.
MAX_DATAPOINTS, MAX_METRICS = 100_800, 500
RECENTLY, SEARCHED = timedelta(hours=3), timedelta(weeks=2)


class InvalidParameterValue(ServiceException):
    code = "InvalidParameterValue"


@dataclass(frozen=True)
class Series:
    """One metric: CloudWatch tells two apart by any difference in the dimensions."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Bucket:
    count: float
    total: float
    least: float
    most: float

    def __add__(self, other: Bucket) -> Bucket:
        return Bucket(
            self.count + other.count,
            self.total + other.total,
            min(self.least, other.least),
            max(self.most, other.most),
        )


STATISTICS: dict[str, Callable[[Bucket], float]] = {
    "Average": lambda bucket: bucket.total / bucket.count,
    "Sum": lambda bucket: bucket.total,
    "Minimum": lambda bucket: bucket.least,
    "Maximum": lambda bucket: bucket.most,
    "SampleCount": lambda bucket: bucket.count,
}


@dataclass
class _Minutes:
    times: list[int] = field(default_factory=list)
    buckets: dict[int, Bucket] = field(default_factory=dict)

    def add(self, minute: int, bucket: Bucket) -> None:
        if minute in self.buckets:
            bucket = self.buckets[minute] + bucket
        else:
            bisect.insort(self.times, minute)
        self.buckets[minute] = bucket


class MetricStore:
    """What PutMetricData was told. Safe to use from several threads."""

    def __init__(self) -> None:
        self._series: dict[Series, _Minutes] = {}
        self._lock = threading.Lock()

    def put(self, series: Series, at: datetime, bucket: Bucket) -> None:
        with self._lock:
            self._series.setdefault(series, _Minutes()).add(int(at.timestamp()) // MINUTE, bucket)

    def put_values(self, series: Series, points: Iterable[tuple[datetime, float]]) -> None:
        """Many points of one series, without a call each: for replaying traces. Without any there is none."""
        with self._lock:
            for at, value in points:
                minutes = self._series.setdefault(series, _Minutes())
                minutes.add(int(at.timestamp()) // MINUTE, Bucket(1, value, value, value))

    def series(self, since: datetime | None = None) -> list[Series]:
        """Those that have a point since then."""
        minute = int(since.timestamp()) // MINUTE if since else 0
        with self._lock:
            return [one for one, minutes in self._series.items() if minutes.times[-1] >= minute]

    def forget(self) -> None:
        with self._lock:
            self._series.clear()

    def read(
        self,
        series: Series,
        statistic: str,
        period_seconds: int,
        start: datetime,
        end: datetime,
        *,
        from_start: bool = False,
    ) -> list[tuple[datetime, float]]:
        """
        One value a period that holds data, oldest first; periods begin at multiples of their
        length since the epoch, and the one in which `start` lies counts whole.

        Args:
            from_start: They begin at `start` instead, to the minute.

        Raises:
            InvalidParameterValue: For a statistic that is not played.
        """
        if statistic not in STATISTICS:
            raise InvalidParameterValue(
                f"the sandbox has no statistic {statistic}: use {', '.join(STATISTICS)}"
            )
        step = max(period_seconds // MINUTE, 1)
        first = int(start.timestamp()) // MINUTE
        offset = first % step if from_start else 0
        first -= (first - offset) % step
        # The end is exclusive: a minute that began before it counts, if only by a moment.
        last = math.ceil(end.timestamp() / MINUTE)
        periods: dict[int, Bucket] = {}
        with self._lock:
            minutes = self._series.get(series, _Minutes())
            low, high = bisect.bisect_left(minutes.times, first), bisect.bisect_left(minutes.times, last)
            for minute in minutes.times[low:high]:
                begin, bucket = (minute - offset) // step * step + offset, minutes.buckets[minute]
                periods[begin] = periods[begin] + bucket if begin in periods else bucket
        value = STATISTICS[statistic]
        return [
            (datetime.fromtimestamp(begin * MINUTE, UTC), value(bucket))
            for begin, bucket in sorted(periods.items())
        ]


class Metrics:
    """Replaces CloudWatchResponse's methods of these names."""

    def put_metric_data(self: Any) -> ActionResult:
        asked = self._get_params()
        for datum in asked["MetricData"]:
            series = _series(asked["Namespace"], datum)
            _store(self).put(series, _aware(datum.get("Timestamp")), _bucket(datum))
        return ActionResult({})

    def list_metrics(self: Any) -> ActionResult:
        asked = self._get_params()
        start = int(asked.get("NextToken") or 0)
        # PT3H is the only value that there is.
        since = datetime.now(UTC) - RECENTLY if asked.get("RecentlyActive") else None
        found = [series for series in _store(self).series(since) if _is_asked_for(series, asked)]
        answer: dict[str, Any] = {"Metrics": [_wire(series) for series in found[start : start + MAX_METRICS]]}
        if start + MAX_METRICS < len(found):
            answer["NextToken"] = str(start + MAX_METRICS)
        return ActionResult(answer)

    def get_metric_data(self: Any) -> ActionResult:
        asked = self._get_params()
        at = json.loads(asked.get("NextToken") or "{}")
        room = int(asked.get("MaxDatapoints") or MAX_DATAPOINTS)
        if len(asked["MetricDataQueries"]) > MAX_METRICS:
            raise InvalidParameterValue(f"at most {MAX_METRICS} queries a call")
        results, following, more = [], {}, False
        found = [one for query in asked["MetricDataQueries"] for one in _found(_store(self), query, asked)]
        for number, (query, label, points) in enumerate(found):
            begin = at.get(str(number), 0)
            taken = points[begin : begin + room]
            room -= len(taken)
            following[str(number)] = begin + len(taken)
            rest = begin + len(taken) < len(points)
            more = more or rest
            if query.get("ReturnData", True):
                results.append(_result(query, label, taken, complete=not rest))
        answer: dict[str, Any] = {"MetricDataResults": results, "Messages": []}
        return ActionResult(answer | ({"NextToken": json.dumps(following)} if more else {}))

    def get_metric_statistics(self: Any) -> ActionResult:
        asked = self._get_params()
        series = _series(asked["Namespace"], asked)
        period = int(asked["Period"])
        start, end = _aware(asked["StartTime"]), _aware(asked["EndTime"])
        by_time: dict[datetime, dict[str, Any]] = {}
        for statistic in asked.get("Statistics", []):
            for at, value in _store(self).read(series, statistic, period, start, end, from_start=True):
                by_time.setdefault(at, {"Timestamp": at, "Unit": asked.get("Unit", "None")})[statistic] = (
                    value
                )
        # In no order, as its API reference says.
        unordered = sorted(by_time.values(), key=lambda point: point["Timestamp"].timestamp() % 7)
        return ActionResult({"Label": asked["MetricName"], "Datapoints": unordered})


def _store(response: Any) -> MetricStore:
    return registry.served(response.current_account).service(MetricStore)


def _series(namespace: str, body: Mapping[str, Any]) -> Series:
    dimensions = sorted((one["Name"], one["Value"]) for one in body.get("Dimensions") or [])
    return Series(namespace, body["MetricName"], tuple(dimensions))


def _bucket(datum: Mapping[str, Any]) -> Bucket:
    if whole := datum.get("StatisticValues"):
        return Bucket(
            float(whole["SampleCount"]),
            float(whole["Sum"]),
            float(whole["Minimum"]),
            float(whole["Maximum"]),
        )
    values = [float(value) for value in datum.get("Values") or [datum["Value"]]]
    counts = [float(count) for count in datum.get("Counts") or [1] * len(values)]
    total = sum(value * count for value, count in zip(values, counts, strict=True))
    return Bucket(sum(counts), total, min(values), max(values))


def _is_asked_for(series: Series, asked: Mapping[str, Any]) -> bool:
    own = dict(series.dimensions)
    return (
        asked.get("Namespace") in (None, series.namespace)
        and asked.get("MetricName") in (None, series.name)
        and all(
            one["Name"] in own and one.get("Value") in (None, own[one["Name"]])
            for one in asked.get("Dimensions") or []
        )
    )


def _found(
    store: MetricStore, query: Mapping[str, Any], asked: Mapping[str, Any]
) -> list[tuple[Mapping[str, Any], str, search.Points]]:
    """Each series of a query with its label; a search may find many, or none."""
    newest_first = asked.get("ScanBy") != "TimestampAscending"
    found = _searched(store, query, asked) if "Expression" in query else [_asked_for(store, query, asked)]
    return [(query, label, points[::-1] if newest_first else points) for label, points in found]


def _asked_for(
    store: MetricStore, query: Mapping[str, Any], asked: Mapping[str, Any]
) -> tuple[str, search.Points]:
    wanted = query["MetricStat"]
    metric = wanted["Metric"]
    series, statistic, period = _series(metric["Namespace"], metric), wanted["Stat"], int(wanted["Period"])
    points = store.read(series, statistic, period, _aware(asked["StartTime"]), _aware(asked["EndTime"]))
    return query.get("Label") or metric["MetricName"], points


def _searched(
    store: MetricStore, query: Mapping[str, Any], asked: Mapping[str, Any]
) -> list[tuple[str, search.Points]]:
    wanted = search.parse(query["Expression"])
    if wanted is None:
        raise InvalidParameterValue(
            "the sandbox has no metric math but SUM(SEARCH(…)), of which it knows '{Namespace,Dimension} "
            f'MetricName="name"\', and no Metrics Insights: {query["Expression"]}'
        )
    start, end = _aware(asked["StartTime"]), _aware(asked["EndTime"])
    period, title = wanted.period_seconds, query.get("Label") or wanted.metric
    found = [
        (f"{title} {' '.join(value for _, value in one.dimensions)}", points)
        for one in store.series(datetime.now(UTC) - SEARCHED)
        if (one.namespace, one.name) == (wanted.namespace, wanted.metric)
        and {name for name, _ in one.dimensions} == wanted.dimensions
        and (points := store.read(one, wanted.statistic, period, start, end))
    ][: search.MOST_FOUND]
    return [(title, search.total([points for _, points in found]))] if wanted.summed and found else found


def _result(
    query: Mapping[str, Any], label: str, points: list[tuple[datetime, float]], *, complete: bool
) -> dict[str, Any]:
    return {
        "Id": query["Id"],
        "Label": label,
        "Timestamps": [at for at, _ in points],
        "Values": [value for _, value in points],
        "StatusCode": "Complete" if complete else "PartialData",
    }


def _wire(series: Series) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in series.dimensions]
    return {"Namespace": series.namespace, "MetricName": series.name, "Dimensions": dimensions}


def _aware(at: datetime | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def install(patches: Patches) -> None:
    for name, method in vars(Metrics).items():
        if not name.startswith("_"):
            patches.wrap(CloudWatchResponse, name, lambda plain, ours=method: _ours_or_plain(ours, plain))


def _ours_or_plain(ours: Callable[[Any], Any], plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A plain moto mock of another account in this process keeps moto's own store."""

    def method(self: Any) -> Any:
        return (ours if registry.of(self.current_account) else plain)(self)

    return method
