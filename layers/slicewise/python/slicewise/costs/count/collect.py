"""
Adds to a day what a cluster's GPUs cost since it was counted last, by the lives of its machines and pods.
Pure.

Each second is counted once, in the order of time, and only once no source adds a measurement of it any more.
So no event that comes twice, late or never changes a sum, and after a pause its time is counted by who was
there before and after. Pods that came and went between two reconciles are never seen: their time is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from slicewise.costs.count.changes import changes
from slicewise.costs.count.holdings import Holding, holdings, whole_machines
from slicewise.costs.count.lives import (
    UNMEASURED,
    CostObservation,
    Measured,
    begun,
    closed,
    continued,
    without_past,
)
from slicewise.costs.day import (
    DAY_SECONDS,
    HOUR_SECONDS,
    Day,
    Hour,
    Machine,
    MachineType,
    PodLife,
    Roster,
    Use,
    Workload,
)

STEP_SECONDS = 600
# A cluster that nobody reconciled for longer is counted from when it is again.
LONGEST_GAP = 31 * DAY_SECONDS

Measurements = Callable[[str, PodLife], Measured]


def counted(before: Day | None, seen: CostObservation) -> tuple[Day, ...]:
    """
    The newest day as it is then, after those that have ended since; nothing, where nothing is new. Each has
    a roster by which it can be continued, should those after it be lost.

    Args:
        before: The newest day of the reconciles before.
    """
    if before is None or _is_lost(before, seen.at):
        return (_begun(seen),)
    known = before.roster or Roster(before.through)
    if seen.at <= known.seen_at or seen.at < before.through:
        return ()
    if known.seen_at < seen.cluster_since:
        known = closed(known)
    roster = continued(known, seen)
    days = _counted(before, roster, seen.until, seen.measured)
    days[0].changes += changes(known, roster, seen)
    for end, kind, seconds in _uncertain(known, roster):
        day = next((one for one in days if one.begin <= end < one.begin + DAY_SECONDS), days[-1])
        day.uncertain[kind] = day.uncertain.get(kind, 0) + seconds
    for day in days:
        day.roster = without_past(roster, day.through)
        day.labels |= {one: dict(seen.labels[one]) for one in _workloads(day) if one in seen.labels}
        day.nights |= {began: night for began, night in seen.nights.items() if _is_of(night, began, day)}
    return tuple(days)


def counted_to(day: Day, until: int) -> tuple[Day, ...]:
    """
    The newest day with what is known of the time after it: who was there, and not yet what it was used for.
    For a report; it is never stored, since what follows would be counted from there.

    Args:
        until: Second; nothing is known of what comes after the newest reconcile.
    """
    if day.roster is None:
        return (day,)
    last = min(until, day.roster.seen_at)
    return tuple(_counted(day, day.roster, last, lambda key, life: UNMEASURED))


def _is_lost(before: Day, now: int) -> bool:
    """A clock that had jumped ahead by more than a day, or a gap that is too long."""
    seen_at = before.roster.seen_at if before.roster else before.through
    return max(before.through, seen_at) > now + DAY_SECONDS or now - before.through > LONGEST_GAP


def _begun(seen: CostObservation) -> Day:
    since = seen.at - seen.at % STEP_SECONDS
    begin = since - since % DAY_SECONDS
    nights = {began: night for began, night in seen.nights.items() if not night.get("ended")}
    return Day(begin, since, since, nights=nights, roster=begun(seen, since))


def _uncertain(before: Roster, now: Roster) -> Iterator[tuple[int, MachineType, int]]:
    """When each machine ended that is there no longer, and by how much that may be wrong, in seconds."""
    there = [(name, life) for name, life in now.nodes.items() if life.end is None]
    # With another N it has its name, and once its Node is there its instance.
    goes_on = {(one, life.begin) for name, life in there for one in (name, life.instance) if one}
    for key, life in now.nodes.items():
        if life.end is None or key in before.nodes:
            continue
        if {(key.partition("@")[0], life.end), (life.instance, life.end)} & goes_on:
            continue
        # Earlier than the middle where another machine had its name by then.
        yield life.end, life.machine.type, min(life.end - before.seen_at, now.seen_at - life.end)


def _is_of(night: Mapping[str, object], began: str, day: Day) -> bool:
    """Whether it goes on in the day; what else a record still has is in the days before."""
    begin, ended = datetime.fromtimestamp(day.begin, UTC).isoformat(), night.get("ended")
    return not isinstance(ended, str) or max(ended, began) >= begin


def _workloads(day: Day) -> Iterator[Workload]:
    for uses in day.workloads.values():
        yield from uses


def _counted(before: Day, roster: Roster, until: int, measured: Measurements) -> list[Day]:
    days = [_copied(before)]
    while days[-1].through < until:
        day = days[-1]
        if day.through >= day.begin + DAY_SECONDS:
            days.append(Day(day.through, day.through, day.through))
            continue
        end = min(until, day.begin + DAY_SECONDS)
        _Count(day, roster, measured).add(day.through, end)
        day.through = end
    return days


def _copied(day: Day) -> Day:
    return replace(
        day,
        hours={
            machine: {hour: Hour(one.machine_seconds, replace(one.use)) for hour, one in hours.items()}
            for machine, hours in day.hours.items()
        },
        whole={kind: dict(hours) for kind, hours in day.whole.items()},
        uncertain=dict(day.uncertain),
        asleep={pool: dict(hours) for pool, hours in day.asleep.items()},
        workloads={
            machine: {workload: replace(use) for workload, use in uses.items()}
            for machine, uses in day.workloads.items()
        },
        labels=dict(day.labels),
        instances=dict(day.instances),
        changes=list(day.changes),
        nights=dict(day.nights),
    )


class _Count:
    """A part of one day that is added to it."""

    def __init__(self, day: Day, roster: Roster, measured: Measurements):
        self._day, self._roster, self._measured = day, roster, measured

    def add(self, begin: int, end: int) -> None:
        on: dict[str, list[tuple[str, PodLife]]] = {}
        for key, life in self._roster.pods.items():
            on.setdefault(life.node, []).append((key, life))
        by_type: dict[MachineType, list[Holding]] = {}
        for name, node in self._roster.nodes.items():
            first, last = max(begin, node.begin), end if node.end is None else min(end, node.end)
            if first < last:
                self._machine(node.machine, node.instance, first, last)
                offered = node.machine.gpus * node.machine.n
                held = holdings(offered, on.get(name, ()), first, last)
                by_type.setdefault(node.machine.type, []).extend(held)
                for one in held:
                    self._pod(node.machine, one)
        for kind, held in by_type.items():
            self._whole(kind, held)
        self._asleep(begin, end)

    def _machine(self, machine: Machine, instance: str, begin: int, end: int) -> None:
        for hour, seconds in self._hours(begin, end):
            self._hour(machine, hour).machine_seconds += seconds
        known = self._day.instances.get(instance)
        before = known[1] if known else 0
        self._day.instances[instance] = (known[0] if known else machine.type), before + end - begin

    def _hour(self, machine: Machine, hour: int) -> Hour:
        return self._day.hours.setdefault(machine, {}).setdefault(hour, Hour())

    def _pod(self, machine: Machine, held: Holding) -> None:
        measured = self._measured(held.key, held.life)
        of_workload = self._day.workloads.setdefault(machine, {}).setdefault(held.life.workload, Use())
        step = STEP_SECONDS if measured.busy or measured.memory else HOUR_SECONDS
        begin = held.begin
        while begin < held.end:
            end = min(begin - begin % step + step, held.end)
            use = _use(machine, held, measured, begin, end)
            of_workload.add(use)
            self._hour(machine, (begin - self._day.begin) // HOUR_SECONDS).use.add(use)
            begin = end

    def _whole(self, kind: MachineType, held: list[Holding]) -> None:
        hours = self._day.whole.setdefault(kind, {})
        for begin, end, machines in whole_machines(held, kind.gpus):
            for hour, seconds in self._hours(begin, end):
                hours[hour] = hours.get(hour, 0) + machines * seconds

    def _asleep(self, begin: int, end: int) -> None:
        for key, span in self._roster.asleep.items():
            last = end if span.end is None else min(end, span.end)
            for hour, seconds in self._hours(max(begin, span.begin), last):
                hours = self._day.asleep.setdefault(key.partition("@")[0], {})
                hours[hour] = hours.get(hour, 0) + seconds

    def _hours(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Each hour of the day that is touched, and how many seconds of it are."""
        while begin < end:
            hour = (begin - self._day.begin) // HOUR_SECONDS
            last = min(end, self._day.begin + (hour + 1) * HOUR_SECONDS)
            yield hour, last - begin
            begin = last


def _use(machine: Machine, held: Holding, measured: Measured, begin: int, end: int) -> Use:
    """Of a part of one step; or of an hour in which nothing was measured."""
    seconds, step, life = end - begin, begin - begin % STEP_SECONDS, held.life
    slices = 1000 * held.slices * seconds
    use = Use(slices, cpu=life.cpu * seconds, ram=life.ram * seconds)
    busy, memory = measured.busy.get(step), measured.memory.get(step)
    if busy is None:
        use.unmeasured = slices
    else:
        busy_slices = round(busy * machine.n * 1000 * seconds)
        use.used = min(busy_slices, slices)
        use.burst = busy_slices - use.used
    if memory is not None and measured.card_mib:
        use.memory = round(memory * seconds)
        use.memory_held = measured.card_mib * held.slices * seconds // machine.n
    return use
