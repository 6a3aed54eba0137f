"""
How far memory may grow, learnt from a fleet's own days, and bounded for all pods of a GPU together. Pure.

A *growth ratio* is the highest peak of a pod's next HORIZON days over the peak that was known of its workload
before. Every past morning of every pod gives one. What a workload may do is estimated from its own windows,
from those of all pods when their workloads were as old, and from those of the whole fleet:

    F = (c · F_own + κ · F_rest) / (c + κ)           c: its own windows that do not overlap, κ = PRIOR_WINDOWS

the posterior mean of a Dirichlet process with base F_rest and strength κ (Ferguson, "A Bayesian analysis of
some nonparametric problems", Annals of Statistics 1, 1973): a workload's own past counts for more the more of
it there is. A workload that is younger is never expected to grow less than an older one.

How often memory grows is the fleet's own; how far it may grow at most, a week or two do not show, so a few
growths more are taken to be of a Pareto distribution. What a GPU's pods need together is in memory_sum.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property

from slicewise.tuning.rule.memory_sum import NO_GROWTH, QUANTILE, STEP, STEPS, Growth, Member, fits
from slicewise.tuning.usage.evidence import PodUse

# How many days a decision has to last. Classes and requests are decided again each morning.
HORIZON_DAYS = 1
# How many windows of its own a workload needs before they count for as much as everybody else's.
PRIOR_WINDOWS = 20.0
# How many growths more than were seen, and the index of their Pareto distribution: one in eight doubles.
PRIOR_GROWTHS, PARETO = 4.0, 3.0
# More pods than this share no card.
MOST_COPIES = 48
# Ages, in days of history, at which pods are distinguished: by its first day, its first three, its first
# week.
AGES = (1, 2, 4, 8)


class MemoryGrowth:
    """
    What was learnt of a fleet: for each pod the peak to start from, and how it may grow.

    Without daily peaks nothing is known to grow, and h alone is left.
    """

    def __init__(self, pods: Iterable[PodUse] = (), horizon: int = 0, prior: float = 0):
        self._prior, self._horizon = prior or PRIOR_WINDOWS, horizon or HORIZON_DAYS
        self._read(pods)
        # Fleets have workloads by the ten thousand, and most of a young one have no past.
        self._pasts = {
            key: _Past(members, self._horizon)
            for key, members in self._siblings.items()
            if any(pod.day_peaks_mib for pod in members)
        }
        self._of: dict[str, Growth] = {}

    def _read(self, pods: Iterable[PodUse]) -> None:
        """What depends on the known peaks; how memory grew does not."""
        self._siblings: dict[str, list[PodUse]] = {}
        for pod in pods:
            self._siblings.setdefault(workload_key(pod), []).append(pod)
        self._peaks = {key: _highest(one.memory_mib for one in m) for key, m in self._siblings.items()}
        self._fits: dict[tuple[object, ...], bool] = {}

    def read_as(self, pods: Iterable[PodUse]) -> MemoryGrowth:
        """The same growth, from other known peaks of the same pods: those of their lower reading."""
        if not self._siblings:
            return self
        other = copy(self)
        other._read(pods)
        return other

    def peak(self, pod: PodUse) -> float:
        """The highest peak known of the pod and its siblings in MiB; NaN if the pod's own is not known."""
        return max(pod.memory_mib, self._peaks.get(workload_key(pod), pod.memory_mib))

    def growth(self, pod: PodUse) -> Growth:
        key = workload_key(pod)
        if key not in self._pasts:
            return self._without_past
        if key not in self._of:
            self._of[key] = self._mixed(self._pasts[key])
        return self._of[key]

    @cached_property
    def _without_past(self) -> Growth:
        """Of all workloads that have none: in a young fleet, ten thousand that are alike in this."""
        return self._mixed(_Past((), self._horizon))

    def may_reach(self, pod: PodUse, level: float = QUANTILE) -> float:
        """The pod's own upper quantile in MiB."""
        return self.peak(pod) * self.growth(pod).quantile(level)

    def members(self, pods: Iterable[PodUse]) -> list[Member]:
        """The pods of one GPU, those of a workload as one."""
        by_workload: dict[str, list[PodUse]] = {}
        for pod in pods:
            by_workload.setdefault(workload_key(pod), []).append(pod)
        return [Member(sum(map(self.peak, group)), self.growth(group[0])) for group in by_workload.values()]

    def copies(self, pod: PodUse, count: int) -> list[Member]:
        """`count` pods like this one on a GPU, as many of them of its own workload as there are."""
        own = max(1, min(count, len(self._siblings.get(workload_key(pod), ()))))
        peak, growth = self.peak(pod), self.growth(pod)
        return [Member(own * peak, growth)] + [Member(peak, growth)] * (count - own)

    def fits_alike(
        self, pod: PodUse, count: int, card_mib: float, headroom: float, level: float = QUANTILE
    ) -> bool:
        """Whether `count` pods like this one may share a card; one always may have it to itself."""
        if count == 1:
            return True
        key = workload_key(pod), self.peak(pod), count, card_mib, headroom, level
        if key not in self._fits:
            self._fits[key] = fits(self.copies(pod, count), card_mib, headroom, level)
        return self._fits[key]

    def request_mib(
        self, pod: PodUse, card_mib: float, headroom: float, level: float = QUANTILE, surge: float = 1.0
    ) -> float:
        """
        What the pod requests of the (1 − h) · M that requests may add up to: its part of a card with pods
        like it, of which one grows by the quantile of (1 − level) / n while the others stay. A sum of growths
        that are seldom large is large because of one of them (Foss, Korshunov and Zachary, "An introduction
        to heavy-tailed and subexponential distributions", 2013): so requests add up as the quantile of the
        sum does.

        It asks at least for what a surge takes beyond h · M, which requests leave free: with others' peaks
        in what is left, it fits M. Siblings that meet are left to `fits`.
        """
        peak = self.peak(pod)
        count = math.floor(max(1.0, min(MOST_COPIES, card_mib / max(peak, 1.0))))
        ratio = self.growth(pod).quantile(1 - (1 - level) / count)
        alone = surge * peak - headroom * card_mib if self.growth(pod).over else peak
        return max(peak, alone, (1 - headroom) * peak * (1 + (ratio - 1) / count))

    def explain(self, pod: PodUse, level: float = QUANTILE, surge: float = 1.0) -> str:
        """
        The pod's bound in one line, such as "peak 3.0 GiB, may grow to 3.9: 3 of 140 pods like it …", or that
        it must find room for a surge, where that is more.
        """
        peak, most = self.peak(pod) / 1024, self.may_reach(pod, level) / 1024
        if self.growth(pod).over and surge * peak > most:
            return f"peak {peak:.1f} GiB, its GPU must have room for {surge * peak:.1f} of it"
        return f"peak {peak:.1f} GiB, may grow to {most:.1f}: {self.growth(pod).describe(level)}"

    def _mixed(self, past: _Past) -> Growth:
        if not self._fleet.weight:
            return NO_GROWTH
        bucket = _bucket(past.age)
        rest = self._by_age[bucket]
        over = [
            (past.count * mine + self._prior * others) / (past.count + self._prior)
            for mine, others in zip(past.windows.over(), rest, strict=True)
        ]
        return Growth(_trimmed(over), self._seen[bucket], self._horizon)

    @cached_property
    def _fleet(self) -> _Windows:
        found = _Windows()
        for past in self._pasts.values():
            found.add_all(past.windows)
        return found

    @cached_property
    def _by_age(self) -> list[list[float]]:
        """Chances by bucket of AGES; none is below that of an older bucket at any ratio."""
        count = sum(past.count for past in self._pasts.values())
        fleet = _with_prior(self._fleet.over(), count)
        found: list[list[float]] = []
        older = [0.0] * (STEPS + 1)
        for bucket in reversed(range(len(AGES))):
            windows = _Windows()
            for past in self._pasts.values():
                windows.add_all(past.by_age[bucket])
            count = windows.weight / self._horizon
            older = [
                max(before, (count * mine + self._prior * all_ages) / (count + self._prior))
                for before, mine, all_ages in zip(older, windows.over(), fleet, strict=True)
            ]
            found.insert(0, older)
        return found

    @cached_property
    def _seen(self) -> list[tuple[float, ...]]:
        """By bucket, the largest ratio of each pod, for people; of pods of all ages where none was as old."""
        largest = [
            [ratio for past in self._pasts.values() for ratio in past.largest[bucket].values()]
            for bucket in range(len(AGES))
        ]
        everybody: dict[tuple[str, str], float] = {}
        for key, past in self._pasts.items():
            for found in past.largest:
                for pod, ratio in found.items():
                    everybody[key, pod] = max(ratio, everybody.get((key, pod), 0.0))
        return [tuple(sorted(of_age or everybody.values())) for of_age in largest]


