"""
What no placement of pods could go below: GPU time that they were busy, or GPU memory that they used. Pure.

By the hour, cluster and GPU model, the larger of the two, at the price of the model's cheapest GPU-hour.
What was not measured counts as held. Never more than what was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from slicewise.costs.day import HOUR_SECONDS, Day, Hour, Machine
from slicewise.costs.report import NOTHING, Cost
from slicewise.costs.tally import ClusterDays, Rates
from slicewise.hardware import gpus, prices
from slicewise.hardware.gpus import GpuModel


@dataclass
class _Cheapest:
    """Dollars of a GPU-hour of each model, by the machines that were there and by the table that ships."""

    rates: Rates
    seen: dict[str, Fraction] = field(default_factory=dict)

    def add(self, machine: Machine) -> None:
        usd = self.rates.of(machine.instance_type, machine.capacity_type)
        if usd is None or not machine.gpus:
            return
        offers = [usd / machine.gpus, self.seen.get(name_of(machine)), self._listed(machine)]
        self.seen[name_of(machine)] = min(offer for offer in offers if offer is not None)

    def _listed(self, machine: Machine) -> Fraction | None:
        """Prices of another Region are no measure of those that were asked of AWS."""
        model = model_of(machine)
        if model is None or self.rates.prices.is_live:
            return None
        found = prices.cheapest(model.families)
        return Fraction(str(found[1])) / min(model.counts) if found else None


def model_of(machine: Machine) -> GpuModel | None:
    """By the machine's family: Karpenter calls both A100s the same."""
    family = machine.instance_type.partition(".")[0]
    return next((model for model in gpus.MODELS if family in model.families), None)


def name_of(machine: Machine) -> str:
    model = model_of(machine)
    return model.name if model else machine.gpu


def bound(clusters: Sequence[ClusterDays], rates: Rates) -> Cost:
    cheapest = _Cheapest(rates)
    days = [day for cluster in clusters for day in cluster.days]
    for machine in {machine for day in days for machine in day.hours}:
        cheapest.add(machine)
    return sum((_of_a_day(day, cheapest) for day in days), Cost())


def _of_a_day(day: Day, cheapest: _Cheapest) -> Cost:
    found: dict[tuple[str, int], list[tuple[Machine, Hour]]] = {}
    for machine, by_hour in day.hours.items():
        for hour, one in by_hour.items():
            if machine.gpus and machine.n:
                found.setdefault((name_of(machine), hour), []).append((machine, one))
    return sum((_of_an_hour(model, ones, cheapest) for (model, _), ones in found.items()), Cost())


def _of_an_hour(model: str, ones: Sequence[tuple[Machine, Hour]], cheapest: _Cheapest) -> Cost:
    """Machines without a price cost nothing in the total, so they do not here."""
    least, priced = _least(ones), [one for one in ones if cheapest.rates.usd(one[0])]
    usd = min(least, _least(priced)) * cheapest.seen.get(model, NOTHING)
    return Cost(least, usd)


def _least(ones: Sequence[tuple[Machine, Hour]]) -> Fraction:
    """GPU-hours."""
    there = Fraction(sum(hour.machine_seconds * machine.gpus for machine, hour in ones), HOUR_SECONDS)
    unmeasured = _gpu_hours((machine, hour.use.unmeasured) for machine, hour in ones)
    busy = _gpu_hours((machine, hour.use.used) for machine, hour in ones)
    memory = sum((_memory_hours(*one) for one in ones), NOTHING)
    return min(there, unmeasured + max(busy, memory))


def _gpu_hours(slices: Iterable[tuple[Machine, int]]) -> Fraction:
    return sum((Fraction(ms, 1000 * HOUR_SECONDS * machine.n) for machine, ms in slices), NOTHING)


def _memory_hours(machine: Machine, hour: Hour) -> Fraction:
    """How many GPU-hours of memory were used; 0 where the model is not known."""
    model = model_of(machine)
    return Fraction(hour.use.memory, model.memory_mib * HOUR_SECONDS) if model else NOTHING
