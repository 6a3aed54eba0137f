"""
Karpenter, the scheduler and NVIDIA's device plugin on the fake API server: as much as a change of N meets.

`tick` lets all of them do what is due. What must never happen is written down in `broken_promises`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from slicewise.kube import quantities
from slicewise.kube.labels import CLASS_LABEL, POOL_LABEL
from slicewise.kube.ref import Ref
from slicewise.policy.model import Policy
from slicewise.pools import layout

from tests.fakes.clock import Clock
from tests.fakes.kube.kubernetes import FakeApiServer

CONFIG, GPU = layout.CONFIG_LABEL, layout.GPU_RESOURCE
Object = dict[str, Any]


@dataclass
class FakeKarpenter:
    """
    Attributes:
        plugin: How long a device plugin takes to follow a label; None lets it never follow.
        ever_drifted, replaced: Names of NodeClaims.
        moved: Names of pods that had to leave their node.
        stuck: Nodes that Karpenter may not take away: their pods forbid it.
        unready: Nodes that are not ready and offer nothing; Karpenter has not initialised them.
        silent: Nodes whose device plugin follows no label.
        sick: GPUs of a node that do not work.
        vain: NodeClaims for which there was no machine.
    """

    server: FakeApiServer
    policy: Policy
    clock: Clock
    plugin: timedelta | None = timedelta(seconds=4)
    gpus: int = 1
    ever_drifted: set[str] = field(default_factory=set)
    replaced: list[str] = field(default_factory=list)
    consolidated: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    broken_promises: list[str] = field(default_factory=list)
    stuck: set[str] = field(default_factory=set)
    unready: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    unhealthy: dict[str, int] = field(default_factory=dict)
    vain: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: count(1))
    _followed: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    _is_idle: bool = False

    # What a test sets up

    def install(self, n: int) -> None:
        """What onboarding leaves behind, with every pool at N = `n`."""
        self.server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gpu-operator"}})
        self.server.apply(layout.config_map({}), "slicewise")
        weights = layout.overlay_weights(self.policy)
        for pool in self.policy.parts:
            for gpu in pool.models():
                for overlay in layout.overlays(pool, gpu, n, weights):
                    self.server.apply(overlay, "slicewise")
                self.server.apply(layout.node_pool(self.policy, pool, gpu, n), "slicewise")
        self.tick()

    def add_node(
        self, pods: int = 0, key: str | None = None, gpu: str = "l4", pool: str | None = None
    ) -> str:
        """A node of the NodePool with that many pods, initialised."""
        node = self._launch(pool or f"slicewise-shared-{gpu}", key, gpu)
        self._follow(self._node(node), at_once=True)
        for _ in range(pods):
            self.add_pod(node)
        return node

    def add_pod(self, node: str | None = None, name: str | None = None, size: int | None = None) -> str:
        """`size` is the class that it selects."""
        name = name or f"pod-{next(self._numbers)}"
        spec: Object = {
            "nodeSelector": {
                POOL_LABEL: "shared",
                **({CLASS_LABEL: str(size)} if size else {}),
            },
            "containers": [{"name": "main", "resources": {"limits": {GPU: "1"}}}],
        }
        metadata = {"name": name, "namespace": "default", "labels": {"app": "demo"}}
        spec |= {"nodeName": node} if node else {}
        self.server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
        self.server.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        return name

    def end_pod(self, name: str) -> None:
        self.server.delete(Ref("v1", "Pod", name, "default"))

    # What goes on

    def work_for(self, seconds: int) -> None:
        """A tick a second, but for those in which nothing can happen."""
        for _ in range(seconds):
            self.clock.pass_by(timedelta(seconds=1))
            if self._is_idle:
                continue
            before = self._progress
            self.tick()
            self._is_idle = self._progress == before and not self._awaits_a_plugin
        self._is_idle = False  # a pass or a person comes next

    @property
    def _progress(self) -> tuple[Any, ...]:
        return *self.server.changes, len(self.broken_promises), dict(self._followed)

    @property
    def _awaits_a_plugin(self) -> bool:
        """The only thing here that takes time."""
        delay = self.plugin or timedelta(0)
        return any(self.clock.now < since + delay for _, since in self._followed.values())

    def tick(self) -> None:
        self._ready_overlays()
        for node in self._of("Node"):
            self._follow(node)
        self._drift()
        self._consolidate()
        self._schedule()
        self._watch()

    def _of(self, kind: str) -> list[Object]:
        objects = self.server.objects
        return [objects[ref] for ref in objects.refs(kind)]

    def _node(self, name: str) -> Object:
        return self.server.objects[Ref("v1", "Node", name)]

    def _pods_on(self, node: str) -> list[Object]:
        return [pod for pod in self._of("Pod") if pod["spec"].get("nodeName") == node]

    def _ready_overlays(self) -> None:
        for overlay in self._of("NodeOverlay"):
            generation = overlay["metadata"]["generation"]
            ready = {"type": "Ready", "status": "True", "observedGeneration": generation}
            self.server.set_status(_ref(overlay), {"conditions": [ready]})

    def _follow(self, node: Object, at_once: bool = False) -> None:
        """The device plugin: some time after a new label, other slices."""
        name = node["metadata"]["name"]
        key = node["metadata"]["labels"].get(CONFIG, layout.EXCLUSIVE)  # as our ClusterPolicy says
        if name in self.unready:
            off = {"type": "Ready", "status": "False"}
            self.server.set_status(_ref(node), {"conditions": [off], "allocatable": {GPU: "0"}})
            return
        if name in self.silent:
            return
        if self._followed.get(name, ("",))[0] != key:
            self._followed[name] = (key, self.clock.now)
        due = self._followed[name][1] + (self.plugin or timedelta(0))
        if not at_once and (self.plugin is None or self.clock.now < due):
            return
        slices = str(layout.slices_of_key(key) * (self.gpus - self.unhealthy.get(name, 0)))
        ready = {"type": "Ready", "status": "True"}
        self.server.set_status(
            _ref(node), {"conditions": [ready], "allocatable": {GPU: slices}, "capacity": {GPU: slices}}
        )

    def _drift(self) -> None:
        """One node at a time, as a tenth is in a small pool; its replacement comes first."""
        drifted = []
        for claim in self._of("NodeClaim"):
            pool = self._pool(claim)
            is_off = any(
                claim["metadata"]["labels"].get(key) not in values for key, values in _required(pool).items()
            )
            status = claim.get("status") or {}
            before = status.get("conditions", ())
            conditions = [c for c in before if c["type"] != "Drifted"]
            if is_off:
                self.ever_drifted.add(claim["metadata"]["name"])
                at = self.clock.now.strftime("%Y-%m-%dT%H:%M:%SZ")
                new = {"type": "Drifted", "status": "True", "lastTransitionTime": at}
                conditions.append(next((c for c in before if c["type"] == "Drifted"), new))
                drifted.append(claim)
            self.server.set_status(_ref(claim), {**status, "conditions": conditions})
        free = [
            claim
            for claim in drifted
            if claim["metadata"]["name"] not in {*self.stuck, *self.unready, *self.vain}
        ]
        if free:
            claim = free[0]
            self.replaced.append(claim["metadata"]["name"])
            if self._pods_on(claim["metadata"]["name"]):
                new = self._launch(claim["metadata"]["labels"][layout.NODE_POOL_LABEL])
                self._follow(self._node(new), at_once=True)
            self._take_away(claim["metadata"]["name"])

    def _consolidate(self) -> None:
        for pool in self._of("NodePool"):
            if pool["spec"]["disruption"]["consolidateAfter"] == "Never":
                continue
            nodes = [c for c in self._of("NodeClaim") if self._pool(c) is pool]
            used = sum(len(self._pods_on(c["metadata"]["name"])) for c in nodes)
            if not used and quantities.whole(pool["spec"].get("limits", {}).get(GPU, "1")) == 0:
                for claim in nodes:
                    self.consolidated.append(claim["metadata"]["name"])
                    self._take_away(claim["metadata"]["name"])
                continue
            room = {c["metadata"]["name"]: self._slices(c["metadata"]["name"]) for c in nodes}
            for node in sorted(room, key=lambda node: len(self._pods_on(node))):
                if used and used <= sum(room.values()) - room[node] and node not in self.stuck | self.unready:
                    self.consolidated.append(node)
                    self._take_away(node)
                    break

    def _schedule(self) -> None:
        for pod in self._of("Pod"):
            if pod["spec"].get("nodeName"):
                continue
            fitting = (n for n in map(_name, self._of("Node")) if self._has_room(n) and self._enters(pod, n))
            name = next(fitting, None)
            if name is None and (pool := self._may_launch(pod)):
                name = self._launch(pool)
            if name and self._has_room(name) and self._enters(pod, name):
                self.server.create({**pod, "spec": {**pod["spec"], "nodeName": name}})

    def _enters(self, pod: Object, node: str) -> bool:
        return _is_let_in(pod, self._node(node)["metadata"]["labels"])

    def _may_launch(self, pod: Object) -> str | None:
        for pool in self._of("NodePool"):
            if not _is_let_in(pod, self._template_labels(_name(pool))):
                continue
            waiting = [n for n in self._of("Node") if not self._slices(_name(n))]
            used = sum(self._slices(_name(c)) for c in self._of("NodeClaim") if self._pool(c) is pool)
            limit = quantities.whole(pool["spec"].get("limits", {}).get(GPU, "1000"))
            if not waiting and used < limit:
                return _name(pool)
        return None

    def _has_room(self, node: str) -> bool:
        cordoned = self._node(node)["spec"].get("unschedulable")
        return not cordoned and len(self._pods_on(node)) < self._slices(node)

    def _slices(self, node: str) -> int:
        found = self.server.objects.get(Ref("v1", "Node", node)) or {}
        return int((found.get("status") or {}).get("allocatable", {}).get(GPU, 0))

    def _pool(self, claim: Object) -> Object:
        name = claim["metadata"]["labels"][layout.NODE_POOL_LABEL]
        return self.server.objects[Ref("karpenter.sh/v1", "NodePool", name)]

    def _launch(self, pool: str, key: str | None = None, gpu: str = "l4") -> str:
        number = next(self._numbers)
        required = _required(self.server.objects[Ref("karpenter.sh/v1", "NodePool", pool)])
        keys = required.get(CONFIG)
        key = key or (keys[number % len(keys)] if keys else None)
        name = f"node-{number:03}"
        labels = {
            layout.NODE_POOL_LABEL: pool,
            layout.CAPACITY_TYPE_LABEL: "on-demand",
            layout.GPU_COUNT_LABEL: str(self.gpus),
            layout.GPU_NAME_LABEL: gpu,
            **self._template_labels(pool),
            **({POOL_LABEL: required[POOL_LABEL][0]} if POOL_LABEL in required else {}),
            **({CONFIG: key} if key else {}),
        }
        requirements = [{"key": CONFIG, "operator": "In", "values": [key]}] if key else []
        metadata = {"name": name, "labels": labels, "annotations": {"made-by": "karpenter"}}
        self.server.create(
            {
                "apiVersion": "karpenter.sh/v1",
                "kind": "NodeClaim",
                "metadata": metadata,
                "spec": {"requirements": requirements},
                "status": {"nodeName": name},
            }
        )
        self.server.create({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}})
        return name

    def _template_labels(self, pool: str) -> dict[str, str]:
        template = self.server.objects[Ref("karpenter.sh/v1", "NodePool", pool)]["spec"]["template"]
        return template.get("metadata", {}).get("labels", {})

    def _take_away(self, name: str) -> None:
        for pod in self._pods_on(name):
            self.moved.append(_name(pod))
            spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
            self.server.delete(_ref(pod))
            self.server.create({**pod, "spec": spec})
        self.server.delete(Ref("v1", "Node", name))
        self.server.delete(Ref("karpenter.sh/v1", "NodeClaim", name))

    def _watch(self) -> None:
        for node in self._of("Node"):
            used, slices = len(self._pods_on(_name(node))), self._slices(_name(node))
            if used > slices:
                self.broken_promises.append(f"{_name(node)}: {used} pods on {slices} slices")


def _is_let_in(pod: Object, labels: Object) -> bool:
    """Classes beside the first are tainted; a pod that selects none of them tolerates none."""
    wanted = pod["spec"].get("nodeSelector", {}).get(CLASS_LABEL)
    found = labels.get(CLASS_LABEL)
    return found == wanted or (wanted is None and found == "1")


def _required(pool: Object) -> dict[str, list[str]]:
    """Of the labels that change on a live NodePool, those that it requires, with what it allows."""
    requirements = pool["spec"]["template"]["spec"].get("requirements") or ()
    return {r["key"]: r["values"] for r in requirements if r["key"] in (CONFIG, POOL_LABEL)}


def _name(item: Object) -> str:
    return item["metadata"]["name"]


def _ref(item: Object) -> Ref:
    metadata = item["metadata"]
    return Ref(item["apiVersion"], item["kind"], metadata["name"], metadata.get("namespace", ""))
