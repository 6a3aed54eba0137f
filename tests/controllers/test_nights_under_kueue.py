"""Nights of what queues under the real Kueue, on GPU nodes that the real Karpenter starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from slicewise.planning.outcome import Stage
from slicewise.policy.off_hours import Jobs

from sandbox.cluster.client import condition
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples as controller_samples
from sandbox.controllers.process import Controllers
from tests.fakes.kube import kueue as fake
from tests.fakes.sleeper import NIGHTS
from tests.sandbox.offhours.test_offhours import (
    EARLY,
    GPU,
    MORNING,
    NAMESPACE,
    NIGHT,
    POLICY,
    Cluster,
    gpus_of,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("kueue")

KUEUE = fake.API
CLUSTER_QUEUE = f"/apis/{KUEUE}/clusterqueues/gpus"
GPUS, CPUS = ("nvidia.com/gpu", "2"), ("cpu", "4")


@pytest.fixture(scope="module")
def kueue(karpenter_plane: ControlPlane) -> Iterator[Cluster]:
    """A cluster whose GPU workloads sleep, with Kueue and the rights that come with its kinds."""
    gpus = gpus_of(karpenter_plane.kube)
    with Controllers.start(karpenter_plane, "kueue"), gpus:
        cluster = Cluster(karpenter_plane)
        cluster.grant(POLICY)
        for item in (ours(), fake.flavor("others"), fake.local_queue("team", "gpus", NAMESPACE)):
            karpenter_plane.kube.apply(item)
        yield cluster


def ours() -> dict[str, Any]:
    return fake.flavor("ours", **{"slicewise.dev/pool": "nights"})


def queue(mixed: bool) -> dict[str, Any]:
    """It has quota for two GPUs, all of it of our pool, or beside CPUs of other nodes."""
    groups = [group("ours", GPUS), group("others", CPUS)] if mixed else [group("ours", GPUS, CPUS)]
    spec = {"namespaceSelector": {}, "resourceGroups": groups}
    return {"apiVersion": KUEUE, "kind": "ClusterQueue", "metadata": {"name": "gpus"}, "spec": spec}


def group(flavor: str, *quotas: tuple[str, str]) -> dict[str, Any]:
    resources = [{"name": resource, "nominalQuota": amount} for resource, amount in quotas]
    covered = [resource for resource, _ in quotas]
    return {"coveredResources": covered, "flavors": [{"name": flavor, "resources": resources}]}


def queued(item: dict[str, Any]) -> dict[str, Any]:
    return controller_samples.queued(item, "team")


def waiting(cluster: Cluster) -> dict[str, bool]:
    """By Job, whether its Workload is active, of those that are not admitted."""
    found = cluster.kube.list(cluster.path("workloads", group=KUEUE))
    return {
        one["metadata"]["ownerReferences"][0]["name"]: one["spec"]["active"]
        for one in found
        if one["metadata"]["ownerReferences"][0]["kind"] == "Job"
        and condition(one, "QuotaReserved") != "True"
    }


def is_started(cluster: Cluster, job: str) -> bool:
    return not cluster.spec(cluster.path("jobs", job, "batch/v1"))["suspend"]


def begin(cluster: Cluster, mixed: bool, jobs: Jobs = Jobs.FINISH, ran: bool = False) -> Any:
    """
    A Deployment with all of the GPUs, and two Jobs that wait for them.

    Args:
        ran: One of the GPUs is a Job's, which runs.
    """
    kube = cluster.kube
    kube.apply(queue(mixed))
    eventually(
        lambda: condition(kube.get(CLUSTER_QUEUE), "Active") == "True", lambda: kube.get(CLUSTER_QUEUE)
    )
    if ran:
        kube.create(queued(GPU.job("ran", "1h")))
        eventually(lambda: cluster.running("ran") == 1, lambda: waiting(cluster))
    kube.create(queued(GPU.scaled("Deployment", "server", 2 - ran)))
    eventually(lambda: cluster.running("server") == 2 - ran, lambda: cluster.pods("server"))
    for name in ("a", "b"):
        kube.create(queued(GPU.job(name, "1h")))
        eventually(lambda name=name: name in waiting(cluster), lambda: waiting(cluster))
    cluster.night = cluster.another_night()
    cluster.night.off_hours = replace(NIGHTS, jobs=jobs)
    return specs(cluster)


def specs(cluster: Cluster) -> Any:
    kube, path = cluster.kube, cluster.path
    items = [kube.get(CLUSTER_QUEUE), kube.get(path("deployments", "server"))]
    items += [kube.get(path("jobs", name, "batch/v1")) for name in ("a", "b")]
    marks = [one["metadata"].get("annotations", {}).get("slicewise.dev/asleep-was") for one in items]
    return [one["spec"] for one in items], marks, {job: waiting(cluster)[job] for job in ("a", "b")}


def wake(cluster: Cluster, replicas: int = 2) -> None:
    def has_let_go() -> bool:
        cluster.night.reconcile_once()
        return cluster.running("server") == replicas and all(waiting(cluster).values())

    cluster.night.at(EARLY)
    eventually(has_let_go, lambda: (waiting(cluster), cluster.night.plans[-1].outcome), every=1)
    cluster.night.at(MORNING)
    assert cluster.settle(Stage.AWAKE).outcome.findings == ()


def end(cluster: Cluster, *jobs: str) -> None:
    """Who waited has the quota in its turn; then all goes."""
    kube, path = cluster.kube, cluster.path
    assert not any(is_started(cluster, job) for job in ("a", "b"))
    kube.merge(path("deployments", "server"), {"spec": {"replicas": 0}})
    eventually(lambda: is_started(cluster, "a") and is_started(cluster, "b"), lambda: waiting(cluster))
    clear(cluster, *jobs)


def clear(cluster: Cluster, *jobs: str) -> None:
    kube, path = cluster.kube, cluster.path
    for item in (path("deployments", "server"), *(path("jobs", job, "batch/v1") for job in jobs)):
        kube.delete(item)
    eventually(lambda: not kube.list(path("workloads", group=KUEUE)), "Workloads outlive their owners")


def test_what_queues_for_our_pools_starts_in_no_night_and_all_have_their_quota_again(kueue: Cluster):
    before = begin(kueue, mixed=False)

    kueue.night.at(NIGHT)
    asleep = kueue.settle(Stage.ASLEEP)
    assert kueue.spec(CLUSTER_QUEUE)["stopPolicy"] == "Hold"
    assert [one.code for one in asleep.outcome.findings] == ["queue-held"]
    kueue.kube.create(queued(GPU.job("c", "1h")))  # of the night
    eventually(lambda: len(waiting(kueue)) == 3, lambda: waiting(kueue))
    assert kueue.gpu_nodes() == [] and kueue.pods("server") == []
    assert not any(is_started(kueue, job) for job in ("a", "b", "c"))

    wake(kueue)

    assert specs(kueue) == before and not is_started(kueue, "c")
    end(kueue, "a", "b", "c")


def test_of_a_queue_with_other_nodes_cpu_work_goes_on_and_ours_waits(kueue: Cluster):
    before = begin(kueue, mixed=True)

    kueue.night.at(NIGHT)
    asleep = kueue.settle(Stage.ASLEEP)
    assert kueue.spec(CLUSTER_QUEUE)["stopPolicy"] == "None" and waiting(kueue) == {"a": False, "b": False}
    assert [one.code for one in asleep.outcome.findings] == ["queue-held"]
    cpu = controller_samples.job("cpu", namespace=NAMESPACE)
    cpu["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    kueue.kube.create(queued(cpu))
    eventually(lambda: is_started(kueue, "cpu"), lambda: waiting(kueue))
    assert kueue.gpu_nodes() == [] and not is_started(kueue, "a")

    wake(kueue)

    assert specs(kueue) == before
    end(kueue, "a", "b", "cpu")


@pytest.mark.parametrize("mixed", [False, True], ids=["ours alone", "mixed"])
def test_a_job_that_runs_is_ended_for_the_night_and_runs_again_before_what_waited(
    kueue: Cluster, mixed: bool
):
    before = begin(kueue, mixed, Jobs.SUSPEND, ran=True)
    at = kueue.path("jobs", "ran", "batch/v1")
    spec = kueue.spec(at)

    kueue.night.at(NIGHT)
    asleep = kueue.settle(Stage.ASLEEP)
    assert kueue.gpu_nodes() == [] and kueue.pods("ran") == [] and kueue.pods("server") == []
    assert not any(is_started(kueue, job) for job in ("ran", "a", "b"))
    assert [one.code for one in asleep.outcome.findings] == ["queue-held"]

    wake(kueue, replicas=1)

    eventually(lambda: kueue.running("ran") == 1, lambda: waiting(kueue))
    assert (specs(kueue), kueue.spec(at)) == (before, spec)
    assert not any(is_started(kueue, job) for job in ("a", "b"))
    clear(kueue, "ran", "a", "b")


def test_where_jobs_may_use_the_night_they_run_on_gpu_nodes_and_nothing_of_kueue_is_written(kueue: Cluster):
    begin(kueue, mixed=False, jobs=Jobs.RUN)
    queue_before = kueue.kube.get(CLUSTER_QUEUE)["spec"]

    def is_asleep() -> bool:
        kueue.night.reconcile_once()
        return kueue.pods("server") == [] and kueue.running("a") == kueue.running("b") == 1

    kueue.night.at(NIGHT)
    eventually(is_asleep, lambda: (waiting(kueue), kueue.night.plans[-1].outcome), every=1)
    reported = kueue.night.dry_run().outcome
    assert {"queues-open", "job-runs"} == {one.code for one in reported.findings}
    assert kueue.gpu_nodes() and kueue.kube.get(CLUSTER_QUEUE)["spec"] == queue_before

    kueue.night.at(MORNING)
    kueue.settle(Stage.AWAKE)
    assert kueue.spec(kueue.path("deployments", "server"))["replicas"] == 2
    assert kueue.running("a") == kueue.running("b") == 1 and kueue.running("server") == 0
    clear(kueue, "a", "b")
