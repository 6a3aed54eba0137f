"""Whose past a pod has: what a person made, however many controllers lie between."""

import hashlib
from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slicewise.kube.ref import Object
from slicewise.tuning.usage.history import History, WorkloadDay, WorkloadKey, key_of, pruned, use_of
from slicewise.tuning.usage.owners import topmost_owner
from slicewise.tuning.usage.pool_usage import WINDOW
from slicewise.tuning.usage.workloads import made_by, workload_of

from tests.support.builders import NOW
from tests.support.tuning import dcgm_samples as world
from tests.support.tuning.measured_reconciles import DAY, HOUR, Ran, Reconciler, node, scraped

HASH, LETTERS, MINUTE, SECOND = "7f5d8c9b7", "b4f5z", 29_384_700, 1_763_082_000


class Made(NamedTuple):
    """What a pod says of itself: its controller, that one's apiVersion and the labels."""

    kind: str
    name: str
    version: str = "apps/v1"
    labels: Mapping[str, str] = {}

    def pod(self, namespace: str = "team") -> Object:
        found = world.pod("p", owner=(self.kind, self.name, self.version), labels=self.labels)
        found["metadata"]["namespace"] = namespace
        return found


def deployed(deployment: str, hash_: str = HASH, **labels: str) -> Made:
    """By the ReplicaSet that a Deployment makes."""
    return Made("ReplicaSet", f"{deployment}-{hash_}", labels={"pod-template-hash": hash_, **labels})


def rolled_out(name: str, hash_: str = HASH) -> Made:
    return Made("ReplicaSet", f"{name}-{hash_}", labels={"rollouts-pod-template-hash": hash_})


def job(name: str, **labels: str) -> Made:
    return Made("Job", name, "batch/v1", labels)


def ray_cluster(name: str, **labels: str) -> Made:
    return Made("RayCluster", name, "ray.io/v1", {"ray.io/cluster": name, **labels})


def child(parent: str, ending: str) -> str:
    """As Knative names what would be too long."""
    if len(parent) <= 63 - len(ending):
        return parent + ending
    return parent[: 31 - len(ending)] + hashlib.md5(parent.encode()).hexdigest() + ending


def knative(service: str, generation: int = 1, hash_: str = HASH, **labels: str) -> Made:
    revision = child(service, f"-{generation:05d}")
    marks = {"serving.knative.dev/service": service, "serving.knative.dev/configuration": service}
    marks["serving.knative.dev/revision"] = revision
    return deployed(child(revision, "-deployment"), hash_, **marks, **labels)


def kserve(name: str, part: str = "predictor", hash_: str = HASH) -> Made:
    return deployed(f"{name}-{part}", hash_, **{"serving.kserve.io/inferenceservice": name})


def kserve_on_knative(name: str, generation: int = 1) -> Made:
    of_kserve = {"serving.kserve.io/inferenceservice": name}
    return knative(f"{name}-predictor", generation, **of_kserve)


def in_a_set(stateful_set: str, name: str, **labels: str) -> Made:
    return Made("StatefulSet", stateful_set, labels={"leaderworkerset.sigs.k8s.io/name": name, **labels})


def disaggregated(name: str, revision: str = "5d8f", role: str = "decode") -> Made:
    of_set = {"disaggregatedset.x-k8s.io/name": name, "disaggregatedset.x-k8s.io/revision": revision}
    workers = f"{name}-0-{revision}-{role}"
    return in_a_set(f"{workers}-1", workers, **of_set)


def llm(name: str, ending: str = "") -> dict[str, str]:
    return {"app.kubernetes.io/part-of": "llminferenceservice", "app.kubernetes.io/name": name}


def nim(name: str) -> dict[str, str]:
    by = {"app.kubernetes.io/part-of": "nim-service", "app.kubernetes.io/managed-by": "k8s-nim-operator"}
    return {**by, "app.kubernetes.io/instance": name, "app.kubernetes.io/name": name}


