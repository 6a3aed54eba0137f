"""The real Kueue: who gets the quota that a Deployment at 0 frees, and how a queue is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.cluster import audit
from sandbox.cluster.client import KubeClient, condition
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples
from sandbox.controllers.process import Controllers
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("kueue")

QUEUE = "/apis/kueue.x-k8s.io/v1beta2/clusterqueues/shared"
WORKLOADS = "/apis/kueue.x-k8s.io/v1beta2/namespaces/default/workloads"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/served"
JOB = "/apis/batch/v1/namespaces/default/jobs/waiting"
ACCOUNT = "system:serviceaccount:kueue-system:kueue-controller-manager"


@pytest.fixture(scope="module")
def controllers(plane: ControlPlane) -> Iterator[Controllers]:
    with Controllers.start(plane, "kueue") as started:
        yield started


@pytest.fixture(autouse=True)
def served(controllers: Controllers, kube: KubeClient) -> Iterator[None]:
    """A Deployment whose three pods fill a queue, and a Job that waits in it."""
    made = samples.queues("shared", {"cpu": "300m", "memory": "1Gi"})
    for item in made:
        kube.apply(item)
    eventually(lambda: condition(kube.get(QUEUE), "Active") == "True", lambda: kube.get(QUEUE))
    kube.create(samples.queued(samples.deployment("served", 3), "shared"))
    eventually(lambda: ready(kube) == 3, lambda: kube.get(DEPLOYMENT))
    kube.create(samples.queued(samples.job("waiting"), "shared"))
    eventually(lambda: workload(kube), "the Job has no Workload")
    assert not is_started(kube)
    yield
    for path in (JOB, DEPLOYMENT):
        kube.delete(path)
    eventually(lambda: not kube.list(WORKLOADS), "Workloads outlive their owners")
    kube.merge(QUEUE, {"spec": {"stopPolicy": "None"}})


def scale(kube: KubeClient, replicas: int) -> None:
    kube.merge(DEPLOYMENT, {"spec": {"replicas": replicas}})


def ready(kube: KubeClient) -> int:
    return kube.get(DEPLOYMENT)["status"].get("readyReplicas", 0)


def pods(kube: KubeClient) -> list[dict[str, Any]]:
    return kube.list("/api/v1/namespaces/default/pods", labelSelector="app=served")


def is_started(kube: KubeClient) -> bool:
    job = kube.get(JOB)
    return not job["spec"]["suspend"] and job["status"].get("ready") == 1


def workload(kube: KubeClient) -> dict[str, Any] | None:
    """The Job's; a pod of the Deployment has one each."""
    found = kube.list(WORKLOADS)
    return next((one for one in found if one["metadata"]["ownerReferences"][0]["kind"] == "Job"), None)


def hold(kube: KubeClient) -> None:
    kube.merge(QUEUE, {"spec": {"stopPolicy": "Hold"}})
    eventually(lambda: condition(kube.get(QUEUE), "Active") == "False", lambda: kube.get(QUEUE))


def test_a_deployment_at_0_gives_its_quota_to_what_waits_and_then_waits_behind_it(kube: KubeClient):
    scale(kube, 0)
    eventually(lambda: is_started(kube), lambda: kube.get(JOB))

    scale(kube, 3)

    eventually(lambda: ready(kube) == 2, lambda: kube.get(DEPLOYMENT))
    gated = [pod for pod in pods(kube) if pod["spec"].get("schedulingGates")]
    assert len(gated) == 1


def test_a_queue_on_hold_admits_nothing_until_it_is_open_again(kube: KubeClient):
    hold(kube)
    assert ready(kube) == 3, "what runs goes on"

    scale(kube, 0)
    eventually(lambda: [workload(kube)] == kube.list(WORKLOADS), "the pods' Workloads are still there")
    assert not is_started(kube)

    kube.merge(QUEUE, {"spec": {"stopPolicy": "None"}})
    eventually(lambda: is_started(kube), lambda: kube.get(JOB))


def test_a_workload_that_is_inactive_lets_others_pass_and_starts_once_it_is_active(kube: KubeClient):
    """So a Deployment gets its quota back in the morning before what was queued at night."""
    hold(kube)
    path = f"{WORKLOADS}/{workload(kube)['metadata']['name']}"
    kube.merge(path, {"spec": {"active": False}})
    scale(kube, 0)
    eventually(lambda: not pods(kube), "the Deployment still has pods")

    scale(kube, 3)
    kube.merge(QUEUE, {"spec": {"stopPolicy": "None"}})
    eventually(lambda: ready(kube) == 3, lambda: kube.get(DEPLOYMENT))
    kube.merge(path, {"spec": {"active": True}})
    assert not is_started(kube)

    scale(kube, 2)
    eventually(lambda: is_started(kube), lambda: kube.get(JOB))


def test_it_needs_no_more_than_its_own_roles(plane: ControlPlane):
    requests = list(audit.requests(plane.audit_log, ACCOUNT))

    assert any((request.verb, request.resource) == ("create", "workloads") for request in requests)
    assert [request for request in requests if request.is_refused] == []
