"""`slicewise status`: the stage of clusters, and why; also what no reconcile could record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from slicewise.app import App
from slicewise.errors import SlicewiseError
from slicewise.model import sweeps
from slicewise.model.capabilities import CAPABILITIES, OFF_HOURS, ONBOARDING, TUNING
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.ports import Begun
from slicewise.trigger import name_of

from cli.output import Answer, finding_lines, findings_value
from cli.terminal.columns import Screen, table

if TYPE_CHECKING:
    from slicewise.offhours.sleep_times import Times

# What each capability's function is called: where a reconcile that never finished has left its log.
_FUNCTIONS = {ONBOARDING: "onboard-cluster", TUNING: "tune-slicing", OFF_HOURS: "shift-capacity"}
_HEAD = ("CLUSTER", "CAPABILITY", "STAGE", "LAST", "REASON")
_STAGE = 2
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@dataclass(frozen=True)
class _Row:
    """One capability on one cluster: its record, None where there is none yet, and what came after it."""

    cluster: str
    capability: str
    record: Record | None
    notes: tuple[str, ...]

    def value(self) -> dict[str, Any]:
        return {"capability": self.capability, **_record_value(self.record), "notes": self.notes}


def status(app: App, cluster: str | None, screen: Screen | None = None) -> Answer:
    """A row a cluster and capability, or all about one cluster; 1 where that one was never reconciled."""
    screen = screen or Screen()
    alerts = (*_late_sweep(app), *_late_clusters(app))
    shown = _status_of(app, app.trigger(cluster, "").cluster, screen) if cluster else _fleet(app, screen)
    return Answer({"alerts": alerts, **shown.value}, (*map(screen.alert, alerts), *shown.lines), shown.status)


def _status_of(app: App, cluster: str, screen: Screen) -> Answer:
    name, paused, rows = name_of(cluster), app.ports.store.paused(cluster), _rows_of(app, cluster)
    asleep = _sleep(app, cluster)
    value = _cluster_value(cluster, rows) | {"paused": paused or None, "sleep": asleep.value}
    lines = [*([f"paused: {paused}"] if paused else []), *asleep.lines]
    for row in rows:
        lines += _lines(row, screen)
    if not rows:
        lines.append(f"{name}: no reconcile yet; slicewise onboard {name}")
    return Answer({"clusters": [value]}, tuple(lines), 0 if any(row.record for row in rows) else 1)


def _rows_of(app: App, cluster: str) -> list[_Row]:
    store, now = app.ports.store, app.clock()
    found = [record for name in CAPABILITIES if (record := store.record(cluster, name))]
    begun, swept = {one.capability: one for one in store.begun(cluster)}, store.sweeps()
    rows = [
        _Row(cluster, one.capability, one, _since_then(one, begun.pop(one.capability, None), swept, now))
        for one in found
    ]
    return rows + [_Row(cluster, one.capability, None, _never_finished(one, now)) for one in begun.values()]


def _fleet(app: App, screen: Screen) -> Answer:
    records = sorted(app.ports.store.records(), key=lambda record: (record.cluster, record.capability))
    swept, now = app.ports.store.sweeps(), app.clock()
    rows = [_Row(one.cluster, one.capability, one, _since_then(one, None, swept, now)) for one in records]
    by_cluster: dict[str, list[_Row]] = {}
    for row in rows:
        by_cluster.setdefault(row.cluster, []).append(row)
    value = {"clusters": [_cluster_value(cluster, found) for cluster, found in by_cluster.items()]}
    return Answer(value, tuple(_fleet_lines(records, rows, now, screen)))


def _fleet_lines(
    records: Sequence[Record], rows: Sequence[_Row], now: datetime, screen: Screen
) -> Iterable[str]:
    if not records:
        yield "no cluster has been reconciled yet"
        return
    cells = [
        (name_of(one.cluster), one.capability, str(one.stage), _age(now - one.at), one.reason)
        for one in records
    ]
    head, *shown = table(_HEAD, cells, screen, _STAGE)
    yield from head
    for lines, row in zip(shown, rows, strict=True):
        yield from lines
        yield from _indented(row.notes)


def _age(span: timedelta) -> str:
    """Such as 45s, 12m, 5h or 3d."""
    seconds = max(int(span.total_seconds()), 0)
    unit, length = next((one for one in _UNITS if seconds >= 2 * one[1]), _UNITS[-1])
    return f"{seconds // length}{unit}"


def _lines(row: _Row, screen: Screen) -> Iterable[str]:
    if row.record is None:
        yield f"{name_of(row.cluster)}: {row.capability}"
    else:
        yield from _record_lines(row.record, screen)
    yield from _indented(row.notes)


def _record_lines(record: Record, screen: Screen) -> Iterable[str]:
    stage = screen.stage(str(record.stage))
    yield f"{name_of(record.cluster)}: {record.capability}: {stage} since {_minute(record.since)}"
    yield f"  {record.reason}"
    yield f"  last reconcile {_minute(record.at)}" + (f", policy {record.policy}" if record.policy else "")
    if record.requeue_at and record.requeue_at > record.at:
        yield f"  next reconcile {_minute(record.requeue_at)}"
    for line in record.changed:
        yield f"  did: {line}" if not line.startswith("would ") else f"  {line}"
    yield from finding_lines(record.findings)


def _cluster_value(cluster: str, rows: Iterable[_Row]) -> dict[str, Any]:
    return {"cluster": name_of(cluster), "arn": cluster, "capabilities": [row.value() for row in rows]}


def _record_value(record: Record | None) -> dict[str, Any]:
    """Without the retries' own fields, which are findings, and the keys that only we read."""
    if record is None:
        return {"stage": None}
    names = ("stage", "reason", "at", "since", "requeue_at", "policy", "changed", "details")
    return {name: getattr(record, name) for name in names} | {"findings": findings_value(record.findings)}


