"""What one pod did, step by step. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

from slicewise.tuning.usage.evidence import Grade
from slicewise.tuning.usage.points import last_at
from slicewise.tuning.usage.readings import Points
from slicewise.tuning.usage.video import Attributed

NO_VIDEO: Mapping[str, Attributed] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PodHistory:
    """
    What is known of one pod: from when on it counts, and its points by second.

    Attributes:
        busy, memory_mib: What it may have used: fractions of a GPU, and MiB.
        measured_busy, measured_memory_mib: What it used for certain, in the same units. Of a pod that is
            measured itself they are the same points.
        alone: Steps at which it had a GPU to itself, of one that is known by its GPU only; `counted_one` are
            those in which no other was counted, though one may have been there.
        gpu: The key of its GPU; "" where it is not known, or they are several.
        video: What it did with its GPU's encoders and decoders, by kind, where that was read.
    """

    since: int
    busy: Points
    memory_mib: Points
    grade: Grade
    measured_busy: Points
    measured_memory_mib: Points
    alone: Set[int] = frozenset()
    counted_one: Set[int] = frozenset()
    gpu: str = ""
    video: Mapping[str, Attributed] = field(default_factory=lambda: NO_VIDEO)

    @classmethod
    def of_a_pod(
        cls,
        since: int,
        busy: Points,
        memory_mib: Points,
        video: Mapping[str, Attributed] = NO_VIDEO,
        gpu: str = "",
    ) -> PodHistory:
        """Of one that is measured itself."""
        return cls(since, busy, memory_mib, Grade.POD, busy, memory_mib, gpu=gpu, video=video)

    @property
    def last(self) -> int:
        at = last_at(self.busy)
        return self.since if at is None else at
