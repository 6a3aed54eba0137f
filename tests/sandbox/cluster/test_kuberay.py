"""The real KubeRay beside a control plane: what a RayCluster's own switch does to its pods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from sandbox.cluster import audit
from sandbox.cluster.client import KubeClient
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples
from sandbox.controllers.process import Controllers
from sandbox.processes import is_recorded_alive
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

PODS = "/api/v1/namespaces/default/pods"
ACCOUNT = "system:serviceaccount:ray-system:kuberay-operator"
NUMBERS = count()


@dataclass(frozen=True)
class Ray:
    """One RayCluster."""

    kube: KubeClient
    name: str

    @classmethod
    def made(cls, kube: KubeClient, workers: int) -> Ray:
        made = cls(kube, f"ray-{next(NUMBERS)}")
        kube.create(samples.ray_cluster(made.name, workers, worker=samples.pod("ray-worker")))
        made.comes_to("ready")
        return made

    @property
    def path(self) -> str:
        return f"/apis/ray.io/v1/namespaces/default/rayclusters/{self.name}"

    @property
    def spec(self) -> dict[str, Any]:
        return self.kube.get(self.path)["spec"]

    @property
    def state(self) -> str | None:
        return self.kube.get(self.path).get("status", {}).get("state")

    def comes_to(self, state: str) -> None:
        eventually(lambda: self.state == state, lambda: self.kube.get(self.path))

    def pods(self, node_type: str) -> dict[str, dict[str, Any]]:
        """Of the "head" or the "worker" group, by name."""
        selector = f"ray.io/cluster={self.name},ray.io/node-type={node_type}"
        return {pod["metadata"]["name"]: pod for pod in self.kube.list(PODS, labelSelector=selector)}

    def running(self) -> dict[str, int]:
        """How many pods of each type run; an error where one is there and does not."""
        found = {kind: self.pods(kind).values() for kind in ("head", "worker")}
        assert {pod["status"].get("phase") for pods in found.values() for pod in pods} <= {"Running"}
        return {kind: len(pods) for kind, pods in found.items()}

    def suspend(self, value: bool | None) -> None:
        """None takes the field away."""
        self.kube.merge(self.path, {"spec": {"suspend": value}})

    def end(self) -> None:
        """By the operator, which is quicker than the garbage collector with a kind that it has just met."""
        self.suspend(True)
        self.comes_to("suspended")
        self.kube.delete(self.path)


@pytest.fixture(scope="module")
def controllers(control_plane: ControlPlane) -> Iterator[Controllers]:
    with Controllers.start(control_plane, "kuberay") as started:
        yield started


@pytest.fixture
def ray(controllers: Controllers, kube: KubeClient) -> Iterator[Ray]:
    """With two workers, and ready."""
    made = Ray.made(kube, workers=2)
    yield made
    made.end()


def reconcile_again(kube: KubeClient) -> None:
    """Have the operator, which takes one RayCluster after the other, come to one that has just changed."""
    Ray.made(kube, workers=0).end()


def test_suspend_takes_all_pods_away_and_false_gives_them_back(ray: Ray):
    assert ray.running() == {"head": 1, "worker": 2}
    before = ray.spec

    ray.suspend(True)
    ray.comes_to("suspended")
    assert ray.running() == {"head": 0, "worker": 0}

    ray.suspend(False)
    ray.comes_to("ready")
    assert ray.running() == {"head": 1, "worker": 2}

    ray.suspend(None)
    reconcile_again(ray.kube)
    assert (ray.state, ray.running()) == ("ready", {"head": 1, "worker": 2})
    assert ray.spec == before


def test_a_cluster_whose_suspend_is_taken_away_stays_suspended(ray: Ray):
    """The field's absence means false only for a cluster that runs."""
    ray.suspend(True)
    ray.comes_to("suspended")

    ray.suspend(None)
    reconcile_again(ray.kube)

    assert "suspend" not in ray.spec
    assert (ray.state, ray.running()) == ("suspended", {"head": 0, "worker": 0})


def test_a_deleted_worker_is_made_again_by_the_operator_alone(
    ray: Ray, control_plane: ControlPlane, controllers: Controllers
):
    first, second = ray.pods("worker")
    record = control_plane.folder / "processes/kuberay.json"
    assert is_recorded_alive(record)

    controllers.stop("kuberay")
    assert not is_recorded_alive(record)
    ray.kube.delete(f"{PODS}/{first}")
    eventually(lambda: list(ray.pods("worker")) == [second], "the worker is not deleted")
    controllers.resume("kuberay")

    eventually(lambda: len(ray.pods("worker")) == 2, "no other worker is made")
    assert first not in ray.pods("worker")


def test_it_needs_no_more_than_its_own_role(control_plane: ControlPlane, ray: Ray):
    said = list(audit.requests(control_plane.audit_log, ACCOUNT))

    assert any((request.verb, request.resource) == ("create", "pods") for request in said)
    assert [request for request in said if request.is_refused] == []
