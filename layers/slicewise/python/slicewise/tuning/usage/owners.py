"""
The topmost owner of a pod, as far as the pod shows it: whose past it has (tuning/usage/history.py). Pure.

A pod names its controller, not what made that one. Reading the owners was rejected: the tuner may get none of
them, each operator would be one more right in every cluster, and most owners below the topmost one keep their
names, so that nothing is lost by stopping there. Names that change with each release or run are recognised by
labels that controllers write on pods, or have a form that only a controller gives. A label alone is not
believed, since templates are copied by hand: the name of what is below it must be made from it, too.

    the known owner is          named by                                the owner above        source
    ReplicaSet N-HASH           pod-template-hash                       Deployment             (workloads.py)
    ReplicaSet N-HASH           rollouts-pod-template-hash              Rollout                [1]
    Job N-MINUTE                its name                                CronJob                [2]
    Job N-MINUTE of Volcano     its name                                CronJob of Volcano     [3]
    Job N-GROUP-0               jobset.sigs.k8s.io/jobset-name          JobSet                 [4]
    Job N-launcher              training.kubeflow.org/job-name          MPIJob                 [5]
    Job N, which submits        ray.io/originated-from-cr-name          RayJob                 [6]
    RayJob N-MINUTE             its name                                RayCronJob             [6]
    RayCluster N-MINUTE-xxxxx   its name                                RayCronJob             [6]
    RayCluster N-xxxxx          ray.io/serve                            RayService             [7]
    StatefulSet N or N-0        leaderworkerset.sigs.k8s.io/name        LeaderWorkerSet        [8]
    LeaderWorkerSet N-…         disaggregatedset.x-k8s.io/name          DisaggregatedSet       [9]
    Deployment of a revision    serving.knative.dev/revision, /service  Service of Knative     [10]
    Deployment, Service N-…     serving.kserve.io/inferenceservice      InferenceService       [11]
    Deployment, … N-kserve…     app.kubernetes.io/part-of, /name        LLMInferenceService    [12]
    Deployment N, … N-lws       app.kubernetes.io/part-of, /instance    NIMService             [13]
    Deployment, … N-…           nvidia.com/dynamo-graph-deployment-name DynamoGraphDeployment  [14]
    PodClique N-…               app.kubernetes.io/part-of               PodCliqueSet           [15]
    StatefulSet N               notebook-name                           Notebook               [16]
    Pod of a driver             sparkoperator.k8s.io/app-name           SparkApplication       [17]
    Workflow N-SECOND           its name                                CronWorkflow           [18]

     [1] argo-rollouts 9f8d111, rollout/sync.go          [2] kubernetes, pkg/controller/cronjob/utils.go
     [3] volcano ed72c7c, cronjob_controller_util.go     [4] jobset 08dfbdf, jobset_controller.go
     [5] mpi-operator 012dae5, mpi_job_controller.go     [6] kuberay feeaf72, ray{,cron}job_controller.go
     [7] kuberay feeaf72, common/pod.go, utils/util.go   [8] lws 060ab4d, {pod,leaderworkerset}_controller.go
     [9] lws 060ab4d, disaggregatedset/lws_manager.go   [10] serving 98e5ef9, revision/resources/meta.go
    [11] kserve aaac4e2, components/predictor.go        [12] kserve aaac4e2, llmisvc/workload_*_node.go
    [13] k8s-nim-operator f63f74d, nimservice_types.go  [14] dynamo 0367e40, internal/consts/consts.go
    [15] grove fcc3b3b, operator/api/common/labels.go   [16] kubeflow 001fc72, notebook_controller.go
    [17] spark-operator 23a7f47, pkg/common             [18] argo-workflows f016ad8, cron/operator.go

Pods of PyTorchJob and its kin, of Volcano's Job and of SparkApplication's driver name the topmost owner
themselves. No pod has a label with the RayJob of a RayCluster, so that one that is tried again starts again;
a TrainJob, whose JobSet has its name; and what makes Deployments and StatefulSets under names of its own
choice. There what is known counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from slicewise.kube.objects import labels
from slicewise.kube.ref import Object, Ref
from slicewise.tuning.usage.workloads import LETTERS, workload_of

Labels = Mapping[str, str]
# Names the owner above from the name of what is below it and the pod's labels; "" where there is none.
Above = Callable[[str, Labels], str]

# Minutes since 1970, from 2020 to 2100, and the same in seconds.
_MINUTES = range(26_297_280, 68_374_080)
_SECONDS = range(_MINUTES.start * 60, _MINUTES.stop * 60)
_AT, _MADE = re.compile(r"(.+)-([0-9]{8,10})"), re.compile(f"(.+)-{LETTERS}{{5}}")


def topmost_owner(pod: Object) -> Ref:
    """What a person made, as far as the pod shows it; a pod without an owner is its own."""
    owner, found = workload_of(pod), labels(pod)
    while above := _above(owner, found):
        owner = above
    return owner


def topmost_owner_name(pod: Object) -> str:
    """The topmost owner for people, such as "InferenceService llm"; "" where it is what makes the pod."""
    owner = topmost_owner(pod)
    return "" if owner == workload_of(pod) else f"{owner.kind} {owner.name}"


def _above(owner: Ref, found: Labels) -> Ref | None:
    group, _, _ = owner.api_version.rpartition("/")
    for row in _BY_KIND.get((group, owner.kind), ()):
        if name := row.above(owner.name, found):
            return Ref(row.api_version, row.kind, name, owner.namespace)
    return None


def cron_job(job: str) -> str:
    """The CronJob that a Job's name names, since Jobs are named after their minute; "" for another name."""
    return _before(job, _MINUTES)


