"""
Pods that request more than one GPU, which no shared GPU can give: kubelet refuses such a pod each time. Pure.

A NodePool at one pod a GPU serves them, so its N stays 1 for as long as such a pod, or a template of such
pods, may come there: also one that has no pod now, as a CronJob by day. Read are pods, and templates of
Deployments, StatefulSets, Jobs and CronJobs; of other makers of pods their pods alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from slicewise.kube import quantities
from slicewise.kube.labels import POOL_LABEL, SLICES_ANNOTATION
from slicewise.kube.objects import controller_of, is_true, name, spec
from slicewise.kube.ref import Object, Ref
from slicewise.model.cluster import ClusterContents
from slicewise.planning.outcome import Finding
from slicewise.pools import layout
from slicewise.tuning.state import schedulable
from slicewise.tuning.state.pool_state import PoolState
from slicewise.tuning.usage.workloads import workload_of

# Those whose templates are read, with the version under which.
KINDS = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "Job": "batch/v1", "CronJob": "batch/v1"}
_MOST_REPORTED = 10


def gpus_of(pod_spec: Mapping[str, Any]) -> int:
    """
    Most GPUs that one container requests. The device plugin counts by container: two with a GPU each are
    served by two slices.
    """
    asked = [
        quantities.whole((resources.get(part) or {}).get(layout.GPU_RESOURCE))
        for kind in ("containers", "initContainers")
        for container in pod_spec.get(kind) or ()
        for resources in (container.get("resources") or {},)
        for part in ("requests", "limits")
    ]
    return max(asked, default=0)


# Templates, as they are read


def is_for_several(pod_spec: Mapping[str, Any]) -> bool:
    return gpus_of(pod_spec) > 1


def is_going_on(item: Object) -> bool:
    """A Job of a CronJob is named by that."""
    return item["kind"] != "Job" or not (_is_over(item) or _kind_of_maker(item) == "CronJob")


def of_a_template(item: Object) -> Object:
    """What is read of it here: a template may hold secrets."""
    metadata, found = item["metadata"], template_of(item)
    asked = [
        {"resources": one["resources"]}
        for kind in ("containers", "initContainers")
        for one in found.get(kind) or ()
        if "resources" in one
    ]
    return {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "metadata": {
            **{key: metadata[key] for key in ("name", "namespace", "deletionTimestamp") if key in metadata},
            **_marks(metadata),
        },
        "spec": {**schedulable.of_a_pod_spec(found), "containers": asked},
    }


def _marks(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Of annotations ours alone, and that there are some: a patch of one must not replace the others."""
    found = metadata.get("annotations")
    return {"annotations": {key: found[key] for key in (SLICES_ANNOTATION,) if key in found}} if found else {}


def template_of(item: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec(item)
    if item["kind"] == "CronJob":
        found = (found.get("jobTemplate") or {}).get("spec") or {}
    return (found.get("template") or {}).get("spec") or {}


def _is_over(job: Object) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


def _kind_of_maker(item: Object) -> str:
    return str((controller_of(item) or {}).get("kind", ""))


# What they mean for a NodePool


def askers(state: PoolState, contents: ClusterContents) -> tuple[str, ...]:
    """Those that may come to a NodePool, such as "CronJob team/train (2 GPUs)", as far as they were read."""
    if not _may_share(state):
        return ()
    nodes = {node.name: node.node for node in state.nodes}
    found: dict[Ref, int] = {}
    # One that has failed is recreated where it has a controller.
    failed = (pod for pod in contents.failed_pods if controller_of(pod))
    for pod in (*contents.pods, *failed):
        where = spec(pod).get("nodeName")
        gpus = gpus_of(spec(pod))
        if gpus > 1 and (where in nodes if where else _may_land(spec(pod), state)):
            found[workload_of(pod)] = max(gpus, found.get(workload_of(pod), 0))
    for item in contents.templates or ():
        if _may_land(spec(item), state):
            metadata = item["metadata"]
            ref = Ref(item["apiVersion"], item["kind"], name(item), metadata.get("namespace", "default"))
            found[ref] = max(gpus_of(spec(item)), found.get(ref, 0))
    return tuple(f"{_in_words(ref)} ({gpus} GPUs)" for ref, gpus in sorted(found.items()))


def _may_share(state: PoolState) -> bool:
    """A class of one pod a GPU never does."""
    return state.pool.sharing.has_replicas and state.pool.size != 1


def _may_land(pod_spec: Mapping[str, Any], state: PoolState) -> bool:
    return schedulable.may_land(pod_spec, state.pool, state.node_pool, (node.node for node in state.nodes))


def _in_words(ref: Ref) -> str:
    return f"{ref.kind} {ref.namespace}/{ref.name}"


def known(state: PoolState, contents: ClusterContents, before: Mapping[str, Any]) -> tuple[str, ...]:
    """
    Args:
        before: The NodePool's details in the record: templates are not read by each reconcile of a change.
    """
    found = askers(state, contents)
    if contents.templates is not None:
        return found
    reported = before.get("asks_for_more")
    recorded = [one for one in reported if isinstance(one, str)] if isinstance(reported, list | tuple) else []
    return tuple(dict.fromkeys((*found, *recorded)))


def why_alone(found: Iterable[str], contents: ClusterContents) -> str:
    """Why N may not leave 1; empty where it may."""
    found = tuple(found)
    if found:
        return f"{_some(found)}, which no shared GPU can give"
    if contents.unread_kinds:
        return (
            f"templates of {', '.join(contents.unread_kinds)} cannot be read: they may ask for several GPUs"
        )
    return ""


def _some(found: tuple[str, ...]) -> str:
    more = f" and {len(found) - 1} more ask" if len(found) > 1 else " asks"
    return f"{found[0]}{more} for more than one GPU"


def findings(state: PoolState, found: tuple[str, ...], contents: ClusterContents) -> tuple[Finding, ...]:
    """One for each that asks, with what would let it run."""
    reported = [_finding(state, one) for one in found[:_MOST_REPORTED]]
    if len(found) > _MOST_REPORTED:
        message = (
            f"{len(found) - _MOST_REPORTED} more may come to NodePool {state.name} and ask for several GPUs."
        )
        reported.append(Finding("more-than-one-gpu", message, what_helps(state)))
    if contents.unread_kinds and not found and _may_share(state):
        reported.append(
            Finding(
                "templates-unread",
                f"Of {', '.join(contents.unread_kinds)} it cannot be read whether they ask for more than one "
                f"GPU, so N of NodePool {state.name} does not leave 1.",
                "Onboarding gives the right to list them within the hour, or: slicewise onboard CLUSTER.",
            )
        )
    # Where pods share anyway, what was not read does not matter.
    return tuple(one for one in reported if state.n == 1 or one.code != "templates-unread")


def _finding(state: PoolState, asker: str) -> Finding:
    where = f"{asker} may come to NodePool {state.name}"
    if state.n == 1:
        message = f"{where}, where it runs as long as pods have whole GPUs: so N stays 1."
    else:
        message = f"{where}, where {state.n} pods share a GPU: kubelet refuses its pods each time."
    return Finding("more-than-one-gpu", message, what_helps(state))


def what_helps(state: PoolState) -> str:
    """Which change would let it run, and N grow."""
    pool = state.pool
    whole = "" if pool.adopt else f" Or give it pool {pool.name} whole: sharing: none in the policy."
    return (
        "Have it choose another pool, of whole GPUs (sharing: none in the policy, and nodeSelector "
        f"{POOL_LABEL}: THAT POOL), or ask for one GPU a container.{whole}"
    )
