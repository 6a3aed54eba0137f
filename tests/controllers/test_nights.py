"""Nights of what other controllers scale, with the real ones, on GPU nodes that the real Karpenter starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from slicewise.planning.outcome import Stage

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

pytestmark = pytest.mark.controllers("keda")

KEDA = "keda.sh/v1alpha1"
PAUSED, COUNT = "autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas"


@pytest.fixture(scope="module")
def keda(karpenter_plane: ControlPlane) -> Iterator[Cluster]:
    """A cluster whose GPU workloads sleep, with KEDA's operator and the rights that come with its kinds."""
    gpus = gpus_of(karpenter_plane.kube)
    with Controllers.start(karpenter_plane, "keda"), gpus:
        cluster = Cluster(karpenter_plane)
        cluster.grant(POLICY)
        yield cluster


@pytest.mark.parametrize(
    "annotations",
    [{}, {PAUSED: "true"}, {COUNT: "2"}],
    ids=["by its triggers", "paused", "paused at a count"],
)
def test_what_keda_scales_sleeps_and_resumes_at_its_count(keda: Cluster, annotations: dict[str, str]):
    kube, night = keda.kube, keda.another_night()
    keda.night = night
    count = int(annotations.get(COUNT, 3))
    for item in objects(count):
        kube.create(item)
    target, scaler = keda.path("deployments", "chat"), keda.path("scaledobjects", "chat", KEDA)
    eventually(lambda: condition(kube.get(scaler), "Active") == "True", lambda: kube.get(scaler))
    kube.merge(scaler, {"metadata": {"annotations": annotations}})
    eventually(lambda: keda.running("chat") == count, lambda: kube.get(target))
    before = kept(kube.get(target)), kept(kube.get(scaler))

    night.at(NIGHT)
    asleep = keda.settle(Stage.ASLEEP)
    assert keda.gpu_nodes() == [] and keda.pods("chat") == [] and asleep.outcome.findings == ()

    seen: list[int] = []

    def woken() -> bool:
        night.reconcile_once()
        seen.append(keda.spec(target)["replicas"])
        return keda.running("chat") == count

    night.at(EARLY)
    eventually(woken, lambda: (seen, night.plans[-1].outcome), every=0.5)
    assert set(seen) <= {0, count}, "it dipped"
    night.at(MORNING)
    assert keda.settle(Stage.AWAKE).outcome.findings == ()
    assert (kept(kube.get(target)), kept(kube.get(scaler))) == before
    assert keda.running("chat") == count

    for path in (scaler, target, keda.path("deployments", "asking")):
        kube.delete(path)
    eventually(lambda: not kube.find(scaler) and not keda.pods("chat"), lambda: kube.find(scaler))


def objects(count: int) -> tuple[dict[str, Any], ...]:
    """What KEDA scales, not below 1 and while something asks for it; what asks needs no GPU."""
    return (
        controller_samples.deployment("asking", 1, namespace=NAMESPACE),
        GPU.scaled("Deployment", "chat", count),
        controller_samples.scaled_object("chat", least=1, while_running="asking", namespace=NAMESPACE),
    )


def kept(item: dict[str, Any]) -> tuple[Any, Any]:
    """What people wrote: a Deployment's controller counts its revisions in an annotation."""
    annotations = item["metadata"].get("annotations") or {}
    return item["spec"], {
        key: one for key, one in annotations.items() if "deployment.kubernetes.io" not in key
    }
