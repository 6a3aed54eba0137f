"""
A history as pages of bytes, each small enough for one item of a table, and back. Pure.

A page has a day of some workloads, the pods that were there, or the last day of some GPUs; their names decide
in which of a day's pages they are. The GPUs' are written last, and say through which step all of it goes. A
reconcile that was killed before is as if it had not been: each workload's day says through which step it
goes, and none is added to it twice. A day of which a page is missing counts as not read yet.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.hardware.gpus import VIDEO_KINDS
from slicewise.model.usage import Page
from slicewise.tuning.usage.evidence import DAY_SECONDS
from slicewise.tuning.usage.gpus import POINTS_OF_A_GPU
from slicewise.tuning.usage.history import STEPS_A_DAY, History, StoredHistory, WorkloadDay, WorkloadKey
from slicewise.tuning.usage.points import STEP_SECONDS, StepPoints, first_at, last_at
from slicewise.tuning.usage.readings import Device, Fault
from slicewise.tuning.usage.video import Samples, VideoDay

# Far below an item's 400 KB, since tomorrow's page of the same workloads may be larger.
_MOST_BYTES = 250_000


# In place of a day's first second: what is of no day.
GPUS, PODS = 0, 1


def written(before: History) -> int:
    """
    Up to which second, for `pages`, a history that was read is in the table: of no workloads, nothing is.
    """
    return before.through if before.through is not None and before.workloads else 0


def pages(history: History, since: int, source: str) -> Iterator[Page]:
    """
    What has to be written where everything before `since`, in seconds, has been: the days that have changed,
    the pods and the GPUs.
    """
    if history.through is None:
        return
    begin = since // DAY_SECONDS * DAY_SECONDS
    days = sorted({day for found in history.workloads.values() for day in found if day >= begin})
    for day in days:
        of_day = (
            ("/".join(key), [list(key), _day(found[day])])
            for key, found in sorted(history.workloads.items())
            if day in found
        )
        yield from _split(source, of_day, day, history.through)
    pods = (("/".join(pod), [*pod, *known.key, known.since]) for pod, known in sorted(history.pods.items()))
    yield from _split(source, pods, PODS, history.through)
    gpus = ((key, _device(device)) for key, device in sorted(history.devices.items()))
    yield from _split(source, gpus, GPUS, history.through)


def history_of(found: Iterable[Page], now: int | None = None) -> History:
    """
    What cannot be read, or not wholly, is read from its source again.

    Args:
        now: In seconds. Pages that go on longer were written by a reconcile whose clock had jumped ahead:
            what it took for gaps was still to come.
    """
    workloads: dict[WorkloadKey, dict[int, WorkloadDay]] = {}
    devices: dict[str, Device] = {}
    pods: dict[tuple[str, str], StoredHistory] = {}
    through: int | None = None
    lost: list[int] = []
    keys, ahead = _Keys(), False
    for day, of_day in _by_day(found).items():
        if now is not None and day > now:
            continue
        try:
            believed = [page for page in of_day if now is None or page.through <= now]
            ahead = ahead or len(believed) < len(of_day)
            newest = _newest(believed)
            entries = (entry for page in newest for entry in json.loads(zlib.decompress(page.content)))
            if day == GPUS:
                devices = {device.key: device for device in map(_device_of, entries)}
                through = min(page.through for page in newest)
            elif day == PODS:
                pods = {
                    (sys.intern(ns), str(pod)): StoredHistory(keys.of(key), int(since))
                    for ns, pod, *key, since in entries
                }
            else:
                of_workloads = [(keys.of(key), _day_of(one)) for key, one in entries]
                for key, one in of_workloads:
                    workloads.setdefault(key, {})[day] = one
        except (*UNREADABLE, zlib.error):
            lost.append(day)
    of_days = [day for day in lost if day > PODS]
    if of_days and (ahead or through is not None):
        before = min(of_days) - STEP_SECONDS
        through = before if through is None else min(through, before)
    return History(workloads, devices, pods, through)


def _by_day(found: Iterable[Page]) -> dict[int, list[Page]]:
    by_day: dict[int, list[Page]] = {}
    for page in found:
        by_day.setdefault(page.day, []).append(page)
    return by_day


def _newest(of_day: list[Page]) -> list[Page]:
    """
    The pages of a day that were written last and are all there: another number of them may be older, or not
    whole.

    Raises:
        ValueError: None are.
    """
    whole = []
    for of in {page.of for page in of_day}:
        some = {page.number: page for page in of_day if page.of == of}
        if some.keys() == set(range(of)):
            whole.append([some[number] for number in range(of)])
    if not whole:
        raise ValueError("pages are missing")
    return max(whole, key=lambda some: min(page.through for page in some))


class _Keys:
    """One object for each workload, however many days and pods name it."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], WorkloadKey] = {}

    def of(self, parts: Iterable[Any]) -> WorkloadKey:
        parts = tuple(parts)
        if parts not in self._known:
            if not all(isinstance(part, str) for part in parts):
                raise ValueError(f"{parts!r} is no workload")
            self._known[parts] = WorkloadKey(*map(sys.intern, parts))
        return self._known[parts]


