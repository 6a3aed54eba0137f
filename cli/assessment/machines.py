"""
The machines that pods need under a rule: whole ones, as nodes come. Pure.

Pods that must not share stay on the nodes of today. Whether they would fit on fewer is the scheduler's to
say: by adding what they hold, three pods of three GPUs would need ten, and no machine of four has them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from slicewise.costs.prices import Prices

from cli.assessment.inventory import GpuNode, GpuPod, held


@dataclass(frozen=True)
class Machines:
    """
    The nodes on which some pods run today, and so the machines that they are taken to come in.

    Attributes:
        gpus: Of the smallest machine: nodes come whole.
        usd_per_gpu_hour: The mean of the nodes that are as small.
    """

    gpus: int = 1
    usd_per_gpu_hour: float = 0.0

    def whole(self, gpus: Fraction | int) -> int:
        return -(-gpus // self.gpus) * self.gpus


def machines_of(nodes: Iterable[GpuNode], prices: Prices) -> Machines:
    counted = [node for node in nodes if node.gpus]
    smallest = min((node.gpus or 1 for node in counted), default=1)
    usd = [prices.usd_an_hour(*node.paid) or 0.0 for node in counted if node.gpus == smallest]
    return Machines(smallest, sum(usd) / len(usd) / smallest if usd else 0.0)


@dataclass(frozen=True)
class Placement:
    """
    Attributes:
        sharing: The machines of pods that could share.
        kept: Nodes that stay under every rule: a pod on them must not share, or they do not say how many
            GPUs they have.
        kept_usd_per_hour: Of those that have a price.
        staying: Pods that could share and have a whole GPU of a kept node: under whole GPUs they keep it.
        waited_for: GPUs of other nodes that no pod holds, and for which pods wait: no rule takes them away.
    """

    sharing: Machines = Machines()
    kept: tuple[GpuNode, ...] = ()
    kept_usd_per_hour: float = 0.0
    staying: int = 0
    waited_for: int = 0

    @property
    def kept_gpus(self) -> int:
        return sum(node.gpus or 0 for node in self.kept)

    def gpus(self, pools: Sequence[int]) -> int:
        """
        Of all machines, in GPUs.

        Args:
            pools: GPUs that each NodePool of pods that could share needs; each has machines of its own.
        """
        return self.kept_gpus + self._shared(pools)

    def usd_per_hour(self, pools: Sequence[int]) -> float:
        return self.kept_usd_per_hour + self._shared(pools) * self.sharing.usd_per_gpu_hour

    def _shared(self, pools: Sequence[int]) -> int:
        first, *others = pools or (0,)
        return sum(map(self.sharing.whole, (first + self.waited_for, *others)))


def placement(
    nodes: Sequence[GpuNode],
    pods: Sequence[GpuPod],
    excluded: Collection[str],
    prices: Prices,
    waiting: int = 0,
) -> Placement:
    """
    Args:
        pods: That run on these nodes.
        excluded: Keys of the pods that must not share.
        waiting: GPUs that pods without a node request.
    """
    holds = {pod.node for pod in pods if pod.key in excluded}
    kept = tuple(node for node in nodes if node.name in holds or node.gpus is None)
    others = {node.name: node for node in nodes if node.name not in holds and node.gpus is not None}
    whole = {node.name for node in kept if not node.is_sliced}
    hosts = {pod.node for pod in pods if pod.key not in excluded}
    taken = sum((held(pod, others[pod.node]) for pod in pods if pod.node in others), Fraction(0))
    idle = sum(node.gpus or 0 for node in others.values()) - taken
    return Placement(
        machines_of([node for node in nodes if node.name in hosts] or nodes, prices),
        kept,
        sum(prices.usd_an_hour(*node.paid) or 0.0 for node in kept),
        sum(pod.node in whole and pod.key not in excluded for pod in pods),
        min(int(idle), waiting),
    )


@dataclass(frozen=True)
class PoolSize:
    """
    The machines of a suggested pool of whole GPUs.

    Attributes:
        gpus: Of all of them together.
        counts: GPUs of one machine, ascending.
    """

    gpus: int
    counts: tuple[int, ...]

    def beside(self, other: PoolSize) -> PoolSize:
        return PoolSize(self.gpus + other.gpus, tuple(sorted({*self.counts, *other.counts})))


def whole_machines(on: Sequence[tuple[GpuNode, int]], sold: Sequence[int]) -> PoolSize:
    """
    For pods that keep whole GPUs: the nodes that they have, and new ones where they have slices today.

    Args:
        on: The node of each pod, and how many GPUs it requests.
        sold: How many GPUs one machine of this model can have.
    """
    has = {node.name: node.gpus for node, _ in on if node.gpus and not node.is_sliced}
    today = PoolSize(sum(has.values()), tuple(sorted(set(has.values()))))
    asked = sorted((gpus for node, gpus in on if node.name not in has), reverse=True)
    if not asked:
        return today
    size = next((count for count in sold if count >= asked[0]), sold[-1])
    return today.beside(PoolSize(_bins(asked, size) * size, (size,)))


def _bins(asked: Sequence[int], size: int) -> int:
    """How many machines of that size hold the pods, the largest first, each in the first with room."""
    free: list[int] = []
    for gpus in asked:
        place = next((place for place, left in enumerate(free) if left >= gpus), None)
        if place is None:
            free.append(max(0, size - gpus))
        else:
            free[place] -= gpus
    return len(free)
