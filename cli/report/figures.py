"""Exact fractions as figures that people read: cents that add up, hours, shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from slicewise.costs.cents import cents, rounded

Table = Sequence[Sequence[Fraction]]
MINUS = "\N{MINUS SIGN}"


def cents_table(table: Table, columns: Sequence[int]) -> list[list[int]]:
    """
    Dollars of rows and columns as cents that add up both ways.

    Args:
        columns: What each column adds up to, in cents: its exact sum, rounded up or down.
    """
    shown = [[floor(value * 100) for value in row] for row in table]
    rows = cents([sum(row, Fraction(0)) for row in table], sum(columns))
    lacking = _Lacking(
        [total - sum(row) for total, row in zip(rows, shown, strict=True)],
        [total - sum(row[j] for row in shown) for j, total in enumerate(columns)],
    )
    for i, j in _by_remainder(table):
        shown[i][j] += lacking.take(i, j, 1)
    for i, j in _by_amount(table):
        shown[i][j] += lacking.take(i, j, lacking.rows[i])
    return shown


@dataclass(frozen=True)
class _Lacking:
    """Cents by which rows and columns of a table are short of their sums."""

    rows: list[int]
    columns: list[int]

    def take(self, i: int, j: int, most: int) -> int:
        """Cents that a cell gets, `most` at most."""
        taken = max(0, min(self.rows[i], self.columns[j], most))
        self.rows[i] -= taken
        self.columns[j] -= taken
        return taken


def _by_remainder(table: Table) -> list[tuple[int, int]]:
    remainders = {(i, j): value * 100 % 1 for i, row in enumerate(table) for j, value in enumerate(row)}
    return sorted((cell for cell in remainders if remainders[cell]), key=lambda cell: -remainders[cell])


def _by_amount(table: Table) -> list[tuple[int, int]]:
    """For the few cents that rounding up did not place: on large amounts they are seen least."""
    amounts = {(i, j): value for i, row in enumerate(table) for j, value in enumerate(row)}
    return sorted(amounts, key=lambda cell: -amounts[cell])


def usd(amount: int) -> str:
    """Cents as dollars."""
    sign = MINUS if amount < 0 else ""
    return f"{sign}${abs(amount) // 100:,}.{abs(amount) % 100:02}"


def dollars(value: Fraction) -> str:
    """A figure that stands alone, to the cent."""
    return usd(rounded(value))


def round_dollars(value: Fraction) -> str:
    """For a headline: without cents from 1,000 $ on."""
    return dollars(value) if abs(value) < 1000 else usd(rounded(value / 100) * 100).removesuffix(".00")


def price(value: Fraction) -> str:
    """Dollars an hour, whose tenths of cents matter."""
    return f"${float(value):,.4f}"


def hours(value: Fraction) -> str:
    digits = 1 if abs(value) >= 10 or not value else 2
    return f"{float(value):,.{digits}f}"


def share(value: float | Fraction | None) -> str:
    """Of 0 to 1, as a percentage."""
    if value is None:
        return "–"
    percent = float(value) * 100
    text = f"{percent:.1f} %" if 0 < abs(percent) < 10 else f"{percent:.0f} %"
    return text.replace("-", MINUS)
