"""
Reads what tuning decides by: pools, overlays, claims, nodes and GPU pods, what was measured, and the alarms.

In a cluster, exactly what the group `slicewise:tuner` may do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.errors import InvalidPolicy, Refused, Unauthorized, Unavailable
from slicewise.kube import kinds
from slicewise.kube.labels import CLASS_LABEL, POOL_LABEL
from slicewise.kube.objects import is_ours, labels, name, spec, status
from slicewise.kube.ref import Object
from slicewise.model.capabilities import OFF_HOURS
from slicewise.model.cluster import Alarm, ClusterContents, EksCluster
from slicewise.model.costs import CostDay
from slicewise.planning import policy_skew
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.policy import model as policies
from slicewise.policy.model import MetricsSource, Policy
from slicewise.pools import layout
from slicewise.pools.adopted_settings import is_adopted
from slicewise.ports import Kubernetes, Ports
from slicewise.trigger import Trigger
from slicewise.tuning import alarms, publication
from slicewise.tuning.classes.annotation import is_moving
from slicewise.tuning.cost_notice import week_to_report
from slicewise.tuning.observed_fields import asks_for_slices, of_a_claim, of_a_node, of_a_pod, of_a_workload
from slicewise.tuning.state import whole_gpus
from slicewise.tuning.state.observation import (
    Complete,
    CountedCosts,
    Deleted,
    Measurement,
    MetricsUnreadable,
    NotRead,
    NotReady,
    Observation,
    Observed,
    Offboarding,
    Partial,
    Paused,
    PolicyInvalid,
    Unmanaged,
    measured_by,
)
from slicewise.tuning.state.pool_state import read_rollout
from slicewise.tuning.usage.evidence import DAY_SECONDS
from slicewise.tuning.usage.history import History
from slicewise.tuning.usage.pages import history_of
from slicewise.tuning.usage.pool_usage import FRESH, STEP, WINDOW, read
from slicewise.tuning.usage.readings import Readings

# Where it was read and is not there: no key is known then, and no node may be given one.
_NO_CONFIG_MAP: Object = {
    "apiVersion": layout.CONFIG_MAP.api_version,
    "kind": layout.CONFIG_MAP.kind,
    "metadata": {"name": layout.CONFIG_MAP.name, "namespace": layout.CONFIG_MAP.namespace},
    "data": {},
}
# Failed ones show which slices were refused.
_NOT_SUCCEEDED = "status.phase!=Succeeded"
# What is measured before a rollout began shows what is normal.
_BEFORE_A_CHANGE = timedelta(hours=1)


def observe(
    trigger: Trigger, record: Record | None, ports: Ports, default_policy: str, now: datetime
) -> Observation:
    """
    What keeps us from reading is raised: an onboarded cluster that the tuner cannot read needs help, and the
    queue's retries bridge the seconds until a new access entry works.
    """
    cluster, paused = ports.eks.describe(trigger.name), ports.store.paused(trigger.cluster)
    known = record.details if record else ()
    if cluster is None:
        return Deleted(ports.alarms.named(alarms.prefix(trigger.name)))
    policy_name = cluster.policy_name(default_policy)
    if paused:
        return Paused(cluster, paused, policy_name, known)
    if cluster.offboards:
        return _offboarding(cluster, record, ports)
    if not policy_name:
        return _unmanaged(cluster, record, ports)
    text = ports.policies.text(policy_name)
    try:
        policy = policies.found(text, policy_name, waits=policy_skew.may_wait(record, now))
    except InvalidPolicy as error:
        return PolicyInvalid(cluster, policy_name, error, _under_a_wrong_policy(cluster, ports), known)
    its_alarms, alarms_error = _alarms(cluster, ports)
    if not cluster.answers:
        return NotReady(cluster, policy_name, policy, text or "", its_alarms, known)
    contents, measurement = _inside(cluster, policy, record, ports, now)
    costs, costs_error = _costs(cluster, policy, ports, now) if measurement.whole else (None, "")
    return Observed(
        cluster,
        policy_name,
        policy,
        contents,
        measurement,
        policy_text=text or "",
        alarms=its_alarms,
        alarms_error=alarms_error,
        recorded=known,
        failed=record.retries if record else (),
        costs=costs,
        costs_error=costs_error,
        week_costs=_week_costs(cluster, policy, record, ports, costs) if costs else (),
    )


def _costs(
    cluster: EksCluster, policy: Policy, ports: Ports, now: datetime
) -> tuple[CountedCosts | None, str]:
    """With why they cannot be read. No N depends on them: without them all else goes on."""
    try:
        newest = ports.costs.newest(cluster.arn, now)
        slept = ports.store.record(cluster.arn, OFF_HOURS) if policy.off_hours else None
    except (Refused, Unavailable) as error:
        return None, str(error)
    nights = tuple(one for one in slept.details if "began" in one) if slept else ()
    return CountedCosts(now, newest, nights), ""


def _week_costs(
    cluster: EksCluster, policy: Policy, record: Record | None, ports: Ports, costs: CountedCosts
) -> tuple[CostDay, ...]:
    """Once its last day is counted whole. Where they cannot be read now, the next reconcile reads them."""
    week = week_to_report(policy, record.notified if record else (), costs.at)
    if week is None or costs.newest is None or costs.newest.day <= week.days[1]:
        return ()
    try:
        return ports.costs.days(cluster.arn, *week.days)
    except (Refused, Unavailable):
        return ()


def _alarms(cluster: EksCluster, ports: Ports) -> tuple[tuple[Alarm, ...], str]:
    """With why they cannot be read. They only trigger reconciles: without them all else goes on."""
    try:
        return ports.alarms.named(alarms.prefix(cluster)), ""
    except (Refused, Unavailable) as error:
        return (), str(error)


def _unmanaged(cluster: EksCluster, record: Record | None, ports: Ports) -> Unmanaged:
    """A policy was removed: a rollout may have been left halfway. Where we are shut out, it stays so."""
    # Its alarms are to be deleted, and no reconcile comes after that.
    left = ports.alarms.named(alarms.prefix(cluster))
    is_settled = record is None or (record.stage is Stage.UNMANAGED and not record.conflicts)
    if is_settled or not cluster.answers:
        return Unmanaged(cluster, left)
    return Unmanaged(cluster, left, _as_left(cluster, ports))


def _under_a_wrong_policy(cluster: EksCluster, ports: Ports) -> ClusterContents | None:
    """That it is wrong is reported in any case."""
    if not cluster.answers:
        return None
    try:
        return _as_left(cluster, ports)
    except Unavailable:
        return None


def _offboarding(cluster: EksCluster, record: Record | None, ports: Ports) -> Offboarding:
    """
    The policy that was in force says how an adopted NodePool shares its GPUs; where it is not known any
    longer, or cannot be read, such a NodePool is restored as it is.
    """
    policy, text = _in_force(record, ports)
    left = ports.alarms.named(alarms.prefix(cluster))
    found = Offboarding(cluster, record.policy if record else None, policy, left, record is not None, text)
    if not cluster.answers:
        return found
    kubernetes = ports.kubernetes(cluster)
    try:
        node_pools = kubernetes.list(*kinds.NODE_POOL, only=is_adopted)
        contents = read_contents(kubernetes, [name(one) for one in node_pools])
        budgets = kubernetes.list(*kinds.DISRUPTION_BUDGET)
    except (Refused, Unauthorized):
        return found
    # Few clusters are, and every cold start would pay for it.
    from slicewise.tuning.offboard import chooses_ours

    contents = _with_templates(replace(contents, disruption_budgets=budgets), kubernetes, chooses_ours)
    return replace(found, contents=contents)


def _in_force(record: Record | None, ports: Ports) -> tuple[Policy | None, str]:
    """The policy by which the previous reconcile tuned, and its text."""
    if record is None or not record.policy:
        return None, ""
    text = ports.policies.text(record.policy)
    try:
        return policies.found(text, record.policy), text or ""
    except InvalidPolicy:
        return None, ""


def _as_left(cluster: EksCluster, ports: Ports) -> ClusterContents | None:
    """For what an interrupted rollout may still hold, and for what is published on workloads."""
    kubernetes = ports.kubernetes(cluster)
    try:
        return _with_publishers(read_contents(kubernetes), kubernetes)
    except (Refused, Unauthorized):
        return None


def _inside(
    cluster: EksCluster, policy: Policy, record: Record | None, ports: Ports, now: datetime
) -> tuple[ClusterContents, Measurement]:
    kubernetes = ports.kubernetes(cluster)
    contents = read_contents(kubernetes, [pool.adopt for pool in policy.pools if pool.adopt])
    changing = [found for pool in contents.node_pools if (found := read_rollout(pool)[0])]
    if changing:
        budgets = kubernetes.list(*kinds.DISRUPTION_BUDGET)
        contents = replace(contents, disruption_budgets=budgets)
    moving = any(is_moving(item, now) for item in contents.workloads)
    whole = not (changing or moving) or _evidence_is_due(record, now)
    if whole and any(pool.sharing.has_replicas for pool in policy.pools):
        contents = _with_templates(contents, kubernetes)
    else:
        contents = _with_publishers(contents, kubernetes)
    # Going back to fewer slices rests on no measurement.
    growing = [change.since for change in changing if change.grows]
    if policy.metrics.source is MetricsSource.NONE or not (whole or growing):
        return contents, NotRead(whole)
    try:
        if whole:
            return contents, _complete(cluster, policy, contents, ports, now)
        start = max(now - WINDOW, min(growing) - _BEFORE_A_CHANGE)
        return contents, Partial(_readings(cluster, policy, contents, ports, start, now))
    except (Refused, Unavailable) as error:
        # Without measurements N stays, and all else goes on.
        return contents, MetricsUnreadable(str(error), whole)


def _complete(
    cluster: EksCluster, policy: Policy, contents: ClusterContents, ports: Ports, now: datetime
) -> Complete:
    pages = ports.usage.pages(cluster.arn, measured_by(policy), _first_day(now))
    history = history_of(pages, int(now.timestamp()))
    # As bytes they are as much again.
    del pages
    found = _readings(cluster, policy, contents, ports, first_new(history, now), now)
    return Complete(found, history, now)


def _readings(
    cluster: EksCluster,
    policy: Policy,
    contents: ClusterContents,
    ports: Ports,
    start: datetime,
    now: datetime,
) -> Readings:
    """Series become readings while they arrive: those of a large cluster do not fit into memory at once."""
    series = ports.metrics(policy).read(cluster.name, start, now, STEP)
    return read(series, policy.metrics.source.value, contents)


def _with_templates(
    contents: ClusterContents,
    kubernetes: Kubernetes,
    is_asked_for: Callable[[Mapping[str, Any]], bool] = whole_gpus.is_for_several,
) -> ClusterContents:
    """
    A kind that cannot be read is reported; it ends nothing.

    Args:
        is_asked_for: By the spec of the pods that it makes.
    """
    publishes = publication.is_marked(contents.node_pools)

    def chosen(item: Object) -> bool:
        pod_spec = whole_gpus.template_of(item)
        asked = whole_gpus.is_going_on(item) and is_asked_for(pod_spec)
        return asked or (publishes and publication.is_publisher(item, pod_spec))

    found, unread = _listed(kubernetes, whole_gpus.KINDS, chosen)
    publishers = (one for one in found if publication.is_publisher(one, spec(one)))
    is_read = publishes and not {f"{kind}s" for kind in publication.KINDS} & set(unread)
    return replace(
        contents,
        templates=tuple(one for one in found if is_asked_for(spec(one))),
        publishers=tuple(publishers) if is_read else None,
        unread_kinds=unread,
    )


def _with_publishers(contents: ClusterContents, kubernetes: Kubernetes) -> ClusterContents:
    """
    Where not the whole is read: each stage of a rollout may give a workload another N. Kinds that cannot be
    read end no rollout.
    """
    if not publication.is_marked(contents.node_pools):
        return contents
    kinds_of = {kind: whole_gpus.KINDS[kind] for kind in publication.KINDS}
    found, unread = _listed(
        kubernetes, kinds_of, lambda item: publication.is_publisher(item, whole_gpus.template_of(item))
    )
    return contents if unread else replace(contents, publishers=found)


def _listed(
    kubernetes: Kubernetes, versions: Mapping[str, str], chosen: Callable[[Object], bool]
) -> tuple[tuple[Object, ...], tuple[str, ...]]:
    """Trimmed, and the kinds that cannot be read."""
    found: list[Object] = []
    unread: list[str] = []
    for kind, version in versions.items():
        try:
            found += kubernetes.list(version, kind, only=chosen, trim=whole_gpus.of_a_template)
        except (Refused, Unavailable):
            unread.append(f"{kind}s")
    return tuple(found), tuple(unread)


def _first_day(now: datetime) -> int:
    """Second at which the oldest day begins of which a part lies in the window."""
    return int((now - WINDOW).timestamp()) // DAY_SECONDS * DAY_SECONDS


def first_new(history: History, now: datetime) -> datetime:
    """From when on to ask: the step after those that are saved, and the last hour, for what is so now."""
    if history.through is None or not history.workloads:
        # No pod was measured yet, and a source may have been installed later than Slicewise, with a past.
        return now - WINDOW
    # A point has the time at which its step begins.
    new = datetime.fromtimestamp(history.through, UTC) + STEP
    return max(now - WINDOW, min(new, now - FRESH - STEP))


def _evidence_is_due(record: Record | None, now: datetime) -> bool:
    """
    While N of one NodePool is being changed a reconcile comes every few seconds. A week is read again for all
    the others only once a source has another point.
    """
    observed_at = record.observed_at if record else None
    return observed_at is None or not timedelta(0) <= now - observed_at < STEP


def read_contents(kubernetes: Kubernetes, adopted: Iterable[str] = ()) -> ClusterContents:
    """`adopted` are NodePools whose nodes may not have our label yet."""
    config_map = kubernetes.get(layout.CONFIG_MAP)
    node_pools = kubernetes.list(*kinds.NODE_POOL)
    # Where there are classes, onboarding has given us the right to list the workloads that let us move them.
    split = any(is_ours(pool) and CLASS_LABEL in labels(pool) for pool in node_pools)
    # Most pods of a cluster request no GPU; all of them at once would not fit into the function's memory.
    pods = kubernetes.list(*kinds.POD, fields=_NOT_SUCCEEDED, only=asks_for_slices, trim=of_a_pod)
    return ClusterContents(
        version="",
        objects={layout.CONFIG_MAP: config_map or _NO_CONFIG_MAP},
        node_pools=node_pools,
        node_overlays=kubernetes.list(*kinds.NODE_OVERLAY),
        node_claims=_of_pools(kubernetes, *kinds.NODE_CLAIM, adopted, of_a_claim),
        nodes=_of_pools(kubernetes, *kinds.NODE, adopted, of_a_node),
        pods=tuple(pod for pod in pods if not _has_failed(pod)),
        failed_pods=tuple(pod for pod in pods if _has_failed(pod)),
        workloads=_opted_in(kubernetes) if split else (),
    )


def _opted_in(kubernetes: Kubernetes) -> tuple[Object, ...]:
    """With who wrote what: a class is not put where another writer puts its own again and again."""
    return tuple(
        item
        for kind in ("Deployment", "StatefulSet")
        for item in kubernetes.list(
            "apps/v1",
            kind,
            labels=f"{CLASS_LABEL}={layout.AUTO}",
            trim=of_a_workload,
            managed_fields=True,
        )
    )


def _of_pools(
    kubernetes: Kubernetes,
    api_version: str,
    kind: str,
    adopted: Iterable[str],
    trim: Callable[[Object], Object],
) -> tuple[Object, ...]:
    ours = kubernetes.list(api_version, kind, labels=POOL_LABEL, trim=trim)
    found = {name(item): item for item in ours}
    for node_pool in adopted:
        mine = kubernetes.list(api_version, kind, labels=f"{layout.NODE_POOL_LABEL}={node_pool}", trim=trim)
        found |= {name(item): item for item in mine}
    return tuple(found.values())


def _has_failed(pod: Object) -> bool:
    return bool(status(pod).get("phase") == "Failed")
