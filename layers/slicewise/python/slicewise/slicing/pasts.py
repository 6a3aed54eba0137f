"""Pasts of pods, point by point, and of all pods of a workload together. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from slicewise.slicing.evidence import Grade
from slicewise.slicing.series import Points


@dataclass(frozen=True)
class Past:
    """What is known of one pod: from when on it counts, and its points by second."""

    since: int
    busy: Points
    memory_mib: Points
    grade: Grade

    @cached_property
    def last(self) -> int:
        return max(self.busy, default=self.since)


def samples(past: Past, step: int) -> list[float]:
    """One a step from the pod's first that counts to its last; NaN where it was not measured."""
    first = -(-past.since // step) * step
    return [past.busy.get(at, math.nan) for at in range(first, past.last + 1, step)] if past.busy else []


class Line:
    """
    What the busiest pod of a workload did, at every step at which it had one.

    Steps between two of its pods' lives are left out: asleep is not unmeasured. A step within a life without
    a measurement stays missing. Lives are added oldest first, as far as somebody has asked.

    Attributes:
        memory_mib: The lowest and the highest of the lives so far.
        estimated: One of them is known by its GPU only.
    """

    def __init__(self, members: Iterable[Past], step: int):
        self.memory_mib: tuple[float, ...] = ()
        self.estimated = False
        self._step, self._members = step, sorted(members, key=lambda past: past.since)
        self._added, self._alike = 0, set[tuple[int, int]]()
        self._busiest: dict[int, float] = {}

    def until(self, since: int) -> int:
        """Add the lives that began before; how many there are. Never asked for less than before."""
        while self._added < len(self._members) and self._members[self._added].since < since:
            self._add(self._members[self._added])
            self._added += 1
        return self._added

    def busy(self, before: int) -> list[float]:
        return [self._busiest[at] for at in sorted(self._busiest) if at < before]

    def _add(self, life: Past) -> None:
        self.estimated = self.estimated or life.grade is Grade.DEVICE
        alike = id(life.busy), life.since
        if life.memory_mib:
            known = (*self.memory_mib, *life.memory_mib.values())
            self.memory_mib = min(known), max(known)
        if alike in self._alike:
            return
        self._alike.add(alike)
        first = -(-life.since // self._step) * self._step
        for at, value in zip(
            range(first, life.last + 1, self._step), samples(life, self._step), strict=False
        ):
            known = self._busiest.get(at, math.nan)
            if math.isnan(known) or value > known:
                self._busiest[at] = value
