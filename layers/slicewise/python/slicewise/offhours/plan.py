"""
What a reconcile of off-hours does: put to sleep, leave asleep, wake, leave awake. Pure.

The calendar and the clock say which; what is there and the snapshots say what is left to do. Nothing else is
recorded between reconciles.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from slicewise import rights
from slicewise.kube import json_patch, quantities
from slicewise.kube.labels import ASLEEP, FALLBACK_LABEL
from slicewise.kube.objects import MANAGER, annotations_of, being_deleted, labels, moment, name, spec, status
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.capabilities import OFF_HOURS
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import (
    marks,
    queues,
    unread,
)
from slicewise.offhours import targets as following
from slicewise.offhours.kinds import AUTOSCALER, NightBehaviour, Registry, is_suspended, ran
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.opening import noted, opening_of
from slicewise.offhours.report import findings as sleep_findings
from slicewise.offhours.report import not_running, savings
from slicewise.offhours.sleep_fields import (
    DEACTIVATED,
    HELD,
    NO_NODES,
    NO_SCALE_UP,
    NOT_ACTIVE,
    ONLY_EMPTY_NODES_GO,
    PAUSED_REPLICAS,
    REPLICAS,
    RETAIN,
    SUSPEND,
    Setting,
)
from slicewise.offhours.stay_awake import jobs, node_limits, refused
from slicewise.offhours.targets import Workload
from slicewise.offhours.transitions import RECOVERY, Step, Window, give_back, put_to_sleep, write_otherwise
from slicewise.offhours.wake import gpu_fallback, volumes
from slicewise.offhours.wake import stages as wake_stages
from slicewise.planning.actions import (
    Action,
    Delete,
    DeleteOpening,
    DeleteSchedule,
    DeleteSnapshot,
    Notify,
    Patch,
    PutOpening,
    PutSchedule,
    SaveSnapshot,
    Scale,
    in_part,
    part_of,
)
from slicewise.planning.outcome import Finding, Outcome, Plan, Stage
from slicewise.planning.record import Record
from slicewise.policy.off_hours import BarePods, Jobs, MissedRuns, OffHours, Volumes
from slicewise.schedule.calendar import Edge

# Each takes three calls, of some ten milliseconds each, and eight are done at once: all take seconds, and
# less than a minute where calls are ten times as slow. More reconciles would list the whole cluster as often.
MOST_OBJECTS = 1_000
NEXT_BATCH = timedelta(seconds=1)
DRAINING = timedelta(seconds=15)
ASLEEP_POLL = timedelta(minutes=15)
OVERDUE_POLL = timedelta(minutes=1)
STAGE_POLL = timedelta(seconds=15)
# Longer than a controller's restart; a night awake costs more than the Jobs that start.
QUEUES_AWAITED = timedelta(minutes=10)
SETTLED_POLL = timedelta(minutes=1)
NOT_LET_IN = timedelta(minutes=5)
# What could not be restored is tried each minute while people wait for it, and later as anything else.
RETRY_NEAR_THE_OPENING = timedelta(minutes=1)
NEAR = timedelta(minutes=30)
# Waking begins at most two leads early, and the longest lead is an hour.
LONGEST_AHEAD = timedelta(hours=2) + wake_stages.LONGEST_SHARE
SOON = timedelta(hours=1)
LONG_OUT_OF_REACH = timedelta(minutes=30)
REPORT_BEFORE = timedelta(minutes=5)
FOR_EVER = "for ever"
_LAST_SCHEDULED = rights.LAST_SCHEDULED
_NODE_POOL = ("karpenter.sh/v1", "NodePool")
# What else frees quota, or costs volumes.
_BEFORE_ANY_SLEEP = (HELD, NOT_ACTIVE, RETAIN)


@dataclass(frozen=True)
class _Subject:
    """A field of an object that may sleep."""

    live: Object | None
    setting: Setting
    snapshot: Snapshot | None
    priority: int = 0
    slices: int = 0
    resume_at: str = ""

    @property
    def is_done(self) -> bool:
        return self.snapshot is not None and self.snapshot.done


@dataclass(frozen=True)
class _Morning:
    """
    What is restored.

    Attributes:
        left: How many objects wait for the next reconcile.
        waits: What a second step needs first, in words; empty where it needs nothing.
        queued: How many Workloads of Kueue wait until what slept has its quota.
    """

    actions: tuple[Action, ...]
    findings: tuple[Finding, ...]
    left: int
    waits: str
    queued: int = 0

    @property
    def wait(self) -> timedelta | None:
        """Until the next step: a controller takes seconds, and one that is down takes its time."""
        return None if not self.waits else STAGE_POLL if self.actions else OVERDUE_POLL


def enforced(observation: Observation) -> bool:
    """A plan itself shows what is only reported: what sleeps is restored in every mode."""
    return True


def record_fields(observation: Observation, before: Record | None, now: datetime) -> dict[str, object]:
    """What the record of this reconcile has of its observation."""
    observed_before = before.observed_at if before else None
    return {"policy": observation.policy_name, "observed_at": now if observation.found else observed_before}


def plan(observation: Observation, now: datetime) -> Plan:
    found = _plan(observation, now)
    if (
        not observation.may_sleep
        and observation.found is not None
        and found.outcome.stage is not Stage.PAUSED
    ):
        found = _without_new_sleep(observation, observation.found, found, now)
    if observation.found:
        found = replace(found, actions=marks.marked(observation, observation.found, found.actions, _part))
    findings = (*observation.findings, *_unreadable(observation, now), *found.outcome.findings)
    outcome = replace(found.outcome, findings=tuple(dict.fromkeys(findings)))
    opening = opening_of(observation, found.actions, _begin_of_waking(observation, now), now)
    actions = (
        *_schedule(observation, now),
        *noted(observation, opening),
        *_report_recovered(observation),
        *found.actions,
    )
    actions = tuple(in_part(one, _part(one)) for one in actions)
    if outcome.stage in (Stage.WAKING, Stage.AWAKE) and _is_near_the_opening(observation, now):
        found = replace(found, longest_retry=RETRY_NEAR_THE_OPENING)
    return replace(found, outcome=outcome, actions=actions, abreast=_abreast(actions))


def _abreast(actions: Iterable[Action]) -> dict[str, str]:
    """
    Objects in namespaces are changed beside others of their rank: what makes work, or workloads. Everything
    else (the schedule, NodePools, notices) is done alone, in its turn.
    """
    ranks: dict[str, str] = {}
    for action in actions:
        if isinstance(action, Patch | SaveSnapshot | DeleteSnapshot) and _is_of_a_queued(action):
            ranks.setdefault(action.part, "waits in a queue")
        if isinstance(action, Patch) and action.subresource:
            ranks[action.part] = "missed runs"  # before any is resumed
        if isinstance(action, Patch | Scale | Delete) and action.ref.namespace:
            ranks.setdefault(action.part, "makes work")
        if isinstance(action, Scale):
            ranks[action.part] = "workload"
        if isinstance(action, SaveSnapshot | DeleteSnapshot) and action.snapshot.ref.namespace:
            ranks.setdefault(action.part, "makes work")
    return ranks


def _is_of_a_queued(action: Patch | SaveSnapshot | DeleteSnapshot) -> bool:
    ref = action.ref if isinstance(action, Patch) else action.snapshot.ref
    return ref[:2] == queues.QUEUED


def _without_new_sleep(observation: Observation, seen: Found, found: Plan, now: datetime) -> Plan:
    """
    Where a pause or the policy's mode lets nothing be put to sleep: what sleeps gets its morning. The stage
    is that of the cluster, not the one that a sleep would reach.
    """
    who = (
        f"paused: {observation.paused}"
        if observation.paused
        else "the policy's mode lets nothing be put to sleep"
    )
    outcome, slept = found.outcome, [snapshot for snapshot in observation.slept if not snapshot.woken]
    if outcome.stage not in (Stage.GOING_TO_SLEEP, Stage.ASLEEP):
        reached = Stage.PAUSED if observation.paused and not (found.actions or slept) else outcome.stage
        return replace(found, outcome=replace(outcome, stage=reached, reason=f"{who}; {outcome.reason}"))
    blind = unread.message(observation, seen, ())
    stage = Stage.PAUSED if observation.paused else Stage.ASLEEP if slept or blind else Stage.AWAKE
    message = f"{len(slept)} objects sleep, and are woken in time" if slept else blind or "nothing sleeps"
    edge = observation.times.next_edge(now) if observation.times else None
    wait = _until(edge, _ahead(observation), now)
    closing = gpu_fallback.closed(observation, seen, outcome.reason)
    return Plan(
        replace(outcome, stage=stage, reason=f"{who}; {message}", requeue_after=wait),
        closing,
        details=found.details if slept else observation.known,
        would=() if observation.paused else tuple(one for one in found.actions if one not in closing),
    )


def _is_near_the_opening(observation: Observation, now: datetime) -> bool:
    return any(snapshot.ends and now < snapshot.ends + NEAR for snapshot in observation.slept)


def _part(action: Action) -> str:
    """An object is a part with all that is done to it, or noted of it: what fails there ends there."""
    if given := part_of(action):
        return given
    match action:
        case Patch(ref=ref) | Scale(ref=ref) | Delete(ref=ref):
            return str(ref)
        case SaveSnapshot(snapshot=snapshot) | DeleteSnapshot(snapshot=snapshot):
            return str(snapshot.ref)
        case PutSchedule() | DeleteSchedule():
            return "the schedule"
        case PutOpening() | DeleteOpening():
            return "the opening"
        case Notify(subject=subject):
            return f"the notice {subject!r}"
    raise TypeError(f"no part is known for {type(action).__name__}")


def _unreadable(observation: Observation, now: datetime) -> Iterator[Finding]:
    yield from sleep_findings.misread(observation.times.override if observation.times else None, now)
    yield from sleep_findings.not_restorable(observation.snapshots, observation.kinds)
    if found := sleep_findings.recovered(observation.snapshots):
        yield found
    yield from unread.findings(observation)


def _report_recovered(observation: Observation) -> Iterator[Action]:
    """
    Once a sleep, and before it is in the table again: afterwards nothing shows that it was not.
    """
    if found := sleep_findings.recovered(observation.snapshots):
        subject = f"Slicewise: what slept in {observation.cluster_name} was not in the table any more"
        window = min(snapshot.window for snapshot in observation.snapshots if snapshot.recovered)
        yield Notify(subject, str(found), "the table has lost items", f"recovered {window}", RECOVERY)


def _schedule(observation: Observation, now: datetime) -> Iterator[Action]:
    """
    The next moment at which something must happen. It is put before anything is changed, and deleted only
    where nothing sleeps and nothing is to.
    """
    edge = observation.times.next_edge(now) if observation.times else None
    if edge is None:
        if (
            observation.schedule
            and not observation.snapshots
            and (observation.times or not observation.off_hours)
        ):
            yield DeleteSchedule("nothing is to come")
        return
    at = _next_reconcile(observation, edge, now)
    # Without reading the cluster it is not known how long waking takes: an earlier reconcile knew.
    known = (
        observation.schedule is not None
        and observation.found is None
        and now < observation.schedule <= edge.at
    )
    if not known and observation.schedule != at.replace(microsecond=0):
        yield PutSchedule(OFF_HOURS, at, "off-hours begin" if edge.asleep else "off-hours end")


def _next_reconcile(observation: Observation, edge: Edge, now: datetime) -> datetime:
    early = _begin_of_waking(observation, now)
    return early if early and early > now else edge.at


def _begin_of_waking(observation: Observation, now: datetime) -> datetime | None:
    """Of the opening that comes next; None where the next change is another one, or none."""
    edge = observation.times.next_edge(now) if observation.times else None
    if edge is None or edge.asleep:
        return None
    return edge.at - (_ahead(observation) if observation.found else LONGEST_AHEAD)


def _plan(observation: Observation, now: datetime) -> Plan:
    if observation.cluster is None:
        return Plan(Outcome(Stage.DELETED, "the cluster is deleted; the next sweep removes its state"))
    if observation.paused and (observation.keep_asleep or not observation.slept):
        return _paused(observation, now)
    if observation.off_hours is None and not observation.snapshots:
        return Plan(Outcome(Stage.UNMANAGED, "no policy has off-hours here"))
    if observation.refused:
        return _waiting(observation, f"onboarding has not let us in yet: {observation.refused}")
    if not observation.cluster.answers:
        return _waiting(observation, f"the cluster is {observation.cluster.status}")
    if observation.found is None:
        return _out_of_reach(observation, now)
    if observation.off_hours is None or observation.times is None:
        return _awake(observation, observation.found, "no policy has off-hours any more", None, now)
    edge, who = observation.times.next_edge(now), observation.times.message(now)
    if not observation.times.is_asleep(now):
        return _awake(observation, observation.found, f"awake by {who}", edge, now)
    if edge and (now >= edge.at - _ahead(observation) or _has_begun_to_wake(observation, edge)):
        return _waking(observation, observation.found, edge, now)
    return _asleep(observation, observation.found, observation.off_hours, f"asleep by {who}", edge, now)


def _paused(observation: Observation, now: datetime) -> Plan:
    closing = _closing(observation, observation.found, now) if observation.found else gpu_fallback.Tended()
    outcome = Outcome(Stage.PAUSED, f"paused: {observation.paused}", closing.findings, closing.wait)
    if names := sorted({str(snapshot.ref) for snapshot in observation.slept if not snapshot.woken}):
        finding = Finding(
            "kept-asleep",
            f"{len(names)} objects stay asleep, past the opening, too: {', '.join(names[:5])}"
            + (f" and {len(names) - 5} more." if len(names) > 5 else "."),
            "That is what --keep-asleep does. To wake them in time: slicewise resume "
            f"{observation.cluster_name}",
        )
        outcome = replace(outcome, findings=(*closing.findings, finding))
    return Plan(outcome, closing.actions, observation.known)


def _closing(observation: Observation, found: Found, now: datetime) -> gpu_fallback.Tended:
    """A pause, also one that keeps things asleep, keeps no fallback open."""
    edge = observation.times.next_edge(now) if observation.times else None
    if observation.times is None or observation.times.is_asleep(now):
        return gpu_fallback.Tended(gpu_fallback.closed(observation, found, "the cluster is to be asleep"))
    return gpu_fallback.tended(observation, found, _until_then(edge, observation), now)


def _waiting(observation: Observation, message: str) -> Plan:
    return Plan(Outcome(Stage.WAITING, message, requeue_after=NOT_LET_IN), details=observation.known)


def _out_of_reach(observation: Observation, now: datetime) -> Plan:
    """Each such reconcile requeues, each minute while people wait for what sleeps, and is reported."""
    edge = observation.times.next_edge(now) if observation.times else None
    sleeping = {snapshot.ref for snapshot in observation.slept if not snapshot.woken}
    workloads = sum(ref.kind != "NodePool" for ref in sleeping)
    asleep = observation.times is not None and observation.times.is_asleep(now)
    due = bool(sleeping or observation.opening) and (
        not asleep or (edge is not None and edge.at - now <= SOON)
    )
    people = f"people come at {_clock(edge, observation)}" if asleep and edge else "they should be awake"
    finding = Finding(
        "out-of-reach",
        f"{observation.cluster_name} cannot be read: {observation.unreachable}"
        + (f"; {workloads} workload{'s' * (workloads != 1)} asleep, {people}." if sleeping else "."),
        "Check that its endpoint answers and that slicewise-sleeper has an access entry (slicewise onboard). "
        f"The read is retried {'each minute' if due else 'every five minutes'}, and wakes what is due.",
    )
    actions = tuple(_report_out_of_reach(observation, finding, due, edge, now))
    wait = OVERDUE_POLL if due else NOT_LET_IN
    return Plan(Outcome(Stage.WAITING, finding.message, (finding,), wait), actions, observation.known)


def _report_out_of_reach(
    observation: Observation, finding: Finding, due: bool, edge: Edge | None, now: datetime
) -> Iterator[Action]:
    """Once a sleep; one read that fails is no news."""
    sleep = min((snapshot.window for snapshot in observation.slept if not snapshot.woken), default="")
    since = observation.waiting_since
    if since is None or (not due and now - since < LONG_OUT_OF_REACH):
        return
    # Once more where people come soon: that it was out of reach at night is no word about the morning.
    when = f"{sleep or (edge.at.isoformat() if edge else since.date())}{' due' * due}"
    key = f"out of reach {when}" if sleep != FOR_EVER else f"out of reach {since.date()}{' due' * due}"
    subject = f"Slicewise: {observation.cluster_name} cannot be read"
    yield Notify(subject, str(finding), "it is to be read now", key)


def _ahead(observation: Observation) -> timedelta:
    return wake_stages.ahead(observation.slept, observation.lead) + observation.share


def _has_begun_to_wake(observation: Observation, edge: Edge) -> bool:
    """Also where the lead is now a shorter one, since the nodes of this very morning started quicker."""
    return any(snapshot.woken == edge.at.isoformat() for snapshot in observation.snapshots)


# Asleep


def _asleep(
    observation: Observation, found: Found, policy: OffHours, why: str, edge: Edge | None, now: datetime
) -> Plan:
    window = Window(edge.at.isoformat() if edge else FOR_EVER, now)
    pods = sleep_findings.in_scope(found, policy)
    made = following.workloads(pods, found.owners, found.unread, found.kinds)
    made = jobs.for_the_night(_marked_by_scalers(made, found), found, policy)
    staying = node_limits.stayers(made, policy, refused.staying(observation, found))
    pools = found.node_pools if policy.jobs is not Jobs.RUN else ()
    nodes = {ref_of(pool): node_limits.nodes_of(pool, staying, found) for pool in pools}
    awake = {work.ref for work in staying}
    steps, awaited = _steps_to_sleep(observation, found, made, nodes, awake, policy, window, why)
    actions, left = _first_of(steps, observation.failing)
    live = {**found.objects, **{work.ref: work.top for work in made}}
    refusable = refused.left(actions, _part, live, edge.at if edge else now + refused.A_DAY)
    actions = (
        *gpu_fallback.closed(observation, found, why),
        *_mark(found.node_pools, window.id),
        *actions,
        *_bare_pods(made, policy, why),
    )
    outliving = tuple(not_running.outliving(found, made, observation.slept, now))
    findings = (
        *_findings(steps),
        *outliving,
        *_findings_of_a_night(observation, found, made, policy, edge, node_limits.findings(nodes, staying)),
    )
    # What failed before has a time of its own (planning/retries.py): alone, it asks for no reconcile each few
    # seconds.
    tries = any(_part(one) not in observation.failing for one in actions)
    if pending := _pending(left, awaited, tries, _draining(observation, made, found, now)):
        stage, (message, wait) = Stage.GOING_TO_SLEEP, pending
    else:
        stage = Stage.GOING_TO_SLEEP if outliving else Stage.ASLEEP
        message = _nodes_left(found, len(outliving))
        wait = _until(edge, _ahead(observation), now) or ASLEEP_POLL
    planned = _planned(stage, "; ".join(filter(None, (why, message))), findings, actions, wait)
    return replace(planned, details=(savings.counted(observation.known, found.nodes, now),), left=refusable)


def _findings_of_a_night(
    observation: Observation,
    found: Found,
    made: Sequence[Workload],
    policy: OffHours,
    edge: Edge | None,
    awake: Iterable[Finding],
) -> Iterator[Finding]:
    yield from sleep_findings.kept_awake(made, found, policy)
    yield from jobs.open_queues(found, policy)
    yield from awake
    yield from sleep_findings.holding_nodes(found, policy)
    until = _clock(edge, observation) if edge else "a person wakes it"
    yield from queues.findings(found.queues, observation.slept, until)


def _pending(left: int, awaited: bool, tries: bool, drained: str) -> tuple[str, timedelta] | None:
    """
    What has to happen before all sleep, in words, and when to requeue; None where nothing has.

    Args:
        left: Objects for a later batch.
        awaited: Workloads run until Kueue's queues are held.
        tries: There are actions beside those that failed before.
        drained: Which pods end, in words.
    """
    if left:
        return f"{left} objects are left", NEXT_BATCH
    if awaited:
        return "workloads run until Kueue's queues are held", DRAINING if tries else OVERDUE_POLL
    return (drained, DRAINING) if drained or tries else None


def _nodes_left(found: Found, outliving: int) -> str:
    nodes = f"{len(found.nodes)} GPU nodes run" if found.nodes else "no GPU node runs"
    return f"{nodes}; {outliving} objects were put to sleep and still have pods" if outliving else nodes


def _steps_to_sleep(
    observation: Observation,
    found: Found,
    made: Sequence[Workload],
    nodes: Mapping[Ref, int],
    awake: Collection[Ref],
    policy: OffHours,
    window: Window,
    why: str,
) -> tuple[list[Step], bool]:
    """
    What would cost data is left, unless this very plan retains its volumes before it is scaled.

    Args:
        awake: Workloads that run on.

    Returns:
        And whether workloads wait until a later reconcile finds that all queues are held: Kueue takes its
        time, and what fails to be held would start as soon as quota is free.
    """
    losing = _losing(made, found)
    retained: set[Ref] = set()
    is_early = _is_early(observation, window)
    awaited = policy.jobs is not Jobs.RUN and queues.are_unread(found.unread)
    changed: dict[Ref, Object] = {}
    released = _to_release(observation, found, policy.jobs is Jobs.RUN)
    steps = _steps_back(observation, released, found, why, window.now, "")
    for subject in _order_of_sleep(observation, found, made, nodes, awake):
        if subject.snapshot in released or subject.live is None:
            continue
        ref = ref_of(subject.live)
        live, work = changed.get(ref, subject.live), losing.get(ref)
        if subject.setting is RETAIN and not subject.snapshot and policy.volumes is not Volumes.RETAIN:
            continue
        if is_early and awaited and subject.setting.ends_pods and not subject.is_done:
            continue
        step = _step_to_sleep(subject, live, window, why)
        changed[ref] = _after(step, live)
        holds = subject.setting in (HELD, NOT_ACTIVE)
        awaited |= holds and any(isinstance(one, Patch) for one in step.actions)
        if subject.setting is RETAIN and _is_asleep(RETAIN, changed[ref]):
            retained.add(ref)
        elif work and step.actions and subject.setting.ends_pods:
            if not retained.issuperset(work.losing):
                step = Step(findings=(sleep_findings.volumes(work),), settled=False)
            # KEDA scales its target: it must not, where the target could not be set to retain.
            step = replace(step, actions=tuple(in_part(one, str(work.ref)) for one in step.actions))
        steps.append(step)
    return steps, is_early and awaited


def _losing(made: Iterable[Workload], found: Found) -> dict[Ref, Workload]:
    """What loses volumes, by its name and by that of the object of KEDA's that scales it."""
    losing = {work.ref: work for work in made if work.losing}
    by_keda = found.scaled_by_keda
    return losing | {by_keda[ref]: work for ref, work in losing.items() if ref in by_keda}


