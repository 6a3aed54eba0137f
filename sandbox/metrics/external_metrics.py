"""
A stand-in for Prometheus Adapter: an answer of Prometheus as a metric of external.metrics.k8s.io, which
Kubernetes' own HorizontalPodAutoscaler reads through the API server.

    with ExternalMetrics.serve(plane, prometheus, {"llm_load": "sum(…)"}):
        ...

Real are the API server's aggregation, the autoscaler and Prometheus. It answers the API server alone, by that
one's certificate, and does not ask who asked there.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sandbox.aws.core.loopback import Handler, Server
from sandbox.cluster.control_plane import ControlPlane
from sandbox.metrics.prometheus import Prometheus

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
NAMESPACE, NAME = "kube-system", "external-metrics"
API = f"/apis/{GROUP}/{VERSION}"


@contextmanager
def serve(plane: ControlPlane, prometheus: Prometheus, queries: Mapping[str, str]) -> Iterator[None]:
    """
    Answer between `with` and its end; the API leaves with it.

    Args:
        queries: By the names of their metrics, the same in each namespace; each gives one value or none.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(plane.pki.serving_certificate, plane.pki.serving_key)
    tls.load_verify_locations(plane.pki.front_proxy_ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    server = Server(_handler(prometheus, queries), tls)
    objects = _objects(server.port)
    try:
        plane.aggregate(objects)
        yield
    finally:
        for item in objects:
            plane.kube.delete(plane.kube.path(item), missing_ok=True)
        server.close()


def _objects(port: int) -> tuple[dict[str, Any], ...]:
    """The name leads to the loopback: an API server follows a Service of this type by its name."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }
    registration = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{VERSION}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "service": {"name": NAME, "namespace": NAMESPACE, "port": port},
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }
    return service, registration


def _handler(prometheus: Prometheus, queries: Mapping[str, str]) -> type[Handler]:
    class Adapter(Handler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0].rstrip("/")
            if path == API:
                return self._answer(_discovery(queries))
            name = path.rpartition("/")[2]
            if not path.startswith(f"{API}/namespaces/") or name not in queries:
                return self._answer({"kind": "Status", "apiVersion": "v1", "code": 404}, 404)
            self._answer(_values(name, prometheus.ask("query", query=queries[name])))

        def _answer(self, value: Mapping[str, Any], code: int = 200) -> None:
            self.reply(code, json.dumps(value).encode(), {"Content-Type": "application/json"})

    return Adapter


def _discovery(queries: Mapping[str, str]) -> dict[str, Any]:
    resources = [
        {"name": name, "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
        for name in queries
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": resources,
    }


def _values(name: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Quantities in thousandths, as other adapters write them."""
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    items = [
        {
            "metricName": name,
            "metricLabels": {},
            "timestamp": at,
            "value": f"{round(1000 * float(one['value'][1]))}m",
        }
        for one in answer["data"]["result"]
    ]
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": f"{GROUP}/{VERSION}",
        "metadata": {},
        "items": items,
    }
