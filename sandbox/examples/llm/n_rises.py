"""N rises while requests keep coming: what KEDA's autoscaler makes of a query with N, and of one without."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.kube.labels import ROLLOUT_ANNOTATION

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.llm import scaler
from sandbox.examples.llm.requests import Servers
from sandbox.examples.world import ExampleCluster, World, offered
from sandbox.metrics.replay import MetricsReplay

# Of Kubernetes' autoscaler, in each of which it reads its metric once.
PERIODS = 2
# What the pods did in the days before, as in the demo: small models that leave most of a GPU idle.
SMALL_MIB, LOAD, ALONE = 2500, 0.3, timedelta(days=3)
# Of tuning, into which it sums up what was measured.
STEP_SECONDS = 600
HPA = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/keda-hpa-chat"


class NRises:
    """
    Args:
        chat: The example's servers.
        plain: The same in another namespace, whose query lacks N.
        n: Before it rises.
    """

    def __init__(
        self, story: Narrator, world: World, cluster: ExampleCluster, chat: Servers, plain: Servers, n: int
    ):
        self.story, self.world, self.cluster = story, world, cluster
        self.chat, self.plain, self.n = chat, plain, n
        self.higher = n + 1
        self.before, self.after = (scaler.wanted(chat.in_flight, each) for each in (n, self.higher))

    def show(self) -> None:
        """It leaves the example's servers alone, at the higher N."""
        copies = self._copies()
        for item in copies:
            self.cluster.kube.apply(item)
        self.plain.in_flight = self.chat.in_flight
        self._wait(
            lambda: self._has(self.plain, self.before) and self._is_scaled(self.plain),
            f"in namespace {self.plain.namespace} are the same servers under the same load, whose query was "
            f"reckoned for {self.n} a GPU",
        )
        gpus = self.cluster.gpus()
        self._days_are_measured()
        self._claim(self._settled(), gpus)
        for item in copies[1:]:
            self.cluster.kube.delete(self.cluster.kube.path(item))
        self.plain.in_flight = 0

    def _days_are_measured(self) -> None:
        system, name = self.world.system, self.cluster.name
        replay = MetricsReplay.of(system, name, at_most_mib=SMALL_MIB, load=LOAD, alone=ALONE)
        began = datetime.fromtimestamp(time.time() // STEP_SECONDS * STEP_SECONDS, UTC)
        points = replay.past(system, until=began)
        self.story.saw(f"days pass; CloudWatch has {points:,} points of the GPUs, from public traces")
        message = {"slicewise": 1, "cluster": name, "reason": "requested by hand"}
        system.send_message("TuningQueueUrl", message)
        self.story.saw(f"an engineer runs: slicewise tune {name}")

    def _settled(self) -> int | None:
        """
        After how many periods the autoscaler wanted what it should; PERIODS have passed then. None where its
        reads do not say so.
        """
        kube, higher = self.cluster.kube, str(self.higher)
        self._wait(lambda: self.chat.published(kube) == higher, f"Slicewise has published {higher}")
        first = scaler.reads(self.cluster)
        self._wait(
            lambda: self.chat.replicas(kube) == self.after, f"the autoscaler wants {self.after} replicas"
        )
        settled = self._periods(first)
        passed = self._wait(lambda: self._periods(first) >= PERIODS, f"{PERIODS} of its periods have passed")
        return settled if passed else None

    def _claim(self, settled: int | None, gpus: int) -> None:
        kube, higher = self.cluster.kube, self.higher
        self._wait(
            lambda: (
                self._has(self.chat, self.after)
                and self.cluster.gpus() == gpus
                and {*map(offered, self.cluster.gpu_nodes())} == {higher}
                and not self._is_rolling()
            ),
            f"{self.after} replicas run, each node offers {higher} slices, and the rollout is finished",
        )
        self.story.claim(
            "n-is-followed",
            f"N rises under a steady load: within {PERIODS} of its periods the autoscaler wants requests × N "
            "/ target, for which the slices that N added have room",
            expected={"N": str(higher), "in time": True, "replicas": self.after, "GPUs": gpus},
            observed={
                "N": self.chat.published(kube),
                "in time": settled is not None and settled <= PERIODS,
                "replicas": len(self.chat.running(kube)),
                "GPUs": self.cluster.gpus(),
            },
        )
        self.story.claim(
            "not-without-n",
            f"the query without N sees nothing change: {self.plain.in_flight} requests meet on as few "
            f"replicas, of which {higher} share a GPU",
            expected={"replicas": self.before, "wanted": self.before},
            observed={"replicas": len(self.plain.running(kube)), "wanted": self.plain.replicas(kube)},
        )

    def _copies(self) -> list[dict[str, Any]]:
        """A namespace, and in it the example's objects, with a replica's target at N written down."""
        kube, plain = self.cluster.kube, self.plain
        deployment = kube.get(self.chat.path)["spec"] | {"replicas": self.before}
        scaled = kube.get(self.chat.scaled_object)["spec"]
        [trigger] = scaled["triggers"]
        query = trigger["metadata"]["query"].partition("* max(")[0]
        query = query.replace('namespace="default"', f'namespace="{plain.namespace}"')
        query = query.replace('service="chat"', f'service="{plain.service}"')
        threshold = f"{scaler.target() / self.n:g}"
        metadata = trigger["metadata"] | {"query": query, "threshold": threshold}
        where = {"metadata": {"name": "chat", "namespace": plain.namespace}}
        scaled_spec = scaled | {"triggers": [trigger | {"metadata": metadata}]}
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": plain.namespace}},
            {"apiVersion": "apps/v1", "kind": "Deployment", **where, "spec": deployment},
            {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", **where, "spec": scaled_spec},
        ]

    def _is_rolling(self) -> bool:
        """Whether N is being changed: until the end, Karpenter's consolidation is held."""
        pools = self.cluster.kube.list("/apis/karpenter.sh/v1/nodepools")
        return any(ROLLOUT_ANNOTATION in pool["metadata"].get("annotations", {}) for pool in pools)

    def _has(self, servers: Servers, replicas: int) -> bool:
        return len(servers.running(self.cluster.kube)) == replicas

    def _is_scaled(self, servers: Servers) -> bool:
        """Whether its autoscaler has read its metric."""
        found = self.cluster.kube.find(HPA.format(servers.namespace)) or {}
        return bool(found.get("status", {}).get("currentMetrics"))

    def _periods(self, first: int) -> int:
        """Since so many reads; there are two autoscalers."""
        return (scaler.reads(self.cluster) - first) // 2

    def _wait(self, done: Callable[[], bool], says: str) -> bool:
        return wait(self.story, done, says)
