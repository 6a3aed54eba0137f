"""What the try of llm-queue claims once N has risen, and what it runs beside the example."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sandbox.examples.llm import n_rises, scaler
from sandbox.examples.llm.n_rises import Latency, NRises
from sandbox.examples.llm.requests import Counts, Servers

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

    def __init__(self, replicas: int, n: str = "3"):
        self.replicas, self.n = replicas, n

    def get(self, path: str) -> dict[str, Any]:
        if "scaledobjects" in path:
            found: dict[str, Any] = yaml.safe_load((scaler.FOLDER / "scaledobject.yaml").read_text())
            return found
        return {"spec": {"replicas": self.replicas, "template": {"spec": {"nodeSelector": {"pool": "llm"}}}}}

    def find(self, path: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {"slicewise.dev/slices-per-gpu": self.n}}}

    def list(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        if "nodepools" in path:
            return [{"metadata": {}}]
        running = {"phase": "Running"}
        return [
            {
                "metadata": {"name": f"chat-{number}"},
                "spec": {"nodeName": f"n-{number % 2}"},
                "status": running,
            }
            for number in range(self.replicas)
        ]


class Cluster:
    def __init__(self, replicas: int):
        self.kube = Kube(replicas)

    def gpu_nodes(self) -> list[dict[str, Any]]:
        return [{"status": {"allocatable": {"nvidia.com/gpu": "3"}}}] * 2


class Story:
    """What was claimed, by its name: whether it held."""

    def __init__(self) -> None:
        self.held: dict[str, bool] = {}

    def saw(self, says: str) -> None:
        pass

    def claim(self, name: str, says: str, *, expected: object, observed: object) -> None:
        self.held[name] = expected == observed


def rises(replicas: int = 4) -> NRises:
    chat, plain = Servers("default", "chat"), Servers("plain", "plain")
    world = SimpleNamespace(beside=SimpleNamespace(handle=SimpleNamespace(prometheus=None)))
    return NRises(Story(), world, Cluster(replicas), None, chat, plain, n=2, before=3)


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


def test_reads_are_counted_from_when_n_was_published_until_more_are_wanted(monkeypatch, at_once):
    reads(monkeypatch, 20, 22, 24)  # when N was published, when more were wanted, and at last

    assert rises()._reads_until_settled() == 2


def test_where_no_reads_are_counted_nothing_has_settled(monkeypatch, at_once):
    reads(monkeypatch, 0, 0, 0)

    assert rises()._reads_until_settled() is None


def test_it_has_not_settled_before_both_periods_have_passed(monkeypatch, at_once):
    reads(monkeypatch, 20, 22, 23)

    assert rises()._reads_until_settled() is None


def followed(monkeypatch, found: NRises, reads: int | None, before: int) -> bool:
    """Whether that is claimed, where the autoscaler wanted so many before N was published."""
    monkeypatch.setattr(scaler, "load", lambda prometheus: 32.0)
    kube = found.cluster.kube
    after, kube.replicas, kube.n = kube.replicas, before, "2"
    assert not found._is_published()
    kube.replicas, kube.n = after, "3"
    assert found._is_published()
    found._claim_replicas(reads, {"chat-0": "n-0", "chat-1": "n-1"})
    return found.story.held["n-is-followed"]


def test_n_is_followed_where_one_more_is_wanted_within_two_reads_of_each(monkeypatch, at_once):
    assert followed(monkeypatch, rises(4), 4, before=3)


@pytest.mark.parametrize(
    ("replicas", "reads", "before"),
    [(4, 4, 4), (3, 4, 3), (4, 5, 3), (4, None, 3)],
    ids=["more were wanted before", "no more came", "a read too late", "reads are not counted"],
)
def test_n_is_not_followed(monkeypatch, at_once, replicas, reads, before):
    assert not followed(monkeypatch, rises(replicas), reads, before)


WELL = Latency(before=0.5, worst=0.7, seconds_over=0, counts=Counts(came=1000, refused=20))
BADLY = Latency(before=0.6, worst=0.9, seconds_over=9, counts=Counts(came=1000, refused=200))


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (WELL, True),
        (BADLY, False),
        (replace(WELL, before=math.inf), False),
        (replace(WELL, worst=math.inf), False),
        (replace(WELL, counts=Counts(1000, 51)), False),
    ],
)
def test_latency_is_held_where_its_worst_time_is_within_the_budget_and_few_are_refused(found, holds):
    told = rises()
    told._claim_latency(found)

    assert told.story.held == {"latency-held": holds}


@pytest.mark.parametrize(
    ("found", "wanted", "gpus", "holds"),
    [
        (BADLY, 3, 1, True),
        (WELL, 3, 1, False),
        (replace(BADLY, worst=math.inf), 3, 1, False),
        (replace(BADLY, before=0.9), 3, 1, False),
        (BADLY, 4, 1, False),
        (BADLY, 3, 2, False),
    ],
)
def test_without_n_the_budget_is_left_where_it_was_held_before_and_nothing_else_changed(
    found, wanted, gpus, holds
):
    told = rises()
    told._claim_without_n(found, wanted, gpus)

    assert told.story.held == {"not-without-n": holds}


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
