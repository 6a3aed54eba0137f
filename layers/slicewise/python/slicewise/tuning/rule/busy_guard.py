"""
Between two decisions: who leaves a GPU that has had no rest for an hour. Pure.

A decision rests on the days before, and they hardly show which GPUs will contend: half of what contends is on
GPUs that were cool the day before. But a GPU that contended for an hour goes on for several more. So each
reconcile checks, and one pod leaves such a GPU. A shorter rise is ignored: to restart a pod takes minutes,
too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Reconciles come so often: an hour is the least that is worth a restart.
LOOKS_A_DAY = 24

# By pod, the mean busy fraction over the hour: of a GPU that its pods shared, and that had no rest in it.
FullCard = Mapping[str, float]


@dataclass(frozen=True)
class Leaver:
    """A pod that must leave its GPU now, and why."""

    pod: str
    busy: float
    reason: str


def leavers(cards: Iterable[FullCard]) -> list[Leaver]:
    """
    The busiest pod of each: the GPU that is left has the most room then, and one restart may do.

    One pod a GPU and reconcile, since what the others want shows once it has left.
    """
    found = []
    for card in cards:
        if len(card) > 1:
            pod = max(card, key=lambda name: (card[name], name))
            reason = f"its GPU had no rest for an hour, {card[pod]:.0%} of which it was busy itself"
            found.append(Leaver(pod, card[pod], reason))
    return found
