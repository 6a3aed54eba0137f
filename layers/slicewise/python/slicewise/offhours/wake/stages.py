"""
In which order a cluster wakes, and when each stage may: the most important first. Pure.

A stage is what has pods of one priority. The next is woken once the pods of the one before it run, and at the
latest at a time of its own, so that a stage that never runs keeps no other asleep:

    opening - lead     the last stage: it always has the whole measured start-up to itself
    a step earlier     the stage before it; and so on, up to the first, which begins the waking

A step is half a lead: by then Karpenter has long asked EC2 for the machines of a stage, so that where there
are few, the important ones have them. All steps together are a lead at most: a dozen priorities must not have
the first nodes run for hours before people come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from slicewise.kube.objects import being_deleted, status
from slicewise.kube.ref import Object, Ref
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import targets as following
from slicewise.offhours.kinds import Registry, lets_start, waits_for_others
from slicewise.offhours.observation import Found
from slicewise.offhours.sleep_fields import PAUSED_REPLICAS, REPLICAS

Stage = tuple[Snapshot, ...]
# As long as a fleet takes, a cluster: three reconciles of 10 s each, a hundred at once, and some to spare.
SHARE_OF_EACH, LONGEST_SHARE = timedelta(seconds=0.5), timedelta(minutes=15)
# The one that begins last must end in time, too.
LEAST_OF_ALL = 0.2


@dataclass(frozen=True)
class WakeBatch:
    """
    Attributes:
        snapshots: What may be restored now, most important first; what was already is among it.
        waits: Why others may not yet, in words; empty where all may.
    """

    snapshots: tuple[Snapshot, ...]
    waits: str = ""


def stages(snapshots: Sequence[Snapshot]) -> tuple[Stage, ...]:
    """Most important first. NodePools and queues are of none: without them no pod of any stage runs."""
    staged = [snapshot for snapshot in snapshots if not lets_start(snapshot.ref)]
    known = [snapshot.priority for snapshot in staged if not waits_for_others(snapshot.ref)]
    lowest = min(known, default=0)

    def priority(snapshot: Snapshot) -> int:
        return lowest if waits_for_others(snapshot.ref) else snapshot.priority

    return tuple(
        tuple(snapshot for snapshot in staged if priority(snapshot) == one)
        for one in sorted(set(map(priority, staged)), reverse=True)
    )


def step(lead: timedelta, number: int) -> timedelta:
    """How much later each of so many stages is woken at most; whole seconds, as schedules have them."""
    return timedelta(seconds=lead.total_seconds() // max(2, number - 1))


def ahead(snapshots: Sequence[Snapshot], lead: timedelta) -> timedelta:
    """How long before the opening the waking begins."""
    number = len(stages(snapshots))
    return lead + max(0, number - 1) * step(lead, number)


def share(cluster: str, clusters: int) -> timedelta:
    """
    How much earlier than it must a cluster begins to wake, where so many may open at the same minute: each at
    its own moment, the same each morning. So the queue, the function and the EKS API are done with all by the
    time that their nodes need (`python -m bench openings`).

    Returns:
        Whole seconds; none where there are few.
    """
    among = int.from_bytes(hashlib.sha256(cluster.encode()).digest()[:4]) / 2**32
    all_of_them = min(clusters * SHARE_OF_EACH, LONGEST_SHARE)
    return timedelta(seconds=int((LEAST_OF_ALL + (1 - LEAST_OF_ALL) * among) * all_of_them.total_seconds()))


def next_batch(
    snapshots: Sequence[Snapshot], found: Found, opening: datetime, lead: timedelta, now: datetime
) -> WakeBatch:
    in_order = stages(snapshots)
    may = tuple(snapshot for snapshot in snapshots if lets_start(snapshot.ref))
    made = following.workloads(found.pods, found.owners, kinds=found.kinds)
    pods = {work.ref: work.pods for work in made}
    before: Stage = ()
    for index, stage in enumerate(in_order):
        due = opening - lead - (len(in_order) - 1 - index) * step(lead, len(in_order))
        starting = [snapshot.ref for snapshot in before if not _runs(snapshot, found, pods)]
        if starting and now < due and not all(snapshot.woken for snapshot in stage):
            left = sum(not snapshot.woken for one in in_order[index:] for snapshot in one)
            return WakeBatch(may, f"{left} objects wait until {_some(starting)}, or {due:%H:%M} UTC")
        may, before = may + stage, stage
    return WakeBatch(may)


def _runs(snapshot: Snapshot, found: Found, pods: Mapping[Ref, tuple[Object, ...]]) -> bool:
    """Whether all its pods run: as many as it wants, where it says how many that are."""
    live = found.objects.get(snapshot.ref)
    if not snapshot.intact or (snapshot.woken and live is None):
        return True  # nothing wakes it, or a person wants it removed
    if not snapshot.woken or live is None:
        return False
    top = following.scaled_by(live) if live["kind"] == "ScaledObject" else snapshot.ref
    there = [pod for pod in pods.get(top, ()) if not being_deleted(pod)]
    wanted = _least(snapshot, live, found.kinds)
    return len(there) >= wanted and all(status(pod).get("phase") == "Running" for pod in there)


def _least(snapshot: Snapshot, live: Object, kinds: Registry) -> int:
    """How many pods it has at least: KEDA's triggers may want none; how many others make, they alone know."""
    setting = kinds.setting_of(snapshot)
    if setting is REPLICAS:
        return int(REPLICAS.value(live))
    return 1 if setting and setting.ends_pods and setting is not PAUSED_REPLICAS else 0


def _some(starting: Sequence[Ref]) -> str:
    more = f" and {len(starting) - 1} more" if len(starting) > 1 else ""
    return f"the pods of {starting[0]}{more} run"