def _split(source: str, entries: Iterable[tuple[str, Any]], day: int, through: int) -> Iterator[Page]:
    """As few pages as have room, by what their names come to."""
    named = [
        (zlib.crc32(name.encode()), json.dumps(entry, separators=(",", ":")).encode())
        for name, entry in entries
    ]
    of = 1
    while True:
        contents: list[list[bytes]] = [[] for _ in range(of)]
        for number, entry in named:
            contents[number % of].append(entry)
        packed = [zlib.compress(b"[" + b",".join(one) + b"]", 6) for one in contents]
        largest = max(map(len, packed))
        if largest <= _MOST_BYTES or of >= max(1, len(named)):
            break
        # Packed again for each power of two, thousands of GPUs would take seconds.
        while (of * _MOST_BYTES < largest * len(packed) and of < len(named)) or of == len(packed):
            of *= 2
    for number, content in enumerate(packed):
        yield Page(source, day, number, of, through, content)


def _day(day: WorkloadDay) -> dict[str, Any]:
    found: dict[str, Any] = {
        "busiest": _hex(day.busiest),
        "certain": _hex(day.certain),
        "pooled": day.pooled.counted(),
        "mib": [_number(day.memory_mib), _number(day.floor_mib), day.certain_mib, day.memory_steps],
        "alone": [day.alone_steps, day.alone_mib],
        "estimated": day.estimated,
        "last": day.last,
        "through": day.through,
    }
    if day.video:
        found["video"] = {kind: _video_day(of_kind) for kind, of_kind in sorted(day.video.items())}
    return found


def _video_day(day: VideoDay) -> list[Any]:
    return [day.most.counted(), day.certain.counted(), day.measured]


def _video_of(found: Any) -> dict[str, VideoDay] | None:
    """Without what another release may have written of it: the rest of the day is as good without."""
    try:
        return {kind: _video_day_of(*found[kind]) for kind in VIDEO_KINDS if kind in found} or None
    except UNREADABLE:
        return None


def _video_day_of(most: Any, certain: Any, measured: Any) -> VideoDay:
    return VideoDay(Samples.of(most), Samples.of(certain), int(measured))


def _day_of(found: Mapping[str, Any]) -> WorkloadDay:
    busiest, certain = _array("H", found["busiest"]), _array("H", found["certain"])
    if not len(busiest) == len(certain) == STEPS_A_DAY:
        raise ValueError(f"a day of {len(busiest)} steps")
    memory, floor, certain_mib, memory_steps = found["mib"]
    alone_steps, alone_mib = found["alone"]
    return WorkloadDay(
        busiest,
        certain,
        Samples.of(found["pooled"]),
        math.nan if memory is None else float(memory),
        math.nan if floor is None else float(floor),
        float(certain_mib),
        int(memory_steps),
        int(alone_steps),
        float(alone_mib),
        bool(found["estimated"]),
        int(found["last"]),
        int(found["through"]),
        _video_of(found.get("video", {})),
    )


# Kind of the numbers, and how many are one unit: finer than any source measures.
_PACKED = {
    "busy": ("H", 50_000),
    "memory_mib": ("I", 16),
    "sharers": ("H", 1),
    "fewest": ("H", 1),
    "most": ("H", 1),
}


def _device(device: Device) -> dict[str, Any]:
    points: dict[str, Mapping[int, float]] = {name: getattr(device, name) for name in POINTS_OF_A_GPU}
    first = min((at for found in points.values() if (at := first_at(found)) is not None), default=0)
    ends = (at for found in points.values() if (at := last_at(found)) is not None)
    last = max(ends, default=first - STEP_SECONDS)
    return {
        "node": device.node,
        "gpu": device.gpu,
        "model": device.model,
        "fault": device.fault and device.fault.name,
        "first": first,
        "points": {
            name: _packed(found, first, last, *_PACKED[name]) for name, found in points.items() if found
        },
        "xid": sorted(device.xid.items()),
    }


def _device_of(found: Mapping[str, Any]) -> Device:
    first, packed = int(found["first"]), found["points"]
    points: dict[str, Any] = {
        name: _unpacked(packed[name], first, *_PACKED[name]) for name in POINTS_OF_A_GPU if name in packed
    }
    return Device(
        str(found["node"]),
        str(found["gpu"]),
        xid={int(at): float(code) for at, code in found["xid"]},
        fault=Fault[found["fault"]] if found["fault"] else None,
        model=str(found["model"]),
        **points,
    )


def _packed(points: Mapping[int, float], first: int, last: int, kind: str, unit: int) -> str:
    none, values = _none(kind), StepPoints.between(first, last, STEP_SECONDS, points).by_step
    most = none - 1
    return _hex(array(kind, [min(most, round(value * unit)) if value == value else none for value in values]))


def _unpacked(text: str, first: int, kind: str, unit: int) -> StepPoints:
    none, values = _none(kind), _array(kind, text)
    return StepPoints(
        first, STEP_SECONDS, array("f", [math.nan if value == none else value / unit for value in values])
    )


def _none(kind: str) -> int:
    return int((1 << 8 * array(kind).itemsize) - 1)


def _hex(values: array[int]) -> str:
    return values.tobytes().hex()


def _array(kind: str, text: str) -> array[int]:
    return array(kind, bytes.fromhex(text))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
