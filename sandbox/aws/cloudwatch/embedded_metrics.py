"""
CloudWatch Logs' embedded metric format: lines of a function's log that become metrics.

After AWS's specification of the format. As in AWS a line that is wrong stops nobody: it makes no metric, and
is counted in AWS/Logs by its log group, as EMFParsingErrors (no JSON) or EMFValidationErrors. Read are lines
that are one JSON object as a whole, which is what functions with JSON logs write.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.aws.cloudwatch.metrics import Bucket, MetricStore, Series

log = logging.getLogger(__name__)

MOST_BYTES, MOST_DIMENSIONS, MOST_METRICS, MOST_VALUES = 1_048_576, 30, 100, 100
LONGEST_NAME, LONGEST_DIMENSION_VALUE, LONGEST_NAMESPACE = 1024, 1024, 1024
OLDEST, NEWEST = timedelta(days=14), timedelta(hours=2)
_SIZES = ("Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes")
_BITS = ("Bits", "Kilobits", "Megabits", "Gigabits", "Terabits")
UNITS = frozenset(
    (
        *("Seconds", "Microseconds", "Milliseconds", "Percent", "Count", "Count/Second", "None"),
        *(*_SIZES, *_BITS, *(f"{one}/Second" for one in (*_SIZES, *_BITS))),
    )
)

Point = tuple[Series, datetime, Bucket]


class Malformed(Exception):
    """What of a line CloudWatch would not take."""


def take(store: MetricStore, log_group: str, text: str, now: datetime) -> None:
    """Puts what lines of a log say into the store; they may have anything else in them."""
    for line in text.splitlines():
        if '"_aws"' in line:
            _take_line(store, log_group, line, now)


def _take_line(store: MetricStore, log_group: str, line: str, now: datetime) -> None:
    try:
        found = tuple(points(line, now))
    except json.JSONDecodeError as error:
        return _count(store, "EMFParsingErrors", log_group, now, str(error))
    except Malformed as error:
        return _count(store, "EMFValidationErrors", log_group, now, str(error))
    for point in found:
        store.put(*point)


def _count(store: MetricStore, name: str, log_group: str, now: datetime, why: str) -> None:
    log.warning("a line of %s makes no metric: %s", log_group, why)
    store.put(Series("AWS/Logs", name, (("LogGroupName", log_group),)), now, Bucket(1, 1, 1, 1))


def points(line: str, now: datetime) -> Iterator[Point]:
    """
    Raises:
        json.JSONDecodeError: The line is no JSON.
        Malformed: It breaks the specification; the message says where.
    """
    root = json.loads(line)
    _need(len(line.encode()) <= MOST_BYTES, f"the line is longer than {MOST_BYTES} bytes")
    _need(isinstance(root, dict), "the line is no object")
    about = root.get("_aws")
    _need(isinstance(about, dict), "_aws is no object")
    at, directives = _time(about.get("Timestamp"), now), about.get("CloudWatchMetrics")
    _need(isinstance(directives, list), "_aws.CloudWatchMetrics is no list")
    for directive in directives:
        yield from _of_directive(directive, root, at)


def _time(stamp: Any, now: datetime) -> datetime:
    _need(isinstance(stamp, int) and not isinstance(stamp, bool), "_aws.Timestamp is no whole number")
    at = datetime.fromtimestamp(stamp / 1000, UTC)
    _need(now - OLDEST <= at <= now + NEWEST, f"{at} is not within the last 14 days and the next 2 hours")
    return at


def _of_directive(directive: Any, root: Mapping[str, Any], at: datetime) -> Iterator[Point]:
    _need(isinstance(directive, dict), "a directive is no object")
    namespace = directive.get("Namespace")
    _need(isinstance(namespace, str) and 0 < len(namespace) <= LONGEST_NAMESPACE, "Namespace is no name")
    sets, metrics = directive.get("Dimensions"), directive.get("Metrics")
    _need(isinstance(sets, list) and all(isinstance(one, list) for one in sets), "Dimensions has no lists")
    _need(isinstance(metrics, list) and len(metrics) <= MOST_METRICS, f"Metrics: {MOST_METRICS} at most")
    dimensions = [_dimensions(one, root) for one in sets]
    for metric in metrics:
        name, bucket = _metric(metric, root)
        for one in dimensions:
            yield Series(namespace, name, one), at, bucket


def _dimensions(names: list[Any], root: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    _need(len(names) <= MOST_DIMENSIONS, f"a set of dimensions has {len(names)}, {MOST_DIMENSIONS} at most")
    for name in names:
        _need(isinstance(name, str) and bool(name), f"{name!r} is no dimension's name")
        value = root.get(name)
        _need(isinstance(value, str), f"the target of dimension {name} is no text: {value!r}")
        _need(0 < len(value) <= LONGEST_DIMENSION_VALUE, f"dimension {name} is empty or too long")
    return tuple(sorted((name, root[name]) for name in names))


def _metric(metric: Any, root: Mapping[str, Any]) -> tuple[str, Bucket]:
    _need(isinstance(metric, dict), "a metric is no object")
    name, unit = metric.get("Name"), metric.get("Unit", "None")
    _need(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME, f"{name!r} is no metric's name")
    _need(unit in UNITS, f"{name} has the unit {unit!r}, which CloudWatch does not know")
    _need(metric.get("StorageResolution", 60) in (1, 60), f"{name}: StorageResolution is 1 or 60")
    found = root.get(name)
    values = found if isinstance(found, list) else [found]
    _need(0 < len(values) <= MOST_VALUES, f"{name} has {len(values)} values, {MOST_VALUES} at most")
    _need(all(map(_is_number, values)), f"the target of metric {name} is no number: {found!r}")
    return name, Bucket(len(values), sum(values), min(values), max(values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2.0**360


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Malformed(otherwise)
