"""
The queries of docs/scaling_by_queue.md on a real Prometheus: what a scaler would read, with N and without.

Prometheus is real; what it holds is written as vLLM and kube-state-metrics name it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sandbox.metrics.prometheus import Prometheus
from tests.support.waiting import eventually
from tests.support.workload_crds import definitions

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/scaling_by_queue.md").read_text()
EXAMPLE = yaml.safe_load((ROOT / "examples/llm-queue/scaledobject.yaml").read_text())
YAML = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
BY_ANNOTATION, BY_NODES = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
[RULES] = [item for item in YAML if "groups" in item]
[SCALED_OBJECT] = [item for item in YAML if item.get("kind") == "ScaledObject"]
ANNOTATION = "annotation_slicewise_dev_slices_per_gpu"
# Two replicas with three requests each, and one that waits.
LOAD = 7.0


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(RULES))  # JSON is YAML
    config = {"rule_files": [str(rules)], "global": {"evaluation_interval": "1s"}}
    with Prometheus.start(tmp_path / "prometheus", config) as server:
        for pod, waiting in (("chat-1-a", 1.0), ("chat-1-b", 0.0)):
            of_pod = {"namespace": "llm", "pod": pod, "model_name": "m"}
            put(server, "vllm:num_requests_running", of_pod, 3.0)
            put(server, "vllm:num_requests_waiting", of_pod, waiting)
        yield server


def put(server: Prometheus, name: str, labels: Mapping[str, str], value: float) -> None:
    """For three minutes already."""
    now = time.time()
    server.put(name, labels, [(now - past, value) for past in range(180, 0, -15)])


def publish(server: Prometheus, n: int) -> None:
    labels = {"namespace": "llm", "deployment": "chat", ANNOTATION: str(n)}
    server.put("kube_deployment_annotations", labels, [(time.time() - 1, 1.0)])


def run_on(server: Prometheus, node: str, slices: int, pod: str) -> None:
    allocatable = {"node": node, "resource": "nvidia_com_gpu", "unit": "integer"}
    put(server, "kube_node_status_allocatable", allocatable, slices)
    put(server, "kube_node_status_allocatable", {**allocatable, "resource": "cpu"}, 64.0)
    put(server, "kube_pod_info", {"namespace": "llm", "pod": pod, "node": node}, 1.0)


def asked(server: Prometheus, query: str) -> list[float]:
    answer = server.ask("query", query=query)
    assert answer["status"] == "success", answer
    return [float(one["value"][1]) for one in answer["data"]["result"]]


@pytest.mark.sandbox
@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_the_load_is_multiplied_by_the_n_that_is_published(prometheus: Prometheus, n: int):
    publish(prometheus, n)

    eventually(lambda: asked(prometheus, "slicewise:slices_per_gpu") == [n], "the rule is not evaluated")
    assert asked(prometheus, BY_ANNOTATION) == [LOAD * n]


@pytest.mark.sandbox
def test_during_a_change_of_the_annotation_the_larger_n_counts(prometheus: Prometheus):
    publish(prometheus, 2)
    publish(prometheus, 4)

    eventually(lambda: len(asked(prometheus, "slicewise:slices_per_gpu")) == 2, "the rule is not evaluated")
    assert asked(prometheus, BY_ANNOTATION) == [LOAD * 4]


@pytest.mark.sandbox
def test_without_the_annotation_the_largest_n_of_the_pool_counts(prometheus: Prometheus):
    assert asked(prometheus, BY_ANNOTATION) == asked(prometheus, BY_NODES) == [LOAD * 4]


@pytest.mark.sandbox
def test_what_nodes_offer_gives_n_of_the_most_crowded_one_that_has_a_pod_of_it(prometheus: Prometheus):
    run_on(prometheus, "n-1", 2, "chat-1-a")
    run_on(prometheus, "n-2", 3, "chat-1-b")
    run_on(prometheus, "n-3", 8, "another-1-a")

    assert asked(prometheus, BY_NODES) == [LOAD * 3]


@pytest.mark.sandbox
def test_where_no_server_is_there_only_the_second_trigger_has_a_value(prometheus: Prometheus):
    own, gateway = (trigger["metadata"]["query"] for trigger in SCALED_OBJECT["spec"]["triggers"])
    put(prometheus, "gateway_requests_pending", {"service": "chat"}, 2.0)

    assert asked(prometheus, own.replace("llm", "nobody").replace("vlnobody", "vllm")) == []
    assert asked(prometheus, gateway) == [2.0 * 4]


@pytest.mark.sandbox
def test_a_nims_names_are_those_of_vllm_without_the_prefix(prometheus: Prometheus):
    of_pod = {"namespace": "nim", "pod": "chat-1-a"}
    put(prometheus, "num_requests_running", of_pod, 2.0)
    put(prometheus, "num_requests_waiting", of_pod, 1.0)
    query = BY_ANNOTATION.replace("vllm:", "").replace('"llm"', '"nim"')

    assert asked(prometheus, query) == [3.0 * 4]


@pytest.mark.sandbox
@pytest.mark.parametrize("item", [SCALED_OBJECT, EXAMPLE], ids=["page", "example"])
def test_a_scaled_object_is_valid_by_its_definition(item: Any):
    [definition] = definitions("keda-scaledobjects-*.yaml")
    [version] = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]

    jsonschema.validate(item, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**item, "spec": {"triggers": "none"}}, schema)


# The page


def test_the_scaled_object_has_the_query_of_the_page_and_the_hpa_its_target():
    [hpa] = [item for item in YAML if item.get("kind") == "HorizontalPodAutoscaler"]
    own, gateway = (trigger["metadata"] for trigger in SCALED_OBJECT["spec"]["triggers"])

    assert own["query"].split() == BY_ANNOTATION.split()
    target = hpa["spec"]["metrics"][0]["external"]["target"]
    assert own["threshold"] == gateway["threshold"] == target["averageValue"]
    assert hpa["spec"]["maxReplicas"] == SCALED_OBJECT["spec"]["maxReplicaCount"]


def test_the_rule_names_each_n_once():
    [rule] = RULES["groups"][0]["rules"]
    named: list[tuple[Any, Any]] = re.findall(r'([0-9]+) \* \w+\{\w+="([0-9]+)"\}', rule["expr"])

    assert named == [(str(n), str(n)) for n in range(1, 9)]
