"""
Requests to LLM servers, as Prometheus would have them of vLLM, of a gateway and of kube-state-metrics.

A stand-in for all three, since no container runs: samples are written each second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from slicewise.kube.labels import SLICES_ANNOTATION

from sandbox.cluster.client import KubeClient
from sandbox.metrics.prometheus import Prometheus
from sandbox.metrics.remote_write import STALE, Samples

# Of a metric: its name, and its labels with their values.
Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass
class Servers:
    """
    Replicas of a Deployment `chat`, and the gateway before them.

    Attributes:
        service: What the gateway calls them.
        in_flight: Requests of all replicas together, who share them evenly; the gateway holds them while
            there is none.
    """

    namespace: str
    service: str
    in_flight: int = 0

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

    def running(self, kube: KubeClient) -> list[str]:
        """Names of the pods that serve."""
        pods = kube.list(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector="app=chat")
        return [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"]

    def published(self, kube: KubeClient) -> str | None:
        """N as Slicewise has annotated it; None where it has not, or where there is no Deployment."""
        found = kube.find(self.path) or {"metadata": {}}
        return found["metadata"].get("annotations", {}).get(SLICES_ANNOTATION)

    def measured(self, kube: KubeClient) -> Iterator[tuple[Series, float]]:
        servers = self.running(kube)
        held = 0 if servers else self.in_flight
        yield _series("gateway_requests_pending", service=self.service), float(held)
        for server in servers:
            of_pod = {"namespace": self.namespace, "pod": server}
            yield _series("vllm:num_requests_running", **of_pod), self.in_flight / len(servers)
            yield _series("vllm:num_requests_waiting", **of_pod), 0.0
        if n := self.published(kube):
            n_label = {"annotation_slicewise_dev_slices_per_gpu": n}
            yield (
                _series(
                    "kube_deployment_annotations", namespace=self.namespace, deployment="chat", **n_label
                ),
                1.0,
            )


class Requests:
    """Of some servers, written between `with` and its end."""

    def __init__(self, kube: KubeClient, prometheus: Prometheus, *servers: Servers):
        self._kube, self._prometheus, self._servers = kube, prometheus, servers
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
        before: set[Series] = set()
        while not self._ends.wait(1):
            found = dict(one for servers in self._servers for one in servers.measured(self._kube))
            # As a scrape does: what its target no longer has counts no longer.
            written = dict.fromkeys(before - found.keys(), STALE) | found
            at = time.time()
            self._prometheus.write(
                Samples(name, dict(labels), [(at, value)]) for (name, labels), value in written.items()
            )
            before = set(found)


def _series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())
