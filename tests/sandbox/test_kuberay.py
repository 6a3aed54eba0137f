"""The real KubeRay beside a control plane: what a RayCluster's own switch does to its pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import audit
from sandbox.control_plane import ControlPlane
from sandbox.controllers import samples
from sandbox.controllers.process import Controllers
from sandbox.kube import KubeClient
from sandbox.processes import is_recorded_alive
from tests.waiting import eventually

pytestmark = pytest.mark.sandbox

CLUSTERS = "/apis/ray.io/v1/namespaces/default/rayclusters"
PODS = "/api/v1/namespaces/default/pods"
ACCOUNT = "system:serviceaccount:ray-system:kuberay-operator"


@pytest.fixture(scope="module")
def controllers(control_plane: ControlPlane) -> Iterator[Controllers]:
    with Controllers.start(control_plane, "kuberay") as started:
        yield started


@pytest.fixture
def cluster(controllers: Controllers, kube: KubeClient) -> Iterator[str]:
    """The path of a RayCluster with two workers, which is ready."""
    path = made_ready(kube, "ray", 2)
    yield path
    kube.delete(path)
    eventually(lambda: not pods(kube), "the RayCluster's pods outlive it")


def made_ready(kube: KubeClient, name: str, workers: int) -> str:
    kube.create(samples.ray_cluster(name, workers, worker=samples.pod("ray-worker")))
    path = f"{CLUSTERS}/{name}"
    eventually(lambda: state(kube, path) == "ready", lambda: kube.get(path))
    return path


def state(kube: KubeClient, path: str) -> str | None:
    return kube.get(path).get("status", {}).get("state")


def pods(kube: KubeClient, node_type: str = "") -> dict[str, dict[str, Any]]:
    """Of the RayCluster, by name: "head", "worker" or all."""
    selector = "ray.io/cluster=ray" + (f",ray.io/node-type={node_type}" if node_type else "")
    return {pod["metadata"]["name"]: pod for pod in kube.list(PODS, labelSelector=selector)}


def running(kube: KubeClient) -> dict[str, int]:
    found = {kind: pods(kube, kind) for kind in ("head", "worker")}
    return {
        kind: sum(pod["status"].get("phase") == "Running" for pod in these.values())
        for kind, these in found.items()
    }


def test_suspend_takes_all_pods_away_and_gives_them_back(kube: KubeClient, cluster: str):
    assert running(kube) == {"head": 1, "worker": 2}
    before = kube.get(cluster)["spec"]

    suspend(kube, cluster, True)
    eventually(lambda: state(kube, cluster) == "suspended", lambda: kube.get(cluster))
    assert pods(kube) == {}

    suspend(kube, cluster, False)
    eventually(lambda: state(kube, cluster) == "ready", lambda: kube.get(cluster))
    assert running(kube) == {"head": 1, "worker": 2}

    suspend(kube, cluster, None)
    look_at_it_again(kube)
    assert (state(kube, cluster), running(kube)) == ("ready", {"head": 1, "worker": 2})
    assert kube.get(cluster)["spec"] == before


def suspend(kube: KubeClient, cluster: str, value: bool | None) -> None:
    """None takes the field away."""
    kube.merge(cluster, {"spec": {"suspend": value}})


def look_at_it_again(kube: KubeClient) -> None:
    """Have the operator, which takes one RayCluster after the other, come to one that is changed now."""
    kube.delete(made_ready(kube, "later", 0))


def test_a_cluster_whose_suspend_is_taken_away_stays_suspended_until_it_is_false(
    kube: KubeClient, cluster: str
):
    """The field's absence means false only for a cluster that runs."""
    suspend(kube, cluster, True)
    eventually(lambda: state(kube, cluster) == "suspended", lambda: kube.get(cluster))

    suspend(kube, cluster, None)
    look_at_it_again(kube)

    assert (state(kube, cluster), pods(kube)) == ("suspended", {})


def test_a_deleted_worker_is_made_again_by_the_operator_alone(
    kube: KubeClient, control_plane: ControlPlane, controllers: Controllers, cluster: str
):
    first, second = pods(kube, "worker")
    record = control_plane.folder / "processes/kuberay.json"
    assert is_recorded_alive(record)

    controllers.stop("kuberay")
    assert not is_recorded_alive(record)
    kube.delete(f"{PODS}/{first}")
    eventually(lambda: list(pods(kube, "worker")) == [second], "the worker is not deleted")
    controllers.resume("kuberay")

    eventually(lambda: running(kube) == {"head": 1, "worker": 2})
    assert first not in pods(kube, "worker")


def test_it_needs_no_more_than_its_own_role(control_plane: ControlPlane, cluster: str):
    said = list(audit.requests(control_plane.audit_log, ACCOUNT))

    assert any((request.verb, request.resource) == ("create", "pods") for request in said)
    assert [request for request in said if request.is_refused] == []
