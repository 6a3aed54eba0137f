"""
The one loop: lease, observe, plan, apply, record, requeue.

Killed after any single call, the next reconcile goes on from what is there. What is done with each error:

* LeaseHeld     another reconcile works on this cluster: the trigger is sent again for later, unless another
                one is queued already; nothing is recorded. The delay grows each time: a lease that is never
                free, or a record that can never be saved, costs a few reconciles an hour
* an error of one part of the plan, such as one object: recorded with the answer's words, and retried in 5 s,
                10 s, ... up to 15 min (planning/retries.py); the other parts go on, and the operators are
                notified of what fails five times
* Conflict      without a part: something changed since it was read: recorded, and requeued in 2 s, 4 s, ...;
                the eighth in a row is raised like the rest
* PolicySkew    the policy is of another release: recorded, and requeued in a minute, for an hour at most
* all others    recorded in one place, and raised: the queue delivers the message again, and at last moves it
                to the dead-letter queue, which has an alarm. So is a refused call: rights that were just
                granted take a while, and a lasting refusal must be noticed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Generic, TypeVar

from slicewise.errors import Conflict, LeaseHeld, PolicySkew, SlicewiseError, Unavailable
from slicewise.model import sweeps
from slicewise.model.cluster import EksCluster
from slicewise.model.measures import Measure, PoolMeasures
from slicewise.planning import policy_skew, retries
from slicewise.planning.actions import Action, DeleteState, Notify
from slicewise.planning.measures import measures
from slicewise.planning.outcome import Finding, Outcome, Plan, Stage
from slicewise.planning.record import UNKNOWN_TIME, Record
from slicewise.planning.retries import Retry
from slicewise.ports import Lease, Ports
from slicewise.reconcile import lanes
from slicewise.reconcile.executor import ONE_WRITE, ActionExecutor, Attempt, time_for
from slicewise.sizes import cut, first_that_fit
from slicewise.trigger import Trigger, name_of

# Clocks of machines differ.
_LEASE_MARGIN = timedelta(seconds=10)
# What a renewal gives beyond the action that it is for, so that those after it need none of their own. By
# that much others wait longer for the lease of a reconcile that was killed.
_LEASE_SPARE = timedelta(seconds=30)
# Spread out: the triggers that wait for one lease would else come back together, and only one of them find it
# free.
_BUSY_LEAST, _BUSY_SPREAD = timedelta(seconds=5), timedelta(seconds=15)
# For a quarter of an hour: no lease lasts longer. Then each wait is twice as long as the one before, up to
# what SQS can delay.
_QUICK_TRIES = 75
# Queue and function deliver a message within seconds of its time. One that comes later than this was lost, or
# finds that another waits in its place.
_LATE_MESSAGE = timedelta(minutes=1)
# A reconcile that has lost its lease has worked for nothing: the wait doubles each time, and then it is the
# sweep's.
_MOST_LOST = 8
_FIRST_CONFLICT = timedelta(seconds=2)
# Some pages of what was measured, or a day of what GPUs cost.
_TO_KEEP = timedelta(seconds=60)
_USAGE_LOST = Finding(
    "usage-not-kept", "What was measured could not be saved", "No action is needed where it is temporary."
)
_COSTS_LOST = Finding(
    "costs-not-kept",
    "What GPUs cost could not be saved",
    "No action needed where it is temporary: the next reconcile counts this time, too.",
)
_FIRST_RETRY = timedelta(seconds=5)
# Where more failed than a record holds, those left out would be tried each few seconds, as if they had never
# failed.
_CROWDED_RETRY = timedelta(minutes=1)
_MOST_CONFLICTS = 7
# A record is one DynamoDB item, 400 KB at most: a thousand nodes with a finding each would not fit. These, in
# bytes, leave 50 KB for its other fields and for what DynamoDB adds to each value.
_MOST_REPORTED = 100
# Details have items of their own. Some 4,000 workloads that change class; each KB is a write, 1,000 a second.
_MOST_DETAIL_BYTES = 2_000_000
_LONGEST_TEXT = 800
# Beside those that the plan still asks for: of a paused cluster, say, which asks for none.
_MOST_NOTIFIED = 100
_MOST_FINDING_BYTES = 110_000
_MOST_CHANGE_BYTES = 70_000
# What is lost of these is tried again at once.
_MOST_RETRY_BYTES = 100_000
# Of so many in their own words; the findings have them as well.
_MOST_QUOTED = 20
# Names of a finding's fields, and DynamoDB's own bytes for each.
_OF_A_FINDING = 40
_LONGEST_WAIT = timedelta(seconds=900)
# A message that comes on time may still come a moment before its time by another machine's clock.
_CLOCK_ERROR = timedelta(seconds=1)

W = TypeVar("W")


@dataclass(frozen=True)
class Capability(Generic[W]):
    """
    What makes the loop one of onboarding, tuning or off-hours. W is its observation.

    Attributes:
        name: Also of its queue.
        observe: Reads the cluster; the Record is the one of the previous reconcile.
        cluster: The EKS cluster of an observation, None where it is deleted.
        enforced: Whether the policy lets us act, not only report what we would do.
        record_fields: Fields of Record that only this capability knows: policy, fingerprint,
            cluster_fingerprint, observed_at.
        in_progress_stage: By each stage that is only reached once every action is done, the stage until then.
        timeout: Of the function that runs it: so long may observing take, and no reconcile outlives it.
    """

    name: str
    observe: Callable[[Trigger, Record | None, datetime], W]
    plan: Callable[[W, datetime], Plan]
    cluster: Callable[[W], EksCluster | None]
    enforced: Callable[[W], bool]
    record_fields: Callable[[W, Record | None, datetime], dict[str, object]]
    in_progress_stage: Mapping[Stage, Stage] = field(
        default_factory=lambda: dict.fromkeys((Stage.ONBOARDED, Stage.VERIFYING), Stage.INSTALLING)
    )
    timeout: timedelta = timedelta(minutes=5)


@dataclass(frozen=True)
class Delivery:
    """
    One delivery of a message by the queue.

    Attributes:
        number: From 1; the last is `most`.
        retry: After how long the queue tries again, while there is another.
    """

    number: int
    most: int
    retry: timedelta

    @property
    def is_last(self) -> bool:
        return self.number >= self.most


GIVEN_UP = "given-up"


@dataclass(frozen=True)
class Report:
    """
    One reconcile in the words of its `decided` log line.

    Attributes:
        stage: The record's; or "busy", or GIVEN_UP, where none could be saved.
        measures: For metrics; none where nothing was recorded.
    """

    cluster: str
    capability: str
    stage: str
    reason: str
    changed: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    requeue_at: datetime | None = None
    measures: tuple[Measure, ...] = ()

    def line(self) -> dict[str, object]:
        fields: dict[str, object] = {
            "cluster": self.cluster,
            "capability": self.capability,
            "stage": str(self.stage),
            "reason": self.reason,
            "changed": list(self.changed),
        }
        if self.findings:
            fields["findings"] = [finding.code for finding in self.findings]
        if self.requeue_at:
            fields["next_look"] = self.requeue_at.isoformat()
        return fields


@dataclass
class _Progress:
    """How far a reconcile has come: what has to be recorded where it fails, at any point."""

    lease: Lease
    deadline: datetime
    delivery: Delivery | None = None
    before: Record | None = None
    has_read: bool = False
    record_fields: dict[str, object] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    details: tuple[Mapping[str, Any], ...] = ()
    pools: tuple[PoolMeasures, ...] = ()
    notified: tuple[str, ...] = ()
    retries: tuple[Retry, ...] = ()
    renewing: Lock = field(default_factory=Lock)


class Reconciler(Generic[W]):
    """
    Args:
        clock: Aware UTC now.
        holder: Names this process in the lease, for people.
        jitter: A number from 0 to 1, each time another, that spreads triggers that found the lease taken.
        threads: So many parts of a plan are done side by side, of those that it lets.
    """

    def __init__(
        self,
        capability: Capability[W],
        ports: Ports,
        clock: Callable[[], datetime],
        holder: str = "slicewise",
        jitter: Callable[[], float] = random.random,
        threads: int = 1,
    ):
        self._capability, self._ports, self._clock, self._holder = capability, ports, clock, holder
        self._jitter, self._threads = jitter, threads

    def run(self, trigger: Trigger, delivery: Delivery | None = None) -> Report:
        """
        The lease is taken for as long as the function may run, so that no other reconcile takes it while this
        one observes, however long. Before each action it must last for as long as that may take, and is
        renewed where it does not, for half a minute more: after a reconcile that is killed in between the
        next one starts soon, and after one that is killed while it observes, once its function would have
        ended.
        """
        store, name = self._ports.store, self._capability.name
        length = self._capability.timeout + _LEASE_MARGIN
        try:
            lease = store.acquire(trigger.cluster, self._holder, self._clock(), length, name)
        except LeaseHeld as busy:
            return self._later(trigger, str(busy), self._spread(trigger.tries - _QUICK_TRIES))
        progress = _Progress(lease, lease.until, delivery)
        try:
            return self._reconcile_in_one_release(trigger, progress)
        except LeaseHeld as lost:
            if trigger.tries >= _MOST_LOST:
                why = f"{lost}; abandoned after {trigger.tries} tries, the hourly sweep asks again"
                return Report(trigger.cluster, name, GIVEN_UP, why)
            return self._later(trigger, str(lost), self._spread(trigger.tries))
        except Exception as error:
            self._record_failure(trigger, progress, error)
            raise
        finally:
            self._release(progress.lease)

    def dry_run(self, trigger: Trigger) -> tuple[W, Plan]:
        """What the next reconcile would see and do. Takes no lease and writes nothing."""
        now, before = self._clock(), self._ports.store.record(trigger.cluster, self._capability.name)
        observation = self._capability.observe(trigger, before, now)
        return observation, without_sent(
            self._capability.plan(observation, now), before.notified if before else ()
        )

    def _reconcile(self, trigger: Trigger, progress: _Progress) -> Report:
        capability, store = self._capability, self._ports.store
        progress.before = before = _sound(store.record(trigger.cluster, capability.name), self._clock())
        progress.has_read = True
        sent = progress.notified = before.notified if before else ()
        progress.retries = before.retries if before else ()
        if trigger.forced:
            progress.retries = retries.asked_again(progress.retries, self._clock())
        observation = capability.observe(trigger, before, self._clock())
        plan = capability.plan(observation, self._clock())
        progress.notified = _still_recorded(sent, plan)
        plan = without_sent(plan, sent)
        progress.record_fields = capability.record_fields(observation, before, self._clock())
        progress.details, progress.pools = _some_details(plan.details), plan.pools
        plan = replace(plan, outcome=_with_what_is_lost(plan.outcome, plan.details[len(progress.details) :]))

        is_unknown = capability.cluster(observation) is None and before is None
        if is_unknown or plan.unrecorded or any(isinstance(action, DeleteState) for action in plan.actions):
            return self._end_without_record(trigger, plan, capability.cluster(observation), progress)
        outcome, conflicts = plan.outcome, 0
        if capability.enforced(observation):
            try:
                progress.changed += [f"would {action}: {action.why}" for action in plan.would]
                executor = self._executor(trigger, capability.cluster(observation), progress)
                attempt = self._apply(plan, executor, progress)
                outcome = self._after(outcome, attempt, trigger, progress, plan.keeps_stage)
            except Conflict as conflict:
                conflicts = 1 + (before.conflicts if before else 0)
                if conflicts > _MOST_CONFLICTS:
                    raise
                outcome = _retry_soon(outcome, conflict, conflicts, capability.in_progress_stage)
        else:
            progress.changed += [f"would {action}: {action.why}" for action in plan.actions]
            # What we may not do stays undone: a reconcile before the sweep would find the same.
            outcome = replace(outcome, requeue_after=None if plan.actions else outcome.requeue_after)

        outcome = replace(outcome, requeue_after=policy_skew.with_requeue(outcome))
        outcome = replace(outcome, findings=(*outcome.findings, *self._save_counts(trigger, plan, progress)))
        return self._end(trigger, outcome, progress, conflicts)

    def _reconcile_in_one_release(self, trigger: Trigger, progress: _Progress) -> Report:
        try:
            return self._reconcile(trigger, progress)
        except PolicySkew as skew:
            return self._wait_for_one_release(trigger, skew, progress)

    def _wait_for_one_release(self, trigger: Trigger, skew: PolicySkew, progress: _Progress) -> Report:
        """Nothing was read by the policy, and nothing is changed: what was decided before stays recorded."""
        before = progress.before
        outcome = policy_skew.outcome(skew, before, self._clock())
        progress.record_fields, progress.details = _fields_of(before), before.details if before else ()
        return self._end(trigger, outcome, progress, before.conflicts if before else 0)

    def _end(self, trigger: Trigger, outcome: Outcome, progress: _Progress, conflicts: int) -> Report:
        """Requeue and record."""
        requeue_at = self._requeue(trigger, outcome, progress.before)
        skew_since = policy_skew.since(outcome, progress.before, self._clock())
        return self._record(
            *(trigger, outcome, progress),
            requeue_at=requeue_at,
            conflicts=conflicts,
            skew_since=skew_since,
        )

    def _save_counts(self, trigger: Trigger, plan: Plan, progress: _Progress) -> tuple[Finding, ...]:
        """
        With what could not be saved. Costs come first: what is saved of measurements is not read again, and
        a reconcile that is killed in between has not counted its steps.
        """
        found = []
        if plan.costs:
            found.append(self._save(lambda: self._keep_costs(trigger, plan), _COSTS_LOST, progress))
        if plan.measured:
            found.append(self._save(lambda: self._keep_usage(trigger, plan), _USAGE_LOST, progress))
        return tuple(one for one in found if one)

    def _keep_costs(self, trigger: Trigger, plan: Plan) -> None:
        for day in plan.costs:
            self._ports.costs.keep(trigger.cluster, day, self._clock())

    def _keep_usage(self, trigger: Trigger, plan: Plan) -> None:
        self._ports.usage.keep(trigger.cluster, plan.measured, self._clock())

    def _save(self, keep: Callable[[], None], lost: Finding, progress: _Progress) -> Finding | None:
        """What is lost costs the next reconcile a longer read, or history, and nothing else."""
        try:
            self._renew(progress, _TO_KEEP)
            keep()
        except LeaseHeld:
            raise
        except SlicewiseError as error:
            return replace(lost, message=f"{lost.message}: {error}")
        return None

    def _apply(self, plan: Plan, executor: ActionExecutor, progress: _Progress) -> Attempt:
        attempt = Attempt(progress.retries, self._clock, plan.longest_retry, plan.left)

        def do(lane: lanes.Lane) -> None:
            for action in lane:
                self._try(action, attempt, executor, progress)

        try:
            for stretch in lanes.stretches(attempt.in_order(plan.actions), plan.abreast):
                lanes.run(stretch, do, self._threads)
        finally:
            progress.retries = (*attempt.failed, *attempt.untried)
        return attempt

    def _try(self, action: Action, attempt: Attempt, executor: ActionExecutor, progress: _Progress) -> None:
        if attempt.leaves_out(action):
            return
        with attempt.ends_where_this_fails():
            self._renew(progress, time_for(action))
            with attempt.at(action):
                self._do(action, executor, progress)

    def _do(self, action: Action, executor: ActionExecutor, progress: _Progress) -> None:
        executor.do(action)
        progress.changed.append(f"{action}: {action.why}")
        if isinstance(action, Notify):
            progress.notified += (action.key,)

    def _after(
        self, outcome: Outcome, attempt: Attempt, trigger: Trigger, progress: _Progress, keeps_stage: bool
    ) -> Outcome:
        """What of the plan's outcome is true where parts of it failed."""
        if not attempt.failed:
            return outcome
        failed = self._notified(attempt.failed, trigger)
        progress.retries = (*failed, *attempt.untried)
        now = self._clock()
        soonest = retries.wait(failed, now)
        if soonest and len(_some_retries(failed)) < len(failed):
            soonest = max(soonest, _CROWDED_RETRY)
        waits = (outcome.requeue_after, soonest, _FIRST_RETRY if attempt.is_given_up else None)
        # What is left permanently was not to be reached: the stage is that of all others.
        is_left = keeps_stage or all(retry.refused_by for retry in failed)
        reached = (
            outcome.stage if is_left else self._capability.in_progress_stage.get(outcome.stage, outcome.stage)
        )
        return Outcome(
            reached,
            f"{outcome.reason}; {retries.summary(failed)}",
            (*outcome.findings, *retries.findings(failed)),
            min(wait for wait in waits if wait is not None),
        )

    def _notified(self, failed: tuple[Retry, ...], trigger: Trigger) -> tuple[Retry, ...]:
        """
        Before it is recorded: sent twice after a kill, and at least once. What has no room in the record is
        reported only together with others: it would be reported again by each reconcile.
        """
        if not any(retry.needs_a_notice for retry in _some_retries(failed)):
            return failed
        try:
            self._ports.notices.publish(*retries.notice(failed, trigger.name))
        except SlicewiseError:
            return failed  # the next reconcile tries again
        return tuple(replace(retry, notified=retry.notified or retry.needs_a_notice) for retry in failed)

    def _executor(self, trigger: Trigger, cluster: EksCluster | None, progress: _Progress) -> ActionExecutor:
        return ActionExecutor(trigger, cluster, self._ports, lambda: self._renew(progress, ONE_WRITE))

    def _renew(self, progress: _Progress, length: timedelta) -> None:
        """
        Only the holder of the lease may write, for as long as `length`. No other reconcile can take a lease
        before it ends by its own clock, so while enough of ours is left there is nothing to ask. One that is
        longer than it need be is made shorter, since others wait for its end where a reconcile is killed.
        """
        with progress.renewing:
            now = self._clock()
            if length + _LEASE_MARGIN <= progress.lease.until - now <= length + _LEASE_SPARE:
                return
            # No reconcile outlives its function, so that no other has to wait for one longer.
            length = min(length + _LEASE_SPARE, progress.deadline - now)
            progress.lease = self._ports.store.renew(progress.lease, now, length)

    def _end_without_record(
        self, trigger: Trigger, plan: Plan, cluster: EksCluster | None, progress: _Progress
    ) -> Report:
        """
        No record after it: that would be all we know about a cluster that is deleted, or no longer ours.
        """
        self._apply(plan, self._executor(trigger, cluster, progress), progress)
        outcome = plan.outcome
        return Report(
            trigger.cluster, self._capability.name, outcome.stage, outcome.reason, tuple(progress.changed)
        )

    def _requeue(self, trigger: Trigger, outcome: Outcome, before: Record | None) -> datetime | None:
        """
        Queue the next reconcile, unless one is queued that comes early enough.

        Returns:
            When it is due; None where the sweep is soon enough.
        """
        now = self._clock()
        queued = before.requeue_at if before else None
        # This is that reconcile, or its message was lost: it is queued no longer.
        if queued and ((trigger.due and queued <= trigger.due) or queued <= now + _CLOCK_ERROR):
            queued = None
        if outcome.requeue_after is None:
            return queued
        wait = min(outcome.requeue_after, _LONGEST_WAIT)
        if queued and queued <= now + wait + _CLOCK_ERROR:
            return queued
        again = Trigger(trigger.cluster, outcome.reason, due=now + wait)
        self._ports.queues.send(self._capability.name, again.message(), wait)
        return now + wait

    def _record(
        self,
        trigger: Trigger,
        outcome: Outcome,
        progress: _Progress,
        *,
        requeue_at: datetime | None = None,
        conflicts: int = 0,
        next_try: str = "",
        skew_since: datetime | None = None,
    ) -> Report:
        now, before = self._clock(), progress.before
        same = before is not None and before.stage == outcome.stage
        record = Record(
            cluster=trigger.cluster,
            capability=self._capability.name,
            stage=outcome.stage,
            reason=_short(outcome.reason),
            at=now,
            since=before.since if before and same else now,
            findings=_some_findings((*_misread(before), *outcome.findings)),
            changed=_some_changes(progress.changed),
            requeue_at=requeue_at,
            conflicts=conflicts,
            details=progress.details,
            notified=progress.notified,
            retries=_some_retries(progress.retries),
            next_try=next_try,
            skew_since=skew_since,
            **progress.record_fields,  # type: ignore[arg-type]
        )
        self._ports.store.save(record, progress.lease, history=_is_news(before, record))
        return replace(_report(record), measures=_measures(record, outcome, progress))

    def _record_failure(self, trigger: Trigger, progress: _Progress, error: Exception) -> None:
        """
        Best effort: the error that is being raised must not be hidden by one of recording it. A record that
        could not be read is not written over: what was notified, and decided, would be lost.
        """
        if not progress.has_read:
            return
        if isinstance(error, Unavailable):
            outcome = Outcome(Stage.WAITING, f"no answer: {error}")
        else:
            outcome = Outcome(Stage.FAILED, f"{type(error).__name__}: {error}")
        before = progress.before
        failed = {retry.part: retry for retry in (*(before.retries if before else ()), *progress.retries)}
        fields = progress.record_fields or _fields_of(before)
        try:
            self._record(
                trigger,
                outcome,
                replace(
                    progress,
                    record_fields=fields,
                    details=progress.details or (before.details if before else ()),
                    retries=tuple(failed.values()),
                ),
                requeue_at=before.requeue_at if before else None,
                conflicts=before.conflicts if before else 0,
                next_try=self._next_try(progress.delivery),
                skew_since=before.skew_since if before else None,
            )
        except SlicewiseError:
            return

    def _next_try(self, delivery: Delivery | None) -> str:
        """What becomes of a reconcile that failed."""
        if delivery is None:
            return "the queue tries again"
        failed = f"try {delivery.number} of {delivery.most} failed"
        if not delivery.is_last:
            return f"{failed}; the queue tries again in {delivery.retry.total_seconds():.0f} s"
        return f"{failed}: gave up; {sweeps.next_attempt(self._sweeps(), self._clock())}"

    def _sweeps(self) -> tuple[datetime, ...]:
        try:
            return self._ports.store.sweeps()
        except SlicewiseError:
            return ()

    def _spread(self, doublings: int) -> timedelta:
        wait = _BUSY_LEAST + self._jitter() * _BUSY_SPREAD
        return min(wait * (1 << min(max(doublings, 0), 10)), _LONGEST_WAIT)

    def _later(self, trigger: Trigger, reason: str, wait: timedelta) -> Report:
        """A hundred triggers that come while a reconcile is running lead to one reconcile after it."""
        name, store = self._capability.name, self._ports.store
        comes = self._clock() + wait
        if _defers(trigger, store.waiting(trigger.cluster, name), self._clock()):
            return Report(trigger.cluster, name, "busy", f"{reason}, and another message is queued already")
        # Sent before it is noted: a reconcile killed between the two leaves one trigger too many, not too
        # few.
        again = replace(trigger, waits=True, tries=trigger.tries + 1, comes=comes)
        self._ports.queues.send(name, again.message(), wait)
        store.note_waiting(trigger.cluster, name, comes)
        return Report(trigger.cluster, name, "busy", reason, requeue_at=comes)

    def _release(self, lease: Lease) -> None:
        try:
            self._ports.store.release(lease)
        except SlicewiseError:
            return  # it expires