def _to_release(observation: Observation, found: Found, runs: bool) -> list[Snapshot]:
    """`runs`: the policy lets queued jobs use the night."""
    return [
        snapshot
        for snapshot in observation.slept
        if (runs and _keeps_jobs_waiting(snapshot)) or _holds_back_what_is_left(snapshot, observation, found)
    ]


def _keeps_jobs_waiting(snapshot: Snapshot) -> bool:
    """What a night before the policy said `jobs: run`, or this one, keeps from starting."""
    return snapshot.ref[:2] in queues.HOLDS or snapshot.field == NO_NODES.field


def _holds_back_what_is_left(snapshot: Snapshot, observation: Observation, found: Found) -> bool:
    """An autoscaler whose target was refused its sleep, after it was held for that."""
    live = found.objects.get(snapshot.ref)
    is_held = snapshot.field == NO_SCALE_UP.field and live is not None and not snapshot.woken
    return is_held and str(following.scaled_by(live or {})) in observation.left


def _is_early(observation: Observation, window: Window) -> bool:
    """Whether queues may still be pending. The NodePools, which sleep first, say since when that is so."""
    began = min(
        (snapshot.taken_at for snapshot in observation.slept if snapshot.window == window.id),
        default=window.now,
    )
    return window.now - began < QUEUES_AWAITED


