"""
One NodePool of ours on the real Karpenter, with pods on it, and everything that happens to it written down.

The change is driven with the rights that a tuner needs and no others, through the product's own gateway.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from slicewise import rights
from slicewise.errors import Refused
from slicewise.gateways.kubernetes import KubernetesApi
from slicewise.kube.labels import ROLLOUT_ANNOTATION
from slicewise.onboarding import admission, rbac
from slicewise.policy.model import Policy
from slicewise.pools import layout, observed
from slicewise.tuning.observe import read_contents
from slicewise.tuning.rollout.stages import Advance

from sandbox.cluster import samples
from sandbox.cluster.client import KubeClient, condition
from sandbox.cluster.control_plane import ControlPlane
from sandbox.gpus.gpu_nodes import GpuNodes
from tests.sandbox.watches import Watches
from tests.support import builders
from tests.support.sharing import GroupsOwn
from tests.support.tuning.rollout_runs import FAST, Retuning
from tests.support.waiting import eventually

NODES, PODS = "/api/v1/nodes", "/api/v1/namespaces/default/pods"
CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
NODE_POOLS = "/apis/karpenter.sh/v1/nodepools"
OVERLAYS = "/apis/karpenter.sh/v1alpha1/nodeoverlays"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
ACCOUNTS = "/api/v1/namespaces/kube-system/serviceaccounts"
Object = dict[str, Any]
T = TypeVar("T")


@dataclass
class Recorder:
    """What became of one pool's NodeClaims and pods since `start`, by watches that miss nothing."""

    kube: KubeClient
    pool: str
    _drifted: set[str] = field(default_factory=set)
    _made: list[str] = field(default_factory=list)
    _gone: list[str] = field(default_factory=list)
    _events: list[tuple[int, str, str, Any]] = field(default_factory=list)
    _watches: Watches = field(init=False)

    def __post_init__(self) -> None:
        self._watches = Watches(self.kube)

    @property
    def drifted(self) -> set[str]:
        """NodeClaims that ever had the condition Drifted=True."""
        return self._watched(self._drifted)

    @property
    def made(self) -> list[str]:
        """NodeClaims."""
        return self._watched(self._made)

    @property
    def gone(self) -> list[str]:
        """Names of objects that were deleted, with their kind."""
        return self._watched(self._gone)

    def _watched(self, found: T) -> T:
        """That something was never seen says nothing where nobody looked."""
        assert self._events, "nothing was watched: call start() before what shall be seen"
        assert not self._watches.lost, f"no longer watched: {self._watches.lost}"
        return found

    def start(self) -> Recorder:
        for path, see in ((CLAIMS, self._claim), (NODES, self._node), (PODS, self._pod)):
            self._watches.follow(path, see)
        return self

    def stop(self) -> None:
        self._watches.stop()

    def _claim(self, kind: str, claim: Object) -> None:
        name = claim["metadata"]["name"]
        if not name.startswith(f"slicewise-{self.pool}-"):
            return
        if condition(claim, "Drifted") == "True":
            self._drifted.add(name)
        if kind == "ADDED":
            self._made.append(name)
        if kind == "DELETED":
            self._gone.append(f"NodeClaim {name}")

    def _node(self, kind: str, node: Object) -> None:
        slices = int(node.get("status", {}).get("allocatable", {}).get("nvidia.com/gpu", 0))
        self._note(node, "Node", None if kind == "DELETED" else slices)

    def _pod(self, kind: str, pod: Object) -> None:
        name = pod["metadata"]["name"]
        if not name.startswith(f"{self.pool}-"):
            return
        going = kind == "DELETED" or pod["metadata"].get("deletionTimestamp")
        if going:
            self._gone.append(f"Pod {name}")
        self._note(pod, "Pod", None if going else pod["spec"].get("nodeName"))

    def _note(self, item: Object, kind: str, value: Any) -> None:
        metadata = item["metadata"]
        self._events.append((int(metadata["resourceVersion"]), kind, metadata["name"], value))

    @property
    def short(self) -> list[str]:
        """
        "node: used > allocatable", whenever it was so.

        The watches of nodes and pods run apart; the versions, which are those of the one etcd, order them.
        """
        slices: dict[str, int] = {}
        pods: dict[str, str] = {}
        found: list[str] = []
        with self._watches.lock:
            events = sorted(self._watched(self._events), key=lambda event: event[:3])
        for _, kind, name, value in events:
            known = slices if kind == "Node" else pods
            if value is None:
                known.pop(name, None)
                continue
            known[name] = value
            node = name if kind == "Node" else value
            used = sum(1 for at in pods.values() if at == node)
            if node in slices and used > slices[node]:
                found.append(f"{node}: {used} > {slices[node]}")
        return found


