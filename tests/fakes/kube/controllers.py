"""
Stand-ins for what makes and ends pods: enough of each controller that a scaled object has the pods it says.

Owners are as the real ones write them: a Deployment's pods stand below a ReplicaSet; of a LeaderWorkerSet
each worker stands below a StatefulSet below its leader below another StatefulSet.
"""

from __future__ import annotations

from typing import Any

from slicewise.kube.objects import annotations_of, condition, spec
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.offhours.targets import scaled_by

from sandbox.controllers.stand_ins import PREDICTOR_STOPPED
from tests.fakes.kube.kubernetes import FakeApiServer

PAUSED = "autoscaling.keda.sh/paused-replicas"
USER_PAUSED = "autoscaling.keda.sh/paused"
STOPPED = "kubeflow-resource-stopped"
KSERVE_STOP = "serving.kserve.io/stop"
_SCALED = ("Deployment", "StatefulSet", "Rollout", "LeaderWorkerSet", "ModelServer", "NodeSet")


class Controllers:
    """
    Attributes:
        demand: Replicas that KEDA's triggers ask for, by ScaledObject; 0 for triggers that are not active.
    """

    def __init__(self, server: FakeApiServer) -> None:
        self._server = server
        self.demand: dict[Ref, int] = {}
        server.on_change.append(self.reconcile)

    def reconcile(self, item: Object) -> None:
        if item["kind"] == "ScaledObject":
            self._keda(item)
        elif item["kind"] == "RayCluster":
            self._ray(item)
        elif item["kind"] == "Notebook":
            self._notebook(item)
        elif item["kind"] == "InferenceService":
            self._kserve(item)
        elif item["kind"] == "Predictor":
            self._predictor(item)
        elif item["kind"] == "Deployment" and _owner_kind(item) == "Predictor":
            self._pods(item)
            self._predictor(self._server.objects[self._above(item)])
        elif item["kind"] in _SCALED and self._is_free(item):
            self._pods(item)

    def _keda(self, item: Object) -> None:
        target = spec(item)["scaleTargetRef"]
        ref = Ref(target["apiVersion"], target["kind"], target["name"], item["metadata"]["namespace"])
        found = self._server.objects.get(ref)
        if found and (wanted := self._wanted(item, spec(found)["replicas"])) is not None:
            self._server.scale(ref, spec(found)["replicas"], wanted, manager="keda-operator")

    def _wanted(self, item: Object, now: int) -> int | None:
        """
        What KEDA 2.21 writes: at 0 it starts with its minimum, and its HorizontalPodAutoscaler brings the
        rest later; what its user has paused it leaves alone.
        """
        count, demand = annotations_of(item).get(PAUSED), self.demand.get(ref_of(item), 1)
        if count is not None:
            wanted = int(count)
        elif annotations_of(item).get(USER_PAUSED) == "true":
            return None
        else:
            wanted = now or min(1, demand)
        return wanted if wanted != now else None

    def wake_from_zero(self) -> None:
        """
        A sync of Kubernetes 1.37's autoscalers: one that went to 0 by itself (ScaledToZero) starts its target
        again, unless its behavior lets it scale nothing up.
        """
        for ref, item in list(self._server.objects.items()):
            if ref.kind != "HorizontalPodAutoscaler":
                continue
            scale_up = (spec(item).get("behavior") or {}).get("scaleUp") or {}
            went = (condition(item, "ScaledToZero") or {}).get("status") == "True"
            target = scaled_by(item)
            now, wanted = spec(self._server.objects[target])["replicas"], self.demand.get(ref, 0)
            if now == 0 and wanted and went and scale_up.get("selectPolicy") != "Disabled":
                self._server.scale(target, 0, wanted, manager="horizontal-pod-autoscaler")

    def autoscale(self) -> None:
        """What a HorizontalPodAutoscaler of KEDA's does a while later: as many as the triggers ask for."""
        for item in [one for one in self._server.objects.values() if one["kind"] == "ScaledObject"]:
            target = spec(item)["scaleTargetRef"]
            ref = Ref(target["apiVersion"], target["kind"], target["name"], item["metadata"]["namespace"])
            marks, now = annotations_of(item), spec(self._server.objects[ref])["replicas"]
            wanted = self.demand.get(ref_of(item), now)
            if now and now != wanted and PAUSED not in marks and marks.get(USER_PAUSED) != "true":
                self._server.scale(ref, now, wanted, manager="horizontal-pod-autoscaler")

    def _is_free(self, item: Object) -> bool:
        """Others with an owner are made with their pods, by the same stand-in."""
        owners = item["metadata"].get("ownerReferences") or ()
        return all(owner["kind"] in ("Notebook", "InferenceService", "Revision") for owner in owners)

    def _notebook(self, item: Object) -> None:
        """As Kubeflow's notebook controller: its StatefulSet has the count that the annotation says."""
        wanted = 0 if STOPPED in annotations_of(item) else 1
        body = {"replicas": wanted, "template": spec(item)["template"]}
        made = self._made("apps/v1", "StatefulSet", item["metadata"]["name"], item, body)
        if spec(made)["replicas"] != wanted:
            self._server.scale(ref_of(made), spec(made)["replicas"], wanted, manager="notebook-controller")

    def _kserve(self, item: Object) -> None:
        """As KServe 0.16: its Deployment is deleted while it is stopped, and made again at the minimum."""
        predictor = spec(item)["predictor"]
        name = f"{item['metadata']['name']}-predictor"
        if annotations_of(item).get(KSERVE_STOP, "").lower() == "true":
            self._server.delete(Ref("apps/v1", "Deployment", name, item["metadata"]["namespace"]))
            end_orphans(self._server)
        elif Ref("apps/v1", "Deployment", name, item["metadata"]["namespace"]) not in self._server.objects:
            pods = {key: one for key, one in predictor.items() if key != "minReplicas"}
            body = {"replicas": predictor["minReplicas"], "template": {"spec": pods}}
            self._made("apps/v1", "Deployment", name, item, body)

    def _predictor(self, item: Object) -> None:
        """
        As many an operator that nobody here knows: the Deployment that it makes has the count of its object,
        none while that is stopped, and is put back whoever else scales it.
        """
        fields, marks = spec(item), annotations_of(item)
        stopped = fields.get("suspend") or (fields.get("server") or {}).get("state") == "Stopped"
        wanted = 0 if stopped or marks.get(PREDICTOR_STOPPED) == "true" else fields.get("count", 1)
        body = {"replicas": wanted, "template": fields["template"]}
        made = self._made("apps/v1", "Deployment", item["metadata"]["name"], item, body)
        if (now := spec(made)["replicas"]) != wanted:
            self._server.scale(ref_of(made), now, wanted, manager="predictor-operator")

    def _above(self, item: Object) -> Ref:
        [owner] = item["metadata"]["ownerReferences"]
        return Ref(owner["apiVersion"], owner["kind"], owner["name"], item["metadata"]["namespace"])

    def _ray(self, item: Object) -> None:
        """
        As KubeRay 1.5: with `suspend` in a worker group it stops, and leaves all as it is; what is suspended
        stays so until the field is there and false.
        """
        groups = spec(item)["workerGroupSpecs"]
        if any(group.get("suspend") for group in groups):
            return
        was_suspended = (item.get("status") or {}).get("state") == "suspended"
        suspend = bool(spec(item).get("suspend", was_suspended))
        name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
        wanted = {f"{name}-head": spec(item)["headGroupSpec"]["template"]["spec"]}
        for group in groups:
            for number in range(group["replicas"]):
                wanted[f"{name}-{group['groupName']}-{number}"] = group["template"]["spec"]
        for pod, body in wanted.items():
            if suspend:
                self._server.delete(Ref("v1", "Pod", pod, namespace))
            else:
                self._made("v1", "Pod", pod, item, body)
        state = {"state": "suspended" if suspend else "ready"}
        if item.get("status") != state:
            self._server.set_status(ref_of(item), state)

    def _pods(self, item: Object) -> None:
        owner = item
        if item["kind"] in ("Deployment", "Rollout"):
            owner = self._made("apps/v1", "ReplicaSet", f"{item['metadata']['name']}-7d9c", item, {})
        if item["kind"] == "LeaderWorkerSet":
            owner = self._made("apps/v1", "StatefulSet", item["metadata"]["name"], item, {})
        wanted = spec(item).get("replicas", 1)
        name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
        for number in range(max(wanted, 9)):
            ref = Ref("v1", "Pod", f"{name}-{number}", namespace)
            if item["kind"] == "StatefulSet":
                self._claims(item, number, number < wanted)
            if number >= wanted:
                for gone in (
                    ref,
                    ref._replace(name=f"{ref.name}-1"),
                    Ref("apps/v1", "StatefulSet", *ref[2:]),
                ):
                    self._server.delete(gone)
                continue
            pod = self._made("v1", "Pod", ref.name, owner, spec(item)["template"]["spec"])
            if item["kind"] == "LeaderWorkerSet":
                workers = self._made("apps/v1", "StatefulSet", ref.name, pod, {})
                self._made("v1", "Pod", f"{ref.name}-1", workers, spec(item)["template"]["spec"])

    def _claims(self, item: Object, number: int, wanted: bool) -> None:
        """Volumes outlive their pods, unless the set says that a smaller number of replicas deletes them."""
        retention = spec(item).get("persistentVolumeClaimRetentionPolicy") or {}
        for template in spec(item).get("volumeClaimTemplates") or ():
            name = f"{template['metadata']['name']}-{item['metadata']['name']}-{number}"
            ref = Ref("v1", "PersistentVolumeClaim", name, item["metadata"]["namespace"])
            if wanted and ref not in self._server.objects:
                metadata = {"name": name, "namespace": ref.namespace}
                self._server.create({"apiVersion": "v1", "kind": ref.kind, "metadata": metadata})
            if not wanted and retention.get("whenScaled") == "Delete":
                self._server.delete(ref)

    def _made(self, version: str, kind: str, name: str, owner: Object, body: Object) -> dict[str, Any]:
        namespace = owner["metadata"]["namespace"]
        ref = Ref(version, kind, name, namespace)
        above = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": True,
        }
        found = self._server.objects.get(ref)
        if not found or found["metadata"]["ownerReferences"] != [above]:
            metadata = {"name": name, "namespace": namespace, "ownerReferences": [above]}
            self._server.create({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": body})
        return self._server.objects[ref]


def _owner_kind(item: Object) -> str:
    owners = item["metadata"].get("ownerReferences") or ()
    return owners[0]["kind"] if owners else ""


def end_orphans(server: FakeApiServer) -> None:
    """The garbage collector: what stands below something that is gone goes, too."""
    while True:
        uids = {item["metadata"]["uid"] for item in server.objects.values()}
        orphans = [
            ref
            for ref, item in server.objects.items()
            if any(owner["uid"] not in uids for owner in item["metadata"].get("ownerReferences") or ())
        ]
        if not orphans:
            return
        for ref in orphans:
            server.delete(ref)


def pod_spec(pool: str | None = "shared", slices: int = 1, priority: int = 0) -> dict[str, Any]:
    resources = {"limits": {"nvidia.com/gpu": str(slices)}} if slices else {}
    chosen = {"nodeSelector": {"slicewise.dev/pool": pool}} if pool else {}
    return {**chosen, "priority": priority, "containers": [{"name": "main", "resources": resources}]}


def scaled(
    kind: str, name: str, replicas: int, *, version: str = "apps/v1", namespace: str = "ml", **pod: Any
) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "template": {"spec": pod_spec(**pod)}},
    }


