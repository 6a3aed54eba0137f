"""
Many small counters in one big integer, so that the standard library adds whole days at once.

A day of busy fractions becomes one `int` with 32 bits a sample, in thousandths
of a GPU. Python adds two such integers at memory speed, which makes replaying
past days affordable in a Lambda without numpy. Sums stay exact below 2^31
thousandths: two million busy pods on one GPU.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import lru_cache

_TOP = 1 << 31
_BITS = 32


def to_lanes(thousandths: Iterable[int]) -> int:
    """Pack non-negative integers below 2^31, first sample in the lowest lane."""
    return int.from_bytes(array("I", thousandths).tobytes(), "little")


def from_lanes(lanes: int, samples: int) -> array[int]:
    """The samples again, as an array of unsigned integers."""
    return array("I", lanes.to_bytes(4 * samples, "little"))


def newest(lanes: int, samples: int, count: int) -> int:
    """The last `count` of the samples."""
    return lanes >> _BITS * (samples - count)


def between(lanes: int, begin: int, end: int) -> int:
    """The samples from `begin` on and before `end`."""
    return lanes >> _BITS * begin & ((1 << _BITS * (end - begin)) - 1)


def share_over(lanes: int, samples: int, limit: int = 1000) -> float:
    """Share of the samples whose value exceeds `limit`."""
    if samples <= 0:
        return 0.0
    return _over(lanes, samples, limit).bit_count() / samples


def share_over_until(lanes: int, samples: int, span: int, limit: int = 1000) -> float:
    """
    The same, as if the samples were cut off after the first `span` that all exceed the limit.

    Args:
        span: In samples, counted from the first one on; 0 for no end.
    """
    if samples <= 0:
        return 0.0
    over = _over(lanes, samples, limit)
    if span > 0 and over.bit_count() >= span:
        width = _BITS * span
        one = (1 << width) - 1
        for end in range(width, _BITS * samples + 1, width):
            if (over >> end - width & one).bit_count() == span:
                over &= (1 << end) - 1
                break
    return over.bit_count() / samples


def _over(lanes: int, samples: int, limit: int) -> int:
    """One bit a lane that exceeds the limit."""
    lift, top = _masks(samples, limit)
    # A lane above the limit carries into its top bit; nothing reaches the next lane.
    return (lanes + lift) & top


@lru_cache(maxsize=64)
def _masks(samples: int, limit: int) -> tuple[int, int]:
    ones = to_lanes([1] * samples)
    return ones * (_TOP - limit - 1), ones * _TOP
