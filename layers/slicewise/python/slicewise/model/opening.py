"""
When a cluster that sleeps must be awake again: a value of its own, stored beside the snapshots.

The schedule (ports.Schedules) asks for a reconcile at the same moment. This is the second way: a function
that finds it due asks for a reconcile, also where the schedule, its message or the reconcile that it asked
for is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Opening:
    """
    Attributes:
        due: When the waking begins, aware UTC, whole seconds.
        opens: When people come.
    """

    due: datetime
    opens: datetime
