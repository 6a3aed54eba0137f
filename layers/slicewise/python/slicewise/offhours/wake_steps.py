"""
The steps of a morning: which fields are restored, and in which order. Pure.

NodePools come first, then workloads, the most important first, then queues, and what waits in them last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from slicewise.kube.ref import Object, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import marks, queues
from slicewise.offhours import targets as following
from slicewise.offhours.kinds import Registry, is_suspended, ran
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.parts import part
from slicewise.offhours.report import findings as sleep_findings
from slicewise.offhours.sleep_fields import (
    HELD,
    NO_SCALE_UP,
    NOT_ACTIVE,
    PAUSED_REPLICAS,
    REPLICAS,
    RETAIN,
    Setting,
)
from slicewise.offhours.transitions import FOR_EVER, Step, Window, after, give_back, put_to_sleep
from slicewise.planning.actions import DeleteSnapshot, Patch, SaveSnapshot, Scale, in_part
from slicewise.policy.off_hours import Jobs


@dataclass(frozen=True)
class Morning:
    """
    What is restored.

    Attributes:
        steps: In their order; a reconcile may leave some of them to the next one.
        waits: What a second step needs first, in words; empty where it needs nothing.
        queued: How many Workloads of Kueue wait until what slept has its quota.
    """

    steps: Sequence[Step]
    waits: str
    queued: int = 0


def restore(
    observation: Observation,
    snapshots: Sequence[Snapshot],
    found: Found,
    why: str,
    now: datetime,
    morning: str = "",
    more_to_come: bool = False,
) -> Morning:
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
    others = [snapshot for snapshot in snapshots if snapshot not in queued]
    steps = steps_back(observation, others, found, why, now, morning)
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
        steps = [*steps, *steps_back(observation, batch, found, why, now, morning)]
        number = len(queued) - len(batch)
    if number and not waits:
        waits = f"{number} queued Workload{'s' * (number != 1)} wait until what slept has its quota again"
    return Morning(steps, waits, number)


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
    parts = {part(step.actions[0]) for step in held} - observation.failing
    return bool(parts) and (comes_back or not begun.isdisjoint(parts))


def _writes_to(step: Step, failing: Collection[str], is_wanted: Callable[[Snapshot], bool]) -> bool:
    """Whether it changes an object that has such a snapshot, and that does not fail each time."""
    noted = [one.snapshot for one in step.actions if isinstance(one, SaveSnapshot | DeleteSnapshot)]
    writes = any(isinstance(one, Patch | Scale) for one in step.actions)
    return writes and any(map(is_wanted, noted)) and part(step.actions[0]) not in failing


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


def steps_back(
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
                target = str(following.scaled_by(live))
                step = replace(step, actions=tuple(in_part(one, target) for one in step.actions))
            steps.append(step)
            if live:
                objects[snapshot.ref] = after(step, live)
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
