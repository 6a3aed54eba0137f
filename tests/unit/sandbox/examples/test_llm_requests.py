"""Requests to LLM servers as the sandbox has Prometheus hold them: of servers, gateway and annotation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicewise.kube.labels import SLICES_ANNOTATION

from sandbox.examples.llm.requests import Servers


class Kube:
    """In place of a cluster: some pods of a Deployment, and what it is annotated with."""

    def __init__(self, phases: Sequence[str] = (), n: str | None = None):
        self.phases = phases
        self.annotations = {SLICES_ANNOTATION: n} if n else None

    def list(self, path: str, labelSelector: str) -> list[dict[str, Any]]:
        assert (path, labelSelector) == ("/api/v1/namespaces/llm/pods", "app=chat")
        return [
            {"metadata": {"name": f"chat-{number}"}, "status": {"phase": phase}}
            for number, phase in enumerate(self.phases)
        ]

    def find(self, path: str) -> dict[str, Any] | None:
        assert path == "/apis/apps/v1/namespaces/llm/deployments/chat"
        return {"metadata": {"annotations": self.annotations} if self.annotations else {}}


def measured(kube: Kube, in_flight: int) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for (name, labels), value in Servers("llm", "chat", in_flight).measured(kube):
        found.setdefault(name, []).append((dict(labels), value))
    return found


def test_without_a_running_server_the_gateway_holds_all_requests():
    found = measured(Kube(["Pending"]), 4)

    assert found == {"gateway_requests_pending": [({"service": "chat"}, 4.0)]}


def test_running_servers_share_what_is_in_flight_and_the_gateway_holds_none():
    found = measured(Kube(["Running", "Pending", "Running"]), 5)

    assert found["gateway_requests_pending"] == [({"service": "chat"}, 0.0)]
    assert [(labels["pod"], value) for labels, value in found["vllm:num_requests_running"]] == [
        ("chat-0", 2.5),
        ("chat-2", 2.5),
    ]
    assert [value for _, value in found["vllm:num_requests_waiting"]] == [0.0, 0.0]


def test_n_is_reported_as_kube_state_metrics_reports_the_annotation():
    labels = {"namespace": "llm", "deployment": "chat", "annotation_slicewise_dev_slices_per_gpu": "3"}

    assert measured(Kube(n="3"), 0)["kube_deployment_annotations"] == [(labels, 1.0)]
    assert "kube_deployment_annotations" not in measured(Kube(), 0)