class _Windows:
    """Growth ratios by step of 1 %, each with the share of the horizon that was seen of it."""

    def __init__(self) -> None:
        self.steps: dict[int, float] = {}
        self.weight = 0.0

    def add(self, step: int, weight: float) -> None:
        self.steps[step] = self.steps.get(step, 0.0) + weight
        self.weight += weight

    def add_all(self, other: _Windows) -> None:
        for step, weight in other.steps.items():
            self.add(step, weight)

    def over(self) -> list[float]:
        """At i, the share of the windows whose step is above i."""
        left, found = 0.0, [0.0] * (STEPS + 1)
        for step in range(STEPS, 0, -1):
            left += self.steps.get(step, 0.0)
            found[step - 1] = left / self.weight if left else 0.0
        return found


class _Past:
    """The windows of one workload: what each of its pods grew by, from each past morning on."""

    def __init__(self, pods: Sequence[PodUse], horizon: int):
        self.windows = _Windows()
        self.by_age = [_Windows() for _ in AGES]
        self.largest: list[dict[str, float]] = [{} for _ in AGES]
        # Days are matched from the newest back, so that all begin with yesterday's.
        peaks = [pod.day_peaks_mib[::-1] for pod in pods]
        self._horizon = horizon
        self.age = max(map(len, peaks), default=0)
        highest = [_highest(day[back] for day in peaks if back < len(day)) for back in range(self.age)]
        known = math.nan
        for back in reversed(range(1, self.age)):
            known = _highest((known, highest[back]))
            if not known > 0:
                continue
            bucket, ahead = _bucket(self.age - back), min(horizon, back)
            for pod, days in zip(pods, peaks, strict=True):
                reached = _highest(days[back - ahead : back])
                if reached >= 0:
                    self._add(bucket, pod.name, reached / known, ahead / horizon)

    @property
    def count(self) -> float:
        """Windows that do not overlap. A workload is released as one: its days count, not its pods'."""
        return (self.age - 1) / self._horizon if self.windows.weight else 0.0

    def _add(self, bucket: int, pod: str, ratio: float, weight: float) -> None:
        step = 0 if ratio <= 1 else min(STEPS, math.ceil(math.log(ratio) / STEP - 1e-9))
        self.windows.add(step, weight)
        self.by_age[bucket].add(step, weight)
        self.largest[bucket][pod] = max(ratio, self.largest[bucket].get(pod, 0.0))


