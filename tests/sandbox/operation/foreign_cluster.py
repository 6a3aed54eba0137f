"""
A cluster that others run: a GPU Operator and NodePools of a team's, one of them kept by a platform team, and
all that becomes of its nodes and pods.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.kube import quantities
from slicewise.pools import layout

from sandbox.cluster import samples
from sandbox.cluster.client import KubeClient, condition
from sandbox.demo.team_cluster import TeamCluster
from sandbox.system import Cluster
from tests.sandbox.rights import REFUSED_BY_ITS_OWNERS
from tests.sandbox.system_fixtures import NODE_CLAIMS, NODE_POOLS, NODES, PODS, running
from tests.sandbox.watches import Watches
from tests.support.waiting import eventually

Object = dict[str, Any]
GPU = layout.GPU_RESOURCE
TAKEN, STUCK, FEW = "gpu", REFUSED_BY_ITS_OWNERS, "few"
# Without nodes: they come to no harm by the one that refuses to be written.
IDLE = ("gpu-second", "gpu-third")
SMALL, LARGE = "g6.xlarge", "g6.12xlarge"  # one GPU, and four
THEIR_HELM = "their-helm"
DEDICATED = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}


def by_day(ends: datetime) -> list[Object]:
    """Budgets of a day of twelve hours, in which no node may go; at other times one may."""
    began = ends - timedelta(hours=12)
    return [
        {"nodes": "0", "schedule": f"{began.minute} {began.hour} * * *", "duration": "12h"},
        {"nodes": "1"},
    ]


# It outlasts each test.
DAY = by_day(ends=datetime.now(UTC) + timedelta(hours=11))


class ForeignCluster(TeamCluster):
    """Its pods, by app: `vision` with a GPU each, `training` with two, one of three on a GPU of `few`."""

    def fill(self) -> None:
        """All that they have, running."""
        self.install()
        for item in platforms_policy(STUCK):
            self.kube.apply(item)
        idle = [team_pool(name, SMALL) for name in IDLE]
        for pool in (team_pool(TAKEN, SMALL, LARGE), team_pool(STUCK, SMALL), few_pool(), *idle):
            self.kube.apply(pool, field_manager=THEIR_HELM)
        self.run("vision", 1)
        self.run("training", 1)
        self.kube.apply(_deployment("owned", 1, STUCK, SMALL))
        self.kube.apply(_deployment("third", 1, FEW, SMALL))
        self.wait_for(vision=1, training=1, owned=1, third=1)

    def run(self, app: str, pods: int) -> None:
        machine, gpus = (LARGE, 2) if app == "training" else (SMALL, 1)
        self.kube.apply(_deployment(app, pods, TAKEN, machine, gpus))

    def wait_for(self, **pods: int) -> None:
        """So many of each app, all running."""

        def counts() -> dict[str, tuple[int, int]]:
            return {app: (running(self.kube, app), len(self.pods_of(app))) for app in pods}

        eventually(
            lambda: counts() == {app: (count, count) for app, count in pods.items()},
            counts,
            within_seconds=180,
        )

    def pods_of(self, app: str) -> list[Object]:
        return self.kube.list(PODS, labelSelector=f"app={app}")

    def set_budgets(self, budgets: list[Object]) -> None:
        """By hand: their helm would write over all of the NodePool, what requires our labels included."""
        path = f"{NODE_POOLS}/{TAKEN}?fieldManager=kubectl-edit"
        self.kube.merge(path, {"spec": {"disruption": {"budgets": budgets}}})

    def taken(self) -> Object:
        return self.kube.get(f"{NODE_POOLS}/{TAKEN}")


def foreign_cluster(cluster: Cluster) -> ForeignCluster:
    found = ForeignCluster(cluster)
    found.fill()
    return found


def team_pool(name: str, *machines: str) -> Object:
    """Of whole GPUs, which Karpenter leaves alone for good; by day no node may go."""
    pool = samples.node_pool(name, key="none", instance_types=machines, labels={"team": "vision"})
    template = pool["spec"]["template"]["spec"]
    template["requirements"] = [one for one in template["requirements"] if one["key"] != samples.CONFIG_LABEL]
    template["taints"].append(DEDICATED)
    disruption = {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "Never", "budgets": DAY}
    limits = {"cpu": "500", GPU: "5"}  # a small machine, and a large one
    return {**pool, "spec": {**pool["spec"], "disruption": disruption, "limits": limits}}


def few_pool() -> Object:
    """Nobody's to adopt: its nodes have slices of the team's own."""
    pool = samples.node_pool(FEW, key=FEW)
    pool["spec"]["disruption"]["consolidateAfter"] = "Never"
    return pool


def platforms_policy(node_pool: str) -> tuple[Object, Object]:
    """Its owners let nobody of Slicewise's write this NodePool."""
    group, metadata = "admissionregistration.k8s.io/v1", {"name": "platform-owns"}
    kind = {"apiGroups": ["karpenter.sh"], "apiVersions": ["v1"], "resources": ["nodepools"]}
    theirs = "request.userInfo.username.contains('assumed-role/slicewise-')"
    allows = f"object.metadata.name != '{node_pool}' || !{theirs}"
    spec = {
        "matchConstraints": {"resourceRules": [{**kind, "operations": ["UPDATE"]}]},
        "validations": [{"expression": allows, "message": "the platform team owns it"}],
    }
    bound = {"policyName": "platform-owns", "validationActions": ["Deny"]}
    return (
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": spec},
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": bound,
        },
    )


