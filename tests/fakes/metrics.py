"""A source of metrics in memory."""

from __future__ import annotations

from datetime import datetime, timedelta

from slicewise.model import Series

from tests.fakes.calls import Calls


class FakeMetrics:
    """Implements ports.Metrics: hands out, a cluster, what lies in the asked window."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.series: dict[str, list[Series]] = {}

    def read(self, cluster: str, start: datetime, end: datetime, step: timedelta) -> tuple[Series, ...]:
        with self._calls.call(f"metrics.read {cluster}"):
            cut = [_within(one, start.timestamp(), end.timestamp()) for one in self.series.get(cluster, ())]
            return tuple(one for one in cut if one.times)


def _within(series: Series, start: float, end: float) -> Series:
    kept = [(at, value) for at, value in zip(series.times, series.values, strict=True) if start <= at < end]
    times, values = tuple(at for at, _ in kept), tuple(value for _, value in kept)
    return Series(series.name, series.labels, times, values, series.incomplete)
