"""
What pods do with the video engines of their GPUs: NVENC, which encodes, and NVDEC, which decodes. Pure.

DCGM has both by GPU and not by pod: dcgm-exporter finds a pod's processes for GPU_UTIL and FB_USED only,
and repeats ENC_UTIL and DEC_UTIL for each pod (NVIDIA/dcgm-exporter d5e5f51, internal/pkg/transformation).
So what one pod of a shared GPU did is known within bounds:

    may have used     one of the workload's pods on the GPU did all of it, the others nothing: of all ways to
                      share out a sum, the one that makes what n pods do together vary most
    used for certain  the GPU's, over the pods on it: of all ways, the one that makes it vary least

A value is a fraction of all of the GPU's engines of the kind together: on two NVENCs, one encoding session
that never waits reads 0.5 (rigaya/NVEnc, issues 148 and 474).
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from slicewise.tuning.usage.points import Points, highest

# Of samples that are pooled: parts of a GPU, rounded up, so that none counts as less than it was.
BUCKETS = 200
_NONE: Points = {}


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What was read of one GPU's engines of one kind.

    Attributes:
        busy: Fractions of all of them; steps in which they rested may be left out.
        resting: Of the steps that `busy` lacks, those in which they surely did nothing.
    """

    busy: Points = field(default_factory=dict)
    resting: Container[int] = frozenset()

    def at(self, step: int) -> float | None:
        """None where it is not known."""
        value = self.busy.get(step)
        if value is not None:
            return value
        return 0.0 if step in self.resting else None


@dataclass(frozen=True, slots=True)
class Attributed:
    """
    What was read, as one pod's.

    Attributes:
        most: What it may have used, in fractions of its GPU's engines.
        certain: What it used for certain, in the mean of the pods on its GPU. Both lack steps in which
            nothing was used; `resting` has those.
    """

    most: Points
    certain: Points
    resting: Container[int]


def attributed(reading: Reading, sharers: Points) -> Attributed:
    """Of a pod that was on the GPU with as many as `sharers` says, itself included: all may be its own."""
    if not reading.busy:
        return Attributed(_NONE, _NONE, reading.resting)
    certain = {at: value / max(1.0, sharers.get(at, 1.0)) for at, value in reading.busy.items()}
    return Attributed(reading.busy, certain, reading.resting)


def concentrated(pods: Sequence[tuple[Points, Attributed]]) -> list[Attributed]:
    """
    Of all pods of one workload on one GPU: one did everything, at each step the first that was there.

    Args:
        pods: When each was there, as points of any kind, and what it may have used.
    """
    taken: set[int] = set()
    found = []
    for there, use in pods:
        mine = {at: value for at, value in use.most.items() if at in there and at not in taken}
        theirs = {at: 0.0 for at in use.most if at not in mine}
        taken.update(mine)
        found.append(Attributed({**theirs, **mine}, use.certain, use.resting))
    return found


def both(one: Attributed | None, other: Attributed | None) -> Attributed:
    """Of a pod that was on two GPUs: the busier counts, and what is not known of one of them is not known."""
    if one is None or other is None:
        return Attributed(_NONE, _NONE, frozenset())
    return Attributed(
        highest(one.most, other.most),
        highest(one.certain, other.certain),
        all_of([one.resting, other.resting]),
    )


def all_of(found: Sequence[Container[int]]) -> Container[int]:
    """What is in each of them."""
    return found[0] if len(found) == 1 else _All(found)


@dataclass(frozen=True, slots=True)
class _All(Container[int]):
    found: Sequence[Container[int]]

    def __contains__(self, at: object) -> bool:
        return all(at in one for one in self.found)