def clique(name: str, part: str = "0-decode", **labels: str) -> Made:
    by = {"app.kubernetes.io/managed-by": "grove-operator", "app.kubernetes.io/part-of": name}
    return Made("PodClique", f"{name}-{part}", "grove.io/v1alpha1", {**by, **labels})


def dynamo(name: str) -> dict[str, str]:
    return {"nvidia.com/dynamo-graph-deployment-name": name}


def mpi(name: str) -> dict[str, str]:
    by = {"training.kubeflow.org/operator-name": "mpi-operator"}
    return {**by, "training.kubeflow.org/job-name": name}


def ray_job(name: str) -> dict[str, str]:
    return {"ray.io/originated-from-crd": "RayJob", "ray.io/originated-from-cr-name": name}


def executor(name: str, driver: str = "") -> Made:
    labels = {"sparkoperator.k8s.io/app-name": name, "spark-role": "executor"}
    return Made("Pod", driver or f"{name}-driver", "v1", labels)


# By the topmost owner's group and kind: pods as its controllers make them of one object. Each line is another
# release, run, part or replica of it.
OF = {
    "apps/Deployment": lambda n: [deployed(n), deployed(n, "54b6df9c8d")],
    "argoproj.io/Rollout": lambda n: [rolled_out(n), rolled_out(n, "54b6df9c8d")],
    "apps/StatefulSet": lambda n: [Made("StatefulSet", n)],
    "apps/DaemonSet": lambda n: [Made("DaemonSet", n)],
    "batch/Job": lambda n: [job(n)],
    "batch/CronJob": lambda n: [job(f"{n}-{MINUTE}"), job(f"{n}-{MINUTE + 1440}")],
    "batch.volcano.sh/Job": lambda n: [Made("Job", n, "batch.volcano.sh/v1alpha1")],
    "batch.volcano.sh/CronJob": lambda n: [
        Made("Job", f"{n}-{MINUTE + day}", "batch.volcano.sh/v1alpha1") for day in (0, 1440)
    ],
    "jobset.x-k8s.io/JobSet": lambda n: [
        job(f"{n}-{part}", **{"jobset.sigs.k8s.io/jobset-name": n}) for part in ("worker-0", "leader-0")
    ],
    "kubeflow.org/MPIJob": lambda n: [
        job(f"{n}-launcher", **mpi(n)),
        Made("MPIJob", n, "kubeflow.org/v2beta1", mpi(n)),
    ],
    "kubeflow.org/PyTorchJob": lambda n: [Made("PyTorchJob", n, "kubeflow.org/v1")],
    "ray.io/RayCluster": lambda n: [ray_cluster(n)],
    "ray.io/RayJob": lambda n: [job(n, **ray_job(n))],
    "ray.io/RayService": lambda n: [
        ray_cluster(f"{n}-{LETTERS}", **{"ray.io/serve": "true"}),
        ray_cluster(f"{n}-z2k9c", **{"ray.io/serve": "false"}),
    ],
    "ray.io/RayCronJob": lambda n: [
        ray_cluster(f"{n}-{MINUTE}-{LETTERS}"),
        ray_cluster(f"{n}-{MINUTE + 1440}-z2k9c"),
        job(f"{n}-{MINUTE}", **ray_job(f"{n}-{MINUTE}")),
    ],
    "leaderworkerset.x-k8s.io/LeaderWorkerSet": lambda n: [in_a_set(n, n), in_a_set(f"{n}-1", n)],
    "disaggregatedset.x-k8s.io/DisaggregatedSet": lambda n: [
        disaggregated(n),
        disaggregated(n, "77aa"),
        disaggregated(n, role="prefill"),
    ],
    "serving.knative.dev/Service": lambda n: [knative(n), knative(n, 2)],
    "serving.kserve.io/InferenceService": lambda n: [
        kserve(n),
        kserve(n, "transformer", "54b6df9c8d"),
        kserve_on_knative(n),
        kserve_on_knative(n, 2),
    ],
    "serving.kserve.io/LLMInferenceService": lambda n: [
        deployed(child(n, "-kserve"), **llm(n)),
        deployed(child(n, "-kserve-prefill"), **llm(n)),
        in_a_set(child(n, "-kserve-mn"), child(n, "-kserve-mn"), **llm(n)),
    ],
    "apps.nvidia.com/NIMService": lambda n: [
        deployed(n, **nim(n)),
        in_a_set(f"{n}-lws-0", f"{n}-lws", **nim(n)),
    ],
    "nvidia.com/DynamoGraphDeployment": lambda n: [
        deployed(f"{n}-decode-1a2b3c4d", **dynamo(n)),
        deployed(f"{n}-decode-5e6f7a8b", "54b6df9c8d", **dynamo(n)),
        in_a_set(f"{n}-prefill-0", f"{n}-prefill", **dynamo(n)),
        clique(n, **dynamo(n)),
    ],
    "grove.io/PodCliqueSet": lambda n: [clique(n), clique(n, "1-prefill")],
    "kubeflow.org/Notebook": lambda n: [Made("StatefulSet", n, labels={"notebook-name": n})],
    "sparkoperator.k8s.io/SparkApplication": lambda n: [
        executor(n),
        executor(n, "called-by-hand"),
        Made("SparkApplication", n, "sparkoperator.k8s.io/v1beta2", {"spark-role": "driver"}),
    ],
    "argoproj.io/Workflow": lambda n: [Made("Workflow", n, "argoproj.io/v1alpha1")],
    "argoproj.io/CronWorkflow": lambda n: [
        Made("Workflow", f"{n}-{SECOND + day}", "argoproj.io/v1alpha1") for day in (0, 86400)
    ],
}
LONG = "a-model-whose-name-is-as-long-as-a-name-may-be-in-kubernetes"


