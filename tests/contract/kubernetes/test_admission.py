"""
What admission policies let tuner and sleeper write: in memory, and on an API server, which runs their CEL.

RBAC lets the members do everything here, so that each refusal is the policy's. What they are refused, an
administrator then does: so it was possible, and nobody else is held.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from slicewise import rights
from slicewise.errors import Refused
from slicewise.kube import kinds
from slicewise.kube.labels import (
    ASLEEP,
    ASLEEP_WAS,
    CHANGED_ANNOTATION,
    CLASS_LABEL,
    MOVED_ANNOTATION,
    POOL_LABEL,
    PUBLISHES,
    ROLLOUT_ANNOTATION,
    SHARING_LABEL,
    SLICES_ANNOTATION,
)
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.offhours.sleep_fields import NO_SCALE_UP
from slicewise.onboarding import admission
from slicewise.policy.switches import Switch
from slicewise.pools import layout
from slicewise.ports import Kubernetes

from sandbox.controllers.stand_ins import NOTEBOOKS, predictors
from tests.contract.kubernetes.kubernetes_sides import MEMBERS, NAMESPACE, InMemory
from tests.fakes import jobs
from tests.fakes.kube.controllers import (
    autoscaler,
    cron_job,
    inference_service,
    notebook,
    predictor,
    ray_cluster,
    scaled,
    scaled_job,
    scaled_object,
)
from tests.fakes.kube.kueue import cluster_queue
from tests.support import builders
from tests.support.waiting import eventually
from tests.support.workload_crds import serve

POLICY = builders.policy()
[POOL] = POLICY.pools
[GPU] = POOL.models()
_RBAC = "rbac.authorization.k8s.io"
_EVERYTHING = (
    {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "contract-everything"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
    },
    {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "contract-everything"},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "contract-everything"},
        "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": MEMBERS}],
    },
)
_CONTAINER = {"name": "main", "image": "example.com/theirs", "env": [{"name": "A", "value": "1"}]}


def workload(kind: str, name: str, **labels: str) -> Object:
    item = scaled(kind, name, 0, namespace=NAMESPACE)
    pod = {"containers": [_CONTAINER], "nodeSelector": {POOL_LABEL: "shared"}}
    item["metadata"] |= {"labels": {"team": "a", **labels}, "annotations": {"team": "a"}}
    item["spec"] |= {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        **({"serviceName": name} if kind == "StatefulSet" else {}),
    }
    return item


def bare_pod(name: str, **metadata: Any) -> Object:
    named = {"name": name, "namespace": NAMESPACE, **metadata}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": {"containers": [_CONTAINER]}}


def controlled(uid: str = "") -> Object:
    """By something that is there: else it is collected."""
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "another", "uid": uid, "controller": True}
    return bare_pod("controlled", ownerReferences=[owner])


def nightly() -> Object:
    item = cron_job("nightly", namespace=NAMESPACE)
    pod = {"containers": [_CONTAINER], "restartPolicy": "Never"}
    item["spec"]["jobTemplate"] = {"spec": {"template": {"spec": pod}}}
    return item


def queued() -> Object:
    item = scaled_job("queued", namespace=NAMESPACE)
    item["spec"] = {"jobTargetRef": nightly()["spec"]["jobTemplate"]["spec"], "triggers": [_TRIGGER]}
    return item


def asked_for() -> Object:
    item = scaled_object("asked-for", workload("Deployment", "opted-in"))
    item["spec"]["triggers"] = [_TRIGGER]
    return item


def waiting() -> Object:
    """What Kueue makes of a Job that waits."""
    pod = {"containers": [_CONTAINER], "restartPolicy": "Never"}
    pod_set = {"name": "main", "count": 1, "template": {"spec": pod}}
    metadata = {"name": "held", "namespace": NAMESPACE}
    spec = {"queueName": "team", "priority": 0, "podSets": [pod_set]}
    return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload", "metadata": metadata, "spec": spec}


def in_the_namespace(item: Object) -> Object:
    return {**item, "metadata": {"name": "held", "namespace": NAMESPACE}}


# The kinds of Kubeflow's training operator.
TRAINING = tuple(row.kind for row in kinds.TRAINING_JOBS)


def definition(write: rights.Write, kind: str) -> Object:
    """A stand-in for one that no Go module of its controller brings: it takes any field."""
    version = "v1" if kind in TRAINING else "v1alpha1"
    names = {"kind": kind, "plural": write.resource, "singular": kind.lower()}
    [like] = NOTEBOOKS["spec"]["versions"]
    spec = {**NOTEBOOKS["spec"], "group": write.group, "names": names}
    spec["versions"] = [{**like, "name": version}]
    return {**NOTEBOOKS, "metadata": {"name": write.crd}, "spec": spec}


def training(kind: str) -> Object:
    return {**jobs.training("held"), "kind": kind}


_JOB_POD = {"containers": [_CONTAINER], "restartPolicy": "Never"}
_JOB = {**jobs.job("held"), "spec": {"template": {"spec": _JOB_POD}}}
_SETS = [{"name": "a", "template": {"spec": {"template": {"spec": _JOB_POD}}}}]
JOBS = (
    _JOB,
    {**jobs.job_set("held"), "spec": {"replicatedJobs": _SETS}},
    jobs.train_job("held"),
    jobs.ray_job("held", ray_cluster("held")),
    *map(training, TRAINING),
)
_SUSPENDED = {one["kind"]: rights.RUN_SUSPEND if one["kind"] in TRAINING else rights.SUSPEND for one in JOBS}
STAND_INS = {
    write.resource: definition(write, kind)
    for kind in ("TrainJob", *TRAINING)
    for write in rights.SLEEPER.writes
    if write.resource == f"{kind.lower()}s"
}
_TRIGGER = {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *"}}
_CPU = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
_METRIC = {"type": "Resource", "resource": _CPU}
NODE_POOL = layout.node_pool(POLICY, POOL, GPU, 2)
OVERLAY = layout.overlays(POOL, GPU, 2, layout.overlay_weights(POLICY))[0]
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "held", "labels": {"team": "a"}, "annotations": {"team": "a"}},
    "spec": {"taints": [{"key": "theirs", "effect": "NoSchedule"}]},
}
CLAIM = {
    "apiVersion": "karpenter.sh/v1",
    "kind": "NodeClaim",
    "metadata": {"name": "held", "labels": {"team": "a"}, "annotations": {"team": "a"}},
    "spec": {
        "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "missing"},
        "requirements": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}],
    },
}
OBJECTS = {
    "Deployment": workload("Deployment", "opted-in", **{CLASS_LABEL: layout.AUTO}),
    "another Deployment": workload("Deployment", "another"),
    "StatefulSet": workload("StatefulSet", "opted-in", **{CLASS_LABEL: layout.AUTO}),
    "NodePool": NODE_POOL,
    "NodeOverlay": OVERLAY,
    "NodeClaim": CLAIM,
    "Node": NODE,
    "CronJob": nightly(),
    "ScaledObject": asked_for(),
    "ScaledJob": queued(),
    "RayCluster": ray_cluster("held", namespace=NAMESPACE),
    **{one["kind"]: in_the_namespace(one) for one in JOBS},
    "Notebook": notebook("held", namespace=NAMESPACE),
    "InferenceService": inference_service("held", namespace=NAMESPACE),
    "HorizontalPodAutoscaler": autoscaler(
        "held", workload("Deployment", "another"), least=1, metrics=[_METRIC]
    ),
    "ClusterQueue": cluster_queue("held", 1),
    "Workload": waiting(),
    "Predictor": predictor("held", namespace=NAMESPACE),
    "bare pod": bare_pod("bare"),
    "controlled pod": controlled(),
}
# By switches of a policy's own: each form of path, also through a map that is not there yet.
_SWITCHES = (
    ("spec", "suspend"),
    ("spec", "server", "state"),
    ("spec", "loop", "ends"),
    ("metadata", "annotations", "ml.example.com/stopped"),
)
SLEEPER = rights.sleeper(
    rights.of_switches(
        ("predictors", Switch("ml.example.com", "Predictor", path, True)) for path in _SWITCHES
    )
)
_POD = ("spec", "template", "spec")
_TOLERATION = {"key": CLASS_LABEL, "operator": "Equal", "value": "2", "effect": "NoSchedule"}
_OTHER_CONTAINER = [{**_CONTAINER, "image": "example.com/not-theirs"}]
_OTHER_ENV = [{**_CONTAINER, "env": [{"name": "A", "value": "2"}]}]
_OWNER = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "1"}]


@dataclass(frozen=True)
class Case:
    """A value put at a path of one of OBJECTS, or with no path the deletion of it."""

    of: str
    path: tuple[str, ...] = ()
    value: Any = None
    subresource: str = ""

    def __str__(self) -> str:
        return (
            f"{self.of}{f'/{self.subresource}' if self.subresource else ''} {'.'.join(self.path) or 'gone'}"
        )

    def do(self, port: Kubernetes) -> None:
        ref = ref_of(OBJECTS[self.of])
        live = port.get(ref)
        if live is None:
            raise Refused(f"{ref} is gone")
        if self.subresource == "scale":
            port.scale(ref, port.replicas(ref)["spec"]["replicas"], self.value)
        elif self.path:
            port.patch(ref, self._operations(live), self.subresource)
        else:
            port.delete(ref)

    def _operations(self, live: Object) -> list[Object]:
        path, value = list(self.path), self.value
        found: Any = live
        for depth, key in enumerate(path[:-1]):
            if not isinstance(found.get(key), dict):
                for missing in reversed(path[depth + 1 :]):
                    value = {missing: value}
                path = path[: depth + 1]
                break
            found = found[key]
        pointer = "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)
        return [{"op": "add", "path": pointer, "value": value}]


def of_any_kind(kind: str) -> list[Case]:
    """What neither may ever do."""
    return [
        Case(kind, ("metadata", "labels", "theirs"), "x"),
        Case(kind, ("metadata", "annotations", "theirs"), "x"),
        Case(kind, ("metadata", "ownerReferences"), _OWNER),
        Case(kind, ("metadata", "finalizers"), ["example.com/theirs"]),
    ]


def of_a_pod_spec(kind: str) -> list[Case]:
    return [
        Case(kind, (*_POD, "containers"), _OTHER_CONTAINER),
        Case(kind, (*_POD, "containers"), _OTHER_ENV),
        Case(kind, (*_POD, "serviceAccountName"), "admin"),
        Case(kind, (*_POD, "hostNetwork"), True),
        Case(kind, (*_POD, "nodeSelector", "theirs"), "x"),
        Case(kind, (*_POD, "tolerations"), [{"operator": "Exists"}]),
        Case(kind, ("spec", "template", "metadata", "labels", "theirs"), "x"),
        Case(kind, ("spec", "replicas"), 1),
    ]


_REQUIREMENTS = NODE_POOL["spec"]["template"]["spec"]["requirements"]
_OF_N = [
    {**one, "values": ["ts-2", "ts-3"]} if one["key"] == layout.CONFIG_LABEL else one for one in _REQUIREMENTS
]
_WIDER = [*_REQUIREMENTS, {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}]
_NARROWER = [one for one in _REQUIREMENTS if one["key"] in (layout.CONFIG_LABEL, POOL_LABEL)]
_NODE_CLASS = NODE_POOL["spec"]["template"]["spec"]["nodeClassRef"]
_LIMITS = NODE_POOL["spec"]["limits"]
_DISRUPTION = {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "1m"}
_TAINTS = [{"key": "slicewise.dev/class", "value": "2", "effect": "NoSchedule"}]
_HELD_OF_A_NODE_POOL = [
    *of_any_kind("NodePool"),
    Case("NodePool", ("spec", "weight"), 5),
    Case("NodePool", ("spec", "template", "metadata", "labels", "theirs"), "x"),
    Case("NodePool", ("spec", "template", "spec", "taints"), _TAINTS),
    Case("NodePool", ("spec", "template", "spec", "expireAfter"), "1h"),
    Case("NodePool", (*_POD, "nodeClassRef"), {**_NODE_CLASS, "name": "theirs"}),
    Case("NodePool", (*_POD, "requirements"), _WIDER),
    Case("NodePool", (*_POD, "requirements"), _NARROWER),
    Case("NodePool"),
]

MAY = {
    rights.TUNER: [
        *(Case(kind, ("metadata", "annotations", MOVED_ANNOTATION), "{}") for kind in ("Deployment",)),
        *(
            case
            for kind in ("Deployment", "StatefulSet")
            for case in (
                Case(kind, (*_POD, "nodeSelector", CLASS_LABEL), "2"),
                Case(kind, (*_POD, "tolerations"), [_TOLERATION]),
            )
        ),
        *(
            Case(of, ("metadata", "annotations", SLICES_ANNOTATION), "4")
            for of in ("Deployment", "another Deployment", "StatefulSet")
        ),
        Case("NodePool", ("metadata", "annotations", PUBLISHES), "true"),
        Case("NodePool", ("metadata", "labels", SHARING_LABEL), "mps"),
        Case("NodePool", ("metadata", "annotations", ROLLOUT_ANNOTATION), "{}"),
        Case("NodePool", ("spec", "limits"), {**_LIMITS, "nvidia.com/gpu": "99"}),
        Case("NodePool", ("spec", "disruption"), _DISRUPTION),
        Case("NodePool", (*_POD, "requirements"), _OF_N),
        Case("NodeOverlay", ("spec", "capacity", "nvidia.com/gpu"), "3"),
        Case("NodeOverlay", ("metadata", "annotations", CHANGED_ANNOTATION), "x"),
        *(
            Case(kind, path, "x")
            for kind in ("NodeClaim", "Node")
            for path in (
                ("metadata", "labels", layout.CONFIG_LABEL),
                ("metadata", "labels", POOL_LABEL),
                ("metadata", "annotations", CHANGED_ANNOTATION),
            )
        ),
        Case("Node", ("spec", "unschedulable"), True),
    ],
    SLEEPER: [
        Case("Deployment", (), 3, "scale"),
        Case("NodePool", ("metadata", "annotations", ASLEEP), "x"),
        Case("NodePool", ("spec", "limits", "nodes"), "0"),
        Case("NodePool", ("spec", "disruption"), _DISRUPTION),
        Case("CronJob", ("spec", "suspend"), True),
        Case("CronJob", ("metadata", "annotations", ASLEEP_WAS), "{}"),
        Case("CronJob", ("status", "lastScheduleTime"), "2026-11-25T19:00:00Z", "status"),
        Case("ScaledObject", rights.PAUSED_REPLICAS, "0"),
        Case("ScaledJob", rights.PAUSED, "true"),
        Case("StatefulSet", rights.RETENTION, "Retain"),
        Case("RayCluster", rights.SUSPEND, True),
        *(Case(kind, path, True) for kind, path in _SUSPENDED.items()),
        Case("Notebook", rights.STOPPED, "x"),
        Case("InferenceService", rights.KSERVE_STOP, "true"),
        Case("HorizontalPodAutoscaler", rights.BEHAVIOR, NO_SCALE_UP.asleep),
        Case("ClusterQueue", rights.STOP_POLICY, "Hold"),
        Case("Workload", rights.ACTIVE, False),
        *(
            Case("Predictor", path, value)
            for path, value in zip(_SWITCHES, (True, "Stopped", True, "x"), strict=True)
        ),
        Case("Predictor", ("metadata", "annotations", ASLEEP_WAS), "{}"),
        Case("bare pod"),
    ],
}
MAY_NOT = {
    rights.TUNER: [
        *(case for kind in ("Deployment", "StatefulSet") for case in of_any_kind(kind)),
        *(case for kind in ("Deployment", "StatefulSet") for case in of_a_pod_spec(kind)),
        Case("Deployment", ("metadata", "labels", CLASS_LABEL), "x"),
        Case("StatefulSet"),
        Case("another Deployment", (*_POD, "nodeSelector", CLASS_LABEL), "2"),
        Case("another Deployment", ("metadata", "annotations", MOVED_ANNOTATION), "{}"),
        Case("another Deployment", ("metadata", "labels", CLASS_LABEL), layout.AUTO),
        *of_any_kind("another Deployment"),
        *of_a_pod_spec("another Deployment"),
        *_HELD_OF_A_NODE_POOL,
        *of_any_kind("NodeOverlay"),
        Case("NodeOverlay", ("spec", "requirements"), [_REQUIREMENTS[0]]),
        Case("NodeOverlay", ("spec", "weight"), 9999),
        Case("NodeOverlay"),
        *of_any_kind("NodeClaim"),
        Case("NodeClaim"),
        *of_any_kind("Node"),
        Case("Node", ("spec", "taints"), []),
        Case("Node"),
    ],
    SLEEPER: [
        *_HELD_OF_A_NODE_POOL,
        Case("NodePool", ("spec", "limits", "nvidia.com/gpu"), "1"),
        Case("NodePool", ("metadata", "annotations", ROLLOUT_ANNOTATION), "{}"),
        *of_any_kind("CronJob"),
        Case("CronJob", ("spec", "schedule"), "* * * * *"),
        Case("CronJob", ("spec", "jobTemplate", *_POD, "containers"), _OTHER_CONTAINER),
        Case("CronJob", ("metadata", "labels", "theirs"), "y", "status"),
        Case("CronJob", ("status", "active"), [{"kind": "Job", "name": "x"}], "status"),
        *of_any_kind("ScaledObject"),
        Case("ScaledObject", ("spec", "maxReplicaCount"), 9),
        *of_any_kind("ScaledJob"),
        Case("ScaledJob", ("spec", "jobTargetRef", "template", "spec", "containers"), _OTHER_CONTAINER),
        *of_any_kind("StatefulSet"),
        *of_a_pod_spec("StatefulSet"),
        Case("StatefulSet", (*rights.RETENTION[:-1], "whenDeleted"), "Delete"),
        *of_any_kind("RayCluster"),
        Case("RayCluster", ("spec", "headGroupSpec", *_POD[1:], "containers"), _OTHER_CONTAINER),
        Case("RayCluster", ("spec", "workerGroupSpecs"), []),
        *(case for kind in _SUSPENDED for case in of_any_kind(kind)),
        *(Case(kind, ("spec", "ttlSecondsAfterFinished"), 9) for kind in ("Job", "JobSet", "RayJob")),
        *(Case(kind, ("spec", "runPolicy", "cleanPodPolicy"), "All") for kind in TRAINING),
        Case("TrainJob", ("spec", "runtimeRef", "name"), "x"),
        *(Case(kind) for kind in _SUSPENDED),
        *of_any_kind("Notebook"),
        Case("Notebook", (*_POD, "containers"), _OTHER_CONTAINER),
        *of_any_kind("InferenceService"),
        Case("InferenceService", ("spec", "predictor", "minReplicas"), 9),
        *of_any_kind("HorizontalPodAutoscaler"),
        Case("HorizontalPodAutoscaler", ("spec", "maxReplicas"), 99),
        *of_any_kind("ClusterQueue"),
        Case("ClusterQueue", ("spec", "queueingStrategy"), "StrictFIFO"),
        *of_any_kind("Workload"),
        Case("Workload", ("spec", "priority"), 9),
        *of_any_kind("Predictor"),
        Case("Predictor", ("spec", "count"), 9),
        Case("Predictor", ("spec", "loop", "every"), "1m"),
        Case("Predictor", (*_POD, "containers"), _OTHER_CONTAINER),
        Case("Predictor", (*_POD, "serviceAccountName"), "admin"),
        Case("controlled pod", ("metadata", "labels", "theirs"), "x"),
        Case("controlled pod"),
    ],
}
IDENTITIES = [pytest.param(one, id=one.name) for one in MAY]


@pytest.fixture
def cluster(far_side) -> Iterator[Any]:
    """With one object of each kind, and members whom RBAC holds from nothing."""
    if isinstance(far_side, InMemory):
        far_side.server.add_crds("scaledobjects.keda.sh", "scaledjobs.keda.sh")
        far_side.server.add_crds("rayclusters.ray.io", "notebooks.kubeflow.org")
        far_side.server.add_crds("inferenceservices.serving.kserve.io")
        far_side.server.add_crds("clusterqueues.kueue.x-k8s.io", "workloads.kueue.x-k8s.io")
        far_side.server.create(predictors())
        far_side.server.add_crds(*(one.crd for one in rights.SLEEPER.writes if one.of_jobs))
    else:
        far_side._kube.apply(predictors())
        eventually(lambda: far_side._kube.serves("ml.example.com/v1", "Predictor"), "the kind is not served")
        serve(far_side._kube, "keda-*", "ray-rayclusters-*", "kueue-clusterqueues-*", "kueue-workloads-*")
        serve(far_side._kube, "kserve-*", "ray-rayjobs-*", "jobsets-*")
        for item in (NOTEBOOKS, *STAND_INS.values()):
            far_side._kube.apply(item)
    refs = [ref_of(item) for item in (*OBJECTS.values(), *_EVERYTHING)]
    for item in (*_EVERYTHING, *(item for name, item in OBJECTS.items() if name != "controlled pod")):
        far_side.by_another_writer(item)
    owner = far_side.port.get(ref_of(OBJECTS["another Deployment"]))
    far_side.by_another_writer(controlled(owner["metadata"]["uid"]))
    yield far_side
    for ref in (*refs, *(Ref(f"{admission.GROUP}/v1", kind, one.name) for kind in _KINDS for one in MAY)):
        if found := far_side.port.get(ref):
            if found["metadata"].get("finalizers"):
                far_side.port.patch(ref, [{"op": "remove", "path": "/metadata/finalizers"}])
            far_side.port.delete(ref)


_KINDS = (admission.BINDING, admission.POLICY)


def hold(far_side: Any, identity: rights.Identity) -> Kubernetes:
    """A member of the identity's group, whose name is another here, once the policy is in effect."""
    member = far_side.as_member()
    # Another value each time: what changes nothing is admitted.
    probes = (Case("NodePool", ("metadata", "annotations", "theirs"), str(n)) for n in count())
    eventually(lambda: answer(next(probes), member) == DONE, "the policy of the test before is in effect")
    for item in (admission.policy_of(identity), admission.binding_of(identity)):
        text = json.dumps(item).replace(f"'{identity.group}'", f"'{MEMBERS}'")
        far_side.by_another_writer(json.loads(text))
    eventually(lambda: answer(next(probes), member) == HELD, "the policy is not in effect")
    return member


