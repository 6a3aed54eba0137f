"""
A day as bytes for one item of the table, and back. Pure.

Names that come often are written once, in tables, and meant by their place in them; pods in columns, which
zlib packs to half of what rows take. What does not fit is folded: the smallest workloads into the others of
their namespace, then the smallest instances. A roster that would not even fit then is left out instead, and
lives begin again with the next reconcile.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any, TypeVar, get_type_hints

from slicewise.costs.day import (
    OTHERS,
    Change,
    Day,
    Hour,
    Machine,
    MachineType,
    NodeLife,
    PodLife,
    Replicas,
    Roster,
    Span,
    Use,
    Workload,
)
from slicewise.errors import UNREADABLE
from slicewise.model.costs import CostDay

# An item has 400 KB; the rest of it, and what DynamoDB adds, is far less than the difference.
MOST_BYTES = 350_000
_OF_USE = 8

Named = TypeVar("Named", bound=tuple[Any, ...])


def dump(day: Day) -> CostDay:
    content = _packed(day)
    if len(content) > MOST_BYTES:
        content = _fitting(day, len(content))
    return CostDay(day.begin, day.through, content)


def load(kept: CostDay) -> Day | None:
    """What another release adds is left out, and what it lacks is empty; None of what cannot be read."""
    try:
        found = json.loads(zlib.decompress(kept.content))
        return _day(kept, found)
    except (*UNREADABLE, zlib.error):
        return None


def to_keep(days: Sequence[Day]) -> Iterator[CostDay]:
    """
    In which order days are kept, the newest one last: each with its roster, by which a reconcile goes on that
    finds it to be the newest, since this one was killed. After that, those that have ended need none.
    """
    yield from map(dump, days)
    yield from (dump(replace(day, roster=None)) for day in days[:-1])


def _fitting(day: Day, size: int) -> bytes:
    """As much of it as has room. Each is packed, since what names come to is known only then."""
    least = _of_workloads(day, 0)
    smallest = _packed(least)
    if len(smallest) > MOST_BYTES:
        return _without_instances(day, least)
    count = len({one for uses in day.workloads.values() for one in uses})
    room = count * (MOST_BYTES - len(smallest)) // max(size - len(smallest), 1)
    while room := room * 9 // 10:
        content = _packed(_of_workloads(day, room))
        if len(content) <= MOST_BYTES:
            return content
    return smallest


def _without_instances(day: Day, least: Day) -> bytes:
    bare = _packed(_of_instances(least, 0))
    if len(bare) > MOST_BYTES:
        return dump(replace(day, roster=None)).content if day.roster else bare
    left = len(least.instances)
    while left := left // 2:
        content = _packed(_of_instances(least, left))
        if len(content) <= MOST_BYTES:
            return content
    return bare


def _of_workloads(day: Day, most: int) -> Day:
    held: dict[Workload, int] = {}
    for uses in day.workloads.values():
        for workload, use in uses.items():
            held[workload] = held.get(workload, 0) + use.held
    stays = set(sorted(held, key=lambda one: (-held[one], one))[:most])
    folded = len([one for one in held if one not in stays and one.name != OTHERS])
    return replace(
        day,
        workloads={machine: _folded(uses, stays) for machine, uses in day.workloads.items()},
        labels={workload: labels for workload, labels in day.labels.items() if workload in stays},
        folded=max(day.folded, folded),
    )


def _folded(uses: Mapping[Workload, Use], stays: set[Workload]) -> dict[Workload, Use]:
    found: dict[Workload, Use] = {}
    for workload, use in uses.items():
        key = workload if workload in stays else Workload("", "", workload.namespace, OTHERS)
        found.setdefault(key, Use()).add(use)
    return found


def _of_instances(day: Day, most: int) -> Day:
    order = sorted(day.instances, key=lambda one: (-day.instances[one][1], one))
    stays = {one: day.instances[one] for one in order[:most] if one}
    rest = [one for one in order if one not in stays]
    if rest:
        seconds = sum(day.instances[one][1] for one in rest)
        stays[""] = day.instances[rest[0]][0], seconds
    return replace(day, instances=stays, folded=day.folded + len([one for one in rest if one]))


class _Table:
    """Each value once, by its place."""

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}

    def place(self, value: Any) -> int:
        return self.places.setdefault(value, len(self.places))


def _packed(day: Day) -> bytes:
    machines, types, workloads, labels = _Table(), _Table(), _Table(), _Table()
    plain: dict[str, Any] = {
        "since": day.since,
        "hours": [
            [machines.place(machine), hour, one.machine_seconds, *astuple(one.use)]
            for machine, hours in day.hours.items()
            for hour, one in hours.items()
        ],
        "whole": [[types.place(kind), list(hours.items())] for kind, hours in day.whole.items()],
        "uncertain": [[types.place(kind), seconds] for kind, seconds in day.uncertain.items()],
        "asleep": {pool: list(hours.items()) for pool, hours in day.asleep.items()},
        "workloads": [
            [machines.place(machine), workloads.place(workload), *astuple(use)]
            for machine, uses in day.workloads.items()
            for workload, use in sorted(uses.items())
        ],
        "labels": [
            [workloads.place(workload), labels.place(json.dumps(found, sort_keys=True))]
            for workload, found in day.labels.items()
        ],
        "instances": [
            [instance, types.place(kind), seconds] for instance, (kind, seconds) in day.instances.items()
        ],
        "changes": day.changes,
        "nights": dict(day.nights),
        "folded": day.folded,
        "roster": _roster(day.roster, machines, workloads) if day.roster else None,
    }
    tables = {"of_machines": machines, "of_types": types, "of_workloads": workloads}
    plain |= {name: list(table.places) for name, table in tables.items()}
    plain["of_labels"] = [json.loads(text) for text in labels.places]
    return zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), 6)


def _roster(roster: Roster, machines: _Table, workloads: _Table) -> dict[str, Any]:
    nodes = {name: place for place, name in enumerate(roster.nodes)}
    pods = sorted(roster.pods.items(), key=lambda one: (one[1].workload, one[0]))
    return {
        "seen_at": roster.seen_at,
        "nodes": [
            [name, life.instance, machines.place(life.machine), life.begin, life.end]
            for name, life in roster.nodes.items()
        ],
        "pods": [
            [_ending(key, life.workload) for key, life in pods],
            [nodes.get(life.node, -1) for _, life in pods],
            [workloads.place(life.workload) for _, life in pods],
            [life.slices for _, life in pods],
            [roster.seen_at - life.begin for _, life in pods],
            [life.end for _, life in pods],
            [life.cpu for _, life in pods],
            [life.ram for _, life in pods],
        ],
        "pools": roster.pools,
        "asleep": roster.asleep,
    }


def _ending(key: str, workload: Workload) -> str:
    """Of a pod's name: most begin with that of what made them. What has a namespace is all of it."""
    return key.removeprefix(_prefix(workload))


