"""
What a reconcile does with one NodePool: the first rule that applies decides, also to do nothing. Pure.

While a NodePool has a rollout, its next step is all that happens to it. Else its N is decided on, its
consolidation set, and what other writers edited reverted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

from slicewise.kube import json_patch
from slicewise.kube.labels import ASLEEP, TUNING_ANNOTATION
from slicewise.kube.objects import annotations_of, status
from slicewise.kube.ref import ref_of
from slicewise.planning.actions import Action, Patch
from slicewise.planning.outcome import Finding
from slicewise.policy.model import MetricsSource, Mode
from slicewise.tuning import alarms, drift, rollout_plan
from slicewise.tuning.consolidation import plan as consolidation
from slicewise.tuning.rollout import clock_skew
from slicewise.tuning.rollout import release as rollout_release
from slicewise.tuning.rollout import stages as rollout_stages
from slicewise.tuning.rule.decision import RECENT, Decision, decide, details
from slicewise.tuning.rule.promises import current_violations
from slicewise.tuning.state import whole_gpus
from slicewise.tuning.state.annotations import TUNING_PATH
from slicewise.tuning.state.observation import Observed
from slicewise.tuning.state.pool_plan import PoolPlan, Shared
from slicewise.tuning.state.pool_state import PoolState, Tuning, read_tuning
from slicewise.tuning.usage.history import NOTHING
from slicewise.tuning.usage.pool_usage import STEP, pool_use

_SOON = timedelta(seconds=2)
_WHILE_ASLEEP = timedelta(minutes=15)
_MOST_SAID = 5

Rule = Callable[[PoolState, Observed, Shared, datetime], PoolPlan | None]


def plan_pool(state: PoolState, seen: Observed, shared: Shared, now: datetime) -> PoolPlan:
    """
    Args:
        shared: With what was planned for the NodePools before this one.
    """
    found = (rule(state, seen, shared, now) for rule in RULES)
    # The last rule applies to all.
    return next(planned for planned in found if planned)


def asleep(state: PoolState, seen: Observed, shared: Shared, now: datetime) -> PoolPlan | None:
    """It has to come back as it was, and an idle night says nothing about a day's load."""
    until = annotations_of(state.node_pool).get(ASLEEP)
    if until is None:
        return None
    message = f"{state.name} is asleep until {until}; nothing is changed"
    detail = {"node_pool": state.name, "n": state.n, "reason": message}
    # Until a change that the night interrupted goes on, its nodes are not consolidated: by the next sweep
    # they would have stood empty for an hour of the day.
    return PoolPlan(state.name, "", detail, requeue_after=_WHILE_ASLEEP if state.rollout else None)


def clamp_future_timestamps(
    state: PoolState, seen: Observed, shared: Shared, now: datetime
) -> PoolPlan | None:
    """By a time that has not come yet nothing else could be decided."""
    actions, findings = clock_skew.clamp_future_timestamps(state, now)
    if not actions or seen.policy.mode is not Mode.ACT:
        return None
    message = f"{state.name}: times that have not come yet are put back to now"
    known = {**seen.recorded_of(state.name), "node_pool": state.name, "reason": message}
    return PoolPlan(state.name, message, known, actions, findings, _SOON, changing=bool(state.rollout))


def advance_rollout(state: PoolState, seen: Observed, shared: Shared, now: datetime) -> PoolPlan | None:
    if state.rollout is None:
        return None
    return rollout_plan.advance_rollout(state, state.rollout, seen, seen.policy, now)


# A NodePool whose N is not being changed


def _with_upkeep(rule: Rule) -> Rule:
    """Beside its N: consolidation, what other writers edited, and nodes that a rollout left cordoned."""

    @wraps(rule)
    def with_upkeep(state: PoolState, seen: Observed, shared: Shared, now: datetime) -> PoolPlan | None:
        planned = rule(state, seen, shared, now)
        return planned if planned is None or planned.changing else _kept_up(planned, state, seen, now)

    return with_upkeep


def _kept_up(planned: PoolPlan, state: PoolState, seen: Observed, now: datetime) -> PoolPlan:
    refused = whole_gpus.findings(state, _asking(state, seen), seen.contents)
    on_claims = (status(claim).get("nodeName") or "" for claim in state.claims)
    pods = [pod for node in on_claims if node for pod in seen.pods_on.get(node, ())]
    advice = consolidation.advise(seen.policy, state, pods, alarms.idle_now(seen.alarms), now)
    repair = drift.repair(state, seen.policy, now)
    left = rollout_release.uncordon(seen.contents, {state.name}, "no change of N is under way", now)
    consolidated = {"after": advice.wanted.after, "why": advice.wanted.why}
    return replace(
        planned,
        detail={**planned.detail, "consolidation": consolidated},
        actions=(*planned.actions, *repair.actions, *left, *advice.actions),
        findings=(*state.findings, *planned.findings, *refused, *repair.findings, *advice.findings),
    )


def _asking(state: PoolState, seen: Observed) -> tuple[str, ...]:
    """Pods that request more than one GPU."""
    return whole_gpus.known(state, seen.of_several_gpus, seen.recorded_of(state.name))


def _bare(state: PoolState) -> dict[str, Any]:
    return {"node_pool": state.name, "pool": state.pool.name, "gpu": state.gpu.name, "n": state.n}


