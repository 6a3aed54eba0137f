"""Real controllers that `make test` does not build: `make test-controllers` builds and runs them all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.cluster.client import KubeClient
from sandbox.cluster.control_plane import ControlPlane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Without Karpenter: the pods here run on the nodes of a managed node group."""
    with ControlPlane.start(tmp_path_factory.mktemp("plane"), karpenter=False) as started:
        yield started


@pytest.fixture(scope="module")
def karpenter_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """For nights: Karpenter starts their GPU nodes, and ends them."""
    with ControlPlane.start(tmp_path_factory.mktemp("nights")) as started:
        yield started


@pytest.fixture(scope="module")
def kube(plane: ControlPlane) -> KubeClient:
    return plane.kube
