"""The real operator of KEDA: what a pause of a ScaledObject does to its target, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.cluster import audit
from sandbox.cluster.client import KubeClient, condition
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples
from sandbox.controllers.process import Controllers
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("keda")

OBJECT = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/served"
TARGET = "/apis/apps/v1/namespaces/default/deployments/served"
HPA = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/keda-hpa-served"
PAUSED = "autoscaling.keda.sh/paused-replicas"
ACCOUNT = "system:serviceaccount:keda:keda-operator"


@pytest.fixture(scope="module")
def controllers(plane: ControlPlane) -> Iterator[Controllers]:
    with Controllers.start(plane, "keda") as started:
        yield started


@pytest.fixture(autouse=True)
def served(controllers: Controllers, kube: KubeClient) -> Iterator[None]:
    """A Deployment at 3 that KEDA scales, and not below 1; what it is asked for by runs."""
    asking = kube.create(samples.deployment("asking", 1))
    eventually(lambda: kube.get(kube.path(asking))["status"].get("readyReplicas") == 1)
    kube.create(samples.deployment("served", 3))
    kube.create(samples.scaled_object("served", least=1, while_running="asking"))
    eventually(lambda: condition(kube.get(OBJECT), "Active") == "True", lambda: kube.get(OBJECT))
    eventually(lambda: ready(kube) == 3, lambda: kube.get(TARGET))
    yield
    for path in (OBJECT, TARGET, kube.path(asking)):
        kube.delete(path)
    eventually(lambda: not kube.find(OBJECT) and not pods(kube), "something outlives its object")


def pause(kube: KubeClient, replicas: str | None) -> None:
    kube.merge(OBJECT, {"metadata": {"annotations": {PAUSED: replicas}}})


def wanted(kube: KubeClient) -> int:
    return kube.get(TARGET)["spec"]["replicas"]


def ready(kube: KubeClient) -> int:
    return kube.get(TARGET)["status"].get("readyReplicas", 0)


def pods(kube: KubeClient) -> list[str]:
    found = kube.list("/api/v1/namespaces/default/pods", labelSelector="app=served")
    return [pod["metadata"]["name"] for pod in found]


def is_paused(kube: KubeClient) -> bool:
    return condition(kube.get(OBJECT), "Paused") == "True"


def fall_asleep(kube: KubeClient) -> None:
    pause(kube, "0")
    eventually(lambda: is_paused(kube) and not pods(kube), lambda: kube.get(OBJECT))


def test_paused_at_0_takes_all_pods_and_the_autoscaler_away(kube: KubeClient):
    fall_asleep(kube)

    assert wanted(kube) == 0
    assert kube.find(HPA) is None


def test_unpaused_at_0_it_comes_back_at_its_minimum_and_the_count_is_lost(kube: KubeClient):
    fall_asleep(kube)

    pause(kube, None)

    eventually(lambda: ready(kube) > 0, lambda: kube.get(OBJECT))
    assert wanted(kube) == 1


def test_paused_at_its_count_before_it_is_unpaused_it_keeps_that_count(kube: KubeClient):
    fall_asleep(kube)

    pause(kube, "3")
    eventually(lambda: ready(kube) == 3, lambda: kube.get(OBJECT))
    pause(kube, None)

    eventually(lambda: not is_paused(kube) and kube.find(HPA), lambda: kube.get(OBJECT))
    assert wanted(kube) == 3


def test_a_pause_is_followed_only_once_the_operator_runs(kube: KubeClient, controllers: Controllers):
    controllers.stop("keda")
    pause(kube, "0")
    assert (wanted(kube), is_paused(kube)) == (3, False)

    controllers.resume("keda")

    eventually(lambda: is_paused(kube) and not pods(kube), lambda: kube.get(OBJECT))


def test_it_needs_no_more_than_its_own_roles(plane: ControlPlane):
    requests = list(audit.requests(plane.audit_log, ACCOUNT))

    assert any(request.subresource == "scale" for request in requests)
    assert [request for request in requests if request.is_refused] == []
