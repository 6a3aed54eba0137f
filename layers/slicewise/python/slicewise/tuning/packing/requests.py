"""What pods request of a GPU under measured packing: memory, with what it may grow by, and time. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from slicewise.tuning.packing.placement import Request
from slicewise.tuning.rule.memory_growth import MemoryGrowth
from slicewise.tuning.usage.evidence import PodUse, usable_memory

WHOLE = 1000


@dataclass(frozen=True)
class PackingPolicy:
    """
    Attributes:
        memory_headroom: Share of the card left free: fragmentation, and peaks between two samples.
        memory_quantile: With what chance the memory of a GPU's pods must fit as it may grow until tomorrow.
        memory_surge: How many times its known peak any one workload of a GPU may need while the others stay,
            and all still fit, however seldom that is. docs/tuning.md says how it was picked.
        gate: Share of GPU time that may be contended: the promise.
        safety: Share of the gate to spend a day, as `daily_target` keeps account of it. The rest is for what
            replays leave out: who leaves a GPU between two decisions lands on another.
        week_safety: The same for a decision that is to last a week: drift has seven times as long.
        hot: A GPU is hot when its pods would have contended longer than this on their own past: 3 gates.
            Who contends less is not worth a restart before it does: see `busy_guard`.
        raise_factor: How far the request of a pod that leaves a hot GPU rises at least.
        lower_below: A request is too large when the pod needs less than this share of its busy time.
        lower_memory_below: Likewise of its memory, of which it requests little more than it needs.
        moves: Most raises a day.
        rounds: How often the day's raises are tried on a copy, and who lands on a hot GPU raised again.
    """

    memory_headroom: float = 0.1
    memory_quantile: float = 0.99
    memory_surge: float = 1.35
    gate: float = 0.01
    safety: float = 0.7
    week_safety: float = 0.4
    hot: float = 0.03
    raise_factor: float = 1.25
    lower_below: float = 0.8
    lower_memory_below: float = 0.95
    moves: int = 25
    rounds: int = 4


def request_for(pod: PodUse, threshold: float, memory_mib: int, asked: float | None = None) -> Request:
    """
    The request vector of one pod.

    It always fits an empty GPU: a pod that needs more than the usable memory,
    or has no history, asks for all of it.

    Args:
        memory_mib: What requests on a GPU may add up to.
        asked: The pod's memory in MiB with what it may grow by; its peak unless given.
    """
    if not pod.can_share or not threshold > 0:
        return Request(memory_mib, WHOLE)
    # At least one thousandth: a pod that requests nothing would fit on a full GPU.
    busy = max(1, math.ceil(min(WHOLE, WHOLE * pod.expected_busy / threshold)))
    wanted = pod.memory_mib if asked is None else asked
    return Request(min(memory_mib, max(1, math.ceil(wanted))), busy)


def requests_for(
    pods: Sequence[PodUse],
    threshold: float,
    card_memory_mib: float,
    policy: PackingPolicy,
    growth: MemoryGrowth,
) -> list[Request]:
    """The requests of many, with what each may grow by."""
    memory = usable_memory(card_memory_mib, policy.memory_headroom)
    return [
        request_for(pod, threshold, memory, asked_mib(pod, card_memory_mib, policy, growth)) for pod in pods
    ]


def asked_mib(
    pod: PodUse, card_memory_mib: float, policy: PackingPolicy, growth: MemoryGrowth
) -> float | None:
    """The memory to request in MiB; None where the pod requests a whole GPU anyway."""
    if not pod.can_share:
        return None
    return growth.request_mib(
        pod, card_memory_mib, policy.memory_headroom, policy.memory_quantile, policy.memory_surge
    )
