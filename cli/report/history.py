"""Reads what reconciles keep of clusters, for a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches

from slicewise.app import App
from slicewise.costs import text
from slicewise.costs.count import collect
from slicewise.costs.day import DAY_SECONDS, Day
from slicewise.costs.moments import at
from slicewise.costs.tally import ClusterDays
from slicewise.errors import Refused, SlicewiseError, Unavailable
from slicewise.trigger import name_of

from cli.report.period import Period

NOTHING_YET = (
    "No costs are recorded yet. A cluster is counted from the first reconcile of tuning on, within an hour "
    "of its onboarding: slicewise status shows how far it is."
)


@dataclass
class History:
    """
    Attributes:
        notes: What of it a report cannot say.
        failed: Clusters that could not be read, or are not known, with why.
    """

    clusters: list[ClusterDays] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def read(app: App, named: Sequence[str], found: Period) -> History:
    """
    All clusters that have costs, or those that are named.

    Raises:
        Refused, Unavailable: The table cannot be read.
    """
    history = History()
    for cluster in _chosen(app, _recorded(app), named, history):
        try:
            days = _days(app, cluster, found, history)
        except SlicewiseError as error:
            history.failed.append(f"{name_of(cluster)}: its costs could not be read: {error}")
            continue
        history.clusters.append(_counted_to_now(cluster, days, found.until, history))
    return history


def _recorded(app: App) -> tuple[str, ...]:
    """ARNs."""
    try:
        return app.ports.costs.clusters()
    except (Refused, Unavailable) as error:
        takes = "It takes dynamodb:Query on the table of Slicewise"
        raise type(error)(f"which clusters have costs could not be read: {error}. {takes}.") from error


def _chosen(app: App, recorded: Sequence[str], named: Sequence[str], history: History) -> Iterator[str]:
    if not named:
        yield from recorded
        return
    names = [name_of(cluster) for cluster in recorded]
    for name in dict.fromkeys(named):
        cluster = app.trigger(name, "").cluster
        if cluster in recorded:
            yield cluster
        elif not recorded:
            history.failed.append(f"{name_of(cluster)}: {NOTHING_YET}")
        else:
            history.failed.append(f"{name_of(cluster)}: no costs are recorded of it. {_meant(name, names)}")


def _meant(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name_of(name), names, n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else f"Recorded are {', '.join(names[:8])}."


def _days(app: App, cluster: str, found: Period, history: History) -> list[Day]:
    first, last = int(found.since.timestamp()), int(found.until.timestamp()) - 1
    kept = app.ports.costs.days(cluster, first - first % DAY_SECONDS, last - last % DAY_SECONDS)
    days = [day for one in kept if (day := text.load(one))]
    if len(days) < len(kept):
        unread = len(kept) - len(days)
        history.notes.append(
            f"{name_of(cluster)}: {unread} days were written by another release, and not read."
        )
    return days


def _counted_to_now(cluster: str, days: list[Day], until: datetime, history: History) -> ClusterDays:
    """The newest day knows who was there up to its last reconcile, though not yet what they used."""
    name, region = name_of(cluster), cluster.split(":")[3]
    if not days:
        return ClusterDays(name, region)
    *older, newest = days
    known = collect.counted_to(newest, int(until.timestamp()))
    if known[-1].through > newest.through:
        since = f"{at(newest.through):%Y-%m-%d %H:%M}"
        history.notes.append(f"{name}: from {since} UTC on what pods used is not measured yet.")
    return ClusterDays(name, region, (*older, *known))