@_with_upkeep
def without_replicas(state: PoolState, seen: Observed, shared: Shared, now: datetime) -> PoolPlan | None:
    if state.pool.sharing.has_replicas:
        return None
    reason = f"there is no N to choose: its pool shares by {state.pool.sharing}"
    return PoolPlan(state.name, "", {**_bare(state), "reason": reason})


@_with_upkeep
def fixed_class(state: PoolState, seen: Observed, shared: Shared, now: datetime) -> PoolPlan | None:
    size = state.pool.size
    if not size:
        return None
    broken = current_violations(state, seen, now - RECENT, now) if seen.whole else ()
    reason = f"it is class {size} of pool {state.pool.name}: {_pods(size)} a GPU, always"
    message = [one.message for one in broken[:_MOST_SAID]]
    return PoolPlan(state.name, "", {**_bare(state), "reason": reason, "broken": message})


@_with_upkeep
def without_measurements(state: PoolState, seen: Observed, shared: Shared, now: datetime) -> PoolPlan | None:
    if seen.whole:
        return None
    not_yet = {**_bare(state), "reason": "it is decided on with the next measurements"}
    return PoolPlan(state.name, "", seen.recorded_of(state.name) or not_yet)


@_with_upkeep
def choose_replicas(state: PoolState, seen: Observed, shared: Shared, now: datetime) -> PoolPlan | None:
    is_enforced, asking = seen.policy.mode is Mode.ACT, _asking(state, seen)
    if not is_enforced:
        state = replace(state, history=_recorded_history(state, seen))
    decision, problems = _decision(state, seen, asking, now)
    fields = details(decision, now)
    if asking:
        fields |= {"asks_for_more": list(asking[:_MOST_SAID]), "lets_them_run": whole_gpus.what_helps(state)}
    memory = _memory(state, decision) if is_enforced else ()
    planned = PoolPlan(state.name, decision.message, fields, memory, problems)
    return _changed(planned, state, decision, shared, now) if decision.changes else planned


def _decision(
    state: PoolState, seen: Observed, asking: tuple[str, ...], now: datetime
) -> tuple[Decision, tuple[Finding, ...]]:
    """With what is wrong with what was measured."""
    policy, contents = seen.policy, seen.contents_of(state.name)
    history = seen.measured.history if seen.measured else NOTHING
    use = pool_use(seen.readings, policy.metrics.source.value, contents, now, state.name, history)
    since = now - RECENT
    if state.history.changed_at:
        # The step in which N changed measured the old one, too.
        since = max(since, state.history.changed_at + STEP)
    decision = decide(
        state,
        use,
        current_violations(state, seen, since, now),
        contents,
        policy,
        now,
        frozen=_frozen(seen),
        alone=whole_gpus.why_alone(asking, seen.contents) if state.n == 1 else "",
    )
    return decision, () if seen.metrics_error else use.problems


def _changed(
    planned: PoolPlan, state: PoolState, decision: Decision, shared: Shared, now: datetime
) -> PoolPlan:
    """With the change begun, unless another NodePool grows, or it cannot be begun now."""
    grows = decision.step.after > state.n
    if grows and shared.growing:
        message = f"N may become {decision.step.after} once no other NodePool grows"
        return replace(
            planned, message=f"{state.name}: {message}", detail={**planned.detail, "reason": message}
        )
    begun = rollout_stages.begin(state, decision.step.after, decision.step.reason, now)
    planned = replace(planned, findings=(*planned.findings, *begun.findings))
    if not begun.actions:
        detail = {**planned.detail, "reason": begun.message}
        return replace(planned, message=f"{state.name}: {begun.message}", detail=detail)
    return replace(
        planned,
        detail={**planned.detail, "rollout": begun.message},
        actions=begun.actions,
        requeue_after=begun.requeue_after,
        changing=True,
        begins_to_grow=grows,
    )


def _pods(count: int) -> str:
    return f"{count} pod{'s' if count > 1 else ''}"


def _recorded_history(state: PoolState, seen: Observed) -> Tuning:
    """
    A policy that only recommends writes nothing into the cluster, so the previous record has how long which
    target was stable.
    """
    text = json.dumps(seen.recorded_of(state.name).get("history", {}))
    metadata = {"name": state.name, "annotations": {TUNING_ANNOTATION: text}}
    return read_tuning({"metadata": metadata})[0]


def _frozen(seen: Observed) -> str:
    if seen.policy.metrics.source is MetricsSource.NONE:
        return "the policy names no source of metrics"
    return "metrics cannot be read" if seen.metrics_error else ""


def _memory(state: PoolState, decision: Decision) -> tuple[Action, ...]:
    """Since when another N has been the target is saved where N is; written only when it changes."""
    if decision.history == state.history:
        return ()
    operations = json_patch.set_value(state.node_pool, TUNING_PATH, decision.history.dumped())
    message = f"remember since when N should be {decision.target} for NodePool {state.name}"
    if decision.target == state.n:
        message = f"remember that N of NodePool {state.name} is right"
    return (Patch(ref_of(state.node_pool), operations, message, decision.step.reason),)


RULES: tuple[Rule, ...] = (
    asleep,
    clamp_future_timestamps,
    advance_rollout,
    without_replicas,
    fixed_class,
    without_measurements,
    choose_replicas,
)
