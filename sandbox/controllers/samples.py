"""The least objects that the controllers of the catalog act on, for trying them out and for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]

RAY, KEDA, KUEUE = "ray.io/v1", "keda.sh/v1alpha1", "kueue.x-k8s.io/v1beta2"
KSERVE, TRAINER = "serving.kserve.io/v1beta1", "trainer.kubeflow.org/v1alpha1"
KUBEFLOW = "kubeflow.org/v1"
SLURM = "slinky.slurm.net/v1beta1"


def ray_cluster(name: str, workers: int, *, namespace: str = "default", worker: Mapping[str, Any]) -> Object:
    """
    A RayCluster: a head without a GPU, and one group of workers.

    Args:
        worker: The pod spec of a worker, containers and all.
    """
    return {
        "apiVersion": RAY,
        "kind": "RayCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "rayVersion": "2.46.0",
            "headGroupSpec": {"rayStartParams": {}, "template": {"spec": pod("ray-head")}},
            "workerGroupSpecs": [
                {
                    "groupName": "workers",
                    "replicas": workers,
                    "minReplicas": 0,
                    "maxReplicas": max(workers, 1),
                    "rayStartParams": {},
                    "template": {"spec": dict(worker)},
                }
            ],
        },
    }


def pod(container: str) -> Object:
    """The spec of a pod that runs anywhere; Ray reads its limits."""
    amounts = {"cpu": "100m", "memory": "128Mi"}
    image = f"example.com/{container}:1"
    return {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {"name": container, "image": image, "resources": {"requests": amounts, "limits": amounts}}
        ],
    }


def deployment(name: str, replicas: int, *, namespace: str = "default") -> Object:
    """Of pods that run anywhere."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod("main")}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def scaled_object(target: str, *, least: int, while_running: str, namespace: str = "default") -> Object:
    """
    KEDA scales this Deployment: not below `least`, and above 0 as long as a pod runs that has the label
    `app=<while_running>`.
    """
    trigger = {"podSelector": f"app={while_running}", "value": "1"}
    return {
        "apiVersion": KEDA,
        "kind": "ScaledObject",
        "metadata": {"name": target, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"name": target},
            "minReplicaCount": least,
            "maxReplicaCount": 10,
            "pollingInterval": 1,  # seconds; else 30 go by before what runs is seen
            "triggers": [{"type": "kubernetes-workload", "metadata": trigger}],
        },
    }


def scaled_by_prometheus(
    target: str,
    address: str,
    query: str,
    *,
    threshold: int,
    fallback: Mapping[str, int] | None = None,
    namespace: str = "default",
) -> Object:
    """
    KEDA scales this Deployment: a replica for each `threshold` of what the query gives, none for 0.

    Args:
        address: Of Prometheus, such as "http://127.0.0.1:9090".
        fallback: As a ScaledObject has it: `replicas` after more than `failureThreshold` errors in a row.
    """
    metadata = {"serverAddress": address, "query": query, "threshold": str(threshold)}
    return {
        "apiVersion": KEDA,
        "kind": "ScaledObject",
        "metadata": {"name": target, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"name": target},
            "minReplicaCount": 0,
            "maxReplicaCount": 10,
            "pollingInterval": 1,  # seconds, as below; else 30
            "cooldownPeriod": 1,  # else 300
            "triggers": [{"type": "prometheus", "metadata": metadata}],
            **({"fallback": dict(fallback)} if fallback else {}),
        },
    }


def queues(name: str, quota: Mapping[str, str], *, namespace: str = "default") -> list[Object]:
    """
    What Kueue admits pods of a namespace by: a queue of this name, all of whose pods share the quota.

    Args:
        quota: Of each resource that its pods may request, such as {"cpu": "1", "memory": "1Gi"}.
    """
    amounts = [{"name": resource, "nominalQuota": amount} for resource, amount in quota.items()]
    group = {"coveredResources": list(quota), "flavors": [{"name": name, "resources": amounts}]}
    of_all = {"namespaceSelector": {}, "resourceGroups": [group]}
    return [
        {"apiVersion": KUEUE, "kind": "ResourceFlavor", "metadata": {"name": name}, "spec": {}},
        {"apiVersion": KUEUE, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": of_all},
        {
            "apiVersion": KUEUE,
            "kind": "LocalQueue",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterQueue": name},
        },
    ]


def inference_service(
    name: str, replicas: int, *, namespace: str = "default", pod: Mapping[str, Any]
) -> Object:
    """
    A model server that KServe keeps at `replicas` by an autoscaler of its own, which may double them.

    Args:
        pod: The spec of its pods, whose first container serves.
    """
    serves, *others = pod["containers"]
    containers = [{**serves, "name": "kserve-container"}, *others]
    counts = {"minReplicas": replicas, "maxReplicas": 2 * replicas}
    return {
        "apiVersion": KSERVE,
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"predictor": {**pod, **counts, "containers": containers}},
    }


