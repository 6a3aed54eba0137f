"""
What series say, under any name that their source gives it: the use of GPUs and pods, point by point. Pure.

The readers of each source (container_insights.py, dcgm.py) make these; pool_usage.py and
tuning/rule/promises.py judge them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

from slicewise.model.cluster import Series
from slicewise.tuning.usage.points import Points as Points
from slicewise.tuning.usage.points import first_at, highest, known_at, points_of
from slicewise.tuning.usage.video import Attributed, Reading, both

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


@dataclass(frozen=True, slots=True)
class Device:
    """
    One GPU, or one MIG instance.

    Attributes:
        busy: Fractions of the time, 0 to 1; of kernels running, not of how full they are.
        xid: Code of the driver's last Xid error; it stays until the next one. Points that repeat the one
            before may be left out.
        sharers: How many pods the source saw on it; empty where it does not report that.
        fewest, most: How many pods were on all GPUs of its node in each step, where the source counts those.
        video: What its encoders and decoders did, by kind, where the source has it.
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
    video: Mapping[str, Reading] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.node}/{self.gpu}"


@dataclass(frozen=True, slots=True)
class PodPoints:
    """
    What one pod used of one GPU, by its own measurement.

    Attributes:
        gpu: The GPU's key, as `Device` has it; "" where it is not known, or they are several.
        video: What it may have done with the GPU's encoders and decoders, by kind.
    """

    namespace: str
    pod: str
    node: str
    model: str
    busy: Points
    memory_mib: Points
    gpu: str = ""
    video: Mapping[str, Attributed] = field(default_factory=dict)


@dataclass(frozen=True)
class Readings:
    """
    Attributes:
        slots_in_use: The fewest in each step by node, where the source counts them; `most_slots` the most.
        gone: GPUs of nodes that are deleted now, where the reader was asked for them.
        away: GPUs of which only the past is known: the last read had nothing of them.
        impossible: Values that no GPU can have; they count as missing.
        incomplete: What the source reported about missing points, each text once.
        video_since: The first second of which GPUs' encoders or decoders were read, by kind.
    """

    devices: tuple[Device, ...] = ()
    pods: tuple[PodPoints, ...] = ()
    slots_in_use: Mapping[str, Points] = field(default_factory=dict)
    most_slots: Mapping[str, Points] = field(default_factory=dict)
    gone: tuple[Device, ...] = ()
    away: frozenset[str] = frozenset()
    impossible: int = 0
    incomplete: tuple[str, ...] = ()
    video_since: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def by_pod(self) -> Mapping[tuple[str, str], PodPoints]:
        """By namespace and name. On several GPUs, or two nodes in turn (StatefulSet), the larger counts."""
        found: dict[tuple[str, str], PodPoints] = {}
        for one in self.pods:
            before = found.get((one.namespace, one.pod))
            found[one.namespace, one.pod] = _both(before, one) if before else one
        return found

    def of_gpus(self, devices: Iterable[Device], away: frozenset[str] = frozenset()) -> Readings:
        """The same with other GPUs; who is which pod is not found out once more."""
        found = replace(self, devices=tuple(devices), away=away)
        found.__dict__["by_pod"] = self.by_pod
        return found

    @cached_property
    def pods_since(self) -> int:
        return first_of(self.pods)

    @cached_property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """From when to when, in seconds, nothing at all was measured between the first point and the last."""
        steps = sorted(known_at(points for one in self.devices for points in (one.busy, one.memory_mib)))
        if len(steps) < 2:
            return ()
        # A read asks for one step, which most of the points have.
        pairs = list(pairwise(steps))
        step = min(later - earlier for earlier, later in pairs)
        return tuple((earlier + step, later) for earlier, later in pairs if later - earlier > step)


def _both(one: PodPoints, other: PodPoints) -> PodPoints:
    return replace(
        other,
        busy=highest(one.busy, other.busy),
        memory_mib=highest(one.memory_mib, other.memory_mib),
        gpu="",
        video={
            kind: both(one.video.get(kind), other.video.get(kind)) for kind in one.video.keys() | other.video
        },
    )


def first_of(measured: Iterable[Device | PodPoints]) -> int:
    """When a source began to report anything of the kind: what was not measured before is not missing."""
    return min((at for one in measured if (at := first_at(one.memory_mib)) is not None), default=0)


class Cleaner:
    """Keeps the values that can be, in our units, and counts the others."""

    def __init__(self) -> None:
        self.impossible = 0

    def busy(self, series: Series, whole: float) -> Points:
        """Fractions from values of which `whole` means always busy."""
        times, values = self._clean(series, whole, _MOST_BUSY)
        return points_of(times, [value if value < 1.0 else 1.0 for value in values])

    def memory_mib(self, series: Series, unit: float) -> Points:
        """MiB from values of which `unit` are one."""
        return points_of(*self._clean(series, unit, _MOST_MIB))

    def counts(self, series: Series) -> Points:
        return points_of(*self._clean(series, 1.0, _MOST_MIB))

    def _clean(self, series: Series, unit: float, most: float) -> tuple[tuple[int, ...], list[float]]:
        """Without infinity, and what is no number."""
        values = [raw / unit for raw in series.values]
        if all(0 <= value <= most for value in values):
            return series.times, values
        kept = [(at, value) for at, value in zip(series.times, values, strict=True) if 0 <= value <= most]
        self.impossible += len(values) - len(kept)
        return tuple(at for at, _ in kept), [value for _, value in kept]


def note_incomplete(series: Iterable[Series], incomplete: dict[str, None]) -> Iterator[Series]:
    """The series as they come; what they report about missing points goes to `incomplete`, each text once."""
    for one in series:
        if one.incomplete:
            incomplete[one.incomplete] = None
        yield one
