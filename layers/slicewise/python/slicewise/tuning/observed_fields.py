"""
What a reconcile of tuning keeps of each object that it lists, which is all that tuning reads of it. Pure.

A page of pods is ten times as large as what is kept of it, and the rest may hold secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from slicewise.kube.labels import MOVED_ANNOTATION
from slicewise.kube.objects import annotations_of, asked_by, spec, status
from slicewise.kube.ref import Object
from slicewise.pools import layout
from slicewise.tuning.state import schedulable, whole_gpus
from slicewise.tuning.state.pool_state import DO_NOT_DISRUPT

_GPU_PREFIX = "nvidia.com/"
_METADATA = (
    *("name", "namespace", "labels", "ownerReferences"),
    *("creationTimestamp", "deletionTimestamp"),
)
_OF_A_WORKLOAD = ("resourceVersion", "uid", "generation", "managedFields")
_OWNER = ("apiVersion", "kind", "name", "controller")
_CONDITION = ("type", "status", "lastTransitionTime", "observedGeneration")
_TERMINATED = ("reason", "exitCode", "startedAt", "finishedAt")
# Lists of up to fifty images, each with two names, are most of a Node.
_UNREAD_OF_A_NODE = frozenset(
    (
        *("images", "nodeInfo", "addresses", "daemonEndpoints", "config", "features", "runtimeHandlers"),
        *("volumesInUse", "volumesAttached"),
    )
)


def asks_for_slices(pod: Object) -> bool:
    """Requests of extended resources equal their limits, and a pod may name only the limit."""
    return any(
        resource.startswith(_GPU_PREFIX)
        for containers in ("containers", "initContainers")
        for container in pod["spec"].get(containers) or ()
        for part in ("requests", "limits")
        for resource in (container.get("resources") or {}).get(part) or ()
    )


def of_a_pod(pod: Object) -> Object:
    metadata, found, pod_status = pod["metadata"], pod["spec"], status(pod)
    kept = _chosen(metadata, _METADATA)
    if owners := metadata.get("ownerReferences"):
        kept["ownerReferences"] = [_chosen(owner, _OWNER) for owner in owners]
    if DO_NOT_DISRUPT in (metadata.get("annotations") or ()):
        kept["annotations"] = _chosen(metadata["annotations"], (DO_NOT_DISRUPT,))
    chosen = _chosen(found, ("nodeName", "nodeSelector"))
    if nodes := (found.get("affinity") or {}).get("nodeAffinity"):
        # Whether it could run elsewhere.
        chosen["affinity"] = {"nodeAffinity": nodes}
    if whole_gpus.gpus_of(found) > 1 or not found.get("nodeName"):
        # Where it may come to run.
        chosen |= schedulable.of_a_pod_spec(found)
    became = _chosen(pod_status, ("phase", "reason", "startTime"))
    if "conditions" in pod_status:
        # When it became ready.
        became["conditions"] = _conditions(
            one for one in pod_status["conditions"] or () if one["type"] == "Ready"
        )
    if "containerStatuses" in pod_status:
        became["containerStatuses"] = [_ended(one) for one in pod_status["containerStatuses"] or ()]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": kept,
        "spec": chosen | asked_by(found),
        "status": became,
    }


def _ended(container: Mapping[str, Any]) -> Object:
    """How often a container began again, and how it ended."""
    kept = _chosen(container, ("name", "restartCount"))
    for state in ("state", "lastState"):
        if end := (container.get(state) or {}).get("terminated"):
            kept[state] = {"terminated": _chosen(end, _TERMINATED)}
    return kept


def of_a_node(node: Object) -> Object:
    """Metadata and spec stay as they are: they are patched."""
    kept = {key: value for key, value in status(node).items() if key not in _UNREAD_OF_A_NODE}
    return {**node, "status": _with_conditions(kept)}


def of_a_claim(claim: Object) -> Object:
    """Its requirements name each instance type that would have done; read is the key that it started with."""
    found = spec(claim)
    requirements = [one for one in found.get("requirements") or () if one.get("key") == layout.CONFIG_LABEL]
    return {
        **claim,
        "spec": {**found, "requirements": requirements},
        "status": _with_conditions(dict(status(claim))),
    }


def of_a_workload(item: Object) -> Object:
    """What moving reads of it: its template may hold secrets."""
    metadata, found = item["metadata"], item["spec"]
    pod_spec = (found.get("template") or {}).get("spec") or {}
    chosen = {key: pod_spec[key] for key in ("nodeSelector", "tolerations") if key in pod_spec}
    marks = {k: v for k, v in annotations_of(item).items() if k == MOVED_ANNOTATION}
    return {
        **{key: item[key] for key in ("apiVersion", "kind", "status") if key in item},
        "metadata": {
            **{key: metadata[key] for key in (*_METADATA, *_OF_A_WORKLOAD) if key in metadata},
            "annotations": marks,
        },
        "spec": {
            **{key: found[key] for key in ("replicas", "paused", "updateStrategy") if key in found},
            "template": {"spec": chosen},
        },
    }


def _with_conditions(kept: Object) -> Object:
    return {**kept, "conditions": _conditions(kept["conditions"])} if kept.get("conditions") else kept


def _conditions(found: Iterable[Mapping[str, Any]]) -> list[Object]:
    return [_chosen(one, _CONDITION) for one in found]


def _chosen(found: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: found[key] for key in keys if key in found}
