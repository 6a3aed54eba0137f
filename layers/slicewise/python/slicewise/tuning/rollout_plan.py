"""A change of N that is under way: how its canary does, and so its next step. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from slicewise.kube.objects import name
from slicewise.policy.model import MetricsSource, Policy
from slicewise.pools import layout
from slicewise.tuning.rollout import release as rollout_release
from slicewise.tuning.rollout import stages as rollout_stages
from slicewise.tuning.rollout.blockers import blocking
from slicewise.tuning.rollout.context import RAREST, Advance
from slicewise.tuning.rule.promises import current_violations, is_measured
from slicewise.tuning.state import whole_gpus
from slicewise.tuning.state.observation import Observed
from slicewise.tuning.state.pool_plan import PoolPlan
from slicewise.tuning.state.pool_state import PoolState, Rollout

# Without measurements a canary proves nothing; this soon they are asked for again.
_BLIND_WAIT = timedelta(minutes=1)
# So long a rollout may hold consolidation while nothing is known of it: a canary is ended then, and after it
# consolidation is released until the rollout goes on.
_BLIND_LONGEST = timedelta(hours=1)
_MEASURED_WITHIN = timedelta(minutes=30)


def advance_rollout(
    state: PoolState, change: Rollout, seen: Observed, policy: Policy, now: datetime
) -> PoolPlan:
    """Its next step; back, where the new N does harm; none, while it is not known whether it does."""
    began = change.canary.since if change.canary else change.since
    asking = whole_gpus.known(state, seen.of_several_gpus, seen.recorded_of(state.name))
    blind = _blind(state, change, seen, policy, now) if change.grows else ""
    harm = _harm(state, change, seen, began, now) if change.grows else []
    if change.grows and change.from_ == 1 and asking:
        harm = [whole_gpus.why_alone(asking, seen.contents), *harm]
    if blind and not harm:
        tries = state.keys == (layout.config_key(state.pool.sharing, change.from_),)
        overdue = now - began >= policy.tuning.canary + _BLIND_LONGEST
        if not (tries and overdue):
            return _waiting(state, change, seen, blind, now - began, overdue, now)
        harm = [f"{blind}, and a canary that is not measured proves nothing"]
    blockers = blocking(seen.contents, state, now)
    settings = rollout_stages.RolloutSettings(canary=policy.tuning.canary)
    advance = rollout_stages.advance(state, change, harm, blockers, settings, now)
    refused = whole_gpus.findings(state, asking, seen.contents)
    return PoolPlan(
        state.name,
        f"{state.name}: N {change.other}→{change.target}: {advance.message}",
        {**seen.recorded_of(state.name), **_detail(state, change, advance)},
        advance.actions,
        (*state.findings, *advance.findings, *refused),
        advance.requeue_after,
        changing=not advance.finished,
    )


def _waiting(
    state: PoolState,
    change: Rollout,
    seen: Observed,
    blind: str,
    lasts: timedelta,
    overdue: bool,
    now: datetime,
) -> PoolPlan:
    """Consolidation is released where it was held for long."""
    message = f"{state.name}: N {change.from_}→{change.to} waits: {blind}"
    wait = max(_BLIND_WAIT, min(lasts / 10, RAREST))
    others = {name(pool) for pool in seen.contents.node_pools} - {state.name}
    restored = rollout_release.release_holds(seen.contents, others, blind, now) if overdue else ()
    detail = {**seen.recorded_of(state.name), "rollout": message}
    return PoolPlan(state.name, message, detail, restored, requeue_after=wait, changing=True)


def _detail(state: PoolState, change: Rollout, advance: Advance) -> dict[str, Any]:
    detail = {
        "node_pool": state.name,
        "n": state.n,
        "after": change.target,
        "reason": change.reason,
        "rollout": advance.message,
        "since": change.since.isoformat(timespec="seconds"),
    }
    if advance.failed:
        detail["failed"] = advance.failed
    if change.canary and change.canary.empty:
        detail["canary"] = f"empty: no GPU of node {change.canary.node} ran more pods than before for long"
    return detail


def _blind(state: PoolState, change: Rollout, seen: Observed, policy: Policy, now: datetime) -> str:
    """Why it is not known how the canary does; empty where it is known, or need not be yet."""
    if policy.metrics.source is MetricsSource.NONE:
        return ""
    if seen.metrics_error:
        return "metrics cannot be read"
    tried = change.canary and now - change.canary.since >= policy.tuning.canary
    if not (change.canary and tried) or state.keys != (layout.config_key(state.pool.sharing, change.from_),):
        return ""
    lately = now - max(policy.tuning.canary, _MEASURED_WITHIN)
    if is_measured(seen.readings, change.canary.node, lately):
        return ""
    return f"nothing was measured of the canary, node {change.canary.node}"


def _harm(state: PoolState, change: Rollout, seen: Observed, since: datetime, now: datetime) -> list[str]:
    """
    What the new N has done shows on the nodes that have it. On the canary each end of a container counts; in
    a whole pool some always end.
    """
    key = layout.config_key(state.pool.sharing, change.to)
    nodes = {node.name for node in state.nodes if node.key == key}
    canary = nodes & {change.canary.node} if change.canary else set()
    found = current_violations(state, seen, since, now, canary) if canary else ()
    if nodes:
        found += tuple(one for one in current_violations(state, seen, since, now) if one.node in nodes)
    return list(dict.fromkeys(one.message for one in found))
