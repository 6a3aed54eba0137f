"""Commands about N: reconcile it now, explain why it is what it is, and what the next reconcile would do."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from slicewise.app import App
from slicewise.errors import UNREADABLE, InvalidPolicy, Refused
from slicewise.model.capabilities import TUNING
from slicewise.planning.outcome import Plan
from slicewise.tuning import explain as words
from slicewise.tuning import snapshot as snapshots
from slicewise.tuning.plan import plan as next_pass
from slicewise.tuning.state.observation import Observation, cluster_of

from cli.output import print_findings


def tune(app: App, cluster: str) -> int:
    trigger = app.trigger(cluster, f"requested by {getpass.getuser()}")
    app.ports.queues.send(TUNING, trigger.message())
    print(f"{trigger.name} is queued for a reconcile; slicewise explain {trigger.name}")
    return 0


def explain(app: App, cluster: str, pool: str | None) -> int:
    """What the last reconcile decided, in its own view; 1 where there was none yet."""
    trigger = app.trigger(cluster, "")
    record = app.ports.store.record(trigger.cluster, TUNING)
    if record is None or not record.details:
        print(f"{trigger.name}: nothing was decided yet; slicewise tune {trigger.name}")
        return 1
    print(
        f"{trigger.name}: last reconcile {record.at:%Y-%m-%d %H:%M:%SZ}, policy {record.policy or 'unknown'}"
    )
    return _print_pools(record.details, pool)


def plan(app: App, cluster: str) -> int:
    """Reads with the caller's rights."""
    trigger = app.trigger(cluster, "a dry run")
    try:
        _, planned = app.tuning.dry_run(trigger)
    except Refused as refused:
        print(f"{trigger.name}: you may not read what tuning reads: {refused}")
        return 0
    _print_plan(trigger.name, planned)
    return 0


def snapshot(app: App, cluster: str) -> int:
    observed, _ = app.tuning.dry_run(app.trigger(cluster, "a snapshot"))
    print(snapshots.dump(observed, app.clock()))
    return 0


def explain_snapshot(file: str, pool: str | None) -> int:
    found = _read(file)
    return _print_pools(found[1].details, pool) if found else 2


def plan_snapshot(file: str) -> int:
    found = _read(file)
    if found is None:
        return 2
    observed, planned = found
    cluster = cluster_of(observed)
    _print_plan(cluster.name if cluster else file, planned)
    return 0


def _read(file: str) -> tuple[Observation, Plan] | None:
    """
    What a snapshot has and the reconcile that it leads to; None, with the reason printed, where there is
    none.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        observed, now = snapshots.load(text)
    except (OSError, UnicodeDecodeError, snapshots.Unreadable, InvalidPolicy) as error:
        print(f"slicewise: {file}: {error}", file=sys.stderr)
        return None
    if (version := snapshots.version(text)) != snapshots.VERSION:
        print(
            f"slicewise: {file}: it is of version {version}, and this release writes "
            f"{snapshots.VERSION}: what only that version knows is left out",
            file=sys.stderr,
        )
    return _planned(file, observed, now)


def _planned(file: str, observed: Observation, now: datetime) -> tuple[Observation, Plan] | None:
    try:
        return observed, next_pass(observed, now)
    except UNREADABLE as error:
        print(
            f"slicewise: {file}: its contents are not as a cluster has them "
            f"({type(error).__name__}: {error}); take a new one with slicewise snapshot CLUSTER",
            file=sys.stderr,
        )
        return None


def _print_pools(details: Iterable[Mapping[str, Any]], pool: str | None) -> int:
    """1 where there is no such pool."""
    wanted = [one for one in details if pool in (None, one.get("pool"), one.get("node_pool"))]
    for detail in wanted:
        print("\n".join(words.lines(detail)))
    if not wanted:
        print(f"there is no pool {pool}" if pool else "there is no NodePool of ours")
    return 0 if wanted else 1


def _print_plan(cluster: str, planned: Plan) -> None:
    print(f"{cluster}: {TUNING}: {planned.outcome.reason}")
    for action in planned.actions:
        print(f"  {action}: {action.why}")
    print_findings(planned.outcome.findings)
