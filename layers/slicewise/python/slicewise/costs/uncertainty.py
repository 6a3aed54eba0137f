"""
How far a report's dollars may be off: machines whose end lies between two reconciles, and machines of several
GPUs that the same pods would not have filled. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from slicewise.costs.day import HOUR_SECONDS, Hour, Machine, MachineType
from slicewise.costs.report import NOTHING
from slicewise.costs.tally import ClusterDays, Rates


def uncertain_usd(clusters: Sequence[ClusterDays], rates: Rates) -> Fraction:
    """Either way, if all such ends were off in one direction by as much as they can be."""
    days = [day for cluster in clusters for day in cluster.days]
    parts = (rates.usd(machine) * seconds for day in days for machine, seconds in day.uncertain.items())
    return sum(parts, NOTHING) / HOUR_SECONDS


def uncertain_hours(clusters: Sequence[ClusterDays]) -> Fraction:
    """Machine-hours."""
    days = [day for cluster in clusters for day in cluster.days]
    return Fraction(sum(seconds for day in days for seconds in day.uncertain.values()), HOUR_SECONDS)


def rounding_usd(whole: Mapping[MachineType, int], tallies: Mapping[Machine, Hour], rates: Rates) -> Fraction:
    """
    What of the figure for whole GPUs pays for GPUs that no pod would have had: its last machine of several
    GPUs is whole, where a smaller one might have done.

    Args:
        whole: Machine-seconds that the same pods would have needed.
    """
    held = _held_seconds(tallies.items())
    parts = (
        rates.usd(kind) * max(NOTHING, seconds - held.get(kind, NOTHING) / kind.gpus)
        for kind, seconds in whole.items()
        if kind.gpus > 1
    )
    return sum(parts, NOTHING) / HOUR_SECONDS


def _held_seconds(tallies: Iterable[tuple[Machine, Hour]]) -> dict[MachineType, Fraction]:
    """Of whole GPUs: one for each slice that pods held."""
    found: dict[MachineType, Fraction] = {}
    for machine, tally in tallies:
        held = Fraction(tally.use.held, 1000)
        found[machine.type] = found.get(machine.type, NOTHING) + held
    return found
