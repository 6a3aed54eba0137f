"""
When a cluster that sleeps must be awake again: a value of its own, kept beside what sleeps.

The schedule (ports.Schedules) asks for a look at the same moment. This is the second way: whoever finds it
due asks for a look, also where the schedule, its message or the pass that it asked for is lost.
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
