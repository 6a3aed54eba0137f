"""
Whom to look at when nothing has happened: the fleet, as a pure function.

CloudTrail's events are delivered at best effort. The sweep repairs what got lost: it asks for a look at every
cluster there is, and at every cluster that we still remember though it is gone.
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
# looked at in one instant: one cluster in two seconds, or faster where that takes longer than SQS can delay.
_PACE = timedelta(seconds=2)
_LONGEST = timedelta(seconds=900)


@dataclass(frozen=True)
class Look:
    """A trigger for one capability's queue, to arrive after `delay`."""

    capability: str
    trigger: Trigger
    delay: timedelta


def sweep(clusters: Iterable[str], records: Iterable[Record], scope: DeploymentScope) -> tuple[Look, ...]:
    """
    Args:
        clusters: Names that EKS lists.
        records: What we remember, of all capabilities.

    Returns:
        Looks in the order of names, spread over time.
    """
    there, remembered = {scope.arn(name) for name in clusters}, tuple(records)
    onboarded = {r.cluster for r in remembered if r.capability == ONBOARDING and _may_be_onboarded(r)}
    # Also where no policy has it any more: a last look takes the alarms away.
    tuned = {r.cluster for r in remembered if r.capability == TUNING and r.stage is not Stage.UNMANAGED}
    asleep = {r.cluster for r in remembered if r.capability == OFF_HOURS and r.stage is not Stage.UNMANAGED}
    looks = [(ONBOARDING, Trigger(cluster, "the hourly sweep")) for cluster in sorted(there)]
    looks += [
        (ONBOARDING, Trigger(cluster, "the sweep: we remember it, EKS does not list it"))
        for cluster in sorted({record.cluster for record in remembered} - there)
    ]
    looks += [
        (TUNING, Trigger(cluster, "the hourly sweep")) for cluster in sorted((onboarded | tuned) & there)
    ]
    # A policy may begin to ask for off-hours at any time; where none does, a look is over at once.
    looks += [
        (OFF_HOURS, Trigger(cluster, "the hourly sweep")) for cluster in sorted((onboarded | asleep) & there)
    ]
    pace = min(_PACE, _LONGEST / max(len(looks), 1))
    return tuple(Look(capability, trigger, index * pace) for index, (capability, trigger) in enumerate(looks))


def _may_be_onboarded(record: Record) -> bool:
    """Also in a stage that only another release knows: a look in vain costs less than none."""
    return record.stage is Stage.ONBOARDED or not isinstance(record.stage, Stage)
