"""What went before in a NodePool: when N changed, and since when another N has been right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self


@dataclass(frozen=True)
class History:
    """
    What went before, in aware UTC; None for what never happened.

    Attributes:
        changed_at: When N last changed.
        above_since: Since when the target has been above N, without a break; `above_target` is the lowest
            target of that time. Likewise below, with the highest.
        failed: When the canary of each N failed.
        untried: The N before, where no GPU of the canary ever had more pods than that: then it is not known
            yet how pods do at N.
    """

    changed_at: datetime | None = None
    above_since: datetime | None = None
    below_since: datetime | None = None
    above_target: int | None = None
    below_target: int | None = None
    failed: Mapping[int, datetime] = field(default_factory=dict)
    untried: int | None = None

    def seen(self, current: int, target: int, now: datetime) -> Self:
        """The history once `target` was measured at N = `current`: what `decide` reads."""
        above = below = since_above = since_below = None
        if target > current:
            since_above = self.above_since or now
            above = min(target, self.above_target or target) if self.above_since else target
        if target < current:
            since_below = self.below_since or now
            below = max(target, self.below_target or target) if self.below_since else target
        return replace(
            self, above_since=since_above, below_since=since_below, above_target=above, below_target=below
        )
