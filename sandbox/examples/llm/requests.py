"""
Requests to the example's servers while they come, and what Prometheus scrapes of it.

A stand-in for vLLM, a gateway and kube-state-metrics, since no container runs: it asks the API server which
pods run and where, replays requests of a public trace, has them served by fleet.py in real time, and
answers Prometheus over HTTP. Prometheus finds its targets by HTTP, with the labels that a PodMonitor gives.
"""

from __future__ import annotations

import heapq
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from slicewise.kube.labels import SLICES_ANNOTATION

from sandbox.aws.core.loopback import Handler, Server
from sandbox.cluster.client import KubeClient, KubeError
from sandbox.examples.llm import exposition
from sandbox.examples.llm.fleet import Fleet, Gateway
from sandbox.examples.llm.gpu_time import Cost
from sandbox.examples.llm.replay import Arrivals, Part

# A short answer of a small model. Most of its time is not the GPU's, which leaves room for other pods. Alone
# it takes a third of 0.8 s: what the example's slowdownBudget of 3 allows is then a bound of vLLM's buckets,
# so that p95 is on one side of it by count, wherever within its bucket it is reckoned to be.
COST = Cost(gpu=(0.008, 0.032), besides=0.8 / 3 - 0.04)
# Requests a second, in the afternoon: three replicas on two GPUs serve them well, and one GPU cannot.
AFTERNOON = 30.0
# What a gateway lets a server have, and holds where there is none. Without such bounds a queue grows while
# servers start, and starts more of them than its requests need.
EACH, HOLDS = 6, 4
LOOK_SECONDS, SCRAPE_SECONDS = 0.5, 0.5
APP = "app=chat"


@dataclass(frozen=True)
class Servers:
    """
    Replicas of a Deployment `chat`, and the gateway before them.

    Attributes:
        service: What the gateway calls them.
    """

    namespace: str
    service: str

    @property
    def path(self) -> str:
        """Of the Deployment."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/chat"

    @property
    def scaled_object(self) -> str:
        """Path of the ScaledObject."""
        return f"/apis/keda.sh/v1alpha1/namespaces/{self.namespace}/scaledobjects/chat"

    def replicas(self, kube: KubeClient) -> int:
        """That are wanted, whether they run or not."""
        return int(kube.get(self.path)["spec"]["replicas"])

    def running(self, kube: KubeClient) -> dict[str, str]:
        """Node of each pod that serves, by the pod's name."""
        pods = kube.list(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=APP)
        return {
            pod["metadata"]["name"]: pod["spec"]["nodeName"]
            for pod in pods
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        }

    def published(self, kube: KubeClient) -> str | None:
        """N as Slicewise has annotated it; None where it has not, or where there is no Deployment."""
        found = kube.find(self.path) or {"metadata": {}}
        n: str | None = found["metadata"].get("annotations", {}).get(SLICES_ANNOTATION)
        return n


@dataclass(frozen=True)
class Counts:
    """Of requests at a gateway: those that came, and those of them that were refused."""

    came: int = 0
    refused: int = 0

    def since(self, before: Counts) -> Counts:
        return Counts(self.came - before.came, self.refused - before.refused)

    @property
    def refused_share(self) -> float:
        return self.refused / self.came if self.came else 0.0