def _late_sweep(app: App) -> tuple[str, ...]:
    found, now = app.ports.store.sweeps(), app.clock()
    if not sweeps.is_overdue(found, now):
        return ()
    return (
        f"no sweep has run since {_minute(found[-1])}: what a lost event left undone stays undone. "
        "Check its schedule: aws scheduler get-schedule --name slicewise-sweep",
    )


def _late_clusters(app: App) -> tuple[str, ...]:
    try:
        late = app.overdue_clusters()
    except SlicewiseError as error:
        return (f"which clusters are asleep past their hour could not be read: {error}",)
    return tuple(
        f"{name_of(cluster)} is asleep past its hour; slicewise status {name_of(cluster)} says why"
        for cluster in late
    )


def _since_then(
    record: Record, begun: Begun | None, swept: Sequence[datetime], now: datetime
) -> tuple[str, ...]:
    """What the record itself cannot show: what has not been recorded since."""
    notes = [record.next_try] if record.next_try else []
    if record.unreadable:
        fields = ", ".join(record.unreadable)
        notes.append(f"not read of this record: {fields} (another release, or a person, wrote it)")
    missed = sweeps.missed(swept, record.at, now) if _is_swept(record) else 0
    if missed:
        since = f"no reconcile has finished since {_minute(record.at)}"
        notes.append(f"{since} ({missed} sweep{'s' if missed > 1 else ''})")
    return (*notes, *(_never_finished(begun, now) if begun else ()))


def _is_swept(record: Record) -> bool:
    """What no policy asks for any longer is left to onboarding, which knows when one does."""
    return record.capability == ONBOARDING or record.stage != Stage.UNMANAGED


def _never_finished(begun: Begun, now: datetime) -> tuple[str, ...]:
    started = f"a reconcile started {_minute(begun.at)}"
    if now < begun.until:
        return (f"{started} and is at work",)
    log = f"/aws/lambda/slicewise-{_FUNCTIONS.get(begun.capability, begun.capability)}"
    days = (now - begun.at).days + 1
    return (
        f"{started} and never finished: it ran out of time or memory, or was stopped",
        f"its log: aws logs tail {log} --log-stream-names '{begun.holder}' --since {days}d",
    )


def _indented(lines: Iterable[str]) -> Iterable[str]:
    return (f"  {line}" for line in lines)


def _sleep(app: App, cluster: str) -> Answer:
    now = app.clock()
    try:
        times = app.sleep_times(cluster)
    except SlicewiseError as error:
        # What reconciles have recorded is read all the more where AWS does not answer.
        return Answer({"unread": str(error)}, (f"when it sleeps could not be read: {error}",))
    return (
        Answer(None) if times is None else _sleep_by(times, app.ports.store.record(cluster, OFF_HOURS), now)
    )


def _sleep_by(times: Times, record: Record | None, now: datetime) -> Answer:
    edge, asleep = times.next_edge(now), times.is_asleep(now)
    saved = [one["told"] for one in (record.details if record else ()) if one.get("told")]
    until = f", until {edge.at.astimezone(times.calendar.zone):%a %d %b %H:%M %Z}" if edge else ""
    state = f"{'asleep' if asleep else 'awake'} by {times.message(now)}{until}"
    value = {"asleep": asleep, "by": times.message(now), "until": edge.at if edge else None, "saved": saved}
    return Answer(value, (*(f"the last sleep saved {one}" for one in saved), state))


def _minute(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ")
