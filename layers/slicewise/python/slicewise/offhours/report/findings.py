"""What is left running, and what is still pending: reported with what it costs and what can be done. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from slicewise.kube.labels import ASLEEP_WAS, KEEP_AWAKE, SLEEPS
from slicewise.kube.objects import MANAGER, name, spec
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import targets as following
from slicewise.offhours.kinds import NightBehaviour, Registry, Why
from slicewise.offhours.observation import Found
from slicewise.offhours.stay_awake import jobs
from slicewise.offhours.targets import Workload
from slicewise.offhours.transitions import damaged
from slicewise.planning.outcome import Finding
from slicewise.policy.off_hours import BarePods, Jobs, OffHours, Override


def in_scope(found: Found, policy: OffHours) -> Iterator[Object]:
    nodes = frozenset(name(node) for node in found.nodes)
    for pod in found.pods:
        on_node = spec(pod).get("nodeName") in nodes and following.slices(pod)
        if (
            on_node
            or following.on_our_pools(spec(pod))
            or pod["metadata"].get("namespace") in policy.namespaces
        ):
            yield pod


def kept_awake(made: Iterable[Workload], found: Found, policy: OffHours) -> Iterator[Finding]:
    for work in made:
        holds = f"it uses {work.slices} GPU slices on {', '.join(work.nodes) or 'no node yet'}"
        if work.keeps_awake:
            yield Finding(
                "kept-awake", f"{work.ref} is marked {KEEP_AWAKE}; {holds}.", "Unmark it to let it sleep."
            )
        elif work.behaviour is NightBehaviour.JOB:
            why, remedy = _of_job(work, found, policy)
            yield Finding("job-runs", f"{work.ref} runs to completion{why}; {holds}.", remedy)
        elif work.behaviour is NightBehaviour.BARE and policy.bare_pods is BarePods.KEEP:
            yield Finding(
                "bare-pod",
                f"{work.ref} has no controller and would not be recreated, so it keeps running; {holds}.",
                "Run it under a Deployment, or write offHours: {barePods: delete}.",
            )
        elif work.behaviour is NightBehaviour.LEFT and (left := found.kinds.why_left(work.top)):
            why, remedy = left
            yield Finding("left-awake", f"{work.ref} is left awake: {why}; {holds}.", remedy)
        elif work.behaviour is NightBehaviour.UNKNOWN:
            yield Finding(
                "cannot-be-scaled",
                f"{work.ref} has no scale subresource, and no switch that we know; {holds}.",
                f"Stop it by hand, or mark its pods {KEEP_AWAKE}.",
            )


def _of_job(work: Workload, found: Found, policy: OffHours) -> Why:
    """Why it is not suspended, where the policy says that jobs are, and a remedy."""
    if policy.jobs is Jobs.SUSPEND and (why := jobs.why_it_runs_on(work, found)):
        return f", not suspended: {why[0]}", why[1]
    return "", _remedy_for_job(work)


def _remedy_for_job(work: Workload) -> str:
    if not following.scales(work.top):
        return "No action needed: its node is removed after it, unless another Job starts there."
    if following.is_done_at_zero(work.top):
        return (
            "No action needed. Those that checkpoint can be suspended at night: offHours: {jobs: suspend}, "
            f"or one by hand (spec.runPolicy.suspend). Label {SLEEPS} does nothing here: without "
            "workers it would count as done."
        )
    return f"No action needed. To have it scaled to 0 at night, label its pods {SLEEPS}=true."


def volumes(work: Workload) -> Finding:
    """Of a workload that is left since its sleep would cost data."""
    for_the_night = "Write offHours: {volumes: retain}, which retains them for the night; or set"
    remedy = for_the_night if work.may_retain else "Set"
    return Finding(
        "volumes-would-go",
        f"{', '.join(map(str, work.losing))} deletes its volumes with its pods (whenScaled, whenDeleted), so "
        f"it is left awake; it uses {work.slices} GPU slices on {', '.join(work.nodes) or 'no node yet'}.",
        f"{remedy} Retain there; or mark it {KEEP_AWAKE}.",
    )


def still_retains(snapshot: Snapshot) -> Finding:
    """Of a StatefulSet whose retention could not be restored, most often since the right was removed."""
    merge = {
        "metadata": {"annotations": {ASLEEP_WAS: None}},
        "spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": snapshot.original}},
    }
    return Finding(
        "still-retains-volumes",
        f"{snapshot.ref} retains its volumes when it is scaled down, as for the sleep; it had "
        f"{snapshot.field} {snapshot.original}, which could not be restored.",
        f"Write offHours: {{volumes: retain}} until it was, or do it by hand: kubectl patch statefulset "
        f"{snapshot.ref.name} -n {snapshot.ref.namespace} --type merge -p '{json.dumps(merge)}'",
    )


def missed_runs(suspended: Iterable[Snapshot], found: Found, at: str) -> Iterator[Finding]:
    """
    A CronJob that may run again starts the last run that it missed, unless startingDeadlineSeconds says that
    this is too late (Kubernetes' documentation of CronJobs; with 100 missed ones it starts none).
    """
    names = [
        f"{snapshot.ref} ({spec(found.objects[snapshot.ref]).get('schedule')})"
        for snapshot in suspended
        if snapshot.ref in found.objects
        and snapshot.original is not True
        and spec(found.objects[snapshot.ref]).get("startingDeadlineSeconds") is None
    ]
    if names:
        yield Finding(
            "missed-run",
            f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''} slept, and may "
            f"start {at} the last run that it missed.",
            "To have a run dropped that comes too late, set startingDeadlineSeconds.",
        )


def closed_without_reason(node_pool: Ref, writers: Collection[str], is_opened: bool) -> Finding:
    """Of a NodePool that may have no node while the cluster is awake."""
    if is_opened:
        return Finding(
            "sleep-forgotten",
            f"{node_pool} was closed for a sleep of which there is no snapshot, so it is opened again. What "
            "slept with it is not known.",
            "Set the replicas of workloads that are at 0 by hand, and a limit of nodes if it had one.",
        )
    return Finding(
        "closed-by-somebody",
        f"{node_pool} has limits.nodes 0, set {_by(writers)}: no GPU node can start there.",
        "Remove the limit, if that is not meant.",
    )


def _by(writers: Collection[str]) -> str:
    if set(writers) == {MANAGER}:
        return "by a person or a tool before a sleep and restored after it"
    return f"by {', '.join(sorted(writers)) or 'something unknown'}"


def holding_nodes(found: Found, policy: OffHours) -> Iterator[Finding]:
    """Pods without a GPU, not in scope, for which Karpenter keeps a GPU node."""
    nodes = frozenset(name(node) for node in found.nodes)
    scope = {ref_of(pod) for pod in in_scope(found, policy)}
    for pod in found.pods:
        if spec(pod).get("nodeName") not in nodes or ref_of(pod) in scope:
            continue
        if not following.goes_with_its_node(pod):
            yield Finding(
                "holds-a-gpu-node",
                f"{ref_of(pod)} uses no GPU and keeps GPU node {spec(pod)['nodeName']} running.",
                "Remove its toleration of nvidia.com/gpu, so that it runs on other nodes.",
            )


def not_restorable(snapshots: Iterable[Snapshot], kinds: Registry) -> Iterator[Finding]:
    """What another release stored, or a person edited: it stays in the table until a person restores it."""
    for snapshot in snapshots:
        if not snapshot.ref.kind:
            yield Finding(
                "snapshot-unknown",
                f"Item {snapshot.ref.name} of the table belongs to another release; what it restores stays "
                "as it is.",
                "Deploy that release until the cluster is awake, or restore it by hand and delete the item.",
            )
        elif not snapshot.intact:
            yield damaged(snapshot)
        elif kinds.setting_of(snapshot) is None:
            yield Finding(
                "snapshot-unknown",
                f"{snapshot.ref} was put to sleep through {snapshot.field}, which this release does not "
                "know; it stays as it is.",
                "Deploy the release that did so until the cluster is awake, or set the field by hand and "
                "delete the item from the table.",
            )


def recovered(snapshots: Iterable[Snapshot]) -> Finding | None:
    """What the table has lost, or has damaged, and objects themselves have; None where that is nothing."""
    names = sorted({str(snapshot.ref) for snapshot in snapshots if snapshot.recovered})
    if not names:
        return None
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return Finding(
        "recovered-from-annotations",
        f"The table has lost what {', '.join(names[:5])}{more} had before the sleep. Their own annotations "
        "have it, so they wake as usual. Replicas are in the table alone: what else it lost stays at 0.",
        "Find workloads at 0 that should not be, and set their replicas by hand: kubectl get "
        "deployments,statefulsets -A",
    )


def misread(override: Override | None, now: datetime) -> Iterator[Finding]:
    """Once it has ended, what it said no longer matters."""
    if override and override.unreadable and ("until" in override.unreadable or now < override.until):
        yield Finding(
            "override-unreadable",
            "The last override of this cluster's sleep cannot be read "
            f"({', '.join(override.unreadable)}). Until the end that it names the cluster is awake; without "
            "one its calendar counts.",
            "Repeat it: slicewise sleep, wake or snooze; or slicewise follow-calendar.",
        )
