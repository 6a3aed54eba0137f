"""A night of what Kubeflow's real Trainer and JobSet run, on GPU nodes that the real Karpenter starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from slicewise.planning.outcome import Stage

from sandbox.cluster import audit
from sandbox.cluster.client import KubeError
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples as controller_samples
from sandbox.controllers.process import Controllers
from tests.controllers.suspended_jobs import each_way, have_jobs_suspended, sleep_and_wake_as_they_were
from tests.sandbox.offhours.test_offhours import GPU, MORNING, NAMESPACE, NIGHT, POLICY, Cluster, gpus_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("jobset", "trainer")

TRAINER, JOB_SET = controller_samples.TRAINER, "jobset.x-k8s.io/v1alpha2"
ACCOUNT = "system:serviceaccount:kubeflow-system:kubeflow-trainer-controller-manager"
Object = dict[str, Any]


@pytest.fixture(scope="module")
def trainer(karpenter_plane: ControlPlane) -> Iterator[Cluster]:
    """A cluster whose GPU workloads sleep, with Trainer, and a runtime of pods with a GPU each."""
    with Controllers.start(karpenter_plane, "jobset", "trainer"), gpus_of(karpenter_plane.kube):
        cluster = Cluster(karpenter_plane)
        cluster.grant(POLICY)
        template = GPU.job("ft", "1h")["spec"]["template"]
        karpenter_plane.kube.create(controller_samples.training_runtime("gpus", template))
        yield cluster


@pytest.fixture(autouse=True)
def emptied(trainer: Cluster) -> Iterator[None]:
    trainer.night = trainer.another_night()
    yield
    for plural, group in (("trainjobs", TRAINER), ("deployments", "apps/v1")):
        for item in trainer.kube.list(trainer.path(plural, group=group)):
            trainer.kube.delete(trainer.path(plural, item["metadata"]["name"], group))
    eventually(lambda: not trainer.kube.list(trainer.path("pods", group="v1")), "pods outlive their owners")


def train_job(name: str) -> Object:
    return controller_samples.train_job(name, "gpus", 2, namespace=NAMESPACE)


def is_made(cluster: Cluster, made: Object) -> bool:
    """Trainer knows a runtime a moment after it was made, and refuses TrainJobs of it until then."""
    try:
        cluster.kube.create(made)
    except KubeError as error:
        assert "RuntimeRef" in str(error)
        return False
    return True


def test_a_train_job_runs_through_the_night_and_is_reported_by_its_own_name(trainer: Cluster):
    kube, path = trainer.kube, trainer.path
    eventually(lambda: is_made(trainer, train_job("ft")), "Trainer does not know the runtime")
    job_set = eventually(lambda: kube.find(path("jobsets", "ft", JOB_SET)), "Trainer makes no JobSet")
    kube.create(GPU.scaled("Deployment", "server", 1))
    eventually(lambda: trainer.running("ft") == 2 and trainer.running("server") == 1)
    before = {pod["metadata"]["uid"] for pod in trainer.pods("ft")}
    spec = trainer.spec(path("trainjobs", "ft", TRAINER))

    trainer.night.at(NIGHT)
    asleep = trainer.settle(Stage.ASLEEP)

    [message] = [one.message for one in asleep.outcome.findings if one.code == "job-runs"]
    assert message.startswith(f"TrainJob {NAMESPACE}/ft runs to completion; it uses 2 GPU slices")
    assert {one.code for one in asleep.outcome.findings} == {"job-runs", "open-for-what-stays"}
    nodes = {pod["spec"]["nodeName"] for pod in trainer.pods("ft")}
    assert {node["metadata"]["name"] for node in trainer.gpu_nodes()} == nodes and not trainer.pods("server")

    trainer.night.at(MORNING)
    assert trainer.settle(Stage.AWAKE).outcome.findings == ()
    eventually(lambda: trainer.running("server") == 1)
    assert {pod["metadata"]["uid"] for pod in trainer.pods("ft")} == before and trainer.running("ft") == 2
    assert trainer.spec(path("trainjobs", "ft", TRAINER)) == spec
    assert trainer.spec(path("jobsets", "ft", JOB_SET)) == job_set["spec"]


def test_train_jobs_are_suspended_for_a_night_and_resumed_as_they_were(trainer: Cluster):
    have_jobs_suspended(trainer)
    made = each_way(train_job, "spec", "suspend")
    for one in made:
        eventually(lambda one=one: is_made(trainer, one), "Trainer does not know the runtime")

    sleep_and_wake_as_they_were(trainer, made, "ft", 4)


def test_it_needs_no_more_than_its_own_roles(karpenter_plane: ControlPlane, trainer: Cluster):
    requests = list(audit.requests(karpenter_plane.audit_log, ACCOUNT))

    assert any(request.resource == "jobsets" for request in requests)
    assert [request for request in requests if request.is_refused] == []
