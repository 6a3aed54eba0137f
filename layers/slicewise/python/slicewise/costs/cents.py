"""Dollars as cents that add up as they are shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor


def cents(values: Sequence[Fraction], total: int | None = None) -> list[int]:
    """
    Whole cents, each at most one away from its exact value: those with the largest remainders are rounded up.

    Args:
        total: What they are to add up to, in cents; their sum as it is rounded, where none is given. At most
            as many cents away from the exact sum as there are values.
    """
    exact = [value * 100 for value in values]
    shown = [floor(value) for value in exact]
    missing = (rounded(sum(values, Fraction(0))) if total is None else total) - sum(shown)
    by_remainder = sorted(range(len(exact)), key=lambda place: shown[place] - exact[place])
    for place in by_remainder[: max(0, missing)]:
        shown[place] += 1
    return shown


def rounded(usd: Fraction) -> int:
    """Of one amount, half a cent up."""
    return floor(usd * 100 + Fraction(1, 2))