def ray_cluster(
    name: str, workers: int = 2, suspend: bool | None = None, namespace: str = "ml", **pod: Any
) -> dict[str, Any]:
    """A head without a GPU, which runs anywhere, and workers on a pool of ours."""
    group = {
        **{"groupName": "gpu", "replicas": workers, "minReplicas": 0, "maxReplicas": workers},
        **{"rayStartParams": {}, "template": {"spec": pod_spec(**pod)}},
    }
    head = {"rayStartParams": {}, "template": {"spec": pod_spec(pool=None, slices=0)}}
    flag = {} if suspend is None else {"suspend": suspend}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"headGroupSpec": head, "workerGroupSpecs": [group], **flag},
    }


def notebook(name: str, stopped: str | None = None, namespace: str = "ml", **pod: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if stopped is not None:
        metadata["annotations"] = {STOPPED: stopped}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Notebook",
        "metadata": metadata,
        "spec": {"template": {"spec": pod_spec(**pod)}},
    }


def inference_service(
    name: str, stop: str | None = None, replicas: int = 1, namespace: str = "ml", **pod: Any
) -> dict[str, Any]:
    """A model that KServe serves by a Deployment, as KServe 0.16 has seen it."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if stop is not None:
        metadata["annotations"] = {KSERVE_STOP: stop}
    stopped = {"type": "Stopped", "status": "True" if stop == "true" else "False"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": {"minReplicas": replicas, **pod_spec(**pod)}},
        "status": {"deploymentMode": "Standard", "conditions": [stopped]},
    }


def predictor(name: str, count: int = 2, namespace: str = "ml", **fields: Any) -> dict[str, Any]:
    """Of an operator's own kind, which no row knows; see Controllers."""
    return {
        "apiVersion": "ml.example.com/v1",
        "kind": "Predictor",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"count": count, "template": {"spec": pod_spec()}, **fields},
    }