def _after(step: Step, live: Object) -> Object:
    """What a step leaves of its object: the next one, of another field, must expect just that."""
    for action in step.actions:
        if isinstance(action, Patch):
            live = json_patch.after(live, action.operations)
    return live


def _step_to_sleep(subject: _Subject, live: Object, window: Window, why: str) -> Step:
    snapshot, setting = subject.snapshot, subject.setting
    if snapshot and not snapshot.woken and snapshot.ours != setting.asleep:
        if changed := write_otherwise(setting, live, snapshot, why, window.now):
            return changed
        setting = replace(setting, asleep=snapshot.ours)
    return put_to_sleep(
        setting, live, snapshot, window, why, subject.priority, subject.slices, subject.resume_at
    )


def _order_of_sleep(
    observation: Observation,
    found: Found,
    made: Iterable[Workload],
    nodes: Mapping[Ref, int],
    awake: Collection[Ref],
) -> list[_Subject]:
    """
    NodePools first, so that nothing starts any more; then what makes work; then workloads, least important
    first. What has a snapshot is planned again whether it still runs pods or not.

    Args:
        awake: Workloads that run on.
    """
    by_field = {(snapshot.ref, snapshot.field): snapshot for snapshot in observation.slept}
    importance = {
        work.ref: work for work in made if work.behaviour is NightBehaviour.SLEEPS and not work.keeps_awake
    }
    switches, deactivated = jobs.switches(found), jobs.to_be_deactivated(made, found)
    fields = _Fields(observation, found, by_field)
    live = {
        ref: item
        for ref, item in _changeable(found, fields, importance, switches, awake).items()
        if queues.may_be_written(item)
    } | deactivated
    importance |= {switches[ref]: work for ref, work in importance.items() if ref in switches}
    importance |= {
        ref: importance[target]
        for ref, item in live.items()
        if ref[:2] == AUTOSCALER and (target := following.scaled_by(item)) in importance
    }
    subjects = [
        _Subject(
            item,
            _fitted(setting, ref, nodes, deactivated, by_field.get((ref, setting.field)), item),
            by_field.get((ref, setting.field)),
            importance[ref].priority if ref in importance else 0,
            importance[ref].slices if ref in importance else 0,
            _count(importance[ref]) if ref in importance else "",
        )
        for ref, item in live.items()
        for setting in found.kinds.settings_of_object(item, (ref, REPLICAS.field) in by_field)
        if fields.may_change(ref, setting)
    ]
    return sorted(subjects, key=lambda one: (*_rank(one), one.priority, ref_of(one.live or {})))


