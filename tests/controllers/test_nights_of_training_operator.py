"""Nights of PyTorchJobs under Kubeflow's real operator, on GPU nodes that the real Karpenter starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from slicewise.offhours.targets import SLEEPS
from slicewise.planning.outcome import Stage

from sandbox.cluster import audit
from sandbox.cluster.client import condition
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples as controller_samples
from sandbox.controllers.process import Controllers
from tests.controllers.suspended_jobs import each_way, have_jobs_suspended, sleep_and_wake_as_they_were
from tests.sandbox.offhours.test_offhours import GPU, MORNING, NAMESPACE, NIGHT, POLICY, Cluster, gpus_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("training-operator")

KUBEFLOW = controller_samples.KUBEFLOW
ACCOUNT = "system:serviceaccount:kubeflow:training-operator"


@pytest.fixture(scope="module")
def kubeflow(karpenter_plane: ControlPlane) -> Iterator[Cluster]:
    """A cluster whose GPU workloads sleep, with the operator and the rights that come with its kinds."""
    with Controllers.start(karpenter_plane, "training-operator"), gpus_of(karpenter_plane.kube):
        cluster = Cluster(karpenter_plane)
        cluster.grant(POLICY)
        yield cluster


def template(**labels: str) -> dict[str, Any]:
    found = GPU.job("ft", "1h")["spec"]["template"]
    found["metadata"]["labels"] |= labels
    return found


def pytorch_job(name: str, **labels: str) -> dict[str, Any]:
    return controller_samples.pytorch_job(name, 2, namespace=NAMESPACE, template=template(**labels))


def begin(cluster: Cluster, **labels: str) -> dict[str, Any]:
    """Two workers run, each on a GPU."""
    cluster.kube.create(pytorch_job("ft", **labels))
    eventually(lambda: cluster.running("ft") == 2, lambda: cluster.kube.get(path(cluster)))
    cluster.night = cluster.another_night()
    return cluster.kube.get(path(cluster))


def path(cluster: Cluster) -> str:
    return cluster.path("pytorchjobs", "ft", KUBEFLOW)


def uids(cluster: Cluster) -> set[str]:
    return {pod["metadata"]["uid"] for pod in cluster.pods("ft")}


def workers(cluster: Cluster, job: str) -> int:
    return sum(pod["metadata"]["ownerReferences"][0]["name"] == job for pod in cluster.pods("ft"))


def end(cluster: Cluster) -> None:
    cluster.kube.delete(path(cluster))
    eventually(lambda: not cluster.pods("ft"), lambda: cluster.pods("ft"))


@pytest.mark.parametrize("labels", [{}, {SLEEPS: "true"}], ids=["as it is", "labelled to sleep"])
def test_a_pytorch_job_runs_through_the_night_and_is_reported_by_its_own_name(
    kubeflow: Cluster, labels: dict[str, str]
):
    before, pods = begin(kubeflow, **labels), uids(kubeflow)

    kubeflow.night.at(NIGHT)
    asleep = kubeflow.settle(Stage.ASLEEP)

    message = {one.code: one.message for one in asleep.outcome.findings}
    assert message.keys() == {"job-runs", "open-for-what-stays"}
    assert message["job-runs"].startswith(
        f"PyTorchJob {NAMESPACE}/ft runs to completion; it uses 2 GPU slices"
    )
    kubeflow.night.at(MORNING)
    assert kubeflow.settle(Stage.AWAKE).outcome.findings == ()
    assert uids(kubeflow) == pods and kubeflow.running("ft") == 2
    assert kubeflow.kube.get(path(kubeflow))["spec"] == before["spec"]
    end(kubeflow)


def test_one_without_workers_counts_as_done_and_nothing_brings_it_back(kubeflow: Cluster):
    """
    So no label has it scaled to 0.

    A last worker may stay: its operator makes one again where it has not yet seen that it ended the job.
    """
    begin(kubeflow)
    scale = f"{path(kubeflow)}/scale"

    kubeflow.kube.merge(scale, {"spec": {"replicas": 0}})
    eventually(lambda: condition(kubeflow.kube.get(path(kubeflow)), "Succeeded") == "True")
    eventually(lambda: workers(kubeflow, "ft") < 2, lambda: kubeflow.kube.get(path(kubeflow)))
    kubeflow.kube.merge(scale, {"spec": {"replicas": 2}})

    later = controller_samples.pytorch_job("later", 1, namespace=NAMESPACE, template=template())
    kubeflow.kube.create(later)  # which it takes up after that
    eventually(lambda: workers(kubeflow, "later") == 1)
    assert condition(kubeflow.kube.get(path(kubeflow)), "Succeeded") == "True"
    assert workers(kubeflow, "ft") < 2
    kubeflow.kube.delete(kubeflow.kube.path(later))
    end(kubeflow)


def test_one_that_is_suspended_by_hand_has_its_workers_again_afterwards(kubeflow: Cluster):
    """As its report says."""
    begin(kubeflow)
    before = uids(kubeflow)

    kubeflow.kube.merge(path(kubeflow), {"spec": {"runPolicy": {"suspend": True}}})
    eventually(lambda: not kubeflow.pods("ft"), lambda: kubeflow.kube.get(path(kubeflow)))
    kubeflow.kube.merge(path(kubeflow), {"spec": {"runPolicy": {"suspend": False}}})

    eventually(lambda: kubeflow.running("ft") == 2, lambda: kubeflow.kube.get(path(kubeflow)))
    assert not uids(kubeflow) & before
    end(kubeflow)


def test_pytorch_jobs_are_suspended_for_a_night_and_resumed_as_they_were(kubeflow: Cluster):
    have_jobs_suspended(kubeflow)
    made = each_way(pytorch_job, "spec", "runPolicy", "suspend")
    for one in made:
        kubeflow.kube.create(one)

    sleep_and_wake_as_they_were(kubeflow, made, "ft", 4)

    for one in made:
        kubeflow.kube.delete(kubeflow.kube.path(one))
    eventually(lambda: not kubeflow.pods("ft"), lambda: kubeflow.pods("ft"))


def test_it_needs_no_more_than_its_own_roles(karpenter_plane: ControlPlane, kubeflow: Cluster):
    requests = list(audit.requests(karpenter_plane.audit_log, ACCOUNT))

    assert any((request.verb, request.resource) == ("create", "pods") for request in requests)
    assert [request for request in requests if request.is_refused] == []
