"""helm, from the wheel of the Lambda layer, installs the charts; Karpenter follows its Deployment."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from sandbox.artifacts import chart_repository
from sandbox.artifacts.charts import Chart, chart
from sandbox.artifacts.tools import tools
from sandbox.cluster import samples
from sandbox.cluster.control_plane import ControlPlane
from sandbox.cluster.karpenter_follower import KarpenterFollower
from sandbox.gpus.gpu_nodes import GpuNodes, Operator
from tests.support.vendor_charts import values, vendor_chart
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

# The values that matter for EKS: the AMI brings driver and toolkit.
OPERATOR_VALUES = {
    "driver": {"enabled": False},
    "toolkit": {"enabled": False},
    "operator": {"upgradeCRD": False},
    "devicePlugin": {"config": {"create": False, "name": "slicewise-device-plugin", "default": "exclusive"}},
    "mig": {"strategy": "mixed"},
    "migManager": {"enabled": False},
}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster without Karpenter and without GPU Operator."""
    with ControlPlane.start(tmp_path_factory.mktemp("bare"), karpenter=False) as started:
        yield started


@pytest.fixture
def helm(plane: ControlPlane, tmp_path: Path) -> Callable[..., str]:
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig), "HOME": str(tmp_path)}

    def run(*arguments: object, values: dict | None = None) -> str:
        command = [str(argument) for argument in (tools().helm, *arguments)]
        if values is not None:
            path = tmp_path / "values.json"
            path.write_text(json.dumps(values))
            command += ["--values", str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def stand_in(name: str, monkeypatch: pytest.MonkeyPatch, empty: Path) -> Chart:
    """As where NVIDIA's repository cannot be reached and nobody brought a chart."""
    monkeypatch.setenv("SLICEWISE_CHARTS", str(empty))
    monkeypatch.setattr(chart_repository, "fetched", not_had)
    found = chart(name)
    assert not found.real
    assert "stand-in" in found.origin
    return found


def not_had(*_: object) -> Path:
    raise chart_repository.NotHad("a test has no network")


def install_operator(helm: Callable[..., str], packed: Chart) -> None:
    place = ("--namespace", "gpu-operator", "--create-namespace")
    helm("upgrade", "--install", "gpu-operator", packed.path, *place, values=OPERATOR_VALUES)


def uninstall_operator(helm: Callable[..., str]) -> None:
    helm("uninstall", "gpu-operator", "--namespace", "gpu-operator", "--ignore-not-found")


def assert_gpus_come_with_the_operator(plane: ControlPlane, install: Callable[[], None]) -> None:
    """A GPU node has no GPUs until a ClusterPolicy is there that names the ConfigMap."""
    node = f"/api/v1/nodes/gpu-{time.monotonic_ns()}"
    resources = {"cpu": "4", "memory": "16Gi", "pods": "110"}
    plane.kube.create(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": node.rpartition("/")[2],
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {
                    "node.kubernetes.io/instance-type": "g6.xlarge",
                    "nvidia.com/device-plugin.config": "ts-4",
                },
            },
            "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
            "status": {"capacity": resources, "allocatable": resources},
        }
    )

    def gpus() -> str | None:
        return plane.kube.get(node)["status"]["allocatable"].get("nvidia.com/gpu")

    try:
        with GpuNodes(plane.kube, delay_seconds=0.2):
            time.sleep(1)
            assert gpus() is None
            install()
            plane.kube.apply(samples.config_map({"ts-4": samples.plugin_config(4)}))
            eventually(lambda: gpus() == "4")
    finally:
        plane.kube.delete(node)


def test_gpus_come_with_nvidias_own_chart(plane: ControlPlane, helm: Callable[..., str]):
    packed = vendor_chart("gpu-operator")

    assert_gpus_come_with_the_operator(plane, lambda: install_operator(helm, packed))

    (release,) = json.loads(helm("list", "--all-namespaces", "--output", "json"))
    assert (release["name"], release["status"]) == ("gpu-operator", "deployed")
    operator = "/apis/apps/v1/namespaces/gpu-operator/deployments/gpu-operator"
    eventually(lambda: plane.kube.get(operator)["status"].get("readyReplicas") == 1)
    uninstall_operator(helm)


def test_gpus_come_with_the_stand_in_chart(plane, helm, monkeypatch, tmp_path):
    packed = stand_in("gpu-operator", monkeypatch, tmp_path)

    assert_gpus_come_with_the_operator(plane, lambda: install_operator(helm, packed))

    uninstall_operator(helm)


def karpenter_values(node_overlay: bool) -> dict:
    return {"settings": {"clusterName": "demo", "featureGates": {"nodeOverlay": node_overlay}}}


def assert_karpenter_follows(plane: ControlPlane, helm: Callable[..., str], packed: Chart) -> None:
    with KarpenterFollower(plane, poll_seconds=0.2) as follower:
        assert plane.karpenter_gates is None

        place = ("karpenter", packed.path, "--namespace", "kube-system")
        helm("install", *place, values=karpenter_values(node_overlay=False))
        eventually(lambda: "NodeOverlay=false" in (plane.karpenter_gates or ""), lambda: follower.failure)

        # The gate's effect, not only its name: an overlay gets a status only with it.
        overlay = "/apis/karpenter.sh/v1alpha1/nodeoverlays/any-1"
        plane.kube.create(samples.node_overlay("any", gpus=1, capacity={samples.GPU: 4}))
        time.sleep(1)
        assert not plane.kube.get(overlay).get("status")
        helm("upgrade", *place, values=karpenter_values(node_overlay=True))
        eventually(lambda: plane.kube.get(overlay).get("status"), lambda: follower.failure)
        assert "NodeOverlay=true" in plane.karpenter_gates

        helm("uninstall", "karpenter", "--namespace", "kube-system")
        eventually(lambda: plane.karpenter_gates is None)
        plane.kube.delete(overlay)


def test_karpenter_runs_as_its_own_chart_says(plane: ControlPlane, helm: Callable[..., str]):
    assert_karpenter_follows(plane, helm, vendor_chart("karpenter"))


# Held to the real thing


def assert_agrees(ours: object, theirs: object, path: str) -> None:
    """Every value that the stand-in names has the vendor's name and default."""
    if isinstance(ours, dict) and ours:
        assert isinstance(theirs, dict), f"{path} is no mapping in the vendor's chart"
        for key, value in ours.items():
            assert key in theirs, f"the vendor's chart has no {path}.{key}"
            assert_agrees(value, theirs[key], f"{path}.{key}")
    else:
        assert ours == theirs, path


def test_the_stand_ins_values_are_those_of_the_vendors_chart(monkeypatch, tmp_path):
    theirs = values(vendor_chart("gpu-operator"))

    assert_agrees(values(stand_in("gpu-operator", monkeypatch, tmp_path)), theirs, "gpu-operator")


def test_the_stand_ins_cluster_policy_says_what_the_vendors_says(helm, monkeypatch, tmp_path):
    charts = {"theirs": vendor_chart("gpu-operator"), "ours": stand_in("gpu-operator", monkeypatch, tmp_path)}
    specs = {
        whose: next(
            obj["spec"]
            for obj in yaml.safe_load_all(helm("template", "x", packed.path, values=OPERATOR_VALUES))
            if obj and obj["kind"] == "ClusterPolicy"
        )
        for whose, packed in charts.items()
    }

    ours, theirs = (Operator.of({"spec": specs[whose]}) for whose in ("ours", "theirs"))
    assert ours == theirs
    assert ours.config_map == "slicewise-device-plugin"
