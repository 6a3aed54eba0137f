"""
Reads what can sleep: pods on our pools, what is above them, what makes more of them, and what has a snapshot.

Each kind is listed once, and what does not matter is dropped page by page: an owner at a time would be a
thousand calls for 500 workloads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from slicewise import rights
from slicewise.errors import InvalidPolicy, Refused, SlicewiseError, Unauthorized, Unavailable
from slicewise.kube.labels import FALLBACK_LABEL, KEEP_AWAKE, POOL_LABEL, SWITCHES
from slicewise.kube.objects import (
    UNFINISHED,
    annotations_of,
    asked_by,
    controller_of,
    labels,
    last_seen,
    spec,
)
from slicewise.kube.objects import name as name_of
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import EksCluster
from slicewise.model.opening import Opening
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import kinds as known_kinds
from slicewise.offhours import marks, originals, queues
from slicewise.offhours import targets as workloads
from slicewise.offhours.kinds import BUILT_IN, Registry, is_job, with_switches
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.originals import Originals
from slicewise.offhours.queues import NO_QUEUES, Queues
from slicewise.offhours.sleep_fields import REPLICAS
from slicewise.offhours.sleep_times import Times
from slicewise.offhours.wake import stages as wake_stages
from slicewise.planning import policy_skew
from slicewise.planning.outcome import Finding, Stage
from slicewise.planning.record import Record
from slicewise.policy import model as policies
from slicewise.policy import switches as own_switches
from slicewise.policy.model import Mode, Policy
from slicewise.policy.off_hours import Jobs, OffHours, Volumes
from slicewise.policy.switches import Switch
from slicewise.pools import layout, startup_history
from slicewise.ports import Kubernetes, Ports
from slicewise.schedule import holidays
from slicewise.schedule.calendar import Calendar
from slicewise.schedule.holidays import NO_HOLIDAYS, Holidays, UnreadableHolidays
from slicewise.trigger import Trigger

_KEDA = (workloads.SCALED_OBJECT[:2], ("keda.sh/v1alpha1", "ScaledJob"))
_CRON_JOB = ("batch/v1", "CronJob")
_LEVELS = 6
# Each may take half a minute to get no answer. That many kinds are no webhook's fault any more.
_MOST_UNANSWERED_KINDS = 3
_MOST_UNANSWERED_OF_A_KIND = 5
_OF_METADATA = (
    *("name", "namespace", "uid", "labels", "ownerReferences"),
    *("creationTimestamp", "deletionTimestamp"),
)
_OF_A_SPEC = ("nodeName", "nodeSelector", "affinity", "priority", "schedulingGates")
LET_IN_WITHIN = timedelta(hours=2)
NEAR_AN_EDGE = timedelta(minutes=15)
T = TypeVar("T")
# Longer than the few minutes that a machine, its driver and a large image take.
NOT_LEARNED = timedelta(minutes=10)


def observe(
    trigger: Trigger, record: Record | None, ports: Ports, default_policy: str, now: datetime
) -> Observation:
    """
    An invalid policy asks for no sleep: what sleeps under it is woken, since a cluster that stays
    awake costs less than one that does not wake.
    """
    observation, policy = _outside(trigger, record, ports, default_policy, now)
    # Also where the table knows of nothing that sleeps: the objects themselves may.
    resting = observation.paused and observation.keep_asleep and not observation.opened
    if resting or observation.cluster is None or not observation.cluster.answers:
        return observation
    # Where everything of ours is to go, objects are asked, too: the table may have lost what sleeps.
    if observation.off_hours is None and not (observation.snapshots or observation.cluster.offboards):
        return observation
    return _inside(observation, observation.cluster, policy, record, ports, now)


def outside(trigger: Trigger, ports: Ports, default_policy: str) -> Observation:
    """All that is known without reading the cluster."""
    return _outside(trigger, None, ports, default_policy)[0]


def _outside(
    trigger: Trigger, record: Record | None, ports: Ports, default_policy: str, now: datetime | None = None
) -> tuple[Observation, Policy | None]:
    """With `now`, a policy of another release may count as pending."""
    cluster, paused = ports.eks.describe(trigger.name), ports.store.paused(trigger.cluster)
    schedule, opening = _scheduled(trigger, ports), ports.sleep.opening(trigger.cluster)
    if cluster is None:
        return Observation(None, schedule=schedule, opening=opening), None
    name = cluster.policy_name(default_policy) or ""
    is_left = bool(paused) or cluster.offboards  # a person's word, which no deployment may delay
    policy, findings = _policy(name, ports, not is_left and _may_wait(record, opening, now))
    off_hours, snapshots = policy.off_hours if policy else None, ports.sleep.snapshots(trigger.cluster)
    times, problem = _times(off_hours, trigger, ports) if off_hours else (None, ())
    observation = Observation(
        cluster,
        off_hours,
        times=times,
        paused=paused,
        keep_asleep=bool(paused) and ports.store.keeps_asleep(trigger.cluster),
        snapshots=snapshots,
        enforced=policy is None or policy.mode is Mode.ACT,
        findings=(*findings, *problem),
        schedule=schedule,
        opening=opening,
        share=wake_stages.share(trigger.name, ports.store.fleet_size()),
        policy_name=name,
        known=record.details if record else (),
        pools=policy.pools if policy else (),
        failing=frozenset(retry.part for retry in record.retries) if record else frozenset(),
        left=frozenset(one.part for one in record.retries if one.refused_by) if record else frozenset(),
        waiting_since=record.since if record and record.stage is Stage.WAITING else None,
        kinds=with_switches(
            _not_scaled(off_hours.kinds if off_hours else (), snapshots), (), lambda group, kind: ""
        ),
    )
    return observation, policy


def _scheduled(trigger: Trigger, ports: Ports) -> datetime | None:
    """Where that is not known, it is put again: that takes nothing but a call."""
    try:
        return ports.schedules.next(trigger.name)
    except (Refused, Unavailable):
        return None


def _inside(
    observation: Observation,
    cluster: EksCluster,
    policy: Policy | None,
    record: Record | None,
    ports: Ports,
    now: datetime,
) -> Observation:
    """
    What keeps us from reading is raised where nothing sleeps and nothing is about to: the queue's retries
    bridge seconds, and its alarm reports more. Else it must not end the chain of reconciles.
    """
    namespaces = observation.off_hours.namespaces if observation.off_hours else ()
    try:
        reading = Reading(ports.kubernetes(cluster))
        kinds_of_sets = _kinds_of_sets(observation)
        found = read_cluster(
            *(
                reading,
                observation.snapshots,
                namespaces,
                _node_pools(policy),
                kinds_of_sets,
                cluster.version,
            ),
            asked=observation.off_hours.kinds if observation.off_hours else (),
            suspends=bool(observation.off_hours and observation.off_hours.jobs is Jobs.SUSPEND),
        )
        if any(pool.fallback_gpus for pool in observation.pools):
            found = replace(found, refused=_refused(reading, found.node_pools), unread=reading.unread)
    except (Refused, Unavailable) as error:
        if isinstance(error, Refused) and not observation.snapshots and _is_new(record, now):
            return replace(observation, refused=str(error))
        if _is_quiet(observation, now):
            raise
        return replace(observation, unreachable=str(error))
    recovered = _recovered(observation, found.originals)
    return replace(recovered, found=found, lead=lead(found.node_pools), kinds=found.kinds)


def _kinds_of_sets(observation: Observation) -> tuple[tuple[str, str], ...]:
    """Whose objects are asked for what is noted on them, since nothing else lists those that have no pods."""
    retains = observation.off_hours and observation.off_hours.volumes is Volumes.RETAIN
    return marks.RETAINING.kinds if retains else ()


def _recovered(observation: Observation, found: Originals) -> Observation:
    """The table wins: what is noted on objects counts where it has nothing, or a damaged item."""
    keys = {(kept.ref, kept.field) for kept in found.snapshots}
    tabled = (kept for kept in observation.snapshots if (kept.ref, kept.field) not in keys)
    return replace(
        observation, snapshots=(*tabled, *found.snapshots), findings=(*observation.findings, *found.findings)
    )


def _is_quiet(observation: Observation, now: datetime) -> bool:
    """Whether nothing sleeps, and nothing is to for a while."""
    if (
        observation.snapshots
        or observation.opening
        or observation.times is None
        or observation.times.is_asleep(now)
    ):
        return False
    edge = observation.times.next_edge(now)
    return edge is None or edge.at - now > NEAR_AN_EDGE


def times(trigger: Trigger, ports: Ports, default_policy: str = "") -> Times | None:
    """When a cluster is to be asleep; None where it is deleted, or no policy asks for that."""
    cluster = ports.eks.describe(trigger.name)
    policy, _ = _policy(cluster.policy_name(default_policy) or "", ports) if cluster else (None, ())
    return _times(policy.off_hours, trigger, ports)[0] if policy and policy.off_hours else None


def _times(off_hours: OffHours, trigger: Trigger, ports: Ports) -> tuple[Times, tuple[Finding, ...]]:
    days, problem = _holidays(off_hours.holidays, ports)
    calendar = Calendar(off_hours.time_zone, off_hours.asleep, off_hours.awake, days)
    return Times(calendar, ports.sleep.override(trigger.cluster)), problem


def _is_new(record: Record | None, now: datetime) -> bool:
    """Whether onboarding may still be about to let us in: it does once a policy asks for off-hours."""
    if record is None or record.stage is Stage.UNMANAGED:
        return True
    return record.stage is Stage.WAITING and now - record.since < LET_IN_WITHIN


def _node_pools(policy: Policy | None) -> frozenset[str] | None:
    """Those that we have a right to change; without a policy, those that have a snapshot."""
    return layout.node_pool_names(policy) if policy else None


def lead(node_pools: Iterable[Object]) -> timedelta:
    """As long as 95 of 100 nodes took to have their first pod ready, of the slowest but fallbacks."""
    learned = (
        startup_history.p95(
            timedelta(seconds=seconds) for seconds in startup_history.recorded_startups(pool).values()
        )
        for pool in node_pools
        if FALLBACK_LABEL not in labels(pool)
    )
    slowest = max((found for found in learned if found), default=NOT_LEARNED)
    return timedelta(minutes=math.ceil(slowest / timedelta(minutes=1)))


class Reading:
    """
    Reads what can be read: a kind or an object that fails is left out, and so keeps no other from its sleep
    or its morning. Where one kind after another gets no answer, the cluster gives none, and that is raised.

    Attributes:
        unread: What failed, with the answer's words; a Ref without a name is a kind.
        refused: Of these, what is not allowed.
    """

    def __init__(self, kubernetes: Kubernetes):
        self.kubernetes = kubernetes
        self.unread: dict[Ref, str] = {}
        self.refused: set[Ref] = set()
        self._unanswered: dict[tuple[str, str], int] = {}

    def list(self, version: str, kind: str, **options: Any) -> tuple[Object, ...]:
        """As ports.Kubernetes.list; empty where it fails."""
        return self._kept(
            Ref(version, kind, ""), lambda: self.kubernetes.list(version, kind, **options), otherwise=()
        )

    def has_scale(self, version: str, kind: str) -> bool:
        return self._kept(
            Ref(version, kind, ""), lambda: self.kubernetes.has_scale(version, kind), otherwise=False
        )

    def serves(self, version: str, kind: str) -> bool:
        return self._kept(
            Ref(version, kind, ""), lambda: self.kubernetes.serves(version, kind), otherwise=False
        )

    def preferred_version(self, group: str, kind: str) -> str | None:
        """Empty where it fails: such objects are unread, whichever version a reference to one names."""
        unknown: str | None = ""
        ref = Ref(f"{group}/", kind, "")
        return self._kept(ref, lambda: self.kubernetes.preferred_version(group, kind), otherwise=unknown)

    def replicas(self, ref: Ref) -> Object | None:
        if unanswered := self._is_given_up(ref):
            self.unread[ref] = unanswered
            return None
        return self._kept(ref, lambda: self.kubernetes.replicas(ref), otherwise=None)

    def _kept(self, ref: Ref, ask: Callable[[], T], otherwise: T) -> T:
        try:
            return ask()
        except Unauthorized:
            raise
        except (Refused, Unavailable) as error:
            self.unread[ref] = str(error)
            if isinstance(error, Refused):
                self.refused.add(ref)
            if isinstance(error, Unavailable):
                self._count(ref, error)
            return otherwise

    def _count(self, ref: Ref, error: SlicewiseError) -> None:
        self._unanswered[ref[:2]] = self._unanswered.get(ref[:2], 0) + 1
        if len(self._unanswered) >= _MOST_UNANSWERED_KINDS:
            raise error

    def _is_given_up(self, ref: Ref) -> str:
        if self._unanswered.get(ref[:2], 0) < _MOST_UNANSWERED_OF_A_KIND:
            return ""
        return f"{_MOST_UNANSWERED_OF_A_KIND} others of its kind gave no answer"


def _refused(kubernetes: Reading, node_pools: Iterable[Object]) -> dict[str, datetime]:
    """
    By NodePool, when EC2 last refused a machine. Karpenter deletes the NodeClaim then, and leaves an event of
    it where those of objects without a namespace are (karpenter v1.14.1, lifecycle/launch.go; 1.15 alike).
    """
    found: dict[str, datetime] = {}
    of_claims = "involvedObject.kind=NodeClaim,reason=InsufficientCapacityError"
    events = kubernetes.list("v1", "Event", namespace="default", fields=of_claims)
    for node_pool in map(name_of, node_pools):
        moments = [last_seen(one) for one in events if _is_claim_of(one["involvedObject"]["name"], node_pool)]
        if moments := [moment for moment in moments if moment]:
            found[node_pool] = max(moments)
    return found


def _is_claim_of(claim: str, node_pool: str) -> bool:
    """The API server makes a name of 58 letters of what it is given at most, and five of its own."""
    given = f"{node_pool}-"[:58]
    return claim.startswith(given) and len(claim) == len(given) + 5


def _may_wait(record: Record | None, opening: Opening | None, now: datetime | None) -> bool:
    """Not past the time at which what sleeps is to be woken: people come, no matter what is deployed."""
    if now is None or (opening and now >= opening.due):
        return False
    return policy_skew.may_wait(record, now)


def _policy(name: str, ports: Ports, waits: bool = False) -> tuple[Policy | None, tuple[Finding, ...]]:
    if not name:
        return None, ()
    try:
        return policies.found(ports.policies.text(name), name, waits=waits), ()
    except InvalidPolicy as error:
        message = f"policy {name!r} cannot be used, so nothing sleeps: {error.problems[0]}"
        return None, (Finding("policy", message, "Correct it: slicewise policy check."),)


def _holidays(name: str, ports: Ports) -> tuple[Holidays, tuple[Finding, ...]]:
    if not name:
        return NO_HOLIDAYS, ()
    remedy = f"Put policies/holidays/{name}.ics right and deploy it; until then it counts as empty."
    try:
        text = ports.policies.text(f"holidays/{name}")
        if text is not None:
            return holidays.read(text), ()
        problem = "there is no such file"
    except UnreadableHolidays as error:
        problem = str(error)
    return NO_HOLIDAYS, (Finding("holidays", f"holidays {name!r}: {problem}.", remedy),)


def read_cluster(
    reading: Reading,
    snapshots: Iterable[Snapshot],
    namespaces: tuple[str, ...] = (),
    names_of_pools: frozenset[str] | None = None,
    noted_kinds: Iterable[tuple[str, str]] = (),
    kubernetes_version: str = "",
    asked: Iterable[Switch] = (),
    suspends: bool = False,
) -> Found:
    """
    Without NodePools, Nodes and Pods there is nothing to decide on: their errors are raised.

    Args:
        namespaces: Whose pods are in scope wherever they run.
        names_of_pools: NodePools to be changed, beside those that have a snapshot; None is all of ours.
        noted_kinds: Listed for what is noted on their objects, beside those that are listed anyway.
        kubernetes_version: Such as "1.37".
        asked: The policy's own switches.
        suspends: Whether the policy has jobs suspended.
    """
    snapshots = tuple(snapshots)
    kept = frozenset(snapshot.ref for snapshot in snapshots)
    all_pools = _our_node_pools(reading, names_of_pools, kept)
    nodes = reading.kubernetes.list("v1", "Node", labels=POOL_LABEL)
    scope = _Scope(namespaces, frozenset(map(name_of, nodes)))
    # No matter what the policy now says: one of them still has a field to be restored.
    retaining = marks.RETAINING.kinds if marks.RETAINING.is_on(all_pools) else ()
    suspending = suspends or marks.SUSPENDING.is_on(all_pools) or any(map(is_job, kept))
    kinds = _registry(reading, asked, all_pools, snapshots)
    pods = _pods(reading, scope)
    listed = _Listed(
        all_pools,
        _what_makes_work(reading, scope, kept),
        _noted(reading, (*dict.fromkeys((*noted_kinds, *retaining)), *_served(reading, kinds, suspending))),
        _from_zero(reading, kubernetes_version, kept),
        _queues(reading, kept, suspending),
    )
    noted = originals.read(listed.all, snapshots, kinds.noted_fields)
    kept |= {snapshot.ref for snapshot in noted.snapshots}
    found = Found(
        pods,
        node_pools=tuple(pool for pool in all_pools if _is_wanted(pool, names_of_pools, kept)),
        nodes=nodes,
        originals=noted,
        queues=listed.queues,
        kinds=kinds,
        suspending=suspending,
    )
    return _with_owners(reading, found, listed, scope, snapshots, kept)


def _with_owners(
    reading: Reading,
    found: Found,
    listed: _Listed,
    scope: _Scope,
    snapshots: tuple[Snapshot, ...],
    kept: Collection[Ref],
) -> Found:
    """With what is above the pods, and what of all that was listed off-hours may change."""
    of_all = (*snapshots, *found.originals.snapshots)
    objects = listed.objects(scope, kept)
    targets = _targets(of_all, objects)
    scaled = set(map(workloads.scaled_by, listed.autoscalers))
    by_name_only = {*kept, *targets, *scaled} - objects.keys()
    owners, by_name = _owners(reading, found.kinds, found.pods, by_name_only, found.suspending)
    ours = set(map(ref_of, owners.values()))
    makes = _what_makes_pods(reading, found.kinds, by_name, scaled)
    ours |= {ref for ref, item in makes.items() if scope.has(item, _pod_spec(item)) and not _is_marked(item)}
    objects |= {ref: item for ref, item in by_name.items() if ref in kept}
    objects |= _with_scale(reading, of_all, objects)
    for item in listed.autoscalers:
        if ref_of(item) in kept or workloads.scaled_by(item) in ours:
            objects[ref_of(item)] = item
    return replace(
        found,
        owners=owners,
        objects=objects,
        unread=reading.unread,
        ungranted=frozenset(ref for ref in reading.refused if found.kinds.comes_with_its_kind(ref)),
        targets={ref: item for ref, item in (*objects.items(), *by_name.items()) if ref in targets},
    )


@dataclass(frozen=True)
class _Scope:
    """
    What off-hours acts on.

    Attributes:
        namespaces: Whose pods are in scope wherever they run.
        nodes: Names of the nodes of our pools, on which all pods are.
    """

    namespaces: tuple[str, ...]
    nodes: frozenset[str]

    def has(self, item: Object, pod_spec: Object) -> bool:
        is_by_namespace = item["metadata"].get("namespace") in self.namespaces
        return is_by_namespace or workloads.on_our_pools(pod_spec, self.nodes)

    def has_pods_of(self, item: Object) -> bool:
        """Also where nothing says what its pods are."""
        template = _TEMPLATES.get((item["apiVersion"], item["kind"]))
        return template is None or self.has(item, template(item))


@dataclass(frozen=True)
class _Listed:
    """
    What was listed beside Nodes and Pods.

    Attributes:
        making_work: What makes pods by a clock or a queue, or has KEDA make them.
        noted: Objects on which something is noted, of kinds that are listed for that alone.
        autoscalers: Those that scale from 0.
    """

    node_pools: tuple[Object, ...]
    making_work: tuple[Object, ...]
    noted: tuple[Object, ...]
    autoscalers: tuple[Object, ...]
    queues: Queues

    @property
    def queued(self) -> tuple[Object, ...]:
        return *self.queues.cluster_queues, *self.queues.queued

    @property
    def all(self) -> tuple[Object, ...]:
        return *self.node_pools, *self.making_work, *self.noted, *self.autoscalers, *self.queued

    def objects(self, scope: _Scope, kept: Collection[Ref]) -> dict[Ref, Object]:
        """Those that are in scope, or that have a snapshot."""
        found = {
            ref_of(item): item for item in self.making_work if ref_of(item) in kept or scope.has_pods_of(item)
        }
        return found | {ref_of(item): item for item in (*self.noted, *self.queued) if ref_of(item) in kept}


def _is_wanted(pool: Object, names: frozenset[str] | None, kept: Collection[Ref]) -> bool:
    return names is None or name_of(pool) in names or ref_of(pool) in kept


def _our_node_pools(
    reading: Reading, names: frozenset[str] | None, kept: Collection[Ref]
) -> tuple[Object, ...]:
    found = reading.kubernetes.list(
        "karpenter.sh/v1",
        "NodePool",
        labels=POOL_LABEL,
        only=lambda pool: _is_wanted(pool, names, kept) or originals.is_noted(pool),
        managed_fields=True,
    )
    return tuple(found)


def _pods(reading: Reading, scope: _Scope) -> tuple[Object, ...]:
    found = reading.kubernetes.list(
        "v1", "Pod", fields=UNFINISHED, only=lambda pod: scope.has(pod, spec(pod)), trim=of_a_pod
    )
    return tuple(found)


def _what_makes_work(reading: Reading, scope: _Scope, kept: Collection[Ref]) -> tuple[Object, ...]:
    return tuple(
        item
        for version, kind in (_CRON_JOB, *_KEDA)
        for item in reading.list(
            version,
            kind,
            managed_fields=True,
            only=lambda item: ref_of(item) in kept or originals.is_noted(item) or scope.has_pods_of(item),
        )
    )


def _noted(reading: Reading, listed_kinds: Iterable[tuple[str, str]]) -> tuple[Object, ...]:
    return tuple(
        item
        for version, kind in listed_kinds
        for item in reading.list(version, kind, managed_fields=True, only=originals.is_noted)
    )


def _what_makes_pods(
    reading: Reading, kinds: Registry, by_name: Mapping[Ref, Object], scaled: Collection[Ref]
) -> Mapping[Ref, Object]:
    """By name, with the workload that has the template in place of a scaled Rollout that refers to one."""
    referring = {ref: spec(by_name[ref]).get("workloadRef") for ref in scaled if ref in by_name}
    named = {
        ref: Ref(to["apiVersion"], to["kind"], to["name"], ref.namespace)
        for ref, to in referring.items()
        if to and not _is_marked(by_name[ref])
    }
    found = {
        ref_of(item): item
        for (version, kind), refs in _by_kind(named.values()).items()
        for item in _read(reading, kinds, version, kind, refs, {})
    }
    return {**by_name, **{ref: found[to] for ref, to in named.items() if to in found}}


def _is_marked(workload: Object) -> bool:
    """Whether it, or what its pods will be, is to stay awake; without pods nothing else says so."""
    return any(map(workloads.marked, (workload, *workloads.templates(workload))))


def _from_zero(reading: Reading, version: str, kept: Collection[Ref]) -> tuple[Object, ...]:
    """Autoscalers that may bring back what is at 0."""
    found = re.match(r"(\d+)\.(\d+)", version.removeprefix("v"), re.ASCII)
    if not found or tuple(map(int, found.groups())) < rights.SCALES_FROM_ZERO:
        return ()
    return reading.list(
        *known_kinds.AUTOSCALER,
        managed_fields=True,
        only=lambda item: (
            spec(item).get("minReplicas") == 0 or ref_of(item) in kept or originals.is_noted(item)
        ),
    )


def _served(reading: Reading, kinds: Registry, suspending: bool) -> Iterator[tuple[str, str]]:
    """Kinds with a switch of their own of which we have rights where the cluster has their definition."""
    for row in kinds.rows:
        is_asked = (row.if_served or row.is_job) and not row.lets_start and (suspending or not row.is_job)
        if is_asked and row.version and (not row.if_served or reading.serves(row.api_version, row.kind)):
            yield row.api_version, row.kind


def _registry(
    reading: Reading, asked: Iterable[Switch], pools: Iterable[Object], snapshots: Iterable[Snapshot]
) -> Registry:
    """With what sleeps by a switch that the policy has dropped since, as NodePools say."""
    marked = [one for pool in pools for one in own_switches.read(annotations_of(pool).get(SWITCHES))]
    by_field = {(one.group, one.kind) for one in marked if one.path == REPLICAS.path}
    asked = _not_scaled(asked, snapshots, by_field)
    if not (asked or marked):
        return BUILT_IN
    kept = {(group, one.ref.kind): version for one in snapshots for group, version in [_split(one.ref)]}

    def version_of(group: str, kind: str) -> str | None:
        """What sleeps is known under the version of its first night, as long as that is served."""
        slept = kept.get((group, kind))
        if slept and reading.serves(f"{group}/{slept}", kind):
            return slept
        found = reading.preferred_version(group, kind)
        return slept if found is None else found

    return with_switches(asked, dict.fromkeys(marked), version_of)


def _not_scaled(
    asked: Iterable[Switch], snapshots: Iterable[Snapshot], by_field: Collection[tuple[str, str]] = ()
) -> tuple[Switch, ...]:
    """
    Without those of kinds that the policy names since tonight, and of which something was scaled before: its
    replicas are restored first, by the right that is there.

    Args:
        by_field: Group and kind of what sleeps at 0 replicas by a switch, and not by `scale`.
    """
    at_0 = {_kind_of(kept.ref) for kept in snapshots if kept.field == REPLICAS.field and not kept.woken}
    scaled = at_0.difference(by_field)
    return tuple(one for one in asked if one.path == REPLICAS.path or (one.group, one.kind) not in scaled)


def _kind_of(ref: Ref) -> tuple[str, str]:
    return _split(ref)[0], ref.kind


def _split(ref: Ref) -> tuple[str, str]:
    group, _, version = ref.api_version.rpartition("/")
    return group, version


def _with_scale(
    reading: Reading, snapshots: Iterable[Snapshot], objects: Mapping[Ref, Object]
) -> dict[Ref, Object]:
    """Jobs that were scaled to 0 and are now read whole, with the count: its place differs by the kind."""
    found: dict[Ref, Object] = {}
    scaled = [kept.ref for kept in snapshots if is_job(kept.ref) and kept.field == REPLICAS.field]
    for ref in scaled:
        item = objects.get(ref)
        if item and "readThroughScale" not in item and (count := reading.replicas(ref)):
            found[ref] = {**item, "spec": {**spec(item), "replicas": REPLICAS.value(count)}}
    return found


def _queues(reading: Reading, kept: Collection[Ref], suspending: bool) -> Queues:
    """Kueue's, where the cluster has it in a version that we know."""
    if not reading.serves(*queues.CLUSTER_QUEUE):
        return NO_QUEUES
    return Queues(
        flavors=reading.list(*queues.FLAVOR),
        cluster_queues=reading.list(*queues.CLUSTER_QUEUE, managed_fields=True),
        local_queues=reading.list(*queues.LOCAL_QUEUE),
        queued=reading.list(
            *queues.QUEUED,
            managed_fields=True,
            only=lambda one: (
                queues.waits(one)
                or ref_of(one) in kept
                or originals.is_noted(one)
                or (suspending and not queues.is_over(one))
            ),
            trim=_of_a_queued,
        ),
    )


