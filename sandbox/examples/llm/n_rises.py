"""
N rises while requests keep coming: what KEDA's autoscaler makes of a query with N, and of one without, and
what becomes of the time that requests take.

The replicas of the query without N, which filled one GPU and half of another, then fit on one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.kube.labels import ROLLOUT_ANNOTATION

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.llm import scaler
from sandbox.examples.llm.replay import AFTERNOON
from sandbox.examples.llm.requests import Counts, Requests, Servers
from sandbox.examples.world import ExampleCluster, World, offered
from sandbox.metrics.prometheus import Prometheus
from sandbox.metrics.replay import MetricsReplay

# Of Kubernetes' autoscaler, in each of which it reads its metric once; the example has one, and the copy.
PERIODS, AUTOSCALERS = 2, 2
# So long after its replicas were packed, requests are measured that are scaled without N.
PACKED_SECONDS = 10
# Part of all requests that may be refused where they are served well: they come by chance, some at a time.
FEW = 0.05
# What the pods did in the days before, as in the demo: small models that leave most of a GPU idle.
SMALL_MIB, LOAD, ALONE = 2500, 0.3, timedelta(days=3)
# Of tuning, into which it sums up what was measured.
STEP_SECONDS = 600
HPA = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/keda-hpa-chat"


@dataclass(frozen=True)
class Latency:
    """
    Of one Deployment's requests, in seconds.

    Attributes:
        before: p95 of the time before N rose; infinity where no request ended.
        worst: The highest p95 since, of as long a time each.
        seconds_over: For how long it was over the policy's budget.
        counts: Of requests since N rose.
    """

    before: float
    worst: float
    seconds_over: float
    counts: Counts


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
        self._wanted_before = 0

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
        kube, both = self.cluster.kube, (self.chat, self.plain)
        time.sleep(scaler.WINDOW_SECONDS)
        before = {one: scaler.p95(self._prometheus, one.namespace) for one in both}
        nodes = self.chat.running(kube)
        self._days_are_measured()
        self._wait(self._is_published, f"Slicewise has published {self.higher}")
        risen, counts = time.monotonic(), {one: self.requests.counts(one) for one in both}
        reads = self._reads_until_settled()
        wanted = self.plain.replicas(kube)
        self._claim_replicas(reads, nodes)
        self._wait(
            self._is_packed,
            f"Karpenter has packed the replicas in namespace {self.plain.namespace} on one GPU",
        )
        gpus = self._packed_on
        time.sleep(PACKED_SECONDS)
        seconds = time.monotonic() - risen
        found = {one: self._latency(one, before[one], seconds, counts[one]) for one in both}
        self._claim_latency(found[self.chat])
        self._claim_without_n(found[self.plain], wanted, gpus)
        for item in self._copies[1:]:
            kube.delete(kube.path(item))
        self.requests.play(self.plain, None)

    def _days_are_measured(self) -> None:
        system, name = self.world.system, self.cluster.name
        replay = MetricsReplay.of(system, name, at_most_mib=SMALL_MIB, load=LOAD, alone=ALONE)
        began = datetime.fromtimestamp(time.time() // STEP_SECONDS * STEP_SECONDS, UTC)
        points = replay.past(system, until=began)
        self.story.saw(f"days pass; CloudWatch has {points:,} points of the GPUs, from public traces")
        self.story.aside(
            """These are of small models that leave most of a GPU idle, not of the servers here, which keep
            their GPU busier than Slicewise lets several share it: by their own series N would fall. Shown is
            what a scaler makes of a higher N, not that N rises under such a load."""
        )
        message = {"slicewise": 1, "cluster": name, "reason": "requested by hand"}
        system.send_message("TuningQueueUrl", message)
        self.story.saw(f"an engineer runs: slicewise tune {name}")

    def _is_published(self) -> bool:
        """It notes what the autoscaler wanted in the last look before."""
        wanted = self.chat.replicas(self.cluster.kube)
        if self.chat.published(self.cluster.kube) == str(self.higher):
            return True
        self._wanted_before = wanted
        return False

    def _reads_until_settled(self) -> int | None:
        """
        After how many reads of both autoscalers the example's wanted more; PERIODS have passed then. None
        where reads do not say so.
        """
        kube, first = self.cluster.kube, scaler.reads(self.cluster)
        self._wait(lambda: self.chat.replicas(kube) > self.before, "the autoscaler wants more replicas")
        settled = scaler.reads(self.cluster) - first
        passed = self._wait(
            lambda: scaler.reads(self.cluster) - first >= PERIODS * AUTOSCALERS,
            f"{PERIODS} of its periods have passed",
        )
        return settled if passed else None

    def _claim_replicas(self, reads: int | None, nodes: Mapping[str, str]) -> None:
        """
        Args:
            reads: Of both autoscalers, until the example's wanted more.
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
            expected={
                "N": str(higher),
                "wanted before": self.before,
                "in time": True,
                "more": True,
                "nodes": sorted({*nodes.values()}),
            },
            observed={
                "N": chat.published(kube),
                "wanted before": self._wanted_before,
                "in time": reads is not None and reads <= PERIODS * AUTOSCALERS,
                "more": len(found) > self.before,
                "nodes": sorted({*found.values()}),
            },
        )

    def _latency(self, servers: Servers, before: float | None, seconds: float, counts: Counts) -> Latency:
        """
        Told, too.

        Args:
            before: p95 before N rose.
            seconds: Since N was published.
            counts: Of requests until then.
        """
        namespace, prometheus = servers.namespace, self._prometheus
        found = Latency(
            before=before or math.inf,
            worst=scaler.worst_p95(prometheus, namespace, seconds) or math.inf,
            seconds_over=scaler.seconds_over(prometheus, namespace, scaler.budget(), seconds),
            counts=self.requests.counts(servers).since(counts),
        )
        self.story.saw(
            f"namespace {namespace}: p95 of {scaler.WINDOW_SECONDS} s was {found.before:.2f} s; in the "
            f"{seconds:.0f} s since N rose it was {found.worst:.2f} s at its worst, and over the "
            f"{scaler.budget():.2f} s that the policy allows for {found.seconds_over:.0f} s; "
            f"{100 * found.counts.refused_share:.0f} of 100 requests were refused"
        )
        return found

    def _claim_latency(self, found: Latency) -> None:
        self.story.claim(
            "latency-held",
            "with N in the query p95 of the requests stays within the policy's slowdown budget all the while",
            expected={"before": True, "since": True, "few refused": True},
            observed={
                "before": found.before <= scaler.budget(),
                "since": found.worst <= scaler.budget(),
                # Requests that are refused take no time: without this bound all might be.
                "few refused": found.counts.refused_share <= FEW,
            },
        )

    def _claim_without_n(self, found: Latency, wanted: int, gpus: int) -> None:
        """
        Args:
            wanted: Replicas that the query without N asked for, once the other had settled.
            gpus: That they were packed on.
        """
        self.story.claim(
            "not-without-n",
            "the query without N sees nothing change, while its replicas are packed on half as many GPUs: "
            "p95 leaves the budget, until more are wanted since requests take so long",
            expected={"wanted": self.before, "GPUs": 1, "within before": True, "over it then": True},
            observed={
                "wanted": wanted,
                "GPUs": gpus,
                "within before": found.before <= scaler.budget(),
                # Where no request has ended there is no p95, which would show nothing.
                "over it then": scaler.budget() < found.worst < math.inf,
            },
        )

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

    def _wait(self, done: Callable[[], bool], says: str) -> bool:
        return wait(self.story, done, says)
