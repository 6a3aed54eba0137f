"""
The steps of a night: which fields of which objects are changed so that they sleep, and in which order. Pure.

NodePools come first, then what makes work, then workloads, least important first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from slicewise.kube import quantities
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import marks, queues
from slicewise.offhours import targets as following
from slicewise.offhours.kinds import AUTOSCALER, NightBehaviour, ran
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.report import findings as sleep_findings
from slicewise.offhours.sleep_fields import (
    DEACTIVATED,
    HELD,
    NO_NODES,
    NO_SCALE_UP,
    NOT_ACTIVE,
    REPLICAS,
    RETAIN,
    Setting,
)
from slicewise.offhours.stay_awake import jobs
from slicewise.offhours.targets import Workload
from slicewise.offhours.transitions import Step, Window, after, put_to_sleep, write_otherwise
from slicewise.offhours.wake import gpu_fallback
from slicewise.offhours.wake_steps import steps_back
from slicewise.planning.actions import Action, Delete, Patch, in_part
from slicewise.policy.off_hours import BarePods, Jobs, OffHours, Volumes

# What else frees quota, or costs volumes.
_BEFORE_ANY_SLEEP = (HELD, NOT_ACTIVE, RETAIN)
# Longer than a controller's restart; a night awake costs more than the Jobs that start.
QUEUES_AWAITED = timedelta(minutes=10)


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


def steps_to_sleep(
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
    steps = steps_back(observation, released, found, why, window.now, "")
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
        changed[ref] = after(step, live)
        holds = subject.setting in (HELD, NOT_ACTIVE)
        awaited |= holds and any(isinstance(one, Patch) for one in step.actions)
        if subject.setting is RETAIN and RETAIN.is_asleep(changed[ref]):
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


def marked_by_scalers(made: Iterable[Workload], found: Found) -> tuple[Workload, ...]:
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


def bare_pods(made: Iterable[Workload], policy: OffHours, why: str) -> Iterator[Action]:
    if policy.bare_pods is BarePods.DELETE:
        for work in made:
            if work.behaviour is NightBehaviour.BARE and not work.keeps_awake:
                yield Delete(work.ref, f"{why}; the policy has bare pods deleted")
