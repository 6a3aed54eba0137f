"""What of a report was paid for and not used, the largest first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from slicewise.costs.day import Day, Machine, Use, Workload
from slicewise.costs.report import Report
from slicewise.costs.tally import Rates

IDLE, FREE = "idle", "free"


class Waste(NamedTuple):
    """
    Attributes:
        usd: Of what was not used.
        kind: IDLE: pods held it and did not use it; FREE: no pod held it.
        what: For people: a workload, or a NodePool.
        busy: Mean busy share of the workload; None of what is free.
    """

    usd: Fraction
    kind: str
    what: str
    cluster: str
    busy: float | None = None


def wastes(report: Report, most: int = 3) -> tuple[Waste, ...]:
    """By workload where pods held GPUs, by NodePool where none did; nothing is in two of them."""
    found = [
        Waste(row.parts.idle.usd, IDLE, f"{row.key[1]}/{row.key[2]}", row.key[0], row.busy)
        for row in report.by_workload
        if row.key[0]
    ]
    found += [Waste(usd, FREE, pool, cluster) for (cluster, pool), usd in _free(report).items()]
    return tuple(sorted((one for one in found if one.usd > 0), key=_order)[:most])


def of_the_largest(days: Sequence[Day], rates: Rates, most: int = 50) -> tuple[Day, ...]:
    """
    Days with those workloads alone that may be among the largest wastes, and without labels: what all came to
    is in their hours. Rows of all workloads of a large cluster would take hundreds of MiB, and seconds.
    """
    idle: dict[Workload, float] = {}
    for day in days:
        for machine, uses in day.workloads.items():
            usd_a_ms = float(rates.usd(machine)) / max(1, machine.gpus * machine.n)
            for workload, use in uses.items():
                ms = use.held - use.used - use.unmeasured
                idle[workload] = idle.get(workload, 0.0) + ms * usd_a_ms
    largest = set(sorted(idle, key=lambda one: (-idle[one], one))[:most])
    return tuple(replace(day, workloads=_only(day, largest), labels={}) for day in days)


def _only(day: Day, kept: Collection[Workload]) -> dict[Machine, dict[Workload, Use]]:
    return {
        machine: {workload: use for workload, use in uses.items() if workload in kept}
        for machine, uses in day.workloads.items()
    }


def _free(report: Report) -> dict[tuple[str, str], Fraction]:
    found: dict[tuple[str, str], Fraction] = {}
    for row in report.by_machine:
        cluster, node_pool = row.key[:2]
        found[cluster, node_pool] = found.get((cluster, node_pool), Fraction(0)) + row.parts.free.usd
    return found


def _order(one: Waste) -> tuple[Fraction, str, str]:
    return -one.usd, one.cluster, one.what


def sentence(one: Waste) -> str:
    """Without dollars: what it is, and what it did."""
    if one.kind == FREE:
        return f"no pod held it: NodePool {one.what} of {one.cluster}"
    return f"held and not used by {one.what} of {one.cluster}, busy {one.busy or 0:.0%} of the time"


def sentences(report: Report, found: Sequence[Waste]) -> tuple[str, ...]:
    """Each with its dollars, and what part of what was paid that is."""
    total = report.total.total.usd
    return tuple(
        f"${float(one.usd):,.2f} ({float(one.usd / total) if total else 0:.0%}): {sentence(one)}"
        for one in found
    )
