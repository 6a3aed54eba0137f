"""Tables of a report: who held what, and what of it was used. The rows of each add up to the total. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from slicewise.costs import aws_split
from slicewise.costs.day import OTHERS, Hour, Machine, Use, Workload
from slicewise.costs.prices import ON_DEMAND
from slicewise.costs.report import NOTHING, Parts, Row
from slicewise.costs.tally import (
    ClusterDays,
    Rates,
    add_hours,
    busy,
    held_parts,
    machine_cost,
    memory,
    sum_of,
)

# Which of a pod's labels names its team, where the person who asks names none; the first that is there.
TEAM_LABELS = ("team", "app.kubernetes.io/team", "owner")
NO_TEAM = "(no team)"

Key = tuple[str, ...]


def machine_rows(
    clusters: Sequence[ClusterDays], rates: Rates, key_of: Callable[[str, Machine], Key]
) -> tuple[Row, ...]:
    """A row for each key, by what it costs."""
    found: dict[Key, dict[Machine, Hour]] = {}
    for cluster in clusters:
        for day in cluster.days:
            for machine, hours in day.hours.items():
                add_hours(found.setdefault(key_of(cluster.name, machine), {}), machine, hours.values())
    return _sorted(_machine_row(key, tallies, rates) for key, tallies in found.items())


def _machine_row(key: Key, tallies: Mapping[Machine, Hour], rates: Rates) -> Row:
    parts = sum_of(tallies, rates)
    return Row(key, parts, busy(parts), memory(tally.use for tally in tallies.values()))


def _sorted(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: (-row.parts.total.usd, -row.parts.total.gpu_hours, row.key)))


def machine_type(machine: Machine) -> str:
    """Such as "g6.xlarge" and "g6.xlarge spot"."""
    term = machine.capacity_type
    return machine.instance_type if term == ON_DEMAND else f"{machine.instance_type} {term}"


@dataclass
class WorkloadSums:
    """
    What each workload held, and what AWS's split shows for it.

    Attributes:
        uses: By cluster and workload, and by machine.
        split: Dollars by the same, None for what no workload asked for.
        unsized: Machine types whose vCPUs and memory are not known, so that no split is shown.
    """

    uses: dict[tuple[str, Workload], dict[Machine, Use]] = field(default_factory=dict)
    split: dict[tuple[str, Workload | None], Fraction] = field(default_factory=dict)
    unsized: set[str] = field(default_factory=set)


def workload_sums(clusters: Sequence[ClusterDays], rates: Rates) -> WorkloadSums:
    found = WorkloadSums()
    for cluster in clusters:
        for day in cluster.days:
            for machine, hours in day.hours.items():
                workloads = day.workloads.get(machine, {})
                seconds = sum(hour.machine_seconds for hour in hours.values())
                _add_uses(found, cluster.name, machine, workloads)
                _add_split(found, cluster.name, machine, seconds, workloads, rates.usd(machine))
    return found


def _add_uses(found: WorkloadSums, cluster: str, machine: Machine, workloads: Mapping[Workload, Use]) -> None:
    for workload, use in workloads.items():
        found.uses.setdefault((cluster, workload), {}).setdefault(machine, Use()).add(use)


def _add_split(
    found: WorkloadSums,
    cluster: str,
    machine: Machine,
    seconds: int,
    workloads: Mapping[Workload, Use],
    usd: Fraction,
) -> None:
    try:
        split = aws_split.split(machine, machine_cost(machine, seconds, usd).usd, workloads)
    except LookupError:
        found.unsized.add(machine.instance_type)
        return
    for workload, part in split.items():
        key = cluster, workload
        found.split[key] = found.split.get(key, NOTHING) + part


def pod_rows(
    sums: WorkloadSums, rates: Rates, total: Parts, key_of: Callable[[str, Workload], Key]
) -> tuple[Row, ...]:
    """A row for each key, by what it costs, and one of what no pod held, whose key is "": what is left."""
    keys = {pair: key_of(*pair) for pair in sums.uses}
    uses: dict[Key, list[tuple[Machine, Use]]] = {}
    for pair, machines in sums.uses.items():
        uses.setdefault(keys[pair], []).extend(machines.items())
    split: dict[Key, Fraction] = {}
    for (cluster, workload), usd in sums.split.items():
        key = keys[(cluster, workload)] if workload else ()
        split[key] = split.get(key, NOTHING) + usd
    rows = [_pod_row(key, found, rates, _shown(sums, split, key)) for key, found in uses.items()]
    width = len(next(iter(uses), ("",)))
    rest = Row(("",) * width, _less(total, rows), aws_split=_shown(sums, split, ()))
    return (*_sorted(rows), rest)


def _shown(sums: WorkloadSums, split: Mapping[Key, Fraction], key: Key) -> Fraction | None:
    return None if sums.unsized else split.get(key, NOTHING)


def _pod_row(key: Key, uses: Sequence[tuple[Machine, Use]], rates: Rates, split: Fraction | None) -> Row:
    parts = sum((held_parts(machine, use, rates.usd(machine)) for machine, use in uses), Parts())
    return Row(key, parts, busy(parts), memory(use for _, use in uses), split)


def _less(total: Parts, rows: Iterable[Row]) -> Parts:
    held = sum((row.parts for row in rows), Parts())
    return Parts(*(all_ - its for all_, its in zip(total, held, strict=True)))


def team_label(clusters: Iterable[ClusterDays], wanted: str) -> str:
    """The one that is asked for, or the first usual one that a pod has; "" where none has one."""
    if wanted:
        return wanted
    seen = labels_seen(clusters)
    return next((label for label in TEAM_LABELS if label in seen), "")


def labels_seen(clusters: Iterable[ClusterDays]) -> frozenset[str]:
    return frozenset(
        label for one in clusters for day in one.days for labels in day.labels.values() for label in labels
    )


def teams(clusters: Iterable[ClusterDays], label: str) -> dict[tuple[str, Workload], str]:
    """Of each workload with that label, by its newest value."""
    return {
        (cluster.name, workload): labels[label]
        for cluster in clusters
        for day in cluster.days
        for workload, labels in day.labels.items()
        if labels.get(label)
    }


def team_key(known: Mapping[tuple[str, Workload], str]) -> Callable[[str, Workload], Key]:
    """Workloads that a day had no room for have no labels: they are no team's, and not without one."""

    def key(cluster: str, workload: Workload) -> Key:
        return (known.get((cluster, workload), OTHERS if workload.name == OTHERS else NO_TEAM),)

    return key