def _deployment(app: str, pods: int, pool: str, machine: str, gpus: int = 1) -> Object:
    found = samples.deployment(app, pods, pool)
    spec = found["spec"]["template"]["spec"]
    spec["nodeSelector"]["node.kubernetes.io/instance-type"] = machine
    spec["tolerations"].append({"key": DEDICATED["key"], "operator": "Exists"})
    spec["containers"][0]["resources"]["limits"] = {GPU: str(gpus)}
    return found


@dataclass
class Seen:
    """
    What became of nodes and pods since it was made, by watches that miss nothing.

    Attributes:
        drifted: NodeClaims that Karpenter ever said it would replace.
        wrong: Each time a node offered neither what it had offered before nor what its label says.
        blanks: How often each node's offer fell to nothing: each time its device plugin starts anew.
        gone: Names of pods that went, or were told to go.
    """

    kube: KubeClient
    drifted: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    blanks: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    offers: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watches = Watches(self.kube)
        for path, see in ((NODES, self._node), (NODE_CLAIMS, self._claim), (PODS, self._pod)):
            self.watches.follow(path, see)

    def _node(self, what: str, node: Object) -> None:
        name, promised = node["metadata"]["name"], _promised(node)
        if what == "DELETED" or promised is None:
            return
        offered = quantities.whole(node["status"].get("allocatable", {}).get(GPU))
        before = self.offers.setdefault(name, [])
        if before[-1:] == [offered]:
            return
        if before and offered == 0:
            self.blanks[name] = self.blanks.get(name, 0) + 1
        elif offered not in (0, promised) and offered not in before[-2:]:
            self.wrong.append(f"{name} offers {offered}, after {before}, and its label says {promised}")
        before.append(offered)

    def _claim(self, what: str, claim: Object) -> None:
        if condition(claim, "Drifted") == "True":
            self.drifted.add(claim["metadata"]["name"])

    def _pod(self, what: str, pod: Object) -> None:
        if what == "DELETED" or pod["metadata"].get("deletionTimestamp"):
            self.gone.add(pod["metadata"]["name"])


def _promised(node: Object) -> int | None:
    """Slices by the configuration that its label names, or by the team's default; None without GPUs."""
    labels = node["metadata"].get("labels", {})
    gpus = labels.get(layout.GPU_COUNT_LABEL)
    if gpus is None:
        return None
    key = labels.get(layout.CONFIG_LABEL, layout.EXCLUSIVE)
    slices = 3 if key == FEW else layout.slices_of_key(key)
    return int(gpus) * (slices or 1)