def _fields_of(before: Record | None) -> dict[str, object]:
    """As Capability.record_fields, of a reconcile that has not observed."""
    names = ("policy", "fingerprint", "cluster_fingerprint", "observed_at")
    return {name: getattr(before, name) for name in names} if before else {}


def _defers(trigger: Trigger, noted: datetime | None, now: datetime) -> bool:
    """
    Whether a trigger that found the lease taken is dropped for another one that waits. A trigger that a
    person forces never is.

    Args:
        noted: When that other one comes back. It may be lost: soon after its time it no longer counts. So
            more than one may wait; of these, the one that was noted last is carried out, in time or late.
            Else those that come would grow in number for as long as the lease is not free.
    """
    if noted is None or trigger.forced or noted > now + _LONGEST_WAIT + _LEASE_MARGIN:
        return False
    if trigger.waits:
        return trigger.comes is not None and trigger.comes < noted
    return now <= noted + _LATE_MESSAGE


def without_sent(plan: Plan, sent: Collection[str]) -> Plan:
    """A plan asks for a notice as long as what it reports can be seen; `sent` are keys of what went out."""
    unsent = (one for one in plan.actions if not (isinstance(one, Notify) and one.key in sent))
    return replace(plan, actions=tuple(unsent))


def _still_recorded(sent: Sequence[str], plan: Plan) -> tuple[str, ...]:
    """Of the notices that were sent, those that matter: all that the plan asks for, and the newest others."""
    asked = {one.key for one in plan.actions if isinstance(one, Notify)}
    others = [key for key in sent if key not in asked]
    return (*others[-_MOST_NOTIFIED:], *(key for key in sent if key in asked))


