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
from tests.sandbox.offhours.test_offhours import GPU, MORNING, NAMESPACE, NIGHT, POLICY, Cluster, gpus_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("jobset", "trainer")

TRAINER, JOB_SET = controller_samples.TRAINER, "jobset.x-k8s.io/v1alpha2"
ACCOUNT = "system:serviceaccount:kubeflow-system:kubeflow-trainer-controller-manager"
Object = dict[str, Any]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane.start(tmp_path_factory.mktemp("nights")) as started:
        yield started


@pytest.fixture(scope="module")
def trainer(plane: ControlPlane) -> Iterator[Cluster]:
    """A cluster whose GPU workloads sleep, with Trainer, and a runtime of pods with a GPU each."""
    with Controllers.start(plane, "jobset", "trainer"), gpus_of(plane.kube):
        cluster = Cluster(plane)
        cluster.grant(POLICY)
        template = GPU.job("ft", "1h")["spec"]["template"]
        plane.kube.create(controller_samples.training_runtime("gpus", template))
        yield cluster


def is_made(cluster: Cluster) -> bool:
    """Trainer knows a runtime a moment after it was made, and refuses TrainJobs of it until then."""
    try:
        cluster.kube.create(controller_samples.train_job("ft", "gpus", 2, namespace=NAMESPACE))
    except KubeError as error:
        assert "RuntimeRef" in str(error)
        return False
    return True


def test_a_train_job_runs_through_the_night_and_is_reported_by_its_own_name(trainer: Cluster):
    kube, path = trainer.kube, trainer.path
    eventually(lambda: is_made(trainer), "Trainer does not know the runtime")
    job_set = eventually(lambda: kube.find(path("jobsets", "ft", JOB_SET)), "Trainer makes no JobSet")
    kube.create(GPU.scaled("Deployment", "server", 1))
    eventually(lambda: trainer.running("ft") == 2 and trainer.running("server") == 1)
    before = {pod["metadata"]["uid"] for pod in trainer.pods("ft")}
    spec = trainer.spec(path("trainjobs", "ft", TRAINER))

    trainer.night.at(NIGHT)
    asleep = trainer.settle(Stage.ASLEEP)

    [says] = [one.says for one in asleep.outcome.findings if one.code == "job-runs"]
    assert says.startswith(f"TrainJob {NAMESPACE}/ft runs to its end; it holds 2 GPU slices")
    assert {one.code for one in asleep.outcome.findings} == {"job-runs", "open-for-what-stays"}
    nodes = {pod["spec"]["nodeName"] for pod in trainer.pods("ft")}
    assert {node["metadata"]["name"] for node in trainer.gpu_nodes()} == nodes and not trainer.pods("server")

    trainer.night.at(MORNING)
    assert trainer.settle(Stage.AWAKE).outcome.findings == ()
    eventually(lambda: trainer.running("server") == 1)
    assert {pod["metadata"]["uid"] for pod in trainer.pods("ft")} == before and trainer.running("ft") == 2
    assert trainer.spec(path("trainjobs", "ft", TRAINER)) == spec
    assert trainer.spec(path("jobsets", "ft", JOB_SET)) == job_set["spec"]


def test_it_needs_no_more_than_its_own_roles(plane: ControlPlane, trainer: Cluster):
    said = list(audit.requests(plane.audit_log, ACCOUNT))

    assert any(request.resource == "jobsets" for request in said)
    assert [request for request in said if request.is_refused] == []
