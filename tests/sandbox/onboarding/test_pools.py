"""
Pools of every kind on one cluster: as many nodes as the pods need, each with the slices that were promised.

The cluster begins in authentication mode CONFIG_MAP, with its owner's tag that allows the switch.
"""

from __future__ import annotations

import math
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.artifacts.tools import tools
from sandbox.cluster.client import condition
from tests.sandbox.fleet import POOLS
from tests.sandbox.system_fixtures import (
    EVERY_POOL,
    NODE_CLAIMS,
    NODE_POOLS,
    asking_pods,
    check_capacity,
    codes,
    is_admin,
    nodes_of,
    ours,
    policy_text,
    publish,
    running,
    shared,
)
from tests.support.nonempty import nonempty
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

EXAMPLES = Path(__file__).parents[3] / "examples"
PODS_OF_DEFAULT = "/api/v1/namespaces/default/pods"
GPU, CLASS = "nvidia.com/gpu", "slicewise.dev/class"
GPUS_OF_A_NODE = "karpenter.k8s.aws/instance-gpu-count"
SLICED = range(2, 9)
PODS = {"batch": (23, GPU), "sevenths": (57, "nvidia.com/mig-1g.5gb")}


@pytest.fixture(scope="module")
def pools(system, fleet):
    system.wait_for_stage(POOLS, "onboarded")
    yield fleet.pools
    # A hundred nodes cost half a core for as long as they stand.
    system.aws.client("eks").delete_cluster(name=POOLS)
    eventually(lambda: not system.record(POOLS))
    system.end_control_plane(POOLS)


@pytest.fixture(scope="module")
def kube(pools):
    """With pods in every pool; all of them at once, since the pools do not touch each other."""
    for pool, (replicas, resource) in PODS.items():
        pools.kube.apply(asking_pods(pool, replicas, pool, resource))
    for n in SLICED:
        for gpus in (1, 4):
            pools.kube.apply(_on_machines_with(gpus, n, 23))
    for size in (1, 2, 3):
        item = _of_a_class(size)
        # Who applies on the server's side comes again: what it writes would be left to it.
        pools.kube.create(item)
    for example in ("slice-inference", "mig-inference", "whole-gpu-training"):
        _kubectl(pools, "apply", "-k", EXAMPLES / example)
    return pools.kube


def test_a_cluster_without_access_entries_is_switched_where_its_tag_allows_it(system, pools):
    cluster = system.aws.client("eks").describe_cluster(name=POOLS)["cluster"]

    assert cluster["accessConfig"]["authenticationMode"] == "API_AND_CONFIG_MAP"
    assert not is_admin(system, POOLS)


def test_every_pool_of_the_policy_is_there_and_ready(pools):
    found = ours(pools.kube, NODE_POOLS)

    assert len(found) == len(EVERY_POOL) + 2  # one of them has three classes
    assert {name for name, item in found.items() if condition(item, "Ready") != "True"} == set()


@pytest.mark.parametrize(
    ("gpus", "instance_type"),
    [(1, "g6.xlarge"), (4, "g6.12xlarge")],
    ids=["1 GPU a node", "4 GPUs a node"],
)
@pytest.mark.parametrize("n", SLICED)
def test_23_pods_take_just_as_many_nodes_as_they_need(kube, n, gpus, instance_type):
    _wait_for_pods(kube, f"n{n}-on-{gpus}", 23)

    nodes = _with_gpus(nodes_of(kube, f"n{n}"), gpus)
    assert len(nodes) == math.ceil(23 / (n * gpus))
    assert {_type(node) for node in nodes} == {instance_type}
    assert {_allocatable(node, GPU) for node in nodes} == {n * gpus}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pods_of_a_class_take_nodes_of_its_n_alone(kube, size):
    """GPU Operator's operands tolerate its taint, or no slice would be offered there."""
    _wait_for_pods(kube, f"mixed-{size}", 5)

    nodes = [node for node in nodes_of(kube, "mixed") if node["metadata"]["labels"][CLASS] == str(size)]
    assert len(nodes) == math.ceil(5 / size)
    assert {_allocatable(node, GPU) for node in nodes} == {size}


def _pods_on(kube, app: str) -> dict[str, str]:
    """Names of an app's pods that run and stay, with their nodes."""
    return {
        pod["metadata"]["name"]: pod["spec"]["nodeName"]
        for pod in kube.list(PODS_OF_DEFAULT, labelSelector=f"app={app}")
        if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    }


def _on_machines_with(gpus: int, n: int, pods: int) -> dict[str, Any]:
    item = asking_pods(f"n{n}-on-{gpus}", pods, f"n{n}")
    item["spec"]["template"]["spec"]["nodeSelector"][GPUS_OF_A_NODE] = str(gpus)
    return item


