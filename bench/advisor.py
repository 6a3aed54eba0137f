"""Another way of sharing, when it costs less a pod-hour: MIG, a fraction, a bigger card, a GPU alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Offer:
    """
    One way to buy room for pods.

    Attributes:
        sharing: "time-slicing", "mig", "fraction" or "exclusive".
        usd_per_hour: Of the instance, or of its share that holds `pods`.
        pods: Pods that this room holds.
        memory_mib: Device memory that one of those pods may count on.
        compute: GPUs' worth of time one of those pods may count on.
    """

    name: str
    sharing: str
    usd_per_hour: float
    pods: int
    memory_mib: float
    compute: float

    @property
    def usd_per_pod_hour(self) -> float:
        return self.usd_per_hour / self.pods


@dataclass(frozen=True)
class Advice:
    best: Offer | None
    reason: str


def advise(memory_mib: float, busy: float, offers: Sequence[Offer], current: str) -> Advice:
    """
    The cheapest offer in which a pod of this peak memory and expected busy share fits.

    Args:
        current: Name of the offer in use; an equal price is no reason to leave it.
    """
    fitting = [
        offer
        for offer in offers
        if offer.pods > 0
        and math.isfinite(offer.usd_per_hour)
        and offer.memory_mib >= memory_mib
        and offer.compute >= busy
    ]
    if not fitting:
        return Advice(None, f"no offer holds a pod of {memory_mib:.0f} MiB that is {busy:.0%} busy")
    best = min(fitting, key=lambda o: (o.usd_per_pod_hour, o.name != current, o.name))
    prices = "; ".join(
        f"{o.name} ({o.sharing}) ${o.usd_per_pod_hour:.3f}"
        for o in sorted(fitting, key=lambda o: (o.usd_per_pod_hour, o.name))
    )
    verb = "stay with" if best.name == current else "move to"
    return Advice(best, f"{verb} {best.name}: a pod-hour costs {prices}")
