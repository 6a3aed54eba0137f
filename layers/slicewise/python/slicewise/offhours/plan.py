"""
What a reconcile of off-hours does: put to sleep, leave asleep, wake, leave awake. Pure.

The calendar and the clock say which; what is there and the snapshots say what is left to do. Nothing else is
recorded between reconciles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from slicewise.kube.objects import being_deleted, name, spec
from slicewise.kube.ref import ref_of
from slicewise.model.capabilities import OFF_HOURS
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import marks, node_pools, queues, unread
from slicewise.offhours import targets as following
from slicewise.offhours.kinds import NightBehaviour
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.opening import noted, opening_of
from slicewise.offhours.parts import abreast, part
from slicewise.offhours.report import findings as sleep_findings
from slicewise.offhours.report import not_running, savings
from slicewise.offhours.sleep_steps import bare_pods, marked_by_scalers, steps_to_sleep
from slicewise.offhours.stay_awake import jobs, node_limits, refused
from slicewise.offhours.targets import Workload
from slicewise.offhours.transitions import FOR_EVER, RECOVERY, Step, Window
from slicewise.offhours.wake import gpu_fallback, missed_runs, volumes
from slicewise.offhours.wake import stages as wake_stages
from slicewise.offhours.wake_steps import Morning, restore
from slicewise.planning.actions import (
    Action,
    DeleteSchedule,
    Notify,
    PutSchedule,
    in_part,
)
from slicewise.planning.outcome import Finding, Outcome, Plan, Stage
from slicewise.planning.record import Record
from slicewise.policy.off_hours import Jobs, OffHours
from slicewise.schedule.calendar import Edge

# Each takes three calls, of some ten milliseconds each, and eight are done at once: all take seconds, and
# less than a minute where calls are ten times as slow. More reconciles would list the whole cluster as often.
MOST_OBJECTS = 1_000
NEXT_BATCH = timedelta(seconds=1)
DRAINING = timedelta(seconds=15)
ASLEEP_POLL = timedelta(minutes=15)
OVERDUE_POLL = timedelta(minutes=1)
STAGE_POLL = timedelta(seconds=15)
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
        found = replace(found, actions=marks.marked(observation, observation.found, found.actions, part))
    findings = (*observation.findings, *_unreadable(observation, now), *found.outcome.findings)
    outcome = replace(found.outcome, findings=tuple(dict.fromkeys(findings)))
    opening = opening_of(observation, found.actions, _begin_of_waking(observation, now), now)
    actions = (
        *_schedule(observation, now),
        *noted(observation, opening),
        *_report_recovered(observation),
        *found.actions,
    )
    actions = tuple(in_part(one, part(one)) for one in actions)
    if outcome.stage in (Stage.WAKING, Stage.AWAKE) and _is_near_the_opening(observation, now):
        found = replace(found, longest_retry=RETRY_NEAR_THE_OPENING)
    return replace(found, outcome=outcome, actions=actions, abreast=abreast(actions))


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
    made = jobs.for_the_night(marked_by_scalers(made, found), found, policy)
    staying = node_limits.stayers(made, policy, refused.staying(observation, found))
    pools = found.node_pools if policy.jobs is not Jobs.RUN else ()
    nodes = {ref_of(pool): node_limits.nodes_of(pool, staying, found) for pool in pools}
    awake = {work.ref for work in staying}
    steps, awaited = steps_to_sleep(observation, found, made, nodes, awake, policy, window, why)
    actions, left = _first_of(steps, observation.failing)
    live = {**found.objects, **{work.ref: work.top for work in made}}
    refusable = refused.left(actions, part, live, edge.at if edge else now + refused.A_DAY)
    actions = (
        *gpu_fallback.closed(observation, found, why),
        *node_pools.mark(found.node_pools, window.id),
        *actions,
        *bare_pods(made, policy, why),
    )
    outliving = tuple(not_running.outliving(found, made, observation.slept, now))
    findings = (
        *_findings(steps),
        *outliving,
        *_findings_of_a_night(observation, found, made, policy, edge, node_limits.findings(nodes, staying)),
    )
    # What failed before has a time of its own (planning/retries.py): alone, it asks for no reconcile each few
    # seconds.
    tries = any(part(one) not in observation.failing for one in actions)
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
    crons = missed_runs.suspended(observation)
    may = _without(batch.snapshots, (*held, *crons))
    given = restore(observation, may, found, why, now, morning, more_to_come=bool(batch.waits))
    actions, left = _first_of(given.steps, observation.failing)
    findings = _findings(given.steps)
    if not missed_runs.are_skipped(observation):
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
        unmarked = node_pools.unmark(observation, found)
        actions, findings = (*actions, *unmarked.actions), (*findings, *unmarked.findings)
    opening = gpu_fallback.tended(observation, found, at, now)
    actions, findings = (*actions, *opening.actions), (*findings, *opening.findings)
    wait = min(wait, opening.wait or wait, _wait(given) or wait, OVERDUE_POLL if held else wait)
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


def _whole(known: Mapping[str, Any], found: Found, now: datetime) -> Mapping[str, Any]:
    """A sleep's saving when the sleep has ended: what runs from then on is wanted."""
    if known.get("ended") or "began" not in known:
        return known
    whole = savings.counted((known,), found.nodes, now)
    return {**whole, "ended": now.isoformat(), "told": savings.message(whole)}


def _awake(observation: Observation, found: Found, why: str, edge: Edge | None, now: datetime) -> Plan:
    held = volumes.held(observation, found, _is_near_the_opening(observation, now))
    given = restore(observation, _without(observation.slept, held), found, why, now)
    actions, left = _first_of(given.steps, observation.failing)
    findings = _findings(given.steps)
    crons = missed_runs.suspended(observation)
    if missed_runs.are_skipped(observation):
        actions = (*missed_runs.skipping(crons, found, actions, now), *actions)
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
            _planned(Stage.WAKING, f"{why}; {given.waits}", findings, actions, _wait(given)), details=known
        )
    unmarked = node_pools.unmark(observation, found)
    opening = gpu_fallback.tended(observation, found, _until_then(edge, observation), now)
    actions = (*actions, *unmarked.actions, *opening.actions)
    findings = (*findings, *unmarked.findings, *opening.findings)
    waits = [_until(edge, timedelta(0), now), opening.wait, _wait(given), OVERDUE_POLL if held else None]
    waits += [NEXT_BATCH] if marks.are_deleted_next(observation, actions) else []
    wait = min((wait for wait in waits if wait is not None), default=None)
    stage, message = (Stage.WAKING, f"{why}; {given.waits}") if given.waits else (Stage.AWAKE, why)
    return replace(_planned(stage, message, findings, actions, wait), details=known)


def _wait(given: Morning) -> timedelta | None:
    """Until the next step: a controller takes seconds, and one that is down takes its time."""
    if not given.waits:
        return None
    return STAGE_POLL if any(step.actions for step in given.steps) else OVERDUE_POLL


def _without(snapshots: Iterable[Snapshot], held: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    return tuple(snapshot for snapshot in snapshots if snapshot not in held)


# Together


def _first_of(steps: Iterable[Step], failing: Collection[str]) -> tuple[tuple[Action, ...], int]:
    """
    The actions of as many objects as one reconcile does, and how many are left. What failed before comes
    last, and is not left: else as many that a policy denies would keep all others from their turn.
    """
    busy = [step for step in steps if step.actions]
    calm = [step for step in busy if part(step.actions[0]) not in failing]
    now = [*calm, *(step for step in busy if part(step.actions[0]) in failing)][:MOST_OBJECTS]
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
