"""A day of what a cluster's GPUs cost, as the table keeps it: bytes that costs/text.py writes."""

from __future__ import annotations

from dataclasses import dataclass

# Of what the bytes mean: items of another one are not read, which costs history and nothing else.
VERSION = 1
# How the keys of its items begin in the table.
COST_PREFIX = "cost#"


@dataclass(frozen=True)
class CostDay:
    """
    Attributes:
        day: Second at which the day begins.
        through: Second up to which it is counted.
    """

    day: int
    through: int
    content: bytes
