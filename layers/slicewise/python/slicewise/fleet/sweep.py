"""
Which clusters to reconcile when nothing has happened: the fleet, as a pure function.

CloudTrail's events are delivered at best effort. The sweep repairs what got lost: it asks for a reconcile of
every cluster there is, and of every deleted cluster of which a record is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from slicewise.model.capabilities import OFF_HOURS, ONBOARDING, TUNING
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.trigger import DeploymentScope, Trigger

# EKS throttles its control API (about 100 DescribeCluster at once see 20 refusals), so a fleet is not
# reconciled in one instant: one cluster in two seconds, or faster where that takes longer than SQS can delay.
_PACE = timedelta(seconds=2)
_LONGEST = timedelta(seconds=900)


@dataclass(frozen=True)
class DelayedTrigger:
    """A trigger for one capability's queue, to arrive after `delay`."""

    capability: str
    trigger: Trigger
    delay: timedelta


def sweep(
    clusters: Iterable[str], records: Iterable[Record], scope: DeploymentScope
) -> tuple[DelayedTrigger, ...]:
    """
    Args:
        clusters: Names that EKS lists.
        records: Of all capabilities.

    Returns:
        Reconciles in the order of names, spread over time.
    """
    there, recorded = {scope.arn(name) for name in clusters}, tuple(records)
    onboarded = {r.cluster for r in recorded if r.capability == ONBOARDING and _may_be_onboarded(r)}
    # Also where no policy has it any longer: a last reconcile deletes the alarms.
    tuned = {r.cluster for r in recorded if r.capability == TUNING and r.stage is not Stage.UNMANAGED}
    asleep = {r.cluster for r in recorded if r.capability == OFF_HOURS and r.stage is not Stage.UNMANAGED}
    triggers = [(ONBOARDING, Trigger(cluster, "the hourly sweep")) for cluster in sorted(there)]
    triggers += [
        (ONBOARDING, Trigger(cluster, "the sweep: it is recorded, and EKS does not list it"))
        for cluster in sorted({record.cluster for record in recorded} - there)
    ]
    triggers += [
        (TUNING, Trigger(cluster, "the hourly sweep")) for cluster in sorted((onboarded | tuned) & there)
    ]
    # A policy may begin to ask for off-hours at any time; where none does, a reconcile ends at once.
    triggers += [
        (OFF_HOURS, Trigger(cluster, "the hourly sweep")) for cluster in sorted((onboarded | asleep) & there)
    ]
    pace = min(_PACE, _LONGEST / max(len(triggers), 1))
    return tuple(
        DelayedTrigger(capability, trigger, index * pace)
        for index, (capability, trigger) in enumerate(triggers)
    )


def _may_be_onboarded(record: Record) -> bool:
    """Also in a stage that only another release knows: a needless reconcile costs less than a missing one."""
    return record.stage is Stage.ONBOARDED or not isinstance(record.stage, Stage)
