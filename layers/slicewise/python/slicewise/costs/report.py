"""
What a report says, in exact fractions of dollars and GPU-hours, whose parts add up to the whole. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import NamedTuple

NOTHING = Fraction(0)


class Cost(NamedTuple):
    """GPU-hours of whole cards, and the dollars of the machines that they are in."""

    gpu_hours: Fraction = NOTHING
    usd: Fraction = NOTHING

    def __add__(self, other: object) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(self.gpu_hours + other.gpu_hours, self.usd + other.usd)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.gpu_hours - other.gpu_hours, self.usd - other.usd)


class Parts(NamedTuple):
    """
    What was paid for, cut into four: their sum is `total`, exactly.

    Attributes:
        used: Held by pods, and measured to be busy.
        idle: Held by pods, and measured not to be busy.
        unmeasured: Held by pods while nothing was measured: it was used or idle.
        free: Held by no pod: free slices, and machines that start or drain.
    """

    used: Cost = Cost()
    idle: Cost = Cost()
    unmeasured: Cost = Cost()
    free: Cost = Cost()

    @property
    def allocated(self) -> Cost:
        return self.used + self.idle + self.unmeasured

    @property
    def waste(self) -> Cost:
        """In the words of AWS's recipe for GPU cost attribution: allocated or free, and not used."""
        return self.idle + self.free

    @property
    def total(self) -> Cost:
        return self.allocated + self.free

    def __add__(self, other: object) -> Parts:
        if not isinstance(other, Parts):
            return NotImplemented
        return Parts(*(mine + its for mine, its in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Row:
    """
    One line of a table.

    Attributes:
        key: What it is of: (cluster,), (cluster, pool), (cluster, NodePool, machine type, N), (namespace,),
            (team,), or (cluster, namespace, kind/name). "" stands for what no pod held, in tables of pods.
        parts: Free time belongs to no namespace, team or workload: it has a row of its own with key "".
        busy: Mean busy share of the GPU time that was measured, 0 to 1; None where nothing was.
        memory: Mean part of the held GPU memory that was used; None where nothing was measured.
        aws_split: What AWS's split cost allocation shows for it, in dollars: a slice counts as a GPU, and GPU
            to CPU and memory as 9 to 1. None where it shows nothing, as for a pool.
    """

    key: tuple[str, ...]
    parts: Parts
    busy: float | None = None
    memory: float | None = None
    aws_split: Fraction | None = None


@dataclass(frozen=True)
class Moment:
    """
    One hour or day of a chart.

    Attributes:
        at: When it begins, in UTC.
        whole: What the same pods would have cost with whole GPUs.
        n: N of each NodePool that had machines, by "cluster/NodePool": the mean over its machines.
        busy: Mean busy share of each of these, None where nothing was measured.
        asleep: Part of the time that its NodePools were asleep, 0 to 1.
    """

    at: datetime
    parts: Parts
    whole: Cost
    n: Mapping[str, float] = field(default_factory=dict)
    busy: Mapping[str, float | None] = field(default_factory=dict)
    asleep: float = 0.0


@dataclass(frozen=True)
class Night:
    """A sleep: what would have run less what did, by off-hours' own count (offhours/report/savings.py)."""

    cluster: str
    began: datetime
    ended: datetime | None
    node_hours: float
    usd: float


@dataclass(frozen=True)
class Effect:
    """
    What a change brought until the next one of the same NodePool or workload, or the report's end.

    Attributes:
        saved: Against going on as before; below 0 where it cost more. None where that cannot be said.
        seen_by: The reconcile that saw it first, as `slicewise explain` shows it: its time.
    """

    cluster: str
    at: datetime
    kind: str
    what: str
    before: str
    after: str
    why: str
    seen_by: datetime
    saved: Cost | None = None


@dataclass(frozen=True)
class Interval:
    """A figure with its uncertainty: least <= value <= most."""

    value: Fraction
    least: Fraction
    most: Fraction


@dataclass(frozen=True)
class BillLine:
    """
    One instance, as reconciles saw it and as the bill has it.

    Attributes:
        seen_hours, seen_usd: None where no reconcile ever saw it.
        billed_hours, billed_usd: None where the bill has no line of it.
    """

    instance: str
    instance_type: str
    seen_hours: Fraction | None
    seen_usd: Fraction | None
    billed_hours: Fraction | None
    billed_usd: Fraction | None


@dataclass(frozen=True)
class BillCheck:
    """
    The report beside a FOCUS 1.2 or CUR 2.0 export, joined by instance id.

    Attributes:
        source: The file's name and format.
        currency: Of the bill; where it is not USD, no dollars are compared.
        lines: Those that differ, the largest difference first; `equal` is how many do not.
        notes: What of the bill could not be used, one sentence each.
    """

    source: str
    currency: str
    lines: tuple[BillLine, ...]
    equal: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """
    Attributes:
        clusters: Names; `regions` by name.
        since, until: What was asked for. `counted_since` is since when each cluster has been counted, where
            that is later.
        terms: Which prices these are, for people. `unpriced` are machine types without a price: their hours
            count, their dollars are 0, so that sums are "at least".
        total: Of all clusters.
        whole: The same pods on whole GPUs of the same model, rounded up to machines as the scheduler would.
        bound: What no placement could go below: the larger of busy time and used memory, at the price of the
            cheapest GPU-hour of the same model; what was not measured counts as held.
        sharing: whole less total without the nights: what sharing saved, with its uncertainty, in dollars.
        nights_usd: What sleeping saved.
        headline: Saved in all, in dollars, and `headline_share` of what would have been paid.
        by_team: By the value of `team_label`; "(no team)" where a workload's pods have none. Empty without a
            label.
        hours_of_week: 7 x 24 from Monday 00:00 UTC: (mean busy share of the GPUs that were there, or None;
            mean GPUs that were there).
        machine_seconds: By cluster: the exact sum that `total` is the price of.
        folded: How many workloads a day's item had no room for; they are in "(others)" of their namespace.
        notes: What cannot be said and why, one sentence each, for people.
    """

    clusters: tuple[str, ...]
    regions: Mapping[str, str]
    since: datetime
    until: datetime
    counted_since: Mapping[str, datetime]
    terms: str
    unpriced: tuple[str, ...]
    total: Parts
    busy: float | None
    memory: float | None
    whole: Cost
    bound: Cost
    sharing: Interval
    nights_usd: Fraction
    headline: Interval
    headline_share: Interval
    by_cluster: tuple[Row, ...]
    by_pool: tuple[Row, ...]
    by_machine: tuple[Row, ...]
    by_namespace: tuple[Row, ...]
    by_team: tuple[Row, ...]
    team_label: str
    by_workload: tuple[Row, ...]
    by_day: tuple[Moment, ...]
    by_hour: tuple[Moment, ...]
    hours_of_week: tuple[tuple[tuple[float | None, float], ...], ...]
    nights: tuple[Night, ...]
    changes: tuple[Effect, ...]
    machine_seconds: Mapping[str, int]
    folded: int = 0
    notes: tuple[str, ...] = ()
    bill: BillCheck | None = None
