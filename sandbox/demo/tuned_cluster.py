"""A cluster whose N is tuned: what people and the world do to it in the demo, and what can be seen of it."""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.kube.labels import ROLLOUT_ANNOTATION, TUNING_ANNOTATION

from sandbox.cluster.client import KubeClient
from sandbox.demo.steps import GPU_NODES, PODS, running, slice_pods
from sandbox.metrics.replay import MIB, NAMESPACE, MetricsReplay
from sandbox.system import System

NODE_POOL = "slicewise-shared-l4"
KEY = "nvidia.com/device-plugin.config"
APP = "assistant"
# Small and idle enough that eight of them would do well on an L4.
SMALL_MIB, LOAD = 2500, 0.3
# So long each node had one pod only: by whole GPUs, which are all that is measured, no other is known.
ALONE = timedelta(days=3)
# Of tuning, in seconds.
_STEP, _FIRST_MEASURED, _LEAST_LEFT = 600, 5.0, 30.0
_POOL = f"/apis/karpenter.sh/v1/nodepools/{NODE_POOL}"
_OVERLAY = f"/apis/karpenter.sh/v1alpha1/nodeoverlays/{NODE_POOL}-1"
_SLICES = "nvidia.com/gpu"


class TunedCluster:
    def __init__(self, system: System, name: str):
        self.name = name
        self.kube: KubeClient = system.clusters[name].kube
        self._system = system
        self._replay = MetricsReplay.of(system, name, at_most_mib=SMALL_MIB, load=LOAD, alone=ALONE)
        self._reported = ""
        self._nodes_called: dict[str, str] = {}

    # What people do

    def scale(self, pods: int) -> None:
        self.kube.apply(slice_pods(APP, pods))

    def runs(self, pods: int) -> bool:
        """These, and no others that are still going."""
        return running(self.kube) == pods == len(self.kube.list(PODS))

    def ask_for_a_pass(self, within_seconds: float = 60) -> Mapping[str, Any]:
        """As `slicewise tune` does; the record of that pass."""
        before, deadline = self.looked_at(), time.monotonic() + within_seconds
        body = {"slicewise": 1, "cluster": self.name, "reason": "requested by hand"}
        self._system.send_message("TuningQueueUrl", body)
        while self.looked_at() == before and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.record()

    def explain(self) -> list[str]:
        """What `slicewise explain` prints."""
        done = self._system.slicewise("explain", self.name)
        return (done.stdout or done.stderr).splitlines()

    def edit_overlay(self, slices: int, editor: str) -> None:
        edit = {"spec": {"capacity": {_SLICES: str(slices)}}}
        self.kube.merge(f"{_OVERLAY}?fieldManager={editor}", edit)

    # What the world does

    def a_week_is_measured(self) -> int:
        """
        As if the pods had run for a week, until this step of ten minutes began; returns how many points.

        The step itself is left to what happens now, for which enough of it has to be left; and in its first
        seconds nothing of it is measured yet.
        """
        gone = time.time() % _STEP
        time.sleep(max(0.0, _FIRST_MEASURED - gone))
        if gone > _STEP - _LEAST_LEFT:
            time.sleep(_STEP - gone + _FIRST_MEASURED)
        began = datetime.fromtimestamp(time.time() // _STEP * _STEP, UTC)
        return self._replay.past(self._system, until=began)

    def alarm(self, kind: str, state: str, why: str) -> None:
        """Played: nothing evaluates alarms here. What hears of it is real."""
        name = f"slicewise/{self.name}/{kind}"
        cloudwatch = self._system.aws.client("cloudwatch")
        cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason=why)

    def kill_for_memory(self, node: str) -> str:
        """As the kubelet reports a container that was killed and started again; the pod's name."""
        pod = next(pod for pod in self.kube.list(PODS) if pod["spec"].get("nodeName") == node)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        began = pod["status"]["startTime"]
        killed = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": now, "startedAt": began}
        found = [dict(one) for one in pod["status"]["containerStatuses"]]
        found[0] |= {"restartCount": 1, "lastState": {"terminated": killed}}
        name = pod["metadata"]["name"]
        self.kube.merge(f"{PODS}/{name}/status", {"status": {"containerStatuses": found}})
        return str(name)

    def a_night_passes(self) -> None:
        """As if N had been changed twelve hours earlier: what is measured now is of the N that stands."""
        kept = self._kept(TUNING_ANNOTATION)
        changed = datetime.fromisoformat(kept["changed_at"]) - timedelta(hours=12)
        kept["changed_at"] = changed.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.kube.merge(_POOL, {"metadata": {"annotations": {TUNING_ANNOTATION: json.dumps(kept)}}})

    def fill_memory(self, node: str, mib: int) -> None:
        """As Container Insights tells how much of a node's GPU is in use, and by how many pods."""
        cloudwatch = self._system.aws.client("cloudwatch")

        def put(metric: str, value: float, unit: str, *, of_a_gpu: bool) -> None:
            where = [{"Name": "NodeName", "Value": node}]
            known = cloudwatch.list_metrics(Namespace=NAMESPACE, MetricName=metric, Dimensions=where)
            for one in known["Metrics"]:
                if of_a_gpu == any(part["Name"] == "GpuDevice" for part in one["Dimensions"]):
                    datum = {"MetricName": metric, "Dimensions": one["Dimensions"], "Value": value}
                    cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=[{**datum, "Unit": unit}])

        put("node_gpu_memory_used", mib * MIB, "Bytes", of_a_gpu=True)
        put("node_gpu_usage_total", self.pods_by_node()[node], "Count", of_a_gpu=False)

    # What is seen

    def record(self) -> dict[str, Any]:
        return self._system.record(self.name, "tuning") or {}

    def looked_at(self) -> str:
        return str(self.record().get("at", ""))

    def detail(self) -> Mapping[str, Any]:
        """What the record says of the only NodePool."""
        details = self._system.details(self.name, "tuning")
        return details[0] if details else {}

    def news(self) -> str | None:
        """What the newest record says of the NodePool, where it has not been told yet."""
        reason = str(self.record().get("reason", ""))
        if reason == self._reported:
            return None
        self._reported = reason
        return self.in_short((reason.partition("; ")[2] or reason).replace(f"{NODE_POOL}: ", ""))

    def in_short(self, text: str) -> str:
        """With nodes called "node 1", "node 2" and so on, in the order in which they came."""
        for node in sorted(self.kube.list("/api/v1/nodes", **GPU_NODES), key=_age):
            name = node["metadata"]["name"]
            called = self._nodes_called.setdefault(name, f"node {len(self._nodes_called) + 1}")
            text = re.sub(f"([Nn]ode )?{re.escape(name)}", called, text)
        return text

    def alarms(self) -> list[str]:
        prefix = f"slicewise/{self.name}/"
        found = self._system.aws.client("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)
        return sorted(alarm["AlarmName"].removeprefix(prefix) for alarm in found["MetricAlarms"])

    def n(self) -> int | None:
        """By the key that the NodePool gives new nodes; None while it allows two."""
        requirements = self._pool()["spec"]["template"]["spec"]["requirements"]
        (values,) = (one["values"] for one in requirements if one["key"] == KEY)
        if len(values) != 1:
            return None
        return 1 if values[0] == "exclusive" else int(values[0].removeprefix("ts-"))

    def is_at(self, n: int) -> bool:
        """N is this, and no change of it is under way."""
        return self.n() == n and not self.is_changing()

    def is_changing(self) -> bool:
        return bool(self._kept(ROLLOUT_ANNOTATION))

    def locked(self) -> list[str]:
        """Each N whose canary failed."""
        return sorted(self._kept(TUNING_ANNOTATION).get("failed", {}))

    def idle_nodes_go_after(self) -> str:
        return str(self._pool()["spec"]["disruption"]["consolidateAfter"])

    def slices_known_to_karpenter(self) -> int:
        """What one GPU has by the NodeOverlay."""
        return int(self.kube.get(_OVERLAY)["spec"]["capacity"][_SLICES])

    def nodes(self) -> int:
        return len(self.kube.list("/api/v1/nodes", **GPU_NODES))

    def first_node_with(self, key: str) -> str | None:
        nodes = self.kube.list("/api/v1/nodes", **GPU_NODES)
        found = (node["metadata"] for node in nodes if node["metadata"]["labels"].get(KEY) == key)
        return next((str(metadata["name"]) for metadata in found), None)

    def pods_by_node(self) -> Counter[str]:
        on = (pod["spec"].get("nodeName") for pod in self.kube.list(PODS))
        return Counter(str(node) for node in on if node)

    def where_pods_run(self) -> dict[str, str]:
        """The node of each pod, by a name that no other pod ever has."""
        return {
            pod["metadata"]["name"]: str(pod["spec"]["nodeName"])
            for pod in self.kube.list(PODS)
            if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
        }

    def failed_pods(self) -> list[str]:
        return [p["metadata"]["name"] for p in self.kube.list(PODS) if p["status"].get("phase") == "Failed"]

    def _pool(self) -> Mapping[str, Any]:
        return self.kube.get(_POOL)

    def _kept(self, annotation: str) -> dict[str, Any]:
        return json.loads(self._pool()["metadata"].get("annotations", {}).get(annotation, "{}"))


def _age(node: Mapping[str, Any]) -> tuple[str, str]:
    return node["metadata"]["creationTimestamp"], node["metadata"]["name"]


def most_that_fit(memory_mib: int, used_mib: int, pods: int) -> int:
    """How many pods as large as these are on average fit on a GPU of which a tenth stays free."""
    return math.floor(0.9 * memory_mib / (used_mib / pods))