def _before(name: str, times: range) -> str:
    made = _AT.fullmatch(name)
    return made[1] if made and int(made[2]) in times else ""


def _of_a_minute(name: str, _: Labels) -> str:
    return _before(name, _MINUTES)


def _of_a_second(name: str, _: Labels) -> str:
    return _before(name, _SECONDS)


def _of_a_run(name: str, _: Labels) -> str:
    """A RayCluster has the name of its RayJob, which has that of its minute, and five letters."""
    made = _MADE.fullmatch(name)
    return _before(made[1], _MINUTES) if made else ""


def _of_a_service(name: str, found: Labels) -> str:
    """
    KubeRay writes `ray.io/serve` on each pod of a RayCluster that a RayService made, and on no other.
    Releases before 1.4 put "-raycluster" before the five letters, which stays in the name.
    """
    made = _MADE.fullmatch(name)
    return made[1] if made and found.get("ray.io/serve") in ("true", "false") else ""


def _of_a_revision(name: str, found: Labels) -> str:
    """Knative's Service, which has the name of its Configuration, whose revisions begin with it."""
    revision = found.get("serving.knative.dev/revision", "")
    service = found.get("serving.knative.dev/service", "")
    made = service and _is_child(name, revision, "-deployment") and _is_child(revision, service)
    return service if made else ""


def _of_an_executor(_: str, found: Labels) -> str:
    return found.get("sparkoperator.k8s.io/app-name", "") if found.get("spark-role") == "executor" else ""


def _same(label: str, *endings: str, where: Labels | None = None) -> Above:
    """The label says whose it is, and the name is the same, or ends in one of these."""

    def above(name: str, found: Labels) -> str:
        parent = _labelled_parent(label, found, where)
        return parent if parent and name in (parent, *(parent + ending for ending in endings)) else ""

    return above


def _child(label: str, where: Labels | None = None) -> Above:
    """The label says whose it is, and the name begins with that one's and a dash."""

    def above(name: str, found: Labels) -> str:
        parent = _labelled_parent(label, found, where)
        return parent if parent and _is_child(name, parent) else ""

    return above


def _labelled_parent(label: str, found: Labels, where: Labels | None) -> str:
    holds = all(found.get(key) == value for key, value in (where or {}).items())
    return found.get(label, "") if holds else ""


def _is_child(name: str, parent: str, ending: str = "") -> bool:
    """
    Also where a name that would be too long was cut, and its sum put in (knative.dev/pkg, kmeta.ChildName).
    """
    if not parent or not name.endswith(ending):
        return False
    if name == parent + ending if ending else name.startswith(f"{parent}-"):
        return True
    head, cut, _ = name.partition(hashlib.md5(parent.encode(), usedforsecurity=False).hexdigest())
    return bool(cut) and parent.startswith(head)


def _of_a_leader(name: str, found: Labels) -> str:
    """The StatefulSet of the leaders has the set's name; that of one leader's workers has the leader's."""
    parent = found.get("leaderworkerset.sigs.k8s.io/name", "")
    return parent if parent and re.fullmatch(f"{re.escape(parent)}(-[0-9]+)?", name) else ""


