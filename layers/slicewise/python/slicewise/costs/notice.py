"""
What operators get once a week where a policy asks for it: what GPUs cost, what was saved, the largest wastes.

Pure. A week is ISO 8601's, from Monday in UTC; its notice is due from the next Monday on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from slicewise.costs.day import Day
    from slicewise.costs.report import Interval

_WEEK, _DAY = timedelta(days=7), timedelta(days=1)


class Week(NamedTuple):
    """In UTC; `until` is the next one's begin."""

    since: datetime
    until: datetime

    @property
    def key(self) -> str:
        """Under which its notice is recorded as sent."""
        year, week, _ = self.since.isocalendar()
        return f"costs {year}-W{week:02}"

    @property
    def days(self) -> tuple[int, int]:
        """When the first of its days begins, and the last, in seconds."""
        return int(self.since.timestamp()), int((self.until - _DAY).timestamp())


def last_week(now: datetime) -> Week:
    """
    Args:
        now: In UTC.
    """
    monday = datetime.combine(now.date() - now.weekday() * _DAY, time(), now.tzinfo)
    return Week(monday - _WEEK, monday)


def notice(name: str, region: str, days: Sequence[Day], week: Week) -> tuple[str, str] | None:
    """Subject and text; None where there was no machine. Only a notice that is due pays for what reckons."""
    from slicewise.costs import notes
    from slicewise.costs.cents import cents, rounded
    from slicewise.costs.prices import Prices
    from slicewise.costs.reckon import reckon
    from slicewise.costs.tally import ClusterDays, Rates
    from slicewise.costs.wastes import of_the_largest, sentences, wastes

    clusters = [ClusterDays(name, region, of_the_largest(days, Rates(Prices())))]
    report = reckon(clusters, Prices(), *week)
    paid, saved = report.total.total, report.headline.value
    if not paid.gpu_hours:
        return None
    sharing, nights = (one / 100 for one in cents([report.sharing.value, report.nights_usd], rounded(saved)))
    first, last = f"{week.since:%Y-%m-%d}", f"{week.until - _DAY:%Y-%m-%d}"
    cost, share = f"${rounded(paid.usd) / 100:,.2f}", f"{float(report.headline_share.value):.0%}"
    least = "at least " if report.unpriced else ""
    lines = (
        f"Cluster {name}, {first} to {last} (UTC).",
        f"Paid: {least}{cost} for {float(paid.gpu_hours):,.1f} GPU-hours, {report.terms}.",
        f"Saved: ${rounded(saved) / 100:,.2f}{_error(report.headline)} "
        f"({share} of what would have been paid): sharing ${sharing:,.2f}, nights ${nights:,.2f}.",
        "",
        *(f"{place}. {one}" for place, one in enumerate(sentences(report, wastes(report)), 1)),
        "",
        *notes.of_money(report, clusters, Prices()),
        f"All of it: slicewise report {name} --since {first} --until {last}",
    )
    return f"Slicewise: GPUs of {name} cost {least}{cost} last week", "\n".join(lines)


def _error(headline: Interval) -> str:
    """Nothing where it is less than a cent."""
    from slicewise.costs.cents import rounded

    least, most = rounded(headline.least), rounded(headline.most)
    return f", between ${least / 100:,.2f} and ${most / 100:,.2f}" if least != most else ""
