"""What a reconcile does about the classes of a pool that is split: decide, move, record, report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from slicewise.kube.labels import ASLEEP, CLASS_LABEL
from slicewise.kube.objects import annotations_of, spec
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import ClusterContents
from slicewise.planning.actions import SetClass
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Classes, MetricsSource, Pool
from slicewise.pools import layout
from slicewise.tuning.classes.annotation import template
from slicewise.tuning.classes.decision import ClassDecision, Recommendation, decided, dumped, loaded
from slicewise.tuning.classes.evidence import class_evidence
from slicewise.tuning.classes.migration import Moves, moves
from slicewise.tuning.state.observation import Observed
from slicewise.tuning.state.pool_plan import PoolPlan
from slicewise.tuning.state.pool_state import PoolState
from slicewise.tuning.usage.history import NOTHING
from slicewise.tuning.usage.owners import topmost_owner_name
from slicewise.tuning.usage.workloads import workload_of


def plan_classes(states: Sequence[PoolState], seen: Observed, now: datetime) -> Iterator[PoolPlan]:
    """One a pool, for those that are split, or whose workloads still have a class from when it was."""
    changing = next((state.name for state in states if state.rollout), "")
    busy = f"N of NodePool {changing} is being changed" if changing else ""
    for pool in seen.policy.pools:
        of_pool = [state for state in states if state.pool.name == pool.name]
        opted_in = [item for item in seen.contents.workloads if layout.chooses(template(item), pool)]
        if pool.classes:
            yield _of_a_split_pool(pool, pool.classes, of_pool, opted_in, seen, busy, now)
        elif left := [item for item in opted_in if layout.class_of(template(item))]:
            frozen = _asleep(of_pool) or busy
            yield _of_a_pool_no_longer_split(pool, seen.cluster.name, left, frozen, now)


def _of_a_split_pool(
    pool: Pool,
    classes: Classes,
    states: Sequence[PoolState],
    opted_in: Sequence[Object],
    seen: Observed,
    busy: str,
    now: datetime,
) -> PoolPlan:
    known, frozen = loaded(seen.recorded, pool.name), _frozen(states, seen)
    decision, problems = known, tuple[Finding, ...]()
    if seen.whole and not frozen:
        source = seen.policy.metrics.source.value
        history = seen.measured.history if seen.measured else NOTHING
        evidence = class_evidence(seen.readings, source, seen.contents, pool, now, history)
        decision, problems = decided(pool, known, evidence, now), evidence.problems
    why = frozen or busy or ("it is decided again first" if decision.is_due(now) else "")
    found = moves(decision, seen.cluster.name, opted_in, classes.moves_a_day, why, now)
    detail = dumped(decision, classes.moves_a_day, frozen, found.notes)
    findings = (*problems, *found.findings, *_nowhere(seen.contents, pool))
    return _plan(decision, found, detail, findings)


def _plan(
    decision: ClassDecision, found: Moves, detail: Mapping[str, Any], findings: tuple[Finding, ...]
) -> PoolPlan:
    actions = (*found.notices, *found.actions)
    return PoolPlan(decision.pool, _message(decision, found), detail, actions, findings, found.requeue_after)


def _of_a_pool_no_longer_split(
    pool: Pool, cluster: str, left: Sequence[Object], frozen: str, now: datetime
) -> PoolPlan:
    """Nodes without classes take no pod that selects one."""
    home = tuple(
        Recommendation(
            ref_of(item),
            spec(item).get("replicas", 1),
            layout.class_of(template(item)) or 1,
            1,
            "its pool is no longer split",
        )
        for item in left
    )
    decision = ClassDecision(pool.name, (), now, recommendations=home)
    found = moves(decision, cluster, left, Classes.moves_a_day, frozen, now, split=False)
    return _plan(decision, found, {}, found.findings)


def _frozen(states: Sequence[PoolState], seen: Observed) -> str:
    """Why nothing is decided; empty where it is."""
    if seen.policy.metrics.source is MetricsSource.NONE:
        return "the policy names no source of metrics"
    if seen.metrics_error:
        return "metrics cannot be read"
    return _asleep(states)


def _asleep(states: Iterable[PoolState]) -> str:
    asleep = any(ASLEEP in annotations_of(state.node_pool) for state in states)
    return "it is asleep, and an idle night says nothing about a day's load" if asleep else ""


def _nowhere(contents: ClusterContents, pool: Pool) -> Iterator[Finding]:
    """Pods that wait for a class that the pool does not have."""
    sizes = pool.classes.sizes if pool.classes else ()
    waiting: dict[str, int] = {}
    for pod in contents.pods:
        size = layout.class_of(spec(pod))
        if not spec(pod).get("nodeName") and layout.chooses(spec(pod), pool) and size and size not in sizes:
            above = topmost_owner_name(pod)
            waiting[f"{workload_of(pod)}{f' of {above}' if above else ''}"] = size
    for workload, size in sorted(waiting.items()):
        yield Finding(
            "class-not-there",
            f"Pods of {workload} wait for class {size}, which pool {pool.name} does not have.",
            f"Write one of {', '.join(map(str, sizes))} as {CLASS_LABEL} in its nodeSelector.",
        )


def _message(decision: ClassDecision, found: Moves) -> str:
    if moved := [action for action in found.actions if isinstance(action, SetClass)]:
        return f"pool {decision.pool}: {moved[0]}"
    count = len(decision.changes)
    if not count:
        return ""
    total = len(decision.recommendations)
    return f"pool {decision.pool}: {count} of {total} workloads belong in another class"
