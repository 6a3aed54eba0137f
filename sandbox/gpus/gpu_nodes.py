"""
A stand-in for what NVIDIA's operands do on each GPU node: config-manager, device
plugin, GPU feature discovery and MIG manager.

There are no GPUs here, so it only writes what they would write, to the Node's status
and labels, from what they read: the ClusterPolicy, the ConfigMap that it names, the
labels `nvidia.com/device-plugin.config` and `nvidia.com/mig.config`. It also fails as
they fail (k8s-device-plugin 0.20, cmd/config-manager):

* a key that the ConfigMap lacks: a running node keeps its configuration, a new node
  never gets GPUs
* a configuration that the plugin refuses: it has stopped already, so 0 GPUs
* an edited ConfigMap: unnoticed until the node's label changes or the plugin restarts
* a deleted key that is in use: at the next label change config-manager crash-loops,
  until its pod is deleted
* a container that asks for more than one slice: its pod fails (`sandbox.gpus.pod_admission`)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sandbox.cluster.client import KubeClient, KubeError
from sandbox.cluster.instance_types import INSTANCE_TYPES, InstanceType
from sandbox.gpus import device_plugin
from sandbox.gpus.device_plugin import UNSHARED, InvalidConfig, Report, Sharing
from sandbox.gpus.pod_admission import PodAdmission

Object = dict[str, Any]

CONFIG_LABEL = "nvidia.com/device-plugin.config"
MIG_LABEL = "nvidia.com/mig.config"
MIG_STATE_LABEL = "nvidia.com/mig.config.state"
CLUSTER_POLICIES = "/apis/nvidia.com/v1/clusterpolicies"
TICK_SECONDS = 0.5


@dataclass(frozen=True)
class Operator:
    """What the ClusterPolicy says; the defaults are those of Slicewise's own installation."""

    config_map: str = "slicewise-device-plugin"
    default_key: str = "exclusive"
    mig_strategy: str = "mixed"
    mig_manager: bool = True
    tolerations: tuple[Mapping[str, str], ...] = ({"operator": "Exists"},)

    @classmethod
    def of(cls, policy: Object) -> Operator | None:
        """None when the policy has no device plugin at all."""
        spec = policy["spec"]
        plugin = spec.get("devicePlugin", {})
        if not plugin.get("enabled", True):
            return None
        config = plugin.get("config") or {}
        return cls(
            config_map=config.get("name", ""),
            default_key=config.get("default", ""),
            mig_strategy=spec.get("mig", {}).get("strategy", "single"),
            mig_manager=spec.get("migManager", {}).get("enabled", True),
            tolerations=tuple(spec.get("daemonsets", {}).get("tolerations") or ()),
        )


@dataclass
class Operands:
    """
    The operands of one node.

    Attributes:
        operator: Under which their pods were made; another one means new pods. None: no pods.
        key: Whose content the plugin has loaded; None while it has not started.
        sharing: That content.
        mig: Value of the MIG label that was acted upon last.
        profile: MIG profile that the GPUs are cut into.
        due: When a started change is done; None when nothing is under way.
        crash_looping: config-manager cannot repoint its link; only a new pod helps.
    """

    operator: Operator | None = None
    key: str | None = None
    sharing: Sharing = UNSHARED
    mig: str | None = None
    profile: str | None = None
    due: float | None = None
    crash_looping: bool = False
    reported: Report = field(default_factory=lambda: Report({}, {}))

    def renew(self, operator: Operator | None) -> None:
        """New pods; MIG layouts and what the node reports outlive them."""
        self.operator, self.key, self.due, self.crash_looping = operator, None, None, False