def owned(item: dict[str, Any], owner: Object) -> dict[str, Any]:
    """`item` as the controller of `owner` makes it; `owner` has a uid."""
    above = {
        **{key: owner[key] for key in ("apiVersion", "kind")},
        **{key: owner["metadata"][key] for key in ("name", "uid")},
        "controller": True,
    }
    return {**item, "metadata": {**item["metadata"], "ownerReferences": [above]}}


def keeping_volumes(item: dict[str, Any], when_scaled: str = "Delete") -> dict[str, Any]:
    """A StatefulSet with a volume a pod, and what becomes of it when a pod is scaled away."""
    retention = {"whenScaled": when_scaled, "whenDeleted": "Retain"}
    claims = [{"metadata": {"name": "index"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
    more = {"persistentVolumeClaimRetentionPolicy": retention, "volumeClaimTemplates": claims}
    return {**item, "spec": {**item["spec"], **more}}


def cron_job(name: str, suspend: bool | None = None, namespace: str = "ml", **pod: Any) -> dict[str, Any]:
    template = {"spec": {"template": {"spec": pod_spec(**pod)}}}
    flag = {} if suspend is None else {"suspend": suspend}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": template, **flag},
    }


def scaled_object(name: str, target: Object, paused: str | None = None) -> dict[str, Any]:
    reference = {
        "apiVersion": target["apiVersion"],
        "kind": target["kind"],
        "name": target["metadata"]["name"],
    }
    metadata: dict[str, Any] = {"name": name, "namespace": target["metadata"]["namespace"]}
    if paused is not None:
        metadata["annotations"] = {PAUSED: paused}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata,
        "spec": {"scaleTargetRef": reference},
    }


def autoscaler(name: str, target: Object, least: int = 0, **spec: Any) -> dict[str, Any]:
    """A HorizontalPodAutoscaler that has brought its target to 0 by itself, if `least` is 0."""
    reference = {key: target[key] for key in ("apiVersion", "kind")} | {"name": target["metadata"]["name"]}
    conditions = [{"type": "ScaledToZero", "status": "True"}] if least == 0 else []
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": target["metadata"]["namespace"]},
        "spec": {"scaleTargetRef": reference, "minReplicas": least, "maxReplicas": 9, **spec},
        "status": {"conditions": conditions},
    }


def scaled_job(name: str, namespace: str = "ml", **pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"jobTargetRef": {"template": {"spec": pod_spec(**pod)}}},
    }
