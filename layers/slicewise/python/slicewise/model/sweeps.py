"""
When the hourly sweep ran, and what that means for people. Pure.

Times are aware UTC, oldest first: those of the newest KEPT sweeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

EVERY = timedelta(hours=1)
# The scheduler may begin it so much later, and its reconciles are spread over as long again.
SPREAD = timedelta(minutes=15)
KEPT = 48


def noted(sweeps: Sequence[datetime], now: datetime) -> tuple[datetime, ...]:
    return (*sweeps, now)[-KEPT:]


def missed(sweeps: Sequence[datetime], since: datetime, now: datetime) -> int:
    """How many sweeps have asked for a reconcile since then, and long enough ago for it to have ended."""
    return sum(since < at <= now - 2 * SPREAD for at in sweeps)


def is_overdue(sweeps: Sequence[datetime], now: datetime) -> bool:
    """No sweep in two hours. False where none was ever noted: a deployment may be new."""
    return bool(sweeps) and now - sweeps[-1] > 2 * EVERY


def next_attempt(sweeps: Sequence[datetime], now: datetime) -> str:
    """When what was abandoned is tried again, in words."""
    if not sweeps:
        return "next attempt with the hourly sweep"
    if is_overdue(sweeps, now):
        return f"next attempt with the hourly sweep, which has not run since {clock(sweeps[-1])}"
    due = max(sweeps[-1] + EVERY, now)
    return f"next attempt with the hourly sweep at about {clock(due)}"


def clock(at: datetime) -> str:
    return f"{at:%H:%M} UTC"
