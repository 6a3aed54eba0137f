"""
Stand-ins for controllers of what GPU teams run, for where the real ones are not at hand.

Each does to its objects what nights meet, and no more: KEDA's operator as 2.21 was seen to (its
HorizontalPodAutoscaler is left out, so what comes back at its minimum stays there), Kubeflow's notebook
controller as its source says, which is in no registry of modules, and an operator that nobody knows, with a
kind of its own.
"""

from __future__ import annotations

import threading
from typing import Any, Self

import yaml

from sandbox.artifacts import workload_crds
from sandbox.cluster.client import KubeClient, KubeError
from sandbox.cluster.control_plane import ControlPlane
from sandbox.libyaml import LOADER

Object = dict[str, Any]

PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
PAUSED = "autoscaling.keda.sh/paused"
STOPPED = "kubeflow-resource-stopped"
PREDICTOR_STOPPED = "ml.example.com/stopped"
TICK_SECONDS = 0.3


class StandIn:
    """
    Acts a few times a second between `with` and its end.

    Attributes:
        is_down: While True it does nothing, as if its pods were gone.
    """

    path = ""

    def __init__(self, plane: ControlPlane):
        self.is_down = False
        self._kube: KubeClient = plane.kube
        plane.serve(self.definitions())
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    def definitions(self) -> list[Object]:
        raise NotImplementedError

    def act(self, item: Object) -> None:
        """On one object of its kind, as often as wanted."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.wait(TICK_SECONDS):
            for item in [] if self.is_down else self._kube.list(self.path):
                try:
                    self.act(item)
                except KubeError as error:
                    # Somebody else was quicker, or the object is gone: the next tick sees what is there.
                    if error.status not in (404, 409):
                        raise


class Keda(StandIn):
    """Scales the Deployments of ScaledObjects whose triggers are active."""

    path = "/apis/keda.sh/v1alpha1/scaledobjects"

    def definitions(self) -> list[Object]:
        files = sorted(workload_crds.folder().glob("keda-scaledobjects-*.yaml"))
        return [yaml.load(file.read_text(), LOADER) for file in files]

    def act(self, item: Object) -> None:
        spec, metadata = item["spec"], item["metadata"]
        root = f"/apis/apps/v1/namespaces/{metadata['namespace']}/deployments"
        target = f"{root}/{spec['scaleTargetRef']['name']}"
        now = self._kube.get(target)["spec"]["replicas"]
        wanted = _wanted(metadata.get("annotations") or {}, now, spec.get("minReplicaCount", 0))
        if wanted != now:
            self._kube.merge(f"{target}/scale?fieldManager=keda", {"spec": {"replicas": wanted}})


def _wanted(annotations: Object, now: int, least: int) -> int:
    if (count := annotations.get(PAUSED_REPLICAS)) is not None:
        return int(count)
    if annotations.get(PAUSED) == "true":
        return now
    return now or max(least, 1)


class NotebookController(StandIn):
    """Makes a StatefulSet for each Notebook, and keeps its count."""

    path = "/apis/kubeflow.org/v1/notebooks"

    def definitions(self) -> list[Object]:
        return [NOTEBOOKS]

    def act(self, item: Object) -> None:
        metadata = item["metadata"]
        stopped = STOPPED in (metadata.get("annotations") or {})
        self._kube.apply(_set_of(item, 0 if stopped else 1), field_manager="notebook-controller")


class PredictorOperator(StandIn):
    """
    As many an operator that brings a kind: its Deployment has the count of the object, none while that is
    stopped, and is put back whoever else scales it.
    """

    path = "/apis/ml.example.com/v1/predictors"

    def definitions(self) -> list[Object]:
        return [predictors()]

    def act(self, item: Object) -> None:
        spec, marks = item["spec"], item["metadata"].get("annotations") or {}
        stopped = spec.get("suspend") or (spec.get("server") or {}).get("state") == "Stopped"
        count = 0 if stopped or marks.get(PREDICTOR_STOPPED) == "true" else spec["count"]
        made = _made_for(item, "Deployment", count, {"app": item["metadata"]["name"]})
        self._kube.apply(made, field_manager="predictor-operator")


def _set_of(notebook: Object, replicas: int) -> Object:
    name = notebook["metadata"]["name"]
    made = _made_for(notebook, "StatefulSet", replicas, {"notebook-name": name})
    return {**made, "spec": {**made["spec"], "serviceName": name}}


def _made_for(above: Object, kind: str, replicas: int, labels: Object) -> Object:
    metadata = above["metadata"]
    owner = {key: above[key] for key in ("apiVersion", "kind")} | {
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "ownerReferences": [owner],
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": above["spec"]["template"]["spec"]},
        },
    }


NOTEBOOKS: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "notebooks.kubeflow.org"},
    "spec": {
        "group": "kubeflow.org",
        "names": {"kind": "Notebook", "plural": "notebooks", "singular": "notebook"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


def notebook(name: str, pod_spec: Object, namespace: str = "default") -> Object:
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Notebook",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": pod_spec}},
    }


def predictors(*versions: str, served: bool = True, scope: str = "Namespaced") -> Object:
    """The definition of PredictorOperator's kind; the first of its versions is stored."""
    names = versions or ("v1",)
    state = {"type": "string", "enum": ["Running", "Stopped"]}
    fields = {
        "count": {"type": "integer", "minimum": 0},
        "suspend": {"type": "boolean"},
        "server": {"type": "object", "properties": {"state": state}},
        # A word that CEL keeps to itself.
        "loop": {"type": "object", "properties": {"ends": {"type": "boolean"}, "every": {"type": "string"}}},
        "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "predictors.ml.example.com"},
        "spec": {
            "group": "ml.example.com",
            "names": {"kind": "Predictor", "plural": "predictors", "singular": "predictor"},
            "scope": scope,
            "versions": [
                {
                    "name": version,
                    "served": served,
                    "storage": version == names[0],
                    "schema": {"openAPIV3Schema": schema},
                }
                for version in names
            ],
        },
    }