def answer(case: Case, port: Kubernetes) -> str:
    """What became of it; any other refusal than the policy's is told as it is."""
    try:
        case.do(port)
    except Refused as error:
        return HELD if "403" in str(error) and "denied request" in str(error) else str(error)
    return DONE


HELD, DONE = "held", "done"


@pytest.mark.parametrize("identity", IDENTITIES)
def test_each_may_write_its_fields_and_no_others(cluster, identity):
    member = hold(cluster, identity)

    assert {str(case): answer(case, member) for case in MAY_NOT[identity]} == {
        str(case): HELD for case in MAY_NOT[identity]
    }
    assert {str(case): answer(case, member) for case in MAY[identity]} == {
        str(case): DONE for case in MAY[identity]
    }


@pytest.mark.parametrize("identity", IDENTITIES)
def test_nobody_else_is_held(cluster, identity):
    """The very requests that a member is refused."""
    hold(cluster, identity)

    # An object whose owner is nowhere is collected: that alone is not done.
    cases = [case for case in MAY_NOT[identity] if case.path[-1:] != ("ownerReferences",)]
    cases.sort(key=lambda case: not case.path)

    admin = cluster.as_admin()
    assert {str(case): answer(case, admin) for case in cases} == {str(case): DONE for case in cases}


def test_every_kind_that_may_be_written_is_tried():
    plurals = {
        *("apps/deployments", "apps/statefulsets", "batch/cronjobs", "batch/cronjobs/status"),
        *("keda.sh/scaledobjects", "keda.sh/scaledjobs", "/nodes", "/pods", "*/*/scale"),
        *("ray.io/rayclusters", "kubeflow.org/notebooks", "autoscaling/horizontalpodautoscalers"),
        *("kueue.x-k8s.io/clusterqueues", "kueue.x-k8s.io/workloads", "ml.example.com/predictors"),
        "serving.kserve.io/inferenceservices",
        *("batch/jobs", "jobset.x-k8s.io/jobsets", "trainer.kubeflow.org/trainjobs", "ray.io/rayjobs"),
        *(f"kubeflow.org/{kind.lower()}s" for kind in TRAINING),
        *(f"karpenter.sh/{plural}" for plural in ("nodepools", "nodeoverlays", "nodeclaims")),
    }

    assert {f"{one.group}/{one.resource}" for identity in MAY for one in identity.writes} == plurals
