"""What is saved of GPUs: their last day, step by step. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Any

from slicewise.tuning.usage.history import STEPS_A_DAY, History
from slicewise.tuning.usage.points import STEP_SECONDS, StepPoints, first_at
from slicewise.tuning.usage.readings import Device

# What breaks a promise is read from the last day (tuning/rule/promises.py), and in the steps at its edges.
RECENT_STEPS = STEPS_A_DAY + 3
POINTS_OF_A_GPU = ("busy", "memory_mib", "sharers", "fewest", "most")


def joined(
    history: History, devices: Iterable[Device], nodes: Container[str], through: int
) -> tuple[Device, ...]:
    """
    The GPUs that were measured now, and those that were in the last day and whose node is there still: each
    with all that is known of it, up to `through`, in seconds.
    """
    new = {device.key: device for device in devices}
    found = [
        _joined(before, device, through) if (before := history.devices.get(key)) else device
        for key, device in new.items()
    ]
    away = (one for key, one in history.devices.items() if key not in new and one.node in nodes)
    return (*found, *away)


def _joined(before: Device, device: Device, through: int) -> Device:
    points = (before.memory_mib, device.memory_mib, before.busy, device.busy)
    known = [at for one in points if (at := first_at(one)) is not None]
    return _between(min(known, default=through), through, device, (before, device))


def with_devices(history: History, devices: Iterable[Device], through: int) -> History:
    """The last day of each GPU, up to `through`, the second at which its last step begins."""
    first = through - (RECENT_STEPS - 1) * STEP_SECONDS
    kept = {device.key: _between(first, through, device, (device,)) for device in devices}
    return replace(history, devices=kept)


def _between(first: int, through: int, device: Device, both: tuple[Device, ...]) -> Device:
    points: dict[str, Any] = {
        name: StepPoints.between(first, through, STEP_SECONDS, *found)
        for name in POINTS_OF_A_GPU
        if any(found := [getattr(one, name) for one in both])
    }
    codes = {at: code for one in both for at, code in one.xid.items() if at <= through}
    return replace(
        device, **{name: points.get(name, {}) for name in POINTS_OF_A_GPU}, xid=_changes(codes, first)
    )


def _changes(codes: Mapping[int, float], first: int) -> dict[int, float]:
    """
    The exporter repeats the last Xid for ever: only a change of it counts. The last change before `first`
    decides what is news after it.
    """
    kept: dict[int, float] = {}
    code = None
    for at in sorted(codes):
        if codes[at] != code:
            code = codes[at]
            if at < first:
                kept.clear()
            kept[at] = code
    return kept
