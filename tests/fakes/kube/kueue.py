"""
A stand-in for Kueue 0.17: which of what is queued has quota, by its rules as far as off-hours meet them.

Quota that becomes free is taken by the next in the queue at once, by priority and then by age. A queue that
is held admits nothing, and what runs in it goes on. What is made inactive is not admitted, and where it was,
it is ended. Pods wait with a scheduling gate, from their first moment on; Jobs wait suspended.
"""

from __future__ import annotations

from typing import Any

from slicewise.kube.objects import controller_of, labels, spec, status
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.offhours.targets import slices

from tests.fakes.kube.controllers import owned, pod_spec
from tests.fakes.kube.kubernetes import FakeApiServer

API, QUEUE_NAME, GATE = "kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/admission"
CRDS = tuple(
    f"{plural}.kueue.x-k8s.io" for plural in ("clusterqueues", "localqueues", "resourceflavors", "workloads")
)
OURS, OTHERS = "gpu-l4", "cpu"


class Kueue:
    """
    Attributes:
        is_running: Whether its manager's pods are there. Its webhook is always, so that pods are gated.
    """

    def __init__(self, server: FakeApiServer) -> None:
        self._server, self._busy = server, False
        self.is_running = True
        server.on_change.append(self.reconcile)

    def reconcile(self, item: Object) -> None:
        if item["kind"] in ("Pod", "Job"):
            self._queue(item)
        if self._busy or not self.is_running:
            return
        self._busy = True
        while self._sync():
            pass
        self._busy = False

    def _queue(self, item: Object) -> None:
        """A Workload for what was just made; all below a Deployment that has a queue has it, too."""
        queue = self._queue_name(item)
        name = f"{item['kind'].lower()}-{item['metadata']['name']}"
        ref = Ref(API, "Workload", name, item["metadata"]["namespace"])
        found = self._server.objects.get(ref)
        if not queue or (found and found["metadata"]["ownerReferences"][0]["uid"] == item["metadata"]["uid"]):
            return
        template = item["spec"] if item["kind"] == "Pod" else item["spec"]["template"]["spec"]
        if found:
            self._server.delete(ref)
        if item["kind"] == "Pod":
            gate = {"op": "add", "path": "/spec/schedulingGates", "value": [{"name": GATE}]}
            self._server.patch(ref_of(item), [gate], "kueue")
        body = {
            "queueName": queue,
            "active": True,
            "priority": template.get("priority", 0),
            "podSets": [{"name": "main", "count": 1, "template": {"spec": template}}],
        }
        workload = {"apiVersion": API, "kind": "Workload", "metadata": {"name": name}, "spec": body}
        workload["metadata"]["namespace"] = ref.namespace
        self._server.create(owned(workload, item))

    def _queue_name(self, item: Object) -> str | None:
        while item and not labels(item).get(QUEUE_NAME):
            owner = controller_of(item)
            above = owner and Ref(
                owner["apiVersion"], owner["kind"], owner["name"], item["metadata"]["namespace"]
            )
            item = self._server.objects.get(above, {}) if above else {}
            if item.get("kind") == "Job":
                return None  # its pods are admitted with it
        return labels(item).get(QUEUE_NAME) if item else None

    def _sync(self) -> bool:
        """One change, of the most urgent kind; false where nothing is left to do."""
        workloads = [item for _, item in self._server.of_kind(API, "Workload")]
        uids = {item["metadata"]["uid"] for item in self._server.objects.values()}
        for one in workloads:
            if one["metadata"]["ownerReferences"][0]["uid"] not in uids:
                self._server.delete(ref_of(one))
                return True
            if is_admitted(one) and not spec(one)["active"]:
                self._evict(one)
                return True
        for one in sorted(workloads, key=_order):
            queue = self._cluster_queue(one)
            if queue and not is_admitted(one) and self._may_start(one, queue, workloads):
                self._admit(one, queue)
                return True
        return False

    def _cluster_queue(self, workload: Object) -> Object | None:
        at = Ref(API, "LocalQueue", spec(workload)["queueName"], workload["metadata"]["namespace"])
        local = self._server.objects.get(at)
        return local and self._server.objects.get(Ref(API, "ClusterQueue", spec(local)["clusterQueue"]))

    def _may_start(self, workload: Object, queue: Object, workloads: list[Any]) -> bool:
        if not spec(workload)["active"] or spec(queue)["stopPolicy"] != "None":
            return False
        used = sum(_gpus(one) for one in workloads if status(one).get("admission") == _admission(queue))
        return not _gpus(workload) or used + _gpus(workload) <= _quota(queue)

    def _admit(self, workload: Object, queue: Object) -> None:
        conditions = [{"type": kind, "status": "True"} for kind in ("QuotaReserved", "Admitted")]
        reported = {"conditions": conditions, "admission": _admission(queue)}
        self._server.set_status(ref_of(workload), reported)
        owner = self._owner(workload)
        if owner["kind"] == "Pod":
            remove = {"op": "remove", "path": "/spec/schedulingGates"}
            self._server.patch(ref_of(owner), [remove], "kueue")
            return
        self._suspend(owner, False)
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": owner["spec"]["template"]["spec"]}
        pod["metadata"] = {"name": owner["metadata"]["name"], "namespace": owner["metadata"]["namespace"]}
        self._server.create(owned(pod, owner))

    def _evict(self, workload: Object) -> None:
        conditions = [{"type": "QuotaReserved", "status": "False"}, {"type": "Evicted", "status": "True"}]
        self._server.set_status(ref_of(workload), {"conditions": conditions})
        owner = self._owner(workload)
        self._server.delete(Ref("v1", "Pod", owner["metadata"]["name"], owner["metadata"]["namespace"]))
        if owner["kind"] == "Job":
            self._suspend(owner, True)

    def _suspend(self, job: Object, value: bool) -> None:
        self._server.patch(ref_of(job), [{"op": "add", "path": "/spec/suspend", "value": value}], "kueue")

    def _owner(self, workload: Object) -> dict[str, Any]:
        above = workload["metadata"]["ownerReferences"][0]
        namespace = workload["metadata"]["namespace"]
        return self._server.objects[Ref(above["apiVersion"], above["kind"], above["name"], namespace)]


