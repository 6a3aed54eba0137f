"""What GPUs of clusters cost, in memory."""

from __future__ import annotations

from datetime import datetime

from slicewise.errors import Conflict
from slicewise.model.costs import COST_PREFIX, CostDay

from tests.fakes.aws.refusals import check_item
from tests.fakes.calls import Calls


class FakeCostStore:
    """Implements ports.CostStore."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.kept: dict[tuple[str, int], CostDay] = {}

    def clusters(self) -> tuple[str, ...]:
        with self._calls.call("costs.clusters"):
            return tuple(sorted({cluster for cluster, _ in self.kept}))

    def days(self, cluster: str, first: int, last: int) -> tuple[CostDay, ...]:
        with self._calls.call("costs.days"):
            return self._between(cluster, first, last)

    def newest(self, cluster: str, now: datetime) -> CostDay | None:
        with self._calls.call("costs.newest"):
            return next(reversed(self._between(cluster, 0, int(now.timestamp()))), None)

    def _between(self, cluster: str, first: int, last: int) -> tuple[CostDay, ...]:
        return tuple(
            day for (of, begin), day in sorted(self.kept.items()) if of == cluster and first <= begin <= last
        )

    def keep(self, cluster: str, day: CostDay, now: datetime) -> None:
        with self._calls.call(f"costs.keep {day.day}"):
            sort = f"{COST_PREFIX}{day.day:010}"
            check_item(pk=f"cluster#{cluster}", sk=sort, all=day.content)
            before = self.kept.get((cluster, day.day))
            if before and day.through < before.through <= now.timestamp():
                raise Conflict(f"{sort} of {cluster} is counted further")
            self.kept[cluster, day.day] = day
