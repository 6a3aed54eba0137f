"""Passes of tuning as far as they measure: each reads what is new, and keeps it in a table, hour by hour."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from slicewise.kube.ref import Object
from slicewise.model.cluster import Series
from slicewise.model.usage import Page
from slicewise.tuning.observe import first_new
from slicewise.tuning.usage.history import NOTHING, History, WorkloadKey
from slicewise.tuning.usage.pages import history_of, pages, written
from slicewise.tuning.usage.pool_usage import Measured, measured, read
from slicewise.tuning.usage.readings import Readings

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning import dcgm_samples as world

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEB = WorkloadKey("apps", "Deployment", "team", "web", "l4")
Value = Callable[[datetime], float]


def node(name: str, age: timedelta = 9 * DAY) -> Object:
    return builders.node(name=name, age=age)


def web(name: str, on: str, began: datetime, template: str = "7f5d8c9b7") -> Object:
    owner, labels = ("ReplicaSet", f"web-{template}"), {"pod-template-hash": template}
    return world.pod(f"web-{template}-{name}", on, NOW - began, owner=owner, labels=labels)


def dcgm(pods: Sequence[Object], busy: Value, mib: float, begin: datetime, end: datetime) -> list[Series]:
    """What a Prometheus has of pods between two times, each from its beginning on; NaN has no point."""
    found = []
    for pod in pods:
        name, on = pod["metadata"]["name"], pod["spec"]["nodeName"]
        first = max(begin, datetime.fromisoformat(pod["status"]["startTime"]))
        times = range(-(-int(first.timestamp()) // 600) * 600, int(end.timestamp()), 600)
        every = {at: busy(datetime.fromtimestamp(at, NOW.tzinfo)) for at in times}
        used = {at: value for at, value in every.items() if not math.isnan(value)}
        percent = tuple(100 * value for value in used.values())
        labels = {"Hostname": on, "gpu": "0", "modelName": "NVIDIA L4"}
        of_pod = {**labels, "pod": name, "namespace": "team"}
        for its in (labels, of_pod):
            found.append(Series("DCGM_FI_DEV_GPU_UTIL", its, tuple(used), percent))
            found.append(Series("DCGM_FI_DEV_FB_USED", its, tuple(used), (mib,) * len(used)))
    return found


class Reconciler:
    """
    Hour by hour, each reading what is new as the product does, and keeping it in a table.

    Attributes:
        last: What the newest pass knew; `contents` is what it saw.
    """

    def __init__(self, source: str = "prometheus") -> None:
        self.source = source
        self.kept: dict[tuple[int, int, int], Page] = {}
        self.last = Measured(NOTHING, NOTHING, Readings())
        self.contents = builders.contents()

    @property
    def seen(self) -> History:
        return self.last.history

    def observe(
        self,
        pods: Iterable[Object],
        nodes: Iterable[Object],
        now: datetime,
        series: Callable[[datetime, datetime], Sequence[Series]],
    ) -> History:
        before = history_of(self.kept.values(), int(now.timestamp()))
        self.contents = builders.contents(nodes=tuple(nodes), pods=tuple(pods))
        readings = read(series(first_new(before, now), now), self.source, self.contents)
        self.last = measured(before, readings, self.contents, now)
        for page in pages(self.last.saved, written(before), self.source):
            self.kept[page.day, page.of, page.number] = page
        return self.seen


@dataclass(frozen=True)
class Ran:
    """A pod's life as a Prometheus keeps it, also once the pod is gone; MiB may change with time."""

    name: str
    node: str
    first: datetime
    last: datetime
    busy: Value
    mib: Value
    model: str = "NVIDIA L4"


def scraped(lives: Iterable[Ran], begin: datetime, end: datetime) -> list[Series]:
    """By pod, and by GPU, of which each node has one."""
    found, whole = [], defaultdict[tuple[str, str, str], dict[int, float]](dict)
    for life in lives:
        first, last = max(begin, life.first), min(end, life.last)
        times = tuple(range(-(-int(first.timestamp()) // 600) * 600, int(last.timestamp()), 600))
        of_gpu = {"Hostname": life.node, "gpu": "0", "modelName": life.model}
        for metric, value, unit in (("GPU_UTIL", life.busy, 100), ("FB_USED", life.mib, 1)):
            of_pod = {**of_gpu, "pod": life.name, "namespace": "team"}
            values = tuple(unit * value(datetime.fromtimestamp(at, NOW.tzinfo)) for at in times)
            found.append(Series(f"DCGM_FI_DEV_{metric}", of_pod, times, values))
            points = whole[metric, life.node, life.model]
            for at, its in zip(times, values, strict=True):
                points[at] = points.get(at, 0.0) + its
    for (metric, on, model), points in whole.items():
        labels = {"Hostname": on, "gpu": "0", "modelName": model}
        times = tuple(sorted(points))
        found.append(Series(f"DCGM_FI_DEV_{metric}", labels, times, tuple(points[at] for at in times)))
    return [one for one in found if one.times]


def counted(
    on: str, begin: datetime, end: datetime, *, busy: Value, mib: Value, slots: Value | None
) -> list[Series]:
    """What Container Insights says of a node with one GPU."""
    times = tuple(range(-(-int(begin.timestamp()) // 600) * 600, int(end.timestamp()), 600))
    labels = {"ClusterName": "gpu-1", "NodeName": on, "InstanceId": f"i-{on}"}
    of_gpu = {**labels, "InstanceType": "g6.xlarge", "GpuDevice": "nvidia0"}

    def one(name: str, its: dict[str, str], value: Value, unit: float = 1.0) -> Series:
        points = {at: unit * value(datetime.fromtimestamp(at, NOW.tzinfo)) for at in times}
        points = {at: number for at, number in points.items() if not math.isnan(number)}
        return Series(name, its, tuple(points), tuple(points.values()))

    found = [
        one("node_gpu_utilization", of_gpu, busy, 100.0),
        one("node_gpu_memory_used", of_gpu, mib, 1024.0 * 1024),
    ]
    if slots:
        found += [one(f"node_gpu_usage_total{most}", labels, slots) for most in ("", "/most")]
    return [series for series in found if series.times]


def steady(share: float) -> Value:
    return lambda at: share


def hours(first: datetime, last: datetime) -> list[datetime]:
    return [first + HOUR * n for n in range(int((last - first) / HOUR) + 1)]
