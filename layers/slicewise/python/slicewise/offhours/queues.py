"""
What Kueue has queued for our pools: what is held for a night, and in which order it is released again. Pure.

At 0 replicas a workload frees its quota, and within a second Kueue admits the next Job, which then runs all
night on a node that is still there; in the morning the workload waits behind it (Kueue 0.17). So before any
of them sleeps:

    a ClusterQueue whose flavors are all of our pools   is held: it admits nothing, what runs goes on
    one that serves others as well                      stays open, for CPU work; what waits in it and can
                                                        only run on our pools is made inactive, each time

In the morning all that waits is made inactive before its queue is opened, and active again once what slept
has its quota: Kueue admits by priority and by age, and the pods that come back are the youngest.

Where the policy has jobs suspended (stay_awake/jobs.py), what runs is made inactive as well, once its queue
is held, and active again before what waited. Where jobs may use the night, nothing here is held.

What has pods below it that we scale, or is a pod, is never made inactive: it sleeps on its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from slicewise import rights
from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.objects import being_deleted, condition, created_at, name, spec, status
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import targets as following
from slicewise.offhours.kinds import BUILT_IN, NightBehaviour
from slicewise.offhours.sleep_fields import HELD, NOT_ACTIVE
from slicewise.planning.outcome import Finding

API = f"{rights.KUEUE}/v1beta2"
CLUSTER_QUEUE, LOCAL_QUEUE = (API, "ClusterQueue"), (API, "LocalQueue")
FLAVOR, QUEUED = (API, "ResourceFlavor"), (API, "Workload")
HOLDS = (CLUSTER_QUEUE, QUEUED)
# Of a pod that waits for quota. It is there from the pod's first moment on.
GATE_OF_KUEUE = f"{rights.KUEUE}/"
# Kueue admits within a second. What has no quota after that long gets it from no Job that we hold.
ADMITTED_WITHIN = timedelta(minutes=3)


@dataclass(frozen=True)
class Queues:
    """
    Attributes:
        queued: Workloads of Kueue that are not admitted, and those that have a snapshot; where jobs may be
            suspended, also those that are admitted.
    """

    flavors: tuple[Object, ...] = ()
    cluster_queues: tuple[Object, ...] = ()
    local_queues: tuple[Object, ...] = ()
    queued: tuple[Object, ...] = ()

    @cached_property
    def ours(self) -> frozenset[str]:
        """Flavors whose nodes carry a pool's label of ours."""
        return frozenset(
            name(one) for one in self.flavors if POOL_LABEL in (spec(one).get("nodeLabels") or {})
        )

    @cached_property
    def by_owner(self) -> Mapping[Ref, Object]:
        """The Workloads of jobs, by the job; those of pods, and of what we scale, are not among them."""
        return {_owner(one): one for one in self.queued if not (_is_of_pods(one) or being_deleted(one))}

    @cached_property
    def admitted(self) -> Mapping[Ref, Object]:
        """Of these, those that run."""
        return {ref: one for ref, one in self.by_owner.items() if status(one).get("admission")}

    def of(self, workload: Object) -> Object | None:
        """Its ClusterQueue; None where it names none that is there."""
        called = workload["metadata"].get("namespace", ""), spec(workload).get("queueName", "")
        return self._by_local.get(called)

    @cached_property
    def _by_local(self) -> Mapping[tuple[str, str], Object]:
        by_name = {name(one): one for one in self.cluster_queues}
        return {
            (one["metadata"].get("namespace", ""), name(one)): by_name[spec(one)["clusterQueue"]]
            for one in self.local_queues
            if spec(one).get("clusterQueue") in by_name
        }


NO_QUEUES = Queues()


def are_unread(unread: Mapping[Ref, str]) -> bool:
    return any(
        following.unread_of(Ref(*kind, ""), unread) for kind in (CLUSTER_QUEUE, LOCAL_QUEUE, FLAVOR, QUEUED)
    )


def is_queued(snapshot: Snapshot) -> bool:
    return snapshot.ref[:2] == QUEUED


def is_over(workload: Object) -> bool:
    return (condition(workload, "Finished") or {}).get("status") == "True"


def _owner(workload: Object) -> Ref:
    """Nothing where it has none, as one that a person made."""
    for owner in workload["metadata"].get("ownerReferences") or ():
        version = BUILT_IN.known_version(owner["apiVersion"], owner["kind"])
        return Ref(version, owner["kind"], owner["name"], workload["metadata"].get("namespace", ""))
    return Ref("", "", "")


def is_inactive(workload: Object) -> bool:
    return bool(NOT_ACTIVE.value(workload) == NOT_ACTIVE.asleep)


def waits(workload: Object) -> bool:
    """Whether it may be admitted later."""
    return not (_is_admitted(workload) or being_deleted(workload) or _is_of_pods(workload))


def may_be_written(item: Object) -> bool:
    """
    Whether a queue that has a snapshot, or what waits in it, may still be held: a queue that its user drains
    is stopped already, and of what was admitted meanwhile Kueue would end the pods.
    """
    ref = ref_of(item)
    if ref[:2] == CLUSTER_QUEUE:
        return HELD.value(item) in (HELD.absent, HELD.asleep)
    if ref[:2] == QUEUED:
        return waits(item) or is_inactive(item)
    return True


