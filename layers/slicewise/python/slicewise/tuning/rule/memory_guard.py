"""
Between two decisions: whose memory grows towards the end of its card. Pure.

A decision bounds what is likely; this catches what was not. A card is in danger where its pods use more than
when they were placed, and the fastest growth seen of one of them would fill it before the next reconcile.
Pods of a workload are taken alike: a release reaches one of them after the other, and the first shows what
the others will need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slicewise.tuning.rule.memory_growth import workload_key
from slicewise.tuning.usage.evidence import PodUse


@dataclass(frozen=True)
class Rising:
    """
    A pod's memory as it is now.

    Attributes:
        peak_mib: The highest known of its workload; `decided_mib` is what was the highest when it was last
            decided on.
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


def risings(pods: Iterable[PodUse], decided_mib: Mapping[str, float]) -> dict[str, Rising]:
    """
    The pods by name, with what is known of their workloads.

    Args:
        pods: As they are known now: those that are measured themselves, with a card of their own or not.
        decided_mib: By name, the highest peak that was known when it was last decided on, in MiB; NaN where
            none was. Of a workload of which none was there was nothing to decide on.
    """
    pods = list(pods)
    now = _highest((workload_key(pod), pod.memory_mib) for pod in pods)
    then = _highest((workload_key(pod), decided_mib.get(pod.name, math.nan)) for pod in pods)
    rises = _highest((workload_key(pod), _fastest_rise(pod)) for pod in pods)
    found = {}
    for pod in pods:
        key = workload_key(pod)
        peak = now.get(key, pod.memory_mib)
        found[pod.name] = Rising(pod.name, peak, then.get(key, peak), rises.get(key, 0.0))
    return found


def within_a_day(pods: Iterable[PodUse]) -> dict[str, Rising]:
    """Pods as their evidence shows them: what they use more than before the last day, they grew by since."""
    pods = list(pods)
    return risings(pods, {pod.name: _before_the_last_day(pod) for pod in pods})


def _before_the_last_day(pod: PodUse) -> float:
    """The highest peak known then in MiB; NaN of a pod that is younger."""
    before = [peak for peak in pod.day_peaks_mib[:-1] if math.isfinite(peak)]
    return max(before, default=math.nan)


def _highest(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in values:
        if math.isfinite(value):
            found[key] = max(value, found.get(key, value))
    return found


def _fastest_rise(pod: PodUse) -> float:
    """In MiB. Its first day is a start; `memory_mib` has what is known since the last of its days."""
    known, fastest = math.nan, 0.0
    for peak in (*pod.day_peaks_mib, pod.memory_mib):
        if peak > known:
            fastest = max(fastest, peak - known)
        known = peak if math.isnan(known) or peak > known else known
    return fastest


def in_danger(cards: Iterable[Sequence[Rising]], card_mib: float) -> list[Danger]:
    """
    Who must leave, card by card: who grew most first, until the rest stays below the line.

    Args:
        cards: The pods of each card; one that has it to itself takes room from no other.
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
            f"memory of its workload grew by {grown.grown_mib / 1024:.1f} to {grown.peak_mib / 1024:.1f} GiB"
            f": the pods of its card may need {held / 1024:.1f} of {card_mib / 1024:.1f} GiB, and "
            f"{fastest / 1024:.1f} came within a day before",
        )
        pods.remove(grown)