class RetunedPool:
    """
    Attributes:
        tuner: Drives the change.
        seen: What happened since the pool was set up.
    """

    def __init__(self, plane: ControlPlane, policy: Policy, kubernetes: KubernetesApi):
        self.kube, self.policy = plane.kube, policy
        (self.pool,) = policy.pools
        self.tuner = Retuning(kubernetes, policy, lambda: datetime.now(UTC), FAST)
        self._apps: list[str] = []
        weights = layout.overlay_weights(policy)
        for gpu in self.pool.models():
            for overlay in layout.overlays(self.pool, gpu, self.pool.start, weights):
                self.kube.apply(overlay, field_manager="slicewise")
            wanted = layout.node_pool(policy, self.pool, gpu, self.pool.start)
            self.kube.apply(wanted, field_manager="slicewise")
        eventually(lambda: all(condition(overlay, "Ready") == "True" for overlay in self.overlays()))
        self.seen = Recorder(self.kube, self.pool.name)

    def name(self, gpu: str = "l4") -> str:
        return f"slicewise-{self.pool.name}-{gpu}"

    # Pods

    def run(self, count: int, app: str = "a", gpu: str = "l4") -> None:
        """`count` pods of an app, all running."""
        self.kube.apply(samples.deployment(f"{self.pool.name}-{app}", count, self.name(gpu)))
        self._apps.append(f"{self.pool.name}-{app}")
        self.wait_for_pods(count, app)

    def wait_for_pods(self, count: int, app: str = "a") -> None:
        def all_run() -> bool:
            pods = self.pods(app)
            return len(pods) == count == len(_placed(pods))

        eventually(all_run, lambda: f"{len(self.running(app))} of {count} run", within_seconds=180)

    def pods(self, app: str = "a") -> list[Object]:
        found = self.kube.list(PODS, labelSelector=f"app={self.pool.name}-{app}")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def running(self, app: str = "a") -> dict[str, str]:
        """Names of running pods -> their node."""
        return _placed(self.pods(app))

    def on_each_node(self, *counts: int) -> list[str]:
        """A node for each count, with that many pods of an app of its own (n0, n1, ...)."""
        nodes = []
        for number, count in enumerate(counts):
            self.run(count, f"n{number}")
            (node,) = set(self.running(f"n{number}").values())
            nodes.append(node)
            self._cordon(node, True)  # the next app's pods shall not come here
        for node in nodes:
            self._cordon(node, False)
        return nodes

    def _cordon(self, node: str, cordoned: bool) -> None:
        self.kube.merge(f"{NODES}/{node}", {"spec": {"unschedulable": cordoned or None}})

    # What stands

    def claims(self, gpu: str = "l4") -> list[Object]:
        return self.kube.list(CLAIMS, labelSelector=f"{layout.NODE_POOL_LABEL}={self.name(gpu)}")

    def nodes(self, gpu: str = "l4") -> list[Object]:
        return self.kube.list(NODES, labelSelector=f"{layout.NODE_POOL_LABEL}={self.name(gpu)}")

    def overlays(self) -> list[Object]:
        mine = f"slicewise-{self.pool.name}-"
        return [item for item in self.kube.list(OVERLAYS) if item["metadata"]["name"].startswith(mine)]

    def node_pool(self, gpu: str = "l4") -> Object:
        return self.kube.get(f"{NODE_POOLS}/{self.name(gpu)}")

    def stands(self, gpu: str = "l4") -> dict[str, object]:
        """All that says N."""
        pool = self.node_pool(gpu)
        items = [*self.claims(gpu), *self.nodes(gpu)]
        overlays = [o for o in self.overlays() if o["metadata"]["name"].startswith(f"{self.name(gpu)}-")]
        return {
            "keys": observed.config_keys_of(pool),
            "n": {
                *(observed.n_of_overlay(overlay, self.pool) for overlay in overlays),
                observed.n_of_limits(pool, self.pool),
            },
            "after": pool["spec"]["disruption"]["consolidateAfter"],
            "changing": ROLLOUT_ANNOTATION in pool["metadata"]["annotations"],
            "labels": {item["metadata"]["labels"][layout.CONFIG_LABEL] for item in items},
            "cordoned": [n["metadata"]["name"] for n in self.nodes(gpu) if n["spec"].get("unschedulable")],
        }

    # The change

    def change(
        self,
        target: int,
        gpu: str = "l4",
        broken: Callable[[Retuning], Sequence[str]] = lambda tuner: (),
        after_each: Callable[[Advance], object] = lambda found: None,
        within_seconds: float = 180,
    ) -> Advance:
        """From the beginning, or from where it stands, to the end."""
        if self.tuner.state(gpu).rollout is None:
            last = self.tuner.begin(target, gpu)
            assert last.actions, last
        deadline = time.monotonic() + within_seconds
        while found := self.tuner.step(broken(self.tuner), gpu):
            last = found
            after_each(last)
            assert time.monotonic() < deadline, self.tuner.said
            time.sleep(0.1 if last.actions else 1.0)  # each look lists the whole cluster
        return last

    def clean(self) -> None:
        self.seen.stop()
        for app in set(self._apps):
            self.kube.delete(f"{DEPLOYMENTS}/{app}", missing_ok=True)
        for gpu in self.pool.models():
            self.kube.delete(f"{NODE_POOLS}/{self.name(gpu.name)}", missing_ok=True)
        # Karpenter goes through all overlays, again and again, before it plans with a change of one.
        for overlay in self.overlays():
            self.kube.delete(f"{OVERLAYS}/{overlay['metadata']['name']}", missing_ok=True)


