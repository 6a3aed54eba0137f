"""Pods with a memory peak a day, for tests of how memory grows."""

from __future__ import annotations

import math

from slicewise.tuning.usage.evidence import Day, PodUse

DAY = Day(0.01, 0.02, 0, 24)


def pod(name, *peaks, workload="", known=None):
    """A pod that was measured for as many days as it has peaks."""
    finite = [peak for peak in peaks if math.isfinite(peak)]
    memory = max(finite, default=math.nan) if known is None else known
    return PodUse(
        name, memory, (DAY,) * len(peaks), day_peaks_mib=tuple(map(float, peaks)), workload=workload
    )


def fleet(grows=1.3, count=20, every=5, days=7):
    """Pods of which each `every`th grew once, on its last day."""
    return [
        pod(f"p{i}", *[4000.0] * (days - 1), 4000.0 * (grows if i % every == 0 else 1)) for i in range(count)
    ]
