"""Commands about N: reconcile it now, explain why it is what it is, and what the next reconcile would do."""

from __future__ import annotations

import getpass
import json
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
from slicewise.tuning.plan import plan as next_plan
from slicewise.tuning.state.observation import Observation, cluster_of

from cli.output import Answer, actions_value, finding_lines, findings_value
from cli.terminal import progress


def tune(app: App, cluster: str) -> Answer:
    trigger = app.trigger(cluster, f"requested by {getpass.getuser()}")
    app.ports.queues.send(TUNING, trigger.message())
    line = f"{trigger.name} is queued for a reconcile; slicewise explain {trigger.name}"
    return Answer({"cluster": trigger.name, "queued": [TUNING]}, (line,))


def explain(app: App, cluster: str, pool: str | None) -> Answer:
    """What the last reconcile decided, in its own view; 1 where there was none yet."""
    trigger = app.trigger(cluster, "")
    record = app.ports.store.record(trigger.cluster, TUNING)
    if record is None or not record.details:
        line = f"{trigger.name}: nothing was decided yet; slicewise tune {trigger.name}"
        return Answer({"cluster": trigger.name, "pools": []}, (line,), 1)
    last = f"last reconcile {record.at:%Y-%m-%d %H:%M:%SZ}, policy {record.policy or 'unknown'}"
    found = _pools(record.details, pool)
    value = {"cluster": trigger.name, "at": record.at, "policy": record.policy, **found.value}
    return Answer(value, (f"{trigger.name}: {last}", *found.lines), found.status)


def plan(app: App, cluster: str) -> Answer:
    """Reads with the caller's rights."""
    trigger = app.trigger(cluster, "a dry run")
    try:
        with progress.shown(f"reading {trigger.name}"):
            _, planned = app.tuning.dry_run(trigger)
    except Refused as refused:
        line = f"{trigger.name}: you may not read what tuning reads: {refused}"
        return Answer({"unread": str(refused)}, (line,))
    return _plan(trigger.name, planned)


def snapshot(app: App, cluster: str) -> Answer:
    trigger = app.trigger(cluster, "a snapshot")
    with progress.shown(f"reading {trigger.name}"):
        observed, _ = app.tuning.dry_run(trigger)
    text = snapshots.dump(observed, app.clock())
    return Answer(json.loads(text), (text,))


def explain_snapshot(file: str, pool: str | None) -> Answer:
    found = _read(file)
    return _pools(found[1].details, pool) if found else Answer(None, status=2)


def plan_snapshot(file: str) -> Answer:
    found = _read(file)
    if found is None:
        return Answer(None, status=2)
    observed, planned = found
    cluster = cluster_of(observed)
    return _plan(cluster.name if cluster else file, planned)


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
        return observed, next_plan(observed, now)
    except UNREADABLE as error:
        print(
            f"slicewise: {file}: its contents are not as a cluster has them "
            f"({type(error).__name__}: {error}); take a new one with slicewise snapshot CLUSTER",
            file=sys.stderr,
        )
        return None


def _pools(details: Iterable[Mapping[str, Any]], pool: str | None) -> Answer:
    """1 where there is no such pool."""
    wanted = [one for one in details if pool in (None, one.get("pool"), one.get("node_pool"))]
    lines = [line for detail in wanted for line in words.lines(detail)]
    if not wanted:
        lines = [f"there is no pool {pool}" if pool else "there is no NodePool of ours"]
    return Answer({"pools": wanted}, tuple(lines), 0 if wanted else 1)


def _plan(cluster: str, planned: Plan) -> Answer:
    outcome = planned.outcome
    value = {
        **{"cluster": cluster, "reason": outcome.reason, "actions": actions_value(planned.actions)},
        **{"findings": findings_value(outcome.findings), "details": planned.details},
    }
    lines = (
        f"{cluster}: {TUNING}: {outcome.reason}",
        *(f"  {action}: {action.why}" for action in planned.actions),
        *finding_lines(outcome.findings),
    )
    return Answer(value, lines)