def _sound(before: Record | None, now: datetime) -> Record | None:
    """
    As it was read, except that a stage began now where its time cannot be read, or has not come yet; and that
    the cluster counts as not read where it was read in the future.
    """
    if before is None:
        return None
    since = before.since if UNKNOWN_TIME < before.since <= now else now
    observed_at = before.observed_at
    is_past = observed_at is None or observed_at <= now + _CLOCK_ERROR
    return replace(before, since=since, observed_at=observed_at if is_past else None)


def _is_news(before: Record | None, now: Record) -> bool:
    """An unchanged cluster is reconciled each hour for ever; its history should show what happened."""
    if before is None:
        return True
    return (before.stage, before.reason, before.changed) != (now.stage, now.reason, now.changed)


def _report(record: Record) -> Report:
    return Report(
        record.cluster,
        record.capability,
        record.stage,
        record.reason,
        record.changed,
        record.findings,
        record.requeue_at,
    )


def _measures(record: Record, outcome: Outcome, progress: _Progress) -> tuple[Measure, ...]:
    """Of what was found and done in full: a record may have no room for all of it."""
    name = name_of(record.cluster)
    return measures(name, record.capability, record.stage, progress.changed, outcome.findings, progress.pools)


def _misread(before: Record | None) -> tuple[Finding, ...]:
    if before is None or not before.unreadable:
        return ()
    return (
        Finding(
            "record-unreadable",
            f"The record of the previous reconcile was written by another release of Slicewise, or by hand: "
            f"{', '.join(before.unreadable)} could not be read, and counted as absent.",
            "Nothing to do after an upgrade or a rollback; else find out who writes to the table.",
        ),
    )


