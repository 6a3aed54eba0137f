"""What a week of placements cost and how it felt: the figures of the table."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from slicewise.slicing.evidence_lanes import share_over
from slicewise.slicing.slowdown import TIME_SLICING_SWITCH

from bench.trace import Trace, instance_prices

GATE = 0.01
# A moved pod runs twice while it starts: five minutes of two GPUs.
GPU_HOURS_A_MOVE = 2 * 5 / 60
BUDGET = 1.5


@dataclass
class Week:
    """The pods of each GPU and the pods moved, day by day of the scored days."""

    groups: list[list[list[int]]] = field(default_factory=list)
    moves: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Score:
    """
    Attributes:
        gpus: Mean over the days.
        contended: Share of GPU time with the busy fractions of a GPU's pods above 1.
        memory_risk_pods: Pods that shared a GPU with less memory than its pods' peaks, on any day.
        slow_mean, slow_p99: Slowdown over the busy samples of all pods.
        slow_share: Share of busy samples slower than 1.5 ×.
        moves: Restarted pods a day.
    """

    gpus: float
    contended: float
    memory_risk_pods: int
    slow_mean: float
    slow_p99: float
    slow_share: float
    moves: float
    usd_a_week: float

    @property
    def within_gates(self) -> bool:
        return self.contended <= GATE and self.memory_risk_pods == 0


def score(trace: Trace, week: Week) -> Score:
    gpus = [len(groups) for groups in week.groups]
    contended = [day_contended(trace, d, g) for d, g in zip(trace.scored_days, week.groups, strict=True)]
    usd_per_gpu_hour = gpu_hour_usd() if trace.usd_per_gpu_hour is None else trace.usd_per_gpu_hour
    slowdowns = np.concatenate(
        [_slowdowns(trace, d, g) for d, g in zip(trace.scored_days, week.groups, strict=True)] or [np.ones(1)]
    )
    days = len(gpus)
    mean_gpus = float(np.mean(gpus))
    hours = mean_gpus * 24 * 7 + sum(week.moves) / days * 7 * GPU_HOURS_A_MOVE
    slow = slowdowns if len(slowdowns) else np.ones(1)
    return Score(
        gpus=mean_gpus,
        contended=float(np.average(contended, weights=gpus)) if sum(gpus) else 0.0,
        memory_risk_pods=len(_at_memory_risk(trace, week)),
        slow_mean=float(slow.mean()),
        slow_p99=float(np.partition(slow, int(0.99 * (len(slow) - 1)))[int(0.99 * (len(slow) - 1))]),
        slow_share=float((slow > BUDGET).mean()),
        moves=sum(week.moves) / days,
        usd_a_week=hours * usd_per_gpu_hour,
    )


def day_contended(trace: Trace, day: int, groups: Sequence[Sequence[int]]) -> float:
    """Share of that day's GPU time in which a GPU's pods wanted more than it has."""
    lanes = trace.lanes[day]
    shares = [share_over(sum(lanes[pod] for pod in group), trace.samples_a_day) for group in groups]
    return sum(shares) / len(shares) if shares else 0.0


def gpu_hour_usd() -> float:
    """The cheapest EC2 type with one whole L4: what a serving pod's GPU costs."""
    l4 = [
        row
        for row in instance_prices()
        if row["instance_type"].startswith("g6.") and row["physical_gpus"] == "1.0"
    ]
    return min(float(row["usd_per_hour_us_east_1"]) for row in l4 if row["usd_per_hour_us_east_1"])


def _slowdowns(trace: Trace, day: int, groups: Sequence[Sequence[int]]) -> np.ndarray:
    busy = trace.day(day)
    # Who is not there, and so not busy either, is on a GPU that is not there.
    gpu_of = np.full(len(busy), len(groups))
    for gpu, group in enumerate(groups):
        gpu_of[list(group)] = gpu
    totals = np.zeros((len(groups) + 1, busy.shape[1]))
    np.add.at(totals, gpu_of, busy)
    others = np.maximum(0.0, (totals[gpu_of] - busy)[busy > 0])
    return (1 + others) * (1 + TIME_SLICING_SWITCH * np.minimum(1.0, others))


def _at_memory_risk(trace: Trace, week: Week) -> set[int]:
    return {
        pod
        for day, groups in zip(trace.scored_days, week.groups, strict=True)
        for memory in [trace.memory(day)]
        for group in groups
        if len(group) > 1 and memory[group].sum() > trace.card_mib
        for pod in group
    }
