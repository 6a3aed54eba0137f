"""
What N a NodePool should have, and whether to change it now: the rule's choice, and control's step. Pure.

The rule is asked twice. By what pods may use (tuning/usage/evidence.py, the upper reading) it says how far N
may rise; by what they use for certain, how far N must fall. The second is never below the first, and N stays
where it lies between them: what was not measured moves it in neither direction.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from slicewise.kube import quantities
from slicewise.kube.objects import spec, status
from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents
from slicewise.policy.model import Policy
from slicewise.tuning.rule.promises import PromiseViolation
from slicewise.tuning.rule.replicas import Choice, Host, TuningPolicy, choose_replicas
from slicewise.tuning.rule.stabilization import Situation, Step
from slicewise.tuning.rule.stabilization import decide as next_step
from slicewise.tuning.state.pool_state import NodeState, PoolState, Tuning
from slicewise.tuning.usage.evidence import Grade, Interval, PodUse
from slicewise.tuning.usage.pool_usage import PoolUse
from slicewise.tuning.usage.quality import FEWER_DAYS, SOURCE_GAP

# What broke before has been answered, or has ended; and a slowdown is the mean of a day.
RECENT = timedelta(days=1)
_MOST_BROKEN = 20  # a thousand nodes may break one promise
# What a person should know, but which leaves what was measured as good as it is.
_HARMLESS = frozenset({"pods-not-told-apart", FEWER_DAYS, SOURCE_GAP})

# A day has one daily peak.
_TRIED_FOR = timedelta(days=1)


@dataclass(frozen=True)
class Decision:
    """
    One decision about one NodePool.

    Attributes:
        choice: The rule's: by what pods may use, or, where N must fall, by what they use for certain; None
            where nothing was measured.
        target: What N should be by the evidence there is.
        allowed: What N may rise to, and what it must fall to; N stays where it lies between them.
        doubt: Why the evidence allows no higher N; empty where it does.
        history: What control shall remember.
    """

    state: PoolState
    step: Step
    target: int
    history: Tuning
    choice: Choice | None
    grade: Grade
    allowed: Interval | None = None
    doubt: str = ""
    broken: tuple[PromiseViolation, ...] = ()

    @property
    def changes(self) -> bool:
        return self.step.after != self.state.n

    @property
    def message(self) -> str:
        if self.changes:
            return f"{self.state.name}: N {self.step.before}→{self.step.after}: {self.step.reason}"
        return f"{self.state.name}: N stays {self.state.n}: {self.step.reason}"


def decide(
    state: PoolState,
    use: PoolUse,
    broken: Sequence[PromiseViolation],
    contents: ClusterContents,
    policy: Policy,
    now: datetime,
    frozen: str = "",
    alone: str = "",
) -> Decision:
    """
    Args:
        broken: Since the last change of N, and within the last day.
        frozen: Why N may not change at all.
        alone: Why N may not leave 1.
    """
    wanted = _target(state, use, contents, policy)
    target, doubt = wanted.target, wanted.doubt
    history = state.history if frozen else state.history.seen(state.n, target, now)
    history = _tried_by_now(history, state, policy, now)
    situation = Situation(
        target=target,
        slots_in_use=max(map(_slots_a_gpu, state.nodes), default=0),
        demand=_demand(state),
        breach=broken[0].breach if broken else None,
        estimated=bool(doubt),
        frozen=frozen,
    )
    step = next_step(state.n, situation, history, policy.tuning, now)
    if alone and step.before == 1 < step.after:
        step = Step(1, 1, alone)
    if doubt and target >= state.n and not (frozen or alone or step.after != state.n):
        step = Step(state.n, state.n, doubt)
    return Decision(
        state, step, target, history, wanted.choice, use.grade, wanted.allowed, doubt, tuple(broken)
    )


def _tried_by_now(history: Tuning, state: PoolState, policy: Policy, now: datetime) -> Tuning:
    """What no canary has tried, consolidation tries: until a GPU had more than before, a day at most."""
    if history.untried is None:
        return history
    since = [begun for node in state.nodes if (begun := node.holds_more_since(history.untried))]
    is_tried = bool(since) and now - min(since) >= policy.tuning.canary
    is_over = history.changed_at is None or now - history.changed_at >= _TRIED_FOR
    return replace(history, untried=None) if is_tried or is_over else history


def _slots_a_gpu(node: NodeState) -> int:
    """It is not known which GPU has which pod: as if they were spread evenly."""
    return math.ceil(node.slots_in_use / max(1, node.gpus))


@dataclass(frozen=True)
class _Target:
    """The N that the evidence supports, and why it does not support a higher one."""

    target: int
    choice: Choice | None
    allowed: Interval | None = None
    doubt: str = ""


def _choose(state: PoolState, pods: Sequence[PodUse], contents: ClusterContents, highest: int) -> Choice:
    return choose_replicas(
        state.name,
        pods,
        state.gpu.memory_mib,
        host=host(state, contents),
        current=state.n,
        policy=TuningPolicy(slowdown_budget=state.pool.slowdown_budget, max_replicas=highest),
        engines=state.gpu.video_engines,
    )


def _target(state: PoolState, use: PoolUse, contents: ClusterContents, policy: Policy) -> _Target:
    highest = state.pool.replicas.max if state.pool.replicas else state.n
    measured = [pod for pod in use.pods if pod.has_history]
    may = _choose(state, use.pods, contents, highest) if measured else None
    if state.n > highest:
        return _Target(highest, may)
    if may is None:
        return _Target(state.n, None, doubt="no pod has a full day of measurements")
    must = _choose(state, [pod.lower for pod in use.pods], contents, highest)
    allowed = Interval(may.target, max(may.target, must.target))
    if allowed.upper < state.n:
        return _Target(must.target, must, allowed)
    unknown = len(use.pods) - len(measured)
    if may.target <= state.n and unknown:
        doubt = f"{unknown} of {len(use.pods)} pods have no full day of measurements"
        return _Target(state.n, may, allowed, doubt)
    doubt = _doubt(use, measured, policy)
    if may.target < state.n and not doubt:
        doubt = (
            f"what was measured allows {allowed.upper}, and with what was not measured pods may need "
            f"{allowed.lower}"
        )
    return _Target(max(may.target, state.n), may, allowed, doubt)


def _doubt(use: PoolUse, measured: Sequence[PodUse], policy: Policy) -> str:
    troubles = [problem.message for problem in use.problems if problem.code not in _HARMLESS]
    if troubles:
        return f"the evidence is incomplete, which never raises N: {troubles[0]}"
    days = policy.tuning.minimum_history / timedelta(days=1)
    shortest = min(len(pod.days) for pod in measured)
    if shortest < days:
        return f"{shortest} days are measured, fewer than the policy's {days:g}"
    estimated = sum(pod.grade is Grade.DEVICE for pod in measured)
    if estimated:
        return (
            f"whole GPUs are measured, not pods: what {estimated} of {len(measured)} pods need alone is not "
            "known until each workload has had a GPU to itself for a day"
        )
    return ""


def _demand(state: PoolState) -> bool:
    if state.pending:
        return True
    return nodes_needed(state, state.n + 1) < nodes_needed(state, state.n)


def nodes_needed(state: PoolState, n: int) -> int:
    """Machines of the pool's smallest kind that its slices in use would take at `n`."""
    slots = sum(node.slots_in_use for node in state.nodes)
    gpus = min((node.gpus for node in state.nodes if node.gpus), default=1)
    return math.ceil(slots / (max(1, n) * gpus))


