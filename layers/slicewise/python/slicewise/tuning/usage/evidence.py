"""
What was measured of a pod, in two readings of the same samples.

"May N rise?" and "must N fall?" are two questions, and a gap must support neither. The upper reading counts a
missing, infinite or negative sample as a fully busy GPU, and a pod without a full day of samples as a whole
one: it alone may raise N. The lower reading counts only what was measured: it alone may lower N. So less
evidence neither raises N nor lowers it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from slicewise.tuning.usage.lanes import to_lanes
from slicewise.tuning.usage.video import VideoUse

DAY_SECONDS = 86_400
# Weight of peaks against means in `effective_busy`; docs/tuning.md shows ±25 %.
BURST_WEIGHT = 3.0
# The sort of evidence that a fresh pod lacks: seven days have every weekday once.
WINDOW_DAYS = 7
_NUMBER = (int, float)
_NO_VIDEO: Mapping[str, VideoUse] = MappingProxyType({})


class Grade(Enum):
    POD = "measured by pod"
    DEVICE = "estimated from the device, shared out over its pods"
    NONE = "no full day of history"


class Interval(NamedTuple):
    """What a figure lies between, as far as was measured; both ends in the unit of the figure."""

    lower: float
    upper: float


@dataclass(frozen=True)
class Day:
    """One day of one pod: mean and peak busy fraction, and the samples as lanes of thousandths."""

    mean: float
    peak: float
    lanes: int
    samples: int


@dataclass(frozen=True)
class PodUse:
    """
    The measured use of one pod.

    Attributes:
        days: Whole days in the upper reading, oldest first, yesterday last. Fewer where the pod is younger.
        memory_mib: Highest device memory that it may have used, CUDA context included; NaN if unknown.
        memory_floor_mib: Lowest device memory seen once it had started.
        missing: Samples of `days` that were missing, and count as fully busy.
        measured_days: The same days in the lower reading; None where both are one.
        measured_memory_mib: Highest device memory that was measured to be its own; None where it is
            `memory_mib`.
        day_peaks_mib: Highest device memory in MiB that was measured to be its own or its siblings', by day,
            oldest first, today last; NaN where it is not known, () where no day's is.
        workload: What makes the pod; "" where that is not known, and it is alone.
        pooled: Samples of all pods of its workload in the upper reading: thousandths of a GPU, and which part
            of the samples they are. Empty where `days` are its own.
        video: What it does with its GPU's encoders and decoders, by kind; only what its source has.
        unknown_video: Which part of a GPU's engines it counts as using where nothing is known of them.
    """

    name: str
    memory_mib: float
    days: tuple[Day, ...] = ()
    memory_floor_mib: float = 0.0
    grade: Grade = Grade.POD
    missing: int = 0
    measured_days: tuple[Day, ...] | None = None
    measured_memory_mib: float | None = None
    day_peaks_mib: tuple[float, ...] = ()
    workload: str = ""
    pooled: tuple[tuple[int, float], ...] = ()
    video: Mapping[str, VideoUse] = field(default_factory=lambda: _NO_VIDEO)
    unknown_video: float = 1.0

    @property
    def has_history(self) -> bool:
        return bool(self.days) and self.grade is not Grade.NONE

    @property
    def can_share(self) -> bool:
        """Whether enough is known of it; who cannot share counts as a whole GPU."""
        return self.has_history and math.isfinite(self.memory_mib) and self.memory_mib >= 0

    @cached_property
    def expected_busy(self) -> float:
        """The busy share to plan for: of the window or of the last day, whichever is higher."""
        if not self.has_history:
            return 1.0
        return max(effective_busy(self.days[-WINDOW_DAYS:]), effective_busy(self.days[-1:]))

    @cached_property
    def lower(self) -> "PodUse":
        """
        The lower reading, as a pod of its own: what it needs for certain.

        A pod of which nothing is known needs nothing for certain.
        """
        days = self.days if self.measured_days is None else self.measured_days
        memory = self.memory_mib if self.measured_memory_mib is None else self.measured_memory_mib
        known = memory if math.isfinite(memory) and memory >= 0 else 0.0
        floor = min(self.memory_floor_mib, known)
        video = {kind: use.lower for kind, use in self.video.items()}
        return PodUse(
            self.name, known, days or _IDLE, floor, workload=self.workload, video=video, unknown_video=0.0
        )

    def until(self, day: int) -> "PodUse":
        """What was known `day` days before the end of the record: `until(0)` is all of it."""
        if day == 0:
            return self
        low = None if self.measured_days is None else self.measured_days[:-day]
        return replace(self, days=self.days[:-day], measured_days=low, day_peaks_mib=(), missing=0)


def usable_memory(card_memory_mib: float, headroom: float) -> int:
    """What requests may add up to: never more than the card, and nothing of an unknown one."""
    if not math.isfinite(card_memory_mib) or card_memory_mib <= 0:
        return 0
    return int((1 - min(1.0, max(0.0, headroom))) * card_memory_mib)


def effective_busy(days: Sequence[Day], weight: float | None = None) -> float:
    """
    The effective bandwidth of an on-off source with the days' mean m and peak p:

        ln(1 + m/p · (e^(w·p) − 1)) / w                w: BURST_WEIGHT unless given

    It lies between the mean and the peak and adds up over pods that share a
    GPU: a steady pod counts by its mean, a bursty one by more. It never falls
    when the mean or the peak rises.
    """
    if not days:
        return 1.0
    weight = weight or BURST_WEIGHT
    mean = sum(day.mean for day in days) / len(days)
    peak = max(day.peak for day in days)
    if peak <= 0:
        return 0.0
    return math.log1p(mean / peak * math.expm1(weight * peak)) / weight


def measure(
    name: str,
    busy: Sequence[float],
    memory_mib: Sequence[float],
    *,
    measured_busy: Sequence[float] | None = None,
    measured_memory_mib: Sequence[float] | None = None,
    step_seconds: int = 600,
    stale_seconds: float = 0.0,
    grade: Grade = Grade.POD,
) -> PodUse:
    """
    Turn samples into evidence.

    Args:
        busy: Busy fractions of a GPU, oldest first, one each `step_seconds`: what the pod may have used.
        memory_mib: Device memory of the same pod; its spacing does not matter.
        measured_busy: What it used for certain, sample by sample; None where that is the same.
        measured_memory_mib: Likewise.
        stale_seconds: How long ago the last sample was taken. Over an hour,
            the pod counts as one without history.

    Returns:
        Evidence in whole days that end with the newest sample. Samples above 1
        count as 1. A series shorter than a day has no days.
    """
    per_day = max(1, DAY_SECONDS // max(1, step_seconds))
    whole = len(busy) // per_day * per_day
    recent = busy[len(busy) - whole :]
    missing = sum(not _is_known(value) for value in recent)
    days = _days(recent, per_day, 1.0)
    low: tuple[Day, ...] | None = None
    if missing or measured_busy is not None:
        certain = busy if measured_busy is None else measured_busy
        low = _days(certain[len(certain) - whole :], per_day, 0.0)
    known = _known(memory_mib)
    stale = not math.isfinite(stale_seconds) or stale_seconds > 3600
    return PodUse(
        name,
        max(known, default=math.nan),
        days,
        min(known, default=0.0),
        Grade.NONE if stale or not days or not known else grade,
        missing,
        low,
        None if measured_memory_mib is None else max(_known(measured_memory_mib), default=0.0),
    )


def _days(samples: Sequence[float], per_day: int, gap: float) -> tuple[Day, ...]:
    """Whole days of samples; what is no measurement counts as `gap`."""
    # As _is_known has it, without a call for each: a reconcile reads a million samples.
    clean = [
        (value if value < 1.0 else 1.0) if isinstance(value, _NUMBER) and 0 <= value < math.inf else gap
        for value in samples
    ]
    return tuple(day_of(clean[i : i + per_day]) for i in range(0, len(clean), per_day))


def _known(values: Iterable[float]) -> list[float]:
    return [value for value in values if _is_known(value)]


def _is_known(value: float) -> bool:
    return isinstance(value, _NUMBER) and 0 <= value < math.inf  # so no NaN either


def day_of(fractions: Sequence[float]) -> Day:
    """One day from clean fractions in [0, 1]."""
    lanes = to_lanes(round(1000 * value) for value in fractions)
    return Day(sum(fractions) / len(fractions), max(fractions), lanes, len(fractions))


# A pod that needs nothing.
_IDLE = (day_of([0.0]),)