@pytest.mark.parametrize("kind", OF)
@pytest.mark.parametrize("name", ["llm", LONG[:40]])
def test_all_pods_of_what_a_person_made_have_one_past(kind, name):
    group, _, kind_of = kind.partition("/")

    found = {key_of(made.pod(), "l4") for made in OF[kind](name)}

    assert found == {(group, kind_of, "team", name, "l4")}


@pytest.mark.parametrize("kind", ["serving.knative.dev/Service", "serving.kserve.io/LLMInferenceService"])
def test_a_name_that_was_cut_is_still_its_owners(kind):
    assert {topmost_owner(made.pod()).name for made in OF[kind](LONG)} == {LONG}


@pytest.mark.parametrize(
    "stranger",
    [
        deployed("other", **{"serving.kserve.io/inferenceservice": "llm"}),
        deployed("llms-predictor", **{"serving.kserve.io/inferenceservice": "llm"}),
        deployed("llm", **{"serving.knative.dev/service": "llm"}),
        deployed("other-00001-deployment", **knative("llm").labels),
        deployed("llm-chat", **nim("llm")),
        deployed(
            "llm-chat", **{"app.kubernetes.io/part-of": "nim-service", "app.kubernetes.io/instance": "llm"}
        ),
        deployed("llm-chat", **{"app.kubernetes.io/part-of": "chat", "app.kubernetes.io/name": "llm"}),
        deployed("graph", **dynamo("llm")),
        deployed("llm", **{"jobset.sigs.k8s.io/jobset-name": "llm"}),
        job("llms-worker-0", **{"jobset.sigs.k8s.io/jobset-name": "llm"}),
        job("llm-other", **{"training.kubeflow.org/job-name": "llm"}),
        job("llm-2", **ray_job("llm")),
        job("llm-20261101"),
        Made("StatefulSet", "llm-x", labels={"leaderworkerset.sigs.k8s.io/name": "llm"}),
        Made("StatefulSet", "llm-2", labels={"notebook-name": "llm"}),
        ray_cluster(f"llm-{LETTERS}"),
        ray_cluster(f"llm-20261101-{LETTERS}"),
        ray_cluster("llm-alpha", **{"ray.io/serve": "true"}),
        Made("Workflow", "llm-1000000000", "argoproj.io/v1alpha1"),
        Made("Workflow", f"llm-{MINUTE}", "argoproj.io/v1alpha1"),
        Made("PodClique", "other-0-decode", "grove.io/v1alpha1", clique("llm").labels),
        Made("Pod", "llm-driver", "v1", {"sparkoperator.k8s.io/app-name": "llm", "spark-role": "driver"}),
    ],
    ids=lambda made: f"{made.kind}-{made.name}",
)
def test_a_label_or_a_name_alone_joins_no_stranger(stranger):
    """Templates are copied with their labels, and people choose names that look like those of controllers."""
    assert topmost_owner(stranger.pod()) == workload_of(stranger.pod())