@dataclass(slots=True)
class Samples:
    """
    How many samples lie in each of the BUCKETS of a GPU.

    Attributes:
        places: Whole GPUs, which gaps are as well, come first, then idle ones, and so on as far as there are
            any: most workloads leave most of a GPU alone.
    """

    places: array[int] = field(default_factory=lambda: array("I"))

    @classmethod
    def of(cls, counted: Iterable[tuple[int, int]]) -> Samples:
        found = cls()
        for bucket, samples in counted:
            found.count(int(bucket), int(samples))
        return found

    def count(self, bucket: int, samples: int = 1) -> None:
        """A bucket from 0, idle, to BUCKETS, a whole GPU."""
        place = 0 if bucket >= BUCKETS else bucket + 1
        if place >= len(self.places):
            self.places.extend([0] * (place + 1 - len(self.places)))
        self.places[place] += samples

    def counted(self) -> list[tuple[int, int]]:
        """Each bucket that has samples, and how many; in order."""
        found = [(place - 1, samples) for place, samples in enumerate(self.places) if samples]
        return [*found[1:], (BUCKETS, found[0][1])] if found and found[0][0] < 0 else found

    def copy(self) -> Samples:
        return Samples(self.places[:])


def bucket_of(fraction: float) -> int:
    return -(-round(1000 * fraction) * BUCKETS // 1000)


@dataclass(slots=True)
class VideoDay:
    """
    One UTC day of a workload's pods, on the engines of one kind.

    Attributes:
        most, certain: Samples of all its pods, in either reading; a gap is a whole GPU in one, and idle in
            the other.
        measured: How many of them are no gap.
    """

    most: Samples = field(default_factory=Samples)
    certain: Samples = field(default_factory=Samples)
    measured: int = 0

    def add(self, use: Attributed | None, steps: Sequence[int], gaps: Collection[int]) -> None:
        """
        Args:
            use: None of a pod of whose GPU nothing was read.
            gaps: Steps in which the pod was not measured at all.
        """
        resting = missing = 0
        if use is not None and not use.most and not gaps:
            # Nearly every pod of nearly every cluster.
            resting = sum(map(use.resting.__contains__, steps))
            missing, steps = len(steps) - resting, ()
        for at in steps:
            if use is None or at in gaps:
                missing += 1
            elif (most := use.most.get(at)) is not None:
                self.most.count(bucket_of(most))
                self.certain.count(bucket_of(use.certain.get(at, 0.0)))
                self.measured += 1
            elif at in use.resting:
                resting += 1
            else:
                missing += 1
        self.measured += resting
        if missing:
            self.most.count(BUCKETS, missing)
        if resting:
            self.most.count(0, resting)
        if resting or missing:
            self.certain.count(0, resting + missing)

    def copy(self) -> VideoDay:
        return VideoDay(self.most.copy(), self.certain.copy(), self.measured)


Distribution = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class VideoUse:
    """
    What a workload's pods did with the engines of one kind, as a pod of it counts.

    Attributes:
        most, certain: In either reading: thousandths of a GPU's engines, and which part of the samples they
            are.
    """

    most: Distribution
    certain: Distribution

    @property
    def is_any(self) -> bool:
        """Whether they may have been used at all."""
        return any(value for value, _ in self.most)

    @property
    def lower(self) -> VideoUse:
        return VideoUse(self.certain, self.certain)


def use_of_days(days: Iterable[VideoDay]) -> VideoUse | None:
    """None where nothing was measured: the source does not have it, or had not begun."""
    days = tuple(days)
    if not any(day.measured for day in days):
        return None
    return VideoUse(
        tuple(distribution(day.most for day in days)), tuple(distribution(day.certain for day in days))
    )


def distribution(samples: Iterable[Samples]) -> Iterator[tuple[int, float]]:
    """Thousandths of a GPU, and which part of all the samples they are; in order."""
    pooled: dict[int, int] = {}
    for one in samples:
        for bucket, count in one.counted():
            pooled[bucket] = pooled.get(bucket, 0) + count
    total = sum(pooled.values())
    for bucket, count in sorted(pooled.items()):
        yield bucket * 1000 // BUCKETS, count / total
