"""
Runs Karpenter whenever its Deployment is there, as its pods would.

For clusters that begin without Karpenter: somebody installs the chart, kwok plays its
pods, and this starts the real process with the gates that the Deployment says. Changed
gates restart it; a deleted Deployment ends it.
"""

from __future__ import annotations

import threading
from typing import Any

from sandbox.cluster.client import KubeError
from sandbox.cluster.control_plane import DEPLOYMENT_PATH, ControlPlane
from sandbox.cluster.samples import node_class

NEEDED_KINDS = (
    ("karpenter.sh/v1", "NodePool"),
    ("karpenter.sh/v1", "NodeClaim"),
    ("karpenter.sh/v1alpha1", "NodeOverlay"),
)


class KarpenterFollower:
    """
    Attributes:
        failure: Why Karpenter did not start, as its log says; None while all is well.
    """

    def __init__(self, plane: ControlPlane, poll_seconds: float = 1.0):
        self.failure: str | None = None
        self._plane = plane
        self._poll = poll_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="karpenter-follower", daemon=True)

    def start(self) -> KarpenterFollower:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop following; a running Karpenter goes on until its control plane stops."""
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> KarpenterFollower:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopped.wait(self._poll):
            try:
                self._follow()
                self.failure = None
            except (OSError, KubeError, RuntimeError) as error:
                self.failure = str(error)  # try again: a pod would crash-loop

    def _follow(self) -> None:
        deployment = self._plane.kube.find(DEPLOYMENT_PATH)
        if deployment is None or deployment["spec"]["replicas"] == 0:
            self._plane.stop_karpenter()
            return
        gates = feature_gates(deployment)
        if gates == self._plane.karpenter_gates or not all(
            self._plane.kube.serves(*kind) for kind in NEEDED_KINDS
        ):
            return
        self._plane.install_kwok_crds()
        self._plane.kube.apply(node_class())  # what a platform team's own NodeClass is on EKS
        self._plane.start_karpenter(gates)


def feature_gates(deployment: dict[str, Any]) -> str:
    """The value of FEATURE_GATES; empty, that is Karpenter's defaults, where it is not set."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    environment = [entry for container in containers for entry in container.get("env", [])]
    return next((entry.get("value", "") for entry in environment if entry["name"] == "FEATURE_GATES"), "")
