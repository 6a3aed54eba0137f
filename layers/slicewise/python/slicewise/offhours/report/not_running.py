"""
What was woken and does not run yet, and what was put to sleep and still runs: read from pods, each with its
cause and its remedy. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from slicewise.kube.objects import annotations_of, being_deleted, condition, moment, name, spec, status
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import targets as following
from slicewise.offhours.kinds import Registry, is_job, is_suspended
from slicewise.offhours.observation import Found
from slicewise.offhours.sleep_fields import DEACTIVATED, PAUSED, PAUSED_REPLICAS, REPLICAS, SUSPENDED_PODS
from slicewise.offhours.stay_awake import jobs
from slicewise.offhours.targets import Workload
from slicewise.planning.outcome import Finding
from slicewise.sizes import cut

# Longer than a controller takes to end pods, which get 30 s by default; their own, longer grace is added.
OUTLIVES = timedelta(minutes=5)
_MOST_IN_A_NOTICE = 10
_LONGEST_LINE = 800
_CAPACITY = "Check Karpenter's NodeClaims: where EC2 has no capacity, name fallbackGpus in the pool."
_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_STARTS_BADLY = (
    "CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
)  # fmt: skip
_KUEUE = "kueue.x-k8s.io/"


@dataclass(frozen=True)
class NotYet:
    """
    Something that people expect to run.

    Attributes:
        message: What does not run, and why.
        pods: How many.
    """

    message: str
    remedy: str
    pods: int = 1


def not_yet(found: Found, snapshots: Iterable[Snapshot]) -> tuple[NotYet, ...]:
    """Pods that wait, the most important first; then objects that have fewer pods than they should."""
    made = {
        work.ref: work for work in following.workloads(found.pods, found.owners, found.unread, found.kinds)
    }
    ours = (pod for pod in found.pods if following.on_our_pools(spec(pod)))
    in_order = sorted(ours, key=lambda pod: (-(spec(pod).get("priority") or 0), ref_of(pod)))
    waiting = map(_of_pod, in_order)
    snapshots = tuple(snapshots)
    woken = [snapshot for snapshot in snapshots if snapshot.woken and snapshot.ref in found.objects]
    missing = (_of_object(found.objects[snapshot.ref], snapshot, made, found.kinds) for snapshot in woken)
    resuming = (_of_resuming(found.objects.get(snapshot.ref), snapshot, found) for snapshot in snapshots)
    return tuple(one for one in (*waiting, *missing, *resuming) if one)


def findings(waiting: Iterable[NotYet], at: str) -> tuple[Finding, ...]:
    return tuple(
        Finding("still-pending", f"Shortly before {at}: {one.message}", one.remedy) for one in waiting
    )


def notice(waiting: Sequence[NotYet], cluster: str) -> tuple[str, str]:
    """Subject and text: a few causes with a few of their objects each, since SNS takes 256 KiB."""
    pods = sum(one.pods for one in waiting)
    lines: list[str] = []
    remedies = list(dict.fromkeys(one.remedy for one in waiting))
    for remedy in remedies[:_MOST_IN_A_NOTICE]:
        alike = [one for one in waiting if one.remedy == remedy]
        lines += [cut(one.message, _LONGEST_LINE) for one in alike[:_MOST_IN_A_NOTICE]]
        if len(alike) > _MOST_IN_A_NOTICE:
            lines.append(f"And {len(alike) - _MOST_IN_A_NOTICE} more likewise.")
        lines.append(remedy)
    if left := len(remedies[_MOST_IN_A_NOTICE:]):
        lines.append(f"And {left} more with remedies of their own: slicewise status {cluster}")
    return f"Slicewise: {pods} pod{'s' * (pods != 1)} of {cluster} do not run yet", "\n".join(lines)


def _of_pod(pod: Object) -> NotYet | None:
    if being_deleted(pod):
        return None
    if spec(pod).get("nodeName"):
        return _of_containers(pod)
    if gates := [str(gate.get("name")) for gate in spec(pod).get("schedulingGates") or ()]:
        return _of_gates(pod, gates)
    message = (condition(pod, "PodScheduled") or {}).get("message") or "the scheduler reports no reason"
    if "persistentvolumeclaim" in message.lower() or "volume" in message.lower():
        remedy = "Check its PersistentVolumeClaims: a volume must be bound, and where its node may be."
        return NotYet(f"{ref_of(pod)} waits for a volume: {message}", remedy)
    return NotYet(f"{ref_of(pod)} waits for a GPU: {message}", _CAPACITY)


def _of_gates(pod: Object, gates: Sequence[str]) -> NotYet:
    message = f"{ref_of(pod)} is blocked by the scheduling gate {', '.join(gates)}"
    if any(gate.startswith(_KUEUE) for gate in gates):
        namespace = pod["metadata"].get("namespace", "")
        return NotYet(
            f"{message}: its queue has not admitted it",
            f"Check the queue's quota (kubectl get workloads -n {namespace}): Jobs that started at night "
            "may use it.",
        )
    return NotYet(
        message, "The controller that set the gate must remove it; no node starts for a pod that has one."
    )


def _of_containers(pod: Object) -> NotYet | None:
    for container in status(pod).get("containerStatuses") or ():
        waits = (container.get("state") or {}).get("waiting") or {}
        why = f"{waits.get('reason')}: {waits.get('message', '')}"
        message = f"{ref_of(pod)}: container {container.get('name')}: {why}"
        if waits.get("reason") in _IMAGE:
            return NotYet(message, "Check the image's name, and the right to pull it.")
        if waits.get("reason") in _STARTS_BADLY:
            return NotYet(message, "Check its logs and its configuration: it has a node, and does not start.")
    return None


def _of_object(
    live: Object, snapshot: Snapshot, made: Mapping[Ref, Workload], kinds: Registry
) -> NotYet | None:
    if snapshot.field == PAUSED_REPLICAS.field:
        return _of_keda(live, made)
    setting = kinds.setting_of(snapshot)
    # Of a RayCluster, how many workers there are is its own autoscaler's word: that it runs, its status says.
    # A job may have ended since.
    if setting is None or not setting.ends_pods or setting is SUSPENDED_PODS or is_job(snapshot.ref):
        return None
    # How many pods a kind without `replicas` makes, it alone knows: one shows that it makes them.
    work, wanted = made.get(snapshot.ref), REPLICAS.value(live) if setting is REPLICAS else 1
    there = sum(not being_deleted(pod) for pod in work.pods) if work else 0
    if there >= wanted:
        return None
    why, remedy = _why_fewer(live)
    counted = f"{there} of {wanted} pods" if setting is REPLICAS else "no pods"
    return NotYet(f"{snapshot.ref} has {counted}: {why}", remedy, wanted - there)


def _why_fewer(live: Object) -> tuple[str, str]:
    failure = condition(live, "ReplicaFailure") or {}
    message = str(failure.get("message") or "")
    if "exceeded quota" in message:
        return message, "Raise the namespace's ResourceQuota, or end what uses it."
    if message:
        return message, "Allow its pods where the answer says that they are refused."
    if live["kind"] == "Rollout" and spec(live).get("paused"):
        return "it is paused, and a paused Rollout does not scale", "Resume it (spec.paused)."
    events = f"kubectl describe {live['kind'].lower()} {name(live)} -n {live['metadata'].get('namespace')}"
    return "its controller has made no others and reports no reason", f"Check its events: {events}"


def _of_keda(live: Object, made: Mapping[Ref, Workload]) -> NotYet | None:
    target = following.scaled_by(live)
    if target in made or annotations_of(live).get(PAUSED.path[-1]) != "true":
        return None
    return NotYet(
        f"{target} has no pods: {ref_of(live)} is paused by its user, so KEDA does not scale it up again",
        f"Scale {target} by hand, or remove {PAUSED.path[-1]}.",
    )


def _of_resuming(live: Object | None, snapshot: Snapshot, found: Found) -> NotYet | None:
    """What says already that it runs, and whose controller has not followed."""
    setting = found.kinds.setting_of(snapshot)
    first = setting.resumed_at(snapshot) if setting else None
    if live is None or setting is None or first is None or setting.value(live) != first:
        return None
    remedy = f"See that {setting.controller} runs."
    if setting is not PAUSED_REPLICAS:
        message = f"{snapshot.ref} is still suspended: {setting.controller} has not followed {snapshot.field}"
        return NotYet(message, remedy) if is_suspended(live) and not snapshot.woken else None
    target = following.scaled_by(live)
    if snapshot.woken or target not in found.targets or REPLICAS.value(found.targets[target]):
        return None
    message = f"{target} has 0 of {snapshot.resume_at} replicas: KEDA has not followed {snapshot.ref}"
    return NotYet(message, remedy, int(snapshot.resume_at))


def still_there(
    found: Found, made: Iterable[Workload], snapshots: Iterable[Snapshot]
) -> Iterator[tuple[Workload, Snapshot]]:
    """What has pods though the object that makes them was put to sleep, and the snapshot of that object."""
    asleep = {snapshot.ref: snapshot for snapshot in snapshots if _is_asleep(snapshot, found)}
    switches = jobs.switches(found)
    for work in made:
        if sleeps := asleep.get(work.ref) or asleep.get(switches.get(work.ref, work.ref)):
            yield work, sleeps


def is_outliving(work: Workload, sleeps: Snapshot, now: datetime) -> bool:
    """Whether some of its pods are there that should long have ended."""
    return now - sleeps.taken_at >= OUTLIVES and any(not _is_ending(pod, now) for pod in work.pods)


def outliving(
    found: Found, made: Iterable[Workload], snapshots: Iterable[Snapshot], now: datetime
) -> Iterator[Finding]:
    """Objects that were put to sleep and still have pods after their grace period, and what makes them."""
    for work, sleeps in still_there(found, made, snapshots):
        if is_outliving(work, sleeps, now):
            pods = [pod for pod in work.pods if not _is_ending(pod, now)]
            why, remedy = _why_alive(work, pods, sleeps, found.kinds)
            yield Finding(
                "outlives-its-sleep",
                f"{work.ref} was put to sleep, and {len(pods)} of its pods still run on "
                f"{', '.join(work.nodes) or 'no node'}: {why}",
                remedy,
            )


def _is_asleep(snapshot: Snapshot, found: Found) -> bool:
    live = found.objects.get(snapshot.ref)
    if live is None or not snapshot.done or snapshot.woken:
        return False
    setting = found.kinds.setting_of(snapshot)
    return bool(setting and setting.ends_pods and setting.value(live) == setting.asleep)


def _is_ending(pod: Object, now: datetime) -> bool:
    """deletionTimestamp is when its grace period ends."""
    ends = moment(pod["metadata"].get("deletionTimestamp"))
    return ends is not None and now < ends + OUTLIVES


def _why_alive(work: Workload, pods: Sequence[Object], sleeps: Snapshot, kinds: Registry) -> tuple[str, str]:
    row = kinds.row_of_object(work.top)
    if row and (why := row.ends_later(pods)):
        return why
    if all(being_deleted(pod) for pod in work.pods):
        return "they do not end", "Check their finalizers, and the kubelet of their node."
    if sleeps.field == PAUSED_REPLICAS.field:
        return (
            f"KEDA has not followed {sleeps.ref}, which is paused at 0",
            "See that KEDA's operator runs, or scale it to 0 by hand.",
        )
    if sleeps.field == DEACTIVATED.field:
        return f"Kueue has not ended what {sleeps.ref} represents", "See that Kueue's manager runs."
    if work.top["kind"] == "Rollout" and spec(work.top).get("paused"):
        return "a Rollout that is paused does not scale", "Resume it (spec.paused), or scale its ReplicaSet."
    if work.top["kind"] == "Rollout" and "blueGreen" in (spec(work.top).get("strategy") or {}):
        return "its preview keeps its own count (previewReplicaCount)", "Promote it, or set that count to 0."
    return f"the controller of {work.top['kind']} has not ended them", "See that this controller runs."
