"""
When Karpenter may take nodes of a pool away: as the policy says, with what was learned of the pool. Pure.

Tuning alone writes spec.disruption of a NodePool that exists; onboarding takes it as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from slicewise.kube import json_patch, quantities
from slicewise.kube.objects import spec
from slicewise.kube.quantities import NEVER
from slicewise.kube.ref import Object, ref_of
from slicewise.planning.actions import Action, Patch
from slicewise.planning.outcome import Finding
from slicewise.policy.model import LEARNED, Consolidation, Policy
from slicewise.pools import adopted_settings, layout
from slicewise.pools.startup_history import LEAST, p95
from slicewise.schedule import weekly_hours
from slicewise.tuning.consolidation import startup
from slicewise.tuning.state.pool_state import PoolState

# Where a NodePool names none (NodePool CRD v1).
_KARPENTERS_AFTER = "0s"
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(hours=1)
# Longer than the few minutes that a machine, its driver and a large image take: then models are loaded, and
# a pod that is moved meanwhile begins again.
SLOW_START = timedelta(minutes=10)
# Empty nodes are removed at any hour: that moves no pod.
MOVES_PODS = ("Underutilized", "Drifted")


@dataclass(frozen=True)
class Wanted:
    """
    What spec.disruption of a NodePool shall say, in Karpenter's words, and why.

    Attributes:
        disruption: All of it, where the NodePool is adopted: its owner's, with what the policy writes.
        taken: Of that, what the policy writes, to be saved with the original.
    """

    after: str
    policy: str
    budgets: tuple[Object, ...]
    why: str
    disruption: Mapping[str, Any] | None = None
    taken: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Advice:
    wanted: Wanted
    actions: tuple[Action, ...]
    findings: tuple[Finding, ...]


def advise(policy: Policy, state: PoolState, pods: Iterable[Object], idle: bool, now: datetime) -> Advice:
    """All that a reconcile does about consolidation of one NodePool: learn, set, report."""
    known = startup.learned(state.node_pool, startup.measured(state.claims, pods))
    starts = tuple(timedelta(seconds=seconds) for seconds in known.values())
    found = wanted(policy, state, starts, idle, now)
    return Advice(
        found,
        (*startup.keep(state.node_pool, known), *actions(state, found, now)),
        _slow_start(state, p95(starts)),
    )


def wanted(
    policy: Policy, state: PoolState, startups: Sequence[timedelta], idle: bool, now: datetime
) -> Wanted:
    """
    Args:
        startups: From the request for a node to its first ready pod, of this NodePool.
        idle: The cluster's GPUs do nothing, by its alarm.
    """
    chosen = policy.consolidation
    if adopted_settings.is_adopted(state.node_pool):
        return _beside_theirs(chosen, state, startups, idle, now)
    after, why = _after(chosen, startups)
    if idle and after != NEVER and _span(chosen.idle_after) < _span(after):
        after, why = (
            chosen.idle_after,
            f"idle nodes may be removed after {chosen.idle_after} until their alarm ends",
        )
    budgets, more = _added(chosen, state, now)
    return Wanted(after, chosen.policy.value, (*layout.BUDGETS, *budgets), why + more)


def _added(chosen: Consolidation, state: PoolState, now: datetime) -> tuple[list[dict[str, Any]], str]:
    """Budgets beside those that are there anyway, and what there is to report of them."""
    budgets, why = _hours(chosen, now)
    if state.history.untried is None:
        return budgets, why
    why += f"; one node at a time, since no GPU has run more than {state.history.untried} pods for long yet"
    return [*budgets, layout.ONE_AT_A_TIME], why


def _hours(chosen: Consolidation, now: datetime) -> tuple[list[dict[str, Any]], str]:
    """Budgets of the business hours, and what there is to report of them."""
    hours = chosen.business_hours
    if hours is None:
        return [], ""
    found = weekly_hours.budgets(hours.time_zone, hours.hours, hours.nodes, MOVES_PODS, now)
    why = f"; within {', '.join(hours.hours)} in {hours.time_zone} at most {hours.nodes} nodes with pods go"
    return found, why


def _beside_theirs(
    chosen: Consolidation, state: PoolState, startups: Sequence[timedelta], idle: bool, now: datetime
) -> Wanted:
    """Of an adopted NodePool: only what a person wrote into the policy, over what its owner has."""
    written: dict[str, str] = {}
    why = "it was so when it was adopted, and the policy writes nothing else"
    if "policy" in chosen.written:
        written["consolidationPolicy"] = chosen.policy.value
    if "after" in chosen.written:
        written["consolidateAfter"], why = _after(chosen, startups)
    after = written.get("consolidateAfter") or _their_after(state)
    if idle and "idle_after" in chosen.written and after != NEVER and _span(chosen.idle_after) < _span(after):
        written["consolidateAfter"] = chosen.idle_after
        why = f"idle nodes may be removed after {chosen.idle_after} until their alarm ends"
    budgets, more = _added(chosen, state, now)
    found, taken = adopted_settings.disruption(state.node_pool, written, budgets)
    return Wanted(
        found.get("consolidateAfter", _KARPENTERS_AFTER),
        found.get("consolidationPolicy", ""),
        tuple(found.get("budgets") or ()),
        why + more,
        found,
        taken,
    )


def _their_after(state: PoolState) -> str:
    """What its owner has, also while the policy's is in its place."""
    found = adopted_settings.disruption(state.node_pool, {}, ())[0].get("consolidateAfter", _KARPENTERS_AFTER)
    return found if found == NEVER or quantities.is_duration(found) else _KARPENTERS_AFTER


