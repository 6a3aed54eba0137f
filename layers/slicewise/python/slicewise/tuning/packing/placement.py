"""
Where the stock scheduler and Karpenter would put pods: no better than they do.

Pods arrive in the order given and go to the node with the fewest pods that
fits (Karpenter sorts its claims so); single-node consolidation empties a node
whenever its pods fit elsewhere, until none can be emptied. It serves the
calibration on past days and the benchmark.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

NO_SLOT_LIMIT = 1 << 30


@dataclass(frozen=True)
class Request:
    """What a pod requests of a GPU: peak memory, and busy thousandths of its time."""

    memory_mib: int
    busy: int


class Fleet:
    """GPUs of one size and the pods on them. Pods are numbers; groups are lists of them."""

    def __init__(self, requests: Sequence[Request], memory_mib: int, busy: int = 1000, slots: int = 0):
        self.requests = list(requests)
        self.capacity = Request(memory_mib, busy)
        self.slots = slots or NO_SLOT_LIMIT
        self.nodes: list[list[int]] = []
        self.where: dict[int, int] = {}
        self._memory: list[int] = []
        self._busy: list[int] = []
        # GPUs by how many pods they have, each list in ascending order: the scheduler's order of search.
        self._holding: list[list[int]] = [[]]

    def groups(self) -> list[list[int]]:
        """The pods of every GPU in use."""
        return [node for node in self.nodes if node]

    def place(self, pod: int) -> int:
        """Put a pending pod where the scheduler would, on a new GPU if it fits nowhere."""
        index = self._find(pod)
        if index < 0:
            index = self.new_node()
        self.put(pod, index)
        return index

    def remove(self, pod: int) -> int:
        index = self.where.pop(pod)
        self._count(index, -1)
        self.nodes[index].remove(pod)
        self._memory[index] += self.requests[pod].memory_mib
        self._busy[index] += self.requests[pod].busy
        return index

    def ask(self, pod: int, request: Request) -> None:
        """Give a pending pod, or a pod in place whose request falls, its new request."""
        index = self.where.get(pod)
        if index is not None:
            self._memory[index] += self.requests[pod].memory_mib - request.memory_mib
            self._busy[index] += self.requests[pod].busy - request.busy
        self.requests[pod] = request

    def spare(self, index: int) -> Request:
        """What no pod requests on that GPU; below zero where requests exceed its capacity."""
        return Request(self._memory[index], self._busy[index])

    def empty(self, index: int, wanted: Callable[[Sequence[int]], bool] | None = None) -> list[int]:
        """
        Move all pods of a GPU to others; nothing moves, and [] returns, unless all fit.

        Args:
            wanted: Whether the pods that a GPU would then have may share it; all may unless given.
        """
        moved: list[int] = []
        for pod in sorted(self.nodes[index], key=lambda p: -self.requests[p].memory_mib):
            target = self._find(pod, without=index)
            if target >= 0:
                self.remove(pod)
                self.put(pod, target)
                moved.append(pod)
            if target < 0 or (wanted and not wanted(self.nodes[target])):
                for back in moved:
                    self.remove(back)
                    self.put(back, index)
                return []
        return moved

    def consolidate(
        self, wanted: Callable[[Sequence[int]], bool] | None = None, most: int | None = None
    ) -> list[int]:
        """
        Empty GPUs one by one, fewest pods first, until none can be; the pods that moved.

        Args:
            wanted: As for `empty`.
            most: Try so many at most in each turn; all unless given.
        """
        moved: list[int] = []
        progress = True
        while progress:
            progress = False
            used = [index for index, node in enumerate(self.nodes) if node]
            for index in sorted(used, key=lambda i: len(self.nodes[i]))[:most]:
                if self.nodes[index] and (done := self.empty(index, wanted)):
                    moved += done
                    progress = True
        return moved

    def _find(self, pod: int, without: int = -1) -> int:
        memory, busy = self.requests[pod].memory_mib, self.requests[pod].busy
        free_memory, free_busy = self._memory, self._busy
        for holding in self._holding[1 : self.slots]:
            for index in holding:
                if free_memory[index] >= memory and free_busy[index] >= busy and index != without:
                    return index
        return -1

    def new_node(self) -> int:
        if self._holding[0]:
            return self._holding[0][0]
        self.nodes.append([])
        self._memory.append(self.capacity.memory_mib)
        self._busy.append(self.capacity.busy)
        self._holding[0].append(len(self.nodes) - 1)
        return len(self.nodes) - 1

    def _count(self, index: int, step: int) -> None:
        before = len(self.nodes[index])
        self._holding[before].remove(index)
        if before + step == len(self._holding):
            self._holding.append([])
        insort(self._holding[before + step], index)

    def put(self, pod: int, index: int) -> None:
        """Put a pod on a given GPU, fit or not: to describe a fleet as it is."""
        self._count(index, 1)
        self.nodes[index].append(pod)
        self.where[pod] = index
        self._memory[index] -= self.requests[pod].memory_mib
        self._busy[index] -= self.requests[pod].busy


def settle(
    requests: Sequence[Request], order: Iterable[int], memory_mib: int, busy: int = 1000, slots: int = 0
) -> Fleet:
    """All pods placed in that order, then consolidated."""
    fleet = Fleet(requests, memory_mib, busy, slots)
    for pod in order:
        fleet.place(pod)
    fleet.consolidate()
    return fleet
