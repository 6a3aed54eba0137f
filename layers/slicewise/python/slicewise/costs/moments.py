"""A report's hours and days: what they cost, how busy they were, how many pods shared a GPU. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from slicewise.costs.day import DAY_SECONDS, HOUR_SECONDS, Day, Hour, Machine, MachineType
from slicewise.costs.report import Cost, Moment, Parts
from slicewise.costs.tally import (
    ClusterDays,
    Rates,
    add_hours,
    busy,
    counted_seconds,
    machine_cost,
    parts_of,
)

DAYS_A_WEEK, HOURS_A_DAY = 7, 24

Week = tuple[tuple[tuple[float | None, float], ...], ...]


@dataclass
class _Span:
    """What is added up of one hour or day."""

    parts: Parts = field(default_factory=Parts)
    whole: Cost = field(default_factory=Cost)
    n: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float | None] = field(default_factory=dict)
    asleep: int = 0
    awake_or_asleep: int = 0


def by_day(clusters: Sequence[ClusterDays], rates: Rates) -> tuple[Moment, ...]:
    return _moments(clusters, rates, DAY_SECONDS)


def by_hour(clusters: Sequence[ClusterDays], rates: Rates) -> tuple[Moment, ...]:
    return _moments(clusters, rates, HOUR_SECONDS)


def _moments(clusters: Sequence[ClusterDays], rates: Rates, length: int) -> tuple[Moment, ...]:
    """Of each time of that length of which a cluster has something counted."""
    spans: dict[int, _Span] = {}
    for cluster in clusters:
        node_pools = node_pools_of(cluster)
        for day in cluster.days:
            for begin in range(day.begin, day.begin + DAY_SECONDS, length):
                if counted := counted_seconds(day, begin, begin + length):
                    span = spans.setdefault(begin, _Span())
                    span.awake_or_asleep += counted * len(node_pools)
                    _add(span, cluster.name, day, hours_of(day, begin, length), rates)
    return tuple(_moment(begin, spans[begin]) for begin in sorted(spans))


def node_pools_of(cluster: ClusterDays) -> set[str]:
    """Those that had machines, or slept."""
    machines = {machine.node_pool for day in cluster.days for machine in day.hours}
    return machines | {node_pool for day in cluster.days for node_pool in day.asleep}


def hours_of(day: Day, begin: int, length: int) -> range:
    first = (begin - day.begin) // HOUR_SECONDS
    return range(first, first + length // HOUR_SECONDS)


def _add(span: _Span, cluster: str, day: Day, hours: range, rates: Rates) -> None:
    of_pools: dict[str, dict[Machine, Hour]] = {}
    for machine, by_hour in day.hours.items():
        there = [by_hour[hour] for hour in hours if hour in by_hour]
        if there:
            add_hours(of_pools.setdefault(machine.node_pool, {}), machine, there)
    for node_pool, tallies in of_pools.items():
        parts = sum((parts_of(machine, one, rates.usd(machine)) for machine, one in tallies.items()), Parts())
        span.parts += parts
        span.n[f"{cluster}/{node_pool}"] = _mean_n(tallies)
        span.busy[f"{cluster}/{node_pool}"] = busy(parts)
    span.whole += whole_cost(_of_hours(day.whole, hours), rates)
    span.asleep += sum(by_hour.get(hour, 0) for by_hour in day.asleep.values() for hour in hours)


def _mean_n(tallies: Mapping[Machine, Hour]) -> float:
    seconds = sum(tally.machine_seconds for tally in tallies.values())
    slices = sum(machine.n * tally.machine_seconds for machine, tally in tallies.items())
    return slices / seconds if seconds else float(max(machine.n for machine in tallies))


def _of_hours(whole: Mapping[MachineType, Mapping[int, int]], hours: Iterable[int]) -> dict[MachineType, int]:
    return {kind: sum(by_hour.get(hour, 0) for hour in hours) for kind, by_hour in whole.items()}


def whole_cost(seconds: Mapping[MachineType, int], rates: Rates) -> Cost:
    return sum((machine_cost(kind, one, rates.usd(kind)) for kind, one in seconds.items()), Cost())


def _moment(begin: int, span: _Span) -> Moment:
    asleep = min(1.0, span.asleep / span.awake_or_asleep) if span.awake_or_asleep else 0.0
    return Moment(at(begin), span.parts, span.whole, span.n, span.busy, asleep)


def at(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def hours_of_week(clusters: Sequence[ClusterDays]) -> Week:
    """
    Of free slices it is known that they were not busy; held ones that no source measured are left out. Where
    nothing of what pods held was measured, the busy share is None.
    """
    week: list[list[tuple[float | None, float]]] = []
    sums = [_week_of(cluster) for cluster in clusters]
    for weekday in range(DAYS_A_WEEK):
        week.append([_cell([one[weekday, hour] for one in sums]) for hour in range(HOURS_A_DAY)])
    return tuple(map(tuple, week))


@dataclass
class _WeekHour:
    """GPU-seconds: busy, known to be busy or not, held, and there; and seconds that are counted."""

    busy: float = 0.0
    known: float = 0.0
    held: float = 0.0
    unmeasured: float = 0.0
    there: int = 0
    counted: int = 0


def _cell(found: Sequence[_WeekHour]) -> tuple[float | None, float]:
    known = sum(one.known for one in found)
    held, unmeasured = (sum(getattr(one, name) for one in found) for name in ("held", "unmeasured"))
    if held and held == unmeasured:
        known = 0.0
    gpus = sum(one.there / one.counted for one in found if one.counted)
    return (sum(one.busy for one in found) / known if known else None), gpus


def _week_of(cluster: ClusterDays) -> dict[tuple[int, int], _WeekHour]:
    found = {(weekday, hour): _WeekHour() for weekday in range(DAYS_A_WEEK) for hour in range(HOURS_A_DAY)}
    for day in cluster.days:
        weekday = at(day.begin).weekday()
        for hour in range(HOURS_A_DAY):
            begin = day.begin + hour * HOUR_SECONDS
            found[weekday, hour].counted += counted_seconds(day, begin, begin + HOUR_SECONDS)
        for machine, by_hour in day.hours.items():
            for hour, one in by_hour.items():
                _add_to_week(found[weekday, hour], machine, one)
    return found


def _add_to_week(cell: _WeekHour, machine: Machine, hour: Hour) -> None:
    there, per_gpu = hour.machine_seconds * machine.gpus, 1000 * max(1, machine.n)
    cell.there += there
    cell.busy += hour.use.used / per_gpu
    cell.held += hour.use.held / per_gpu
    cell.unmeasured += hour.use.unmeasured / per_gpu
    cell.known += there - hour.use.unmeasured / per_gpu
