"""
Fixtures around the real control plane.

Starting one takes seconds, so most tests share it and clean up after themselves;
a test that breaks a control plane starts its own with `start_control_plane`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.cluster.client import KubeClient
from sandbox.cluster.control_plane import ControlPlane

# One deployed Slicewise for all tests of onboarding, each with a cluster of its own in it.
from tests.sandbox.fleet import fleet  # noqa: F401
from tests.sandbox.onboarding.struck_cluster import struck  # noqa: F401
from tests.sandbox.rollout.rollout_pool import retuned, retuning_plane  # noqa: F401
from tests.sandbox.system_fixtures import system  # noqa: F401
from tests.support.sharing import GroupsOwn


@pytest.fixture(scope="module")
def control_plane(
    request: pytest.FixtureRequest, groups_own: GroupsOwn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """With Karpenter and the NodeOverlay gate on, for all who leave it as it was."""
    yield from groups_own.share(request, lambda: ControlPlane.start(tmp_path_factory.mktemp("control-plane")))


@pytest.fixture(scope="module")
def kube(control_plane: ControlPlane) -> KubeClient:
    """The admin's client of the shared control plane."""
    return control_plane.kube


@pytest.fixture
def start_control_plane(tmp_path: Path) -> Iterator[Callable[..., ControlPlane]]:
    """Starts control planes of the test's own; they end with the test."""
    started: list[ControlPlane] = []

    def start(**options: object) -> ControlPlane:
        started.append(ControlPlane.start(tmp_path / f"plane-{len(started)}", **options))
        return started[-1]

    yield start
    for plane in started:
        plane.stop()
