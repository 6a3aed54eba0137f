"""What was measured of clusters, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from slicewise.errors import Conflict
from slicewise.model.usage import OF_NO_DAY, Page

from tests.fakes.aws.refusals import check_item
from tests.fakes.calls import Calls


class FakeUsageStore:
    """Implements ports.UsageStore."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.kept: dict[tuple[str, str, int, int, int], Page] = {}

    def pages(self, cluster: str, source: str, since: int) -> tuple[Page, ...]:
        with self._calls.call("usage.pages"):
            return tuple(
                page
                for (of, by, day, *_), page in sorted(self.kept.items())
                if (of, by) == (cluster, source) and (day <= OF_NO_DAY or day >= since)
            )

    def keep(self, cluster: str, pages: Iterable[Page], now: datetime) -> None:
        for page in pages:
            with self._calls.call(f"usage.keep {page.day}/{page.number}"):
                sort = f"usage#{page.source}#{page.day:010}#{page.of:04}#{page.number:04}"
                check_item(pk=f"cluster#{cluster}", sk=sort, all=page.content)
                key = cluster, page.source, page.day, page.of, page.number
                if key in self.kept and page.through < self.kept[key].through <= now.timestamp():
                    raise Conflict(f"{sort} of {cluster} goes on longer")
                self.kept[key] = page

    def delete_state(self, cluster: str) -> None:
        """As the table does with all that it holds of a cluster."""
        self.kept = {key: page for key, page in self.kept.items() if key[0] != cluster}