class GpuNodes:
    """
    Args:
        kube: A client that may write nodes.
        delay_seconds: From a change of label to the new report.
        blip_seconds: How much longer a change takes on a running node; its GPUs are gone meanwhile.
        requires_cluster_policy: Without a ClusterPolicy there is no operator, and so no GPUs.
        namespace: Of the operator and its ConfigMap.

    Attributes:
        broken: While True nothing starts any more: new nodes never get GPUs.
    """

    def __init__(
        self,
        kube: KubeClient,
        delay_seconds: float = 1.0,
        blip_seconds: float = 0.0,
        *,
        requires_cluster_policy: bool = True,
        broken: bool = False,
        namespace: str = "gpu-operator",
    ):
        self.broken = broken
        self._kube = kube
        self._delay = delay_seconds
        self._blip = blip_seconds
        self._requires_cluster_policy = requires_cluster_policy
        self._namespace = namespace
        # What stands in the cluster, by name.
        self._nodes: dict[str, Object] = {}
        self._policies: dict[str, Object] = {}
        self._config_maps: dict[str, Object] = {}
        self._operands: dict[str, Operands] = {}  # by UID: a new node of an old name starts anew
        self._restarts: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._admission = PodAdmission(kube, self._refuses)

    def start(self) -> GpuNodes:
        followed = [("/api/v1/nodes", self._nodes)]
        followed += [(f"/api/v1/namespaces/{self._namespace}/configmaps", self._config_maps)]
        followed += [(CLUSTER_POLICIES, self._policies)] if self._requires_cluster_policy else []
        works = [partial(self._follow, *one) for one in followed]
        for number, work in enumerate([*works, self._run]):
            thread = threading.Thread(target=work, name=f"gpu-stand-in-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._admission.start()
        return self

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        self._admission.stop()
        self._threads[-1].join(5)  # the others may sit in a watch; they are daemons and only read

    def __enter__(self) -> GpuNodes:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def restart_plugin(self, node: str) -> None:
        """Delete the node's device plugin pod: a new one reads label and ConfigMap as they are now."""
        with self._lock:
            self._restarts.add(node)
        self._wake.set()

    def crash_looping(self, node: str) -> bool:
        operands = self._operands_of(node)
        return operands is not None and operands.crash_looping

    def _refuses(self, node: str, resource: str, count: int) -> bool:
        operands = self._operands_of(node)
        return operands is not None and operands.sharing.refuses(resource, count)

    def _operands_of(self, name: str) -> Operands | None:
        with self._lock:
            node = self._nodes.get(name)
            return self._operands.get(node["metadata"]["uid"]) if node else None

    def _follow(self, path: str, kept: dict[str, Object]) -> None:
        """Keep what stands at a path; nothing does while its kind is not served."""
        while not self._stopped.is_set():
            try:
                self._watch(path, kept)
            except KubeError as error:
                if error.status == 404:
                    with self._lock:
                        kept.clear()
                self._stopped.wait(TICK_SECONDS)
            except (OSError, ValueError):
                self._stopped.wait(1)  # the API server is gone or restarts

    def _watch(self, path: str, kept: dict[str, Object]) -> None:
        """Until the server ends it."""
        listed = self._kube.get(path)
        with self._lock:
            kept.clear()
            kept |= {item["metadata"]["name"]: item for item in listed["items"]}
        self._wake.set()
        for kind, item in self._kube.watch(path, listed["metadata"]["resourceVersion"]):
            if kind == "ERROR" or self._stopped.is_set():  # our resourceVersion is too old
                return
            with self._lock:
                if kind == "DELETED":
                    kept.pop(item["metadata"]["name"], None)
                else:
                    kept[item["metadata"]["name"]] = item
            self._wake.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
            self._stopped.wait(0.02)  # a burst of events is one round
            try:
                self._round(time.monotonic())
            except (OSError, KubeError):
                self._stopped.wait(TICK_SECONDS)  # a node vanished, or the API server did: next round

    def _round(self, now: float) -> None:
        with self._lock:
            nodes = [node for node in self._nodes.values() if _kind(node)]
            uids = {node["metadata"]["uid"] for node in nodes}
            self._operands = {uid: o for uid, o in self._operands.items() if uid in uids}
            operator = self._operator()
            keys = self._config_keys(operator) if operator else {}
        for node in nodes:
            try:
                self._visit(node, operator, keys, now)
            except KubeError as error:
                if error.status != 404:  # deleted in between
                    raise

    def _operator(self) -> Operator | None:
        if not self._requires_cluster_policy:
            return Operator()
        return Operator.of(min(self._policies.items())[1]) if self._policies else None

    def _config_keys(self, operator: Operator) -> Mapping[str, str]:
        return self._config_maps.get(operator.config_map, {}).get("data", {})

    def _visit(self, node: Object, operator: Operator | None, keys: Mapping[str, str], now: float) -> None:
        with self._lock:
            operands = self._operands.setdefault(node["metadata"]["uid"], Operands())
            restart = node["metadata"]["name"] in self._restarts
            self._restarts.discard(node["metadata"]["name"])
        if operands.operator is None and operator and not _tolerated(node, operator.tolerations):
            return  # their pods cannot run there
        if operands.operator != operator or restart:  # the DaemonSet came, went or rolls; a pod was deleted
            self._withdraw(node, operands)
            operands.renew(operator)
        if operator is None or self.broken:
            return
        if operands.due is None:
            self._begin(node, operands, keys, now)
        elif now >= operands.due:
            operands.due = None
            self._finish(node, operands, keys)

    def _begin(self, node: Object, operands: Operands, keys: Mapping[str, str], now: float) -> None:
        """config-manager and MIG manager compare the node's labels with what they did last."""
        if self._mig_layout(node, operands) != operands.mig:
            self._begin_mig(node, operands)
            return
        key = _key(node, operands.operator)
        if key == operands.key or operands.crash_looping:
            return
        running = operands.key is not None
        if running and operands.key and operands.key not in keys:
            operands.crash_looping = True  # its link dangles, and cannot be replaced
        elif key and key not in keys:
            return  # "specified config does not exist", again and again
        else:
            if running and self._blip:
                self._withdraw(node, operands)
            operands.due = now + self._delay + (self._blip if running else 0)

    def _finish(self, node: Object, operands: Operands, keys: Mapping[str, str]) -> None:
        key = _key(node, operands.operator)
        if key and key not in keys:
            return
        try:
            sharing: Sharing = device_plugin.parse_config(keys[key]) if key else UNSHARED
        except InvalidConfig:
            operands.key = None  # the plugin has stopped and does not come up: it tries again
            self._withdraw(node, operands)
            return
        operands.key, operands.sharing = key, sharing
        report = device_plugin.report(_kind(node), sharing, operands.profile, operands.operator.mig_strategy)
        self._write(node, operands, report)

    def _mig_layout(self, node: Object, operands: Operands) -> str | None:
        """The value of the MIG label; on capable nodes that lack it, the operator writes it."""
        if not operands.operator.mig_manager or _kind(node).gpu_name not in device_plugin.MIG_PROFILES:
            return None
        return node["metadata"]["labels"].get(MIG_LABEL, "all-disabled")

    def _begin_mig(self, node: Object, operands: Operands) -> None:
        layout = operands.mig = self._mig_layout(node, operands)
        try:
            profile = device_plugin.mig_profile(_kind(node), layout)
            state = "failed" if self._gpus_in_use(node) else "success"  # nobody drains the node for it
        except InvalidConfig:
            state = "failed"
        self._label(node, {MIG_LABEL: layout, MIG_STATE_LABEL: state})
        if state == "success":
            operands.profile = profile
            self._withdraw(node, operands)
            operands.key = None  # the plugin's pod was paused, and starts anew

    def _gpus_in_use(self, node: Object) -> bool:
        pods = self._kube.list("/api/v1/pods", fieldSelector=f"spec.nodeName={node['metadata']['name']}")
        running = (pod for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed"))
        return any(
            resource.startswith("nvidia.com/")
            for pod in running
            for container in pod["spec"]["containers"]
            for resource in container.get("resources", {}).get("limits", {})
        )

    def _write(self, node: Object, operands: Operands, report: Report) -> None:
        # A resource that the plugin no longer serves stays in the status, at 0.
        gone = {name: "0" for name in operands.reported.resources if name not in report.resources}
        amounts = {name: str(count) for name, count in report.resources.items()} | gone
        self._status(node, {"capacity": amounts, "allocatable": amounts})
        old = {name: None for name in operands.reported.labels if name not in report.labels}
        self._label(node, {**old, **report.labels})
        operands.reported = report

    def _withdraw(self, node: Object, operands: Operands) -> None:
        """The plugin has gone: the kubelet keeps the capacity and sets allocatable to 0."""
        allocatable = node["status"].get("allocatable", {})
        left = [name for name in operands.reported.resources if allocatable.get(name, "0") != "0"]
        if left:
            self._status(node, {"allocatable": dict.fromkeys(left, "0")})

    def _status(self, node: Object, status: Object) -> None:
        self._kube.merge(f"/api/v1/nodes/{node['metadata']['name']}/status", {"status": status})

    def _label(self, node: Object, labels: Mapping[str, str | None]) -> None:
        self._kube.merge(f"/api/v1/nodes/{node['metadata']['name']}", {"metadata": {"labels": labels}})


def _kind(node: Object) -> InstanceType | None:
    """The node's instance type, where it has GPUs."""
    name = node["metadata"].get("labels", {}).get("node.kubernetes.io/instance-type", "")
    kind = INSTANCE_TYPES.get(name)
    return kind if kind and kind.gpus else None


def _key(node: Object, operator: Operator) -> str:
    """The ConfigMap key for this node; empty where neither label nor default names one."""
    return node["metadata"]["labels"].get(CONFIG_LABEL, operator.default_key)


def _tolerated(node: Object, tolerations: Iterable[Mapping[str, str]]) -> bool:
    """Whether the operands' DaemonSets may run there. They always tolerate the kubelet's own taints."""
    taints = node["spec"].get("taints", [])
    return all(
        taint["key"].startswith("node.kubernetes.io/")
        or taint["effect"] == "PreferNoSchedule"
        or any(_tolerates(toleration, taint) for toleration in tolerations)
        for taint in taints
    )


def _tolerates(toleration: Mapping[str, str], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")