def _of_a_queued(workload: Object) -> Object:
    """Of Kueue's Workload; its templates may hold secrets."""
    found = workload["spec"]
    sets = [{"template": {"spec": _of_a_pod_spec(one)}} for one in found.get("podSets") or ()]
    kept = {key: found[key] for key in ("active", "queueName") if key in found}
    return {**workload, "spec": {**kept, "podSets": sets}}


def _of_a_pod_spec(pod_set: Object) -> Object:
    found = _pod_spec({"spec": pod_set})
    return {key: found[key] for key in _OF_A_SPEC if key in found} | asked_by(found)


def _targets(snapshots: Iterable[Snapshot], objects: Mapping[Ref, Object]) -> set[Ref]:
    """What ScaledObjects scale that must have their count before they are restored."""
    resuming = (one.ref for one in snapshots if one.resume_at and not one.woken)
    return {workloads.scaled_by(objects[ref]) for ref in resuming if ref in objects}


def of_a_pod(pod: Object) -> Object:
    """What off-hours reads of a pod. The rest is ten times as large, and may hold secrets."""
    metadata, found, state = pod["metadata"], pod["spec"], pod.get("status") or {}
    marks = metadata.get("annotations") or {}
    kept = {key: found[key] for key in _OF_A_SPEC if key in found} | asked_by(found)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **{key: metadata[key] for key in _OF_METADATA if key in metadata},
            "annotations": {key: marks[key] for key in (KEEP_AWAKE,) if key in marks},
        },
        "spec": kept,
        "status": {key: state[key] for key in ("phase", "conditions") if key in state} | _waiting(state),
    }


