"""
A pod's share of GPUs of which only the whole is measured: what it may have used, and what for certain. Pure.

No source says which GPU of a node a pod is on, nor how unlike the pods of a GPU are. So the whole, divided,
bounds the mean pod and not the largest. Of one pod only that is known what it used while it had a GPU to
itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from slicewise.tuning.usage.points import highest
from slicewise.tuning.usage.readings import Device, Points
from slicewise.tuning.usage.video import Attributed, Reading, all_of

# In steps: so much later a source may count pods than it measures their memory.
_LATE = 2


@dataclass(frozen=True)
class Share:
    """
    What one pod of a node had of the node's GPUs.

    Attributes:
        busy: Fractions of a GPU that it may have used: the busiest GPU's, over the fewest pods on it.
        memory_mib: Likewise of the fullest one. Steps in which pods came or went have no value: their memory
            is that of all, and their pods are not.
        measured_busy: The node's, over the most pods on it: what its pods used in the mean for certain. Steps
            in which they were not counted have no value.
        counted_one: Steps at which one pod was counted on the node's only GPU; `alone` are those at which it
            surely had it to itself.
        video: What it may have done with the GPUs' encoders and decoders, by kind: all that the busiest did.
    """

    busy: Points = field(default_factory=dict)
    memory_mib: Points = field(default_factory=dict)
    measured_busy: Points = field(default_factory=dict)
    counted_one: frozenset[int] = frozenset()
    alone: frozenset[int] = frozenset()
    video: Mapping[str, Attributed] = field(default_factory=dict)


@dataclass(frozen=True)
class Sharing:
    """
    Attributes:
        devices: The GPUs of some nodes.
        starts: By node, the seconds at which the pods that are there now started.
        step: Seconds.
    """

    devices: Sequence[Device]
    starts: Mapping[str, Sequence[float]]
    step: int

    def on_gpu(self, device: Device, at: int) -> int:
        """The fewest pods that were on the GPU then, one at least."""
        sharers = device.sharers.get(at)
        if sharers is not None:
            return max(1, int(sharers))
        return max(1, self._fewest(device, at) // len(self._of_node[device.node]))

    @cached_property
    def by_node(self) -> Mapping[str, Share]:
        return {node: self._share(node, devices) for node, devices in self._of_node.items()}

    @cached_property
    def _of_node(self) -> Mapping[str, list[Device]]:
        found: dict[str, list[Device]] = {}
        for device in self.devices:
            found.setdefault(device.node, []).append(device)
        return found

    def _share(self, node: str, devices: Sequence[Device]) -> Share:
        busy: Points = {}
        memory: Points = {}
        total: dict[int, float] = {}
        devices = [_quick(device) for device in devices]
        for device in devices:
            busy = highest(busy, {at: value / self.on_gpu(device, at) for at, value in device.busy.items()})
            still = {
                at: value / self.on_gpu(device, at)
                for at, value in device.memory_mib.items()
                if not self._moved(device, at)
            }
            memory = highest(memory, still)
            for at, value in device.busy.items():
                total[at] = total.get(at, 0.0) + value
        counts = ((at, self._most_on(devices, at)) for at in total)
        measured = {at: total[at] / max(1.0, most) for at, most in counts if most is not None}
        one = self._counted_one(devices, (*busy, *memory))
        around = range(-_LATE * self.step, (_LATE + 1) * self.step, self.step)
        alone = frozenset(at for at in one if all(at + away in one for away in around))
        return Share(busy, memory, measured, one, alone, self._video(devices))

    def _video(self, devices: Sequence[Device]) -> Mapping[str, Attributed]:
        kinds = {kind for device in devices for kind in device.video}
        return {
            kind: self._attributed([device.video.get(kind) for device in devices], devices) for kind in kinds
        }

    def _attributed(self, readings: Sequence[Reading | None], devices: Sequence[Device]) -> Attributed:
        known = [reading for reading in readings if reading is not None]
        if len(known) < len(readings):
            return Attributed({}, {}, frozenset())
        most: Points = {}
        total: dict[int, float] = {}
        for reading in known:
            # Of the others nothing may be known in that step: then neither is which was the busiest.
            values = {
                at: value for at, value in reading.busy.items() if all(o.at(at) is not None for o in known)
            }
            most = highest(most, values)
            for at, value in values.items():
                total[at] = total.get(at, 0.0) + value
        counts = ((at, self._most_on(devices, at)) for at in total)
        certain = {at: total[at] / max(1.0, count) for at, count in counts if count is not None}
        return Attributed(most, certain, all_of([reading.resting for reading in known]))

    def _counted_one(self, devices: Sequence[Device], steps: Iterable[int]) -> frozenset[int]:
        """Only where pods were counted: one that has ended since is in that count alone."""
        if len(devices) > 1:
            return frozenset()
        (device,) = devices
        return frozenset(
            at
            for at in set(steps)
            if device.fewest.get(at) == device.most.get(at) == 1 and self._started(device.node, at) <= 1
        )

    def _moved(self, device: Device, at: int) -> bool:
        """Whether pods came or went in that step."""
        if at in device.sharers:
            return False
        most = device.most.get(at, device.fewest.get(at))
        if most is None:
            return self._started(device.node, at) != self._started(device.node, at + self.step - 1)
        return device.fewest.get(at) != most

    @staticmethod
    def _most_on(devices: Sequence[Device], at: int) -> float | None:
        """Pods on all GPUs of a node; None where they were not counted."""
        found = (device.sharers.get(at) for device in devices)
        counted = [sharers for sharers in found if sharers is not None]
        if counted:
            return sum(counted)
        return devices[0].most.get(at, devices[0].fewest.get(at))

    def _fewest(self, device: Device, at: int) -> int:
        fewest = device.fewest.get(at)
        return self._started(device.node, at) if fewest is None else int(fewest)

    def _started(self, node: str, at: int) -> int:
        """Pods that are on the node now and had started by then."""
        return bisect_right(self._sorted_starts.get(node, ()), at)

    @cached_property
    def _sorted_starts(self) -> Mapping[str, list[float]]:
        return {node: sorted(starts) for node, starts in self.starts.items()}


def _quick(device: Device) -> Device:
    """With its counts in mappings while they are asked for at each step: an array takes ten times as long."""
    return replace(
        device,
        sharers=dict(device.sharers.items()),
        fewest=dict(device.fewest.items()),
        most=dict(device.most.items()),
    )
