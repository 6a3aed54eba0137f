"""The weekly notice of what a cluster's GPUs cost, where the policy says `report: weekly`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from slicewise.costs.notice import Week, last_week, notice
from slicewise.planning.actions import Notify
from slicewise.policy.model import CostReport, Mode, Policy
from slicewise.tuning.state.observation import Observed

_WHY = "the policy says report: weekly"
PART = "report"


def week_to_report(policy: Policy, notified: Collection[str], now: datetime) -> Week | None:
    """
    None where none is due.

    Args:
        notified: Keys of the notices that were sent.
    """
    week = last_week(now)
    is_wanted = policy.report is CostReport.WEEKLY and policy.mode is Mode.ACT
    return week if is_wanted and week.key not in notified else None


def notices(seen: Observed, now: datetime) -> Iterator[Notify]:
    """Its days are observed where it is due, and not where it was sent."""
    if not seen.week_costs:
        return
    # Every cold start would pay for it.
    from slicewise.costs.text import load

    week = last_week(now)
    days = [day for kept in seen.week_costs if (day := load(kept))]
    if found := notice(seen.cluster.name, seen.cluster.region, days, week):
        yield Notify(*found, _WHY, week.key, PART)