def _some_findings(found: tuple[Finding, ...]) -> tuple[Finding, ...]:
    short = (
        replace(one, message=_short(one.message), remedy=_short(one.remedy)) for one in found[:_MOST_REPORTED]
    )
    fitting = first_that_fit(short, _MOST_FINDING_BYTES, _bytes_of)
    remaining = len(found) - len(fitting)
    if not remaining:
        return fitting
    more = Finding(
        "more-findings",
        f"{remaining} more are not saved.",
        "Fix these; the next reconcile reports the others.",
    )
    return (*fitting, more)


def _bytes_of(finding: Finding) -> int:
    texts = finding.code, finding.message, finding.remedy
    return sum(len(text.encode()) for text in texts) + _OF_A_FINDING


def _short(text: str) -> str:
    return cut(text, _LONGEST_TEXT)


def _some_changes(changed: list[str]) -> tuple[str, ...]:
    short = map(_short, changed[:_MOST_REPORTED])
    fitting = first_that_fit(short, _MOST_CHANGE_BYTES, lambda text: len(text.encode()))
    remaining = len(changed) - len(fitting)
    return (*fitting, f"and {remaining} more") if remaining else fitting


def _some_retries(failed: tuple[Retry, ...]) -> tuple[Retry, ...]:
    """The words of some; of the others when they are tried again, and that the operators were notified."""
    # Those that were reported first: they would be reported again. Then those that failed most often: what is
    # not saved starts again, and the operators would never be notified.
    failed = tuple(sorted(failed, key=lambda one: (not one.notified, -one.times)))
    short = (one if number < _MOST_QUOTED else replace(one, message="") for number, one in enumerate(failed))
    return first_that_fit(short, _MOST_RETRY_BYTES, lambda one: len(json.dumps(retries.as_json(one))))


def _some_details(details: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
    """The first ones, as many as there is room for."""
    return first_that_fit(details, _MOST_DETAIL_BYTES, lambda detail: len(json.dumps(detail)))


def _with_what_is_lost(outcome: Outcome, details: Sequence[Mapping[str, Any]]) -> Outcome:
    if not details:
        return outcome
    about = [str(detail.get("node_pool") or detail.get("pool") or "something") for detail in details]
    found = Finding(
        "details-not-kept",
        f"The record has no room for what was decided about {', '.join(about)}: it has "
        f"{_MOST_DETAIL_BYTES:,} bytes.",
        "Each reconcile decides on these again, without what the last days were like. Run fewer workloads in "
        "the pools of this cluster that are split into classes.",
    )
    return replace(outcome, findings=(found, *outcome.findings))


def _retry_soon(
    outcome: Outcome, conflict: Conflict, conflicts: int, in_progress_stage: Mapping[Stage, Stage]
) -> Outcome:
    stage = in_progress_stage.get(outcome.stage, outcome.stage)
    wait = _FIRST_CONFLICT * 2 ** (conflicts - 1)
    return Outcome(stage, f"an object changed during the reconcile, retrying: {conflict}", requeue_after=wait)
