"""A team's GPU Operator, with a driver, slices and tolerations of its own, is joined on a real API server."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from sandbox import charts, samples
from sandbox.system import Cluster, System
from sandbox.tools import tools
from tests.sandbox.fleet import helm
from tests.sandbox.system_fixtures import (
    INSTALLER,
    NODE_POOLS,
    NODES,
    PODS,
    POLICY_TAG,
    asking_pods,
    look,
    nodes_of,
    requests_of,
    running,
)
from tests.waiting import eventually

pytestmark = pytest.mark.sandbox

NAME, RELEASE, NAMESPACE = "theirs", "gpu-operator-1739580441", "gpu-operator"
THEIRS = f"/api/v1/namespaces/{NAMESPACE}/configmaps/team-slicing"
OURS = f"/api/v1/namespaces/{NAMESPACE}/configmaps/slicewise-device-plugin"
CLUSTER_POLICY = "/apis/nvidia.com/v1/clusterpolicies/cluster-policy"
KEYS = {"any": samples.plugin_config(2), "few": samples.plugin_config(3)}
DEDICATED = {"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}
GPU = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
TEAM: dict[str, Any] = {
    "driver": {"enabled": True, "version": "570.124.06"},
    "toolkit": {"enabled": True},
    "daemonsets": {"tolerations": [DEDICATED, GPU]},
    "node-feature-discovery": {"worker": {"tolerations": [{"operator": "Exists"}]}},
    "devicePlugin": {"config": {"name": "team-slicing", "default": "any"}},
    "mig": {"strategy": "single"},
    "migManager": {"enabled": True},
    "operator": {"upgradeCRD": False},
}


@pytest.fixture(scope="module")
def cluster(system: System) -> Cluster:
    """With one node that has the default of the team's slices, and one that chose the others."""
    cluster = system.start_control_plane(NAME)
    cluster.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    cluster.kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "team-slicing", "namespace": NAMESPACE},
            "data": KEYS,
        }
    )
    run_helm(cluster, "install", given=TEAM)
    pools = {"plain": samples.node_pool("plain", key="none"), "few": samples.node_pool("few", key="few")}
    spec = pools["plain"]["spec"]["template"]["spec"]
    spec["requirements"] = [
        one for one in spec["requirements"] if one["key"] != "nvidia.com/device-plugin.config"
    ]
    for name, pool in pools.items():
        cluster.kube.apply(pool)
        cluster.kube.apply(samples.deployment(name, 1, name))
    eventually(lambda: all(running(cluster.kube, name) == 1 for name in pools), "their pods do not run",
               within_seconds=120)  # fmt: skip
    return cluster


def run_helm(cluster: Cluster, verb: str, *options: str, given: dict[str, Any]) -> None:
    """As a person runs it, with these values and no others."""
    chart = charts.chart("gpu-operator")
    command = [str(tools().helm), "--kubeconfig", str(cluster.plane.kubeconfig), verb, RELEASE]
    command += [str(chart.path), "--namespace", NAMESPACE, *options, "--values", "-"]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def before(cluster: Cluster) -> dict[str, Any]:
    return {"offers": offers(cluster), "pods": pods(cluster), "map": cluster.kube.get(THEIRS),
            "policy": cluster.kube.get(CLUSTER_POLICY)["spec"]}  # fmt: skip


@pytest.fixture(scope="module")
def joined(system: System, cluster: Cluster, before: dict[str, Any]) -> dict[str, Any]:
    system.create_cluster(NAME, tags={POLICY_TAG: "adopting"})
    return system.wait_for_stage(NAME, "onboarded")


def offers(cluster: Cluster) -> dict[str, str]:
    return {
        node["metadata"]["labels"]["karpenter.sh/nodepool"]: node["status"]["allocatable"].get(
            "nvidia.com/gpu"
        )
        for node in cluster.kube.list(NODES)
        if "karpenter.sh/nodepool" in node["metadata"]["labels"]
    }


def pods(cluster: Cluster) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in cluster.kube.list(PODS)}


def values(cluster: Cluster) -> dict[str, Any]:
    return json.loads(helm(cluster, "get", "values", RELEASE, "--namespace", NAMESPACE, "--output", "json"))


def test_the_team_has_what_the_test_is_about(before):
    assert before["offers"] == {"plain": "2", "few": "3"}


def test_the_release_is_joined_under_its_own_name_with_its_owners_values(cluster, joined):
    now = values(cluster)
    mark = now.pop("slicewise")

    assert mark["before"] == TEAM
    wanted = json.loads(json.dumps(TEAM))
    wanted["devicePlugin"]["config"]["name"] = "slicewise-device-plugin"
    wanted["daemonsets"]["tolerations"].append({**GPU, "key": "slicewise.dev/class"})
    assert now == wanted
    listed = json.loads(helm(cluster, "list", "--all-namespaces", "--output", "json"))
    assert [(one["name"], one["revision"]) for one in listed] == [(RELEASE, "2")]


def test_the_cluster_policy_differs_in_nothing_else(cluster, before, joined):
    now = cluster.kube.get(CLUSTER_POLICY)["spec"]

    differing = {key for key in {*now, *before["policy"]} if now.get(key) != before["policy"].get(key)}
    assert differing == {"daemonsets", "devicePlugin"}
    assert now["devicePlugin"]["config"] == {"name": "slicewise-device-plugin", "default": "any"}
    assert now["daemonsets"]["tolerations"][:2] == [DEDICATED, GPU]


def test_nodes_and_pods_of_the_teams_go_on_as_they_were(cluster, before, joined):
    eventually(lambda: offers(cluster) == before["offers"], lambda: offers(cluster), within_seconds=60)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        assert offers(cluster) == before["offers"]
        time.sleep(0.3)

    assert pods(cluster) == before["pods"]
    assert cluster.kube.get(THEIRS) == before["map"]
    assert cluster.kube.get(OURS)["data"].items() >= KEYS.items()


def test_a_pool_of_ours_is_sliced_beside_them(cluster, joined):
    assert cluster.kube.get(f"{NODE_POOLS}/slicewise-shared-l4")
    cluster.kube.apply(asking_pods("mine", 4, "shared"))
    eventually(lambda: running(cluster.kube, "mine") == 4, "ours do not run", within_seconds=120)

    [node] = nodes_of(cluster.kube, "shared")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "4"


def test_a_later_edit_of_the_teams_is_carried_over_with_no_right_too_many_or_too_few(system, cluster, joined):
    asked = len(requests_of(cluster, INSTALLER))
    edited = samples.plugin_config(5)
    cluster.kube.merge(THEIRS, {"data": {"few": edited}})

    look(system, NAME, forced=True)
    system.wait_for_stage(NAME, "onboarded")

    eventually(lambda: cluster.kube.get(OURS)["data"]["few"] == edited, "it is not carried over")
    refused = [one for one in requests_of(cluster, INSTALLER)[asked:] if one.code == 403]
    assert refused == []


def test_what_was_kept_makes_the_release_what_it_was_byte_for_byte(cluster, joined):
    """As docs/deploying.md says it, by hand."""
    kept = values(cluster)["slicewise"]["before"]
    first = helm(cluster, "get", "manifest", RELEASE, "--namespace", NAMESPACE, "--revision", "1")

    run_helm(cluster, "upgrade", "--reset-values", "--no-hooks", given=kept)

    assert values(cluster) == TEAM
    assert helm(cluster, "get", "manifest", RELEASE, "--namespace", NAMESPACE) == first
