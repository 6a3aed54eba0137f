"""Hours in which no GPU of a cluster was busy, and the hours of the week that they make. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


@dataclass(frozen=True)
class UnusedHours:
    """
    Attributes:
        gpus: How many were measured.
        measured: Hours in which one of them was.
        unused: Of those, hours in which every measured GPU was busy for less than 1 %.
        asleep: Hours of the week that were never used, as `offHours.asleep` takes them; empty where they are
            too few, or some of them were not measured.
        time_zone: In which `asleep` is.
    """

    gpus: int
    measured: int
    unused: int
    asleep: tuple[str, ...]
    time_zone: str

    @property
    def share(self) -> float:
        return self.unused / self.measured if self.measured else 0.0


def unused_hours(devices: Iterable[Device], zone: tzinfo) -> UnusedHours | None:
    """None where nothing was measured."""
    devices = [device for device in devices if device.busy]
    busiest = _busiest_by_hour(devices)
    if not busiest:
        return None
    unused = [at for at, busy in busiest.items() if busy < IDLE]
    return UnusedHours(len(devices), len(busiest), len(unused), tuple(_asleep(busiest, zone)), str(zone))


def _busiest_by_hour(devices: Iterable[Device]) -> Mapping[int, float]:
    """Of each hour, the mean busy fraction of the GPU that was busiest in it."""
    found: dict[int, float] = {}
    for device in devices:
        sums: dict[int, tuple[float, int]] = {}
        for at, busy in device.busy.items():
            total, count = sums.get(at // HOUR * HOUR, (0.0, 0))
            sums[at // HOUR * HOUR] = total + busy, count + 1
        for hour, (total, count) in sums.items():
            found[hour] = max(found.get(hour, 0.0), total / count)
    return found


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
