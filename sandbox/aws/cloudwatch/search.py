"""
Of CloudWatch's expressions those that search: SEARCH('{Namespace,Dimension} MetricName="x"', 'Stat', period),
and SUM(…) of one.

As in AWS a search finds metrics with exactly the named dimensions, in any order, that had a value within two
weeks, 500 of them at most. Anything else in an expression is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

Points = list[tuple[datetime, float]]

MOST_FOUND = 500
_SEARCH = re.compile(
    r"""SEARCH\(\s*'\{(?P<schema>[^{}']+)\}\s+MetricName="(?P<name>[^"']+)"'\s*,"""
    r"""\s*'(?P<statistic>\w+)'\s*(,\s*(?P<period>\d+)\s*)?\)"""
)


@dataclass(frozen=True)
class Search:
    """
    Attributes:
        dimensions: Names, all that a metric has.
        summed: All that is found is one series, by time.
    """

    namespace: str
    dimensions: frozenset[str]
    metric: str
    statistic: str
    period_seconds: int
    summed: bool


def parse(expression: str) -> Search | None:
    """None for what is no search, or one with more in it than is played."""
    text = expression.strip()
    summed = text.startswith("SUM(") and text.endswith(")")
    found = _SEARCH.fullmatch(text[4:-1].strip() if summed else text)
    if found is None:
        return None
    namespace, *dimensions = (part.strip() for part in found["schema"].split(","))
    period = int(found["period"] or 300)
    return Search(namespace, frozenset(dimensions), found["name"], found["statistic"], period, summed)


def total(series: Sequence[Iterable[tuple[datetime, float]]]) -> Points:
    """At each time the sum of those that have a value."""
    found: dict[datetime, float] = {}
    for points in series:
        for at, value in points:
            found[at] = found.get(at, 0.0) + value
    return sorted(found.items())
