"""
From pods to the workloads that make them: all pods of one have one template, and so one class. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from slicewise.kube import kinds
from slicewise.kube.objects import controller_of, created_at, labels, name, spec
from slicewise.kube.ref import Object, Ref
from slicewise.pools import layout

# The label by which a ReplicaSet's maker is known, and what kind that is.
_BY_HASH = {
    "pod-template-hash": kinds.DEPLOYMENT,
    "rollouts-pod-template-hash": kinds.ROLLOUT,
}


@dataclass(frozen=True)
class Workload:
    """
    Attributes:
        size: The class that its newest pod selects, and so its template; 1 where it selects none.
        pods: Of one pool, as "namespace/pod".
        owner: What lies above it, for people, such as "InferenceService llm"; "" where nothing is known to.
    """

    ref: Ref
    size: int
    pods: tuple[str, ...]
    owner: str = ""


def workload_of(pod: Object) -> Ref:
    """What makes a pod of its template; a pod without an owner is its own. What is above: owners.py."""
    metadata = pod["metadata"]
    namespace = metadata.get("namespace", "default")
    owner = controller_of(pod)
    if owner is None:
        return Ref(*kinds.POD, name(pod), namespace)
    for label, (version, kind) in _BY_HASH.items():
        suffix = f"-{labels(pod).get(label)}"
        if owner["kind"] == "ReplicaSet" and owner["name"].endswith(suffix):
            return Ref(version, kind, owner["name"].removesuffix(suffix), namespace)
    return Ref(owner.get("apiVersion", ""), owner["kind"], owner["name"], namespace)


# What Kubernetes makes names of (apimachinery, util/rand): no vowels, and no 0, 1 and 3.
LETTERS = "[bcdfghjklmnpqrstvwxz2456789]"


def made_by(pod: Object) -> re.Pattern[str]:
    """
    Names that the controllers of a pod's workload give to its pods: of one that has ended nothing else is
    left.

    A ReplicaSet's pods end in five letters, and so do those of a Job and a DaemonSet; a Deployment's
    ReplicaSets in the hash of their template; a StatefulSet's pods keep their names. Of others a pod's name
    shows nothing for certain: a RayCluster's, say, end in five letters, too, but may be named as a Job is.
    """
    owner, workload = controller_of(pod), workload_of(pod)
    if owner is None or (owner["kind"], owner.get("apiVersion")) not in _NAMING:
        return _NONE
    base = re.escape(workload.name)
    if owner["kind"] == "ReplicaSet" and workload.name != owner["name"]:
        base += f"-{LETTERS}{{6,10}}"
    ending = "[0-9]+" if owner["kind"] == "StatefulSet" else LETTERS + "{5}"
    return re.compile(f"{base}-{ending}")


_NONE = re.compile("(?!)")
_NAMING = frozenset(
    {
        *((kind, "apps/v1") for kind in ("ReplicaSet", "StatefulSet", "DaemonSet")),
        ("Job", "batch/v1"),
        ("ReplicationController", "v1"),
    }
)


def workloads(
    pods: Iterable[Object], topmost_owner_name: Callable[[Object], str] = lambda _: ""
) -> tuple[Workload, ...]:
    found: dict[Ref, list[Object]] = {}
    for pod in pods:
        found.setdefault(workload_of(pod), []).append(pod)
    return tuple(_workload(ref, members, topmost_owner_name) for ref, members in sorted(found.items()))


def _workload(ref: Ref, members: list[Object], topmost_owner_name: Callable[[Object], str]) -> Workload:
    newest = max(members, key=_creation)
    size, pods = layout.class_of(spec(newest)) or 1, tuple(sorted(map(pod_key, members)))
    return Workload(ref, size, pods, topmost_owner_name(newest))


def _creation(pod: Object) -> tuple[Any, str]:
    at = created_at(pod)
    return (at.timestamp() if at else 0.0, name(pod))


def pod_key(pod: Object) -> str:
    return f"{pod['metadata'].get('namespace', 'default')}/{name(pod)}"
