"""
From pods to the workloads that make them: all pods of one have one template, and so one class. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from slicewise import layout
from slicewise.model import Object, Ref
from slicewise.objects import controller_of, created_at, labels, name, spec

# The label by which a ReplicaSet's maker is known, and what kind that is.
_BY_HASH = {
    "pod-template-hash": ("apps/v1", "Deployment"),
    "rollouts-pod-template-hash": ("argoproj.io/v1alpha1", "Rollout"),
}


@dataclass(frozen=True)
class Workload:
    """
    Attributes:
        size: The class that its newest pod selects, and so its template; 1 where it selects none.
        pods: Of one pool, as "namespace/pod".
    """

    ref: Ref
    size: int
    pods: tuple[str, ...]


def workload_of(pod: Object) -> Ref:
    """What makes a pod, as far as the pod itself tells; a pod that nobody makes is its own."""
    metadata = pod["metadata"]
    namespace = metadata.get("namespace", "default")
    owner = controller_of(pod)
    if owner is None:
        return Ref("v1", "Pod", name(pod), namespace)
    for label, (version, kind) in _BY_HASH.items():
        suffix = f"-{labels(pod).get(label)}"
        if owner["kind"] == "ReplicaSet" and owner["name"].endswith(suffix):
            return Ref(version, kind, owner["name"].removesuffix(suffix), namespace)
    return Ref(owner.get("apiVersion", ""), owner["kind"], owner["name"], namespace)


# What Kubernetes makes names of (apimachinery, util/rand): no vowels, and no 0, 1 and 3.
_LETTERS = "[bcdfghjklmnpqrstvwxz2456789]"


def made_by(pod: Object) -> re.Pattern[str]:
    """
    Names that the controllers of a pod's workload give to its pods: of one that is gone nothing else is left.

    A ReplicaSet's pods end in five letters, a Deployment's ReplicaSets in the hash of their template, a
    StatefulSet's pods keep their names. Of others a pod's name tells nothing for certain.
    """
    owner, workload = controller_of(pod), workload_of(pod)
    if owner is None:
        return _NONE
    base = re.escape(workload.name)
    if owner["kind"] == "ReplicaSet" and workload.name != owner["name"]:
        base += f"-{_LETTERS}{{6,10}}"
    ending = "[0-9]+" if owner["kind"] == "StatefulSet" else _LETTERS + "{5}"
    return re.compile(f"{base}-{ending}")


_NONE = re.compile("(?!)")


def workloads(pods: Iterable[Object]) -> tuple[Workload, ...]:
    found: dict[Ref, list[Object]] = {}
    for pod in pods:
        found.setdefault(workload_of(pod), []).append(pod)
    return tuple(_workload(ref, members) for ref, members in sorted(found.items()))


def _workload(ref: Ref, members: list[Object]) -> Workload:
    newest = max(members, key=_born)
    return Workload(ref, layout.class_of(spec(newest)) or 1, tuple(sorted(map(pod_key, members))))


def _born(pod: Object) -> tuple[Any, str]:
    at = created_at(pod)
    return (at.timestamp() if at else 0.0, name(pod))


def pod_key(pod: Object) -> str:
    return f"{pod['metadata'].get('namespace', 'default')}/{name(pod)}"
