"""What changed between two reconciles of what GPUs cost: N, classes, sleep. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from slicewise.costs.count.lives import CostObservation
from slicewise.costs.day import Change, Roster, Workload

_LONGEST_REASON = 300


def changes(before: Roster, now: Roster, seen: CostObservation) -> list[Change]:
    """
    Args:
        now: As `before` was continued by `seen`.
    """
    found = (*_of_n(before, seen), *_of_classes(before, now, seen), *_of_sleep(before, seen))
    return [one._replace(why=one.why[:_LONGEST_REASON]) for one in found]


def _of_n(before: Roster, seen: CostObservation) -> Iterator[Change]:
    for name, now in sorted(seen.pools.items()):
        was = before.pools.get(name)
        if was and was.n != now.n:
            yield Change(seen.at, "n", name, str(was.n), str(now.n), was.why or now.why)


def _of_classes(before: Roster, now: Roster, seen: CostObservation) -> Iterator[Change]:
    was = _classes(before, seen.classes)
    for workload, (pool, size) in sorted(_classes(now, seen.classes).items()):
        pool_before, size_before = was.get(workload, (pool, size))
        if pool == pool_before and size != size_before:
            what = f"{workload.namespace}/{workload.kind}/{workload.name}"
            why = seen.class_reasons.get(what, "")
            yield Change(seen.at, "class", what, str(size_before), str(size), why)


def _classes(roster: Roster, node_pools: Collection[str]) -> dict[Workload, tuple[str, int]]:
    """Pool and class in which the newest pod of each workload is; N of a class's machines is the class."""
    found: dict[Workload, tuple[str, int]] = {}
    there = (life for life in roster.pods.values() if life.end is None) if node_pools else ()
    for life in sorted(there, key=lambda one: one.begin):
        node = roster.nodes.get(life.node)
        if node and node.machine.node_pool in node_pools:
            found[life.workload] = (node.machine.pool, node.machine.n)
    return found


def _of_sleep(before: Roster, seen: CostObservation) -> Iterator[Change]:
    was = {name for name, span in before.asleep.items() if span.end is None}
    for name in sorted(seen.asleep.keys() - was):
        yield Change(seen.at, "asleep", name, "", "", seen.asleep[name])
    for name in sorted(was - seen.asleep.keys()):
        yield Change(seen.at, "awake", name, "", "", "")