def _with_prior(over: list[float], windows: float) -> list[float]:
    """
    The fleet's chances as if PRIOR_GROWTHS more of its growths had been of a Pareto distribution: how often
    memory grows is the fleet's own, but how far it may grow at most, a week or two do not show.
    """
    grew = over[0]
    if not grew:
        return over
    count = windows * grew
    return [
        (count * seen + PRIOR_GROWTHS * grew * math.exp(-PARETO * step * STEP)) / (count + PRIOR_GROWTHS)
        for step, seen in enumerate(over)
    ]


def _bucket(age: int) -> int:
    return max((i for i, least in enumerate(AGES) if age >= least), default=0)


def _highest(values: Iterable[float]) -> float:
    return max((value for value in values if math.isfinite(value)), default=math.nan)


def _trimmed(over: list[float]) -> tuple[float, ...]:
    while over and over[-1] <= 0:
        over.pop()
    return tuple(over)


def outgrowing(
    node: Sequence[str],
    known: Mapping[str, PodUse],
    goes_first: Callable[[str], bool],
    card_memory_mib: float,
    headroom: float,
    level: float,
    growth: MemoryGrowth,
    surge: float = 1.0,
) -> list[str]:
    """
    Pods that leave a GPU whose memory they may outgrow, until the others fit: first those that leave anyway,
    then those that may grow most.

    Args:
        node: Names of the pods on the GPU.
        headroom, level, surge: As in `fits`.
    """
    rest, leavers = list(node), []
    while len(rest) > 1 and not fits(
        growth.members(known[name] for name in rest), card_memory_mib, headroom, level, surge
    ):
        leaver = max(rest, key=lambda name: (goes_first(name), growth.may_reach(known[name]), name))
        rest.remove(leaver)
        leavers.append(leaver)
    return leavers


def workload_key(pod: PodUse) -> str:
    """Its workload; a pod of which none is known is its own."""
    return pod.workload or f"pod {pod.name}"
