"""Pods of a real API server become as old as what is told of them, and a pass finds their week."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from slicewise.model.cluster import Series as Measured
from slicewise.tuning.usage.pool_usage import WINDOW, pool_use, read

from sandbox.aws.cloudwatch.metrics import MetricStore
from sandbox.cluster.client import KubeClient
from sandbox.metrics.replay import NAMESPACE, MetricsReplay
from tests.support import builders
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

POD = "/api/v1/namespaces/default/pods/replayed-0"


def test_pods_made_old_keep_their_age_and_have_a_history(kube: KubeClient):
    node = builders.node(name="replayed", allocatable={"nvidia.com/gpu": "4", "cpu": "4", "pods": "110"})
    del node["metadata"]["creationTimestamp"]
    node["metadata"]["annotations"] = {"kwok.x-k8s.io/node": "fake"}
    kube.create(node)
    pod = builders.pod("replayed-0", pool="shared", node="replayed")
    pod["metadata"]["namespace"] = "default"
    pod["spec"]["containers"][0] |= {"image": "none"}
    pod["spec"]["tolerations"] = [{"operator": "Exists"}]
    kube.create({"apiVersion": "v1", "kind": "Pod", **pod})
    try:
        assert eventually(lambda: kube.get(POD)["status"].get("phase") == "Running")
        store = MetricStore()
        replay = MetricsReplay(store, kube, "gpu-1")

        assert replay.age() == 1
        replay.day(8)
        now = datetime.now(UTC)
        seen = builders.contents(nodes=(kube.get("/api/v1/nodes/replayed"),), pods=(kube.get(POD),))
        readings = read(listed(store, now), "container-insights", seen)
        found = pool_use(readings, "container-insights", seen, now, "slicewise-shared-l4")

        assert len(found.pods[0].days) >= 6  # seven, but for the step under way
        assert found.pods[0].has_history
    finally:
        kube.delete(POD + "?gracePeriodSeconds=0", missing_ok=True)
        kube.delete("/api/v1/nodes/replayed", missing_ok=True)


def listed(store: MetricStore, now: datetime) -> list[Measured]:
    statistic = {"node_gpu_utilization": "Average", "node_gpu_memory_used": "Maximum"}
    found = []
    for series in store.series():
        assert series.namespace == NAMESPACE
        points = store.read(series, statistic.get(series.name, "Minimum"), 600, now - WINDOW, now)
        times = tuple(int(at.timestamp()) for at, _ in points)
        found.append(
            Measured(series.name, dict(series.dimensions), times, tuple(value for _, value in points))
        )
    return found
