"""
The threshold: how much expected busy time one GPU may have, learnt from past days.

For each past day: decide as if it were that morning, place the pods as the
stock scheduler would, and sum how long GPUs were contended (the busy fractions of their pods summed above 1).
Where GPUs are read between decisions, one counts up to the reconcile that would have found it full for an
hour. The loosest threshold whose replayed share stays within `target` is taken.
Nothing later than the evidence is used.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from slicewise.tuning.rule.busy_guard import LOOKS_A_DAY
from slicewise.tuning.usage.evidence import WINDOW_DAYS, Day, PodUse
from slicewise.tuning.usage.lanes import from_lanes, newest, share_over, share_over_until, to_lanes

# Expected busy share a GPU: from a fifth to three. Steps of 5 %, finer than the replay can distinguish.
THRESHOLDS = tuple(0.18 * 1.05**step for step in range(58))
# A larger fleet is judged by an even sample: the share is a mean over GPUs, and the time stays bounded.
SAMPLE = 256
# Each fold is placed in this many shuffled orders, since the arrival order is not ours.
ORDERS = 2

# A day never aims below this share of the gate, no matter how much was overspent: a fleet of whole GPUs is no
# use.
LEAST_AIM = 0.25

# Of pods at a threshold, what makes of an order in which they come the pods of each GPU.
Group = Callable[[Sequence[PodUse], float], Callable[[Sequence[int]], list[list[int]]]]


@dataclass(frozen=True)
class Fold:
    """Evidence to decide on, and for each pod the later days that judge it."""

    train: tuple[PodUse, ...]
    judge: tuple[tuple[Day, ...], ...]


@dataclass(frozen=True)
class Calibration:
    """
    Attributes:
        threshold: Expected busy share one GPU may have.
        contended: Share of GPU time contended in the replays at that threshold; 0 where none was possible.
        folds: How many past decisions were replayed.
    """

    threshold: float
    contended: float
    folds: int


def daily_target(gate: float, safety: float, happened: Sequence[float]) -> float:
    """
    The contended share to aim at today, so that the promise holds over the week that today ends.

    An error budget: each day may spend safety · gate; what the last six days
    spent more or less is taken from or added to today, up to the gate itself.

    Args:
        happened: Contended share of each past day under this rule, oldest first. A day that was not measured
            (NaN) counts as contended all the time.
    """
    allowed = safety * gate
    spent = [share if math.isfinite(share) else 1.0 for share in happened[-(WINDOW_DAYS - 1) :]]
    left = allowed + sum(allowed - max(0.0, share) for share in spent)
    return min(gate, max(min(LEAST_AIM * gate, allowed), left))


Folds = Callable[[Sequence[PodUse]], list[Fold]]


def daily_folds(pods: Sequence[PodUse]) -> list[Fold]:
    """Each of the last days judged by what was known on its morning, two days of history at least."""
    longest = max((len(pod.days) for pod in pods), default=0)
    return [
        Fold(tuple(pod.until(back) for pod in pods), tuple(pod.days[-back:][:1] for pod in pods))
        for back in range(1, min(WINDOW_DAYS, longest - 2) + 1)
    ]


def half_folds(pods: Sequence[PodUse]) -> list[Fold]:
    """Each half of the window judged by the other: for a decision that has to last a week."""
    longest = max((len(pod.days) for pod in pods), default=0)
    half = min(WINDOW_DAYS, longest) // 2
    if half == 0:
        return []
    older = tuple(replace(pod, days=pod.days[-2 * half : -half]) for pod in pods)
    newer = tuple(replace(pod, days=pod.days[-half:]) for pod in pods)
    return [
        Fold(older, tuple(pod.days for pod in newer)),
        Fold(newer, tuple(pod.days for pod in older)),
    ]


def calibrate(
    pods: Sequence[PodUse],
    group: Group,
    target: float,
    folds: Folds = daily_folds,
    watched: bool = False,
) -> Calibration:
    """
    The loosest threshold that would have kept contention within `target` on past days.

    Args:
        group: Decides on pods at a threshold, and returns what places them in an order.
        target: Share of GPU time, such as 0.007.
        watched: Whether a GPU without rest for an hour is relieved at the next reconcile: it counts until
            then.

    Returns:
        The tightest threshold where no past decision can be replayed.
    """
    ordered = sorted(pods, key=lambda pod: pod.name)
    step = max(1, -(-len(ordered) // SAMPLE))
    replays = folds(ordered[::step])
    if not replays:
        return Calibration(THRESHOLDS[0], 0.0, 0)

    def contended(threshold: float) -> float:
        shares = [
            share
            for number, fold in enumerate(replays)
            for share in _replayed(fold, group, threshold, number, watched)
        ]
        return sum(shares) / len(shares)

    return _loosest(contended, target, len(replays))


def _loosest(contended: Callable[[float], float], target: float, replays: int) -> Calibration:
    """By bisection: a looser threshold is contended no less."""
    low, high, share = 0, len(THRESHOLDS), 0.0
    while high - low > 1:
        middle = (low + high) // 2
        found = contended(THRESHOLDS[middle])
        if found <= target:
            low, share = middle, found
        else:
            high = middle
    return Calibration(THRESHOLDS[low], share, replays)


def contended_share(
    groups: Sequence[Sequence[int]], days: Sequence[Sequence[Day]], watched: bool = False
) -> float:
    """Share of GPU time in which the busy fractions of a GPU's pods sum above 1."""
    shares = [joint_share([days[pod] for pod in group], watched) for group in groups]
    return sum(shares) / len(shares) if shares else 0.0


def joint_share(pods: Sequence[Sequence[Day]], watched: bool = False) -> float:
    """The same for one GPU and the given days of its pods, matched from the newest back."""
    length = max((len(days) for days in pods), default=0)
    total = 0.0
    for back in range(1, length + 1):
        lanes, samples = _joint_day(pods, back)
        total += share_over_until(lanes, samples, max(1, samples // LOOKS_A_DAY) if watched else 0)
    return total / length if length else 0.0


def recent_share(pods: Sequence[Sequence[Day]]) -> float:
    """
    The same, the newest counting most: the mean of the last quarter of a day, the last day and three days.

    What contended yesterday evening contends today more often than what contended a week ago.
    """
    if not any(pods):
        return 0.0
    lanes, samples = _joint_day(pods, 1)
    quarter = max(1, samples // 4)
    evening = share_over(newest(lanes, samples, quarter), quarter)
    return (evening + share_over(lanes, samples) + joint_share([days[-3:] for days in pods])) / 3


def _joint_day(pods: Sequence[Sequence[Day]], back: int) -> tuple[int, int]:
    """The summed lanes of the pods' day so many days ago, and how many samples they are."""
    here = [days[-back] for days in pods if len(days) >= back]
    samples = math.lcm(*(day.samples for day in here))
    return sum(_lanes(day, samples) for day in here), samples


def _lanes(day: Day, samples: int) -> int:
    """The day's lanes at a finer grain, where another pod was sampled more often."""
    if day.samples == samples:
        return day.lanes
    times = samples // day.samples
    return to_lanes(value for value in from_lanes(day.lanes, day.samples) for _ in range(times))


def _replayed(fold: Fold, group: Group, threshold: float, number: int, watched: bool) -> Iterator[float]:
    """Another order for each fold and try, so that no single one colours the whole replay."""
    place = group(fold.train, threshold)
    for attempt in range(ORDERS):
        order = list(range(len(fold.train)))
        random.Random(number * ORDERS + attempt).shuffle(order)
        yield contended_share(place(order), fold.judge, watched)