class _Fields:
    """Which fields of which objects are changed for the night."""

    def __init__(self, observation: Observation, found: Found, by_field: Mapping[tuple[Ref, str], Snapshot]):
        self.by_field = by_field
        self._by_keda = found.scaled_by_keda
        self.jobs_run = observation.off_hours is not None and observation.off_hours.jobs is Jobs.RUN
        self._being_closed = gpu_fallback.are_open(observation, found)
        # Whom KEDA scales is not known then: it would fight who scales its target.
        self._scalers_unread = found.why_unread(following.SCALED_OBJECT)
        self._by_former = marks.by_former(observation.slept, found.kinds)

    def may_change(self, ref: Ref, setting: Setting) -> bool:
        if ref in self._by_former or (setting.scaled and self._scalers_unread):
            return False
        has_snapshot = (ref, setting.field) in self.by_field
        if setting is NO_NODES:
            return ref not in self._being_closed and (has_snapshot or not self.jobs_run)
        return setting is not REPLICAS or has_snapshot or ref not in self._by_keda


def _changeable(
    found: Found,
    fields: _Fields,
    importance: Mapping[Ref, Workload],
    switches: Collection[Ref],
    awake: Collection[Ref],
) -> dict[Ref, Object]:
    """NodePools, what makes work, workloads and queues, by name."""
    has_snapshot = {ref for ref, _ in fields.by_field}
    live = {ref_of(pool): pool for pool in found.node_pools} | {
        ref: item
        for ref, item in found.objects.items()
        if ref in has_snapshot or _makes_work(item, importance, found.scaled_by_keda, awake)
    }
    live |= {ref: work.top for ref, work in importance.items() if ref not in switches or work.losing}
    return live | {ref_of(item): item for item in queues.to_be_held(found.queues) if not fields.jobs_run}