def _waiting(status: Object) -> dict[str, Any]:
    """Of its containers, those that wait, and why."""
    waiting = [
        {"name": one.get("name"), "state": {"waiting": one["state"]["waiting"]}}
        for one in status.get("containerStatuses") or ()
        if (one.get("state") or {}).get("waiting")
    ]
    return {"containerStatuses": waiting} if waiting else {}


def _owners(
    reading: Reading, known: Registry, pods: tuple[Object, ...], named: set[Ref], suspending: bool
) -> tuple[dict[str, Object], dict[Ref, Object]]:
    """Level by level, each kind once a level: all above the pods by uid, and what is asked for by name."""
    owners = {pod["metadata"]["uid"]: pod for pod in pods}
    by_name: dict[Ref, Object] = {}
    below: list[Object] = list(pods)
    wanted = _by_kind(named)
    for _ in range(_LEVELS):
        asked = _controllers(below, owners, known)
        kinds = asked.keys() | wanted.keys()
        if not kinds:
            break
        below = []
        for version, kind in sorted(kinds):
            refs, uids = wanted.pop((version, kind), set()), asked.get((version, kind), {})
            for item in _read(reading, known, version, kind, refs, uids, suspending):
                uid = item["metadata"]["uid"]
                if uid in uids and uid not in owners:
                    owners[uid] = item
                    below.append(item)
                if ref_of(item) in named:
                    by_name[ref_of(item)] = item
    return owners, by_name


