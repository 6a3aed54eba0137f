"""What one NodePool adds to a reconcile's plan, and what NodePools must know of one another. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from slicewise.planning.actions import Action, Patch
from slicewise.planning.outcome import Finding


@dataclass(frozen=True)
class PoolPlan:
    """
    What one NodePool adds to the plan; of the classes of a pool that is split, what they add together.

    Attributes:
        name: The NodePool's, or the pool's.
        message: For the reconcile's reason; empty where a person need not read it each time.
        detail: For the record, with the reason also of doing nothing; empty where another plan of the same
            NodePool has it.
        requeue_after: After how long the NodePool is to be seen again; None leaves it to the sweep.
        changing: Its N is being changed; `begins_to_grow` is of a change that begins with this reconcile.
    """

    name: str
    message: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    requeue_after: timedelta | None = None
    changing: bool = False
    begins_to_grow: bool = False

    @property
    def steps(self) -> tuple[Action, ...]:
        """
        Its actions as a part of their own: an edit of one NodePool by another writer is no reason to leave
        out the others.
        """
        return tuple(
            replace(action, part=self.name) if isinstance(action, Patch) else action
            for action in self.actions
        )


@dataclass(frozen=True)
class Shared:
    """
    What NodePools must know of one another, by name.

    Attributes:
        changing: Those whose N is being changed.
        growing: Those of them whose N rises, which only one of a cluster does at a time.
    """

    changing: frozenset[str] = frozenset()
    growing: frozenset[str] = frozenset()

    def after(self, planned: PoolPlan) -> Shared:
        """For the NodePools that come next."""
        name = frozenset({planned.name})
        return Shared(
            self.changing | name if planned.changing else self.changing,
            self.growing | name if planned.begins_to_grow else self.growing,
        )
