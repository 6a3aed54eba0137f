"""How the try of llm-queue counts an autoscaler's periods, and what it runs beside the example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sandbox.examples.llm import n_rises, scaler
from sandbox.examples.llm.n_rises import NRises
from sandbox.examples.llm.requests import Servers

# As KEDA 2.21.0 has it.
UNARY = 'grpc_method="GetMetrics",grpc_service="api.MetricsService",grpc_type="unary"'
PAGE = f"""\
# TYPE keda_internal_metricsservice_grpc_server_handled_total counter
keda_internal_metricsservice_grpc_server_handled_total{{grpc_code="OK",{UNARY}}} 7
keda_internal_metricsservice_grpc_server_handled_total{{grpc_code="Unknown",{UNARY}}} 2
keda_internal_metricsservice_grpc_server_started_total{{{UNARY}}} 9
keda_scaler_metrics_value{{scaledObject="chat"}} 32
"""


class Kube:
    """In place of a cluster: the example's objects, with what the API server and Slicewise add to them."""

    def __init__(self, replicas: int):
        self.replicas = replicas

    def get(self, path: str) -> dict[str, Any]:
        if "scaledobjects" in path:
            found: dict[str, Any] = yaml.safe_load((scaler.FOLDER / "scaledobject.yaml").read_text())
            return found
        return {"spec": {"replicas": self.replicas, "template": {"spec": {"nodeSelector": {"pool": "llm"}}}}}

    def find(self, path: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {"slicewise.dev/slices-per-gpu": "3"}}}


class Cluster:
    def __init__(self, replicas: int):
        self.kube = Kube(replicas)


def rises(replicas: int = 4) -> NRises:
    chat, plain = Servers("default", "chat"), Servers("plain", "plain")
    return NRises(None, None, Cluster(replicas), None, chat, plain, n=2, before=3)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for comes with the first look, or never."""
    monkeypatch.setattr(n_rises, "wait", lambda story, done, says: done())


def reads(monkeypatch: pytest.MonkeyPatch, *counts: int) -> None:
    left: Iterator[int] = iter(counts)
    monkeypatch.setattr(scaler, "reads", lambda cluster: next(left))


def test_reads_of_autoscalers_are_counted_whatever_they_were_answered():
    assert scaler.reads_of(PAGE) == 9
    assert scaler.reads_of("") == 0


def test_a_period_is_one_read_of_each_of_the_two_autoscalers(monkeypatch, at_once):
    reads(monkeypatch, 20, 22, 24)  # when N was published, when it settled, and at last

    assert rises()._settled() == 1


def test_where_no_reads_are_counted_nothing_has_settled(monkeypatch, at_once):
    reads(monkeypatch, 0, 0, 0)

    assert rises()._settled() is None


def test_it_has_not_settled_before_both_periods_have_passed(monkeypatch, at_once):
    reads(monkeypatch, 20, 22, 22)

    assert rises()._settled() is None


def test_beside_the_example_runs_a_query_without_n_with_the_target_of_a_replica_at_the_n_before():
    namespace, deployment, scaled = rises().copies()
    [trigger] = scaled["spec"]["triggers"]
    query = trigger["metadata"]["query"]

    assert {namespace["metadata"]["name"], scaled["metadata"]["namespace"]} == {"plain"}
    assert deployment["spec"]["replicas"] == 3
    assert trigger["metadata"]["threshold"] == "4"
    assert 'namespace="plain"' in query and 'service="plain"' in query
    assert "slices_per_gpu" not in query and "chat" not in query and '"default"' not in query


def test_its_servers_keep_away_from_the_gpus_of_the_example():
    _, deployment, _ = rises().copies()
    spec = deployment["spec"]["template"]["spec"]
    [apart] = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]

    assert spec["nodeSelector"] == {"pool": "llm"}
    assert apart == {
        "labelSelector": {"matchLabels": {"app": "chat"}},
        "namespaces": ["default"],
        "topologyKey": "kubernetes.io/hostname",
    }