def _with_gpus(nodes: list[dict[str, Any]], gpus: int) -> list[dict[str, Any]]:
    return [node for node in nodes if node["metadata"]["labels"][GPUS_OF_A_NODE] == str(gpus)]


def _of_a_class(size: int) -> dict[str, Any]:
    """Five pods; those of the first class say nothing of it."""
    item = asking_pods(f"mixed-{size}", 5, "mixed")
    if size == 3:
        item["kind"] = "StatefulSet"
        item["spec"] |= {"serviceName": "mixed", "podManagementPolicy": "Parallel"}
    if size > 1:
        pod_spec = item["spec"]["template"]["spec"]
        pod_spec["nodeSelector"][CLASS] = str(size)
        pod_spec["tolerations"].append({"key": CLASS, "value": str(size)})
    return item


def test_mps_shares_as_time_slicing_does(kube):
    _wait_for_pods(kube, "batch", 23)

    nodes = nodes_of(kube, "batch")
    assert len(nodes) == math.ceil(23 / 3)
    assert {node["metadata"]["labels"]["nvidia.com/device-plugin.config"] for node in nodes} == {"mps-3"}
    assert {_allocatable(node, GPU) for node in nodes} == {3}


def test_mig_pods_get_sevenths_and_no_whole_gpu_is_left_to_ask_for(kube):
    _wait_for_pods(kube, "sevenths", 57)

    nodes = nodes_of(kube, "sevenths")
    assert [_type(node) for node in nodes] == ["p4d.24xlarge"] * 2  # 57 / (7 × 8), rounded up
    assert {_allocatable(node, "nvidia.com/mig-1g.5gb") for node in nodes} == {56}
    assert {_allocatable(node, GPU) for node in nodes} == {0}


@pytest.mark.parametrize(
    ("app", "pods", "pool", "nodes"),
    [("charmodel", 8, "shared", 2), ("mig-inference", 7, "slices", 1), ("whole-gpu-training", 1, "whole", 1)],
)
def test_the_examples_run(kube, app, pods, pool, nodes):
    _wait_for_pods(kube, app, pods)

    assert len(nodes_of(kube, pool)) == nodes


def test_the_tuner_finds_every_slice_that_was_promised(system, kube):
    record = eventually(
        lambda: (found := check_capacity(system, POOLS)) and "starting" not in found["reason"] and found,
        "nodes are still starting",
    )

    assert record["findings"] == []
    sliced = sum(n * gpus * math.ceil(23 / (n * gpus)) for n in SLICED for gpus in (1, 4))
    # Then batch, sevenths, shared, slices and whole, and the classes of mixed.
    slices = sliced + 8 * 3 + 2 * 56 + 2 * 4 + 56 + 1 + 5 * 1 + 3 * 2 + 2 * 3
    assert f"{slices} of {slices} slices" in record["reason"]


@pytest.fixture(scope="module")
def before_the_change(system, kube) -> set[str]:
    """NodeClaims, by uid, that were there before another policy was deployed; it has reached the cluster."""
    for size in (1, 2, 3):
        _wait_for_pods(kube, f"mixed-{size}", 5)
    claims = {claim["metadata"]["uid"] for claim in kube.list(NODE_CLAIMS)}
    changed = {
        **EVERY_POOL,
        "n2": EVERY_POOL["n2"] | {"maxGpus": 40},
        "n3": EVERY_POOL["n3"] | {"replicas": {"start": 5, "max": 8}},  # says nothing about one that exists
        "n4": EVERY_POOL["n4"] | {"capacityTypes": ["spot"]},
        "late": shared(2, gpu="a10g"),
        "mixed": shared(2),
    }
    publish(system, "every-pool", policy_text("every-pool", pools=changed))
    system.sweep()

    eventually(lambda: kube.find(f"{NODE_POOLS}/slicewise-late-a10g"), "the new pool does not come")
    return nonempty(claims)


def test_a_changed_policy_converges_at_the_sweep_without_replacing_a_node(system, kube, before_the_change):
    record = system.wait_for_stage(POOLS, "onboarded")

    found = ours(kube, NODE_POOLS)
    assert found["slicewise-n2-l4"]["spec"]["limits"] == {GPU: "80"}
    assert _required(found["slicewise-n3-l4"], "nvidia.com/device-plugin.config") == ["ts-3"]
    assert _required(found["slicewise-n4-l4"], "karpenter.sh/capacity-type") == ["on-demand"]
    reported = [finding for finding in record["findings"] if finding["code"] == "would-replace-nodes"]
    assert len(reported) == 1 and "slicewise-n4-l4" in reported[0]["says"] and reported[0]["remedy"]
    assert [found[f"slicewise-mixed-l4-{size}"]["spec"]["limits"] for size in (1, 2, 3)] == [{GPU: "0"}] * 3
    assert "node-pool-closed" in codes(record)
    left = kube.list(NODE_CLAIMS)
    assert {claim["metadata"]["uid"] for claim in left} == before_the_change
    assert [claim["metadata"]["name"] for claim in left if condition(claim, "Drifted") == "True"] == []
    assert not is_admin(system, POOLS)