def host(state: PoolState, contents: ClusterContents) -> Host:
    """
    What the scarcest machine has for each of its GPUs, and what a pod of the pool requests on average.

    What daemons on the node take is not known here, so this bound is rather too high.
    """
    pods = [pod for node in state.nodes for pod in contents.pods_by_node.get(node.name, ())]
    return host_of([(node.node, node.gpus) for node in state.nodes], pods)


def host_of(machines: Sequence[tuple[Object, int]], pods: Sequence[Object]) -> Host:
    """The same of any Nodes, each with how many GPUs it has, and the pods on them that ask for GPUs."""
    if not machines or not pods:
        return Host()

    def least(resource: str) -> float:
        return min((_allocatable(node, resource) / gpus for node, gpus in machines if gpus), default=math.inf)

    def mean(resource: str) -> float:
        return sum(_request(pod, resource) for pod in pods) / len(pods)

    mebibyte = 1024 * 1024
    return Host(
        vcpu=least("cpu"),
        memory_mib=least("memory") / mebibyte,
        pods=least("pods"),
        pod_vcpu=mean("cpu"),
        pod_memory_mib=mean("memory") / mebibyte,
    )


def _allocatable(node: Object, resource: str) -> float:
    value = (status(node).get("allocatable") or {}).get(resource)
    return float(quantities.number(value)) if value is not None else math.inf


def _request(pod: Object, resource: str) -> float:
    asked = 0.0
    for container in spec(pod).get("containers") or ():
        resources = container.get("resources") or {}
        value = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.get(resource)
        asked += float(quantities.number(value)) if value is not None else 0.0
    return asked


# For people and the record


def details(decision: Decision, now: datetime) -> dict[str, Any]:
    """The decision with its inputs, as JSON values."""
    state, choice, step = decision.state, decision.choice, decision.step
    detail: dict[str, Any] = {
        "node_pool": state.name,
        "pool": state.pool.name,
        "gpu": state.gpu.name,
        "sharing": state.pool.sharing.value,
        "n": state.n,
        "target": decision.target,
        "after": step.after,
        "reason": step.reason,
        "decided_at": now.isoformat(timespec="seconds"),
        "evidence": decision.grade.value,
        "pending": state.pending,
        "slots_in_use": sum(node.slots_in_use for node in state.nodes),
        "nodes": len(state.nodes),
        "nodes_needed": nodes_needed(state, step.after),
        "slowdown_budget": state.pool.slowdown_budget,
        "broken": [broken.message for broken in decision.broken[:_MOST_BROKEN]],
        "history": json.loads(decision.history.dumped()),
    }
    if decision.doubt:
        detail["doubt"] = decision.doubt
    if decision.allowed:
        detail["allowed"] = [decision.allowed.lower, decision.allowed.upper]
    return detail | _of_choice(choice) if choice else detail


def _of_choice(choice: Choice) -> dict[str, Any]:
    return {
        "bounds": [
            {"what": bound.what, "n": bound.n, "says": bound.arithmetic, "next": bound.next_arithmetic}
            for bound in choice.bounds
        ],
        "binding": choice.binding,
        "rule": choice.target,
        "slowdown": round(choice.slowdown_mean, 3) if math.isfinite(choice.slowdown_mean) else None,
        "slow_share": round(choice.slow_share, 4),
        "pods": choice.pods,
        "gpus": list(choice.gpus),
        "confidence": choice.confidence,
        "would_change": choice.would_change,
        "advice": choice.advice,
    }
