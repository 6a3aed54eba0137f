"""
The points track: how many points of metrics a tuning pass reads, hour by hour, and what it keeps of them.

500 machines with one GPU and five pods each, as DCGM's exporter tells them apart: 14 series a GPU. From when
on to ask, and what is made of it, is the product's own code; the series are made up, and pages stay in
memory. The yardstick is a week of points each pass, as releases before read it.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents, Series
from slicewise.model.usage import Page
from slicewise.pools import layout
from slicewise.tuning.observe import first_new
from slicewise.tuning.usage.history import use_of
from slicewise.tuning.usage.pages import history_of, pages, written
from slicewise.tuning.usage.pool_usage import STEP, WINDOW, Window, measured, read

GPUS, PODS_A_GPU, WORKLOADS, HOURS = 500, 5, 60, 24
BEGIN = datetime(2026, 11, 24, tzinfo=UTC)
FEWER_BY = 50


def run(gpus: int = GPUS, hours: int = HOURS) -> dict[str, Any]:
    fleet, kept = Fleet(gpus), dict[tuple[int, int], Page]()
    contents = fleet.contents()
    passes: list[dict[str, float]] = []
    for hour in range(hours + 1):
        now = BEGIN + hour * timedelta(hours=1, seconds=7)
        before = history_of(kept.values())
        series = tuple(fleet.series(first_new(before, now), now))
        began = time.process_time()
        found = measured(before, read(series, "prometheus", contents), contents, now)
        new = list(pages(found.saved, written(before), "prometheus"))
        passes.append(
            {
                "points": sum(len(one.times) for one in series),
                "cpu_seconds": time.process_time() - began,
                "written_kb": sum(len(page.content) for page in new) / 1000,
            }
        )
        print(f"  {now:%H:%M} {passes[-1]['points']:>10,.0f} points", file=sys.stderr)
        kept |= {(page.day, page.number): page for page in new}
    window = Window(found.readings, contents, frozenset({fleet.node_pool}), now, found.history)
    uses = [use_of(found.history, window.key_of(pod), now, WINDOW) for pod in contents.pods[::50]]
    week, steady = passes[0], passes[1:]
    points = max(one["points"] for one in steady)
    return {
        "gpus": gpus,
        "pods": gpus * PODS_A_GPU,
        "first": week,
        "steady": {key: sum(one[key] for one in steady) / len(steady) for key in week},
        "most_points": points,
        "fewer_by": week["points"] / points,
        "kept_kb": sum(len(page.content) for page in kept.values()) / 1000,
        "days_known": min(len(use.days) for use in uses if use),
        "holds": week["points"] / points >= FEWER_BY,
    }


class Fleet:
    def __init__(self, gpus: int):
        self._gpus = range(gpus)
        self.node_pool = "slicewise-shared-l4"

    def contents(self) -> ClusterContents:
        nodes = tuple(
            {
                "metadata": {
                    "name": f"node-{gpu:04}",
                    "creationTimestamp": "2026-11-01T00:00:00Z",
                    "labels": {
                        layout.NODE_POOL_LABEL: self.node_pool,
                        layout.GPU_NAME_LABEL: "l4",
                        layout.GPU_COUNT_LABEL: "1",
                        layout.GPU_MEMORY_LABEL: "22888",
                    },
                }
            }
            for gpu in self._gpus
        )
        pods = tuple(self._pod(gpu, place) for gpu in self._gpus for place in range(PODS_A_GPU))
        return ClusterContents("", {}, nodes=nodes, pods=pods)

    def _pod(self, gpu: int, place: int) -> Object:
        owner = f"serve-{(gpu * PODS_A_GPU + place) % WORKLOADS}"
        return {
            "metadata": {
                "namespace": "ml",
                "name": f"{owner}-{gpu}-{place}",
                "ownerReferences": [{"kind": "StatefulSet", "name": owner, "controller": True}],
            },
            "spec": {"nodeName": f"node-{gpu:04}", "containers": []},
            "status": {"startTime": "2026-11-02T00:00:00Z"},
        }

    def series(self, start: datetime, end: datetime) -> Iterator[Series]:
        """Of steps that are over, as gateways ask for them."""
        step = int(STEP.total_seconds())
        times = tuple(range(int(start.timestamp()) // step * step, int(end.timestamp()) // step * step, step))
        for gpu in self._gpus:
            rng = random.Random(gpu)
            shares = [rng.random() / PODS_A_GPU for _ in range(PODS_A_GPU)]
            labels = {"Hostname": f"node-{gpu:04}", "gpu": "0", "modelName": "NVIDIA L4"}
            yield _series("DCGM_FI_PROF_GR_ENGINE_ACTIVE", labels, times, sum(shares))
            yield _series("DCGM_FI_DEV_XID_ERRORS", labels, times, 0.0)
            for place, share in [(-1, sum(shares)), *enumerate(shares)]:
                metadata = self._pod(gpu, place)["metadata"]
                of_pod = {"pod": metadata["name"], "namespace": "ml"} if place >= 0 else {}
                yield _series("DCGM_FI_DEV_FB_USED", labels | of_pod, times, 20_000 * share)
                yield _series("DCGM_FI_DEV_GPU_UTIL", labels | of_pod, times, 100 * share)


def _series(name: str, labels: dict[str, str], times: tuple[int, ...], value: float) -> Series:
    return Series(name, labels, times, (value,) * len(times))