def _count(work: Workload) -> str:
    """At how many replicas a workload runs, as KEDA's annotation has it; empty for none."""
    return str(REPLICAS.value(work.top) or "")


def _fitted(
    setting: Setting,
    ref: Ref,
    nodes: Mapping[Ref, int],
    deactivated: Collection[Ref],
    snapshot: Snapshot | None,
    live: Object,
) -> Setting:
    """As it is written to this very object."""
    if setting is NOT_ACTIVE and (ref in deactivated or (snapshot and ran(snapshot))):
        return DEACTIVATED
    return _limited(setting, nodes.get(ref, 0), snapshot, live)


def _limited(setting: Setting, nodes: int, snapshot: Snapshot | None, live: Object) -> Setting:
    """As many nodes as what stays awake needs, and never more than the NodePool may have by day."""
    if setting is not NO_NODES or not nodes:
        return setting
    own = snapshot.original if snapshot and not snapshot.woken else setting.value(live)
    most = quantities.whole(own) if own is not None else nodes
    return replace(setting, asleep=str(min(nodes, most)))


def _makes_work(
    item: Object, importance: Mapping[Ref, Workload], by_keda: Mapping[Ref, Ref], awake: Collection[Ref]
) -> bool:
    """
    Whether an object beside workloads makes pods of ours, or has KEDA or an autoscaler make them.

    Args:
        awake: Workloads that run on.
    """
    if following.marked(item) or following.scales(item):
        return False
    ref = ref_of(item)
    if ref[:2] == AUTOSCALER:
        return following.scaled_by(item) not in awake
    target = next((target for target, scaler in by_keda.items() if scaler == ref), None)
    return target in importance if target else True


def _marked_by_scalers(made: Iterable[Workload], found: Found) -> tuple[Workload, ...]:
    """Whose ScaledObject a person marked is not paused, so that it stays awake as well."""
    by_keda = found.scaled_by_keda
    marked = {target for target, scaler in by_keda.items() if following.marked(found.objects[scaler])}
    return tuple(replace(work, keeps_awake=work.keeps_awake or work.ref in marked) for work in made)


def _rank(subject: _Subject) -> tuple[int, ...]:
    if subject.live is None or subject.live["kind"] == "NodePool":
        return (0,)
    if subject.setting in _BEFORE_ANY_SLEEP:
        return (1, _BEFORE_ANY_SLEEP.index(subject.setting))
    return (3,) if subject.setting.scaled else (2,)


def _mark(node_pools: Iterable[Object], window: str | None) -> Iterator[Action]:
    """Tuning leaves a NodePool alone while it carries this."""
    path = ("metadata", "annotations", ASLEEP)
    for pool in node_pools:
        if window is not None and annotations_of(pool).get(ASLEEP) != window:
            operations = json_patch.set_value(pool, path, window)
            yield Patch(
                ref_of(pool), operations, f"mark {ref_of(pool)} as asleep", "no other writer changes it now"
            )
        elif window is None and ASLEEP in annotations_of(pool):
            operations = json_patch.remove(pool, path)
            yield Patch(ref_of(pool), operations, f"mark {ref_of(pool)} as awake", "it is as it was")


