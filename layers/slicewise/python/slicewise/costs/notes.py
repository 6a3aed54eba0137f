"""What a report cannot say, and why: one sentence each, for people. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from fractions import Fraction

from slicewise.costs.day import DAY_SECONDS, HOUR_SECONDS, Machine, MachineType
from slicewise.costs.moments import at
from slicewise.costs.prices import RESERVED, Prices
from slicewise.costs.report import Report
from slicewise.costs.tables import NO_TEAM, labels_seen
from slicewise.costs.tally import ClusterDays, Rates
from slicewise.costs.uncertainty import uncertain_hours
from slicewise.hardware import prices as shipped

AWS_DIFFERS = (
    "AWS's split cost allocation counts a slice as a whole GPU and splits by what pods ask for, not by what "
    "they use, so it shows other amounts for pods that share a GPU."
)

UNSEEN = (
    "No reconcile sees a machine that comes and goes between two of them: it is in no sum, and appears only "
    "in a comparison with a bill (--bill FILE)."
)

# Reconciles come each hour; for six more, measurements that cannot be read are waited for.
_LATEST = 7 * HOUR_SECONDS


def of(
    report: Report, clusters: Sequence[ClusterDays], rates: Rates, unsized: Collection[str]
) -> tuple[str, ...]:
    return (
        *_of_time(report, clusters),
        *_of_prices(report, rates, unsized),
        *_of_use(report),
        *_of_teams(report, clusters),
        *_of_savings(report, clusters),
        *_of_reservations(clusters),
        UNSEEN,
    )


def of_money(report: Report, clusters: Sequence[ClusterDays], prices: Prices) -> tuple[str, ...]:
    """Those that say how far its dollars are from what is paid and saved."""
    rates = Rates(prices)
    for machine in _machines(clusters):
        rates.usd(machine)
    return (*_of_prices(report, rates, ()), *_of_reservations(clusters))


def _of_time(report: Report, clusters: Sequence[ClusterDays]) -> Iterator[str]:
    for cluster in clusters:
        if not cluster.days:
            yield f"{cluster.name}: no costs are recorded in this time."
        elif missing := _missing_seconds(cluster):
            yield f"{cluster.name}: {_time(missing)} of this time not recorded, and not in any sum."
        if cluster.days and report.until.timestamp() - cluster.through > _LATEST:
            yield (
                f"{cluster.name} is counted up to {at(cluster.through):%Y-%m-%d %H:%M} UTC: no reconcile has "
                "counted it since. What machines cost after that is in no sum."
            )
        if first := report.counted_since.get(cluster.name):
            yield f"{cluster.name} is counted since {first:%Y-%m-%d %H:%M} UTC."
    if report.folded:
        folded = _plural(report.folded, "workload or instance", "workloads or instances")
        yield (
            f"{folded} of a day had no room in its record: the smallest workloads of a namespace are one, "
            "called (others)."
        )


def _missing_seconds(cluster: ClusterDays) -> int:
    """Between the first second that is counted and the last."""
    counted = sum(day.through - day.since for day in cluster.days)
    return cluster.through - cluster.days[0].since - counted


def _time(seconds: int) -> str:
    whole = seconds % DAY_SECONDS == 0
    return _plural(seconds // DAY_SECONDS, "day") if whole else f"{seconds / HOUR_SECONDS:,.1f} hours"


def _of_prices(report: Report, rates: Rates, unsized: Collection[str]) -> Iterator[str]:
    if report.unpriced:
        named = next((f" Pass --price {one}=DOLLARS." for one in report.unpriced if one), "")
        yield f"No price is known of {_list(report.unpriced)}, so dollars are sums without them.{named}"
    elsewhere = sorted({region for region in report.regions.values() if region != shipped.REGION})
    if elsewhere and not rates.prices.is_live and report.total.total.usd:
        places = f"{shipped.REGION}'s, and machines are in {_list(elsewhere)}"
        yield f"Prices are {places}: most cost more there. Pass --prices live."
    if rates.overstated:
        one = min(rates.overstated)
        yield f"{_list(rates.overstated)}: counted at the price on demand. Pass --price {one}=DOLLARS."
    if unsized:
        yield f"vCPUs and memory of {_list(unsized)} are not known, so AWS's split is not shown."


def _of_use(report: Report) -> Iterator[str]:
    held, unmeasured = report.total.allocated.gpu_hours, report.total.unmeasured.gpu_hours
    if unmeasured:
        yield (
            f"{float(unmeasured):,.1f} of {float(held):,.1f} GPU-hours that pods held were not measured: "
            "they were used or idle."
        )
    if report.memory is None and held > unmeasured:
        yield "No GPU memory was measured, so the lower bound goes by busy time alone."


def _of_teams(report: Report, clusters: Sequence[ClusterDays]) -> Iterator[str]:
    if not report.team_label:
        yield "No pod has one of the usual labels of a team. Pass --team-label KEY for a table by team."
    elif all(row.key in ((NO_TEAM,), ("",)) for row in report.by_team):
        seen = labels_seen(clusters)
        known = f" Labels that pods have: {_list(seen)}." if seen else ""
        yield f"No pod has the label {report.team_label}.{known}"


def _of_savings(report: Report, clusters: Sequence[ClusterDays]) -> Iterator[str]:
    if hours := uncertain_hours(clusters):
        yield (
            f"Uncertain by {_hours(hours)} machine-hours: machines ended between two reconciles, and the "
            "middle counts. Not in that: pods that came and went between two, and prices that are not yours."
        )
    if rounding := 2 * report.sharing.value - report.sharing.most - report.sharing.least:
        yield (
            f"${float(rounding):,.2f} of what sharing saved are GPUs of larger machines that the same pods "
            "would not have filled: where a smaller machine would have done, they were not saved."
        )
    if report.sharing.value < 0:
        yield (
            "Machines that start, drain or wait without pods are paid for and are not in the figure for "
            "whole GPUs, so sharing may show less than nothing."
        )


def _of_reservations(clusters: Sequence[ClusterDays]) -> Iterator[str]:
    reserved = {one.instance_type for one in _machines(clusters) if one.capacity_type == RESERVED}
    if reserved:
        yield (
            f"{_list(reserved)} in capacity reservations: these are paid for whether machines run or not. "
            "What sharing and nights saved of them leaves room for others, and lowers no bill by itself."
        )


def _machines(clusters: Sequence[ClusterDays]) -> set[Machine | MachineType]:
    found: set[Machine | MachineType] = set()
    for cluster in clusters:
        for day in cluster.days:
            found.update(day.hours, day.whole)
    return found


def _hours(hours: Fraction) -> str:
    return f"{float(hours):,.1f}" if hours >= 1 else f"{float(hours):.2f}"


def _list(names: Iterable[str], most: int = 8) -> str:
    found = sorted(name or "machines of no known type" for name in names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one}" if count == 1 else f"{count} {many or one + 's'}"
