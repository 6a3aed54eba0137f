"""A pool that is split into classes, on the real scheduler and the real Karpenter."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from slicewise.errors import Conflict
from slicewise.kube.labels import CLASS_LABEL, POOL_LABEL
from slicewise.kube.ref import Ref
from slicewise.planning.actions import SetClass
from slicewise.policy.model import parse
from slicewise.pools import layout
from slicewise.tuning.classes.annotation import is_rolled_out
from slicewise.tuning.classes.decision import ClassDecision, Recommendation
from slicewise.tuning.classes.migration import Moves, moves
from slicewise.tuning.observe import read_contents

from sandbox.cluster import samples
from sandbox.cluster.client import condition
from sandbox.cluster.control_plane import ControlPlane
from tests.sandbox.rollout.rollout_pool import DEPLOYMENTS, NODE_POOLS, NODES, OVERLAYS, PODS, as_tuner
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

POLICY = """
pools:
  mixed: {sharing: time-slicing, gpus: [l4], classes: [1, 2, 3], maxGpus: 16, gpuCounts: [1]}
consolidation: {policy: WhenEmpty, after: 1s}
nodeClass: {group: karpenter.kwok.sh, kind: KWOKNodeClass, name: default, create: false}
"""
POOL = {POOL_LABEL: "mixed"}
ON_GPUS = {"key": "nvidia.com/gpu", "operator": "Exists"}


def workload(name: str, replicas: int, size: int | None = None) -> dict:
    """As a person writes it who chose the class, or none."""
    item = samples.deployment(name, replicas, "")
    pod_spec = item["spec"]["template"]["spec"]
    pod_spec["nodeSelector"], pod_spec["tolerations"] = dict(POOL), [ON_GPUS]
    if size:
        pod_spec["nodeSelector"][CLASS_LABEL] = str(size)
        pod_spec["tolerations"].append({"key": CLASS_LABEL, "value": str(size)})
    return item


class Split:
    """The pool, as onboarding makes it."""

    def __init__(self, plane: ControlPlane):
        kube = plane.kube
        self.kube, self.policy = kube, parse(POLICY, "mixed")
        self._apps: set[str] = set()
        weights = layout.overlay_weights(self.policy)
        for part in self.policy.parts:
            for gpu in part.models():
                for overlay in layout.overlays(part, gpu, part.start, weights):
                    kube.apply(overlay, field_manager="slicewise")
                kube.apply(layout.node_pool(self.policy, part, gpu, part.start), field_manager="slicewise")
        eventually(lambda: all(condition(o, "Ready") == "True" for o in self.ours(OVERLAYS)))
        self.tuner = as_tuner(plane, self.policy, "tuner-mixed")

    def ours(self, kind: str) -> list[dict]:
        return self.kube.list(kind, labelSelector=f"{POOL_LABEL}=mixed")

    def run(self, *workloads: dict) -> None:
        for item in workloads:
            # Who applies on the server's side comes again: the fields would be left to them.
            self.kube.request("POST", DEPLOYMENTS, item)
        self._apps |= {item["metadata"]["name"] for item in workloads}
        wanted = {item["metadata"]["name"]: item["spec"]["replicas"] for item in workloads}
        eventually(
            lambda: {name: len(self.running(name)) for name in wanted} == wanted,
            lambda: {name: self.running(name) for name in wanted},
            within_seconds=120,
        )

    def running(self, app: str) -> dict[str, str]:
        """Names of an app's pods that run and stay, with their nodes."""
        return {
            pod["metadata"]["name"]: pod["spec"]["nodeName"]
            for pod in self.kube.list(PODS, labelSelector=f"app={app}")
            if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
        }

    def nodes(self) -> dict[str, dict]:
        return {node["metadata"]["name"]: node for node in self.ours(NODES)}

    def move(self, name: str, after: int) -> Moves:
        """What a pass does once it is decided that a workload belongs there; with the tuner's rights."""
        (item,) = [one for one in read_contents(self.tuner).workloads if one["metadata"]["name"] == name]
        size = layout.class_of(item["spec"]["template"]["spec"]) or 1
        ref = Ref("apps/v1", "Deployment", name, "default")
        one = Recommendation(ref, item["spec"]["replicas"], size, after, "a test")
        decision = ClassDecision("mixed", (1, 2, 3), recommendations=(one,))
        found = moves(decision, "gpu-1", [item], 15, "", datetime.now(UTC))
        for action in found.actions:
            if isinstance(action, SetClass):
                self.tuner.apply(action.object)
        return found

    def is_rolled_out(self, name: str) -> bool:
        return is_rolled_out(self.kube.get(f"{DEPLOYMENTS}/{name}"))

    def classes_of(self, app: str) -> Counter[str]:
        """How many pods of an app run on nodes of each class."""
        nodes = self.nodes()
        on = (nodes[node]["metadata"]["labels"][CLASS_LABEL] for node in self.running(app).values())
        return Counter(on)

    def clean(self) -> None:
        for app in self._apps:
            self.kube.delete(f"{DEPLOYMENTS}/{app}", missing_ok=True)
        for item in self.ours(NODE_POOLS):
            self.kube.delete(f"{NODE_POOLS}/{item['metadata']['name']}")


