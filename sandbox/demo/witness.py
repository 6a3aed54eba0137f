"""Watches for what must not happen while N is changed, several times a second."""

from __future__ import annotations

import threading
from types import TracebackType

from sandbox.cluster.client import KubeError, condition
from sandbox.demo.steps import GPU, GPU_NODES
from sandbox.demo.tuned_cluster import KEY, TunedCluster

NODE_CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
_EVERY_SECONDS = 0.4


class Witness:
    """
    Attributes:
        drifted: NodeClaims that Karpenter ever said it would replace.
        short: Nodes that ever offered fewer slices than their pods held, with both numbers.
        carriers: By key of the device plugin, the Nodes that were ever labelled with it.
        looks: How often it looked; that little was seen says something only if that was often.
    """

    def __init__(self, cluster: TunedCluster):
        self._cluster = cluster
        self.drifted: set[str] = set()
        self.short: dict[str, str] = {}
        self.carriers: dict[str, set[str]] = {}
        self.looks = 0
        self._nodes, self._pods = self._node_names(), cluster.where_pods_run()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    @property
    def deleted_nodes(self) -> list[str]:
        """Nodes that were there at first and went."""
        return sorted(self._nodes - self._node_names())

    @property
    def deleted_pods(self) -> dict[str, str]:
        """Pods that ran at first and no longer do, with the node they were on."""
        there = self._cluster.where_pods_run()
        return {pod: node for pod, node in self._pods.items() if pod not in there}

    def _watch(self) -> None:
        while not self._end.wait(_EVERY_SECONDS):
            try:
                self._look()
            except (OSError, KubeError):
                continue

    def _look(self) -> None:
        held = list(self._cluster.where_pods_run().values())
        for node in self._cluster.kube.list("/api/v1/nodes", **GPU_NODES):
            name, labels = node["metadata"]["name"], node["metadata"]["labels"]
            offers = int(node["status"]["allocatable"].get(GPU, 0))
            # A device plugin that restarts offers nothing for a moment; its pods keep what they have.
            if 0 < offers < held.count(name):
                self.short[name] = f"{offers} slices for {held.count(name)} pods"
            self.carriers.setdefault(labels.get(KEY, ""), set()).add(name)
        for claim in self._cluster.kube.list(NODE_CLAIMS):
            if condition(claim, "Drifted") == "True":
                self.drifted.add(claim["metadata"]["name"])
        self.looks += 1

    def _node_names(self) -> set[str]:
        nodes = self._cluster.kube.list("/api/v1/nodes", **GPU_NODES)
        return {node["metadata"]["name"] for node in nodes}