def to_be_held(queues: Queues) -> tuple[Object, ...]:
    """At night: ClusterQueues, and what waits in those that cannot be held as a whole."""
    alone = (one for one in queues.cluster_queues if _is_open(one) and _serves_us_alone(one, queues.ours))
    return (*alone, *_waiting_in_mixed(queues))


def competing(queues: Queues, opening: Collection[Ref]) -> tuple[Object, ...]:
    """
    In the morning: what would be admitted before the workloads that come back.

    Args:
        opening: ClusterQueues that are held, and about to be restored.
    """
    behind = (one for one in _waiting(queues) if ref_of(queues.of(one) or one) in opening)
    return (*behind, *_waiting_in_mixed(queues))


def gated(made: Iterable[following.Workload], now: datetime | None) -> bool:
    """
    Whether something that slept waits for its quota.

    Args:
        now: Where people are there already, so that old pods keep no one waiting; else None.
    """
    pods = (pod for work in made if work.behaviour is NightBehaviour.SLEEPS for pod in work.pods)
    return any(_is_gated(pod) and (now is None or _is_young(pod, now)) for pod in pods)


def findings(queues: Queues, slept: Iterable[Snapshot], until: str) -> Iterator[Finding]:
    """
    Args:
        until: When the sleep ends, for people.
    """
    held = {snapshot.ref for snapshot in slept if not snapshot.woken}
    counts: dict[str, int] = {}
    for workload in _waiting(queues):
        queue = queues.of(workload)
        if queue and not held.isdisjoint((ref_of(queue), ref_of(workload))):
            counts[name(queue)] = counts.get(name(queue), 0) + 1
    whole = {ref.name for ref in held if ref[:2] == CLUSTER_QUEUE}
    for called, number in sorted(counts.items()):
        yield _held(called, number, called in whole, until)


def _held(queue: str, number: int, whole: bool, until: str) -> Finding:
    what = f"{number} Workload{'s' * (number != 1)}"
    message = (
        f"ClusterQueue {queue} is held until {until}: {what} wait{'s' * (number == 1)} in it."
        if whole
        else f"{what} of ClusterQueue {queue} that can only run on our pools "
        f"{'is' if number == 1 else 'are'} held until {until}; its other Workloads are still admitted."
    )
    remedy = "No action needed: they are admitted once what sleeps is back. To run them now: slicewise wake."
    return Finding("queue-held", message, remedy)


# Which queue, which flavor


def _waiting(queues: Queues) -> Iterator[Object]:
    return (one for one in queues.queued if waits(one))


def _waiting_in_mixed(queues: Queues) -> Iterator[Object]:
    for workload in _waiting(queues):
        queue = queues.of(workload)
        if queue is None or not _is_open(queue) or _serves_us_alone(queue, queues.ours):
            continue
        if _lands_on_us(workload, queue, queues.ours):
            yield workload


def _is_open(queue: Object) -> bool:
    return bool(HELD.value(queue) == HELD.absent)


def _groups(queue: Object) -> list[tuple[frozenset[str], frozenset[str]]]:
    """Each group's resources, and the names of its flavors."""
    return [
        (
            frozenset(group.get("coveredResources") or ()),
            frozenset(one["name"] for one in group.get("flavors") or ()),
        )
        for group in spec(queue).get("resourceGroups") or ()
    ]


def _serves_us_alone(queue: Object, ours: frozenset[str]) -> bool:
    flavors = [flavor for _, names in _groups(queue) for flavor in names]
    return bool(flavors) and ours.issuperset(flavors)


def _lands_on_us(workload: Object, queue: Object, ours: frozenset[str]) -> bool:
    """
    Whether a part of it can only run on our pools: by its template, or since what it asks for has no other
    flavor. It is admitted as a whole.
    """
    scarce = frozenset().union(*(names for names, flavors in _groups(queue) if flavors and flavors <= ours))
    return any(
        following.on_our_pools(pod_spec) or not scarce.isdisjoint(_resources(pod_spec))
        for pod_spec in map(_pod_spec, spec(workload).get("podSets") or ())
    )


def _pod_spec(pod_set: Object) -> Object:
    return (pod_set.get("template") or {}).get("spec") or {}


def _resources(pod_spec: Object) -> frozenset[str]:
    return frozenset(
        resource
        for container in (*(pod_spec.get("containers") or ()), *(pod_spec.get("initContainers") or ()))
        for part in ("requests", "limits")
        for resource in (container.get("resources") or {}).get(part) or ()
    )


def _is_admitted(workload: Object) -> bool:
    """Or it has ended. Of any generation that a condition names: what runs must not be ended."""
    conditions = (condition(workload, kind) or {} for kind in ("QuotaReserved", "Finished"))
    return bool(status(workload).get("admission")) or any(one.get("status") == "True" for one in conditions)


def _is_of_pods(workload: Object) -> bool:
    """Whether it is of pods, or of what we scale."""
    owners = workload["metadata"].get("ownerReferences") or ()
    return any(owner["kind"] == "Pod" or following.scales(owner) for owner in owners)


def _is_gated(pod: Object) -> bool:
    gates = spec(pod).get("schedulingGates") or ()
    return not being_deleted(pod) and any(str(one.get("name")).startswith(GATE_OF_KUEUE) for one in gates)


def _is_young(pod: Object, now: datetime) -> bool:
    created = created_at(pod)
    return created is not None and now - created < ADMITTED_WITHIN