def training_runtime(name: str, template: Mapping[str, Any]) -> Object:
    """
    Of which TrainJobs in any namespace are made.

    Args:
        template: Of its pods, whose first container trains.
    """
    trains, *others = template["spec"]["containers"]
    spec = {**template["spec"], "containers": [{**trains, "name": "node"}, *others]}
    step = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    job = {"metadata": step, "spec": {"template": {**template, "spec": spec}}}
    return {
        "apiVersion": TRAINER,
        "kind": "ClusterTrainingRuntime",
        "metadata": {"name": name, "labels": {"trainer.kubeflow.org/framework": "plainml"}},
        "spec": {
            "mlPolicy": {"numNodes": 1},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": job}]}},
        },
    }


def train_job(name: str, runtime: str, nodes: int, *, namespace: str = "default") -> Object:
    """Of as many pods, by a ClusterTrainingRuntime."""
    return {
        "apiVersion": TRAINER,
        "kind": "TrainJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"runtimeRef": {"name": runtime}, "trainer": {"numNodes": nodes}},
    }


def pytorch_job(
    name: str, workers: int, *, namespace: str = "default", template: Mapping[str, Any]
) -> Object:
    """
    Without a master, as torchrun's elastic jobs are.

    Args:
        template: Of its workers, whose first container trains.
    """
    trains, *others = template["spec"]["containers"]
    spec = {**template["spec"], "containers": [{**trains, "name": "pytorch"}, *others]}
    worker = {"replicas": workers, "template": {**template, "spec": spec}}
    return {
        "apiVersion": KUBEFLOW,
        "kind": "PyTorchJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"pytorchReplicaSpecs": {"Worker": worker}},
    }


def slurm(name: str, *, namespace: str = "default") -> list[Object]:
    """A Slurm cluster whose slurmctld is elsewhere, with its REST API and the secrets of both."""
    key = {"name": name, "key": "key"}
    reference = {"name": name, "namespace": namespace}
    metadata = {"metadata": reference}
    return [
        {"apiVersion": "v1", "kind": "Secret", **metadata, "stringData": {"key": "0" * 64}},
        {
            "apiVersion": SLURM,
            "kind": "Controller",
            **metadata,
            "spec": {
                "external": True,
                "externalConfig": {"host": "slurm.example.com", "port": 6817},
                "slurmKeyRef": key,
                "jwtHs256KeyRef": key,
            },
        },
        {
            "apiVersion": SLURM,
            "kind": "RestApi",
            **metadata,
            "spec": {"controllerRef": reference, "slurmrestd": {"image": "example.com/slurmrestd:1"}},
        },
    ]


def slurm_node_set(
    name: str, replicas: int, cluster: str, *, namespace: str = "default", template: Mapping[str, Any]
) -> Object:
    """
    Args:
        cluster: The name of its `slurm`, in the same namespace.
        template: Of its pods, whose only container is slurmd.
    """
    [slurmd], pod_spec = template["spec"]["containers"], dict(template["spec"])
    pod_spec.pop("containers")
    return {
        "apiVersion": SLURM,
        "kind": "NodeSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "controllerRef": {"name": cluster, "namespace": namespace},
            "replicas": replicas,
            "slurmd": {key: slurmd[key] for key in ("image", "resources")},
            "logfile": {"image": slurmd["image"]},
            "template": {"metadata": template["metadata"], "spec": pod_spec},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%"}},
        },
    }


def job(name: str, *, namespace: str = "default") -> Object:
    """Of one pod, which runs until somebody ends it."""
    template = {"spec": pod("main") | {"restartPolicy": "Never"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": template},
    }


def queued(item: Object, queue: str) -> Object:
    """The same Job or Deployment, which runs once that queue of Kueue has room."""
    metadata = item["metadata"]
    return item | {"metadata": metadata | {"labels": {"kueue.x-k8s.io/queue-name": queue}}}
