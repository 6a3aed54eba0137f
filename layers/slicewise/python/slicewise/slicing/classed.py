"""What a pass does about the classes of a pool that is split: decide, keep, tell. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from slicewise import layout
from slicewise.objects import annotations
from slicewise.policy import MetricsSource, Policy, Pool
from slicewise.slicing.class_evidence import class_evidence
from slicewise.slicing.classing import ClassDecision, decided, dumped, loaded
from slicewise.slicing.parts import Part
from slicewise.slicing.pool_state import PoolState
from slicewise.slicing.world import TuningWorld


def about_classes(
    pool: Pool, states: Sequence[PoolState], world: TuningWorld, policy: Policy, now: datetime
) -> Part:
    """`states` are those of the pool's NodePools."""
    assert pool.classes and world.contents
    known = loaded(world.known, pool.name)
    frozen = _frozen(states, world, policy)
    if frozen or not world.whole:
        return Part("", dumped(known, pool.classes.moves_a_day, frozen))
    source = policy.metrics.source.value
    evidence = class_evidence(world.series, source, world.contents, pool, now)
    decision = decided(pool, known, evidence, now)
    return Part(_says(decision), dumped(decision, pool.classes.moves_a_day), findings=evidence.problems)


def _frozen(states: Sequence[PoolState], world: TuningWorld, policy: Policy) -> str:
    """Why nothing is decided; empty where it is."""
    if policy.metrics.source is MetricsSource.NONE:
        return "the policy names no source of metrics"
    if world.series_error:
        return "metrics cannot be read"
    if any(layout.ASLEEP in annotations(state.node_pool) for state in states):
        return "it is asleep, and an idle night says nothing about a day's load"
    return ""


def _says(decision: ClassDecision) -> str:
    count = len(decision.changes)
    if not count:
        return ""
    total = len(decision.recommendations)
    return f"pool {decision.pool}: {count} of {total} workloads belong in another class"