def is_admitted(workload: Object) -> bool:
    return bool(status(workload).get("admission"))


def _order(workload: Object) -> tuple[int, int]:
    """The server's uids count up."""
    return -spec(workload)["priority"], int(workload["metadata"]["uid"].rpartition("-")[2])


def _admission(queue: Object) -> Object:
    return {"clusterQueue": queue["metadata"]["name"]}


def _gpus(workload: Object) -> int:
    return sum(slices({"spec": one["template"]["spec"]}) for one in spec(workload)["podSets"])


def _quota(queue: Object) -> int:
    return sum(
        int(resource["nominalQuota"])
        for group in spec(queue)["resourceGroups"]
        for flavor in group["flavors"]
        for resource in flavor["resources"]
        if resource["name"] == "nvidia.com/gpu"
    )


def flavor(name: str, **node_labels: str) -> dict[str, Any]:
    return {
        "apiVersion": API,
        "kind": "ResourceFlavor",
        "metadata": {"name": name},
        "spec": {"nodeLabels": node_labels} if node_labels else {},
    }


def flavors() -> tuple[dict[str, Any], ...]:
    """One of a pool of ours, and one of nodes that are not."""
    return flavor(OURS, **{"slicewise.dev/pool": "shared"}), flavor(OTHERS)


def cluster_queue(name: str, gpus: int, stop_policy: str = "None", with_cpus: bool = False) -> dict[str, Any]:
    """As the API server stores it. With CPUs of other nodes, or with what our pools have alone."""
    groups = [_group(OURS, "nvidia.com/gpu", gpus), *([_group(OTHERS, "cpu", 100)] if with_cpus else [])]
    return {
        "apiVersion": API,
        "kind": "ClusterQueue",
        "metadata": {"name": name},
        "spec": {"resourceGroups": groups, "stopPolicy": stop_policy},
    }


def _group(flavor: str, resource: str, quota: int) -> dict[str, Any]:
    resources = [{"name": resource, "nominalQuota": str(quota)}]
    return {"coveredResources": [resource], "flavors": [{"name": flavor, "resources": resources}]}


def local_queue(name: str, cluster_queue: str, namespace: str = "ml") -> dict[str, Any]:
    return {
        "apiVersion": API,
        "kind": "LocalQueue",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterQueue": cluster_queue, "stopPolicy": "None"},
    }


def job(name: str, queue: str = "team", **pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "ml", "labels": {QUEUE_NAME: queue}},
        "spec": {"suspend": True, "template": {"spec": pod_spec(**pod)}},
    }


def in_queue(item: dict[str, Any], queue: str = "team") -> dict[str, Any]:
    metadata = {**item["metadata"], "labels": {**labels(item), QUEUE_NAME: queue}}
    return {**item, "metadata": metadata}
