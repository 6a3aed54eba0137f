"""Hours in which no GPU of a cluster was busy, and the hours of the week that they make. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from slicewise.tuning.usage.readings import Device

HOUR = 3600
# Of an hour: a probe, or a client that counts GPUs, is no use of them.
IDLE = 0.01
# Shorter gaps are not worth a night: nodes take minutes to go and to come.
SHORTEST = 4
_WORKDAYS, _WEEKEND = range(5), range(5, 7)
# Hours from a day's midnight: a night is in one piece.
_NOON_TO_NOON = range(12, 36)


_Measured = Sequence[tuple[Device, Mapping[int, float]]]


@dataclass(frozen=True)
class UnusedNode:
    """
    A node while no GPU of the cluster was busy.

    Attributes:
        gpus: Of it, or MIG instances, that were measured.
        model: As the source names its GPUs; "" where it does not.
        hours: Of the unused ones, those in which it was measured, and so was there.
    """

    name: str
    gpus: int
    model: str
    hours: int


@dataclass(frozen=True)
class UnusedHours:
    """
    Attributes:
        gpus: How many were measured, those of deleted nodes included.
        measured: Hours in which each of them was that was there.
        unused: Of those, hours in which every measured GPU was busy for less than 1 %.
        asleep: Hours of the week that were never used, as `offHours.asleep` takes them; empty where they are
            too few, or some of them were not measured.
        time_zone: In which `asleep` is.
        nodes: Which were there in the unused hours.
        strangers: Nodes that are measured until now and are not in the cluster: another's, whose metrics have
            no label of their cluster. What they do makes an hour used, in doubt; they cost nothing here.
    """

    gpus: int
    measured: int
    unused: int
    asleep: tuple[str, ...]
    time_zone: str
    nodes: tuple[UnusedNode, ...] = ()
    strangers: int = 0


def unused_hours(devices: Iterable[Device], zone: tzinfo, there: Collection[str] = ()) -> UnusedHours | None:
    """
    None where nothing was measured.

    Args:
        devices: Of nodes that are there, and of those that were: a night's work is often done by nodes that
            are deleted by day.
        there: Names of the nodes that are there now.
    """
    by_hour = [(device, found) for device in devices if (found := _by_hour(device))]
    busiest = _busiest(by_hour, there) if by_hour else {}
    if not busiest:
        return None
    unused = {at for at, busy in busiest.items() if busy < IDLE}
    newest = _newest(by_hour)
    ours = [(device, hours) for device, hours in by_hour if device.node in there or max(hours) < newest]
    return UnusedHours(
        len(ours),
        len(busiest),
        len(unused),
        tuple(_asleep(busiest, zone)),
        str(zone),
        tuple(_nodes(ours, unused)),
        len({device.node for device, _ in by_hour} - {device.node for device, _ in ours}),
    )


def _newest(by_hour: _Measured) -> int:
    return max(max(hours) for _, hours in by_hour)


def _by_hour(device: Device) -> Mapping[int, float]:
    """Its mean busy fraction in each hour in which it was measured."""
    sums: dict[int, tuple[float, int]] = {}
    for at, busy in device.busy.items():
        total, count = sums.get(at // HOUR * HOUR, (0.0, 0))
        sums[at // HOUR * HOUR] = total + busy, count + 1
    return {hour: total / count for hour, (total, count) in sums.items()}


def _busiest(by_hour: _Measured, there: Collection[str]) -> Mapping[int, float]:
    """
    Of each hour, how busy the GPU was that was busiest in it.

    Hours are left out in which one was there that was not measured: it may have been busy. It was there from
    its first to its last point, or until now where its node still is.
    """
    newest = _newest(by_hour)
    found: dict[int, float] = {}
    doubtful: set[int] = set()
    for device, hours in by_hour:
        last = newest if device.node in there else max(hours)
        doubtful.update(hour for hour in range(min(hours), last + HOUR, HOUR) if hour not in hours)
        for hour, busy in hours.items():
            found[hour] = max(found.get(hour, 0.0), busy)
    return {hour: busy for hour, busy in found.items() if hour not in doubtful}


def _nodes(by_hour: _Measured, unused: set[int]) -> Iterable[UnusedNode]:
    found: dict[str, list[tuple[Device, Mapping[int, float]]]] = {}
    for device, hours in by_hour:
        found.setdefault(device.node, []).append((device, hours))
    for name, its in sorted(found.items()):
        measured = {hour for _, hours in its for hour in hours}
        yield UnusedNode(name, len(its), its[0][0].model, len(unused & measured))


def _asleep(busiest: Mapping[int, float], zone: tzinfo) -> Iterable[str]:
    week: dict[tuple[int, int], bool] = {}
    for at, busy in busiest.items():
        local = datetime.fromtimestamp(at, zone)
        cell = local.weekday(), local.hour
        week[cell] = week.get(cell, True) and busy < IDLE
    if all(week.get((day, hour)) for day in _WEEKEND for hour in range(24)):
        yield "Sat-Sun"
    nightly = [all(week.get(_later(day, hour)) for day in _WORKDAYS) for hour in _NOON_TO_NOON]
    if not all(nightly):
        for begin, end in _runs(nightly):
            yield f"Mon-Fri {begin:02}:00-{end:02}:00"


def _later(day: int, hour: int) -> tuple[int, int]:
    """A night that begins on Friday ends on Saturday."""
    return (day + hour // 24) % 7, hour % 24


def _runs(unused: list[bool]) -> Iterable[tuple[int, int]]:
    """At which hours of the clock each run begins and ends."""
    begin = None
    for place, hour in enumerate((*_NOON_TO_NOON, _NOON_TO_NOON.stop)):
        is_unused = place < len(unused) and unused[place]
        if is_unused and begin is None:
            begin = hour
        elif not is_unused and begin is not None:
            if hour - begin >= SHORTEST:
                yield begin % 24, hour % 24
            begin = None
