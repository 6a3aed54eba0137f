"""
A change of N in a live NodePool, without a node replaced while growing or a pod killed while shrinking. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from slicewise.actions import Action, Finding
from slicewise.slicing.pool_state import PoolState


@dataclass(frozen=True)
class RolloutSettings:
    """
    Attributes:
        canary: How long one node must do well with the new N before the others get it.
        batch_share: Share of a pool's nodes whose device plugin may restart at the same time.
        settle: How long others (Karpenter, the scheduler) may take to see what we wrote.
        allocatable_timeout: The longest that a relabelled node may take to offer its new slices.
    """

    canary: timedelta = timedelta(minutes=30)
    batch_share: float = 0.1
    settle: timedelta = timedelta(seconds=15)
    allocatable_timeout: timedelta = timedelta(minutes=5)


@dataclass(frozen=True)
class Advance:
    """
    Attributes:
        says: Where the change stands, in one sentence.
        wait: When to look again.
        failed: Why a canary was reverted.
    """

    actions: tuple[Action, ...]
    says: str
    wait: timedelta | None
    findings: tuple[Finding, ...] = ()
    finished: bool = False
    failed: str = ""


def begin(state: PoolState, target: int, reason: str, now: datetime) -> Advance:
    """Start to change N of a NodePool; where it cannot be done now, a finding says why."""
    raise NotImplementedError


def advance(
    state: PoolState,
    broken: Sequence[str],
    blockers: Sequence[Finding],
    settings: RolloutSettings,
    now: datetime,
) -> Advance:
    """
    The next actions of a change that is under way, from what is there.

    Args:
        state: With a rollout.
        broken: Promises broken on the canary or in the pool since the change began, in words.
        blockers: What keeps Karpenter from replacing nodes.
    """
    raise NotImplementedError