def _after(chosen: Consolidation, startups: Sequence[timedelta]) -> tuple[str, str]:
    slow = p95(startups)
    if chosen.after != LEARNED:
        why = f"the policy says {chosen.after}"
        if slow and chosen.after != NEVER and _span(chosen.after) < slow:
            why += f", though its nodes take up to {_go_duration(slow)} to start again"
        return chosen.after, why
    if slow is None:
        few = f"{len(startups)} starts are measured, fewer than {LEAST}"
        return chosen.first_after, f"{few}: {chosen.first_after} until then"
    # To keep an idle node for as long as a new one would take to start costs at most twice what it would cost
    # with the future known.
    bounded = min(max(slow, SHORTEST), LONGEST)
    return _go_duration(
        bounded
    ), f"95 of 100 nodes had their first pod ready within {_go_duration(slow)} ({len(startups)} starts)"


def actions(state: PoolState, wanted: Wanted, now: datetime) -> tuple[Action, ...]:
    """Nothing where all of it is there, or while a rollout holds consolidation."""
    live = spec(state.node_pool).get("disruption") or {}
    disruption = wanted.disruption or {
        **live,
        "consolidationPolicy": wanted.policy,
        "consolidateAfter": wanted.after,
        "budgets": [dict(budget) for budget in wanted.budgets],
    }
    if state.rollout:
        return ()
    operations = () if wanted.taken is None else adopted_settings.account(state.node_pool, wanted.taken)
    if _means(live) != _means(disruption):
        operations += json_patch.set_value(state.node_pool, ("spec", "disruption"), disruption)
    if not operations:
        return ()
    return (Patch(ref_of(state.node_pool), operations, _message(state.name, live, wanted), wanted.why),)


def _means(disruption: Object) -> Object:
    """Comparable: 60m and 1h0m0s are one span, and a budget's reasons have no order."""
    after = disruption.get("consolidateAfter", "0s")
    return {
        **disruption,
        "consolidateAfter": after if after == NEVER else _span(after),
        "budgets": [
            {
                **budget,
                "reasons": sorted(budget.get("reasons") or ()),
                "duration": _span(budget.get("duration", "0s")),
            }
            for budget in disruption.get("budgets") or ()
        ],
    }


def _message(name: str, live: Object, wanted: Wanted) -> str:
    before = live.get("consolidateAfter")
    if before != wanted.after:
        return f"let idle nodes of {name} go after {wanted.after} instead of {before}"
    return f"set when nodes of {name} may be disrupted"


def _slow_start(state: PoolState, slow: timedelta | None) -> tuple[Finding, ...]:
    if slow is None or slow < SLOW_START:
        return ()
    return (
        Finding(
            "starts-slowly",
            f"Nodes of NodePool {state.name} take up to {_go_duration(slow)} until their first pod is ready.",
            f'Give their pods the annotation karpenter.sh/do-not-disrupt: "{_go_duration(slow)}": Karpenter '
            "then disrupts none of them for so long after its start. We do not edit your workloads.",
        ),
    )


def _span(text: str) -> timedelta:
    return quantities.duration(text)


def _go_duration(span: timedelta) -> str:
    """Rounded up to whole minutes: "7m", "1h5m"."""
    hours, minutes = divmod(math.ceil(span.total_seconds() / 60), 60)
    return "".join((f"{hours}h" if hours else "", f"{minutes}m" if minutes or not hours else ""))