NAMES = st.sampled_from(
    ["llm", "llm-0", "llm-predictor", "llm-lws", "llm-kserve", "llm-worker", "chat", LONG[:40]]
)
OWNERS = st.tuples(st.sampled_from(sorted(OF)), NAMES, st.sampled_from(["team", "other"]))


@given(st.lists(OWNERS, min_size=2, max_size=8, unique=True))
def test_two_owners_never_share_a_past(owners):
    pasts = [{key_of(made.pod(space), "l4") for made in OF[kind](name)} for kind, name, space in owners]

    for one, other in combinations(pasts, 2):
        assert not one & other


@given(OWNERS)
def test_what_is_made_again_goes_on_where_it_was(owner):
    kind, name, space = owner

    assert len({key_of(made.pod(space), "l4") for made in OF[kind](name)}) == 1


@pytest.mark.parametrize("kind, version", [("RayCluster", "ray.io/v1"), ("Job", "batch.volcano.sh/v1alpha1")])
def test_a_name_alone_says_nothing_of_a_controller_that_names_pods_as_others_do(kind, version):
    """A Job names its pods as a RayCluster of that name does: once it is gone nobody knows whose one was."""
    assert made_by(Made(kind, "llm", version).pod()).fullmatch("llm-bcdfg") is None
    assert made_by(job("llm").pod()).fullmatch("llm-bcdfg")


def test_a_rayservice_that_is_upgraded_keeps_what_was_measured_of_it():
    """KubeRay makes another RayCluster, under another name, with each change of a RayService."""
    upgraded = NOW - DAY
    lives = [
        Ran("llm-b4f5z-gpu-worker-bcdfg", "n-1", NOW - 4 * DAY, upgraded, lambda _: 0.3, lambda _: 9000.0),
        Ran("llm-z2k9c-gpu-worker-fghjk", "n-1", upgraded, NOW + DAY, lambda _: 0.3, lambda _: 9000.0),
    ]
    reconciles, now = Reconciler(), NOW - 4 * DAY

    def worker(life: Ran) -> Object:
        cluster, labels = life.name[:9], {"ray.io/serve": "true"}
        owner = ("RayCluster", cluster, "ray.io/v1")
        return world.pod(life.name, "n-1", NOW - life.first, owner=owner, labels=labels)

    while now <= NOW:
        there = [worker(life) for life in lives if life.first <= now < life.last]
        reconciles.observe(there, [node("n-1")], now, lambda begin, end: scraped(lives, begin, end))
        now += HOUR

    found = use_of(reconciles.seen, WorkloadKey("ray.io", "RayService", "team", "llm", "l4"), NOW, WINDOW)
    assert found and found.has_history and found.day_peaks_mib == (9000.0,) * 5


@pytest.mark.parametrize(
    "kind, kept",
    [
        ("batch/Job", False),
        ("jobset.x-k8s.io/JobSet", False),
        ("batch/CronJob", True),
        ("ray.io/RayService", True),
    ],
)
def test_of_what_runs_once_the_past_is_kept_for_a_day(kind, kept):
    """Else a cluster of many JobSets would keep each of them for a week."""
    group, _, name = kind.partition("/")
    key = WorkloadKey(group, name, "team", "llm", "l4")
    begin = int((NOW - 3 * DAY).timestamp()) // 86_400 * 86_400
    history = History({key: {begin: WorkloadDay(last=begin + 3600)}})

    assert (key in pruned(history, NOW, WINDOW, ()).workloads) is kept
    assert key in pruned(history, NOW, WINDOW, {key}).workloads
    assert key in pruned(history, NOW - 3 * DAY, WINDOW, ()).workloads