def _bare_pods(made: Iterable[Workload], policy: OffHours, why: str) -> Iterator[Action]:
    if policy.bare_pods is BarePods.DELETE:
        for work in made:
            if work.behaviour is NightBehaviour.BARE and not work.keeps_awake:
                yield Delete(work.ref, f"{why}; the policy has bare pods deleted")


def _draining(observation: Observation, made: Sequence[Workload], found: Found, now: datetime) -> str:
    """
    What still has to end; empty where all has. A controller takes seconds, or is down: what outlives its
    sleep is reported, and no longer reconciled each few seconds.
    """
    still = not_running.still_there(found, made, observation.slept)
    ending = {work.ref for work, sleeps in still if not not_running.is_outliving(work, sleeps, now)}
    going = [
        pod
        for work in made
        if work.behaviour is NightBehaviour.SLEEPS and not work.keeps_awake
        for pod in work.pods
        if being_deleted(pod) or work.ref in ending
    ]
    busy = {spec(pod).get("nodeName") for pod in found.pods if not following.goes_with_its_node(pod)}
    empty = [node for node in found.nodes if name(node) not in busy]
    if going:
        return f"{len(going)} pods are ending"
    return f"{len(empty)} empty GPU nodes are going" if empty else ""


# Awake


def _waking(observation: Observation, found: Found, edge: Edge, now: datetime) -> Plan:
    minutes = round(_ahead(observation).total_seconds() / 60)
    at, morning = _clock(edge, observation), edge.at.isoformat()
    why = f"waking {minutes} min early for {at}"
    batch = wake_stages.next_batch(observation.slept, found, edge.at, observation.lead, now)
    held = volumes.held(observation, found, _is_near_the_opening(observation, now))
    # What a CronJob missed starts in the second in which it may, before people's pods have nodes.
    crons = _suspended_crons(observation)
    may = _without(batch.snapshots, (*held, *crons))
    given = _give_back(observation, may, found, why, now, morning, more_to_come=bool(batch.waits))
    actions, findings, left = given.actions, given.findings, given.left
    if not _skips_missed_runs(observation):
        findings = (*findings, *sleep_findings.missed_runs(crons, found, f"at {at}"))
    # Who waits when waking has only begun is no news: of a short one, its second half counts.
    report_before = min(REPORT_BEFORE, observation.lead / 2)
    is_late = edge.at - now <= report_before
    pending = not_running.not_yet(found, observation.snapshots) if is_late else ()
    findings = (*findings, *not_running.findings(pending, at))
    wait = NEXT_BATCH if left else next_of_waking(edge, report_before, bool(pending), now)
    message = f"{why}; {left} objects are left" if left else why
    if blind := unread.message(observation, found, batch.snapshots):
        message, wait = f"{message}; {blind}", min(wait, OVERDUE_POLL)
    if batch.waits:
        message, wait = f"{message}; {batch.waits}", min(wait, STAGE_POLL)
    elif given.waits:
        message = f"{message}; {given.waits}"
    elif not left:
        unmarked = _unmarked(observation, found)
        actions, findings = (*actions, *unmarked.actions), (*findings, *unmarked.findings)
    opening = gpu_fallback.tended(observation, found, at, now)
    actions, findings = (*actions, *opening.actions), (*findings, *opening.findings)
    wait = min(wait, opening.wait or wait, given.wait or wait, OVERDUE_POLL if held else wait)
    known = tuple(_whole(one, found, now) for one in observation.known)
    if pending:
        subject, text = not_running.notice(pending, observation.cluster_name)
        actions = (*actions, Notify(subject, text, f"people come at {at}", key=f"pods wait {morning}"))
    return replace(_planned(Stage.WAKING, message, findings, actions, wait), details=known)


def next_of_waking(edge: Edge, report_before: timedelta, pending: bool, now: datetime) -> timedelta:
    """The schedule asks for a reconcile at the opening; the one after it finds nothing asleep any longer."""
    if now < edge.at - report_before:
        return edge.at - report_before - now
    return OVERDUE_POLL if pending else edge.at + SETTLED_POLL - now


def _unmarked(observation: Observation, found: Found) -> Step:
    """
    No NodePool is marked as asleep any longer; one without a snapshot loses its limit in the same patch.
    """
    reopened = _without_a_snapshot(observation, found)
    changed = {action.ref for action in reopened.actions if isinstance(action, Patch)}
    others = (pool for pool in found.node_pools if ref_of(pool) not in changed)
    return replace(reopened, actions=(*reopened.actions, *_mark(others, None)))


def _without_a_snapshot(observation: Observation, found: Found) -> Step:
    """
    A NodePool that we closed and that has no snapshot: the table was emptied, or its items were lost. With
    its limit no GPU node could ever start again.
    """
    slept, actions, findings = {one.ref for one in observation.snapshots}, [], []
    for pool in found.node_pools:
        ref = ref_of(pool)
        value, writers = NO_NODES.value(pool), NO_NODES.managers(pool)
        closed = value == NO_NODES.asleep
        # Also where it has as many nodes as what stays awake needs: ours while all of the sleep is there.
        # Once its consolidation was restored, the limit that we wrote last is its own, which may be 0, too.
        asleep = ASLEEP in annotations_of(pool) and _is_asleep(ONLY_EMPTY_NODES_GO, pool)
        ours = value is not None and asleep and writers == {MANAGER}
        if ref in slept or FALLBACK_LABEL in labels(pool) or not (closed or ours):
            continue
        if ours:
            # In one: without the mark it would not be known afterwards whose limit it is.
            mark = ("metadata", "annotations", ASLEEP)
            operations = (*json_patch.remove(pool, NO_NODES.path), *json_patch.remove(pool, mark))
            why = "there is no snapshot of what it was, and no node could start"
            actions.append(Patch(ref, operations, f"take the limit of nodes from {ref}", why))
        findings.append(sleep_findings.closed_without_reason(ref, writers, ours))
    return Step(tuple(actions), tuple(findings))


def _is_asleep(setting: Setting, live: Object) -> bool:
    return bool(setting.value(live) == setting.asleep)


def _whole(known: Mapping[str, Any], found: Found, now: datetime) -> Mapping[str, Any]:
    """A sleep's saving when the sleep has ended: what runs from then on is wanted."""
    if known.get("ended") or "began" not in known:
        return known
    whole = savings.counted((known,), found.nodes, now)
    return {**whole, "ended": now.isoformat(), "told": savings.message(whole)}


