"""
What Container Insights would say of a cluster's GPUs, played from public traces (traces/data).

Nodes and pods are the cluster's own: each pod does what one client of the trace did, and a GPU what its pods
do together. Names, dimensions and units as the CloudWatch Observability add-on has them: utilization in
percent, memory in bytes, slots where it says GPUs, whole numbers for node and cluster beside those by GPU.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from sandbox.aws.cloudwatch.metrics import MetricStore, Series
from sandbox.cluster.client import KubeClient
from sandbox.system import System
from traces import serving

Object = dict[str, Any]

NAMESPACE = "ContainerInsights"
TUNER = "slicewise-tune-slicing"
GPU = "nvidia.com/gpu"
GPU_COUNT, INSTANCE_TYPE = "karpenter.k8s.aws/instance-gpu-count", "node.kubernetes.io/instance-type"
# A point each five minutes, which is the period of alarms; the trace has one each ten.
STEP = timedelta(minutes=5)
TRACE_STEP_SECONDS = 600
MIB = 1024 * 1024
# Driver and contexts, on a card that nobody uses.
IDLE_MIB = 450


class MetricsReplay:
    """
    Args:
        store: Of the AWS in which the cluster's metrics are kept.
        seed: Which clients the pods are.

    Attributes:
        load: Factor on how busy the pods are.
        at_most_mib: Pods are clients of models that need no more device memory than that.
        alone: For so long at the beginning of the time that is told, each node had but the first of its pods.
    """

    def __init__(
        self,
        store: MetricStore,
        kube: KubeClient,
        cluster: str,
        *,
        seed: int = 0,
        load: float = 1.0,
        at_most_mib: float = 6000,
        alone: timedelta = timedelta(0),
    ):
        self._store, self._kube, self._cluster = store, kube, cluster
        self._seed = seed
        self.load, self.at_most_mib, self.alone = load, at_most_mib, alone
        self._reported: dict[str, datetime] = {}
        self._seen: dict[str, int] = {}

    @classmethod
    def of(cls, system: System, cluster: str, **how: Any) -> MetricsReplay:
        return cls(system.aws.metrics, system.clusters[cluster].kube, cluster, **how)

    def past(self, system: System, *, until: datetime) -> int:
        """
        As if the pods that are there had run for days, and been measured; how many points those are.

        A tuner that looks while it is written would keep as gaps what is not written yet: it reads old steps
        once, since in a real cluster nothing is added to them.
        """
        with system.aws.functions.held(TUNER):
            self.age()
            return self.day(until=until)

    def day(self, days: float = 8, *, until: datetime | None = None) -> int:
        """
        Tell what the GPUs that are there now did in the last days, or since they were told of last.

        Returns:
            How many points that were.
        """
        until = until or datetime.now(UTC)
        points = 0
        for node, pods in self._nodes():
            name = node["metadata"]["name"]
            first = until - timedelta(days=days)
            begin = max(first, self._reported.get(name, datetime.min.replace(tzinfo=UTC)))
            times = list(_steps(begin, until))
            lonely = [at for at in times if at < first + self.alone]
            for its_pods, at_times in ((pods[:1], lonely), (pods, times[len(lonely) :])):
                for series, values in self._of_node(node, its_pods, at_times):
                    self._store.put_values(series, zip(at_times, values, strict=True))
                    points += len(at_times)
            if times:
                self._reported[name] = times[-1] + STEP
        return points

    def age(self, by: timedelta = timedelta(days=9)) -> int:
        """
        Make every pod on a GPU node one that started so long ago: what was measured of it then is its own.
        But for the first of a node, they came once that one had been alone.

        Returns:
            How many pods that were.
        """
        now, aged = datetime.now(UTC), 0
        for _, pods in self._nodes():
            for number, pod in enumerate(pods):
                later = self.alone + timedelta(days=1) if number and self.alone else timedelta(0)
                started = (now - by + later).strftime("%Y-%m-%dT%H:%M:%SZ")
                metadata = pod["metadata"]
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
                self._kube.merge(path, {"status": {"startTime": started}})
                aged += 1
        return aged

    def _nodes(self) -> Iterable[tuple[Object, list[Object]]]:
        """Each GPU node with the pods that hold a slice of it, by name."""
        on: dict[str, list[Object]] = {}
        for pod in self._kube.list("/api/v1/pods"):
            phase = pod.get("status", {}).get("phase")
            if phase not in ("Succeeded", "Failed") and _slices(pod):
                on.setdefault(pod["spec"].get("nodeName", ""), []).append(pod)
        for node in self._kube.list("/api/v1/nodes"):
            if GPU_COUNT in node["metadata"].get("labels", {}):
                pods = on.get(node["metadata"]["name"], [])
                yield node, sorted(pods, key=lambda pod: pod["metadata"]["name"])

    def _of_node(
        self, node: Object, pods: list[Object], times: list[datetime]
    ) -> Iterable[tuple[Series, list[float]]]:
        labels, name = node["metadata"]["labels"], node["metadata"]["name"]
        gpus = int(labels[GPU_COUNT])
        slices = int(node["status"].get("allocatable", {}).get(GPU, 0))
        instance = node["spec"].get("providerID", name).rsplit("/", 1)[-1]
        on_cluster = {"ClusterName": self._cluster}
        on_node = {**on_cluster, "NodeName": name, "InstanceId": instance}
        for gpu in range(gpus):
            on_gpu = {**on_node, "InstanceType": labels.get(INSTANCE_TYPE, ""), "GpuDevice": f"nvidia{gpu}"}
            busy, used = self._of_gpu(pods[gpu::gpus], times)
            # As the agent sends it: the same values with three sets of dimensions.
            for dimensions in (on_cluster, on_node, on_gpu):
                yield _series("node_gpu_utilization", dimensions), busy
                yield _series("node_gpu_memory_used", dimensions), used
        reserved = 100 * len(pods) / slices if slices else 0.0
        for dimensions in (on_cluster, on_node):
            yield _series("node_gpu_usage_total", dimensions), [float(len(pods))] * len(times)
            yield _series("node_gpu_limit", dimensions), [float(slices)] * len(times)
            yield _series("node_gpu_reserved_capacity", dimensions), [reserved] * len(times)

    def _of_gpu(self, pods: list[Object], times: list[datetime]) -> tuple[list[float], list[float]]:
        """Percent of the time, and bytes."""
        clients = [self._client(pod) for pod in pods]
        memory = (IDLE_MIB + sum(self._peaks[client] for client in clients)) * MIB
        # In time with the calendar, so that a later call goes on where the one before has ended.
        steps = [int(at.timestamp()) // TRACE_STEP_SECONDS % self._trace.busy.shape[1] for at in times]
        together = sum((self._trace.busy[client] for client in clients), start=0 * self._trace.busy[0])
        busy = [min(100.0, 100 * self.load * float(together[step])) for step in steps]
        return busy, [float(memory)] * len(times)

    def _client(self, pod: Object) -> int:
        """For each pod the next one: its name is random, and would choose others in each run."""
        number = self._seen.setdefault(pod["metadata"]["name"], len(self._seen))
        fitting = [n for n in self._order if self._peaks[n] <= self.at_most_mib]
        return fitting[number % len(fitting)]

    @cached_property
    def _order(self) -> list[int]:
        """
        Shuffled, since those that are alike stand together in the trace. With this start the first dozen of
        small ones leave room for more pods in any week of it: by chance, one choice in twelve did not.
        """
        clients = list(range(len(self._peaks)))
        random.Random(self._seed + 2).shuffle(clients)
        return clients

    @cached_property
    def _peaks(self) -> list[float]:
        """Device memory of each client, MiB; the trace knows it by day."""
        return [float(peak) for peak in self._trace.memory_mib.max(axis=1)]

    @cached_property
    def _trace(self) -> serving.Trace:
        return serving.serving(self._seed)


def _slices(pod: Object) -> bool:
    return any(GPU in (c.get("resources", {}).get("limits") or {}) for c in pod["spec"]["containers"])


def _steps(begin: datetime, until: datetime) -> Iterable[datetime]:
    seconds = int(STEP.total_seconds())
    first = -(-int(begin.timestamp()) // seconds) * seconds
    for at in range(first, int(until.timestamp()), seconds):
        yield datetime.fromtimestamp(at, UTC)


def _series(name: str, dimensions: Mapping[str, str]) -> Series:
    return Series(NAMESPACE, name, tuple(sorted(dimensions.items())))
