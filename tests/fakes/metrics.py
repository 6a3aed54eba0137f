"""A source of metrics in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.model.cluster import Series

from tests.fakes.calls import Calls


class FakeMetrics:
    """
    Implements ports.Metrics: hands out, a cluster, what lies in the asked window. A test that plays a
    Prometheus puts no point into the step that goes on.

    Attributes:
        series: By cluster; `scraped` gives more, for every cluster, from what is there at the time of a read.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.series: dict[str, list[Series]] = {}
        self.scraped: Callable[[datetime, datetime], Iterable[Series]] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> FakeMetrics:
        """Series never change, and are long."""
        twin = FakeMetrics(deepcopy(self._calls, memo))
        twin.series = {cluster: list(series) for cluster, series in self.series.items()}
        twin.scraped = deepcopy(self.scraped, memo)
        return twin

    def read(self, cluster: str, start: datetime, end: datetime, step: timedelta) -> tuple[Series, ...]:
        with self._calls.call(f"metrics.read {cluster}"):
            seconds = int(step.total_seconds())
            first = int(start.timestamp()) // seconds * seconds
            cut = [_within(one, first, end.timestamp()) for one in self.series.get(cluster, ())]
            cut += self.scraped(datetime.fromtimestamp(first, UTC), end) if self.scraped else ()
            return tuple(one for one in cut if one.times)


def _within(series: Series, start: float, end: float) -> Series:
    first, last = bisect_left(series.times, start), bisect_left(series.times, end)
    return replace(series, times=series.times[first:last], values=series.values[first:last])
