"""How far a report's dollars may be off: machines whose end lies between two reconciles. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from slicewise.costs.day import MachineType
from slicewise.costs.report import NOTHING
from slicewise.costs.tally import ClusterDays, Rates

# Reconciles of a cluster are an hour apart at most while none fails, so that the middle between two is half
# an hour from a machine's true end at most. Days do not say how far apart they were.
HALF_BETWEEN_RECONCILES = Fraction(1, 2)


def uncertain_usd(clusters: Sequence[ClusterDays], rates: Rates) -> Fraction:
    """Either way, if all ends were off by half the time between two reconciles in one direction."""
    ended = [machine for cluster in clusters for machine in ended_machines(cluster)]
    return sum((rates.usd(machine) for machine in ended), NOTHING) * HALF_BETWEEN_RECONCILES


def ended_machines(cluster: ClusterDays) -> list[MachineType]:
    """Instances that were there on a day and are not later; folded ones have no id, and are not counted."""
    last: dict[str, MachineType] = {}
    for day in cluster.days:
        last |= {instance: machine for instance, (machine, _) in day.instances.items() if instance}
    return [machine for instance, machine in last.items() if instance not in _may_live(cluster)]


def _may_live(cluster: ClusterDays) -> frozenset[str]:
    """Those of the last day, but for those of which its roster says that they ended."""
    if not cluster.days:
        return frozenset()
    newest = cluster.days[-1]
    if newest.roster is None:
        return frozenset(newest.instances)
    return frozenset(node.instance for node in newest.roster.nodes.values() if node.end is None)
