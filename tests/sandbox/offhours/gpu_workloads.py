"""Workloads of every kind whose pods take one slice each; tests that sleep bring them into real clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.cluster import samples
from sandbox.cluster.client import KubeClient
from tests.support.offhours_nights import PAUSED_OBJECT

Object = dict[str, Any]
ROLLOUT, LEADER_WORKER_SET = "argoproj.io/v1alpha1", "leaderworkerset.x-k8s.io/v1"


@dataclass(frozen=True)
class GpuWorkloads:
    """Of one namespace, on one pool."""

    namespace: str
    pool: str

    def scaled(self, kind: str, name: str, replicas: int, version: str = "apps/v1") -> Object:
        item = samples.deployment(name, replicas, "")
        item |= {"apiVersion": version, "kind": kind, "metadata": self._named(name)}
        template = item["spec"]["template"]
        template["spec"]["nodeSelector"] = {"slicewise.dev/pool": self.pool}
        if kind == "StatefulSet":
            item["spec"]["serviceName"] = name
        if kind == "Rollout":
            item["spec"]["strategy"] = {"canary": {}}
        if kind == "LeaderWorkerSet":
            item["spec"] = {
                "replicas": replicas,
                "leaderWorkerTemplate": {"workerTemplate": template, "size": 1},
            }
        return item

    def cron_job(self, name: str) -> Object:
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": self._ending(name)}}}
        return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": self._named(name), "spec": spec}

    def job(self, name: str, runs_for: str) -> Object:
        template = self._ending(name)
        template["metadata"]["annotations"] = {"sandbox.slicewise.dev/run-for": runs_for}
        spec = {"template": template}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": self._named(name), "spec": spec}

    def scaled_object(self, target: str, paused: str | None = None) -> Object:
        item = self._of_keda("ScaledObject", target, scaleTargetRef={"name": target})
        if paused is not None:
            item["metadata"]["annotations"] = {PAUSED_OBJECT[-1]: paused}
        return item

    def scaled_job(self, name: str) -> Object:
        return self._of_keda("ScaledJob", name, jobTargetRef={"template": self._ending(name)})

    def _named(self, name: str) -> Object:
        return {"name": name, "namespace": self.namespace}

    def _ending(self, name: str) -> Object:
        """A template of pods that a Job makes."""
        template = self.scaled("Deployment", name, 1)["spec"]["template"]
        template["spec"]["restartPolicy"] = "Never"
        return template

    def _of_keda(self, kind: str, name: str, **spec: Any) -> Object:
        trigger = {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 6 * * *", "end": "0 20 * * *"}}
        spec["triggers"] = [trigger]
        return {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": kind,
            "metadata": self._named(name),
            "spec": spec,
        }


def pod_of(owner: Object, number: int = 0) -> Object:
    """One of its pods, as the owner's controller would make it, were it here; `owner` as it was read."""
    spec, metadata = owner["spec"], owner["metadata"]
    template = spec.get("template") or spec["leaderWorkerTemplate"]["workerTemplate"]
    above = {key: owner[key] for key in ("apiVersion", "kind")}
    above |= {"name": metadata["name"], "uid": metadata["uid"], "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-{number}",
            "namespace": metadata["namespace"],
            "labels": {"app": metadata["name"]},
            "ownerReferences": [above],
        },
        "spec": template["spec"],
    }


def follow(kube: KubeClient, item: Object) -> None:
    """Have as many pods as an object asks for; none where it is gone. Its controller's work, once."""
    namespace, app = item["metadata"]["namespace"], item["metadata"]["name"]
    pods = f"/api/v1/namespaces/{namespace}/pods"
    owner = kube.find(kube.path(item))
    wanted = {f"{app}-{number}": number for number in range(owner["spec"]["replicas"] if owner else 0)}
    there = {pod["metadata"]["name"]: pod for pod in kube.list(pods, labelSelector=f"app={app}")}
    for name, pod in there.items():
        above = pod["metadata"]["ownerReferences"][0]["uid"]
        if name not in wanted or above != owner["metadata"]["uid"]:
            kube.delete(f"{pods}/{name}", missing_ok=True)
    for name in wanted.keys() - there.keys():
        kube.create(pod_of(owner, wanted[name]))
