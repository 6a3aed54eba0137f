"""
Stand-ins for what runs work that ends by itself: enough of each controller that what is suspended has no
pods.

Owners are as the real ones write them: a JobSet's pods stand below a Job, a TrainJob's below a JobSet as
well, a RayJob's below a RayCluster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicewise.kube.objects import controller_of, labels, spec, status
from slicewise.kube.ref import Object, Ref, ref_of

from tests.fakes.kube.controllers import end_orphans, owned, pod_spec
from tests.fakes.kube.kubernetes import FakeApiServer
from tests.fakes.kube.kueue import QUEUE_NAME

CRDS = (
    "jobsets.jobset.x-k8s.io",
    "trainjobs.trainer.kubeflow.org",
    "rayjobs.ray.io",
    "pytorchjobs.kubeflow.org",
)
JOB_SET, TRAIN_JOB = "jobset.x-k8s.io/v1alpha2", "trainer.kubeflow.org/v1alpha1"


class JobControllers:
    """Kubernetes' Jobs, JobSet 0.10, Kubeflow's trainer 2.0 and training operator 1.9, KubeRay 1.5."""

    def __init__(self, server: FakeApiServer) -> None:
        self._server = server
        self._kinds: dict[str, Callable[[Object], None]] = {
            "Job": self._job,
            "JobSet": self._job_set,
            "TrainJob": self._train_job,
            "PyTorchJob": self._training,
            "RayJob": self._ray_job,
        }
        server.on_change.append(self.reconcile)

    def reconcile(self, item: Object) -> None:
        if item["kind"] in self._kinds and QUEUE_NAME not in labels(item):
            self._kinds[item["kind"]](item)

    def _job(self, item: Object) -> None:
        suspended = bool(spec(item).get("suspend"))
        self._pods(item, suspended, spec(item)["template"]["spec"], spec(item).get("parallelism", 1))

    def _job_set(self, item: Object) -> None:
        """It writes `suspend` of its Jobs, whatever stands there."""
        suspended = bool(spec(item).get("suspend"))
        for one in spec(item)["replicatedJobs"]:
            body = {**one["template"]["spec"], "suspend": suspended}
            self._child("batch/v1", "Job", f"{item['metadata']['name']}-{one['name']}-0", item, body)

    def _train_job(self, item: Object) -> None:
        work = {"name": "node", "template": {"spec": {"template": {"spec": pod_spec()}}}}
        body = {"replicatedJobs": [work], "suspend": bool(spec(item).get("suspend"))}
        self._child(JOB_SET, "JobSet", item["metadata"]["name"], item, body)

    def _training(self, item: Object) -> None:
        suspended = bool((spec(item).get("runPolicy") or {}).get("suspend"))
        workers = spec(item)["pytorchReplicaSpecs"]["Worker"]
        self._pods(item, suspended, workers["template"]["spec"], workers["replicas"])

    def _ray_job(self, item: Object) -> None:
        """What is invalid it gives up, and leaves all as it is."""
        state = status(item).get("jobDeploymentStatus") or ""
        suspended, name = bool(spec(item).get("suspend")), item["metadata"]["name"]
        if state == "ValidationFailed":
            return
        if suspended and not spec(item).get("shutdownAfterJobFinishes"):
            self._state(item, "ValidationFailed")
        elif suspended and state in ("Initializing", "Running"):
            self._server.delete(Ref("ray.io/v1", "RayCluster", f"{name}-x", item["metadata"]["namespace"]))
            end_orphans(self._server)
            self._state(item, "Suspended")
        elif not suspended and state in ("", "Suspended"):
            self._child("ray.io/v1", "RayCluster", f"{name}-x", item, spec(item)["rayClusterSpec"])
            self._state(item, "Running")

    def _state(self, item: Object, state: str) -> None:
        self._server.set_status(ref_of(item), {"jobDeploymentStatus": state})

    def _pods(self, item: Object, suspended: bool, body: Object, count: int) -> None:
        for number in range(count):
            name = f"{item['metadata']['name']}-{number}"
            if suspended:
                self._server.delete(Ref("v1", "Pod", name, item["metadata"]["namespace"]))
            else:
                self._child("v1", "Pod", name, item, body)

    def _child(self, version: str, kind: str, name: str, owner: Object, body: Object) -> None:
        ref = Ref(version, kind, name, owner["metadata"]["namespace"])
        found = self._server.objects.get(ref)
        if found and (controller_of(found) or {}).get("uid") != owner["metadata"]["uid"]:
            self._server.delete(ref)
            found = None
        if found is None:
            metadata = {"name": name, "namespace": ref.namespace}
            item = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": body}
            self._server.create(owned(item, owner))
        elif "suspend" in body and spec(found).get("suspend") != body["suspend"]:
            write = {"op": "add", "path": "/spec/suspend", "value": body["suspend"]}
            self._server.patch(ref, [write], kind.lower())


def job(name: str, pods: int = 1, **pod: Any) -> dict[str, Any]:
    """As the API server stores it: with its defaults."""
    body = {"suspend": False, "parallelism": pods, "template": {"spec": pod_spec(**pod)}}
    return _named("batch/v1", "Job", name, body)


def job_set(name: str, **pod: Any) -> dict[str, Any]:
    work = {
        "name": "workers",
        "template": {"spec": {"template": {"spec": pod_spec(**pod)}, "parallelism": 2}},
    }
    return _named(JOB_SET, "JobSet", name, {"replicatedJobs": [work]})


def train_job(name: str) -> dict[str, Any]:
    """As the API server stores it: its definition has a default."""
    return _named(TRAIN_JOB, "TrainJob", name, {"runtimeRef": {"name": "torch"}, "suspend": False})


def training(name: str, **pod: Any) -> dict[str, Any]:
    workers = {"replicas": 2, "template": {"spec": pod_spec(**pod)}}
    body = {"runPolicy": {"cleanPodPolicy": "None"}, "pytorchReplicaSpecs": {"Worker": workers}}
    return _named("kubeflow.org/v1", "PyTorchJob", name, body)


def ray_job(name: str, cluster: Object, shuts_down: bool = True) -> dict[str, Any]:
    body = {"shutdownAfterJobFinishes": shuts_down, "rayClusterSpec": cluster["spec"]}
    return _named("ray.io/v1", "RayJob", name, body)


def _named(version: str, kind: str, name: str, body: Object) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ml"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": body}
