"""What was measured of a cluster, as the table keeps it: pages that tuning/usage/pages.py writes."""

from __future__ import annotations

from dataclasses import dataclass

# Of what a page's bytes mean: pages of another one are ignored, which costs history.
VERSION = 1
# Days that are none are at most this.
OF_NO_DAY = 599


@dataclass(frozen=True)
class Page:
    """
    Attributes:
        source: What it was measured by: what another source measured is no part of it.
        day: Second at which its day begins; less than 600 of one that is of no day.
        number: Of its day, from 0; there are `of` of them.
        through: Second of the last step in it.
    """

    source: str
    day: int
    number: int
    of: int
    through: int
    content: bytes
