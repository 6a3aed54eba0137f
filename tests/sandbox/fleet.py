"""Clusters that meet Slicewise side by side: each shows something else that it has to cope with."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache

import pytest

from sandbox.artifacts import charts
from sandbox.artifacts.tools import tools
from sandbox.cluster.samples import node_class, node_pool
from sandbox.system import Cluster, System
from tests.sandbox.system_fixtures import POLICY_TAG

POOLS, BARE, OCCUPIED = "pools", "bare", "occupied"
AUTO_MODE, DUPLICATES = "auto-mode", 100
ALLOW_ACCESS_ENTRIES = "slicewise.dev/allow-access-entries"


@dataclass(frozen=True)
class Fleet:
    """
    Those with a control plane. Beside them, EKS tells a hundred times of a cluster in Auto Mode.

    Attributes:
        pools: In authentication mode CONFIG_MAP, with the tag that allows the switch; a pool of every kind.
        bare: Without Karpenter, and at first without a policy.
        occupied: With another device plugin, somebody's GPU Operator, and a NodePool of a name of ours.
    """

    pools: Cluster
    bare: Cluster
    occupied: Cluster


@pytest.fixture(scope="module")
def fleet(system: System) -> Fleet:
    return _fleet(system)


@cache
def _fleet(system: System) -> Fleet:
    pools = system.start_control_plane(POOLS)
    system.create_cluster(
        POOLS,
        tags={POLICY_TAG: "every-pool", ALLOW_ACCESS_ENTRIES: "true"},
        accessConfig={"authenticationMode": "CONFIG_MAP"},
    )
    bare = system.start_control_plane(BARE, karpenter=False)
    bare.plane.install_kwok_crds()
    bare.kube.apply(
        node_class()
    )  # as a platform team's own EC2NodeClass, of which Karpenter's CRDs come later
    system.create_cluster(BARE)
    occupied = system.start_control_plane(OCCUPIED)
    _occupy(occupied)
    system.create_cluster(OCCUPIED, tags={POLICY_TAG: "one-pool"})
    system.create_cluster(AUTO_MODE, tags={POLICY_TAG: "one-pool"}, computeConfig={"enabled": True})
    for _ in range(DUPLICATES):
        system.send_create_event(AUTO_MODE, tags={POLICY_TAG: "one-pool"})
    return Fleet(pools, bare, occupied)


def _occupy(cluster: Cluster) -> None:
    cluster.kube.apply(foreign_device_plugin())
    cluster.kube.apply(node_pool("slicewise-shared-l4", key="exclusive"))
    chart = charts.chart("gpu-operator")
    helm(cluster, "install", "gpu-operator", str(chart.path), "--namespace", "gpu-operator",
         "--create-namespace", "--set", "operator.upgradeCRD=false,dcgm.enabled=true")  # fmt: skip


def helm(cluster: Cluster, *arguments: str) -> str:
    """helm as a person runs it, who is admin of the cluster."""
    command = [str(tools().helm), "--kubeconfig", str(cluster.plane.kubeconfig), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def foreign_device_plugin() -> dict[str, object]:
    """NVIDIA's static manifest, as many clusters have it."""
    labels = {"name": "nvidia-device-plugin-ds"}
    container = {"name": "plugin", "image": "nvcr.io/nvidia/k8s-device-plugin:v0.17.1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "nvidia-device-plugin-daemonset", "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
