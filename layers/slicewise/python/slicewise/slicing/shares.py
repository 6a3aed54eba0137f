"""
A pod's share of GPUs of which only the whole is measured: what it may have used, and what for certain. Pure.

Nobody says which GPU of a node a pod is on, nor how unlike the pods of a GPU are. So the whole, divided,
bounds the mean pod and not the largest. Of one pod only that is known what it used while it had a GPU to
itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from slicewise.slicing.series import Device, Points, highest


@dataclass(frozen=True)
class Share:
    """
    What one pod of a node had of the node's GPUs.

    Attributes:
        busy: Fractions of a GPU that it may have used: the busiest GPU's, over the fewest pods on it.
        memory_mib: Likewise of the fullest one. Steps in which pods came or went have no value: their memory
            is that of all, and their pods are not.
        measured_busy: The node's, over the most pods on it: what its pods used in the mean for certain.
        alone: Steps at which one pod had the node's only GPU to itself.
        shared_last: When that was last not so; infinite where nobody counts the pods.
    """

    busy: Points = field(default_factory=dict)
    memory_mib: Points = field(default_factory=dict)
    measured_busy: Points = field(default_factory=dict)
    alone: frozenset[int] = frozenset()
    shared_last: float = math.inf


@dataclass(frozen=True)
class Sharing:
    """
    Attributes:
        devices: The GPUs of some nodes.
        fewest, most: By node, how many pods were on all its GPUs in each step, where the source counts them.
        starts: By node, the seconds at which the pods that are there now started.
        step: Seconds.
    """

    devices: Sequence[Device]
    fewest: Mapping[str, Points]
    most: Mapping[str, Points]
    starts: Mapping[str, Sequence[float]]
    step: int

    def on_gpu(self, device: Device, at: int) -> int:
        """The fewest pods that were on the GPU then, one at least."""
        if at in device.sharers:
            return max(1, int(device.sharers[at]))
        return max(1, self._fewest(device.node, at) // len(self._of_node[device.node]))

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
        measured = {at: value / self._most_on(node, devices, at) for at, value in total.items()}
        alone, shared_last = self._alone(node, devices, (*busy, *memory))
        return Share(busy, memory, measured, alone, shared_last)

    def _alone(
        self, node: str, devices: Sequence[Device], steps: Iterable[int]
    ) -> tuple[frozenset[int], float]:
        if len(devices) > 1 or node not in self.fewest:
            return frozenset(), math.inf
        known = set(steps)
        alone = frozenset(
            at
            for at in known
            # Pods that have gone since are in the count alone, and those that are there in both.
            if self._fewest(node, at) == self._most(node, at) == 1 and self._started(node, at) <= 1
        )
        return alone, max(known - alone, default=-1)

    def _moved(self, device: Device, at: int) -> bool:
        """Whether pods came or went in that step."""
        return at not in device.sharers and self._fewest(device.node, at) != self._most(device.node, at)

    def _most_on(self, node: str, devices: Sequence[Device], at: int) -> float:
        counted = [device.sharers[at] for device in devices if at in device.sharers]
        return max(1.0, sum(counted)) if counted else max(1, self._most(node, at))

    def _fewest(self, node: str, at: int) -> int:
        counted = self.fewest.get(node, {})
        return int(counted[at]) if at in counted else self._started(node, at)

    def _most(self, node: str, at: int) -> int:
        for counted in (self.most.get(node, {}), self.fewest.get(node, {})):
            if at in counted:
                return int(counted[at])
        return self._started(node, at + self.step - 1)

    def _started(self, node: str, at: int) -> int:
        """Pods that are on the node now and had started by then."""
        return sum(1 for start in self.starts.get(node, ()) if start <= at)
