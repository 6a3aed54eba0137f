"""What a look makes of the objects that it finds."""

from __future__ import annotations

import pytest
from slicewise.model.cluster import KarpenterInstall, Release
from slicewise.onboarding.observe import karpenter_in, read_contents
from slicewise.onboarding.shown_releases import release_shown_by
from slicewise.tuning.observed_fields import asks_for_slices

from tests.fakes.account import karpenter_deployment
from tests.fakes.calls import Calls
from tests.fakes.clock import Clock
from tests.fakes.kube.helm import FakeHelm, FakeReleases, rendered
from tests.fakes.kube.kubernetes import FakeApiServer, FakeKubernetes
from tests.support import builders


def test_karpenter_is_read_from_its_deployment():
    found = karpenter_in([karpenter_deployment("NodeOverlay=true,SpotToSpotConsolidation=false", "1.15.0")])

    assert found == KarpenterInstall(
        "kube-system", "karpenter", "1.15.0", "NodeOverlay=true,SpotToSpotConsolidation=false"
    )
    assert karpenter_in([]) is None


def test_karpenters_version_is_its_images_where_no_label_reports_it():
    deployment = karpenter_deployment()
    del deployment["metadata"]["labels"]["app.kubernetes.io/version"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    container["image"] = "registry:5000/karpenter/controller:1.14.1@sha256:abc"

    assert karpenter_in([deployment]).version == "1.14.1"


@pytest.mark.parametrize(
    ("chart", "version"),
    [("gpu-operator-v26.7.0", "v26.7.0"), ("gpu-operator-v26.7.0-rc.1", "v26.7.0-rc.1")],
)
def test_a_release_is_known_by_its_deployments_labels(chart, version):
    deployment = {
        "metadata": {
            "name": "gpu-operator",
            "namespace": "nvidia",
            "labels": {"helm.sh/chart": chart},
            "annotations": {"meta.helm.sh/release-name": "gpu-operator-1700000000"},
        }
    }

    assert release_shown_by(deployment) == Release(
        "gpu-operator-1700000000", "nvidia", 0, "deployed", "gpu-operator", version
    )


@pytest.mark.parametrize(
    ("resources", "asks"),
    [
        ({"limits": {"nvidia.com/gpu": "1"}}, True),
        ({"requests": {"nvidia.com/mig-1g.10gb": "1"}}, True),
        ({"requests": {"cpu": "1"}}, False),
        ({}, False),
    ],
)
def test_a_pod_asks_for_slices_by_request_or_limit(resources, asks):
    assert asks_for_slices({"spec": {"containers": [{"name": "c"}, {"resources": resources}]}}) == asks


def test_without_admin_nobody_elses_release_but_gpu_operators_is_asked_for():
    calls = Calls()
    server = FakeApiServer(Clock())
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "nvidia"}})
    for chart, namespace in (("karpenter", "kube-system"), ("gpu-operator", "nvidia")):
        [deployment, *_] = rendered(chart, chart, namespace, "1.14.1", {})
        server.create(deployment)
    kubernetes = FakeKubernetes(server, calls)
    helm = FakeHelm(FakeReleases(server), calls, kubernetes)

    read_contents(kubernetes, helm, builders.policy(), admin=False)
    asked = [call for call in calls.made if call.startswith("helm.revisions")]

    assert asked == ["helm.revisions gpu-operator/gpu-operator", "helm.revisions nvidia/gpu-operator"]
