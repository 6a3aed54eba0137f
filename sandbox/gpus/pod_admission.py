"""
The kubelet's part when a device plugin refuses an allocation: the pod fails.

With `failRequestsGreaterThanOne` the plugin refuses a container that asks for more than
one slice, since two slices are not twice the GPU. The pod is bound by then, so it ends as
Failed with UnexpectedAdmissionError, and whoever made it makes another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sandbox.cluster.client import KubeClient, KubeError

Object = dict[str, Any]
# Whether the plugin of a node refuses one container that asks for that many of a resource.
Refuses = Callable[[str, str, int], bool]


class PodAdmission:
    def __init__(self, kube: KubeClient, refuses: Refuses):
        self._kube = kube
        self._refuses = refuses
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pod-admission", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """It may sit in a watch still; nothing is written any more."""
        self._stopped.set()

    def _run(self) -> None:
        # Bound pods that have not ended: everything else is none of a kubelet's business.
        selector = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
        while not self._stopped.is_set():
            try:
                for kind, pod in self._kube.watch("/api/v1/pods", fieldSelector=selector):
                    if self._stopped.is_set() or kind == "ERROR":
                        break
                    if kind != "DELETED" and self._is_refused(pod):
                        self._fail(pod)
            except (OSError, KubeError, ValueError):
                self._stopped.wait(1)  # the API server is gone, or the pod is

    def _is_refused(self, pod: Object) -> bool:
        return any(
            resource.startswith("nvidia.com/")
            and self._refuses(pod["spec"]["nodeName"], resource, int(count))
            for container in pod["spec"]["containers"]
            for resource, count in container.get("resources", {}).get("limits", {}).items()
        )

    def _fail(self, pod: Object) -> None:
        meta = pod["metadata"]
        status = {
            "phase": "Failed",
            "reason": "UnexpectedAdmissionError",
            "message": "Allocate failed: maximum request size for shared resources is 1",
        }
        self._kube.merge(
            f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status", {"status": status}
        )
