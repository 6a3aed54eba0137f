"""
A report of days of clusters: what GPUs cost, who held them, and what was saved. Pure.

Everything is a fraction of whole numbers that reconciles counted, times a price's decimal digits: the parts
of each table add up to the machine-seconds' price exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from typing import Any

from slicewise.costs import notes
from slicewise.costs.bound import bound
from slicewise.costs.day import Hour, Machine, MachineType, Workload
from slicewise.costs.effects import effects, nights
from slicewise.costs.moments import at, by_day, by_hour, hours_of_week, whole_cost
from slicewise.costs.prices import Prices
from slicewise.costs.report import NOTHING, Cost, Interval, Night, Parts, Report
from slicewise.costs.tables import (
    WorkloadSums,
    machine_rows,
    machine_type,
    pod_rows,
    team_key,
    team_label,
    teams,
    workload_sums,
)
from slicewise.costs.tally import ClusterDays, Rates, add_hours, busy, memory, sum_of
from slicewise.costs.uncertainty import rounding_usd, uncertain_usd

# Hours of longer reports would be thousands of points.
MOST_DAYS_BY_HOUR = 35


def reckon(
    clusters: Sequence[ClusterDays], prices: Prices, since: datetime, until: datetime, label: str = ""
) -> Report:
    """
    Args:
        clusters: Of their days those count that begin from `since` to before `until`.
        label: That names a pod's team; the first of tables.TEAM_LABELS that a pod has, where it is empty.
    """
    found = [_within(cluster, since, until) for cluster in clusters]
    sums = _Sums(found, Rates(prices), since)
    figures, tables, charts = _figures(sums), _tables(sums, team_label(found, label)), _charts(sums)
    report = Report(since=since, until=until, **figures, **tables, **charts)
    return replace(report, notes=notes.of(report, found, sums.rates, sums.workloads.unsized))


def _within(cluster: ClusterDays, since: datetime, until: datetime) -> ClusterDays:
    days = [day for day in cluster.days if since <= at(day.begin) < until]
    return replace(cluster, days=tuple(sorted(days, key=lambda day: day.begin)))


@dataclass(frozen=True)
class _Sums:
    """What several figures are made of, each added up once."""

    clusters: Sequence[ClusterDays]
    rates: Rates
    since: datetime

    @cached_property
    def tallies(self) -> dict[Machine, Hour]:
        found: dict[Machine, Hour] = {}
        for cluster in self.clusters:
            for day in cluster.days:
                for machine, hours in day.hours.items():
                    add_hours(found, machine, hours.values())
        return found

    @cached_property
    def total(self) -> Parts:
        return sum_of(self.tallies, self.rates)

    @cached_property
    def workloads(self) -> WorkloadSums:
        return workload_sums(self.clusters, self.rates)

    @cached_property
    def nights(self) -> list[tuple[Night, Fraction]]:
        return nights(self.clusters, self.rates, self.since)

    @cached_property
    def whole(self) -> Cost:
        return whole_cost(self.whole_seconds, self.rates)

    @cached_property
    def whole_seconds(self) -> dict[MachineType, int]:
        seconds: dict[MachineType, int] = {}
        for cluster in self.clusters:
            for day in cluster.days:
                for kind, hours in day.whole.items():
                    seconds[kind] = seconds.get(kind, 0) + sum(hours.values())
        return seconds


def _figures(sums: _Sums) -> dict[str, Any]:
    error = uncertain_usd(sums.clusters, sums.rates)
    rounding = rounding_usd(sums.whole_seconds, sums.tallies, sums.rates)
    slept = sum((usd for _, usd in sums.nights), NOTHING)
    sharing = sums.whole.usd - sums.total.total.usd
    saved = _interval(sharing + slept, error, rounding)
    return {
        "total": sums.total,
        "busy": busy(sums.total),
        "memory": memory(tally.use for tally in sums.tallies.values()),
        "whole": sums.whole,
        "bound": bound(sums.clusters, sums.rates),
        "sharing": _interval(sharing, error, rounding),
        "nights_usd": slept,
        "headline": saved,
        "headline_share": _share(saved, sums.whole.usd + slept),
    }


def _interval(value: Fraction, error: Fraction, rounding: Fraction) -> Interval:
    """
    Args:
        error: In either direction.
        rounding: By how much less may have been saved, beside that.
    """
    return Interval(value, value - error - rounding, value + error)


def _share(saved: Interval, of: Fraction) -> Interval:
    """
    Args:
        of: What would have been paid: machines' ends in question change what was paid, and not this.
    """
    if of <= 0:
        return Interval(NOTHING, NOTHING, NOTHING)
    return Interval(saved.value / of, saved.least / of, saved.most / of)


def _tables(sums: _Sums, label: str) -> dict[str, Any]:
    clusters, rates, workloads, total = sums.clusters, sums.rates, sums.workloads, sums.total
    by_team = team_key(teams(clusters, label))
    return {
        "by_cluster": machine_rows(clusters, rates, lambda cluster, machine: (cluster,)),
        "by_pool": machine_rows(clusters, rates, lambda cluster, machine: (cluster, machine.pool)),
        "by_machine": machine_rows(clusters, rates, _by_machine),
        "by_namespace": pod_rows(workloads, rates, total, lambda cluster, one: (one.namespace,)),
        "by_team": pod_rows(workloads, rates, total, by_team) if label else (),
        "team_label": label,
        "by_workload": pod_rows(workloads, rates, total, _by_workload),
    }


def _by_machine(cluster: str, machine: Machine) -> tuple[str, ...]:
    return cluster, machine.node_pool, machine_type(machine), str(machine.n)


def _by_workload(cluster: str, workload: Workload) -> tuple[str, ...]:
    return cluster, workload.namespace, f"{workload.kind}/{workload.name}"


def _charts(sums: _Sums) -> dict[str, Any]:
    clusters, rates = sums.clusters, sums.rates
    days = {day.begin for cluster in clusters for day in cluster.days}
    return {
        "clusters": tuple(cluster.name for cluster in clusters),
        "regions": {cluster.name: cluster.region for cluster in clusters},
        "counted_since": _counted_since(clusters, sums.since),
        "terms": rates.prices.terms + (", or as given" if rates.prices.given else ""),
        "by_day": by_day(clusters, rates),
        "by_hour": by_hour(clusters, rates) if len(days) <= MOST_DAYS_BY_HOUR else (),
        "hours_of_week": hours_of_week(clusters),
        "nights": tuple(night for night, _ in sums.nights),
        "changes": effects(clusters, rates, sums.nights),
        "machine_seconds": {cluster.name: _machine_seconds(cluster) for cluster in clusters},
        "folded": sum(max((day.folded for day in cluster.days), default=0) for cluster in clusters),
        # The last: by now each machine was looked up.
        "unpriced": tuple(sorted(rates.unpriced)),
    }


def _counted_since(clusters: Sequence[ClusterDays], since: datetime) -> dict[str, datetime]:
    firsts = {one.name: at(one.days[0].since) for one in clusters if one.days}
    return {name: first for name, first in firsts.items() if first > since}


def _machine_seconds(cluster: ClusterDays) -> int:
    by_hours = [hours for day in cluster.days for hours in day.hours.values()]
    return sum(hour.machine_seconds for hours in by_hours for hour in hours.values())
