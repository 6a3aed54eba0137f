"""Whole numbers of days, added up by machine, and what they cost in exact fractions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from slicewise.costs.day import HOUR_SECONDS, Day, Hour, Machine, MachineType, Use
from slicewise.costs.prices import Prices, key_of
from slicewise.costs.report import NOTHING, Cost, Parts

_MS_AN_HOUR = 1000 * HOUR_SECONDS


@dataclass(frozen=True)
class ClusterDays:
    """
    What is kept of a cluster within a report.

    Attributes:
        days: In order of time, each once.
    """

    name: str
    region: str
    days: tuple[Day, ...] = ()

    @cached_property
    def through(self) -> int:
        """Second up to which it is counted; 0 where nothing is."""
        return max((day.through for day in self.days), default=0)


@dataclass
class Rates:
    """Prices as fractions, each looked up once, and which machines have none."""

    prices: Prices
    unpriced: set[str] = field(default_factory=set)
    overstated: set[str] = field(default_factory=set)
    _known: dict[tuple[str, str], Fraction | None] = field(default_factory=dict)

    def usd(self, machine: Machine | MachineType) -> Fraction:
        """Of an hour; 0 where there is no price."""
        return self.of(machine.instance_type, machine.capacity_type) or NOTHING

    def of(self, instance_type: str, term: str) -> Fraction | None:
        key = instance_type, term
        if key not in self._known:
            self._known[key] = self._look_up(*key)
        return self._known[key]

    def _look_up(self, instance_type: str, term: str) -> Fraction | None:
        found = self.prices.exact(instance_type, term)
        if found is None:
            self.unpriced.add(instance_type)
        elif self.prices.is_overstated(instance_type, term):
            self.overstated.add(key_of(instance_type, term))
        return found


def add_hours(tallies: dict[Machine, Hour], machine: Machine, hours: Iterable[Hour]) -> None:
    """Into the sum of its machine."""
    tally = tallies.setdefault(machine, Hour())
    for hour in hours:
        tally.machine_seconds += hour.machine_seconds
        tally.use.add(hour.use)


def machine_cost(machine: Machine | MachineType, seconds: int, usd: Fraction) -> Cost:
    """
    Args:
        usd: Of an hour.
    """
    return Cost(Fraction(seconds * machine.gpus, HOUR_SECONDS), usd * seconds / HOUR_SECONDS)


def slice_cost(machine: Machine, slice_ms: int, usd: Fraction) -> Cost:
    """A machine-hour has 3,600,000 x GPUs x N slice-milliseconds."""
    offered = _MS_AN_HOUR * machine.gpus * machine.n
    if not offered:
        return Cost()
    return Cost(Fraction(slice_ms * machine.gpus, offered), usd * slice_ms / offered)


def held_parts(machine: Machine, use: Use, usd: Fraction) -> Parts:
    """Of what pods held; nothing is free."""
    idle = use.held - use.used - use.unmeasured
    used, idle_, unmeasured = (slice_cost(machine, ms, usd) for ms in (use.used, idle, use.unmeasured))
    return Parts(used, idle_, unmeasured)


def parts_of(machine: Machine, tally: Hour, usd: Fraction) -> Parts:
    """Their sum is the machine-seconds' price, exactly."""
    held = held_parts(machine, tally.use, usd)
    return held._replace(free=machine_cost(machine, tally.machine_seconds, usd) - held.allocated)


def sum_of(tallies: Mapping[Machine, Hour], rates: Rates) -> Parts:
    found = Parts()
    for machine, tally in tallies.items():
        found += parts_of(machine, tally, rates.usd(machine))
    return found


def busy(parts: Parts) -> float | None:
    """Mean busy share of the GPU time that was measured."""
    measured = parts.used.gpu_hours + parts.idle.gpu_hours
    return float(parts.used.gpu_hours / measured) if measured else None


def memory(uses: Iterable[Use]) -> float | None:
    """Mean part of the held GPU memory that was used."""
    found = [(use.memory, use.memory_held) for use in uses]
    held = sum(one[1] for one in found)
    return sum(one[0] for one in found) / held if held else None


def counted_seconds(day: Day, begin: int, end: int) -> int:
    """How much of a time is counted in a day."""
    return max(0, min(day.through, end) - max(day.since, begin))
