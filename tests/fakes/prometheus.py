"""
A Prometheus in memory, for unit tests: it keeps what it is given and answers what Slicewise asks of it.

It is held to a real one by tests/contract/metrics/test_prometheus.py: the window (t − range, t] of a range
selector, staleness markers, NaN, regular expressions that match an absent label, and 11,000 points a series
at most. Beyond that it demands signatures, as Amazon Managed Prometheus does, which nobody can run, and warns
if told to. Not played, and refused: every other query.
"""

from __future__ import annotations

import bisect
import math
import re
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sandbox.metrics.remote_write import STALE, Samples
from tests.fakes.range_api import Found, RangeApi, matches

MAX_POINTS_A_SERIES = 11_000
_IN_USE = re.compile(r"(?P<each>max by .*) > 0 or count by \((?P<labels>[\w,]+)\) \((?P=each)\)")
_BY = re.compile(r"max by \((?P<labels>[\w,]+)\) \((?P<query>.*)\)")
_QUERY = re.compile(r"(?P<function>\w+)\((?P<name>\w+)\{(?P<matchers>[^{}]*)\}\[(?P<seconds>\d+)s\]\)")
_MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
_STALE = struct.pack("<d", STALE)


def _peak(values: Iterable[float]) -> float:
    """Not a number only where none is one."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


_FUNCTIONS: dict[str, Callable[[list[float]], float]] = {
    "avg_over_time": lambda values: sum(values) / len(values),
    "max_over_time": _peak,
    "last_over_time": lambda values: values[-1],
}

Labels = frozenset[tuple[str, str]]


class BadQuery(ValueError):
    """What Prometheus answers with 400, and what is not played."""


class Refused(Exception):
    """What Prometheus does not take."""


class Prometheus(RangeApi):
    """
    Attributes:
        warnings: Sent with every answer, as a store does that could not reach all of its data.
    """

    service = "aps"

    def __init__(self) -> None:
        super().__init__()
        self._series: dict[Labels, tuple[list[float], list[float]]] = {}
        self._lock = threading.Lock()
        self.warnings: list[str] = []

    def put(self, name: str, labels: Mapping[str, str], points: Iterable[tuple[float, float]]) -> None:
        """
        Raises:
            Refused: A time has another value already.
        """
        with self._lock:
            key = frozenset({**labels, "__name__": name}.items())
            times, values = self._series.setdefault(key, ([], []))
            for at, value in points:
                where = bisect.bisect_left(times, at)
                if math.isnan(value) and struct.pack("<d", value) == _STALE:
                    continue  # a range selector passes over markers
                if where == len(times) or times[where] != at:
                    times.insert(where, at)
                    values.insert(where, value)
                elif values[where] != value:
                    raise Refused(f"duplicate sample for timestamp {at}")

    def write(self, series: Iterable[Samples]) -> None:
        for one in series:
            self.put(one.name, one.labels, one.points)

    def answer(self, query: str, start: int, end: int, step: int) -> tuple[list[Found], list[str]]:
        return self.range(query, start, end, step), self.warnings

    def range(self, query: str, start: int, end: int, step: int) -> list[dict[str, Any]]:
        """
        Raises:
            BadQuery: the query is not one of ours, or asks for too many points.
        """
        if in_use := _IN_USE.fullmatch(query):
            each = self.range(in_use["each"], start, end, step)
            return [*_above_zero(each), *_counted(each, set(in_use["labels"].split(",")))]
        if outer := _BY.fullmatch(query):
            inner = self.range(outer["query"], start, end, step)
            return _highest(inner, set(outer["labels"].split(",")))
        asked = _QUERY.fullmatch(query)
        if not asked or asked["function"] not in _FUNCTIONS:
            raise BadQuery(f"the sandbox does not play {query!r}")
        if (end - start) // step > MAX_POINTS_A_SERIES:
            raise BadQuery("exceeded maximum resolution of 11,000 points per timeseries.")
        selectors = [("__name__", "=", asked["name"]), *_MATCHER.findall(asked["matchers"])]
        function, window = _FUNCTIONS[asked["function"]], int(asked["seconds"])
        self.queries.append(query)
        results = []
        with self._lock:
            for key, (times, values) in self._series.items():
                labels = dict(key)
                if all(matches(labels.get(label, ""), how, value) for label, how, value in selectors):
                    points = [
                        [at, _text(function(values[low:high]))]
                        for at in range(start, end + 1, step)
                        if (low := bisect.bisect_right(times, at - window))
                        < (high := bisect.bisect_right(times, at))
                    ]
                    if points:
                        del labels["__name__"]
                        results.append({"metric": labels, "values": points})
        return results


def _highest(results: list[dict[str, Any]], by: set[str]) -> list[dict[str, Any]]:
    """max by (…) (…)"""
    groups: dict[Labels, dict[int, list[float]]] = {}
    for found in results:
        key = frozenset((name, value) for name, value in found["metric"].items() if name in by)
        group = groups.setdefault(key, {})
        for at, text in found["values"]:
            group.setdefault(at, []).append(float(text))
    return [
        {"metric": dict(key), "values": [[at, _text(_peak(values))] for at, values in sorted(group.items())]}
        for key, group in groups.items()
    ]


def _above_zero(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """… > 0"""
    found = [
        {**one, "values": [[at, text] for at, text in one["values"] if float(text) > 0]} for one in results
    ]
    return [one for one in found if one["values"]]


def _counted(results: list[dict[str, Any]], by: set[str]) -> list[dict[str, Any]]:
    """count by (…) (…)"""
    groups: dict[Labels, dict[int, int]] = {}
    for found in results:
        key = frozenset((name, value) for name, value in found["metric"].items() if name in by)
        group = groups.setdefault(key, {})
        for at, _ in found["values"]:
            group[at] = group.get(at, 0) + 1
    return [
        {"metric": dict(key), "values": [[at, str(count)] for at, count in sorted(group.items())]}
        for key, group in groups.items()
    ]


def _text(value: float) -> str:
    return "NaN" if math.isnan(value) else repr(value)