def _awake(observation: Observation, found: Found, why: str, edge: Edge | None, now: datetime) -> Plan:
    held = volumes.held(observation, found, _is_near_the_opening(observation, now))
    given = _give_back(observation, _without(observation.slept, held), found, why, now)
    actions, findings, left = given.actions, given.findings, given.left
    crons = _suspended_crons(observation)
    if _skips_missed_runs(observation):
        actions = (*_skipping(crons, found, actions, now), *actions)
    else:
        findings = (*findings, *sleep_findings.missed_runs(crons, found, "now"))
    known = tuple(_whole(one, found, now) for one in observation.known)
    if left:
        message = f"{why}; {left} objects are left"
        return replace(_planned(Stage.WAKING, message, findings, actions, NEXT_BATCH), details=known)
    if blind := unread.message(observation, found, observation.slept):
        message, actions = (
            f"{why}; {blind}",
            (*actions, *unread.notice(observation, found, observation.cluster_name)),
        )
        return replace(_planned(Stage.WAKING, message, findings, actions, OVERDUE_POLL), details=known)
    if given.queued:
        # The marks on NodePools go last: they say that something of ours is left.
        return replace(
            _planned(Stage.WAKING, f"{why}; {given.waits}", findings, actions, given.wait), details=known
        )
    unmarked = _unmarked(observation, found)
    opening = gpu_fallback.tended(observation, found, _until_then(edge, observation), now)
    actions = (*actions, *unmarked.actions, *opening.actions)
    findings = (*findings, *unmarked.findings, *opening.findings)
    waits = [_until(edge, timedelta(0), now), opening.wait, given.wait, OVERDUE_POLL if held else None]
    waits += [NEXT_BATCH] if marks.are_deleted_next(observation, actions) else []
    wait = min((wait for wait in waits if wait is not None), default=None)
    stage, message = (Stage.WAKING, f"{why}; {given.waits}") if given.waits else (Stage.AWAKE, why)
    return replace(_planned(stage, message, findings, actions, wait), details=known)


def _suspended_crons(observation: Observation) -> tuple[Snapshot, ...]:
    return tuple(one for one in observation.slept if one.ref.kind == "CronJob" and not one.woken)


def _skips_missed_runs(observation: Observation) -> bool:
    return observation.off_hours is not None and observation.off_hours.missed_runs is MissedRuns.SKIP


def _skipping(
    crons: Iterable[Snapshot], found: Found, actions: Sequence[Action], now: datetime
) -> Iterator[Action]:
    """
    A CronJob's controller makes up for the last time since status.lastScheduleTime, so that becomes the last
    moment before the opening: what is due at the opening or later is started. Before it is resumed, and a
    part of its own: a run too many costs less than a CronJob that stays suspended.
    """
    resumed = {one.ref for one in actions if isinstance(one, Patch) and _writes(one, SUSPEND)}
    for snapshot in crons:
        live = found.objects.get(snapshot.ref)
        if live is None or snapshot.ref not in resumed:
            continue
        at = min(now, snapshot.ends - timedelta(seconds=1)) if snapshot.ends else now
        last = moment(status(live).get("lastScheduleTime"))
        if last is None or last < at:
            text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            operations = json_patch.set_value(live, _LAST_SCHEDULED, text)
            message = f"have {snapshot.ref} start no run that it missed before {at:%H:%M:%S} UTC"
            part = f"missed runs of {snapshot.ref}"
            yield Patch(
                snapshot.ref, operations, message, "the policy skips them", part=part, subresource="status"
            )


def _writes(patch: Patch, setting: Setting) -> bool:
    path = json_patch.pointer(setting.path)
    return any(one["path"] == path and one["op"] != "test" for one in patch.operations)


def _give_back(
    observation: Observation,
    snapshots: Sequence[Snapshot],
    found: Found,
    why: str,
    now: datetime,
    morning: str = "",
    more_to_come: bool = False,
) -> _Morning:
    """
    What slept, then its queues, and in a later reconcile what waits in them: what comes back is the youngest
    there.

    Args:
        more_to_come: Whether other workloads are to be restored later.
    """
    if morning and queues.are_unread(found.unread):
        # Opened unseen, a queue would let in what waits; at the opening it is opened all the same.
        snapshots = [snapshot for snapshot in snapshots if not _is_of_a_queue(snapshot)]
    queued = tuple(snapshot for snapshot in snapshots if queues.is_queued(snapshot) and not snapshot.woken)
    steps = _steps_back(observation, _without(snapshots, queued), found, why, now, morning)
    ends_pods = partial(_ends_pods, kinds=found.kinds)
    comes_back = any(_writes_to(step, observation.failing, ends_pods) for step in steps)
    opens = any(_writes_to(step, observation.failing, _is_of_a_queue) for step in steps)
    held = _holding(observation, found, why, now) if comes_back or opens else []
    # What ran is the next to come back: as long as nothing else was held, it is to be seen held before.
    if _is_checked_first(observation, held, comes_back or (bool(queued) and all(map(ran, queued)))):
        steps = [step for step in steps if not _writes_to(step, (), _is_of_a_queue)]
    steps, number, waits = [*held, *steps], len(queued) + len(held), _waits(steps)
    if not (comes_back or opens or more_to_come or _lacks_quota(found, snapshots, now, bool(morning))):
        ran_before = [
            snapshot for snapshot in queued if ran(snapshot) and str(snapshot.ref) not in observation.failing
        ]
        batch = ran_before or queued
        steps = [*steps, *_steps_back(observation, batch, found, why, now, morning)]
        number = len(queued) - len(batch)
    if number and not waits:
        waits = f"{number} queued Workload{'s' * (number != 1)} wait until what slept has its quota again"
    actions, left = _first_of(steps, observation.failing)
    return _Morning(actions, _findings(steps), left, waits, number)


def _is_checked_first(observation: Observation, held: Iterable[Step], comes_back: bool) -> bool:
    """
    Whether a queue is left to a later reconcile, which finds that what waits is held: what fails to be would
    be let in. Where only newcomers are held, it is not, since those may come all morning.
    """
    begun = {
        str(snapshot.ref)
        for snapshot in observation.slept
        if queues.is_queued(snapshot) and not snapshot.done
    }
    parts = {_part(step.actions[0]) for step in held} - observation.failing
    return bool(parts) and (comes_back or not begun.isdisjoint(parts))


