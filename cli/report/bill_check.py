"""What a bill and a report say of the same instances, day by day. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from slicewise.costs.day import DAY_SECONDS, HOUR_SECONDS
from slicewise.costs.moments import at
from slicewise.costs.report import NOTHING, BillCheck, BillLine
from slicewise.costs.tally import ClusterDays, Rates
from slicewise.hardware import gpus

from cli.report.bill import Bill

# Reconciles are an hour apart at most while none fails, and an end between two counts in the middle.
HALF_BETWEEN_RECONCILES = Fraction(1, 2)
# Price lists have a few decimals more than a person writes.
SAME_PRICE = Fraction(1, 100)
USD = "USD"
OTHERS = "lines of other services and resources"
_GPU_FAMILIES = frozenset(family for model in gpus.MODELS for family in model.families)


class _Amount(NamedTuple):
    hours: Fraction = NOTHING
    usd: Fraction = NOTHING


def check(bill: Bill, clusters: Sequence[ClusterDays], rates: Rates) -> BillCheck:
    """Of the days that both have whole: instances that differ, the largest difference first."""
    days = _whole_days(bill, clusters)
    currency = ", ".join(sorted(bill.currencies)) or USD
    seen, billed = _seen(clusters, rates, days), _billed(bill, days, currency == USD)
    types = _types(clusters) | {instance: kind for instance, kind in bill.types.items() if kind}
    known = sorted({*seen, *(one for one in billed if _is_gpu(types.get(one, "")))})
    lines = [_line(instance, types.get(instance, ""), seen, billed, currency) for instance in known]
    differing = [line for line in lines if _differs(line)]
    return BillCheck(
        ", ".join(bill.sources),
        currency,
        tuple(sorted(differing, key=_by_difference)),
        len(lines) - len(differing),
        tuple(_notes(bill, clusters, days, currency)),
    )


def _whole_days(bill: Bill, clusters: Sequence[ClusterDays]) -> frozenset[int]:
    recorded = [day for cluster in clusters for day in cluster.days]
    partly = {one.begin for one in recorded if one.since > one.begin or one.through < one.begin + DAY_SECONDS}
    return frozenset(one.begin for one in recorded if one.begin not in partly and bill.has_all_of(one.begin))


def _seen(clusters: Sequence[ClusterDays], rates: Rates, days: Collection[int]) -> dict[str, _Amount]:
    """Instances that had no room of their own in a day's record have no id."""
    found: dict[str, _Amount] = {}
    for cluster in clusters:
        for day in cluster.days:
            if day.begin in days:
                for instance, (machine, seconds) in day.instances.items():
                    hours = Fraction(seconds, HOUR_SECONDS)
                    _add(found, instance, _Amount(hours, hours * rates.usd(machine)))
    found.pop("", None)
    return found


def _billed(bill: Bill, days: Collection[int], in_usd: bool) -> dict[str, _Amount]:
    found: dict[str, _Amount] = {}
    for (instance, day), (hours, usd) in bill.days.items():
        if day in days:
            _add(found, instance, _Amount(hours, usd if in_usd else NOTHING))
    return found


def _add(found: dict[str, _Amount], instance: str, amount: _Amount) -> None:
    before = found.get(instance, _Amount())
    found[instance] = _Amount(before.hours + amount.hours, before.usd + amount.usd)


def _types(clusters: Sequence[ClusterDays]) -> dict[str, str]:
    days = [day for cluster in clusters for day in cluster.days]
    return {
        instance: machine.instance_type for day in days for instance, (machine, _) in day.instances.items()
    }


def _is_gpu(instance_type: str) -> bool:
    return instance_type.partition(".")[0] in _GPU_FAMILIES


def _line(
    instance: str,
    instance_type: str,
    seen: Mapping[str, _Amount],
    billed: Mapping[str, _Amount],
    currency: str,
) -> BillLine:
    ours, its = seen.get(instance), billed.get(instance)
    return BillLine(
        instance,
        instance_type,
        ours.hours if ours else None,
        ours.usd if ours else None,
        its.hours if its else None,
        its.usd if its and currency == USD else None,
    )


def _differs(line: BillLine) -> bool:
    """By more than reconciles can be off, or in what an hour costs."""
    if line.seen_hours is None or line.billed_hours is None:
        return True
    if abs(line.seen_hours - line.billed_hours) > HALF_BETWEEN_RECONCILES:
        return True
    if line.seen_usd is None or line.billed_usd is None or not line.seen_hours or not line.billed_hours:
        return False
    ours, its = line.seen_usd / line.seen_hours, line.billed_usd / line.billed_hours
    return abs(ours - its) > SAME_PRICE * max(ours, its)


def _by_difference(line: BillLine) -> tuple[Fraction, Fraction, str]:
    usd = abs((line.seen_usd or NOTHING) - (line.billed_usd or NOTHING))
    hours = abs((line.seen_hours or NOTHING) - (line.billed_hours or NOTHING))
    return -usd, -hours, line.instance


def _notes(
    bill: Bill, clusters: Sequence[ClusterDays], days: Collection[int], currency: str
) -> Iterator[str]:
    recorded = sorted({day.begin for cluster in clusters for day in cluster.days})
    yield from _of_days(recorded, days)
    if currency != USD:
        yield f"It is in {currency}, so hours are compared and dollars are not."
    for what, count in bill.left_out.most_common():
        usd = bill.left_out_usd[what]
        amount = f", {float(usd):,.2f} {currency} in all" if usd else ""
        yield f"Left out: {count:,} {what or OTHERS}{amount}."
    if bill.unreadable:
        first = bill.first_unreadable
        yield f"Left out: {bill.unreadable:,} lines that cannot be read; the first is {first}."
    folded = sum("" in day.instances for one in clusters for day in one.days if day.begin in days)
    if folded:
        yield f"On {folded} days some instances had no room in the record: they are only in the bill."


def _of_days(recorded: Sequence[int], days: Collection[int]) -> Iterator[str]:
    if not days:
        yield "No day is whole in both the bill and the report, so nothing is compared."
    elif len(days) < len(recorded):
        shown = f"{at(min(days)):%Y-%m-%d} to {at(max(days)):%Y-%m-%d}"
        yield f"Compared are the {len(days)} of {len(recorded)} days that both have whole, {shown}."
