"""
What was measured of a pod, cleaned so that a gap can only make us more careful.

A missing, infinite or negative sample counts as a fully busy GPU, and a pod
without a full day of samples as a whole one. So less evidence never raises N.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from slicewise.slicing.evidence_lanes import to_lanes

DAY_SECONDS = 86_400
# Weight of peaks against means in `effective_busy`; docs/tuning.md shows ±25 %.
BURST_WEIGHT = 3.0
# The sort of evidence that a fresh pod lacks: seven days hold every weekday once.
WINDOW_DAYS = 7
_NUMBER = (int, float)


class Grade(Enum):
    POD = "measured by pod"
    DEVICE = "estimated from the device, shared out over its pods"
    NONE = "no full day of history"


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
        days: Whole days, oldest first, yesterday last. Fewer where the pod is younger.
        memory_mib: Highest device memory seen, CUDA context included; NaN if unknown.
        memory_floor_mib: Lowest device memory seen once it had started.
        missing: Samples of `days` that were missing, and count as fully busy.
    """

    name: str
    memory_mib: float
    days: tuple[Day, ...] = ()
    memory_floor_mib: float = 0.0
    grade: Grade = Grade.POD
    missing: int = 0

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

    def until(self, day: int) -> "PodUse":
        """What was known `day` days before the end of the record: `until(0)` is all of it."""
        if day == 0:
            return self
        return PodUse(self.name, self.memory_mib, self.days[:-day], self.memory_floor_mib, self.grade)


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
    step_seconds: int = 600,
    stale_seconds: float = 0.0,
    grade: Grade = Grade.POD,
) -> PodUse:
    """
    Turn samples into evidence.

    Args:
        busy: Busy fractions of a GPU, oldest first, one each `step_seconds`.
        memory_mib: Device memory of the same pod; its spacing does not matter.
        stale_seconds: How long ago the last sample was taken. Over an hour,
            the pod counts as one without history.

    Returns:
        Evidence in whole days that end with the newest sample. Samples above 1
        count as 1. A series shorter than a day has no days.
    """
    per_day = max(1, DAY_SECONDS // max(1, step_seconds))
    whole = len(busy) // per_day * per_day
    recent = busy[len(busy) - whole :]
    usable = [isinstance(value, _NUMBER) and 0 <= value < math.inf for value in recent]  # so no NaN either
    clean = [min(1.0, value) if known else 1.0 for value, known in zip(recent, usable, strict=True)]
    days = tuple(day_of(clean[i : i + per_day]) for i in range(0, whole, per_day))
    known = [m for m in memory_mib if isinstance(m, _NUMBER) and 0 <= m < math.inf]
    stale = not math.isfinite(stale_seconds) or stale_seconds > 3600
    return PodUse(
        name,
        max(known, default=math.nan),
        days,
        min(known, default=0.0),
        Grade.NONE if stale or not days or not known else grade,
        usable.count(False),
    )


def day_of(fractions: Sequence[float]) -> Day:
    """One day from clean fractions in [0, 1]."""
    lanes = to_lanes(round(1000 * value) for value in fractions)
    return Day(sum(fractions) / len(fractions), max(fractions), lanes, len(fractions))
