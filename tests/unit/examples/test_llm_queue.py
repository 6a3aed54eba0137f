"""examples/llm-queue: its files say one thing of the load, the target, N and the memory of a slice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from slicewise.policy.model import parse
from slicewise.tuning.rule.replicas import memory_share

from tests.support.example_files import objects

FOLDER = Path(__file__).parents[3] / "examples/llm-queue"
NIM = FOLDER / "nim"
[POOL] = parse((FOLDER / "policy.yaml").read_text(), "llm-queue").pools
[DEPLOYMENT] = [item for item in objects(FOLDER) if item["kind"] == "Deployment"]


def file(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


[SCALED_OBJECT] = [item for item in objects(FOLDER) if item["kind"] == "ScaledObject"]
HPA = file("hpa.yaml")
[EXTERNAL] = file("prometheus-adapter.yaml")["rules"]["external"]
[TRIGGER] = [trigger["metadata"] for trigger in SCALED_OBJECT["spec"]["triggers"]]


def test_keda_and_the_hpa_read_the_same_and_compare_it_with_the_same():
    assert TRIGGER["query"].split() == EXTERNAL["metricsQuery"].split()
    metric = HPA["spec"]["metrics"][0]["external"]
    assert metric["metric"]["name"] == EXTERNAL["name"]["as"]
    assert TRIGGER["threshold"] == metric["target"]["averageValue"]
    assert SCALED_OBJECT["spec"]["maxReplicaCount"] == HPA["spec"]["maxReplicas"]
    assert SCALED_OBJECT["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]


def test_where_n_is_not_known_the_largest_of_the_pool_counts():
    assert POOL.replicas
    assert re.findall(r"or on \(\) vector\(([0-9]+)\)", TRIGGER["query"]) == [str(POOL.replicas.max)]


def test_the_rule_names_each_n_of_the_pool():
    [rule] = file("prometheus-rules.yaml")["groups"][0]["rules"]
    named = re.findall(r'([0-9]+) \* \w+\{\w+="([0-9]+)"\}', rule["expr"])

    assert POOL.replicas
    assert named == [(str(n), str(n)) for n in range(1, POOL.replicas.max + 1)]


def test_a_server_reserves_what_its_slice_has_at_the_largest_n():
    [container] = DEPLOYMENT["spec"]["template"]["spec"]["containers"]

    assert POOL.replicas
    assert f"--gpu-memory-utilization={memory_share(POOL.replicas.max):.2f}" in container["args"]


def test_weights_cache_and_what_vllm_needs_beside_fit_in_that_share():
    [container] = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    [cache] = [arg for arg in container["args"] if arg.startswith("--kv-cache-memory-bytes=")]
    weights_mib, beside_mib = 953, 1536

    assert POOL.replicas
    share_mib = memory_share(POOL.replicas.max) * POOL.models()[0].memory_mib
    assert int(cache.partition("=")[2]) / 2**20 + weights_mib + beside_mib <= share_mib


def test_a_nim_server_differs_from_a_vllm_server_in_its_names_alone():
    """Of its metrics, its paths and its settings: pool, slice, target and query are the same."""
    [deployment] = [item for item in objects(NIM) if item["kind"] == "Deployment"]
    [scaled] = [item for item in objects(NIM) if item["kind"] == "ScaledObject"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    [vllm] = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}

    assert yaml.safe_dump(scaled) == yaml.safe_dump(SCALED_OBJECT).replace("vllm:", "")
    assert deployment["metadata"] == DEPLOYMENT["metadata"]
    assert deployment["spec"]["template"]["spec"]["nodeSelector"] == {"slicewise.dev/pool": POOL.name}
    assert POOL.replicas
    assert environment["NIM_KVCACHE_PERCENT"] == f"{memory_share(POOL.replicas.max):.2f}"
    assert container["ports"] == vllm["ports"]
    for probe in ("startupProbe", "readinessProbe"):
        as_vllm = vllm[probe] | {"httpGet": vllm[probe]["httpGet"] | {"path": "/v1/health/ready"}}
        assert container[probe] == as_vllm
    others = [
        [item for item in objects(each) if item["kind"] in ("Service", "PodDisruptionBudget")]
        for each in (FOLDER, NIM)
    ]
    assert others[0] == others[1]


def test_the_autoscaler_alone_decides_how_many_replicas_there_are():
    """One that is in the file would be restored by each `kubectl apply`."""
    assert "replicas" not in DEPLOYMENT["spec"]
