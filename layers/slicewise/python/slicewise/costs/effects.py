"""
What nights, changes of N and moves between classes brought. Pure.

A change of N: in each hour until the NodePool's next one, the machines that the pods would have needed at the
N before, less those at the N after, both rounded up from the hour's mean of slices that pods held. A class
move: the GPU time of the workload's slices in its new class, at both classes, until its next move; by day, so
that nothing is rounded up. A sleep: its night, by off-hours' own count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from math import ceil
from typing import Any

from slicewise.costs.day import DAY_SECONDS, HOUR_SECONDS, Change, Day, Machine, MachineType
from slicewise.costs.moments import HOURS_A_DAY, at
from slicewise.costs.prices import ON_DEMAND
from slicewise.costs.report import NOTHING, Cost, Effect, Night
from slicewise.costs.tally import ClusterDays, Rates, counted_seconds
from slicewise.errors import UNREADABLE

N, CLASS, ASLEEP, AWAKE = "n", "class", "asleep", "awake"


def nights(clusters: Iterable[ClusterDays], rates: Rates, since: datetime) -> list[tuple[Night, Fraction]]:
    """
    With what each saved, in dollars, at the report's prices; by when it began, from `since` on.

    A night that goes on past midnight is in several days: its newest count is the one.
    """
    found = []
    for cluster in clusters:
        details = {began: detail for day in cluster.days for began, detail in day.nights.items()}
        found += [
            night
            for began, detail in details.items()
            if (night := _night(cluster.name, began, detail, rates)) and night[0].began >= since
        ]
    return sorted(found, key=lambda one: (one[0].began, one[0].cluster))


def _night(
    cluster: str, began: str, detail: Mapping[str, Any], rates: Rates
) -> tuple[Night, Fraction] | None:
    """None where another release, or a person, wrote it so that it cannot be read."""
    try:
        hours = {kind: Fraction(str(one)) for kind, one in detail["saved"].items()}
        usd = sum((one * (_rate(kind, rates) or 0) for kind, one in hours.items()), NOTHING)
        ended = _moment(detail["ended"]) if detail.get("ended") else None
        begin = _moment(began)
        return Night(cluster, begin, ended, float(sum(hours.values())), float(usd)), usd
    except UNREADABLE:
        return None


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _rate(kind: str, rates: Rates) -> Fraction | None:
    """Such as "g6.xlarge" and "g6.xlarge spot", as off-hours calls them."""
    machine, _, term = kind.partition(" ")
    return rates.of(machine, term or ON_DEMAND)


def effects(
    clusters: Iterable[ClusterDays], rates: Rates, slept: Sequence[tuple[Night, Fraction]]
) -> tuple[Effect, ...]:
    """In order of time."""
    found: list[Effect] = []
    for cluster in clusters:
        own = [night for night in slept if night[0].cluster == cluster.name]
        found += _of_cluster(cluster, rates, own)
    return tuple(sorted(found, key=lambda one: (one.at, one.cluster, one.what)))


def _of_cluster(cluster: ClusterDays, rates: Rates, slept: list[tuple[Night, Fraction]]) -> Iterator[Effect]:
    changes = sorted({change for day in cluster.days for change in day.changes})
    left, ends = list(slept), _ends(changes)
    for change in changes:
        end = ends[change]
        effect = _effect(cluster.name, change)
        if change.kind == N:
            yield replace(effect, saved=_of_n(cluster, change, end or cluster.through, rates))
        elif change.kind == CLASS:
            yield replace(effect, saved=_of_class(cluster, change, end, rates))
        else:
            yield replace(effect, saved=_of_sleep(change, left))


def _ends(changes: Sequence[Change]) -> dict[Change, int | None]:
    """When the next of the same kind and object came."""
    nexts: dict[tuple[str, str], int] = {}
    found: dict[Change, int | None] = {}
    for change in reversed(changes):
        key = change.kind, change.what
        found[change] = nexts.get(key)
        nexts[key] = change.at
    return found


def _effect(cluster: str, change: Change) -> Effect:
    moment = at(change.at)
    return Effect(cluster, moment, change.kind, change.what, change.before, change.after, change.why, moment)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) else None


def _of_n(cluster: ClusterDays, change: Change, end: int, rates: Rates) -> Cost | None:
    before, after = _number(change.before), _number(change.after)
    if before is None or after is None:
        return None
    saved = Cost()
    for day in cluster.days:
        if not counted_seconds(day, change.at, end):
            continue
        for hour in range(HOURS_A_DAY):
            begin = day.begin + hour * HOUR_SECONDS
            share = counted_seconds(day, max(begin, change.at), min(begin + HOUR_SECONDS, end))
            if share:
                counted = counted_seconds(day, begin, begin + HOUR_SECONDS)
                for kind, slices in _mean_slices(day, hour, change.what, counted).items():
                    fewer = _machines(slices, before, kind) - _machines(slices, after, kind)
                    hours = Fraction(fewer * share, HOUR_SECONDS)
                    saved += Cost(hours * kind.gpus, hours * rates.usd(kind))
    return saved


def _mean_slices(day: Day, hour: int, node_pool: str, counted: int) -> dict[MachineType, Fraction]:
    """That pods held in an hour, by the machines that they were on."""
    found: dict[MachineType, Fraction] = {}
    for machine, by_hour in day.hours.items():
        if machine.node_pool == node_pool and hour in by_hour and machine.gpus:
            held = Fraction(by_hour[hour].use.held, 1000 * counted)
            found[machine.type] = found.get(machine.type, NOTHING) + held
    return found


def _machines(slices: Fraction, n: int, kind: MachineType) -> int:
    return ceil(slices / (n * kind.gpus))


def _of_class(cluster: ClusterDays, change: Change, end: int | None, rates: Rates) -> Cost | None:
    """A day counts for the last move in it."""
    before, after = _number(change.before), _number(change.after)
    if before is None or after is None:
        return None
    saved = Cost()
    for day in cluster.days:
        if not _midnight(change.at) <= day.begin < (cluster.through if end is None else _midnight(end)):
            continue
        for machine, held in _held_in_class(day, change.what, after):
            hours = Fraction(held, 1000 * HOUR_SECONDS) * (Fraction(1, before) - Fraction(1, after))
            saved += Cost(hours, hours * rates.usd(machine) / machine.gpus)
    return saved


def _midnight(second: int) -> int:
    return second - second % DAY_SECONDS


def _held_in_class(day: Day, what: str, n: int) -> Iterator[tuple[Machine, int]]:
    """Slice-milliseconds of a workload, which is called as changes call it."""
    for machine, workloads in day.workloads.items():
        for workload, use in workloads.items():
            named = f"{workload.namespace}/{workload.kind}/{workload.name}"
            if named == what and machine.n == n and machine.gpus:
                yield machine, use.held


def _of_sleep(change: Change, left: list[tuple[Night, Fraction]]) -> Cost | None:
    """A night is the whole cluster's: it is shown with the first of its NodePools."""
    if change.kind != ASLEEP:
        return None
    moment = at(change.at)
    for night in left:
        ended = night[0].ended
        if night[0].began <= moment and (ended is None or moment <= ended):
            left.remove(night)
            return Cost(NOTHING, night[1])
    return None