def _writes_to(step: Step, failing: Collection[str], is_wanted: Callable[[Snapshot], bool]) -> bool:
    """Whether it changes an object that has such a snapshot, and that does not fail each time."""
    noted = [one.snapshot for one in step.actions if isinstance(one, SaveSnapshot | DeleteSnapshot)]
    writes = any(isinstance(one, Patch | Scale) for one in step.actions)
    return writes and any(map(is_wanted, noted)) and _part(step.actions[0]) not in failing


def _lacks_quota(found: Found, snapshots: Iterable[Snapshot], now: datetime, is_early: bool) -> bool:
    """
    Whether something that slept has yet to get its quota, as far as its pods show; before people come, also
    where it could not be read.
    """
    made = following.workloads(found.pods, found.owners, found.unread, found.kinds)
    unseen = (snapshot for snapshot in snapshots if not snapshot.woken and _ends_pods(snapshot, found.kinds))
    blind = is_early and any(found.why_unread(snapshot.ref) for snapshot in unseen)
    return blind or queues.gated(made, None if is_early else now)


def _ends_pods(snapshot: Snapshot, kinds: Registry) -> bool:
    setting = kinds.setting_of(snapshot)
    return setting is not None and setting.ends_pods


def _is_of_a_queue(snapshot: Snapshot) -> bool:
    return snapshot.field == HELD.field


def _holding(observation: Observation, found: Found, why: str, now: datetime) -> list[Step]:
    """What waits in a queue is held before that is opened; once, for what was released again is not ours."""
    if observation.off_hours and observation.off_hours.jobs is Jobs.RUN:
        return []
    slept = {one.ref: one for one in observation.slept}
    asleep = {one.ref for one in observation.slept if not one.woken}
    opening = {ref for ref in asleep if ref[:2] == queues.CLUSTER_QUEUE}
    window = Window(max((one.window for one in observation.slept if not one.woken), default=FOR_EVER), now)
    steps = [
        put_to_sleep(NOT_ACTIVE, item, slept.get(ref_of(item)), window, why)
        for item in queues.competing(found.queues, opening)
        if ref_of(item) not in slept or not (slept[ref_of(item)].done or slept[ref_of(item)].woken)
    ]
    return [step for step in steps if step.actions]


def _steps_back(
    observation: Observation,
    snapshots: Iterable[Snapshot],
    found: Found,
    why: str,
    now: datetime,
    morning: str,
) -> list[Step]:
    """NodePools first, so that nodes may start; then the most important workloads first; then queues."""
    objects = {**found.objects, **{ref_of(pool): pool for pool in found.node_pools}}
    order = sorted(
        snapshots,
        key=lambda snapshot: (
            snapshot.ref.kind != "NodePool",
            snapshot.field == HELD.field,
            # An autoscaler that may act while its target is still at 0 would take its count for its own.
            snapshot.field in (RETAIN.field, NO_SCALE_UP.field),
            -snapshot.priority,
            snapshot.ref,
            snapshot.field,
        ),
    )
    steps = []
    for snapshot in order:
        if (setting := found.kinds.setting_of(snapshot)) and not found.why_unread(snapshot.ref):
            live = objects.get(snapshot.ref)
            wanted = morning or marks.morning_of_several(observation, found, snapshot, now)
            follows = live is None or _follows(setting, snapshot, live, found)
            step = give_back(setting, live, snapshot, why, wanted, follows)
            if live and setting is NO_SCALE_UP:
                # In one with its target: what fails there leaves it held.
                part = str(following.scaled_by(live))
                step = replace(step, actions=tuple(in_part(one, part) for one in step.actions))
            steps.append(step)
            if live:
                objects[snapshot.ref] = _after(step, live)
            if setting is RETAIN and step.actions and str(snapshot.ref) in observation.failing:
                steps.append(Step(findings=(sleep_findings.still_retains(snapshot),)))
    return steps


def _follows(setting: Setting, snapshot: Snapshot, live: Object, found: Found) -> bool:
    """
    Whether the controller of what is to resume has applied it, as its own objects show; or they are deleted.
    """
    if setting.resumed_at(snapshot) is None:
        return True
    if setting is not PAUSED_REPLICAS:
        return not is_suspended(live)
    target = following.scaled_by(live)
    if item := found.targets.get(target):
        return bool(REPLICAS.value(item))
    return not found.why_unread(target)


def _waits(steps: Iterable[Step]) -> str:
    waits = [step.waits for step in steps if step.waits]
    more = f", and {len(waits) - 1} more likewise" if len(waits) > 1 else ""
    return f"{waits[0]}{more}" if waits else ""


def _without(snapshots: Iterable[Snapshot], held: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    return tuple(snapshot for snapshot in snapshots if snapshot not in held)


# Together


def _first_of(steps: Iterable[Step], failing: Collection[str]) -> tuple[tuple[Action, ...], int]:
    """
    The actions of as many objects as one reconcile does, and how many are left. What failed before comes
    last, and is not left: else as many that a policy denies would keep all others from their turn.
    """
    busy = [step for step in steps if step.actions]
    calm = [step for step in busy if _part(step.actions[0]) not in failing]
    now = [*calm, *(step for step in busy if _part(step.actions[0]) in failing)][:MOST_OBJECTS]
    return tuple(action for step in now for action in step.actions), max(len(calm) - MOST_OBJECTS, 0)


def _findings(steps: Iterable[Step]) -> tuple[Finding, ...]:
    return tuple(finding for step in steps for finding in step.findings)


def _planned(
    stage: Stage,
    reason: str,
    findings: Iterable[Finding],
    actions: Iterable[Action],
    wait: timedelta | None,
) -> Plan:
    return Plan(Outcome(stage, reason, tuple(findings), wait), tuple(actions))


def _until(edge: Edge | None, lead: timedelta, now: datetime) -> timedelta | None:
    """
    Until an edge that comes soon; for others a schedule triggers a reconcile, the watch over openings, or the
    sweep.
    """
    wait = edge.at - lead - now if edge else ASLEEP_POLL
    return max(wait, timedelta(seconds=1)) if wait <= ASLEEP_POLL and edge else None


def _until_then(edge: Edge | None, observation: Observation) -> str:
    return _clock(edge, observation) if edge else "the next sleep"


def _clock(edge: Edge, observation: Observation) -> str:
    return f"{edge.at.astimezone(observation.zone):%a %d %b %H:%M %Z}"