def _by_kind(refs: Iterable[Ref]) -> dict[tuple[str, str], set[Ref]]:
    found: dict[tuple[str, str], set[Ref]] = {}
    for ref in refs:
        # Of a key that we cannot read (gateways/sleep_store.py) nothing is there to be listed.
        if ref.kind not in ("NodePool", ""):
            found.setdefault((ref.api_version, ref.kind), set()).add(ref)
    return found


def _controllers(
    items: Iterable[Object], owners: dict[str, Object], kinds: Registry
) -> dict[tuple[str, str], dict[str, Ref]]:
    """By kind, the uids and names of those above that are not known yet."""
    found: dict[tuple[str, str], dict[str, Ref]] = {}
    for item in items:
        owner = controller_of(item)
        if owner and owner["uid"] not in owners:
            version = kinds.known_version(owner["apiVersion"], owner["kind"])
            ref = Ref(version, owner["kind"], owner["name"], item["metadata"].get("namespace", ""))
            found.setdefault((ref.api_version, ref.kind), {})[owner["uid"]] = ref
    return found


def _read(
    reading: Reading,
    kinds: Registry,
    version: str,
    kind: str,
    refs: set[Ref],
    uids: dict[str, Ref],
    suspending: bool = False,
) -> Iterable[Object]:
    if version.endswith("/"):
        return ()  # of a kind whose version could not be found out
    if kinds.is_read(version, kind, suspending):
        return reading.list(
            version,
            kind,
            managed_fields=True,
            only=lambda item: ref_of(item) in refs or item["metadata"]["uid"] in uids,
        )
    if not kinds.is_read_through_scale(version, kind) or not reading.has_scale(version, kind):
        return ()
    found = (reading.replicas(ref) for ref in sorted({*refs, *uids.values()}))
    return [{**item, "readThroughScale": True} for item in found if item]


def _cron_template(item: Object) -> Object:
    return _pod_spec(spec(item).get("jobTemplate") or {})


def _scaled_job_template(item: Object) -> Object:
    return _pod_spec({"spec": spec(item).get("jobTargetRef") or {}})


# What each makes pods of; a ScaledObject makes none, and all of them are read.
_TEMPLATES = {_CRON_JOB: _cron_template, _KEDA[1]: _scaled_job_template}


def _pod_spec(job: Object) -> Object:
    template = spec(job).get("template") or {}
    return template.get("spec") or {}
