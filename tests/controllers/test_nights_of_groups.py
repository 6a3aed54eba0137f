"""
The real LeaderWorkerSet and JobSet, whose pods belong together: nights on GPU nodes that the real Karpenter
starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from slicewise.planning.outcome import Stage

from sandbox.cluster import audit
from sandbox.cluster.client import KubeError, condition
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers.process import Controllers
from tests.controllers.suspended_jobs import each_way, have_jobs_suspended, sleep_and_wake_as_they_were
from tests.sandbox.offhours.gpu_workloads import LEADER_WORKER_SET
from tests.sandbox.offhours.test_offhours import EARLY, GPU, MORNING, NAMESPACE, NIGHT, Cluster, gpus_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("lws", "jobset")

Object = dict[str, Any]
JOB_SET = "jobset.x-k8s.io/v1alpha2"
GROUP = "leaderworkerset.sigs.k8s.io/group-index"
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
ACCOUNTS = {
    "system:serviceaccount:lws-system:lws-controller-manager": "statefulsets",
    "system:serviceaccount:jobset-system:jobset-controller-manager": "jobs",
}


@pytest.fixture(scope="module")
def groups(karpenter_plane: ControlPlane) -> Iterator[Cluster]:
    """A cluster whose GPU workloads sleep, with LeaderWorkerSet and JobSet."""
    gpus = gpus_of(karpenter_plane.kube)
    with Controllers.start(karpenter_plane, "lws", "jobset"), gpus:
        yield Cluster(karpenter_plane)


@pytest.fixture(autouse=True)
def emptied(groups: Cluster) -> Iterator[None]:
    groups.night = groups.another_night()
    yield
    kinds = (("leaderworkersets", LEADER_WORKER_SET), ("jobsets", JOB_SET), ("deployments", "apps/v1"))
    for plural, group in kinds:
        for item in groups.kube.list(groups.path(plural, group=group)):
            groups.kube.delete(groups.path(plural, item["metadata"]["name"], group))
    eventually(lambda: not groups.kube.list(groups.path("pods", group="v1")), "pods outlive their owners")


def make(cluster: Cluster, item: Object) -> None:
    """LeaderWorkerSet says that it is ready a moment before its webhooks answer."""

    def made() -> bool:
        try:
            cluster.kube.create(item)
        except KubeError as error:
            if "failed calling webhook" not in str(error):
                raise
            return False
        return True

    eventually(made, every=0.5)


def leader_worker_set(name: str, replicas: int, size: int) -> Object:
    item = GPU.scaled("LeaderWorkerSet", name, replicas, LEADER_WORKER_SET)
    item["spec"]["leaderWorkerTemplate"]["size"] = size
    return item


def job_set(name: str, jobs: int, app: str = "") -> Object:
    """Of Jobs of one pod each."""
    work = GPU.job(app or name, "1h")["spec"]
    replicated = {"name": "workers", "replicas": jobs, "template": {"spec": work}}
    return {
        "apiVersion": JOB_SET,
        "kind": "JobSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"replicatedJobs": [replicated]},
    }


def members(cluster: Cluster, app: str) -> Mapping[str, int]:
    """How many pods run of each group of a LeaderWorkerSet."""
    running = [pod for pod in cluster.pods(app) if pod["status"].get("phase") == "Running"]
    return Counter(pod["metadata"]["labels"][GROUP] for pod in running)


def test_a_leader_worker_set_sleeps_and_wakes_with_its_groups_whole(groups: Cluster):
    night, at = groups.night, groups.path("leaderworkersets", "llm", LEADER_WORKER_SET)
    make(groups, leader_worker_set("llm", 2, size=3))
    eventually(lambda: members(groups, "llm") == {"0": 3, "1": 3}, lambda: groups.kube.get(at))
    before = groups.kube.get(at)

    night.at(NIGHT)
    asleep = groups.settle(Stage.ASLEEP)
    assert groups.gpu_nodes() == [] and groups.pods("llm") == [] and asleep.outcome.findings == ()
    assert groups.spec(at)["replicas"] == 0

    night.at(EARLY)
    groups.settle(Stage.WAKING)
    eventually(lambda: members(groups, "llm") == {"0": 3, "1": 3}, lambda: groups.kube.get(at))
    eventually(lambda: condition(groups.kube.get(at), "Available") == "True", lambda: groups.kube.get(at))
    night.at(MORNING)
    assert groups.settle(Stage.AWAKE).outcome.findings == ()
    after = groups.kube.get(at)
    assert (after["spec"], after["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")


def test_one_whose_workers_sets_delete_their_volumes_when_deleted_is_left_awake(groups: Cluster):
    """At 0 the real one deletes the set of a group's workers, and with it what that deletes."""
    night, at = groups.night, groups.path("leaderworkersets", "stores", LEADER_WORKER_SET)
    item = leader_worker_set("stores", 1, size=2)
    item["spec"]["leaderWorkerTemplate"] |= {
        "volumeClaimTemplates": [{"metadata": {"name": "cache"}, "spec": CLAIM}],
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain", "whenDeleted": "Delete"},
    }
    make(groups, item)
    claims = [groups.path("persistentvolumeclaims", f"cache-stores-0{end}", "v1") for end in ("", "-1")]
    # What binds volumes is not here, so its pods wait; that changes nothing in what is asked of them.
    eventually(lambda: all(map(groups.kube.find, claims)), lambda: groups.pods("stores"))
    before = groups.spec(at)

    night.at(NIGHT)
    asleep = groups.settle(Stage.ASLEEP)

    [finding] = [one for one in asleep.outcome.findings if one.code == "volumes-would-go"]
    assert f"StatefulSet {NAMESPACE}/stores-0 deletes its volumes" in finding.message
    assert groups.spec(at) == before
    night.at(MORNING)
    groups.settle(Stage.AWAKE)
    # What would have become of them.
    groups.kube.merge(f"{at}/scale", {"spec": {"replicas": 0}})
    eventually(lambda: is_going(groups, claims[1]), lambda: groups.kube.find(claims[1]))
    assert not is_going(groups, claims[0])


