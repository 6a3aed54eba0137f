"""
When a policy's GPU workloads sleep: values. Texts are read by schedule/entries.py and schedule/holidays.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from slicewise.policy import fields, switches
from slicewise.policy.switches import Switch


class BarePods(StrEnum):
    """What happens to pods that no controller would recreate."""

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
    """What becomes at night of work that runs to completion: Jobs, training jobs, RayJobs."""

    FINISH = "finish"
    SUSPEND = "suspend"
    RUN = "run"


_TIMES = fields.ListOf(fields.SleepTime(), 'write a list, such as ["Mon-Fri 20:00-07:00", "Sat-Sun"]')
_NAMESPACES = fields.ListOf(
    fields.Text(
        re.compile(r"(?!kube-)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"), "write the name of a namespace of yours"
    ),
    "write a list of namespaces, such as [ml]",
)
_KINDS = fields.Tables(
    Switch,
    "write a list, such as [{group: example.com, kind: ModelServer, path: spec.suspend, asleep: true}]",
    most=switches.MOST,
    too_many=f"write at most {switches.MOST} kinds",
    unique=("group", "kind"),
    twice="this kind has a switch above; remove one of them",
)


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

    time_zone: str = fields.declare(
        fields.TimeZone(), "The time zone of all hours and dates, by its IANA name.", stand_in="UTC"
    )
    asleep: tuple[str, ...] = fields.declare(
        _TIMES, "Weekly hours and dates at which the cluster sleeps.", stand_in=()
    )
    awake: tuple[str, ...] = fields.declare(
        _TIMES, "Weekly hours and dates at which it is awake nevertheless.", default=(), by_default="none"
    )
    holidays: str = fields.text(
        "",
        re.compile(r"[a-z0-9][-a-z0-9]{0,62}"),  # as synthesis takes them, cdk_app/assets/policies.py
        "write the name of a file of policies/holidays, without .ics",
        "A file of holidays, on which it sleeps as well.",
        "the name of a file",
        by_default="none",
    )
    namespaces: tuple[str, ...] = fields.declare(
        _NAMESPACES,
        "Namespaces where all that scales sleeps, beside what runs on the pools.",
        default=(),
        by_default="none",
    )
    bare_pods: BarePods = fields.choice(
        BarePods.KEEP, "What happens to pods that no controller would recreate."
    )
    volumes: Volumes = fields.choice(
        Volumes.LEAVE,
        "Whether a StatefulSet that deletes volumes when scaled down is left awake, or retains them.",
    )
    missed_runs: MissedRuns = fields.choice(
        MissedRuns.RUN, "What becomes of the last run that a CronJob missed while it slept."
    )
    kinds: tuple[Switch, ...] = fields.declare(
        _KINDS, "By which field an operator's own kind sleeps.", default=(), by_default="none"
    )
    jobs: Jobs = fields.choice(
        Jobs.FINISH,
        "What becomes of Jobs at night: those that run finish, are suspended, or queued ones start as well.",
    )


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
    set_at: datetime
    until: datetime
    by: str
    reason: str = ""
    unreadable: tuple[str, ...] = ()

    def holds(self, at: datetime) -> bool:
        return self.set_at <= at < self.until
