"""Commands about deployed clusters."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Sequence
from datetime import datetime

from slicewise.app import App
from slicewise.errors import Refused, SlicewiseError
from slicewise.model import sweeps
from slicewise.model.capabilities import CAPABILITIES, OFF_HOURS, ONBOARDING, TUNING
from slicewise.model.cluster import EksCluster
from slicewise.onboarding.observation import ObserveFailure
from slicewise.planning.eks_actions import TryUpgrade, UpgradeRelease
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.ports import Begun
from slicewise.sizes import cut
from slicewise.trigger import name_of

from cli import tuning
from cli.output import LONGEST_REASON, print_findings

# What each capability's function is called: where a reconcile that never finished has left its log.
_FUNCTIONS = {ONBOARDING: "onboard-cluster", TUNING: "tune-slicing", OFF_HOURS: "shift-capacity"}


def status(app: App, cluster: str | None) -> int:
    """A line a cluster, or all about one; 1 where that one was never reconciled."""
    _print_late_sweep(app)
    _print_late_clusters(app)
    return _status_of(app, app.trigger(cluster, "").cluster) if cluster else _status_of_all(app)


def _status_of(app: App, cluster: str) -> int:
    store = app.ports.store
    found = [record for name in CAPABILITIES if (record := store.record(cluster, name))]
    begun, swept = {one.capability: one for one in store.begun(cluster)}, store.sweeps()
    if reason := store.paused(cluster):
        print(f"paused: {reason}")
    _print_sleep(app, cluster)
    for record in found:
        _print(record)
        _print_all(_since_then(record, begun.pop(record.capability, None), swept, app.clock()))
    for one in begun.values():
        print(f"{name_of(cluster)}: {one.capability}")
        _print_all(_never_finished(one, app.clock()))
    if not (found or begun):
        print(f"{name_of(cluster)}: no reconcile yet; slicewise onboard {name_of(cluster)}")
    return 0 if found else 1


def _status_of_all(app: App) -> int:
    records = sorted(app.ports.store.records(), key=lambda record: (record.cluster, record.capability))
    swept = app.ports.store.sweeps()
    for record in records:
        print(f"{name_of(record.cluster):30} {record.capability:12} {record.stage:12} {record.reason}")
        _print_all(_since_then(record, None, swept, app.clock()))
    if not records:
        print("no cluster has been reconciled yet")
    return 0


def _print_late_sweep(app: App) -> None:
    found, now = app.ports.store.sweeps(), app.clock()
    if sweeps.is_overdue(found, now):
        print(
            f"no sweep has run since {_minute(found[-1])}: what a lost event left undone stays undone. "
            "Check its schedule: aws scheduler get-schedule --name slicewise-sweep"
        )


def _print_late_clusters(app: App) -> None:
    try:
        late = app.overdue_clusters()
    except SlicewiseError as error:
        print(f"which clusters are asleep past their hour could not be read: {error}")
        return
    for cluster in late:
        print(f"{name_of(cluster)} is asleep past its hour; slicewise status {name_of(cluster)} says why")


def _since_then(record: Record, begun: Begun | None, swept: Sequence[datetime], now: datetime) -> list[str]:
    """What the record itself cannot show: what has not been recorded since."""
    notes = [record.next_try] if record.next_try else []
    if record.unreadable:
        fields = ", ".join(record.unreadable)
        notes.append(f"not read of this record: {fields} (another release, or a person, wrote it)")
    missed = sweeps.missed(swept, record.at, now) if _is_swept(record) else 0
    if missed:
        since = f"no reconcile has finished since {_minute(record.at)}"
        notes.append(f"{since} ({missed} sweep{'s' if missed > 1 else ''})")
    return notes + (_never_finished(begun, now) if begun else [])


def _is_swept(record: Record) -> bool:
    """What no policy asks for any longer is left to onboarding, which knows when one does."""
    return record.capability == ONBOARDING or record.stage != Stage.UNMANAGED


def _never_finished(begun: Begun, now: datetime) -> list[str]:
    started = f"a reconcile started {_minute(begun.at)}"
    if now < begun.until:
        return [f"{started} and is at work"]
    log = f"/aws/lambda/slicewise-{_FUNCTIONS.get(begun.capability, begun.capability)}"
    days = (now - begun.at).days + 1
    return [
        f"{started} and never finished: it ran out of time or memory, or was stopped",
        f"its log: aws logs tail {log} --log-stream-names '{begun.holder}' --since {days}d",
    ]


def _print_all(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"  {line}")


def _print_sleep(app: App, cluster: str) -> None:
    now = app.clock()
    try:
        times = app.sleep_times(cluster)
    except SlicewiseError as error:
        # What reconciles have recorded is read all the more where AWS does not answer.
        print(f"when it sleeps could not be read: {error}")
        return
    if times is None:
        return
    edge = times.next_edge(now)
    record = app.ports.store.record(cluster, OFF_HOURS)
    for saved in (one["told"] for one in (record.details if record else ()) if one.get("told")):
        print(f"the last sleep saved {saved}")
    until = f", until {edge.at.astimezone(times.calendar.zone):%a %d %b %H:%M %Z}" if edge else ""
    print(f"{'asleep' if times.is_asleep(now) else 'awake'} by {times.message(now)}{until}")


def onboard(app: App, cluster: str) -> int:
    trigger = app.trigger(cluster, f"requested by {getpass.getuser()}", forced=True)
    app.ports.queues.send(ONBOARDING, trigger.message())
    print(f"{trigger.name} is queued for a reconcile; slicewise status {trigger.name}")
    return 0


def plan(app: App, cluster: str) -> int:
    trigger = app.trigger(cluster, "a dry run", forced=True)
    observation, planned = app.onboarding.dry_run(trigger)
    if observation.is_admin(app.settings.installer_role):
        print(f"{trigger.name}: an installation is under way; slicewise status {trigger.name}")
        return 0
    if error := observation.observe_error:
        print(f"{trigger.name}: you may not read the cluster ({error.kind}): {error.message}")
        print("  An access entry of your own that may read the cluster would show the rest.")
        inside = app.settings.installer_role in observation.entries
        if inside or observation.observe_error.kind is ObserveFailure.UNREACHABLE:
            # Not the plan: it would be that of an installer who sees as little as this person.
            print(f"  Slicewise's own view: slicewise status {trigger.name}")
            return 0
    # Planned as for a policy that only recommends: its reason would say so, and the person knows better.
    print(f"{trigger.name}: " + ("the next reconciles would" if planned.actions else planned.outcome.reason))
    for action in planned.actions:
        print(f"  {action}: {action.why}")
        if isinstance(action, UpgradeRelease):
            print("".join(f"    {change}\n" for change in action.changes), end="")
    print_findings(planned.outcome.findings)
    for detail in planned.details:
        print(f"    GPUs of NodePool {detail['node_pool']}: {detail['gpus_by']}")
    for action in planned.actions:
        if isinstance(action, TryUpgrade) and observation.cluster:
            _try(app, observation.cluster, action)
    if observation.contents and not planned.actions:
        tuning.plan(app, cluster)
    return 0


def _try(app: App, cluster: EksCluster, action: TryUpgrade) -> None:
    """With the caller's own rights, helm and chart, which may be none."""
    what = f"  tried on the API server, writing nothing: {action.name} {action.version}"
    helm = app.ports.helm(cluster)
    try:
        helm.try_upgrade(action.name, action.namespace, action.chart, action.version, action.values)
    except Refused as refused:
        print(f"  not tried on the API server: {refused}. The installer does before it writes")
    except SlicewiseError as error:
        print(f"{what} is refused: {error}")
    else:
        print(f"{what} is taken")


