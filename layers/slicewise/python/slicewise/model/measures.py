"""Metrics of a reconcile as values: gauges of NodePools, and what CloudWatch gets of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

NAMESPACE = "Slicewise"


class Measure(NamedTuple):
    """
    Attributes:
        unit: As CloudWatch spells it: Count, Percent or None.
        dimensions: Names and values; with the name they identify the metric in CloudWatch.
    """

    name: str
    unit: str
    value: float
    dimensions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PoolMeasures:
    """
    A NodePool as a reconcile observed it.

    Attributes:
        n: Slices that each of its GPUs offers; while it changes, the one before.
        slices_in_use: Slices that pods hold.
        gpus: Of its nodes.
        busy: Mean share of the time that its GPUs were busy in the last hour, 0 to 1; None where that was not
            measured.
        asleep: Off-hours has put it to sleep.
    """

    node_pool: str
    n: int
    slices_in_use: int
    gpus: int
    busy: float | None
    asleep: bool

    @property
    def gpus_saved(self) -> int:
        """With whole GPUs each slice in use is a GPU. There are more than that while GPUs start or drain."""
        return max(self.slices_in_use - self.gpus, 0)
