"""Requests as the sandbox serves them: which pods serve, and what Prometheus is answered over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import urllib3
from slicewise.kube.labels import SLICES_ANNOTATION

from sandbox.cluster.client import KubeError
from sandbox.examples.llm import replay
from sandbox.examples.llm.requests import HOLDS, Requests, Servers
from tests.support.waiting import eventually

CHAT = Servers("llm", "chat")


class Kube:
    """In place of a cluster: some pods of a Deployment, and what it is annotated with."""

    def __init__(self, pods: Sequence[Mapping[str, Any]] = (), n: str | None = None):
        self.pods, self.busy = pods, list[Exception]()
        self.annotations = {SLICES_ANNOTATION: n} if n else None

    def list(self, path: str, labelSelector: str) -> Sequence[Mapping[str, Any]]:
        assert (path, labelSelector) == ("/api/v1/namespaces/llm/pods", "app=chat")
        if self.busy:
            raise self.busy.pop()
        return self.pods

    def find(self, path: str) -> dict[str, Any] | None:
        assert path == "/apis/apps/v1/namespaces/llm/deployments/chat"
        return {"metadata": {"annotations": self.annotations} if self.annotations else {}}


def pod(name: str, phase: str = "Running", **metadata: str) -> dict[str, Any]:
    spec = {"nodeName": f"node-of-{name}"} if phase == "Running" else {}
    return {"metadata": {"name": name, **metadata}, "spec": spec, "status": {"phase": phase}}


@pytest.fixture
def requests() -> Iterator[Requests]:
    with Requests(CHAT) as running:
        yield running


def got(requests: Requests, path: str) -> str:
    [config] = requests.scrape_config()["http_sd_configs"]
    answer = urllib3.request("GET", config["url"].replace("/targets", path))
    assert answer.status == 200
    return answer.data.decode()


def targets(requests: Requests) -> list[dict[str, str]]:
    return [one["labels"] for one in json.loads(got(requests, "/targets"))]


def sample(page: str, name: str) -> float:
    [value] = [line.split()[-1] for line in page.splitlines() if line.startswith(name + "{")]
    return float(value)


def test_a_pod_serves_while_it_runs_and_is_not_being_deleted():
    pods = [pod("a"), pod("b", "Pending"), pod("c", deletionTimestamp="2026-03-01T00:00:00Z"), pod("d")]

    assert CHAT.running(Kube(pods)) == {"a": "node-of-a", "d": "node-of-d"}


def test_without_a_running_server_the_gateway_holds_as_many_as_it_can(requests):
    requests.begin(Kube([pod("a", "Pending")]))
    requests.play(CHAT, replay.AFTERNOON)

    eventually(lambda: requests.counts(CHAT).refused > 0)

    assert sample(got(requests, "/gateway/metrics"), "gateway_requests_pending") == HOLDS
    assert [one["job"] for one in targets(requests)] == ["gateway", "kube-state-metrics"]


def test_each_running_server_is_a_target_with_a_pod_monitors_labels(requests):
    requests.begin(Kube([pod("a"), pod("b")]))

    eventually(lambda: len(targets(requests)) == 4)

    path, labels = "__metrics_path__", targets(requests)[2]
    assert (labels["namespace"], labels["pod"], labels["job"]) == ("llm", "a", "llm/chat")
    assert "vllm:num_requests_running" in got(requests, labels[path])
    assert {one["pod"] for one in targets(requests)[2:]} == {"a", "b"}


def test_running_servers_share_what_comes_and_the_gateway_holds_none(requests):
    requests.begin(Kube([pod("a"), pod("b")]))
    eventually(lambda: len(targets(requests)) == 4)
    requests.play(CHAT, replay.MORNING)  # so few that none is refused, however long this waits

    def count(name: str) -> float:
        return sample(got(requests, f"/pods/llm/{name}/metrics"), "vllm:e2e_request_latency_seconds_count")

    eventually(lambda: count("a") > 5 and count("b") > 5)
    assert sample(got(requests, "/gateway/metrics"), "gateway_requests_pending") == 0
    assert requests.counts(CHAT).refused == 0


def test_a_server_that_is_gone_is_no_target_and_has_no_page(requests):
    kube = Kube([pod("a")])
    requests.begin(kube)
    eventually(lambda: len(targets(requests)) == 3)

    kube.pods = []

    eventually(lambda: len(targets(requests)) == 2)
    [config] = requests.scrape_config()["http_sd_configs"]
    gone = config["url"].replace("/targets", "/pods/llm/a/metrics")
    assert urllib3.request("GET", gone).status == 404


def test_n_is_reported_once_it_is_annotated(requests):
    kube = Kube()
    requests.begin(kube)
    assert "slices_per_gpu" not in got(requests, "/kube-state-metrics/metrics")

    kube.annotations = {SLICES_ANNOTATION: "3"}

    eventually(lambda: 'slices_per_gpu="3"' in got(requests, "/kube-state-metrics/metrics"))


BUSY = KubeError(429, "storage is (re)initializing", "TooManyRequests", "GET", "/api/v1/namespaces/llm/pods")


@pytest.mark.parametrize("error", [BUSY, TimeoutError("timed out"), ConnectionResetError("hung up")])
def test_an_api_server_that_is_busy_or_does_not_answer_is_asked_again(requests, error):
    kube = Kube([pod("a")])
    kube.busy = [error, error]

    requests.begin(kube)

    eventually(lambda: len(targets(requests)) == 3)
    assert kube.busy == []


def test_where_nobody_places_servers_any_more_that_is_the_storys_error(requests):
    kube = Kube([pod("a")])
    kube.busy = [ValueError("no phase")]
    requests.begin(kube)

    def fails() -> bool:
        try:
            requests.play(CHAT, replay.MORNING)
        except RuntimeError as error:
            return str(error.__cause__) == "no phase"
        return False

    eventually(fails)
