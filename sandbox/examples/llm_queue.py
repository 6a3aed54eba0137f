"""examples/llm-queue: replicas follow the requests in flight and N, and fill slices before nodes come."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from slicewise.kube.labels import SLICES_ANNOTATION

from sandbox.cluster.client import KubeClient
from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.catalog import Beside, named
from sandbox.examples.night import Night
from sandbox.examples.steps import apply, clean_up, pool
from sandbox.examples.world import ExampleCluster, World
from sandbox.metrics import external_metrics
from sandbox.metrics.prometheus import Prometheus
from sandbox.metrics.remote_write import Samples

FOLDER = named("llm-queue").folder
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/chat"
SELECTOR = "app=chat"
# Requests in flight, one after another: a quiet morning, a second replica, a busy day.
QUIET, MORE, BUSY = 4, 8, 16
# In which the autoscaler reads its metric once more.
SYNC_SECONDS = 16.0


@contextmanager
def beside(folder: Path) -> Iterator[Beside]:
    """A Prometheus with the example's own rules."""
    config = {
        "rule_files": [str(FOLDER / "prometheus-rules.yaml")],
        "global": {"evaluation_interval": "2s"},
    }
    with Prometheus.start(folder / "prometheus", config) as prometheus:
        yield Beside(handle=prometheus)


class Requests:
    """
    What servers, a gateway that holds requests while there is none, and kube-state-metrics would report,
    written each second: a stand-in for them, since no container runs.

    Attributes:
        in_flight: Of all servers together, who share them evenly.
    """

    def __init__(self, kube: KubeClient, prometheus: Prometheus):
        self.in_flight = 0
        self._kube, self._prometheus = kube, prometheus
        self._known: set[str] = set()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="requests", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.wait(1):
            self._prometheus.write([*self._of_servers(), *self._of_state()])

    def _of_servers(self) -> Iterator[Samples]:
        pods = self._kube.list("/api/v1/namespaces/default/pods", labelSelector=SELECTOR)
        servers = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"]
        at = time.time()
        held = 0 if servers else self.in_flight
        yield Samples("gateway_requests_pending", {"service": "chat"}, [(at, float(held))])
        # A scrape marks what is gone as stale; what is written counts for five minutes more.
        self._known |= set(servers)
        for server in self._known:
            labels = {"namespace": "default", "pod": server}
            each = self.in_flight / len(servers) if server in servers else 0.0
            yield Samples("vllm:num_requests_running", labels, [(at, each)])
            yield Samples("vllm:num_requests_waiting", labels, [(at, 0.0)])

    def _of_state(self) -> Iterator[Samples]:
        n = published(self._kube)
        if n:
            labels = {"namespace": "default", "deployment": "chat"}
            labels["annotation_slicewise_dev_slices_per_gpu"] = n
            yield Samples("kube_deployment_annotations", labels, [(time.time(), 1.0)])


def published(kube: KubeClient) -> str | None:
    found = kube.find(DEPLOYMENT)
    return ((found or {}).get("metadata") or {}).get("annotations", {}).get(SLICES_ANNOTATION)


def show(story: Narrator, world: World) -> None:
    cluster, prometheus = world.onboarded_cluster(), world.beside.handle
    n = int(pool(world.example, "llm")["replicas"]["start"])
    apply(story, cluster)
    world.system.sweep()
    wait(story, lambda: published(cluster.kube) is not None, "Slicewise has published N on the Deployment")
    story.claim("published", "N is on the Deployment", expected=str(n), observed=published(cluster.kube))
    with ExitStack() as running:
        queries = {"llm_load": _query()}
        running.enter_context(external_metrics.serve(cluster.cluster.plane, prometheus, queries))
        requests = running.enter_context(Requests(cluster.kube, prometheus))
        _follow(story, cluster, requests, n)
        _a_night(story, world, cluster, n)
    clean_up(story, cluster)


def _follow(story: Narrator, cluster: ExampleCluster, requests: Requests, n: int) -> None:
    """Each load until its replicas run, and what nodes there were for them."""
    observed, expected = list[Any](), list[Any]()
    for in_flight in (QUIET, MORE, BUSY):
        requests.in_flight = in_flight
        replicas = math.ceil(in_flight * n / _target())
        says = f"{in_flight} requests in flight at {n} a GPU: {replicas} replicas run"
        wait(story, lambda wanted=replicas: cluster.running(SELECTOR) == wanted, says)
        expected.append((replicas, math.ceil(replicas / n)))
        observed.append((cluster.running(SELECTOR), cluster.gpus()))
    says = "replicas follow requests in flight × N / target"
    story.claim(
        "replicas-by-queue",
        says,
        expected=[one for one, _ in expected],
        observed=[one for one, _ in observed],
    )
    says = "slices are filled before nodes come: GPUs for each of these"
    story.claim(
        "slices-before-nodes",
        says,
        expected=[one for _, one in expected],
        observed=[one for _, one in observed],
    )


def _a_night(story: Narrator, world: World, cluster: ExampleCluster, n: int) -> None:
    """With requests that wait all the while, which the autoscaler sees."""
    prometheus, night, replicas = world.beside.handle, Night(world, cluster), math.ceil(BUSY * n / _target())
    night.begins()
    wait(story, lambda: _load(prometheus) >= BUSY * n, f"{BUSY} requests wait, of which the metric tells")
    time.sleep(SYNC_SECONDS)
    story.claim(
        "asleep",
        "the autoscaler's metric asks for replicas, none is there, and no GPU is paid for",
        expected={"asked for": replicas, "replicas": 0, "GPUs": 0},
        observed={
            "asked for": math.ceil(_load(prometheus) / _target()),
            "replicas": len(cluster.pods(SELECTOR)),
            "GPUs": cluster.gpus(),
        },
    )
    night.ends(lambda: cluster.running(SELECTOR) == replicas)
    story.claim(
        "awake-as-before",
        "in the morning there are as many replicas on as many GPUs as in the evening",
        expected={"replicas": replicas, "GPUs": math.ceil(replicas / n)},
        observed={"replicas": cluster.running(SELECTOR), "GPUs": cluster.gpus()},
    )


def _load(prometheus: Prometheus) -> float:
    found = prometheus.ask("query", query=_query())["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def _query() -> str:
    """What Prometheus Adapter would ask, by the example's own file."""
    values = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())
    return str(values["rules"]["external"][0]["metricsQuery"])


def _target() -> float:
    hpa = yaml.safe_load((FOLDER / "hpa.yaml").read_text())
    return float(hpa["spec"]["metrics"][0]["external"]["target"]["averageValue"])