@pytest.fixture(scope="module")
def split(retuning_plane):
    made = Split(retuning_plane)
    yield made
    made.clean()


def test_pods_of_a_class_fill_nodes_of_its_n_and_one_without_has_a_gpu_to_itself(split):
    split.run(workload("none", 2), workload("two", 5, 2), workload("three", 7, 3))

    nodes = split.nodes()
    on = {app: Counter(split.running(app).values()) for app in ("none", "two", "three")}
    slices = {
        app: {nodes[node]["status"]["allocatable"]["nvidia.com/gpu"] for node in counts}
        for app, counts in on.items()
    }
    assert slices == {"none": {"1"}, "two": {"2"}, "three": {"3"}}
    assert {app: len(counts) for app, counts in on.items()} == {"none": 2, "two": 3, "three": 3}
    assert len(nodes) == 8


def test_a_workload_that_opted_in_goes_to_its_class_by_a_rolling_update_and_back(split):
    """What a person wrote beside the class stays, and a move over something newer than was seen is none."""
    item = workload("opted", 4)
    item["metadata"]["labels"] = {CLASS_LABEL: layout.AUTO}
    split.run(item)
    eventually(lambda: split.is_rolled_out("opted"))
    before = split.running("opted")
    assert split.classes_of("opted") == {"1": 4}

    moved = split.move("opted", 2)

    eventually(lambda: split.is_rolled_out("opted"), lambda: split.classes_of("opted"), within_seconds=60)
    assert split.classes_of("opted") == {"2": 4}
    assert max(Counter(split.running("opted").values()).values()) == 2
    assert not before.keys() & split.running("opted").keys()
    pod_spec = split.kube.get(f"{DEPLOYMENTS}/opted")["spec"]["template"]["spec"]
    assert ON_GPUS in pod_spec["tolerations"] and pod_spec["nodeSelector"] == {
        **POOL,
        CLASS_LABEL: "2",
    }
    with pytest.raises(Conflict):
        split.tuner.apply(moved.actions[0].object)

    split.move("opted", 1)

    eventually(lambda: split.is_rolled_out("opted"), lambda: split.classes_of("opted"), within_seconds=60)
    assert split.classes_of("opted") == {"1": 4}
    pod_spec = split.kube.get(f"{DEPLOYMENTS}/opted")["spec"]["template"]["spec"]
    assert (pod_spec["nodeSelector"], pod_spec["tolerations"]) == (POOL, [ON_GPUS])


def test_what_kubectl_applies_over_a_move_leaves_no_pod_that_cannot_start(split):
    """Its patch merges the selector, and puts its own tolerations back."""
    item = workload("applied", 2)
    item["metadata"]["labels"] = {CLASS_LABEL: layout.AUTO}
    split.run(item)
    eventually(lambda: split.is_rolled_out("applied"))
    split.move("applied", 2)
    eventually(lambda: split.is_rolled_out("applied"), within_seconds=60)
    pod_spec = {"nodeSelector": POOL, "tolerations": [ON_GPUS]}
    split.kube.merge(f"{DEPLOYMENTS}/applied", {"spec": {"template": {"spec": pod_spec}}})

    found = split.move("applied", 2)

    eventually(lambda: split.is_rolled_out("applied"), within_seconds=60)
    assert [finding.code for finding in found.findings] == ["class-reverted"]
    assert split.classes_of("applied") == {"1": 2}
    assert split.move("applied", 2).actions == ()
