"""What one NodePool adds to a pass's plan, and what every such part reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from slicewise.planning.actions import Action
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy
from slicewise.tuning.rule.promises import Broken, broken
from slicewise.tuning.rule.replicas import TuningPolicy
from slicewise.tuning.state.observation import Observed
from slicewise.tuning.state.pool_state import PoolState


@dataclass(frozen=True)
class Part:
    """
    What one NodePool adds to the plan.

    Attributes:
        changing: Its N is being changed; `begins_to_grow` is of a change that begins with this pass.
    """

    says: str
    detail: Mapping[str, Any]
    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    wait: timedelta | None = None
    changing: bool = False
    begins_to_grow: bool = False


def known_before(seen: Observed, state: PoolState) -> dict[str, Any]:
    """The decision as the record before told it."""
    found = next((one for one in seen.known if one.get("node_pool") == state.name), {})
    return {key: value for key, value in found.items() if key not in ("rollout", "since", "failed", "canary")}


def broken_now(
    state: PoolState,
    seen: Observed,
    policy: Policy,
    since: datetime,
    now: datetime,
    nodes: set[str] | None = None,
) -> tuple[Broken, ...]:
    return broken(
        seen.contents_of(state.name),
        seen.readings,
        state.name,
        since,
        now,
        nodes=nodes,
        memory_bound_mib=(1 - TuningPolicy.memory_headroom) * state.gpu.memory_mib,
        slowdown_budget=state.pool.slowdown_budget,
        failed_pods=seen.contents.failed_pods,
    )