def _prefix(workload: Workload) -> str:
    return f"{workload.namespace}/{workload.name}"


def _key(ending: str, workload: Workload) -> str:
    return ending if "/" in ending else _prefix(workload) + ending


def _day(kept: CostDay, found: Mapping[str, Any]) -> Day:
    machines, types = _named(Machine, found["of_machines"]), _named(MachineType, found["of_types"])
    workloads = _named(Workload, found["of_workloads"])
    day = Day(kept.day, int(found["since"]), kept.through)
    for machine, hour, seconds, *use in found["hours"]:
        day.hours.setdefault(machines[machine], {})[int(hour)] = Hour(int(seconds), _use(use))
    for machine, workload, *use in found["workloads"]:
        day.workloads.setdefault(machines[machine], {})[workloads[workload]] = _use(use)
    day.whole = {types[place]: _hours(hours) for place, hours, *_ in found.get("whole") or ()}
    day.uncertain = {types[place]: int(seconds) for place, seconds, *_ in found.get("uncertain") or ()}
    day.asleep = {pool: _hours(hours) for pool, hours in (found.get("asleep") or {}).items()}
    of_labels = found.get("of_labels") or ()
    day.labels = {workloads[one]: dict(of_labels[place]) for one, place, *_ in found.get("labels") or ()}
    day.instances = {
        str(instance): (types[place], int(seconds))
        for instance, place, seconds, *_ in found.get("instances") or ()
    }
    day.changes = _named(Change, found.get("changes") or ())
    day.nights = {began: dict(night) for began, night in (found.get("nights") or {}).items()}
    day.folded = int(found.get("folded") or 0)
    day.roster = _roster_of(found.get("roster"), machines, workloads)
    return day


def _named(kind: type[Named], rows: Iterable[Sequence[Any]]) -> list[Named]:
    """Without what another release has behind. What is no number where one belongs cannot be read."""
    types = tuple(get_type_hints(kind).values())
    return [kind(*(of(value) for of, value in zip(types, row, strict=False))) for row in rows]


def _use(numbers: Sequence[int]) -> Use:
    return Use(*map(int, numbers[:_OF_USE]))


def _hours(pairs: Iterable[Sequence[int]]) -> dict[int, int]:
    return {int(hour): int(seconds) for hour, seconds, *_ in pairs}


def _roster_of(found: Any, machines: Sequence[Machine], workloads: Sequence[Workload]) -> Roster | None:
    """None of one that cannot be read: lives begin again."""
    try:
        return _read_roster(found, machines, workloads) if found else None
    except UNREADABLE:
        return None


def _read_roster(
    found: Mapping[str, Any], machines: Sequence[Machine], workloads: Sequence[Workload]
) -> Roster:
    seen_at = int(found["seen_at"])
    nodes = {
        name: NodeLife(str(instance), machines[machine], int(begin), _end(end))
        for name, instance, machine, begin, end, *_ in found["nodes"]
    }
    pods = dict(_pods_of(found["pods"], seen_at, list(nodes), workloads))
    pools = {name: Replicas(int(n), str(why)) for name, (n, why, *_) in found["pools"].items()}
    asleep = {name: Span(int(begin), _end(end)) for name, (begin, end, *_) in found["asleep"].items()}
    return Roster(seen_at, nodes, pods, pools, asleep)


def _pods_of(
    columns: Sequence[Sequence[Any]], seen_at: int, nodes: Sequence[str], workloads: Sequence[Workload]
) -> Iterator[tuple[str, PodLife]]:
    for ending, node, of, slices, age, end, cpu, ram, *_ in zip(*columns, strict=True):
        if node >= 0:
            key = _key(ending, workloads[of])
            held, begin = int(slices), seen_at - int(age)
            yield key, PodLife(nodes[node], workloads[of], held, begin, _end(end), int(cpu), int(ram))


def _end(value: Any) -> int | None:
    return None if value is None else int(value)
