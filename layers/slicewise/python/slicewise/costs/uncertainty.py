"""How far a report's dollars may be off: machines whose end lies between two reconciles. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from slicewise.costs.day import HOUR_SECONDS
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
