"""Kubernetes quantities: "3k" and "3000" are one number, so they are compared as numbers, never as text."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d+))?", re.ASCII)
_SUFFIXES = {
    **{
        letter: Fraction(10) ** power
        for letter, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
    },
    **{f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}
# Far beyond what the API server takes (64 bits); more would only take memory.
_MOST_DIGITS = 1000


def number(quantity: object) -> Fraction:
    """
    The exact value of a quantity ("500m", "16Gi", 4).

    Raises:
        ValueError: it is not a quantity (apimachinery, api/resource/quantity.go).
    """
    return _number(str(quantity).strip())


# Ten thousand pods request a handful of different quantities.
@lru_cache(maxsize=4096)
def _number(text: str) -> Fraction:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a Kubernetes quantity")
    digits, suffix, exponent = match.groups()
    if exponent is not None:
        return Fraction(digits) * Fraction(10) ** max(-_MOST_DIGITS, min(int(exponent), _MOST_DIGITS))
    return Fraction(digits) * _SUFFIXES.get(suffix, Fraction(1))


def whole(quantity: object) -> int:
    """A count, such as GPUs. Absent (None) counts as 0; fractions round down."""
    return int(number(quantity)) if quantity is not None else 0


def is_one(value: object) -> bool:
    try:
        return number(value) >= 0 and isinstance(value, str | int)
    except ValueError:
        return False


def same(one: object, other: object) -> bool:
    """Whether two quantities are equal; what is not a quantity equals only itself."""
    try:
        return number(one) == number(other)
    except ValueError:
        return one == other


# In place of a duration, of consolidateAfter: no node is taken away.
NEVER = "Never"


def is_duration(text: str) -> bool:
    try:
        duration(text)
    except ValueError:
        return False
    return True


def duration(text: str) -> timedelta:
    """
    A span of time as Go and Karpenter's CRDs write it: "90s", "1h30m".

    Raises:
        ValueError: it is not such a span; "Never" is none.

    A number beyond all calendars counts as the longest span there is.
    """
    parts = re.findall(r"([0-9]+)(s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration")
    names = {"s": "seconds", "m": "minutes", "h": "hours"}
    try:
        return sum((timedelta(**{names[unit]: int(number)}) for number, unit in parts), timedelta(0))
    except (OverflowError, ValueError):  # of a number of thousands of digits
        return timedelta.max