def is_going(groups: Cluster, claim: str) -> bool:
    """It keeps a finalizer, whose controller is not here either."""
    found = groups.kube.find(claim)
    return found is None or "deletionTimestamp" in found["metadata"]


def test_a_job_set_runs_to_its_end_at_night_by_its_own_name_and_its_node_goes_then(groups: Cluster):
    kube, night, at = groups.kube, groups.night, groups.path("jobsets", "train", JOB_SET)
    make(groups, job_set("train", 2))
    kube.create(GPU.scaled("Deployment", "server", 5))
    eventually(lambda: groups.running("train") == 2, lambda: kube.get(at))
    eventually(lambda: groups.running("server") == 5, lambda: groups.pods("server"))
    before = kube.get(at)["spec"]
    pods = {pod["metadata"]["uid"]: pod["spec"]["nodeName"] for pod in groups.pods("train")}

    night.at(NIGHT)
    asleep = groups.settle(Stage.ASLEEP)

    requests = {one.code: one.message for one in asleep.outcome.findings}
    assert requests["job-runs"].startswith(f"JobSet {NAMESPACE}/train runs to completion")
    assert requests.keys() == {"job-runs", "open-for-what-stays"} and len(asleep.outcome.findings) == 2
    assert {pod["metadata"]["uid"] for pod in groups.pods("train")} == pods.keys()
    assert groups.running("train") == 2 and groups.pods("server") == []
    eventually(lambda: {node["metadata"]["name"] for node in groups.gpu_nodes()} == set(pods.values()))

    for pod in groups.pods("train"):  # their programs end
        path = groups.path("pods", pod["metadata"]["name"], "v1")
        kube.merge(f"{path}/status", {"status": {"phase": "Succeeded"}})
    eventually(lambda: condition(kube.get(at), "Completed") == "True", lambda: kube.get(at))
    eventually(lambda: night.reconcile_once() and not groups.gpu_nodes(), lambda: groups.gpu_nodes(), every=1)
    assert groups.settle(Stage.ASLEEP).outcome.findings == ()

    night.at(EARLY)
    groups.settle(Stage.WAKING)
    eventually(lambda: groups.running("server") == 5, lambda: groups.pods("server"))
    night.at(MORNING)
    assert groups.settle(Stage.AWAKE).outcome.findings == ()
    live = kube.get(at)
    assert live["spec"] == before and live["status"].get("restarts", 0) == 0


def test_job_sets_are_suspended_for_a_night_and_resumed_as_they_were(groups: Cluster):
    have_jobs_suspended(groups)
    made = each_way(lambda name: job_set(name, 2, "sets"), "spec", "suspend")
    for one in made:
        make(groups, one)

    sleep_and_wake_as_they_were(groups, made, "sets", 4)

    restarts = [groups.kube.get(groups.kube.path(one))["status"].get("restarts", 0) for one in made]
    assert restarts == [0, 0, 0]


@pytest.mark.parametrize(("account", "makes"), ACCOUNTS.items())
def test_they_need_no_more_than_their_own_roles(karpenter_plane: ControlPlane, account: str, makes: str):
    requests = list(audit.requests(karpenter_plane.audit_log, account))

    assert any((request.verb, request.resource) == ("create", makes) for request in requests)
    assert [request for request in requests if request.is_refused] == []
