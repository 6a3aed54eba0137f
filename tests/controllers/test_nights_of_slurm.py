"""
The real Slurm operator, whose NodeSets make pods of their own: nights on GPU nodes that the real Karpenter
starts. Slurm itself is a stand-in, which says what runs on which Slurm node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from slicewise.planning.outcome import Stage

from sandbox.cluster import audit
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples
from sandbox.controllers.process import Controllers
from sandbox.controllers.slurmrestd_stand_in import SlurmrestdStandIn
from tests.sandbox.offhours.test_offhours import EARLY, GPU, MORNING, NAMESPACE, NIGHT, Cluster, gpus_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("slurm")

Object = dict[str, Any]
ACCOUNT = "system:serviceaccount:slinky:slurm-operator"
CLAIM: Object = {
    "accessModes": ["ReadWriteOnce"],
    "storageClassName": "",
    "resources": {"requests": {"storage": "1Gi"}},
}
CORDONED = "nodeset.slinky.slurm.net/pod-cordon"


@pytest.fixture(scope="module")
def controllers(karpenter_plane: ControlPlane) -> Iterator[Controllers]:
    with Controllers.start(karpenter_plane, "slurm") as started:
        yield started


@pytest.fixture(scope="module")
def nodes(karpenter_plane: ControlPlane, controllers: Controllers) -> Iterator[Cluster]:
    """A cluster whose GPU workloads sleep, with Slurm."""
    with gpus_of(karpenter_plane.kube):
        cluster = Cluster(karpenter_plane)
        for item in samples.slurm("hpc", namespace=NAMESPACE):
            karpenter_plane.kube.create(item)
        at = cluster.path("deployments", "hpc-restapi")
        eventually(lambda: (karpenter_plane.kube.find(at) or {}).get("status", {}).get("readyReplicas"))
        yield cluster


@pytest.fixture
def slurm(controllers: Controllers) -> Iterator[SlurmrestdStandIn]:
    found = controllers.stand_in("slurm")
    yield found
    found.busy.clear()


@pytest.fixture(autouse=True)
def emptied(nodes: Cluster, slurm: SlurmrestdStandIn) -> Iterator[None]:
    nodes.night = nodes.another_night()
    yield
    slurm.busy.clear()
    for item in nodes.kube.list(nodes.path("nodesets", group=samples.SLURM)):
        nodes.kube.delete(nodes.path("nodesets", item["metadata"]["name"], samples.SLURM))
    eventually(lambda: not nodes.pods("train"), lambda: nodes.pods("train"))


def node_set(name: str, replicas: int) -> Object:
    template = GPU.scaled("Deployment", name, replicas)["spec"]["template"]
    return samples.slurm_node_set(name, replicas, "hpc", namespace=NAMESPACE, template=template)


def drained_first(slurm: SlurmrestdStandIn) -> None:
    """The operator's client asks each half minute, once the REST API's Deployment is ready."""
    eventually(lambda: all(node["comment"] for node in slurm.nodes()), slurm.nodes)


def bind(nodes: Cluster, claim: str) -> None:
    """What binds volumes to claims is not here."""
    found = eventually(lambda: nodes.kube.find(claim))
    reference = {key: found["metadata"][key] for key in ("name", "namespace", "uid")}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "scratch"},
        "spec": {
            "accessModes": CLAIM["accessModes"],
            "capacity": CLAIM["resources"]["requests"],
            "hostPath": {"path": "/scratch"},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **reference},
        },
    }
    nodes.kube.create(volume)
    nodes.kube.merge(f"{nodes.kube.path(volume)}/status", {"status": {"phase": "Bound"}})
    done = {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    nodes.kube.merge(claim, {"metadata": done, "spec": {"volumeName": "scratch"}})
    nodes.kube.merge(f"{claim}/status", {"status": {"phase": "Bound"}})


def is_going(nodes: Cluster, claim: str) -> bool:
    """It keeps a finalizer, whose controller is not here either."""
    found = nodes.kube.find(claim)
    return found is None or "deletionTimestamp" in found["metadata"]


def test_a_node_set_sleeps_and_wakes_as_it_was(nodes: Cluster, slurm: SlurmrestdStandIn):
    night, at = nodes.night, nodes.path("nodesets", "train", samples.SLURM)
    nodes.kube.create(node_set("train", 2))
    eventually(lambda: nodes.running("train") == 2, lambda: nodes.kube.get(at))
    drained_first(slurm)
    before = nodes.kube.get(at)

    night.at(NIGHT)
    asleep = nodes.settle(Stage.ASLEEP)
    assert nodes.gpu_nodes() == [] and nodes.pods("train") == [] and asleep.outcome.findings == ()
    assert nodes.spec(at)["replicas"] == 0

    night.at(EARLY)
    nodes.settle(Stage.WAKING)
    eventually(lambda: nodes.running("train") == 2, lambda: nodes.kube.get(at))
    night.at(MORNING)
    assert nodes.settle(Stage.AWAKE).outcome.findings == ()
    after = nodes.kube.get(at)
    assert (after["spec"], after["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")


def test_a_slurm_job_runs_to_its_end_and_its_node_goes_then(nodes: Cluster, slurm: SlurmrestdStandIn):
    night, at = nodes.night, nodes.path("nodesets", "train", samples.SLURM)
    nodes.kube.create(node_set("train", 2))
    eventually(lambda: nodes.running("train") == 2, lambda: nodes.kube.get(at))
    drained_first(slurm)
    before = nodes.spec(at)
    slurm.busy.add("train-0")
    eventually(lambda: nodes.kube.get(at)["status"].get("slurmAllocated") == 1, lambda: nodes.kube.get(at))

    night.at(NIGHT)
    night.reconcile_once()
    eventually(lambda: len(nodes.pods("train")) == 1, lambda: nodes.pods("train"))
    eventually(lambda: slurm.nodes()[0]["state"] == ["ALLOCATED", "DRAIN"], slurm.nodes)
    going = night.later(minutes=6).reconcile_once()
    [finding] = [one for one in going.outcome.findings if one.code == "outlives-its-sleep"]
    assert going.outcome.stage is Stage.GOING_TO_SLEEP
    assert "NodeSet nightly/train" in finding.message and "Slurm jobs run there" in finding.message
    [pod] = nodes.pods("train")
    assert pod["metadata"]["annotations"][CORDONED] == "true" and nodes.spec(at)["replicas"] == 0

    slurm.busy.clear()
    eventually(lambda: not nodes.pods("train"), lambda: nodes.pods("train"))
    assert nodes.settle(Stage.ASLEEP).outcome.findings == () and nodes.gpu_nodes() == []

    night.at(EARLY)
    nodes.settle(Stage.WAKING)
    eventually(lambda: nodes.running("train") == 2, lambda: nodes.kube.get(at))
    night.at(MORNING)
    assert nodes.settle(Stage.AWAKE).outcome.findings == () and nodes.spec(at) == before


def test_a_node_that_still_drains_in_the_morning_takes_jobs_again(nodes: Cluster, slurm: SlurmrestdStandIn):
    night, at = nodes.night, nodes.path("nodesets", "train", samples.SLURM)
    nodes.kube.create(node_set("train", 1))
    eventually(lambda: nodes.running("train") == 1, lambda: nodes.kube.get(at))
    drained_first(slurm)
    [pod] = nodes.pods("train")
    slurm.busy.add("train-0")
    eventually(lambda: nodes.kube.get(at)["status"].get("slurmAllocated") == 1, lambda: nodes.kube.get(at))
    night.at(NIGHT)
    night.reconcile_once()
    eventually(lambda: slurm.nodes()[0]["state"] == ["ALLOCATED", "DRAIN"], slurm.nodes)

    night.at(EARLY)
    nodes.settle(Stage.WAKING)
    eventually(lambda: slurm.nodes()[0]["state"] == ["ALLOCATED"], slurm.nodes)
    night.at(MORNING)
    assert nodes.settle(Stage.AWAKE).outcome.findings == ()
    [kept] = nodes.pods("train")
    assert (
        kept["metadata"]["uid"] == pod["metadata"]["uid"] and CORDONED not in kept["metadata"]["annotations"]
    )


def test_without_slurms_rest_api_pods_end_at_once_with_the_jobs_on_them(
    nodes: Cluster, slurm: SlurmrestdStandIn
):
    """The operator then takes each Slurm node for drained: docs/off-hours.md says what that costs."""
    night, at = nodes.night, nodes.path("nodesets", "train", samples.SLURM)
    secret, controller, _ = samples.slurm("lone", namespace=NAMESPACE)
    for item in (secret, controller):
        nodes.kube.apply(item)
    lone = node_set("train", 1)
    lone["spec"]["controllerRef"]["name"] = "lone"
    nodes.kube.create(lone)
    eventually(lambda: nodes.running("train") == 1, lambda: nodes.kube.get(at))
    slurm.busy.add("train-0")

    night.at(NIGHT)
    assert nodes.settle(Stage.ASLEEP).outcome.findings == ()
    assert nodes.pods("train") == nodes.gpu_nodes() == []
    night.at(MORNING)
    assert nodes.settle(Stage.AWAKE).outcome.findings == () and nodes.spec(at)["replicas"] == 1


def test_one_that_deletes_its_volumes_when_scaled_down_is_left_awake(
    nodes: Cluster, slurm: SlurmrestdStandIn
):
    night, at = nodes.night, nodes.path("nodesets", "train", samples.SLURM)
    item = node_set("train", 1)
    item["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "scratch"}, "spec": CLAIM}]
    item["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    nodes.kube.create(item)
    claim = nodes.path("persistentvolumeclaims", "scratch-train-0", "v1")
    bind(nodes, claim)
    eventually(lambda: nodes.running("train") == 1, lambda: nodes.pods("train"))
    drained_first(slurm)
    before = nodes.spec(at)

    night.at(NIGHT)
    asleep = nodes.settle(Stage.ASLEEP)

    assert nodes.spec(at) == before and nodes.running("train") == 1 and not is_going(nodes, claim)
    assert {one.code for one in asleep.outcome.findings} == {"volumes-would-go", "open-for-what-stays"}
    night.at(MORNING)
    assert nodes.settle(Stage.AWAKE).outcome.findings == ()
    # What would have become of them.
    nodes.kube.merge(f"{at}/scale", {"spec": {"replicas": 0}})
    eventually(lambda: is_going(nodes, claim), lambda: nodes.kube.find(claim))


def test_the_operator_needs_no_more_than_its_own_roles(karpenter_plane: ControlPlane):
    requests = list(audit.requests(karpenter_plane.audit_log, ACCOUNT))

    assert any((request.verb, request.resource) == ("create", "pods") for request in requests)
    assert [request for request in requests if request.is_refused] == []
