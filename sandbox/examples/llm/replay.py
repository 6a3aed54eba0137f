"""
When requests come: parts of a day of one client of the public trace (traces/data/servegen), at another
scale.

The trace has requests per second, one figure for ten minutes; within them they come by chance (Poisson). A
day goes faster here and its rates are scaled, but a second between two requests is a second.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from traces import serving

# One that sleeps at night, wakes slowly, and is steady in the afternoon; the third day of the trace.
CLIENT, DAY = 264, 2
WINDOWS_A_DAY = serving.SAMPLES_A_DAY
# What a window of ten minutes takes here.
WINDOW_SECONDS = 10.0


@dataclass(frozen=True)
class Part:
    """
    Of the day, which repeats until another part is played.

    Attributes:
        name: As the story calls it.
        first, last: Windows of ten minutes from midnight, the last of them not included.
    """

    name: str
    first: int
    last: int

    def rates(self) -> tuple[float, ...]:
        """Requests per second as the trace has them."""
        begin = DAY * WINDOWS_A_DAY
        return tuple(serving.rates()[CLIENT, begin + self.first : begin + self.last].tolist())

    def __str__(self) -> str:
        return f"{self.name} ({_time(self.first)} to {_time(self.last)})"


MORNING = Part("the early morning", 44, 50)
FORENOON = Part("the forenoon", 56, 58)
AFTERNOON = Part("the afternoon", 91, 103)
NIGHT = Part("the night", 144, 150)


class Arrivals:
    """
    Args:
        afternoon: Requests per second that the mean of the afternoon's becomes; the others in proportion.
        at: Second of any clock from which on they may come; none does until a part is played.
    """

    def __init__(self, afternoon: float, at: float, seed: int = 0):
        steady = AFTERNOON.rates()
        self.scale = afternoon * len(steady) / sum(steady)
        self._random = random.Random(seed)
        self._began = self._at = at
        self._rates: tuple[float, ...] = (0.0,)
        # Of expected requests, what is left until the next one.
        self._left = self._random.expovariate(1.0)

    def play(self, part: Part | None) -> float:
        """From where `until` was last called with; None for no requests. Requests a second, on average."""
        self._rates = tuple(rate * self.scale for rate in part.rates()) if part else (0.0,)
        self._began = self._at
        return sum(self._rates) / len(self._rates)

    def until(self, now: float) -> Iterator[float]:
        """When requests have come since the last call, in order."""
        while self._at < now:
            window = int((self._at - self._began) / WINDOW_SECONDS)
            # A window's end may round to what lies before it.
            ends = max(self._began + (window + 1) * WINDOW_SECONDS, self._at + 1e-6)
            rate, end = self._rates[window % len(self._rates)], min(now, ends)
            if rate * (end - self._at) >= self._left:
                self._at += self._left / rate
                self._left = self._random.expovariate(1.0)
                yield self._at
            else:
                self._left -= rate * (end - self._at)
                self._at = end


def _time(window: int) -> str:
    hours, tens = divmod(window % WINDOWS_A_DAY, 6)
    return f"{hours:02}:{10 * tens:02}"
