"""Which machines there were, seen from beside: when each NodeClaim came, and when it was gone."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from sandbox.cluster.client import KubeClient, KubeError
from sandbox.system import System

NODE_CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
_EVERY_SECONDS = 1.0
_TYPE, _NODE_POOL = "node.kubernetes.io/instance-type", "karpenter.sh/nodepool"


@dataclass
class Launch:
    """`begin` and `end` are seconds since 1970, of a machine of this type and NodePool; `end` to a second."""

    cluster: str
    node_pool: str
    instance_type: str
    begin: float
    end: float | None = None

    def hours(self, until: float) -> float:
        return max(0.0, (self.end or until) - self.begin) / 3600


class LaunchLog:
    """
    Watches every cluster of a system while it is entered: what AWS would bill, which no reconcile of
    Slicewise knows to the second.
    """

    def __init__(self, system: System):
        self._system = system
        self._launches: dict[str, Launch] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> LaunchLog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def of(self, cluster: str, since: float) -> list[Launch]:
        """Those that did not end before `since`, in seconds since 1970; they count from then on."""
        found = [one for one in list(self._launches.values()) if one.cluster == cluster]
        return [
            Launch(cluster, one.node_pool, one.instance_type, max(one.begin, since), one.end)
            for one in found
            if one.end is None or one.end > since
        ]

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            for name, cluster in list(self._system.clusters.items()):
                self._look(name, cluster.kube)

    def _look(self, cluster: str, kube: KubeClient) -> None:
        try:
            there = {claim["metadata"]["uid"]: claim for claim in kube.list(NODE_CLAIMS)}
        except (OSError, KubeError):
            return
        for uid, claim in there.items():
            if uid not in self._launches and claim.get("status", {}).get("providerID"):
                self._launches[uid] = _launch(cluster, claim)
        for uid, launch in self._launches.items():
            if launch.cluster == cluster and launch.end is None and uid not in there:
                launch.end = time.time()


def _launch(cluster: str, claim: dict[str, Any]) -> Launch:
    labels = claim["metadata"]["labels"]
    began = datetime.fromisoformat(claim["metadata"]["creationTimestamp"]).astimezone(UTC)
    return Launch(cluster, labels.get(_NODE_POOL, ""), labels.get(_TYPE, ""), began.timestamp())
