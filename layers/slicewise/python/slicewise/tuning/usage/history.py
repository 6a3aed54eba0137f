"""
What a workload's pods did, day by day, on one model of GPU: what a reconcile keeps and adds to. Pure.

A pod's past is its owner's. So rollouts, nights and new nodes lose nothing, a reconcile reads only what is
new, and two weeks cost no more than two days. A step is added once, with all pods that were there, and not
again.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from slicewise.kube.ref import Object
from slicewise.tuning.usage.evidence import DAY_SECONDS, Grade, PodUse, measure
from slicewise.tuning.usage.owners import cron_job, topmost_owner
from slicewise.tuning.usage.pod_history import PodHistory
from slicewise.tuning.usage.points import STEP_SECONDS
from slicewise.tuning.usage.readings import Device
from slicewise.tuning.usage.video import BUCKETS, Samples, VideoDay, VideoUse, distribution, use_of_days

STEPS_A_DAY = DAY_SECONDS // STEP_SECONDS
# In place of thousandths of a GPU: none of its pods was there; none of those that were was measured.
NO_POD, GAP = 65535, 65534
# What is added for good: a source may be a step late, and with it a step's points.
_SETTLED = 2 * STEP_SECONDS
# Owners of these kinds seldom come again under their name: a Job, and what is made of Jobs.
_ONCE = frozenset(
    {
        ("", "Pod"),
        ("batch", "Job"),
        ("jobset.x-k8s.io", "JobSet"),
        ("kubeflow.org", "MPIJob"),
        ("ray.io", "RayJob"),
    }
)
# Of the steps that were measured: with fewer of them the peak of its memory is not known.
_LEAST_MEMORY = 0.9


class WorkloadKey(NamedTuple):
    """The topmost owner that is known, and the model of GPU as Karpenter calls it, or as the source does."""

    group: str
    kind: str
    namespace: str
    name: str
    model: str


def key_of(pod: Object, model: str) -> WorkloadKey:
    """The next Job of a CronJob continues where the last one ended, and so do other runs and releases."""
    owner = topmost_owner(pod)
    group, _, _ = owner.api_version.rpartition("/")
    return WorkloadKey(group, owner.kind, owner.namespace, owner.name, model)


def cron_job_of(namespace: str, job: str, model: str, history: History) -> WorkloadKey | None:
    """Whose Job it was by its name alone, of CronJobs that have been measured."""
    key = WorkloadKey("batch", "CronJob", namespace, cron_job(job), model)
    return key if key in history.workloads else None


@dataclass(slots=True)
class WorkloadDay:
    """
    One UTC day of a workload, a value a step of ten minutes.

    Attributes:
        busiest: Thousandths of a GPU that its busiest pod may have used; GAP, NO_POD.
        certain: Thousandths that its pods used for certain in the mean: who was not measured, nothing.
        pooled: The samples of all its pods, in the upper reading.
        memory_mib: The most that one of its pods may have used, and `floor_mib` the least; NaN where nothing
            was measured. `certain_mib` is the most that one used for certain.
        memory_steps: In how many steps the memory of one of its pods was measured.
        alone_steps: In how many steps a pod of it had a GPU to itself; `alone_mib` is the most it used then.
        estimated: One of its pods was known by its GPU only.
        last: Second of the last step that was measured; 0 where none was.
        through: Second of the last step that was added: none up to it is added again.
        video: What its pods did with the GPUs' encoders and decoders, by kind; only where the source has it.
    """

    busiest: array[int] = field(default_factory=lambda: array("H", [NO_POD]) * STEPS_A_DAY)
    certain: array[int] = field(default_factory=lambda: array("H", [NO_POD]) * STEPS_A_DAY)
    pooled: Samples = field(default_factory=Samples)
    memory_mib: float = math.nan
    floor_mib: float = math.nan
    certain_mib: float = 0.0
    memory_steps: int = 0
    alone_steps: int = 0
    alone_mib: float = 0.0
    estimated: bool = False
    last: int = 0
    through: int = -1
    video: dict[str, VideoDay] | None = None

    def copy(self) -> WorkloadDay:
        return replace(
            self,
            busiest=self.busiest[:],
            certain=self.certain[:],
            pooled=self.pooled.copy(),
            video=self.video and {kind: day.copy() for kind, day in self.video.items()},
        )


Days = Mapping[int, WorkloadDay]


class StoredHistory(NamedTuple):
    """A pod that was there: whose it was, and the second from which on it counts."""

    key: WorkloadKey
    since: int


@dataclass(frozen=True)
class History:
    """
    Attributes:
        workloads: Days by the second at which they begin, for each workload.
        devices: By "node/gpu", what was measured of each GPU in the last day.
        pods: By namespace and name, who was there when it was added to last.
        through: Second of the last step that was added; None where nothing is known yet.
    """

    workloads: Mapping[WorkloadKey, Days] = field(default_factory=lambda: MappingProxyType({}))
    devices: Mapping[str, Device] = field(default_factory=lambda: MappingProxyType({}))
    pods: Mapping[tuple[str, str], StoredHistory] = field(default_factory=lambda: MappingProxyType({}))
    through: int | None = None


NOTHING = History()


@dataclass(frozen=True, slots=True)
class Life:
    """
    One pod of a workload.

    Attributes:
        is_there: It runs now: a step without a point is a gap until then; else until its last point.
    """

    key: WorkloadKey
    past: PodHistory
    is_there: bool = True


def settled(now: datetime) -> int:
    """Second of the last step that no source adds to any more."""
    return int(now.timestamp()) // STEP_SECONDS * STEP_SECONDS - _SETTLED


def video_since(history: History, read_since: Mapping[str, int]) -> Mapping[str, int]:
    """
    From which second on a step without a measurement of the GPUs' encoders or decoders is a gap, by kind:
    what was not measured before the source began with it is not missing.

    Args:
        read_since: The first second of which something was read now, by kind.
    """
    begun = {
        kind
        for days in history.workloads.values()
        for day in days.values()
        for kind, of_kind in (day.video or {}).items()
        if of_kind.measured
    }
    return {**read_since, **dict.fromkeys(begun, 0)}


def add(
    history: History,
    lives: Iterable[Life],
    through: int,
    *,
    whole: bool = True,
    video: Mapping[str, int] = MappingProxyType({}),
) -> History:
    """
    The history with all steps up to `through`, the second at which the last one begins.

    Args:
        whole: What has no point by then has a gap; else it may still come.
        video: As `video_since` gives it.
    """
    added = _Added(history, video)
    for life in lives:
        added.life(life, through, whole)
    through = max(through, history.through or through)
    return replace(history, workloads=added.workloads(through), through=through)


class _Added:
    """Days that are being added to, each copied once; steps are summed up over all lives first."""

    def __init__(self, history: History, video: Mapping[str, int]):
        self._before, self._video = history, video
        self._days: dict[tuple[WorkloadKey, int], WorkloadDay] = {}
        self._sums: dict[tuple[WorkloadKey, int], dict[int, tuple[float, int]]] = {}
        self._alone: dict[tuple[WorkloadKey, int], set[int]] = {}
        self._with_memory: dict[tuple[WorkloadKey, int], set[int]] = {}

    def life(self, life: Life, through: int, whole: bool) -> None:
        past, key = life.past, life.key
        first = -(-past.since // STEP_SECONDS) * STEP_SECONDS
        if self._before.through is not None:
            first = max(first, self._before.through + STEP_SECONDS)
        if first > through:
            return
        last = through if life.is_there and whole else min(through, past.last)
        if last < first or not (past.busy or key in self._before.workloads):
            return  # nothing was ever measured of its workload
        for begin in range(first // DAY_SECONDS * DAY_SECONDS, last + 1, DAY_SECONDS):
            known = self._before.workloads.get(key, {}).get(begin)
            of_day = max(first, begin, known.through + STEP_SECONDS if known else 0)
            steps = range(of_day, min(last, begin + DAY_SECONDS - STEP_SECONDS) + 1, STEP_SECONDS)
            if steps:
                self._add(key, begin, past, steps)

    def _add(self, key: WorkloadKey, begin: int, past: PodHistory, steps: range) -> None:
        day = self._day(key, begin)
        sums = self._sums.setdefault((key, begin), {})
        busy, certain, busiest = past.busy, past.measured_busy, day.busiest
        gaps: set[int] = set()
        for at in steps:
            place = (at - begin) // STEP_SECONDS
            value = busy.get(at)
            if value is None:
                gaps.add(at)
                day.pooled.count(BUCKETS)
                if busiest[place] == NO_POD:
                    busiest[place] = GAP
            else:
                share = round(1000 * value)
                day.pooled.count(-(-share * BUCKETS // 1000))
                known = busiest[place]
                busiest[place] = share if known >= GAP else max(known, share)
                day.last = max(day.last, at)
            total, count = sums.get(place, (0.0, 0))
            sums[place] = total + certain.get(at, 0.0), count + 1
        self._memory(day, key, begin, past, steps)
        self._add_video(day, past, steps, gaps)

    def _add_video(self, day: WorkloadDay, past: PodHistory, steps: range, gaps: set[int]) -> None:
        for kind, since in self._video.items():
            later = steps if steps.start >= since else [at for at in steps if at >= since]
            if not later:
                continue
            if day.video is None:
                day.video = {}
            day.video.setdefault(kind, VideoDay()).add(past.video.get(kind), later, gaps)

    def _memory(self, day: WorkloadDay, key: WorkloadKey, begin: int, past: PodHistory, steps: range) -> None:
        if past.grade is Grade.DEVICE:
            day.estimated = day.estimated or any(
                at in past.busy and at not in past.counted_one for at in steps
            )
        known = [(at, mib) for at in steps if (mib := past.memory_mib.get(at)) is not None]
        self._with_memory.setdefault((key, begin), set()).update(at for at, _ in known)
        if known:
            used = [mib for _, mib in known]
            day.memory_mib = max(used) if math.isnan(day.memory_mib) else max(day.memory_mib, *used)
            day.floor_mib = min(used) if math.isnan(day.floor_mib) else min(day.floor_mib, *used)
        if past.measured_memory_mib is past.memory_mib:
            certain = [mib for _, mib in known]
        else:
            found = map(past.measured_memory_mib.get, steps)
            certain = [mib for mib in found if mib is not None]
        day.certain_mib = max([day.certain_mib, *certain])
        alone = [(at, mib) for at, mib in known if at in past.alone] if past.alone else []
        if alone:
            self._alone.setdefault((key, begin), set()).update(at for at, _ in alone)
            day.alone_mib = max(day.alone_mib, *(mib for _, mib in alone))

    def _day(self, key: WorkloadKey, begin: int) -> WorkloadDay:
        if (key, begin) not in self._days:
            known = self._before.workloads.get(key, {}).get(begin)
            self._days[key, begin] = known.copy() if known else WorkloadDay()
        return self._days[key, begin]

    def workloads(self, through: int) -> Mapping[WorkloadKey, Days]:
        found: dict[WorkloadKey, dict[int, WorkloadDay]] = {
            key: dict(days) for key, days in self._before.workloads.items()
        }
        for (key, begin), day in self._days.items():
            for place, (total, count) in self._sums[key, begin].items():
                day.certain[place] = round(1000 * total / count)
            day.through = min(through, begin + DAY_SECONDS - STEP_SECONDS)
            day.memory_steps += len(self._with_memory[key, begin])
            day.alone_steps += len(self._alone.get((key, begin), ()))
            found.setdefault(key, {})[begin] = day
        return found


def pruned(history: History, now: datetime, window: timedelta, there: Container[WorkloadKey]) -> History:
    """
    Without days that ended before the window, and a day after they ended without owners that do not come
    again: else a cluster of many Jobs would keep each of them.

    Args:
        there: Workloads of which a pod is there now.
    """
    oldest, yesterday = (now - window).timestamp(), now.timestamp() - DAY_SECONDS
    found = {}
    for key, days in history.workloads.items():
        kept = {begin: day for begin, day in days.items() if begin + DAY_SECONDS > oldest}
        ended = key[:2] in _ONCE and key not in there and max(day.last for day in days.values()) < yesterday
        if kept and not ended:
            found[key] = kept
    return replace(history, workloads=found)


def _days(history: History, key: WorkloadKey, since: int) -> list[tuple[int, WorkloadDay]]:
    days = sorted(history.workloads.get(key, {}).items())
    return [(begin, day) for begin, day in days if begin + DAY_SECONDS > since]


def alone_mib(history: History, key: WorkloadKey, now: datetime, window: timedelta) -> float | None:
    """The most that a pod of it used while it had a GPU to itself; None where that makes less than a day."""
    days = [day for _, day in _days(history, key, int((now - window).timestamp()))]
    if sum(day.alone_steps for day in days) < STEPS_A_DAY:
        return None
    return max(day.alone_mib for day in days)


def use_of(history: History, key: WorkloadKey, now: datetime, window: timedelta) -> PodUse | None:
    """What a pod of the workload is taken to use, without a name; None of one that was never measured."""
    since = int((now - window).timestamp())
    days = _days(history, key, since)
    last = max((day.last for _, day in days), default=0)
    if not last:
        return None
    busy, certain = [], []
    for begin, day in days:
        first = max(0, -(-(since - begin) // STEP_SECONDS))
        for most, mean in zip(day.busiest[first:], day.certain[first:], strict=True):
            if most != NO_POD:
                busy.append(math.nan if most == GAP else most / 1000)
                certain.append(mean / 1000)
    memory = [mib for _, day in days for mib in (day.floor_mib, day.memory_mib) if not math.isnan(mib)]
    found = measure(
        "",
        busy,
        memory,
        measured_busy=certain,
        measured_memory_mib=[max(day.certain_mib for _, day in days)],
        step_seconds=STEP_SECONDS,
        stale_seconds=now.timestamp() - (last + STEP_SECONDS),
        grade=Grade.DEVICE if any(day.estimated for _, day in days) else Grade.POD,
    )
    steps = sum(1 for _, day in days for share in day.busiest if share < GAP)
    if sum(day.memory_steps for _, day in days) < _LEAST_MEMORY * steps:
        found = replace(found, memory_mib=math.nan)
    # Of a workload that is known by its GPUs only, nothing is certain: its part grows when others end.
    peaks = tuple(day.certain_mib or math.nan for _, day in days)
    return replace(
        found,
        pooled=tuple(distribution(day.pooled for _, day in days)),
        video=_video_use(day for _, day in days),
        day_peaks_mib=() if all(map(math.isnan, peaks)) else peaks,
        workload="" if key.kind == "Pod" else f"{key.namespace}/{key.kind}/{key.name}",
    )


def _video_use(days: Iterable[WorkloadDay]) -> Mapping[str, VideoUse]:
    by_kind: dict[str, list[VideoDay]] = {}
    for day in days:
        for kind, of_kind in (day.video or {}).items():
            by_kind.setdefault(kind, []).append(of_kind)
    found = ((kind, use_of_days(of_kind)) for kind, of_kind in sorted(by_kind.items()))
    return {kind: use for kind, use in found if use}
