"""
When a policy's GPU workloads sleep: values. Texts are read by schedule/entries.py and schedule/holidays.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from slicewise.policy.switches import Switch


class BarePods(StrEnum):
    """What happens to pods that nobody would make anew."""

    KEEP = "keep"
    DELETE = "delete"


class Volumes(StrEnum):
    """What happens to a StatefulSet that deletes its volumes when it is scaled down."""

    LEAVE = "leave"
    RETAIN = "retain"


class MissedRuns(StrEnum):
    """What becomes of the last run that a CronJob missed while it slept."""

    RUN = "run"
    SKIP = "skip"


class Jobs(StrEnum):
    """What becomes at night of work that ends by itself: Jobs, training jobs, RayJobs."""

    FINISH = "finish"
    SUSPEND = "suspend"
    RUN = "run"


@dataclass(frozen=True)
class OffHours:
    """
    Attributes:
        time_zone: IANA, such as "Europe/Berlin".
        asleep, awake: Weekly hours and dates.
        holidays: Name of a file of holidays beside the policies, without ".ics"; empty for none.
        namespaces: Where all that scales sleeps, beside what runs on our pools.
        volumes: Whether a StatefulSet whose volumes would go is left awake, or retains them for the night.
        missed_runs: Whether a CronJob starts at the opening what it missed, or waits for its next time.
        kinds: The switches of kinds that we do not know ourselves.
        jobs: Whether those that run go on to their end while queued ones wait, are suspended, or queued ones
            may start as well.
    """

    time_zone: str
    asleep: tuple[str, ...]
    awake: tuple[str, ...] = ()
    holidays: str = ""
    namespaces: tuple[str, ...] = ()
    bare_pods: BarePods = BarePods.KEEP
    volumes: Volumes = Volumes.LEAVE
    missed_runs: MissedRuns = MissedRuns.RUN
    kinds: tuple[Switch, ...] = ()
    jobs: Jobs = Jobs.FINISH


@dataclass(frozen=True)
class Override:
    """
    "Sleep now", "wake now", "not tonight".

    Attributes:
        until: From then on the calendar counts again.
        by, reason: For people.
        unreadable: Names of the fields that another release, or a person, wrote otherwise than we do.
    """

    asleep: bool
    said_at: datetime
    until: datetime
    by: str
    reason: str = ""
    unreadable: tuple[str, ...] = ()

    def holds(self, at: datetime) -> bool:
        return self.said_at <= at < self.until
