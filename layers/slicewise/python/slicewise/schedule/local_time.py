"""
A clock on the wall that is never set back.

When summer time ends, an hour comes twice, and a cluster that only compared hours with the wall would be
asleep, awake, and asleep again. Here the wall clock stops while the hour comes for the second time: each time
of day comes once, at its first coming. A time that is skipped comes at the jump. Both follow from one rule: a
time of day has come from the first instant at which the wall has shown it, or a later one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

_SECOND = timedelta(seconds=1)


def shown(at: datetime, zone: tzinfo) -> datetime:
    """
    What the wall shows, without a zone.

    Args:
        at: Aware.
    """
    local = at.astimezone(zone)
    wall = local.replace(tzinfo=None)
    if not local.fold:
        return wall
    back = _offset(wall, zone, 0) - _offset(wall, zone, 1)
    set_back = _first(at - back, at, lambda moment: bool(moment.astimezone(zone).fold))
    # Just before the clock was set back: what the second hour repeats has ended, what comes after it has not
    # begun.
    return (set_back - _SECOND).astimezone(zone).replace(tzinfo=None)


def first_shows(wall: datetime, zone: tzinfo) -> datetime:
    """The first instant, in UTC, at which the wall shows this time or a later one."""
    early, late = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if early <= late:
        return early
    # The time is skipped: read with the offset of either side, it lies beyond the jump on the other.
    return _first(late, early, lambda moment: moment.astimezone(zone).replace(tzinfo=None) >= wall)


def _offset(wall: datetime, zone: tzinfo, fold: int) -> timedelta:
    return wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta(0)


def _first(before: datetime, after: datetime, holds: Callable[[datetime], bool]) -> datetime:
    """To the second: zones change at whole ones. `holds` is false at `before`, true at `after` and from some
    instant between them on."""
    low, high = before.astimezone(UTC).replace(microsecond=0), after.astimezone(UTC).replace(microsecond=0)
    while high - low > _SECOND:
        middle = low + ((high - low) // 2 // _SECOND) * _SECOND
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
