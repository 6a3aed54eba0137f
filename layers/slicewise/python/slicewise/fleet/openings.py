"""
Which clusters must be reconciled because they open: the fleet, as a pure function.

Each cluster that sleeps has a schedule. This is the other way to its morning: every five minutes one query
finds the clusters whose waking is due and has not come about, and each gets a message. So what was lost costs
five minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from slicewise.fleet.sweep import DelayedTrigger
from slicewise.model.capabilities import OFF_HOURS
from slicewise.model.opening import Opening
from slicewise.trigger import Trigger

EVERY = timedelta(minutes=5)
# Of off-hours, as deployed; a test checks that the deployment has it.
PASSES_AT_ONCE = 120
# Awake by the opening plus five minutes is what is promised. The reconcile at the opening, which wakes
# CronJobs, and the one after it, which finds that nothing sleeps, take one of them.
PAST_ITS_HOUR = timedelta(minutes=5)
# For the EKS API, as with the sweep, where many are past: all within two minutes.
_PACE = timedelta(seconds=0.5)
_LONGEST = timedelta(minutes=2)


def triggers(openings: Mapping[str, Opening], now: datetime) -> tuple[DelayedTrigger, ...]:
    """
    Args:
        openings: By cluster, those that are due now. To ask ahead for all that come soon would have each
            reconciled twice, every morning; of a thousand, EKS refuses some.

    Returns:
        One a cluster, the one that is due longest first.
    """
    in_order = sorted(openings.items(), key=lambda one: (one[1].due, one[0]))
    pace = min(_PACE, _LONGEST / max(len(in_order), 1))
    return tuple(
        DelayedTrigger(OFF_HOURS, Trigger(cluster, _reason(opening, now)), index * pace)
        for index, (cluster, opening) in enumerate(in_order)
    )


def past_their_hour(openings: Mapping[str, Opening], now: datetime) -> tuple[str, ...]:
    """Clusters in which something still sleeps though people came a while ago, by name."""
    return tuple(
        sorted(cluster for cluster, opening in openings.items() if now - opening.opens > PAST_ITS_HOUR)
    )


def _reason(opening: Opening, now: datetime) -> str:
    if now - opening.opens > PAST_ITS_HOUR:
        return f"asleep past its hour, {opening.opens:%Y-%m-%d %H:%M} UTC"
    return f"it opens at {opening.opens:%Y-%m-%d %H:%M} UTC"
