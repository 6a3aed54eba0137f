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
    """
    What is known of one pod: from when on it counts, and its points by second.

    Attributes:
        busy, memory_mib: What it may have used: fractions of a GPU, and MiB.
        measured_busy, measured_memory_mib: What it used for certain, in the same units. Of a pod that is
            measured itself they are the same points.
    """

    since: int
    busy: Points
    memory_mib: Points
    grade: Grade
    measured_busy: Points
    measured_memory_mib: Points

    @classmethod
    def of_a_pod(cls, since: int, busy: Points, memory_mib: Points) -> Past:
        """Of one that is measured itself."""
        return cls(since, busy, memory_mib, Grade.POD, busy, memory_mib)

    @cached_property
    def last(self) -> int:
        return max(self.busy, default=self.since)

    def samples(self, step: int) -> list[float]:
        """`busy`, one a step from the first that counts to the last; NaN where it was not measured."""
        return [self.busy.get(at, math.nan) for at in self._steps(step)]

    def measured_samples(self, step: int) -> list[float]:
        """`measured_busy` at the same steps."""
        return [self.measured_busy.get(at, math.nan) for at in self._steps(step)]

    def _steps(self, step: int) -> range:
        first = -(-self.since // step) * step
        return range(first, self.last + 1, step) if self.busy else range(0)


class Line:
    """
    What the pods of a workload did, at every step at which it had one.

    Steps between two of its pods' lives are left out: asleep is not unmeasured. A step within a life without
    a measurement stays missing. Lives are added oldest first, as far as somebody has asked.

    Attributes:
        memory_mib: The lowest and the highest that one of the lives so far may have used;
            `measured_memory_mib` the highest that one used for certain, 0.0 where none did.
        estimated: One of them is known by its GPU only.
    """

    def __init__(self, members: Iterable[Past], step: int):
        self.memory_mib: tuple[float, ...] = ()
        self.measured_memory_mib = 0.0
        self.estimated = False
        self._step, self._members = step, sorted(members, key=lambda past: past.since)
        self._added, self._alike = 0, set[tuple[int, int]]()
        self._busiest: dict[int, float] = {}
        self._lives: dict[int, tuple[float, int]] = {}

    def until(self, since: int) -> int:
        """Add the lives that began before; how many there are. Never asked for less than before."""
        while self._added < len(self._members) and self._members[self._added].since < since:
            self._add(self._members[self._added])
            self._added += 1
        return self._added

    def busy(self, before: int) -> list[float]:
        """By step, what the busiest pod may have used."""
        return [self._busiest[at] for at in sorted(self._busiest) if at < before]

    def measured_busy(self, before: int) -> list[float]:
        """By the same steps, what its pods used for certain in the mean: who was not measured, nothing."""
        return [total / count for at, (total, count) in sorted(self._lives.items()) if at < before]

    def _add(self, life: Past) -> None:
        self.estimated = self.estimated or life.grade is Grade.DEVICE
        alike = id(life.busy), life.since
        if life.memory_mib:
            known = (*self.memory_mib, *life.memory_mib.values())
            self.memory_mib = min(known), max(known)
        self.measured_memory_mib = max(
            self.measured_memory_mib, *life.measured_memory_mib.values(), self.measured_memory_mib
        )
        if alike in self._alike:
            return
        self._alike.add(alike)
        first = -(-life.since // self._step) * self._step
        steps = range(first, life.last + 1, self._step)
        both = zip(steps, life.samples(self._step), life.measured_samples(self._step), strict=False)
        for at, value, measured in both:
            known = self._busiest.get(at, math.nan)
            if math.isnan(known) or value > known:
                self._busiest[at] = value
            total, count = self._lives.get(at, (0.0, 0))
            self._lives[at] = total + (0.0 if math.isnan(measured) else measured), count + 1
