"""KEDA's real operator and metrics adapter: what Prometheus measures scales a Deployment by a real HPA."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from sandbox.cluster import audit, free_ports
from sandbox.cluster.client import KubeClient, condition
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples
from sandbox.controllers.process import Controllers
from sandbox.metrics.prometheus import Prometheus
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("keda", "keda-adapter")

OBJECT = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/served"
TARGET = "/apis/apps/v1/namespaces/default/deployments/served"
HPA = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/keda-hpa-served"
REGISTRATION = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/s0-prometheus"
ACCOUNT = "system:serviceaccount:keda:keda-operator"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus.start(tmp_path_factory.mktemp("prometheus")) as started:
        yield started


@pytest.fixture(scope="module")
def controllers(plane: ControlPlane) -> Iterator[Controllers]:
    with Controllers.start(plane, "keda", "keda-adapter") as started:
        yield started


@pytest.fixture
def served(controllers: Controllers, kube: KubeClient) -> Iterator[None]:
    """A Deployment at 0; what scales it ends with the test."""
    kube.create(samples.deployment("served", 0))
    yield
    for path in (OBJECT, TARGET):
        kube.delete(path)
    eventually(lambda: not kube.find(OBJECT) and not kube.find(HPA), "something outlives its object")


def replicas(kube: KubeClient) -> int:
    return kube.get(TARGET)["spec"]["replicas"]


def become(kube: KubeClient, wanted: int) -> None:
    eventually(lambda: replicas(kube) == wanted, lambda: kube.get(HPA))


def test_from_0_to_1_to_many_and_back_to_0(served: None, kube: KubeClient, prometheus: Prometheus):
    kube.create(samples.scaled_by_prometheus("served", prometheus.url, "sum(waiting)", threshold=10))
    eventually(lambda: condition(kube.get(OBJECT), "Active") == "False", lambda: kube.get(OBJECT))

    prometheus.put("waiting", {}, [(time.time(), 5.0)])
    become(kube, 1)

    prometheus.put("waiting", {}, [(time.time(), 35.0)])
    become(kube, 4)
    [read] = kube.get(METRIC + "?labelSelector=scaledobject.keda.sh/name%3Dserved")["items"]
    assert (read["metricName"], read["value"]) == ("s0-prometheus", "35")

    prometheus.put("waiting", {}, [(time.time(), 0.0)])
    become(kube, 0)
    eventually(lambda: condition(kube.get(HPA), "ScalingActive") == "False", lambda: kube.get(HPA))
    assert replicas(kube) == 0, "an autoscaler leaves it as it is"


def test_where_prometheus_does_not_answer_the_fallback_starts_its_replicas_from_0_too(
    served: None, kube: KubeClient
):
    nowhere = f"http://127.0.0.1:{free_ports.reserve()}"
    fallback = {"failureThreshold": 2, "replicas": 4}

    kube.create(samples.scaled_by_prometheus("served", nowhere, "x", threshold=10, fallback=fallback))

    become(kube, 4)
    assert condition(kube.get(OBJECT), "Fallback") == "True"


def test_it_needs_no_more_than_its_own_roles(plane: ControlPlane):
    requests = list(audit.requests(plane.audit_log, ACCOUNT))

    assert any(request.resource == "subjectaccessreviews" for request in requests), "of who asks it"
    assert [request for request in requests if request.is_refused] == []


def test_its_api_leaves_with_it(controllers: Controllers, kube: KubeClient):
    assert condition(kube.get(REGISTRATION), "Available") == "True"

    controllers.stop_all()

    assert kube.find(REGISTRATION) is None
