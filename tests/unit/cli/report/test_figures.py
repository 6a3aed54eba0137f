"""Figures as people read them: cents that add up, and signs and digits that are right."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from slicewise.costs.cents import cents, rounded

from cli.report import figures

amounts = some.fractions(min_value=0, max_value=10_000, max_denominator=3000)
tables = some.integers(1, 4).flatmap(
    lambda width: some.lists(some.lists(amounts, min_size=width, max_size=width), min_size=1, max_size=8)
)


@settings(max_examples=25, deadline=None)
@given(some.lists(amounts, max_size=12))
def test_cents_add_up_to_the_rounded_sum_and_each_is_less_than_one_off(values):
    shown = cents(values)

    assert sum(shown) == rounded(sum(values, Fraction(0)))
    assert all(abs(one - value * 100) < 1 for one, value in zip(shown, values, strict=True))


@settings(max_examples=25, deadline=None)
@given(tables)
def test_a_table_of_cents_adds_up_across_and_down(table):
    columns = cents([sum(column) for column in zip(*table, strict=True)])

    shown = figures.cents_table(table, columns)

    assert [sum(column) for column in zip(*shown, strict=True)] == columns
    for row, exact in zip(shown, table, strict=True):
        assert abs(sum(row) - sum(exact) * 100) < 1
        assert all(abs(one - value * 100) < 2 for one, value in zip(row, exact, strict=True))


@pytest.mark.parametrize(
    ("values", "total", "expected"),
    [
        ([Fraction(1, 3)] * 3, None, [34, 33, 33]),
        ([Fraction(1, 3)] * 3, 99, [33, 33, 33]),
        ([], None, []),
    ],
)
def test_a_total_may_be_given(values, total, expected):
    assert cents(values, total) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (figures.usd(0), "$0.00"),
        (figures.usd(123_456_709), "$1,234,567.09"),
        (figures.usd(-5), "−$0.05"),
        (figures.dollars(Fraction(2, 3)), "$0.67"),
        (figures.round_dollars(Fraction(99_999, 100)), "$999.99"),
        (figures.round_dollars(Fraction(12_345_678, 1000)), "$12,346"),
        (figures.round_dollars(Fraction(-2000)), "−$2,000"),
        (figures.price(Fraction("0.8048")), "$0.8048"),
        (figures.hours(Fraction(1, 4)), "0.25"),
        (figures.hours(Fraction(123_456, 10)), "12,345.6"),
        (figures.share(None), "–"),
        (figures.share(0.054), "5.4 %"),
        (figures.share(0.5), "50 %"),
        (figures.share(0.0), "0 %"),
        (figures.share(Fraction(-9, 5)), "−180 %"),
    ],
)
def test_a_figure_is_written(text, expected):
    assert text == expected