@dataclass(frozen=True)
class _Row:
    """One step up: `below` are groups and kinds, one of which the known owner must be."""

    below: frozenset[tuple[str, str]]
    api_version: str
    kind: str
    above: Above


def _row(below: Iterable[tuple[str, str]], above: tuple[str, str], named: Above) -> _Row:
    return _Row(frozenset(below), *above, named)


_JOB, _STATEFUL_SET = ("batch", "Job"), ("apps", "StatefulSet")
_DEPLOYMENT, _LEADER_WORKER_SET = ("apps", "Deployment"), ("leaderworkerset.x-k8s.io", "LeaderWorkerSet")
_POD_CLIQUE = ("grove.io", "PodClique")
_SERVERS = (_DEPLOYMENT, _LEADER_WORKER_SET)

_ROWS = (
    _row([_JOB], ("jobset.x-k8s.io/v1alpha2", "JobSet"), _child("jobset.sigs.k8s.io/jobset-name")),
    _row(
        [_JOB],
        ("ray.io/v1", "RayJob"),
        _same("ray.io/originated-from-cr-name", where={"ray.io/originated-from-crd": "RayJob"}),
    ),
    _row(
        [_JOB],
        ("kubeflow.org/v2beta1", "MPIJob"),
        _child(
            "training.kubeflow.org/job-name", where={"training.kubeflow.org/operator-name": "mpi-operator"}
        ),
    ),
    _row([_JOB], ("batch/v1", "CronJob"), _of_a_minute),
    _row([("batch.volcano.sh", "Job")], ("batch.volcano.sh/v1alpha1", "CronJob"), _of_a_minute),
    _row([("ray.io", "RayCluster")], ("ray.io/v1", "RayService"), _of_a_service),
    _row([("ray.io", "RayCluster")], ("ray.io/v1", "RayCronJob"), _of_a_run),
    _row([("ray.io", "RayJob")], ("ray.io/v1", "RayCronJob"), _of_a_minute),
    _row([_STATEFUL_SET], ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"), _of_a_leader),
    _row([_STATEFUL_SET], ("kubeflow.org/v1", "Notebook"), _same("notebook-name")),
    _row(
        [*_SERVERS, _POD_CLIQUE, ("disaggregatedset.x-k8s.io", "DisaggregatedSet")],
        ("nvidia.com/v1beta1", "DynamoGraphDeployment"),
        _child("nvidia.com/dynamo-graph-deployment-name"),
    ),
    _row(
        [_LEADER_WORKER_SET],
        ("disaggregatedset.x-k8s.io/v1", "DisaggregatedSet"),
        _child("disaggregatedset.x-k8s.io/name"),
    ),
    _row(
        [_POD_CLIQUE],
        ("grove.io/v1alpha1", "PodCliqueSet"),
        _child("app.kubernetes.io/part-of", where={"app.kubernetes.io/managed-by": "grove-operator"}),
    ),
    _row(
        [*_SERVERS, _STATEFUL_SET],
        ("apps.nvidia.com/v1alpha1", "NIMService"),
        _same(
            "app.kubernetes.io/instance",
            "-lws",
            where={
                "app.kubernetes.io/managed-by": "k8s-nim-operator",
                "app.kubernetes.io/part-of": "nim-service",
            },
        ),
    ),
    _row([_DEPLOYMENT], ("serving.knative.dev/v1", "Service"), _of_a_revision),
    _row(
        [_DEPLOYMENT, ("serving.knative.dev", "Service")],
        ("serving.kserve.io/v1beta1", "InferenceService"),
        _child("serving.kserve.io/inferenceservice"),
    ),
    _row(
        _SERVERS,
        ("serving.kserve.io/v1alpha2", "LLMInferenceService"),
        _child("app.kubernetes.io/name", where={"app.kubernetes.io/part-of": "llminferenceservice"}),
    ),
    _row([("", "Pod")], ("sparkoperator.k8s.io/v1beta2", "SparkApplication"), _of_an_executor),
    _row([("argoproj.io", "Workflow")], ("argoproj.io/v1alpha1", "CronWorkflow"), _of_a_second),
)
# Asked for each pod several times a reconcile.
_BY_KIND = {kind: [row for row in _ROWS if kind in row.below] for row in _ROWS for kind in row.below}
