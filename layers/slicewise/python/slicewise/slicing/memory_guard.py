"""
Between two decisions: whose memory grows towards the end of its card. Pure.

A decision bounds what is likely; this catches what was not. A card is in danger where its pods hold more than
when they were placed, and the fastest growth seen of one of them would fill it before anybody looks again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slicewise.slicing.evidence import PodUse
from slicewise.slicing.memory_growth import workload_key


@dataclass(frozen=True)
class Rising:
    """
    A pod's memory as it is looked at now.

    Attributes:
        peak_mib: The highest known; `decided_mib` is what was the highest when it was last decided on.
        rise_mib: By how much a pod of its workload ever exceeded its own peak from one day to the next.
    """

    name: str
    peak_mib: float
    decided_mib: float
    rise_mib: float = 0.0

    @property
    def grown_mib(self) -> float:
        return max(0.0, self.peak_mib - self.decided_mib)


@dataclass(frozen=True)
class Danger:
    """A pod that must leave its card now, and why."""

    pod: str
    reason: str


def fastest_rises(pods: Iterable[PodUse]) -> dict[str, float]:
    """By `workload_key`, how much a pod ever exceeded its own peak by from one day to the next, in MiB."""
    rises: dict[str, float] = {}
    for pod in pods:
        key = workload_key(pod)
        rises[key] = max(rises.get(key, 0.0), _fastest_rise(pod))
    return rises


def _fastest_rise(pod: PodUse) -> float:
    """In MiB. Its first day is a start; `memory_mib` has what is known since the last of its days."""
    known, fastest = math.nan, 0.0
    for peak in (*pod.day_peaks_mib, pod.memory_mib):
        if peak > known:
            fastest = max(fastest, peak - known)
        known = peak if math.isnan(known) or peak > known else known
    return fastest


def within_a_day(pod: PodUse, rise_mib: float) -> Rising:
    """A pod as its evidence shows it: what it holds more than before the last day, it grew by since."""
    before = [peak for peak in pod.day_peaks_mib[:-1] if math.isfinite(peak)]
    return Rising(pod.name, pod.memory_mib, max(before, default=pod.memory_mib), rise_mib)


def in_danger(cards: Iterable[Sequence[Rising]], card_mib: float) -> list[Danger]:
    """
    Who must leave, card by card: who grew most first, until the rest stays below the line.

    Args:
        cards: The pods of each card; one that has it to itself is in nobody's way.
    """
    return [danger for pods in cards for danger in _leavers(list(pods), card_mib)]


def _leavers(pods: list[Rising], card_mib: float) -> Iterable[Danger]:
    while len(pods) > 1:
        held = sum(pod.peak_mib for pod in pods)
        fastest = max(pod.rise_mib for pod in pods)
        grown = max(pods, key=lambda pod: (pod.grown_mib, pod.name))
        if not grown.grown_mib > 0 or held + fastest <= card_mib:
            return
        yield Danger(
            grown.name,
            f"its memory grew by {grown.grown_mib / 1024:.1f} to {grown.peak_mib / 1024:.1f} GiB: "
            f"{held / 1024:.1f} of its card's {card_mib / 1024:.1f} GiB are taken, and "
            f"{fastest / 1024:.1f} came within a day before",
        )
        pods.remove(grown)
