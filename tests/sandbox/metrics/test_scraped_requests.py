"""A real Prometheus scrapes the requests of the llm-queue example: it finds the servers, and loses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from slicewise.kube.labels import SLICES_ANNOTATION

from sandbox.examples.llm import replay, scaler
from sandbox.examples.llm.requests import COST, Requests, Servers
from sandbox.metrics.prometheus import Prometheus
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox
CHAT = Servers("default", "chat")


class Kube:
    """In place of a cluster: servers by their pods' names, each on a node of its own, and N."""

    def __init__(self) -> None:
        self.servers: tuple[str, ...] = ()

    def list(self, path: str, labelSelector: str) -> list[dict[str, Any]]:
        return [
            {"metadata": {"name": name}, "spec": {"nodeName": name}, "status": {"phase": "Running"}}
            for name in self.servers
        ]

    def find(self, path: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {SLICES_ANNOTATION: "2"}}}


@pytest.fixture
def requests() -> Iterator[Requests]:
    with Requests(CHAT) as running:
        yield running


@pytest.fixture
def prometheus(tmp_path: Path, requests: Requests) -> Iterator[Prometheus]:
    config = {
        "rule_files": [str(scaler.FOLDER / "prometheus-rules.yaml")],
        "global": {"evaluation_interval": "1s"},
        "scrape_configs": [requests.scrape_config()],
    }
    with Prometheus.start(tmp_path, config) as running:
        yield running


def labels(prometheus: Prometheus, query: str) -> list[dict[str, str]]:
    return [one["metric"] for one in prometheus.ask("query", query=query)["data"]["result"]]


def test_a_server_is_scraped_with_its_pods_labels_and_its_series_end_with_it(requests, prometheus):
    kube = Kube()
    kube.servers = ("chat-a", "chat-b")
    requests.begin(kube)

    running = "vllm:num_requests_running"
    found = eventually(lambda: len(labels(prometheus, running)) == 2 and labels(prometheus, running))
    assert {(one["namespace"], one["pod"], one["job"]) for one in found} == {
        ("default", "chat-a", "default/chat"),
        ("default", "chat-b", "default/chat"),
    }

    kube.servers = ("chat-a",)

    eventually(lambda: [one["pod"] for one in labels(prometheus, running)] == ["chat-a"])
    # The other's target goes with the next list of targets, and what is left can be scraped.
    eventually(lambda: labels(prometheus, "up") == labels(prometheus, "up == 1"))
    assert len(labels(prometheus, "up")) == 3


def test_types_are_read_as_they_are_written(requests, prometheus):
    kube = Kube()
    kube.servers = ("chat-a",)
    requests.begin(kube)
    eventually(lambda: labels(prometheus, "vllm:e2e_request_latency_seconds_count"))

    found = urllib3.request("GET", f"{prometheus.url}/api/v1/metadata").json()["data"]
    assert {name: [one["type"] for one in kinds] for name, kinds in found.items()} == {
        "gateway_requests_pending": ["gauge"],
        "gateway_requests_refused_total": ["counter"],
        "kube_deployment_annotations": ["gauge"],
        "vllm:e2e_request_latency_seconds": ["histogram"],
        "vllm:num_requests_running": ["gauge"],
        "vllm:num_requests_waiting": ["gauge"],
        "vllm:time_to_first_token_seconds": ["histogram"],
    }


def test_the_examples_query_and_the_latency_are_those_of_the_served_requests(requests, prometheus):
    kube = Kube()
    requests.begin(kube)
    requests.play(CHAT, replay.MORNING)
    # What waits at the gateway counts while there is no server.
    eventually(lambda: scaler.load(prometheus) > 0)
    assert scaler.p95(prometheus, "default", 15) is None

    kube.servers = ("chat-a",)

    p95 = eventually(lambda: scaler.p95(prometheus, "default", 15))
    assert p95 and COST.alone <= p95 < 10 * COST.alone
    assert scaler.load(prometheus) > 0

    worst = eventually(lambda: scaler.worst_p95(prometheus, "default", 30))
    assert COST.alone <= worst < 10 * COST.alone
    assert 0 < scaler.seconds_over(prometheus, "default", 0.01, 30) <= 31
    assert scaler.seconds_over(prometheus, "default", 1000.0, 30) == 0
    assert scaler.worst_p95(prometheus, "elsewhere", 30) is None
    assert scaler.seconds_over(prometheus, "elsewhere", 0.01, 30) == 0