def _placed(pods: Sequence[Object]) -> dict[str, str]:
    return {
        pod["metadata"]["name"]: pod["spec"]["nodeName"]
        for pod in pods
        if pod["status"].get("phase") == "Running"
    }


def at(n: int, key: str, after: str = "10m", **more: object) -> dict[str, object]:
    return {
        "keys": (key,),
        "n": {n},
        "after": after,
        "changing": False,
        "labels": {key},
        "cordoned": [],
    } | more


@pytest.fixture(scope="module")
def retuning_plane(
    request: pytest.FixtureRequest, groups_own: GroupsOwn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """Karpenter, stand-in GPUs and the device plugin's keys, for all tests of changes of N."""
    yield from groups_own.share(request, lambda: _plane(tmp_path_factory.mktemp("retuning")))


@contextmanager
def _plane(folder: Path) -> Iterator[ControlPlane]:
    with ControlPlane.start(folder, system_nodes=1) as plane:
        plane.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gpu-operator"}})
        plane.kube.apply(layout.config_map({}))
        plane.kube.apply(samples.node_class())
        with GpuNodes(plane.kube, delay_seconds=0.3, requires_cluster_policy=False):
            yield plane


@pytest.fixture
def retuned(retuning_plane: ControlPlane) -> Iterator[Callable[..., RetunedPool]]:
    """Makes a pool of a name of its own from how it starts; it goes with the test."""
    made: list[RetunedPool] = []

    def make(name: str, start: int, **more: str) -> RetunedPool:
        made.append(make_pool(retuning_plane, name, start, **more))
        return made[-1]

    yield make
    for pool in made:
        pool.clean()


def make_pool(
    plane: ControlPlane,
    name: str,
    start: int,
    *,
    gpus: str = "[l4]",
    counts: str = "[1]",
    sharing: str = "time-slicing",
    after: str = "10m",
    node_class: str = "default",
) -> RetunedPool:
    policy = builders.policy(
        f"{{{name}: {{sharing: {sharing}, gpus: {gpus}, replicas: {{start: {start}, max: 8}}, "
        f"maxGpus: 16, gpuCounts: {counts}}}}}",
        f"consolidation: {{after: {after}}}",
        f"nodeClass: {{group: karpenter.kwok.sh, kind: KWOKNodeClass, name: {node_class}, create: false}}",
    )
    return RetunedPool(plane, policy, as_tuner(plane, policy, f"tuner-{name}"))


def as_tuner(plane: ControlPlane, policy: Policy, account: str) -> KubernetesApi:
    for item in tuners_rights(policy, account):
        plane.kube.apply(item)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = plane.kube.request("POST", f"{ACCOUNTS}/{account}/token", asked)["status"]["token"]
    kubernetes = KubernetesApi(plane.url, base64.b64encode(plane.ca_pem).decode(), lambda: token)
    eventually(lambda: _sees_all(kubernetes), "its rights are not in effect")
    return kubernetes


def _sees_all(kubernetes: KubernetesApi) -> bool:
    try:
        read_contents(kubernetes)
        kubernetes.list("policy/v1", "PodDisruptionBudget")
        return True
    except Refused:
        return False


def tuners_rights(policy: Policy, account: str) -> Iterator[Object]:
    """What onboarding gives the tuner under this policy and holds it to, for a service account."""
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": account, "namespace": "kube-system"},
    }
    for item in rbac.objects(policy):
        if item["metadata"]["name"] == rbac.TUNER:
            mine = json.loads(json.dumps(item).replace(rbac.TUNER, account))
            if "subjects" in mine:
                mine["subjects"] = [{"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}]
            yield mine
    yield from held(rights.TUNER, account)


def held(identity: rights.Identity, account: str) -> Iterator[Object]:
    """The admission policy of an identity, by the name and for the user of a service account."""
    us = f"request.userInfo.username == 'system:serviceaccount:kube-system:{account}'"
    for item in (admission.policy_of(identity), admission.binding_of(identity)):
        mine = json.loads(json.dumps(item).replace(identity.name, account))
        for asked in mine["spec"].get("matchConditions", ()):
            asked["expression"] = us
        yield mine
