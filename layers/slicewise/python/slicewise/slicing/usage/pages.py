"""
A history as pages of bytes, each small enough for one item of a table, and back. Pure.

A page holds a day of some workloads, or the last day of some GPUs; their names decide in which of a day's
pages they are. The GPUs' are written last, and say through which step all goes. A pass that was killed before
is as if it had not been: each workload's day says through which step it goes, and none is added to it twice.
"""

from __future__ import annotations

import json
import math
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.slicing.evidence import DAY_SECONDS
from slicewise.slicing.series import Device, Fault
from slicewise.slicing.usage.history import (
    STEP_SECONDS,
    STEPS_A_DAY,
    History,
    WorkloadDay,
    WorkloadKey,
)
from slicewise.slicing.usage.points import StepPoints
from slicewise.usage import Page

# Far below an item's 400 KB, since tomorrow's page of the same workloads may be larger.
_MOST_BYTES = 250_000
# Busy fractions and MiB as whole numbers: finer than any source measures. What is missing is the last number.
_BUSY, _MIB = 50_000, 16


def pages(history: History, since: int) -> Iterator[Page]:
    """
    What has to be written where everything before `since`, in seconds, has been: the days that have changed,
    and the GPUs.
    """
    if history.through is None:
        return
    begin = since // DAY_SECONDS * DAY_SECONDS
    days = sorted({day for found in history.workloads.values() for day in found if day >= begin})
    for day in days:
        of_day = [
            ("/".join(key), [list(key), _day(found[day])])
            for key, found in sorted(history.workloads.items())
            if day in found
        ]
        yield from _split(of_day, day, history.through)
    yield from _split(
        [(key, _device(device)) for key, device in sorted(history.devices.items())], 0, history.through
    )


def history_of(found: Iterable[Page]) -> History:
    """Pages that cannot be read, and such as are of another number of pages than the newest, are left out."""
    workloads: dict[WorkloadKey, dict[int, WorkloadDay]] = {}
    devices: dict[str, Device] = {}
    through: int | None = None
    for page in _newest(found):
        try:
            content = json.loads(zlib.decompress(page.content))
            if page.day:
                for key, day in content:
                    workloads.setdefault(WorkloadKey(*key), {})[page.day] = _day_of(day)
            else:
                devices |= {device.key: device for device in map(_device_of, content)}
        except (*UNREADABLE, zlib.error):
            continue
        if not page.day:
            through = page.through if through is None else min(through, page.through)
    return History(workloads, devices, through)


def _newest(found: Iterable[Page]) -> Iterator[Page]:
    by_day: dict[int, list[Page]] = {}
    for page in found:
        by_day.setdefault(page.day, []).append(page)
    for of_day in by_day.values():
        newest = max(of_day, key=lambda page: (page.through, page.of))
        yield from (page for page in of_day if page.of == newest.of)


def _split(entries: list[tuple[str, Any]], day: int, through: int) -> Iterator[Page]:
    """As few pages as have room, by what their names come to."""
    of = 1
    while True:
        contents: list[list[Any]] = [[] for _ in range(of)]
        for name, entry in entries:
            contents[zlib.crc32(name.encode()) % of].append(entry)
        packed = [zlib.compress(json.dumps(one, separators=(",", ":")).encode(), 6) for one in contents]
        if max(map(len, packed)) <= _MOST_BYTES or of >= max(1, len(entries)):
            break
        of *= 2
    for number, content in enumerate(packed):
        yield Page(day, number, of, through, content)


def _day(day: WorkloadDay) -> dict[str, Any]:
    return {
        "busiest": _hex(day.busiest),
        "certain": _hex(day.certain),
        "pooled": sorted(day.pooled.items()),
        "mib": [_number(day.memory_mib), _number(day.floor_mib), day.certain_mib],
        "alone": [day.alone_steps, day.alone_mib],
        "estimated": day.estimated,
        "last": day.last,
        "through": day.through,
    }


def _day_of(found: Mapping[str, Any]) -> WorkloadDay:
    busiest, certain = _array("H", found["busiest"]), _array("H", found["certain"])
    if not len(busiest) == len(certain) == STEPS_A_DAY:
        raise ValueError(f"a day of {len(busiest)} steps")
    memory, floor, certain_mib = found["mib"]
    alone_steps, alone_mib = found["alone"]
    return WorkloadDay(
        busiest,
        certain,
        Counter({int(bucket): int(count) for bucket, count in found["pooled"]}),
        math.nan if memory is None else float(memory),
        math.nan if floor is None else float(floor),
        float(certain_mib),
        int(alone_steps),
        float(alone_mib),
        bool(found["estimated"]),
        int(found["last"]),
        int(found["through"]),
    )


def _device(device: Device) -> dict[str, Any]:
    busy, memory, sharers = device.busy, device.memory_mib, device.sharers
    known = [*busy, *memory, *sharers]
    first, last = min(known, default=0), max(known, default=-STEP_SECONDS)
    steps = range(first, last + 1, STEP_SECONDS)
    return {
        "node": device.node,
        "gpu": device.gpu,
        "model": device.model,
        "fault": device.fault and device.fault.name,
        "first": first,
        "busy": _packed(busy, steps, "H", _BUSY),
        "mib": _packed(memory, steps, "I", _MIB),
        "sharers": _packed(sharers, steps, "H", 1) if sharers else "",
        "xid": sorted(device.xid.items()),
    }


def _device_of(found: Mapping[str, Any]) -> Device:
    first = int(found["first"])
    return Device(
        str(found["node"]),
        str(found["gpu"]),
        _unpacked(found["busy"], first, "H", _BUSY),
        _unpacked(found["mib"], first, "I", _MIB),
        {int(at): float(code) for at, code in found["xid"]},
        _unpacked(found["sharers"], first, "H", 1),
        Fault[found["fault"]] if found["fault"] else None,
        str(found["model"]),
    )


def _packed(points: Mapping[int, float], steps: range, kind: str, unit: int) -> str:
    none = _none(kind)
    return _hex(
        array(kind, (min(none - 1, round(points[at] * unit)) if at in points else none for at in steps))
    )


def _unpacked(text: str, first: int, kind: str, unit: int) -> StepPoints:
    none, values = _none(kind), _array(kind, text)
    return StepPoints(
        first, STEP_SECONDS, array("d", (math.nan if value == none else value / unit for value in values))
    )


def _none(kind: str) -> int:
    return int((1 << 8 * array(kind).itemsize) - 1)


def _hex(values: array[int]) -> str:
    return values.tobytes().hex()


def _array(kind: str, text: str) -> array[int]:
    return array(kind, bytes.fromhex(text))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