def pause(app: App, arguments: argparse.Namespace) -> int:
    reason = cut(arguments.reason, LONGEST_REASON) or f"by {getpass.getuser()}"
    app.ports.store.pause(_which(app, arguments), reason, arguments.keep_asleep)
    print(f"{_named(arguments)} paused; running workloads keep running, and nothing is changed until resumed")
    names = app.ports.eks.cluster_names() if arguments.all else (arguments.cluster,)
    for cluster in names:
        _print_sleepers(app, cluster, arguments.keep_asleep)
    return 0


def _print_sleepers(app: App, cluster: str, keep_asleep: bool) -> None:
    """What sleeps while it is paused, and what becomes of it."""
    trigger = app.trigger(cluster, "")
    kept = app.ports.sleep.snapshots(trigger.cluster)
    names = sorted({str(one.ref) for one in kept if one.ref.kind != "NodePool" and not one.woken})
    if not names:
        return
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    print(f"{trigger.name}: {len(names)} asleep: {', '.join(names[:5])}{more}")
    if keep_asleep:
        print(f"  They stay asleep until slicewise resume {trigger.name}.")
    else:
        print("  They wake as the calendar says. To keep them asleep: pause with --keep-asleep.")


def resume(app: App, arguments: argparse.Namespace) -> int:
    cluster = _which(app, arguments)
    app.ports.store.resume(cluster)
    if cluster:
        for capability in CAPABILITIES:
            app.ports.queues.send(capability, app.trigger(cluster, "resumed").message())
    else:
        app.sweep()
    print(f"{_named(arguments)} resumed")
    return 0


def _which(app: App, arguments: argparse.Namespace) -> str | None:
    return None if arguments.all else app.trigger(arguments.cluster, "").cluster


def _named(arguments: argparse.Namespace) -> str:
    return "the fleet is" if arguments.all else f"{arguments.cluster} is"


def _print(record: Record) -> None:
    print(f"{name_of(record.cluster)}: {record.capability}: {record.stage} since {_minute(record.since)}")
    print(f"  {record.reason}")
    print(f"  last reconcile {_minute(record.at)}" + (f", policy {record.policy}" if record.policy else ""))
    if record.requeue_at and record.requeue_at > record.at:
        print(f"  next reconcile {_minute(record.requeue_at)}")
    for line in record.changed:
        print(f"  did: {line}" if not line.startswith("would ") else f"  {line}")
    print_findings(record.findings)


def _minute(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ")