class Requests:
    """
    Answers Prometheus from its beginning on; requests come, and are served, between `begin` and `close`.

    Args:
        servers: Of one cluster.

    Raises:
        RuntimeError: From each method, once what follows the cluster's pods has failed.
    """

    def __init__(self, *servers: Servers):
        self.servers = servers
        self._lock, self._ends = threading.Lock(), threading.Event()
        now = time.monotonic()
        gateways = {one.service: Gateway(COST, EACH, HOLDS, seed) for seed, one in enumerate(servers)}
        self._fleet = Fleet(now, gateways)
        self._arrivals = {
            one.service: Arrivals(AFTERNOON, now, seed=seed) for seed, one in enumerate(servers)
        }
        self._published: dict[tuple[str, str], str] = {}
        self._server = Server(_handler(self))
        self._thread: threading.Thread | None = None
        self._failed: Exception | None = None

    def scrape_config(self) -> dict[str, Any]:
        """For Prometheus' `scrape_configs`: its labels name no namespace where a metric does itself."""
        url = f"http://127.0.0.1:{self._server.port}/targets"
        return {
            "job_name": "llm-queue",
            "scrape_interval": f"{1000 * SCRAPE_SECONDS:.0f}ms",
            "http_sd_configs": [{"url": url, "refresh_interval": "1s"}],
        }

    def begin(self, kube: KubeClient) -> Self:
        """Of the cluster in which the servers are."""
        self._thread = threading.Thread(target=self._run, args=(kube,), name="requests", daemon=True)
        self._thread.start()
        return self

    def play(self, servers: Servers, part: Part | None) -> float:
        """From now on the requests of this part of the day come, or none; requests a second, on average."""
        with self._lock:
            self._work()
            return self._arrivals[servers.service].play(part)

    @property
    def scale(self) -> float:
        """Of the trace's rates."""
        return self._arrivals[self.servers[0].service].scale

    def counts(self, servers: Servers) -> Counts:
        """Until now."""
        with self._lock:
            self._work()
            gateway = self._fleet.gateways[servers.service]
            return Counts(gateway.came, gateway.refused)

    def close(self) -> None:
        """A second call does nothing."""
        if self._ends.is_set():
            return
        self._ends.set()
        if self._thread:
            self._thread.join()
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def page(self, path: str) -> tuple[str, str] | None:
        """What is answered, and its type; None for a path that there is not."""
        with self._lock:
            self._work()
            if path == "/targets":
                return json.dumps(self._targets()), "application/json"
            text = self._text(path)
        return (text, exposition.CONTENT_TYPE) if text is not None else None

    def _text(self, path: str) -> str | None:
        if path == "/gateway/metrics":
            return exposition.gateway_page(self._fleet.gateways)
        if path == "/kube-state-metrics/metrics":
            return exposition.annotations_page(self._published)
        for gateway in self._fleet.gateways.values():
            for pod, server in gateway.servers.items():
                if path == f"/pods/{pod}/metrics":
                    return exposition.server_page(server)
        return None

    def _targets(self) -> list[dict[str, Any]]:
        targets = [self._target("/gateway/metrics", job="gateway")]
        targets.append(self._target("/kube-state-metrics/metrics", job="kube-state-metrics"))
        for gateway in self._fleet.gateways.values():
            for pod in gateway.servers:
                namespace, _, name = pod.partition("/")
                of_pod = {"namespace": namespace, "pod": name, "container": "server", "endpoint": "http"}
                targets.append(self._target(f"/pods/{pod}/metrics", job=f"{namespace}/chat", **of_pod))
        return targets

    def _target(self, path: str, **labels: str) -> dict[str, Any]:
        return {
            "targets": [f"127.0.0.1:{self._server.port}"],
            "labels": {"__metrics_path__": path, **labels},
        }

    def _run(self, kube: KubeClient) -> None:
        try:
            while not self._ends.wait(LOOK_SECONDS):
                # Busy, or it answers late or not at all: what was seen last stays until the next look.
                with suppress(KubeError, OSError):
                    self._look(kube)
        except Exception as error:
            self._failed = error

    def _look(self, kube: KubeClient) -> None:
        pods = {one: one.running(kube) for one in self.servers}
        published = {(one.namespace, "chat"): one.published(kube) for one in self.servers}
        with self._lock:
            self._work()
            self._published = {key: n for key, n in published.items() if n}
            for one, nodes in pods.items():
                placed = {f"{one.namespace}/{pod}": node for pod, node in nodes.items()}
                self._fleet.place(one.service, placed)

    def _work(self) -> None:
        """Until now."""
        if self._failed:
            raise RuntimeError("nobody places the servers of requests any more") from self._failed
        now = time.monotonic()
        streams = [
            [(at, service) for at in arrivals.until(now)] for service, arrivals in self._arrivals.items()
        ]
        self._fleet.work(now, heapq.merge(*streams))


def _handler(requests: Requests) -> type[Handler]:
    class Metrics(Handler):
        def do_GET(self) -> None:
            found = requests.page(self.path)
            if found is None:
                return self.reply(404, f"no page {self.path}\n".encode())
            text, kind = found
            self.reply(200, text.encode(), {"Content-Type": kind})

    return Metrics
