"""Commands about sleep: overrides, and when a policy's clusters sleep."""

from __future__ import annotations

import argparse
import getpass
import re
import sys
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path

from slicewise.app import App
from slicewise.errors import InvalidPolicy
from slicewise.model.capabilities import OFF_HOURS
from slicewise.offhours.sleep_times import until_next_edge
from slicewise.planning.outcome import Stage
from slicewise.policy import model as policies
from slicewise.policy.off_hours import OffHours, Override
from slicewise.schedule import holidays
from slicewise.schedule.calendar import Calendar
from slicewise.schedule.holidays import NO_HOLIDAYS, Holidays, UnreadableHolidays
from slicewise.sizes import cut

from cli.output import LONGEST_REASON, Answer

_SPAN = re.compile(r"([0-9]{1,3})(m|h|d)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_WHEN = "write a time such as 22:30 or 2026-11-26T08:00, or with --for a span such as 90m, 2h or 3d"


class Unclear(Exception):
    """What was written as a time is none; the message says what to write."""


def put_override(app: App, asleep: bool, arguments: argparse.Namespace) -> Answer:
    """Put a cluster to sleep, or wake it, until a moment or until its calendar agrees."""
    trigger = app.trigger(arguments.cluster, f"requested by {getpass.getuser()}", forced=True)
    times, now = app.sleep_times(arguments.cluster), app.clock()
    if times is None:
        return _no(trigger.name, "no policy has it sleep; write offHours into its policy, and deploy that")
    try:
        until = _until(arguments, times.calendar.zone, now) or until_next_edge(times.calendar, asleep, now)
    except Unclear as error:
        print(f"slicewise: {error}", file=sys.stderr)
        return Answer(None, status=2)
    if until is None:
        missing = f"the calendar has no upcoming transition: pass --until or --for. {_WHEN}"
        print(f"slicewise: {missing}", file=sys.stderr)
        return Answer(None, status=2)
    if problem := _in_the_way(app, arguments.cluster, asleep):
        return _no(trigger.name, problem)
    reason = cut(arguments.reason, LONGEST_REASON)
    app.ports.sleep.put_override(trigger.cluster, Override(asleep, now, until, getpass.getuser(), reason))
    app.ports.queues.send(OFF_HOURS, trigger.message())
    trouble = "" if asleep else _last_trouble(app, trigger.cluster)
    shown = f"{until.astimezone(times.calendar.zone):%a %d %b %H:%M %Z} ({until:%H:%M} UTC)"
    return _queued(trigger.name, asleep, until, shown, trouble)


def _no(name: str, why: str) -> Answer:
    return Answer({"cluster": name, "done": False, "why": why}, (f"{name}: {why}",), 1)


def _queued(name: str, asleep: bool, until: datetime, shown: str, trouble: str) -> Answer:
    """
    Args:
        trouble: Why it could not be woken in the last reconcile; empty where it could.
    """
    value = {"cluster": name, "done": True, "asleep": asleep, "until": until}
    if trouble:
        lines = (
            f"{name} is to be awake until {shown}, but could not be woken in the last reconcile:",
            f"  {trouble}",
            f"  It is woken as soon as a reconcile succeeds; slicewise status {name}",
        )
        return Answer(value | {"trouble": trouble}, lines, 1)
    does = "goes to sleep" if asleep else "wakes"
    return Answer(value, (f"{name} {does} now, until {shown}; slicewise status {name}",))


def _in_the_way(app: App, cluster: str, asleep: bool) -> str:
    """Why what is asked for will not happen, and what to do; empty where it will."""
    observation = app.off_hours_outside(cluster)
    assert observation.cluster
    if not observation.cluster.answers:
        return f"EKS says that it is {observation.cluster.status}, so nothing in it can be changed"
    if observation.keep_asleep and not asleep:
        return (
            f"it is paused ({observation.paused}) and kept asleep, so it does not wake; "
            f"slicewise resume {observation.cluster.name}, or --all where the fleet is paused"
        )
    if observation.paused and asleep:
        return f"it is paused ({observation.paused}), so nothing is put to sleep; resume it first"
    if not observation.enforced and asleep:
        return "its policy's mode only observes, so nothing is put to sleep; write mode: act, and deploy that"
    return ""


def _last_trouble(app: App, cluster: str) -> str:
    record = app.ports.store.record(cluster, OFF_HOURS)
    return record.reason if record and record.stage is Stage.WAITING else ""


def delete_override(app: App, cluster: str) -> Answer:
    trigger = app.trigger(cluster, f"requested by {getpass.getuser()}", forced=True)
    app.ports.sleep.delete_override(trigger.cluster)
    app.ports.queues.send(OFF_HOURS, trigger.message())
    line = f"{trigger.name} follows its calendar again; slicewise status {trigger.name}"
    return Answer({"cluster": trigger.name, "done": True}, (line,))


def _until(arguments: argparse.Namespace, zone: tzinfo, now: datetime) -> datetime | None:
    if arguments.span:
        found = _SPAN.fullmatch(arguments.span)
        if not found or not int(found[1]):
            raise Unclear(f"--for {arguments.span!r}: {_WHEN}")
        return now + timedelta(**{_UNITS[found[2]]: int(found[1])})
    if not arguments.until:
        return None
    try:
        until = _moment(arguments.until, zone, now)
    except ValueError as error:
        raise Unclear(f"--until {arguments.until!r}: {_WHEN}") from error
    if until <= now:
        raise Unclear(f"--until {arguments.until!r}: this is in the past; {_WHEN}")
    return until.astimezone(UTC)


def _moment(text: str, zone: tzinfo, now: datetime) -> datetime:
    """In the cluster's zone, unless the text names one; a time alone is the next such."""
    if "T" in text or " " in text:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=zone)
    today = now.astimezone(zone)
    at = datetime.strptime(text, "%H:%M")
    found = today.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0)
    return found if found > now else found + timedelta(days=1)


