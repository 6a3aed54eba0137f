"""What a look makes of the objects that it finds."""

from __future__ import annotations

import pytest
from slicewise.model import KarpenterInstall, Ref, Release
from slicewise.onboarding.observe import _release_shown_by, foreign_device_plugins, karpenter_in
from slicewise.slicing.observe import asks_for_slices

from tests.fakes.account import karpenter_deployment


def daemon_set(image: str, owner: str | None = None, name: str = "plugin"):
    metadata = {"name": name, "namespace": "kube-system"}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner, "name": "x"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}},
    }


@pytest.mark.parametrize(
    ("image", "owner", "foreign"),
    [
        pytest.param("nvcr.io/nvidia/k8s-device-plugin:v0.20.0", None, True, id="NVIDIA's manifest"),
        pytest.param(
            "123.dkr.ecr.eu-west-1.amazonaws.com/mirror/nvidia/k8s-device-plugin", None, True, id="a mirror"
        ),
        pytest.param("nvcr.io/nvidia/k8s-device-plugin:v0.20.0", "ClusterPolicy", False, id="GPU Operator's"),
        pytest.param("ghcr.io/example/fluent-bit:3", None, False, id="something else"),
        pytest.param(
            "public.ecr.aws/neuron/neuron-device-plugin:2", None, False, id="another vendor's plugin"
        ),
    ],
)
def test_device_plugins_of_others_are_known_by_their_image(image, owner, foreign):
    found = foreign_device_plugins([daemon_set(image, owner)])

    assert found == ((Ref("apps/v1", "DaemonSet", "plugin", "kube-system"),) if foreign else ())


def test_karpenter_is_read_from_its_deployment():
    found = karpenter_in([karpenter_deployment("NodeOverlay=true,SpotToSpotConsolidation=false", "1.15.0")])

    assert found == KarpenterInstall(
        "kube-system", "karpenter", "1.15.0", "NodeOverlay=true,SpotToSpotConsolidation=false"
    )
    assert karpenter_in([]) is None


def test_karpenters_version_is_its_images_where_no_label_tells_it():
    deployment = karpenter_deployment()
    del deployment["metadata"]["labels"]["app.kubernetes.io/version"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    container["image"] = "registry:5000/karpenter/controller:1.14.1@sha256:abc"

    assert karpenter_in([deployment]).version == "1.14.1"


@pytest.mark.parametrize(
    ("chart", "version"),
    [("gpu-operator-v26.7.0", "v26.7.0"), ("gpu-operator-v26.7.0-rc.1", "v26.7.0-rc.1")],
)
def test_a_release_is_told_by_its_deployments_labels(chart, version):
    deployment = {
        "metadata": {
            "name": "gpu-operator",
            "namespace": "nvidia",
            "labels": {"helm.sh/chart": chart},
            "annotations": {"meta.helm.sh/release-name": "gpu-operator-1700000000"},
        }
    }

    assert _release_shown_by(deployment) == Release(
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
