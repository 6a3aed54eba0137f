"""
What was measured of one NodePool, from series as their source names them. Pure.

Evidence that is missing, stale, partial or contradictory only ever makes a pod look larger, and is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from slicewise.actions import Finding
from slicewise.model import ClusterContents, Series
from slicewise.slicing.evidence import Grade, PodUse

# What to ask a source for: ten-minute points, of which a day of a pod's history has 144.
STEP = timedelta(minutes=10)
WINDOW = timedelta(days=7)


@dataclass(frozen=True)
class PoolUse:
    """
    Attributes:
        pods: One for every pod that runs on the NodePool's nodes now, measured or not.
        grade: The weakest of the pods that have a history; NONE where no pod has one. Without a full day of
            history a pod counts as a whole GPU: a lower N that rests on such pods rests on no measurement.
        device_peaks: Highest memory in MiB over the window, by "node/gpu".
        busy_now: The busiest GPU's mean busy fraction over the last hour; None where nothing is that fresh.
        memory_now_share: Likewise, the fullest GPU's memory as a share of the card.
        problems: What is wrong with the evidence, in words.
    """

    pods: tuple[PodUse, ...]
    grade: Grade
    device_peaks: Mapping[str, float] = field(default_factory=dict)
    busy_now: float | None = None
    memory_now_share: float | None = None
    problems: tuple[Finding, ...] = ()


def pool_use(
    series: Sequence[Series], source: str, contents: ClusterContents, now: datetime, node_pool: str
) -> PoolUse:
    """
    Args:
        series: What `ports.Metrics.read` gave for (now − WINDOW, now, STEP).
        source: As the policy says: "container-insights", "prometheus" or "none".
    """
    nothing = Finding("no-gpu-metrics", f"Nothing was measured of NodePool {node_pool}.", "See its metrics.")
    return PoolUse((), Grade.NONE, problems=(nothing,))
