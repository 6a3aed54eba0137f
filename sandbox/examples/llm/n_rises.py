"""
N rises while requests keep coming: what KEDA's autoscaler makes of a query with N, and of one without, and
what becomes of the time that requests take.

The replicas of the query without N, which filled one GPU and half of another, then fit on one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.kube.labels import ROLLOUT_ANNOTATION

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.llm import scaler
from sandbox.examples.llm.replay import AFTERNOON
from sandbox.examples.llm.requests import COST, Requests, Servers
from sandbox.examples.steps import pool
from sandbox.examples.world import ExampleCluster, World, offered
from sandbox.metrics.prometheus import Prometheus
from sandbox.metrics.replay import MetricsReplay

# Of Kubernetes' autoscaler, in each of which it reads its metric once.
PERIODS = 2
# So long after its replicas were packed, requests are measured that are scaled without N.
PACKED_SECONDS = 10
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
        before: Replicas of each until then.
    """

    def __init__(
        self,
        story: Narrator,
        world: World,
        cluster: ExampleCluster,
        requests: Requests,
        chat: Servers,
        plain: Servers,
        n: int,
        before: int,
    ):
        self.story, self.world, self.cluster, self.requests = story, world, cluster, requests
        self.chat, self.plain, self.n, self.higher, self.before = chat, plain, n, n + 1, before
        self._copies, self._packed_on = list[dict[str, Any]](), 0

    def start_copy(self) -> None:
        """The servers whose query lacks N, under the load that the example's have."""
        self.requests.play(self.plain, AFTERNOON)
        # A target at 0 whose metric says that nothing waits would be left there.
        self._wait(
            lambda: bool(scaler.value(self._prometheus, self._pending())),
            f"requests wait at the gateway of namespace {self.plain.namespace}",
        )
        self._copies = self.copies()
        for item in self._copies:
            self.cluster.kube.apply(item)
        self._wait(
            lambda: self._has(self.plain, self.before) and self._is_scaled(self.plain),
            f"in namespace {self.plain.namespace} are the same servers under the same load, on GPUs of their "
            f"own, whose query was reckoned for {self.n} a GPU",
        )

    def show(self) -> None:
        """It leaves the example's servers alone, at the higher N."""
        time.sleep(scaler.WINDOW_SECONDS)
        before = {one.namespace: self._p95(one) for one in (self.chat, self.plain)}
        nodes = self.chat.running(self.cluster.kube)
        self._days_are_measured()
        self._wait(
            lambda: self.chat.published(self.cluster.kube) == str(self.higher),
            f"Slicewise has published {self.higher}",
        )
        risen, refused = time.monotonic(), self.requests.refused(self.chat)
        settled = self._settled()
        wanted = self.plain.replicas(self.cluster.kube)
        self._claim_replicas(settled, nodes)
        self._claim_without_n(before, wanted)
        self._claim_latency(before, time.monotonic() - risen, refused)
        for item in self._copies[1:]:
            self.cluster.kube.delete(self.cluster.kube.path(item))
        self.requests.play(self.plain, None)

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
        After how many periods the autoscaler wanted more; PERIODS have passed then. None where its reads do
        not say so.
        """
        kube, first = self.cluster.kube, scaler.reads(self.cluster)
        self._wait(lambda: self.chat.replicas(kube) > self.before, "the autoscaler wants more replicas")
        settled = self._periods(first)
        passed = self._wait(lambda: self._periods(first) >= PERIODS, f"{PERIODS} of its periods have passed")
        return settled if passed else None

    def _claim_replicas(self, settled: int | None, nodes: Mapping[str, str]) -> None:
        """
        Args:
            nodes: Of the example's pods, before N rose.
        """
        kube, chat, higher = self.cluster.kube, self.chat, self.higher
        self._wait(
            lambda: (
                self._has(chat, chat.replicas(kube))
                and {*map(offered, self.cluster.gpu_nodes())} == {higher}
                and not self._is_rolling()
            ),
            f"all replicas run, each node offers {higher} slices, and the rollout is finished",
        )
        found, wants = chat.running(kube), scaler.load(self._prometheus) / scaler.target()
        self.story.saw(
            f"requests × N / target is {wants:.1f} now; {len(found)} replicas run, {self.before} before"
        )
        self.story.claim(
            "n-is-followed",
            f"N rises under a steady load: within {PERIODS} of its periods the autoscaler wants more "
            "replicas, for which the slices that N added have room",
            expected={"N": str(higher), "in time": True, "more": True, "nodes": sorted({*nodes.values()})},
            observed={
                "N": chat.published(kube),
                "in time": settled is not None and settled <= PERIODS,
                "more": len(found) > self.before,
                "nodes": sorted({*found.values()}),
            },
        )

    def _claim_without_n(self, before: Mapping[str, float], wanted: int) -> None:
        """
        Args:
            before: p95 of the requests of both, in seconds.
            wanted: Replicas that the query without N asked for, once the other had settled.
        """
        plain = self.plain
        self._wait(
            self._is_packed, f"Karpenter has packed the replicas in namespace {plain.namespace} on one GPU"
        )
        refused, gpus = self.requests.refused(plain), self._packed_on
        time.sleep(PACKED_SECONDS)
        now, refused = self._p95(plain, PACKED_SECONDS), self.requests.refused(plain) - refused
        self._tell(plain, before, f"in the {PACKED_SECONDS} s after that", now, refused)
        self.story.claim(
            "not-without-n",
            "the query without N sees nothing change, while its replicas are packed on half as many GPUs: "
            "p95 leaves the budget",
            expected={"wanted": self.before, "GPUs": 1, "within before": True, "over it now": True},
            observed={
                "wanted": wanted,
                "GPUs": gpus,
                "within before": before[plain.namespace] <= self._budget,
                # Where no request has ended there is no p95, which would show nothing.
                "over it now": self._budget < now < math.inf,
            },
        )

    def _claim_latency(self, before: Mapping[str, float], seconds: float, refused: int) -> None:
        """
        Args:
            before: p95 of the requests of both, in seconds.
            seconds: Since N was published.
            refused: Requests until then.
        """
        chat = self.chat
        since, refused = self._p95(chat, seconds), self.requests.refused(chat) - refused
        self._tell(chat, before, f"in the {seconds:.0f} s since N rose", since, refused)
        self.story.claim(
            "latency-held",
            "with N in the query p95 of the requests stays within the policy's slowdown budget",
            expected={"before": True, "since": True},
            observed={
                "before": before[chat.namespace] <= self._budget,
                "since": since <= self._budget,
            },
        )

    def _tell(
        self, servers: Servers, before: Mapping[str, float], when: str, now: float, refused: int
    ) -> None:
        self.story.saw(
            f"namespace {servers.namespace}: p95 was {before[servers.namespace]:.2f} s, and {now:.2f} s "
            f"{when}, with {refused} requests refused; the policy allows {self._budget:.2f} s"
        )

    @property
    def _budget(self) -> float:
        """What a request may take, in seconds."""
        return float(pool(self.world.example, "llm")["slowdownBudget"]) * COST.alone

    def copies(self) -> list[dict[str, Any]]:
        """
        A namespace, and in it the example's objects, with a replica's target at N written down. They share no
        GPU with the example's, whose requests would meet theirs.
        """
        kube, plain = self.cluster.kube, self.plain
        deployment = kube.get(self.chat.path)["spec"] | {"replicas": self.before}
        template = deployment["template"]
        apart = {
            "labelSelector": {"matchLabels": {"app": "chat"}},
            "namespaces": [self.chat.namespace],
            "topologyKey": "kubernetes.io/hostname",
        }
        affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
        deployment["template"] = template | {"spec": template["spec"] | {"affinity": affinity}}
        where = {"metadata": {"name": "chat", "namespace": plain.namespace}}
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": plain.namespace}},
            {"apiVersion": "apps/v1", "kind": "Deployment", **where, "spec": deployment},
            {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", **where, "spec": self._scaled_spec()},
        ]

    def _scaled_spec(self) -> dict[str, Any]:
        scaled = self.cluster.kube.get(self.chat.scaled_object)["spec"]
        [trigger] = scaled["triggers"]
        query = trigger["metadata"]["query"].partition("* max(")[0]
        query = query.replace('namespace="default"', f'namespace="{self.plain.namespace}"')
        query = query.replace('service="chat"', f'service="{self.plain.service}"')
        metadata = trigger["metadata"] | {"query": query, "threshold": f"{scaler.target() / self.n:g}"}
        found: dict[str, Any] = scaled | {"triggers": [trigger | {"metadata": metadata}]}
        return found

    def _is_packed(self) -> bool:
        nodes = [*self.plain.running(self.cluster.kube).values()]
        self._packed_on = len({*nodes})
        return len(nodes) == self.before and self._packed_on == 1

    def _pending(self) -> str:
        return f'gateway_requests_pending{{service="{self.plain.service}"}}'

    @property
    def _prometheus(self) -> Prometheus:
        found: Prometheus = self.world.beside.handle.prometheus
        return found

    def _p95(self, servers: Servers, seconds: float = scaler.WINDOW_SECONDS) -> float:
        return scaler.p95(self._prometheus, servers.namespace, seconds) or math.inf

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
