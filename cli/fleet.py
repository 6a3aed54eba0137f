"""Commands about deployed clusters."""

from __future__ import annotations

import argparse
import getpass
from datetime import datetime

from slicewise.app import CAPABILITIES, OFF_HOURS, ONBOARDING, App
from slicewise.events import name_of
from slicewise.onboarding.world import LookFailure
from slicewise.records import Record
from slicewise.sizes import cut

from cli import tuning
from cli.telling import LONGEST_REASON, tell_findings


def status(app: App, cluster: str | None) -> int:
    """A line a cluster, or all about one; 1 where that one was never looked at."""
    wanted = app.hint(cluster, "").cluster if cluster else None
    store = app.ports.store
    if wanted:
        found = [record for name in CAPABILITIES if (record := store.record(wanted, name))]
        if reason := store.paused(wanted):
            print(f"paused: {reason}")
        _tell_sleep(app, wanted)
        if not found:
            print(f"{name_of(wanted)}: no pass has looked at it yet; slicewise onboard {name_of(wanted)}")
            return 1
        for record in found:
            _tell(record)
        return 0
    records = sorted(store.records(), key=lambda record: (record.cluster, record.capability))
    for record in records:
        print(f"{name_of(record.cluster):30} {record.capability:12} {record.stage:12} {record.reason}")
    if not records:
        print("no cluster has been looked at yet")
    return 0


def _tell_sleep(app: App, cluster: str) -> None:
    times, now = app.sleep_times(cluster), app.clock()
    if times is None:
        return
    edge = times.next_edge(now)
    record = app.ports.store.record(cluster, OFF_HOURS)
    for saved in (one["told"] for one in (record.details if record else ()) if one.get("told")):
        print(f"the last sleep saved {saved}")
    until = f", until {edge.at.astimezone(times.calendar.zone):%a %d %b %H:%M %Z}" if edge else ""
    print(f"{'asleep' if times.is_asleep(now) else 'awake'} by {times.says(now)}{until}")


def onboard(app: App, cluster: str) -> int:
    hint = app.hint(cluster, f"asked for by {getpass.getuser()}", forced=True)
    app.ports.queues.send(ONBOARDING, hint.message())
    print(f"{hint.name} is looked at in a moment; slicewise status {hint.name}")
    return 0


def plan(app: App, cluster: str) -> int:
    hint = app.hint(cluster, "a dry run", forced=True)
    world, planned = app.onboarding.dry_run(hint)
    if world.is_admin(app.settings.installer_role):
        print(f"{hint.name}: an installation is under way; slicewise status {hint.name}")
        return 0
    if world.look_error:
        print(f"{hint.name}: you cannot look inside ({world.look_error.kind}): {world.look_error.says}")
        print("  An access entry of your own that may read the cluster would tell the rest.")
        inside = app.settings.installer_role in world.entries
        if inside or world.look_error.kind is LookFailure.UNREACHABLE:
            # Not the plan: it would be that of an installer who sees as little as this person.
            print(f"  Slicewise's own view: slicewise status {hint.name}")
            return 0
    # Planned as for a policy that only recommends: its reason would say so, and the person knows better.
    print(f"{hint.name}: " + ("the next passes would" if planned.actions else planned.outcome.reason))
    for action in planned.actions:
        print(f"  {action}: {action.why}")
    tell_findings(planned.outcome.findings)
    if world.contents and not planned.actions:
        tuning.plan(app, cluster)
    return 0


def pause(app: App, arguments: argparse.Namespace) -> int:
    reason = cut(arguments.reason, LONGEST_REASON) or f"by {getpass.getuser()}"
    app.ports.store.pause(_which(app, arguments), reason, arguments.keep_asleep)
    print(f"{_named(arguments)} paused; what runs goes on running, and nothing is changed until resumed")
    names = app.ports.eks.cluster_names() if arguments.all else (arguments.cluster,)
    for cluster in names:
        _tell_sleepers(app, cluster, arguments.keep_asleep)
    return 0


def _tell_sleepers(app: App, cluster: str, keep_asleep: bool) -> None:
    """What sleeps while it is paused, and what becomes of it."""
    hint = app.hint(cluster, "")
    kept = app.ports.sleep.snapshots(hint.cluster)
    names = sorted({str(one.ref) for one in kept if one.ref.kind != "NodePool" and not one.woken})
    if not names:
        return
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    print(f"{hint.name}: {len(names)} asleep: {', '.join(names[:5])}{more}")
    if keep_asleep:
        print(f"  They stay asleep until slicewise resume {hint.name}.")
    else:
        print("  They wake as the calendar says. To keep them asleep: pause with --keep-asleep.")


def resume(app: App, arguments: argparse.Namespace) -> int:
    cluster = _which(app, arguments)
    app.ports.store.resume(cluster)
    if cluster:
        for capability in CAPABILITIES:
            app.ports.queues.send(capability, app.hint(cluster, "resumed").message())
    else:
        app.sweep()
    print(f"{_named(arguments)} resumed")
    return 0


def _which(app: App, arguments: argparse.Namespace) -> str | None:
    return None if arguments.all else app.hint(arguments.cluster, "").cluster


def _named(arguments: argparse.Namespace) -> str:
    return "the fleet is" if arguments.all else f"{arguments.cluster} is"


def _tell(record: Record) -> None:
    print(f"{name_of(record.cluster)}: {record.capability}: {record.stage} since {_minute(record.since)}")
    print(f"  {record.reason}")
    print(f"  last pass {_minute(record.at)}" + (f", policy {record.policy}" if record.policy else ""))
    if record.next_look and record.next_look > record.at:
        print(f"  next look {_minute(record.next_look)}")
    for line in record.changed:
        print(f"  did: {line}" if not line.startswith("would ") else f"  {line}")
    tell_findings(record.findings)


def _minute(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ")
