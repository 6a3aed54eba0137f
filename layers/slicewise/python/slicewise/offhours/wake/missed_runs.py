"""Runs that CronJobs missed while they were suspended: started at the opening, or skipped. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from slicewise import rights
from slicewise.kube import json_patch
from slicewise.kube.objects import moment, status
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.sleep_fields import SUSPEND, Setting
from slicewise.planning.actions import Action, Patch
from slicewise.policy.off_hours import MissedRuns


def suspended(observation: Observation) -> tuple[Snapshot, ...]:
    return tuple(one for one in observation.slept if one.ref.kind == "CronJob" and not one.woken)


def are_skipped(observation: Observation) -> bool:
    return observation.off_hours is not None and observation.off_hours.missed_runs is MissedRuns.SKIP


def skipping(
    crons: Iterable[Snapshot], found: Found, actions: Sequence[Action], now: datetime
) -> Iterator[Action]:
    """
    A CronJob's controller makes up for the last time since status.lastScheduleTime, so that becomes the last
    moment before the opening: what is due at the opening or later is started. Before it is resumed, and a
    part of its own: a run too many costs less than a CronJob that stays suspended.
    """
    resumed = {one.ref for one in actions if isinstance(one, Patch) and _writes(one, SUSPEND)}
    for snapshot in crons:
        live = found.objects.get(snapshot.ref)
        if live is None or snapshot.ref not in resumed:
            continue
        at = min(now, snapshot.ends - timedelta(seconds=1)) if snapshot.ends else now
        last = moment(status(live).get("lastScheduleTime"))
        if last is None or last < at:
            text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            operations = json_patch.set_value(live, rights.LAST_SCHEDULED, text)
            message = f"have {snapshot.ref} start no run that it missed before {at:%H:%M:%S} UTC"
            part = f"missed runs of {snapshot.ref}"
            yield Patch(
                snapshot.ref, operations, message, "the policy skips them", part=part, subresource="status"
            )


def _writes(patch: Patch, setting: Setting) -> bool:
    path = json_patch.pointer(setting.path)
    return any(one["path"] == path and one["op"] != "test" for one in patch.operations)
