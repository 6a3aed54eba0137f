"""Values one a step, as one array: a day of 5,000 GPUs as mappings would not fit into a pass. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from typing import Any


class StepPoints(Mapping[int, float]):
    """
    Points as in series.py, by the second at which their step begins.

    Args:
        first: The second of the first value, a multiple of `step`.
        step: Seconds.
        values: One a step; NaN where there is none.
    """

    def __init__(self, first: int, step: int, values: array[float]):
        self.first, self.step, self.values_by_step = first, step, values

    @classmethod
    def between(cls, first: int, last: int, step: int, *points: Mapping[int, float]) -> StepPoints:
        """Those of all `points` that lie between the two seconds, both included; the later mapping counts."""
        values = array("d", [math.nan]) * max(0, (last - first) // step + 1)
        for found in points:
            for at, value in found.items():
                if first <= at <= last and (at - first) % step == 0:
                    values[(at - first) // step] = value
        return cls(first, step, values)

    def __getitem__(self, at: int) -> float:
        place, odd = divmod(at - self.first, self.step)
        if odd or not 0 <= place < len(self.values_by_step) or math.isnan(self.values_by_step[place]):
            raise KeyError(at)
        return self.values_by_step[place]

    def __contains__(self, at: Any) -> bool:
        return self.get(at) is not None

    def __iter__(self) -> Iterator[int]:
        return (
            self.first + self.step * place
            for place, value in enumerate(self.values_by_step)
            if not math.isnan(value)
        )

    def __len__(self) -> int:
        return sum(not math.isnan(value) for value in self.values_by_step)
