"""Values one a step, as one array: a day of 5,000 GPUs as mappings would not fit into a reconcile. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

# Value by the second of the epoch at which its step begins.
Points = Mapping[int, float]
STEP_SECONDS = 600
# Of four bytes: of 100 GiB in MiB they leave off less than a hundredth.
_KIND = "f"
_NONE = array(_KIND, [math.nan])


class StepPoints(Mapping[int, float]):
    """
    Points as in readings.py, by the second at which their step begins.

    Args:
        first: The second of the first value, a multiple of `step`.
        step: Seconds.
        values: One a step; NaN where there is none.
    """

    __slots__ = ("by_step", "first", "step")

    def __init__(self, first: int, step: int, values: array[float]):
        self.first, self.step = first, step
        self.by_step = values if values.typecode == _KIND else array(_KIND, values)

    @classmethod
    def between(cls, first: int, last: int, step: int, *points: Mapping[int, float]) -> StepPoints:
        """Those of all `points` that lie between the two seconds, both included; the later mapping counts."""
        values = _NONE * max(0, (last - first) // step + 1)
        for found in points:
            if isinstance(found, StepPoints) and found.step == step and (found.first - first) % step == 0:
                _put(values, (found.first - first) // step, found.by_step)
                continue
            for at, value in found.items():
                if first <= at <= last and (at - first) % step == 0:
                    values[(at - first) // step] = value
        return cls(first, step, values)

    @property
    def last(self) -> int:
        """Second at which the last step begins, whether it has a value or not."""
        return self.first + (len(self.by_step) - 1) * self.step

    def __getitem__(self, at: int) -> float:
        place, odd = divmod(at - self.first, self.step)
        if odd or not 0 <= place < len(self.by_step) or math.isnan(self.by_step[place]):
            raise KeyError(at)
        return self.by_step[place]

    def get(self, at: int, default: Any = None) -> Any:
        place, odd = divmod(at - self.first, self.step)
        if odd or not 0 <= place < len(self.by_step):
            return default
        value = self.by_step[place]
        return value if value == value else default

    def __contains__(self, at: Any) -> bool:
        return self.get(at) is not None

    def __iter__(self) -> Iterator[int]:
        return iter([at for at, _ in self.items()])

    def __len__(self) -> int:
        return sum(value == value for value in self.by_step)

    def __bool__(self) -> bool:
        return any(value == value for value in self.by_step)

    def items(self) -> list[tuple[int, float]]:  # type: ignore[override]
        times = range(self.first, self.first + self.step * len(self.by_step), self.step)
        return [(at, value) for at, value in zip(times, self.by_step, strict=True) if value == value]

    def values(self) -> list[float]:  # type: ignore[override]
        return [value for value in self.by_step if value == value]

    def __repr__(self) -> str:
        return f"StepPoints({dict(self.items())})"


def _put(values: array[float], place: int, found: array[float]) -> None:
    """Over what is there, but for what is NaN; what lies outside of `values` is left out."""
    begin, end = max(0, -place), min(len(found), len(values) - place)
    if begin >= end:
        return
    new = found[begin:end]
    at = place + begin
    if not any(value != value for value in new):
        values[at : at + len(new)] = new
        return
    for value in new:
        if value == value:
            values[at] = value
        at += 1


def points_of(times: Sequence[int], values: Sequence[float]) -> Mapping[int, float]:
    """Points of ascending times: as an array where they keep to steps of ten minutes on the clock."""
    if not times or times[0] % STEP_SECONDS or times[-1] - times[0] > 31 * 86_400:
        return dict(zip(times, values, strict=True))
    first, last = times[0], times[-1]
    if len(times) == (last - first) // STEP_SECONDS + 1 and times == tuple(
        range(first, last + 1, STEP_SECONDS)
    ):
        return StepPoints(first, STEP_SECONDS, array(_KIND, values))
    if any(at % STEP_SECONDS for at in times):
        return dict(zip(times, values, strict=True))
    by_step = _NONE * ((last - first) // STEP_SECONDS + 1)
    for at, value in zip(times, values, strict=True):
        by_step[(at - first) // STEP_SECONDS] = value
    return StepPoints(first, STEP_SECONDS, by_step)


def highest(one: Mapping[int, float], other: Mapping[int, float]) -> Mapping[int, float]:
    """Both together; the higher value where both have one."""
    if not one or not other:
        return other or one
    if not (isinstance(one, StepPoints) and isinstance(other, StepPoints)) or one.step != other.step:
        merged = dict(one.items())
        for at, value in other.items():
            merged[at] = max(value, merged.get(at, value))
        return merged
    earlier, later = (one, other) if one.first <= other.first else (other, one)
    place = (later.first - earlier.first) // one.step
    values = earlier.by_step[:]
    shared = min(len(values) - place, len(later.by_step))
    if shared < len(later.by_step):
        values.extend(_NONE * (place + len(later.by_step) - len(values)))
    for number, value in enumerate(later.by_step, place):
        if not values[number] >= value and value == value:
            values[number] = value
    return StepPoints(earlier.first, one.step, values)


def laid_over(one: Mapping[int, float], other: Mapping[int, float]) -> Mapping[int, float]:
    """Both together; the value of `other` where both have one."""
    if not one or not other:
        return other or one
    if isinstance(one, StepPoints) and isinstance(other, StepPoints) and one.step == other.step:
        first = min(one.first, other.first)
        return StepPoints.between(first, max(one.last, other.last), one.step, one, other)
    return dict(one.items()) | dict(other.items())


def covers(points: Mapping[int, float], other: Mapping[int, float]) -> bool:
    """Whether `points` has, for certain, a value wherever `other` has one."""
    return (
        isinstance(points, StepPoints)
        and isinstance(other, StepPoints)
        and points.step == other.step
        and points.first <= other.first
        and other.last <= points.last
        and not any(value != value for value in points.by_step)
    )


def since(points: Mapping[int, float], begin: float) -> list[float]:
    """The values of all steps that begin at `begin` or later, in seconds."""
    if isinstance(points, StepPoints):
        place = max(0, math.ceil((begin - points.first) / points.step))
        return [value for value in points.by_step[place:] if value == value]
    return [value for at, value in points.items() if at >= begin]


def first_at(points: Mapping[int, float]) -> int | None:
    """Second of the earliest point."""
    if isinstance(points, StepPoints):
        for number, value in enumerate(points.by_step):
            if value == value:
                return points.first + number * points.step
        return None
    return min(points, default=None)


def known_at(found: Iterable[Mapping[int, float]]) -> set[int]:
    """Seconds of all points, of many GPUs that have them at the same time."""
    known: set[int] = set()
    for points in found:
        if isinstance(points, StepPoints):
            times = range(points.first, points.last + 1, points.step)
            known.update(at for at, value in zip(times, points.by_step, strict=True) if value == value)
        else:
            known.update(points)
    return known


def last_at(points: Mapping[int, float]) -> int | None:
    """Second of the latest point."""
    if isinstance(points, StepPoints):
        for number in range(len(points.by_step) - 1, -1, -1):
            if points.by_step[number] == points.by_step[number]:
                return points.first + number * points.step
        return None
    return max(points, default=None)
