"""What a week of placements cost and how it felt: the figures of the table."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from slicewise.tuning.usage.lanes import between, share_over
from slicewise.tuning.usage.slowdown import TIME_SLICING_SWITCH

from traces.serving import Trace, instance_prices

GATE = 0.01
# A moved pod runs twice while it starts: five minutes of two GPUs.
GPU_HOURS_A_MOVE = 2 * 5 / 60
BUDGET = 1.5


# The pods of each GPU, each a list of numbers.
Groups = list[list[int]]
# The parts of a day: from which sample on which pods shared a GPU. The first is the morning's, at 0.
Parts = list[tuple[int, Groups]]


@dataclass
class Week:
    """Where pods were and how many were moved, day by day of the scored days."""

    days: list[Parts] = field(default_factory=list)
    moves: list[int] = field(default_factory=list)

    @property
    def groups(self) -> list[Groups]:
        """As each morning left them."""
        return [parts[0][1] for parts in self.days]


@dataclass(frozen=True)
class Score:
    """
    Attributes:
        gpus: Mean over time.
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
    days = list(zip(trace.scored_days, week.days, strict=True))
    gpus = [gpus_of(trace, parts) for _, parts in days]
    contended = [day_contended(trace, day, parts) for day, parts in days]
    usd_per_gpu_hour = gpu_hour_usd() if trace.usd_per_gpu_hour is None else trace.usd_per_gpu_hour
    slowdowns = np.concatenate(
        [
            _slowdowns(trace.day(day)[:, begin:end], groups)
            for day, parts in days
            for begin, end, groups in _spans(trace, parts)
        ]
        or [np.ones(1)]
    )
    mean_gpus, moves = float(np.mean(gpus)), sum(week.moves) / len(gpus)
    hours = mean_gpus * 24 * 7 + moves * 7 * GPU_HOURS_A_MOVE
    slow = slowdowns if len(slowdowns) else np.ones(1)
    return Score(
        gpus=mean_gpus,
        contended=float(np.average(contended, weights=gpus)) if sum(gpus) else 0.0,
        memory_risk_pods=len(_at_memory_risk(trace, week)),
        slow_mean=float(slow.mean()),
        slow_p99=float(np.partition(slow, int(0.99 * (len(slow) - 1)))[int(0.99 * (len(slow) - 1))]),
        slow_share=float((slow > BUDGET).mean()),
        moves=moves,
        usd_a_week=hours * usd_per_gpu_hour,
    )


def day_contended(trace: Trace, day: int, parts: Parts) -> float:
    """Share of that day's GPU time in which a GPU's pods wanted more than it has."""
    lanes, gpu_time, full = trace.lanes[day], 0, 0.0
    for begin, end, groups in _spans(trace, parts):
        gpu_time += len(groups) * (end - begin)
        for group in groups:
            wanted = between(sum(lanes[pod] for pod in group), begin, end)
            full += share_over(wanted, end - begin) * (end - begin)
    return full / gpu_time if gpu_time else 0.0


def gpus_of(trace: Trace, parts: Parts) -> float:
    """The day's GPUs, as a mean over time."""
    spans = _spans(trace, parts)
    return sum(len(groups) * (end - begin) for begin, end, groups in spans) / trace.samples_a_day


def _spans(trace: Trace, parts: Parts) -> list[tuple[int, int, Groups]]:
    """Each part with the samples that it begins at and ends before."""
    ends = [*(begin for begin, _ in parts), trace.samples_a_day]
    return [(begin, end, groups) for (begin, end), (_, groups) in zip(pairwise(ends), parts, strict=True)]


def gpu_hour_usd() -> float:
    """The cheapest EC2 type with one whole L4: what a serving pod's GPU costs."""
    l4 = [
        row
        for row in instance_prices()
        if row["instance_type"].startswith("g6.") and row["physical_gpus"] == "1.0"
    ]
    return min(float(row["usd_per_hour_us_east_1"]) for row in l4 if row["usd_per_hour_us_east_1"])


def _slowdowns(busy: np.ndarray, groups: Groups) -> np.ndarray:
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
        for day, parts in zip(trace.scored_days, week.days, strict=True)
        for memory in [trace.memory(day)]
        for _, groups in parts
        for group in groups
        if len(group) > 1 and memory[group].sum() > trace.card_mib
        for pod in group
    }
