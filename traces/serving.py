"""
Traces: what pods used, and the harness that hands out the past and holds back the rest.

The serving trace joins two public data sets: request rates of LLM-serving
clients (ServeGen) give the shape over time, measured model profiles (MISO)
the device memory and the busy fraction at full rate. Which client runs which
model is a seeded draw.
"""

import csv
import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from slicewise.tuning.usage.evidence import Day, Grade, PodUse
from slicewise.tuning.usage.lanes import to_lanes

DATA = Path(__file__).parent / "data"
L4_MIB = 22_888
SAMPLES_A_DAY = 144
WEEK = 7
# Fewer busy windows than this in the week of history, and a client is no pod worth planning for.
LEAST_ACTIVE_WINDOWS = 10


@dataclass(frozen=True)
class Trace:
    """
    Attributes:
        names: One a pod.
        memory_mib: Pods × days, peak device memory of the day; NaN where it is not known.
        busy: Pods × samples, busy fraction of one GPU; NaN where nothing was measured.
        decide_day: The first day that is scored; the days before it are history.
        alive: Pods × days, where the pod is there on that day; None for all on every day.
        usd_per_gpu_hour: What a GPU costs; None for the cheapest with one L4.
        workloads: What makes each pod, "" for one of its own; () where none is known.
        remembered: How many days of history a rule is given at most.
    """

    names: tuple[str, ...]
    memory_mib: np.ndarray
    busy: np.ndarray
    decide_day: int = WEEK
    card_mib: int = L4_MIB
    samples_a_day: int = SAMPLES_A_DAY
    alive: np.ndarray | None = None
    usd_per_gpu_hour: float | None = None
    workloads: tuple[str, ...] = ()
    remembered: int = 2 * WEEK

    @property
    def days(self) -> int:
        return self.busy.shape[1] // self.samples_a_day

    @property
    def scored_days(self) -> range:
        return range(self.decide_day, self.days)

    def day(self, day: int) -> np.ndarray:
        """Pods × samples of one day, as it came to pass; unmeasured is idle."""
        start = day * self.samples_a_day
        return np.nan_to_num(self.busy[:, start : start + self.samples_a_day])

    def present(self, day: int) -> frozenset[int]:
        """The pods that are there on that day."""
        if self.alive is None:
            return frozenset(range(len(self.names)))
        return frozenset(np.flatnonzero(self.alive[:, day]).tolist())

    def first_day(self, pod: int) -> int:
        return 0 if self.alive is None else int(np.argmax(self.alive[pod]))

    def memory(self, day: int) -> np.ndarray:
        """Device memory of each pod as it came to pass; who is not known may fill the card."""
        return np.nan_to_num(self.memory_mib[:, day], nan=self.card_mib)

    @cached_property
    def lanes(self) -> list[tuple[int, ...]]:
        """By day and pod, what came to pass in thousandths: only for scoring."""
        return [
            tuple(to_lanes(row) for row in np.rint(self.day(day) * 1000).astype(np.uint32).tolist())
            for day in range(self.days)
        ]

    def history(self, day: int) -> tuple[PodUse, ...]:
        """Evidence of the days before `day`, and not a sample more: `remembered` of it at most."""
        first = max(0, day - self.remembered)
        peaks = np.fmax.reduce(self.memory_mib[:, first:day], axis=1, initial=np.nan)
        return tuple(
            self._use(pod, float(peak), self._evidence[pod][first:day], day) for pod, peak in enumerate(peaks)
        )

    def _use(self, pod: int, peak: float, days: tuple[Day, ...], until: int) -> PodUse:
        return PodUse(
            self.names[pod],
            peak,
            days,
            grade=Grade.POD if days else Grade.NONE,
            day_peaks_mib=tuple(self.memory_mib[pod, until - len(days) : until].tolist()),
            workload=self.workloads[pod] if self.workloads else "",
        )

    @cached_property
    def _evidence(self) -> list["PodDays"]:
        return [PodDays(row, self.samples_a_day) for row in self.busy]


class PodDays(Sequence):
    """The days of one pod from its first whole one on, indexed by day of the trace."""

    def __init__(self, busy: np.ndarray, samples_a_day: int):
        measured = np.flatnonzero(~np.isnan(busy))
        first = len(busy) if not len(measured) else int(measured[0])
        self.first_day = -(-first // samples_a_day)
        self.days = []
        for start in range(0, len(busy), samples_a_day):
            # A gap within a pod's life counts as fully busy: less evidence, more care.
            samples = np.nan_to_num(busy[start : start + samples_a_day], nan=1.0)
            lanes = to_lanes(np.rint(samples * 1000).astype(np.uint32).tolist())
            self.days.append(Day(float(samples.mean()), float(samples.max()), lanes, len(samples)))

    def __len__(self) -> int:
        return len(self.days)

    def __getitem__(self, days: slice) -> tuple[Day, ...]:
        return tuple(self.days[max(days.start, self.first_day) : days.stop])


def serving(seed: int, *, load: float = 1.0, exchanged: bool = False) -> Trace:
    """
    Two weeks of LLM serving: the first to learn from, the second to score.

    Args:
        seed: Which client runs which model.
        load: Factor on the rates of the scored week.
        exchanged: Learn from the second week and score the first.
    """
    by_client = rates()
    week = WEEK * SAMPLES_A_DAY
    if exchanged:
        by_client = np.concatenate([by_client[:, week:], by_client[:, :week]], axis=1)
    profiles = _profiles()
    draw = random.Random(seed)
    models = [profiles[draw.randrange(len(profiles))] for _ in range(len(by_client))]
    names, memory, busy = [], [], []
    for client, (rate, (model, mib, full_busy)) in enumerate(zip(by_client, models, strict=True)):
        active = np.sort(rate[:week][rate[:week] > 0])
        if len(active) < LEAST_ACTIVE_WINDOWS:
            continue
        full_rate = active[int(0.99 * len(active))]
        used = rate / full_rate * full_busy
        used[week:] *= load
        names.append(f"client-{client:03d}-{model}")
        memory.append(mib)
        busy.append(np.minimum(1.0, used))
    by_day = np.repeat(np.array(memory, dtype=float)[:, None], 2 * WEEK, axis=1)
    return Trace(tuple(names), by_day, np.array(busy))


@cache
def rates() -> np.ndarray:
    """Requests per second of LLM-serving clients as published: clients × windows of ten minutes."""
    with gzip.open(DATA / "servegen" / "language_rates.csv.gz", "rt") as lines:
        next(lines)
        return np.loadtxt(lines, delimiter=",")[:, 1:].T


@cache
def _profiles() -> list[tuple[str, float, float]]:
    """(model and batch size, device memory in MiB, busy fraction at full rate), in the file's order."""
    memory = json.loads((DATA / "miso" / "memory.json").read_text())
    profiles = []
    for model, by_batch in memory.items():
        use = json.loads((DATA / "miso" / f"util_sm_{model}.json").read_text())
        profiles += [(f"{model}-{batch}", mib, use[batch] / 100) for batch, mib in by_batch.items()]
    return profiles


@cache
def instance_prices() -> tuple[dict[str, str], ...]:
    """The rows of EC2's GPU types as published."""
    with open(DATA / "ec2_gpu_instances.csv", newline="") as rows:
        return tuple(csv.DictReader(rows))
