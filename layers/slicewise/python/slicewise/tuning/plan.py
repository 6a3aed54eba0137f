"""
What a reconcile of tuning does: check capacity, advance rollouts, decide on the other NodePools. Pure.

Each state that a reconcile can find a cluster in has its case. In one that a policy asks for, each NodePool
has a plan of its own (pool_rules.py), and these are put together here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from slicewise.model.cluster import ClusterContents
from slicewise.model.costs import CostDay
from slicewise.model.usage import Page
from slicewise.planning.actions import Action
from slicewise.planning.outcome import Finding, Outcome, Plan, Stage
from slicewise.planning.record import Record
from slicewise.policy.model import MetricsSource, Mode, fingerprint
from slicewise.tuning import adoption, alarms, cost_notice, publication
from slicewise.tuning.capacity_check import check_capacity
from slicewise.tuning.pool_measures import pool_measures
from slicewise.tuning.pool_rules import plan_pool
from slicewise.tuning.rollout import release as rollout_release
from slicewise.tuning.state.observation import (
    Complete,
    Deleted,
    NotReady,
    Observation,
    Observed,
    Offboarding,
    Paused,
    PolicyInvalid,
    Unmanaged,
    measured_by,
)
from slicewise.tuning.state.pool_plan import PoolPlan, Shared
from slicewise.tuning.state.pool_state import PoolState, pool_states
from slicewise.tuning.usage.pages import pages, written

T = TypeVar("T")

# Where nothing is being changed there is no hurry, but an hour without an answer would be long.
_UNREAD_WAIT = timedelta(minutes=15)
# What is released may have to wait for a device plugin, minutes at most.
_LET_GO_WAIT = timedelta(seconds=15)
_MOST_SAID = 5


def enforced(found: Observation) -> bool:
    """Whether the plan is carried out. Where no policy applies (any more) what it leaves behind is ours."""
    match found:
        case NotReady():
            return found.policy.mode is Mode.ACT
        case Observed():
            return found.policy.mode is Mode.ACT or _holds(found)
        case _:
            return True


def record_fields(found: Observation, before: Record | None, now: datetime) -> dict[str, object]:
    """What the record of this reconcile keeps of what it observed."""
    policy = found.policy if isinstance(found, Offboarding | NotReady | Observed) else None
    return {
        "policy": "" if isinstance(found, Deleted | Unmanaged) else found.policy_name or "",
        "fingerprint": fingerprint(policy) if policy else "",
        "observed_at": now if _is_observed(found) else before and before.observed_at,
    }


def _is_observed(found: Observation) -> bool:
    match found:
        case Observed():
            return found.whole
        case Offboarding() | PolicyInvalid() | Unmanaged():
            return found.contents is not None
        case Deleted() | Paused() | NotReady():
            return False


def plan(found: Observation, now: datetime) -> Plan:
    """Actions in the order in which they must happen, and one mapping of details a NodePool."""
    match found:
        case Deleted():
            deleted = Outcome(Stage.DELETED, "the cluster is deleted; the next sweep removes its state")
            return Plan(deleted, alarms.actions(None, None, found.alarms))
        case Paused():
            findings = tuple(_paused_halfway(known) for known in found.recorded if "rollout" in known)
            return Plan(Outcome(Stage.PAUSED, f"paused: {found.why}", findings), details=found.recorded)
        case Offboarding():
            # Few clusters are, and every cold start would pay for it.
            from slicewise.tuning import offboard

            return offboard.plan(found, now)
        case PolicyInvalid():
            return _refused(found, now)
        case Unmanaged(contents=ClusterContents() as left):
            return _unmanaged(left, alarms.actions(found.cluster, None, found.alarms), now)
        case Unmanaged():
            kept = alarms.actions(found.cluster, None, found.alarms)
            return Plan(Outcome(Stage.UNMANAGED, "no policy applies to this cluster"), kept)
        case NotReady():
            waiting = Outcome(Stage.WAITING, f"the cluster is {found.cluster.status}")
            return Plan(waiting, details=found.recorded)
        case Observed() if _holds(found):
            return _no_longer_in_force(found, now)
        case Observed():
            return _tune(found, now)


def _unmanaged(left: ClusterContents, kept: Sequence[Action], now: datetime) -> Plan:
    """Only a cluster in which nothing is held any longer is not read again."""
    why = "no policy applies to this cluster any longer"
    restored = adoption.restored(left, None)
    plans = (*rollout_release.released(left, (), why, now), *restored)
    of_n = publication.withdrawn(left, why)
    holds = bool(restored or of_n.requeue_after) or rollout_release.holds(left, ())
    stage, wait = (Stage.TUNING, _LET_GO_WAIT) if holds else (Stage.UNMANAGED, None)
    findings = (*(finding for one in plans for finding in one.findings), *of_n.findings)
    actions = (*kept, *(action for one in plans for action in one.steps), *of_n.actions)
    return Plan(Outcome(stage, "no policy applies to this cluster", findings, wait), actions)


def _holds(seen: Observed) -> bool:
    """What a reconcile in mode `act` left held is released in every mode."""
    return seen.policy.mode is not Mode.ACT and rollout_release.holds(seen.contents, ())


def _no_longer_in_force(seen: Observed, now: datetime) -> Plan:
    why = f"the policy's mode is now {seen.policy.mode}"
    actions = rollout_release.release_holds(seen.contents, (), why, now)
    message = f"releasing what the interrupted rollout held: {why}"
    return Plan(Outcome(Stage.TUNING, message, requeue_after=_LET_GO_WAIT), actions, seen.recorded)


def _paused_halfway(known: Mapping[str, Any]) -> Finding:
    return Finding(
        "n-half-changed",
        f"Paused during a rollout of N of NodePool {known.get('node_pool')}: {known['rollout']}.",
        "Until it resumes, consolidation stays held, and nodes may be cordoned: slicewise resume CLUSTER.",
    )


def _refused(found: PolicyInvalid, now: datetime) -> Plan:
    """Nothing is decided by a wrong policy; but what a rollout holds cannot wait until it is fixed."""
    why, left = "its policy is no longer valid", found.contents
    findings = tuple(
        Finding("policy", f"{problem.path}: {problem.value!r}.", f"{problem.remedy}.", blocking=True)
        for problem in found.error.problems
    )
    findings += rollout_release.halfway(left, (), why) if left else ()
    actions = rollout_release.release_holds(left, (), why, now) if left else ()
    wait = _LET_GO_WAIT if left and rollout_release.holds(left, ()) else None
    held = "what the interrupted rollout held is released" if actions else "nothing is touched"
    outcome = Outcome(Stage.FAILED, f"policy {found.policy_name!r} is not valid; {held}", findings, wait)
    return Plan(outcome, actions, found.recorded)


def _tune(seen: Observed, now: datetime) -> Plan:
    states = pool_states(seen.contents, seen.policy)
    ours = {state.name for state in states}
    of_pools, shared = _of_pools(states, seen, now)
    adopting = adoption.adopted(seen.contents, seen.policy, ours, now)
    plans = (*of_pools, *adopting, *_of_classes(states, seen, now), *_of_dropped(seen, ours, now))
    check = check_capacity(seen.contents, now, set(shared.changing))
    of_n = publication.published(seen.contents, states, seen.policy.publishes)
    costs, uncounted = _unless_it_fails(lambda: _costs(states, plans, seen))
    notices, unsent = _unless_it_fails(lambda: cost_notice.notices(seen, now))
    measures, unmeasured = _unless_it_fails(lambda: pool_measures(states, seen, now))
    of_plans = (finding for one in plans for finding in one.findings)
    findings = (*check.findings, *of_plans, *of_n.findings, *_unread(seen), *uncounted, *unsent, *unmeasured)
    outcome = Outcome(
        Stage.TUNING if shared.changing or any(one.requeue_after for one in adopting) else Stage.ONBOARDED,
        _reason(check.summary, plans),
        tuple(dict.fromkeys(findings)),
        min(_waits(plans, of_n, seen, now), default=None),
    )
    its_alarms = () if seen.alarms_error else alarms.actions(seen.cluster, seen.policy, seen.alarms)
    steps = (action for one in plans for action in one.steps)
    return Plan(
        outcome,
        (*its_alarms, *steps, *of_n.actions, *notices),
        tuple(one.detail for one in plans if one.detail),
        measured=_kept(seen),
        costs=costs,
        pools=measures,
    )


def _of_pools(
    states: Sequence[PoolState], seen: Observed, now: datetime
) -> tuple[tuple[PoolPlan, ...], Shared]:
    """One plan a NodePool, each knowing of those before it, and what all of them come to."""
    changing = {state.name: state.rollout for state in states if state.rollout}
    growing = frozenset(name for name, rollout in changing.items() if rollout.grows)
    plans, shared = list[PoolPlan](), Shared(frozenset(changing), growing)
    for state in states:
        plans.append(plan_pool(state, seen, shared, now))
        shared = shared.after(plans[-1])
    return tuple(plans), shared


def _of_classes(states: Sequence[PoolState], seen: Observed, now: datetime) -> Iterable[PoolPlan]:
    """Every cold start would pay for what decides on classes, and few policies have any."""
    if not (seen.policy.has_classes or seen.contents.workloads):
        return ()
    from slicewise.tuning.classes.plan import plan_classes

    return plan_classes(states, seen, now)


def _of_dropped(seen: Observed, ours: Collection[str], now: datetime) -> Iterable[PoolPlan]:
    """
    In NodePools that the policy no longer asks for, what a rollout holds is released, and what they had is
    restored.
    """
    why = "the policy no longer has it"
    return (
        *rollout_release.released(seen.contents, ours, why, now),
        *adoption.restored(seen.contents, seen.policy),
    )


def _unread(seen: Observed) -> Iterator[Finding]:
    if seen.metrics_error:
        remedy = "Until then N stays as it is."
        if seen.policy.metrics.source is MetricsSource.PROMETHEUS:
            # Where their VPC's DNS forwards to the cluster's, it does work.
            remedy += " Functions read it from outside the cluster, where a Service's name is not known."
        yield Finding("metrics-unreadable", f"Metrics: {seen.metrics_error}", remedy)
    if seen.alarms_error:
        message = f"Alarms of this cluster cannot be read: {seen.alarms_error.rstrip('.')}."
        remedy = "Until then nothing triggers tuning between the hourly sweeps, and idle GPUs count as used."
        yield Finding("alarms-unreadable", message, remedy)
    if seen.costs_error:
        message = f"What GPUs cost until now cannot be read: {seen.costs_error.rstrip('.')}."
        remedy = "No action needed where it is temporary: the next reconcile counts this time, too."
        yield Finding("costs-unreadable", message, remedy)


def _waits(
    plans: Iterable[PoolPlan], of_n: publication.Publication, seen: Observed, now: datetime
) -> Iterator[timedelta]:
    every: tuple[PoolPlan | publication.Publication, ...] = (*plans, of_n)
    for one in every:
        if one.requeue_after is not None:
            yield _not_before(one.requeue_after, one.actions, seen, now)
    if seen.metrics_error or seen.alarms_error:
        yield _UNREAD_WAIT


def _not_before(wait: timedelta, actions: Sequence[Action], seen: Observed, now: datetime) -> timedelta:
    """What is refused is not reconciled each few seconds, but when it is tried again."""
    tries = {one.action: one.at - now for one in seen.failed}
    again = [tries[str(action)] for action in actions if str(action) in tries]
    return max(wait, *again) if again else wait


def _kept(seen: Observed) -> tuple[Page, ...]:
    if seen.measured is None or not isinstance(seen.measurement, Complete):
        return ()
    before = written(seen.measurement.history)
    return tuple(pages(seen.measured.saved, before, measured_by(seen.policy)))


def _unless_it_fails(find: Callable[[], Iterable[T]]) -> tuple[tuple[T, ...], tuple[Finding, ...]]:
    """Costs and metrics are for people: whatever is wrong with them, N is decided as without them."""
    try:
        return tuple(find()), ()
    except Exception as error:
        message = f"What GPUs cost or do could not be counted: {type(error).__name__}: {error}."
        remedy = "Nothing else depends on it. Report this as a bug of Slicewise; if it is new, roll back."
        return (), (Finding("costs-not-counted", message, remedy),)


def _costs(states: Sequence[PoolState], plans: Sequence[PoolPlan], seen: Observed) -> tuple[CostDay, ...]:
    """Only a reconcile of the whole counts, and every cold start would pay for what does."""
    if seen.costs is None:
        return ()
    from slicewise.tuning.costs import cost_days

    return tuple(cost_days(seen, states, plans))


def _reason(summary: str, plans: Iterable[PoolPlan]) -> str:
    messages = [one.message for one in sorted(plans, key=lambda one: not one.changing) if one.message]
    more = [f"and {len(messages) - _MOST_SAID} more NodePools"] if len(messages) > _MOST_SAID else []
    return "; ".join((summary, *messages[:_MOST_SAID], *more))
