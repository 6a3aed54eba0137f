"""Metrics of GPUs as their sources give them, for tests: a node, what was on it, and two days of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any

from slicewise.gateways.prometheus import PrometheusMetrics
from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents, Series

from tests.fakes.prometheus import Prometheus
from tests.support import builders, functions_aws
from tests.support.builders import NOW
from tests.support.tuning import expositions
from tests.support.tuning.series import in_one_piece

EXPOSITIONS = Path(__file__).parents[2] / "unit/tuning/usage/expositions"
STEP = timedelta(minutes=10)
POOL = "slicewise-shared-l4"
_SESSION = functions_aws.session()


def pod(
    name: str,
    node: str | None = "n-1",
    age: timedelta = timedelta(days=9),
    *,
    owner: tuple[str, ...] | None = None,
    labels: Mapping[str, str] | None = None,
    status: Mapping[str, Any] | None = None,
) -> Object:
    """
    A pod of pool `shared` and namespace `team`, started `age` ago; its owner is (kind, name), of apps/v1
    unless a third says otherwise.
    """
    plain = builders.pod(name, pool="shared", node=node)
    metadata: dict[str, Any] = {"name": name, "namespace": "team", "labels": dict(labels or {})}
    if owner:
        kind, called, *versions = owner
        version = versions[0] if versions else "apps/v1"
        metadata["ownerReferences"] = [
            {"apiVersion": version, "kind": kind, "name": called, "controller": True}
        ]
    started = {"phase": "Running", "startTime": (NOW - age).isoformat()}
    return {**plain, "metadata": metadata, "status": {**started, **(status or {})}}


def contents(*pods: Object, nodes: Iterable[Object] = ()) -> ClusterContents:
    nodes = tuple(nodes) or (builders.node(name="n-1", age=timedelta(days=9)),)
    return builders.contents(nodes=nodes, pods=pods)


Value = float | Callable[[int], float]
VALUES = {
    "gpu_util": 60.0,
    "gpu_memory": 8400.0,
    "engine": 0.5,
    "xid": 0.0,
    "a_util": 10.0,
    "a_memory": 2000.0,
    "b_util": 30.0,
    "b_memory": 6000.0,
}


def scraped(
    exposition: str,
    *,
    days: float = 2,
    until: datetime = NOW,
    honor_labels: bool = True,
    target: Mapping[str, str] | None = None,
    node: str = "n-1",
    **values: Value,
) -> tuple[Series, ...]:
    """
    What Prometheus has of an exposition after some days, read as a pass reads it.

    Args:
        values: By the exposition's placeholders; a function gets the number of the step.
    """
    with Prometheus() as server:
        for step in range(round(days * 144)):
            at = until - timedelta(days=days) + step * STEP + timedelta(seconds=30)
            page = exposed(exposition, step, node=node, **values)
            server.write(expositions.scraped(page, int(at.timestamp()), target, honor_labels=honor_labels))
        port = PrometheusMetrics(server.url, _SESSION)
        return in_one_piece(port.read("gpu-1", NOW - timedelta(days=7), NOW, STEP))


def exposed(exposition: str, step: int = 0, *, node: str = "n-1", **values: Value) -> str:
    """An exporter's page; `values` as `scraped` takes them."""
    now = {name: value(step) if callable(value) else value for name, value in {**VALUES, **values}.items()}
    return Template((EXPOSITIONS / f"{exposition}.prom").read_text()).substitute(node=node, **now)


def insights(
    name: str, value: Value, *, node: str = "n-1", gpu: int = 0, days: float = 2, until: datetime = NOW
) -> Series:
    """A series of Container Insights, a point a step; steps for which `value` gives NaN have none."""
    labels = {"ClusterName": "gpu-1", "NodeName": node, "InstanceId": f"i-{node}"}
    if "usage_total" not in name:
        labels |= {"InstanceType": "g6.xlarge", "GpuDevice": f"nvidia{gpu}"}
    begin = int((until - timedelta(days=days)).timestamp())
    points = {
        begin + 600 * step: value(step) if callable(value) else value for step in range(round(days * 144))
    }
    points = {at: number for at, number in points.items() if not math.isnan(number)}
    return Series(name, labels, tuple(points), tuple(points.values()))


def one_gpu(
    *, busy: Value = 40.0, memory_mib: float = 8000.0, slots: Value | None = 2, **more: Any
) -> tuple[Series, ...]:
    """All that Container Insights says of a node with one GPU; busy in percent."""
    series = [
        insights("node_gpu_utilization", busy, **more),
        insights("node_gpu_memory_used", memory_mib * 1024 * 1024, **more),
    ]
    if slots is None:
        return tuple(series)
    counted = (insights(f"node_gpu_usage_total{most}", slots, **more) for most in ("", "/most"))
    return (*series, *counted)