def calendar(file: str, start: str | None, days: int) -> Answer:
    """Every change of a policy, in its own zone and in UTC; needs no AWS."""
    path = Path(file)
    try:
        found = policies.parse(path.read_text(encoding="utf-8"), path.stem).off_hours
    except (OSError, InvalidPolicy) as error:
        print(error, file=sys.stderr)
        return Answer(None, status=1)
    if found is None:
        return Answer({"edges": []}, (f"{path.stem}: nothing sleeps: the policy has no offHours",))
    try:
        own = _calendar(found, path.parent)
        first = date.fromisoformat(start) if start else datetime.now(own.zone).date()
    except (OSError, UnreadableHolidays, ValueError) as error:
        print(f"slicewise: {error}", file=sys.stderr)
        return Answer(None, status=1)
    begin = datetime(first.year, first.month, first.day, tzinfo=own.zone).astimezone(UTC)
    return _edges(own, begin, begin + timedelta(days=days))


def _edges(own: Calendar, begin: datetime, end: datetime) -> Answer:
    edges = [(edge.at, edge.asleep, _holiday(own, edge.at)) for edge in own.edges(begin, end)]
    rows = [(begin, own.is_asleep(begin), ""), *edges]
    lines = (_edge_line(own, *row) for row in rows)
    value = {
        **{"time_zone": own.time_zone, "begin": begin, "asleep": own.is_asleep(begin)},
        "edges": [{"at": at, "asleep": asleep, "holiday": name or None} for at, asleep, name in edges],
    }
    return Answer(value, (f"{own.time_zone:30} UTC", *lines))


def _edge_line(own: Calendar, at: datetime, asleep: bool, holiday: str) -> str:
    shown = f"{_local(at, own):30} {at:%a %d %b %H:%M}   {'asleep' if asleep else 'awake'}"
    return f"{shown}   {holiday}" if holiday else shown


def _holiday(own: Calendar, at: datetime) -> str:
    return own.holidays.named(at.astimezone(own.zone).date()) or ""


def _calendar(found: OffHours, folder: Path) -> Calendar:
    return Calendar(found.time_zone, found.asleep, found.awake, _holidays(found.holidays, folder))


def _holidays(name: str, folder: Path) -> Holidays:
    if not name:
        return NO_HOLIDAYS
    return holidays.read((folder / "holidays" / f"{name}.ics").read_text(encoding="utf-8"))


def _local(at: datetime, own: Calendar) -> str:
    return f"{at.astimezone(own.zone):%a %d %b %H:%M %Z}"
