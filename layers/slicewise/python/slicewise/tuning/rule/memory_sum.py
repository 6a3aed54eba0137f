"""
The memory of a GPU's pods together, each of which may grow: its upper quantile. Pure.

Pods of different workloads rarely grow together, those of one workload do: a new version, a larger batch. So
a GPU's memory is a sum over workloads, convolved on a grid of CELLS cells a card, and within a workload all
pods grow alike. Rounding is always upwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from slicewise.tuning.usage.evidence import usable_memory

# The chance with which all pods of a GPU fit its memory over the horizon; docs/tuning.md has the frontier.
QUANTILE = 0.97
# Cells of a card's memory for a sum. One grid for all, so that a larger peak never fits better by rounding.
CELLS = 128
# Ratios are counted in steps of 1 %, up to about eightfold: nothing that grew so much shares a GPU.
STEP = math.log(1.01)
STEPS = 210


@dataclass(frozen=True)
class Growth:
    """
    How much the memory of a pod may exceed the peak known of it.

    Attributes:
        over: At i, the chance that the ratio exceeds 1.01^i; falls with i.
        seen: The largest ratio of each pod that this was learnt from, ascending.
        days: The horizon that it was learnt for; 0 where nothing is known.
    """

    over: tuple[float, ...] = ()
    seen: tuple[float, ...] = ()
    days: int = 0

    def chance_over(self, ratio: float) -> float:
        """The chance that memory exceeds `ratio` times the known peak, rather too high than too low."""
        if ratio < 1:
            return 1.0
        if math.isinf(ratio):
            return 0.0
        step = int(math.log(ratio) / STEP + 1e-9)
        return self.over[step] if step < len(self.over) else 0.0

    def quantile(self, level: float) -> float:
        """The least ratio that is exceeded with a chance of at most 1 − level: 1 or more."""
        for step, chance in enumerate(self.over):
            if chance <= 1 - level + 1e-12:
                return math.exp(step * STEP)
        return math.exp(len(self.over) * STEP)

    def describe(self, level: float) -> str:
        """How often more was seen, such as "3 of 140 pods like it grew more in 5 days"."""
        more = sum(1 for seen in self.seen if seen > self.quantile(level))
        span = "a day" if self.days == 1 else f"{self.days} days"
        return f"{more} of {len(self.seen)} pods like it grew more in {span}"

    @cached_property
    def most(self) -> float:
        """No growth seen exceeds this ratio."""
        return self.quantile(1.0)


NO_GROWTH = Growth()


@dataclass(frozen=True)
class Member:
    """Pods of one workload on a GPU: the sum of their known peaks in MiB, which grow as one."""

    peak_mib: float
    growth: Growth = NO_GROWTH


def overflow_chance(members: Sequence[Member], card_mib: float) -> float:
    """The chance that the members' memory exceeds `card_mib` together; 1 where their known peaks do."""
    room = card_mib - sum(member.peak_mib for member in members)
    if not room >= 0:
        return 1.0
    growing = [member for member in members if member.peak_mib > 0 and member.growth.over]
    if sum(member.peak_mib * (member.growth.most - 1) for member in growing) <= room:
        return 0.0
    if len(growing) == 1:
        return growing[0].growth.chance_over(1 + room / growing[0].peak_mib)
    cell = card_mib / CELLS
    cells = int(room / cell + 1e-9)
    within = [1.0]
    for member in growing:
        shares = _shares(member, cell, cells)
        summed = [0.0] * min(cells + 1, len(within) + len(shares) - 1)
        for taken, chance in enumerate(within):
            for more, share in enumerate(shares[: len(summed) - taken]):
                summed[taken + more] += chance * share
        within = summed
    return min(1.0, max(0.0, 1.0 - math.fsum(within)))


def _shares(member: Member, cell: float, cells: int) -> list[float]:
    """At i, the chance that the member grows by more than i − 1 and at most i cells; cut beyond `cells`."""
    over = [member.growth.chance_over(1 + i * cell / member.peak_mib) for i in range(cells + 1)]
    shares = [1 - over[0], *(above - below for above, below in pairwise(over))]
    while len(shares) > 1 and shares[-1] == 0:
        shares.pop()
    return shares


def fits(
    members: Sequence[Member],
    card_mib: float,
    headroom: float,
    level: float = QUANTILE,
    surge: float = 1.0,
) -> bool:
    """
    Whether pods may share a card: known peaks within (1 − h) · M, the sum's quantile within M, and any one
    member `surge` times its known peak while the others stay. Where memory never grew, none surges.
    """
    known = sum(member.peak_mib for member in members)
    if not known <= usable_memory(card_mib, headroom):
        return False
    growing = [member.peak_mib for member in members if member.growth.over]
    # What requests leave in exact arithmetic is not to fail by rounding.
    if known + (surge - 1) * max(growing, default=0.0) > card_mib * (1 + 1e-9):
        return False
    # Cheaply, for most: no pod may take all the room, and all fit if none takes more than its part of it.
    allowed, room = 1 - level + 1e-9, card_mib - known
    if any(_chance_of(member, room) > allowed for member in members):
        return False
    if sum(_chance_of(member, room / len(members)) for member in members) <= allowed:
        return True
    return overflow_chance(members, card_mib) <= allowed


def _chance_of(member: Member, growth_mib: float) -> float:
    """The chance that the member grows by more than that."""
    return member.growth.chance_over(1 + growth_mib / member.peak_mib) if member.peak_mib > 0 else 0.0


def upper_bound(
    members: Sequence[Member], card_mib: float, headroom: float, level: float = QUANTILE
) -> float:
    """
    The upper quantile of the members' memory together in MiB, to a cell of the card; never less than their
    peaks over (1 − h).

    Args:
        card_mib: Only the grid's measure; the bound may exceed it.
    """
    known = sum(member.peak_mib for member in members)
    low = known / max(1e-9, 1 - headroom)
    high = sum(member.peak_mib * member.growth.most for member in members)
    cell = card_mib / CELLS
    while high > low + cell:
        middle = (low + high) / 2
        if overflow_chance(members, middle) <= 1 - level + 1e-9:
            high = middle
        else:
            low = middle
    return max(low, high)
