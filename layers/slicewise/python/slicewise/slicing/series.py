"""
What series say, whatever their source calls it: the use of GPUs and pods, point by point. Pure.

The readers of each source (container_insights.py, dcgm.py) make these; use.py and health.py judge them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

from slicewise.model import Series

# Value by the second of the epoch at which its step begins.
Points = Mapping[int, float]
MIB = 1024 * 1024

# A little over one: sources average and round. Beyond, it is no measurement of a share.
_MOST_BUSY = 1.05
# No card comes near; DCGM's codes for "no value" (dcgm_structs.h, DCGM_INT64_BLANK) lie far beyond.
_MOST_MIB = 1e7


class Fault(StrEnum):
    """Why a source's values by pod cannot be believed."""

    REPEATED = "every pod shows the value of the whole GPU"
    UNATTRIBUTED = "the pods' memory does not add up to the GPU's"
    COLLAPSED = "only one of the pods on the GPU is named"


@dataclass(frozen=True)
class Device:
    """
    One GPU, or one MIG instance.

    Attributes:
        busy: Fractions of the time, 0 to 1; of kernels running, not of how full they are.
        xid: Code of the driver's last Xid error; it stays until the next one.
        sharers: How many pods the source saw on it; empty where it cannot tell.
        fewest, most: How many pods were on all GPUs of its node in each step, where the source counts those.
    """

    node: str
    gpu: str
    busy: Points = field(default_factory=dict)
    memory_mib: Points = field(default_factory=dict)
    xid: Points = field(default_factory=dict)
    sharers: Points = field(default_factory=dict)
    fault: Fault | None = None
    model: str = ""
    fewest: Points = field(default_factory=dict)
    most: Points = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.node}/{self.gpu}"


@dataclass(frozen=True)
class PodPoints:
    """What one pod used of one GPU, by its own measurement."""

    namespace: str
    pod: str
    node: str
    model: str
    busy: Points
    memory_mib: Points


@dataclass(frozen=True)
class Readings:
    """
    Attributes:
        slots_in_use: The fewest in each step by node, where the source counts them; `most_slots` the most.
        away: GPUs of which only the past is known: the last read had nothing of them.
        impossible: Values that no GPU can have; they count as missing.
        incomplete: What the source said about missing points, each text once.
    """

    devices: tuple[Device, ...] = ()
    pods: tuple[PodPoints, ...] = ()
    slots_in_use: Mapping[str, Points] = field(default_factory=dict)
    most_slots: Mapping[str, Points] = field(default_factory=dict)
    away: frozenset[str] = frozenset()
    impossible: int = 0
    incomplete: tuple[str, ...] = ()

    @cached_property
    def by_pod(self) -> Mapping[tuple[str, str], PodPoints]:
        """By namespace and name. On several GPUs, or two nodes in turn (StatefulSet), the larger counts."""
        found: dict[tuple[str, str], PodPoints] = {}
        for one in self.pods:
            before = found.get((one.namespace, one.pod))
            found[one.namespace, one.pod] = _both(before, one) if before else one
        return found

    @cached_property
    def pods_since(self) -> int:
        return first_of(self.pods)

    @cached_property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """From when to when, in seconds, nothing at all was measured between the first point and the last."""
        steps = sorted({at for device in self.devices for at in (*device.busy, *device.memory_mib)})
        if len(steps) < 2:
            return ()
        # Whoever reads asks for one step, which most of the points keep to.
        pairs = list(pairwise(steps))
        step = min(later - earlier for earlier, later in pairs)
        return tuple((earlier + step, later) for earlier, later in pairs if later - earlier > step)


def _both(one: PodPoints, other: PodPoints) -> PodPoints:
    return replace(
        other,
        busy=highest(one.busy, other.busy),
        memory_mib=highest(one.memory_mib, other.memory_mib),
    )


def first_of(measured: Iterable[Device | PodPoints]) -> int:
    """When a source began to tell anything of the kind: what nobody measured before is not missing."""
    return min((min(one.memory_mib) for one in measured if one.memory_mib), default=0)


class Cleaner:
    """Keeps the values that can be, in our units, and counts the others."""

    def __init__(self) -> None:
        self.impossible = 0

    def busy(self, series: Series, whole: float) -> dict[int, float]:
        """Fractions from values of which `whole` means always busy."""
        return {at: value if value < 1.0 else 1.0 for at, value in self._clean(series, whole, _MOST_BUSY)}

    def memory_mib(self, series: Series, unit: float) -> dict[int, float]:
        """MiB from values of which `unit` are one."""
        return dict(self._clean(series, unit, _MOST_MIB))

    def counts(self, series: Series) -> dict[int, float]:
        return dict(self._clean(series, 1.0, _MOST_MIB))

    def _clean(self, series: Series, unit: float, most: float) -> list[tuple[int, float]]:
        kept = [
            (at, value)
            for at, raw in zip(series.times, series.values, strict=True)
            if 0 <= (value := raw / unit) <= most  # neither infinity nor what is no number is
        ]
        self.impossible += len(series.times) - len(kept)
        return kept


def highest(one: Points, other: Points) -> dict[int, float]:
    """Both together; the higher value where both have one."""
    merged = dict(one)
    for at, value in other.items():
        merged[at] = max(value, merged.get(at, value))
    return merged


def incomplete(series: Iterable[Series]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.incomplete for one in series if one.incomplete))
