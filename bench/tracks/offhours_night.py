"""
The nights track: in how many passes 500 workloads are asleep and awake again, how long each takes, and how
many calls they make.

Deployments of one pod each stand in a real API server with the real controllers; their pods are scheduled by
nobody, since nodes are not what is measured. What they were, the lease and the record are kept by the real
table's code, on moto.
"""

from __future__ import annotations

import base64
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from slicewise.gateways.kubernetes import MOST_AT_ONCE as THREADS

from bench import isolated_app, large_cluster

WORKLOADS, PASSES_AT_MOST = 500, 2
NIGHT, WAKING = datetime(2026, 11, 25, 20, 1, tzinfo=UTC), datetime(2026, 11, 26, 6, 50, tzinfo=UTC)
POLICY = f"{large_cluster.POLICY_TEXT}\noffHours: {{timeZone: UTC, asleep: ['Mon-Fri 20:00-07:00']}}\n"
DEPLOYMENTS, PODS = "/apis/apps/v1/namespaces/default/deployments", "/api/v1/namespaces/default/pods"


class _Clock:
    """Jumps over the night, and goes on from there."""

    def __init__(self) -> None:
        self.jump_to(NIGHT)

    def jump_to(self, now: datetime) -> None:
        self._jumped_to, self._at = now, time.monotonic()

    def __call__(self) -> datetime:
        return self._jumped_to + timedelta(seconds=time.monotonic() - self._at)


def run(workloads: int = WORKLOADS) -> dict[str, Any]:
    from moto import mock_aws

    from sandbox.cluster.control_plane import ControlPlane

    calls: list[str] = []
    with (
        mock_aws(),
        tempfile.TemporaryDirectory(prefix="slicewise-bench-") as folder,
        ControlPlane.start(Path(folder), karpenter=False, progress=_say) as plane,
    ):
        plane.install_crds()
        _fill(plane, workloads)
        clock = _Clock()
        app = _an_app(plane, calls)
        app.clock, app.threads = clock, THREADS
        seconds, made = {}, {}
        for name, now, replicas in (("asleep", NIGHT, 0), ("awake", WAKING, 1)):
            clock.jump_to(now)
            calls.clear()
            seconds[name] = _until(app, plane, replicas)
            made[name] = dict(sorted(Counter(calls).items()))
    most = max(map(len, seconds.values()))
    return {
        "workloads": workloads,
        "seconds": seconds,
        "seconds_in_all": {name: round(sum(took), 1) for name, took in seconds.items()},
        "calls": made,
        "passes": most,
        "passes_at_most": PASSES_AT_MOST,
        "holds": most <= PASSES_AT_MOST,
    }


def _an_app(plane: Any, calls: list[str]) -> Any:
    """With real gateways to the control plane, whose calls are counted."""
    from slicewise.gateways.kubernetes import KubernetesApi

    class Counted(KubernetesApi):
        def _answer(self, method: str, *arguments: Any, **options: Any) -> Any:
            calls.append(f"API server: {method}")
            return super()._answer(method, *arguments, **options)

    ca = base64.b64encode(plane.ca_pem).decode()
    access = {"url": plane.url, "ca": ca, "token": plane.admin_token}
    return isolated_app.an_app(
        access,
        POLICY,
        kubernetes=lambda cluster: Counted.of(cluster, lambda: access["token"]),
        **_tables(calls),
    )


def _fill(plane: Any, workloads: int) -> None:
    kube = plane.kube
    for item in large_cluster.pools(large_cluster.ONE_POOL):
        kube.create(item)
    _say(f"creating {workloads} workloads")
    with ThreadPoolExecutor(large_cluster.THREADS) as threads:
        list(threads.map(lambda number: kube.create(_workload(number)), range(workloads)))
    _wait(lambda: len(kube.list(PODS)) == workloads)


def _workload(number: int) -> dict[str, Any]:
    template = large_cluster.pod(large_cluster.ONE_POOL, number)
    app = {"app": f"crowd-{number:03}"}
    spec = {**template["spec"], "schedulerName": "nobody"}
    del spec["nodeName"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app["app"], "namespace": "default"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": app},
            "template": {"metadata": {"labels": app}, "spec": spec},
        },
    }


def _tables(calls: list[str]) -> dict[str, Any]:
    """What is kept about the cluster; each call is added to `calls`."""
    import botocore.session
    from slicewise.gateways.sleep_store import SleepTable
    from slicewise.gateways.state_store import StateTable

    session = botocore.session.get_session()
    session.set_credentials("test", "test")
    keys = [("pk", "HASH"), ("sk", "RANGE")]
    session.create_client("dynamodb", region_name=isolated_app.REGION).create_table(
        TableName="bench",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
    )
    session.register("before-call.dynamodb", lambda model, **_: calls.append(f"DynamoDB: {model.name}"))
    where = ("bench", session, isolated_app.REGION)
    return {"store": StateTable(*where), "sleep": SleepTable(*where)}


def _until(app: Any, plane: Any, replicas: int) -> list[float]:
    """Seconds of each pass, until every workload has so many replicas."""
    took: list[float] = []
    while {item["spec"]["replicas"] for item in plane.kube.list(DEPLOYMENTS)} != {replicas}:
        if len(took) == 2 * PASSES_AT_MOST:
            raise RuntimeError(f"{len(took)} passes, and some workloads are not at {replicas} replicas")
        began = time.monotonic()
        report = app.off_hours.run(app.trigger(isolated_app.NAME, "a bench"))
        took.append(round(time.monotonic() - began, 2))
        _say(f"{took[-1]:.1f} s: {report.reason}")
    return took


def _wait(until: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError("not all pods are made: is this machine busy?")
        time.sleep(1)


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr)