def test_workloads_that_opted_in_leave_the_classes_of_a_pool_that_is_no_longer_split(
    system, kube, before_the_change
):
    """One after another, with the tuner's own rights; who did not opt in stays where it is."""
    moved = {app: kube.path(_of_a_class(size)) for size in (2, 3) if (app := f"mixed-{size}")}
    stays = nonempty(_pods_on(kube, "mixed-1"))
    for path in moved.values():
        kube.merge(path, {"metadata": {"labels": {CLASS: "auto"}}})

    def are_home() -> bool:
        check_capacity(system, POOLS)
        selectors = [kube.get(path)["spec"]["template"]["spec"]["nodeSelector"] for path in moved.values()]
        return selectors == [{"slicewise.dev/pool": "mixed"}] * 2

    eventually(are_home, "they are not moved", every=2)
    # Their own tolerations of a class, which a person wrote, stay: so its nodes may keep them.
    for app in moved:
        _wait_for_pods(kube, app, 5)
    assert _pods_on(kube, "mixed-1") == stays


def test_nodes_that_break_their_promise_are_reported_with_likely_causes(system, fleet, kube):
    # The fourth small node of n8 comes up without its GPUs; one of n7 loses four of its slices.
    fleet.pools.gpus.broken = True
    kube.apply(_on_machines_with(1, 8, 25))
    silent = eventually(lambda: [n for n in nodes_of(kube, "n8") if not _allocatable(n, GPU)], "no new node")[
        0
    ]
    short = _with_gpus(nodes_of(kube, "n7"), 1)[0]
    path = f"/api/v1/nodes/{short['metadata']['name']}/status"
    kube.merge(path, {"status": {"allocatable": {GPU: "3"}}})
    for node in (silent, short):
        _registered_ten_minutes_ago(kube, node["metadata"]["name"])

    record = check_capacity(system, POOLS)

    assert codes(record) == {"never-initialised", "slices-differ"}
    reported = {finding["code"]: finding for finding in record["findings"]}
    assert silent["metadata"]["name"] in reported["never-initialised"]["says"]
    assert "pods of pool n8 wait" in reported["never-initialised"]["says"]
    assert "Likely: " in reported["never-initialised"]["remedy"]
    assert f"offers {GPU} 3; its key ts-7 promises {GPU} 7" in reported["slices-differ"]["says"]


def _registered_ten_minutes_ago(kube, node: str) -> None:
    """
    Ages the NodeClaim instead of waiting for the five minutes after which a node counts as lost.

    Karpenter may write the conditions that it remembers over ours, so they are written until they stay.
    """

    def registered() -> tuple[dict[str, Any], dict[str, Any]] | None:
        for claim in kube.list(NODE_CLAIMS):
            status = claim.get("status") or {}  # one that was made just now has none
            conditions = {one["type"]: one for one in status.get("conditions") or ()}
            found = conditions.get("Registered", {})
            if status.get("nodeName") == node and found.get("status") == "True":
                return claim, found
        return None

    then = (datetime.now(UTC) - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def stays() -> bool:
        claim, _ = eventually(registered, f"{node} does not register")
        conditions = [
            one | ({"lastTransitionTime": then} if one["type"] == "Registered" else {})
            for one in claim["status"]["conditions"]
        ]
        path = f"{NODE_CLAIMS}/{claim['metadata']['name']}/status"
        kube.merge(path, {"status": {"conditions": conditions}})
        time.sleep(2)
        _, found = eventually(registered, f"{node} is gone")
        return found["lastTransitionTime"] == then

    eventually(stays, f"the NodeClaim of {node} does not become older")


def _wait_for_pods(kube, app: str, pods: int) -> None:
    eventually(
        lambda: running(kube, app) == pods, lambda: f"{running(kube, app)} of {pods} pods run", every=0.5
    )


def _kubectl(cluster, *arguments: object) -> None:
    command = [tools().kubectl, "--kubeconfig", cluster.plane.kubeconfig, *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def _type(node) -> str:
    return node["metadata"]["labels"]["node.kubernetes.io/instance-type"]


def _allocatable(node, resource: str) -> int:
    return int(node["status"].get("allocatable", {}).get(resource, 0))


def _required(node_pool, key: str) -> list[str]:
    requirements = node_pool["spec"]["template"]["spec"]["requirements"]
    return next(one["values"] for one in requirements if one["key"] == key)
