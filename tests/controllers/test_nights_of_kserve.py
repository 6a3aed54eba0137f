"""
What KServe serves by Deployments: what its stop deletes and makes again, and nights of it on GPU nodes that
the real Karpenter starts. The sandbox's metrics are none, so its autoscalers keep their minimum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from slicewise.kube.labels import ASLEEP_WAS
from slicewise.planning.outcome import Stage

from sandbox.cluster import audit
from sandbox.cluster.client import condition
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples as controller_samples
from sandbox.controllers.process import Controllers
from tests.sandbox.offhours.test_offhours import (
    EARLY,
    GPU,
    MORNING,
    NAMESPACE,
    NIGHT,
    POLICY,
    Cluster,
    gpus_of,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("kserve")

KSERVE = controller_samples.KSERVE
STOP, DISABLED = "serving.kserve.io/stop", "serving.kserve.io/disable-auto-update"
ACCOUNT = "system:serviceaccount:kserve:kserve-controller-manager"
MADE = (
    ("apps/v1", "deployments"),
    ("autoscaling/v2", "horizontalpodautoscalers"),
    ("v1", "services"),
    ("networking.k8s.io/v1", "ingresses"),
)
Object = dict[str, Any]


@pytest.fixture(scope="module")
def controllers(karpenter_plane: ControlPlane) -> Iterator[Controllers]:
    with Controllers.start(karpenter_plane, "kserve") as started, gpus_of(karpenter_plane.kube):
        yield started


@pytest.fixture(scope="module")
def kserve(karpenter_plane: ControlPlane, controllers: Controllers) -> Cluster:
    """A cluster whose GPU workloads sleep, with KServe and the rights that come with its kinds."""
    cluster = Cluster(karpenter_plane)
    cluster.grant(POLICY)
    return cluster


@pytest.fixture
def served(kserve: Cluster) -> Iterator[Cluster]:
    """Two replicas of a model, on a GPU each."""
    pod = GPU.scaled("Deployment", "llm", 1)["spec"]["template"]["spec"]
    kserve.kube.create(controller_samples.inference_service("llm", 2, namespace=NAMESPACE, pod=pod))
    eventually(lambda: running(kserve) == 2 and is_ready(kserve), lambda: service(kserve))
    kserve.night = kserve.another_night()
    yield kserve
    kserve.kube.delete(path(kserve))
    eventually(lambda: not kserve.kube.find(path(kserve)) and not made(kserve), lambda: made(kserve))


def path(cluster: Cluster) -> str:
    return cluster.path("inferenceservices", "llm", KSERVE)


def service(cluster: Cluster) -> Object:
    return cluster.kube.get(path(cluster))


def is_ready(cluster: Cluster) -> bool:
    return condition(service(cluster), "Ready") == "True"


def running(cluster: Cluster) -> int:
    return cluster.running("isvc.llm-predictor")


def pods(cluster: Cluster) -> list[Object]:
    return cluster.pods("isvc.llm-predictor")


def made(cluster: Cluster) -> dict[str, Object]:
    """What KServe has made for it, by plural and name."""
    return {
        f"{plural}/{item['metadata']['name']}": item
        for group, plural in MADE
        for item in cluster.kube.list(cluster.path(plural, group=group))
        if any(owner["kind"] == "InferenceService" for owner in item["metadata"].get("ownerReferences") or ())
    }


def uids(items: dict[str, Object]) -> set[str]:
    return {item["metadata"]["uid"] for item in items.values()}


def specs(items: dict[str, Object]) -> dict[str, Object]:
    """But for the addresses that each Service is given anew."""
    return {
        name: {key: one for key, one in item["spec"].items() if key not in ("clusterIP", "clusterIPs")}
        for name, item in items.items()
    }


def written(item: Object) -> tuple[Any, Any, Any]:
    """What people wrote of it."""
    return item["spec"], item["metadata"].get("annotations"), item["metadata"].get("labels")


def mark(cluster: Cluster, annotation: str, value: str | None) -> None:
    cluster.kube.merge(path(cluster), {"metadata": {"annotations": {annotation: value}}})


def rolled_out(cluster: Cluster) -> Object:
    """What the template of its pods is annotated with, once all of its pods are of that template."""
    deployment = made(cluster).get("deployments/llm-predictor")
    if not deployment:
        return {STOP: "not yet"}
    status, generation = deployment["status"], deployment["metadata"]["generation"]
    done = status.get("observedGeneration") == generation and status.get("updatedReplicas") == 2
    template = deployment["spec"]["template"]["metadata"]
    return template.get("annotations") or {} if done and len(pods(cluster)) == 2 else {STOP: "not yet"}


def test_a_stop_deletes_all_that_it_has_made_and_the_end_of_the_stop_makes_it_again(served: Cluster):
    before = made(served)
    assert {name.split("/")[0] for name in before} == {plural for _, plural in MADE}

    mark(served, STOP, "true")
    eventually(lambda: not made(served) and not pods(served), lambda: made(served))
    eventually(lambda: condition(service(served), "Stopped") == "True", lambda: service(served))
    assert not is_ready(served)

    mark(served, STOP, None)
    eventually(lambda: running(served) == 2 and is_ready(served), lambda: service(served))
    assert condition(service(served), "Stopped") == "False"
    assert specs(made(served)) == specs(before) and not uids(made(served)) & uids(before)


def test_a_replica_beside_its_minimum_is_lost_by_a_stop(served: Cluster):
    deployment = served.path("deployments", "llm-predictor")
    served.kube.merge(deployment, {"spec": {"replicas": 3}})
    eventually(lambda: running(served) == 3, lambda: pods(served))

    mark(served, STOP, "true")
    eventually(lambda: not pods(served), lambda: pods(served))
    mark(served, STOP, None)

    eventually(lambda: running(served) == 2 and is_ready(served), lambda: service(served))


@pytest.mark.parametrize("stop", [None, "false"], ids=["no annotation", "false"])
def test_it_sleeps_and_wakes_as_it_was(served: Cluster, stop: str | None):
    mark(served, STOP, stop)
    eventually(lambda: rolled_out(served).get(STOP) == stop, lambda: made(served))
    before, makes = service(served), made(served)

    served.night.at(NIGHT)
    asleep = served.settle(Stage.ASLEEP)
    assert pods(served) == [] and served.gpu_nodes() == [] and made(served) == {}
    assert condition(service(served), "Stopped") == "True" and asleep.outcome.findings == ()

    def is_back() -> bool:
        served.night.reconcile_once()
        return running(served) == 2 and is_ready(served)

    served.night.at(EARLY)
    eventually(is_back, lambda: (service(served), served.night.plans[-1].outcome), every=1)
    served.night.at(MORNING)
    assert served.settle(Stage.AWAKE).outcome.findings == ()
    after = service(served)
    assert written(after) == written(before) and after["metadata"]["uid"] == before["metadata"]["uid"]
    assert specs(made(served)) == specs(makes) and running(served) == 2


def test_who_starts_it_at_night_keeps_it_and_its_pods_are_replaced_once_in_the_morning(served: Cluster):
    """KServe copies annotations to its pods: that what it was is written there no more is a rollout."""
    served.night.at(NIGHT)
    served.settle(Stage.ASLEEP)
    mark(served, STOP, None)
    eventually(lambda: ASLEEP_WAS in rolled_out(served), lambda: made(served))
    served.night.reconcile_once()
    reported = {one.code for one in served.night.plans[-1].outcome.findings}
    assert "woken-by-somebody" in reported and served.gpu_nodes() == [], "its pods wait for the morning"
    at_night = {pod["metadata"]["uid"] for pod in pods(served)}

    served.night.at(MORNING)
    served.settle(Stage.AWAKE)

    eventually(lambda: not {ASLEEP_WAS, STOP} & rolled_out(served).keys(), lambda: made(served))
    eventually(lambda: running(served) == 2 and is_ready(served), lambda: service(served))
    assert not at_night & {pod["metadata"]["uid"] for pod in pods(served)}


def test_one_that_kserve_leaves_alone_sleeps_by_its_deployment_at_the_count_that_it_had(served: Cluster):
    mark(served, DISABLED, "true")
    deployment = served.path("deployments", "llm-predictor")
    served.kube.merge(deployment, {"spec": {"replicas": 3}})
    eventually(lambda: running(served) == 3, lambda: pods(served))
    before, makes = service(served), made(served)

    served.night.at(NIGHT)
    asleep = served.settle(Stage.ASLEEP)
    assert pods(served) == [] and served.gpu_nodes() == [] and asleep.outcome.findings == ()

    served.night.at(EARLY)
    served.settle(Stage.WAKING)
    eventually(lambda: running(served) == 3, lambda: pods(served))
    served.night.at(MORNING)
    assert served.settle(Stage.AWAKE).outcome.findings == ()
    assert written(service(served)) == written(before)
    assert specs(made(served)) == specs(makes) and uids(made(served)) == uids(makes)


def test_while_kserve_is_down_its_webhook_refuses_the_stop_and_a_later_reconcile_writes_it(
    served: Cluster, controllers: Controllers
):
    before = service(served)
    controllers.stop("kserve")

    assert served.night.at(NIGHT).reconcile_once() is None
    assert [failed.part for failed in served.night.failed] == [f"InferenceService {NAMESPACE}/llm"]
    assert STOP not in (service(served)["metadata"].get("annotations") or {})

    controllers.resume("kserve")
    served.settle(Stage.ASLEEP)
    assert pods(served) == [] and served.gpu_nodes() == []

    served.night.at(MORNING)
    served.settle(Stage.AWAKE)
    eventually(lambda: running(served) == 2 and is_ready(served), lambda: service(served))
    assert written(service(served)) == written(before)


def test_it_needs_no_more_than_its_own_roles(karpenter_plane: ControlPlane, kserve: Cluster):
    requests = list(audit.requests(karpenter_plane.audit_log, ACCOUNT))

    assert any((request.verb, request.resource) == ("delete", "deployments") for request in requests)
    assert [request for request in requests if request.is_refused] == []
