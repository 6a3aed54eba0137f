"""
Which pod of a machine held how many of its slices at which time, and what the same pods would need of whole
GPUs. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from slicewise.costs.day import PodLife


class Holding(NamedTuple):
    """
    Attributes:
        key: The pod's in the roster.
        begin, end: Seconds.
        slices: What it held, 0 where others had all.
    """

    key: str
    life: PodLife
    begin: int
    end: int
    slices: int


def holdings(offered: int, lives: Iterable[tuple[str, PodLife]], begin: int, end: int) -> list[Holding]:
    """
    What the pods of one machine held from `begin` to `end`, never more together than it offers.

    That they would is because the end of one that is gone is the middle of the time in which it went: a pod
    that came since has its slices. So the one that came last is served first.
    """
    clipped = [
        Holding(
            key, life, max(life.begin, begin), end if life.end is None else min(life.end, end), life.slices
        )
        for key, life in lives
    ]
    there = [one for one in clipped if one.begin < one.end]
    if sum(one.slices for one in there) <= offered:
        return there
    return list(_joined(_shared(offered, there)))


def _clipped(key: str, life: PodLife, begin: int, end: int) -> Holding:
    last = end if life.end is None else min(life.end, end)
    return Holding(key, life, max(life.begin, begin), last, life.slices)


def _shared(offered: int, there: Sequence[Holding]) -> Iterator[Holding]:
    moments = sorted({moment for one in there for moment in (one.begin, one.end)})
    order = sorted(there, key=lambda one: (-one.life.begin, one.key))
    for begin, end in pairwise(moments):
        free = offered
        for one in order:
            if one.begin <= begin and end <= one.end:
                given = min(free, one.slices)
                free -= given
                yield one._replace(begin=begin, end=end, slices=given)


def _joined(found: Iterable[Holding]) -> Iterator[Holding]:
    """Those of a pod that follow each other with as many slices as one."""
    last: dict[str, Holding] = {}
    for one in found:
        before = last.get(one.key)
        if before and (before.end, before.slices) == (one.begin, one.slices):
            last[one.key] = before._replace(end=one.end)
            continue
        if before:
            yield before
        last[one.key] = one
    yield from last.values()


def whole_machines(found: Iterable[Holding], gpus: int) -> Iterator[tuple[int, int, int]]:
    """
    How many machines of `gpus` whole GPUs the pods would need that hold something, a GPU for each slice, all
    of a pod's on one machine: begin, end, and how many, in order of time, where there are any.
    """
    moments: dict[int, Counter[int]] = {}
    for one in found:
        if one.slices:
            moments.setdefault(one.begin, Counter())[one.slices] += 1
            moments.setdefault(one.end, Counter())[one.slices] -= 1
    held: Counter[int] = Counter()
    for begin, end in pairwise(sorted(moments)):
        held.update(moments[begin])
        if number := machines_for(held, gpus):
            yield begin, end, number


def machines_for(held: Mapping[int, int], gpus: int) -> int:
    """
    First fit decreasing.

    Args:
        held: How many pods hold each number of slices.
    """
    free: list[int] = []
    full = 0
    for slices in sorted((one for one, pods in held.items() if one > 1 and pods > 0), reverse=True):
        for _ in range(held[slices]):
            if slices >= gpus:
                full += -(-slices // gpus)
                continue
            place = next((number for number, room in enumerate(free) if room >= slices), None)
            if place is None:
                free.append(gpus - slices)
            else:
                free[place] -= slices
    left = max(held.get(1, 0) - sum(free), 0)
    return full + len(free) - (-left // gpus)
