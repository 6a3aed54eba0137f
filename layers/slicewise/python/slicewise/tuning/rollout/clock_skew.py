"""
Times in our annotations that have not come yet: a clock that was wrong, or a person's slip of the pen. Pure.

What waits for half an hour since then would wait until then. They are clamped to now, once, and reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from slicewise.kube.json_patch import annotation_path, set_value
from slicewise.kube.labels import (
    CHANGED_ANNOTATION,
    CORDONED_ANNOTATION,
    GIVEN_UP_ANNOTATION,
    ROLLOUT_ANNOTATION,
    TUNING_ANNOTATION,
    WAITED_ANNOTATION,
)
from slicewise.kube.ref import Object, ref_of
from slicewise.planning.actions import Action, Patch
from slicewise.planning.outcome import Finding
from slicewise.tuning.state.annotations import marked_at
from slicewise.tuning.state.pool_state import PoolState, Rollout, Tuning, stamp

Moment = TypeVar("Moment", datetime, datetime | None)

# Clocks of machines differ by seconds.
_SKEW = timedelta(minutes=5)
_MARKS = (
    CHANGED_ANNOTATION,
    CORDONED_ANNOTATION,
    WAITED_ANNOTATION,
    GIVEN_UP_ANNOTATION,
)


def clamp_future_timestamps(
    state: PoolState, now: datetime
) -> tuple[tuple[Action, ...], tuple[Finding, ...]]:
    """Nothing where all times are past. Once it is carried out the NodePool is read again."""
    found = [(state.node_pool, annotation, text) for annotation, text in _of_pool(state, now)]
    items = (
        *(node.node for node in state.nodes),
        *state.claims,
        *state.overlays,
    )
    found += [
        (item, annotation, stamp(now) or "")
        for item in items
        for annotation in _MARKS
        if _is_future(marked_at(item, annotation), now)
    ]
    return (
        tuple(_put_back(*one) for one in found),
        tuple(_clamped(item, annotation) for item, annotation, _ in found),
    )


def _of_pool(state: PoolState, now: datetime) -> Iterator[tuple[str, str]]:
    if state.rollout and (rollout := _rollout(state.rollout, now)) != state.rollout:
        yield ROLLOUT_ANNOTATION, rollout.dumped()
    if (history := _history(state.history, now)) != state.history:
        yield TUNING_ANNOTATION, history.dumped()


def _rollout(rollout: Rollout, now: datetime) -> Rollout:
    canary = rollout.canary
    return replace(
        rollout,
        since=_past(rollout.since, now),
        canary=replace(canary, since=_past(canary.since, now)) if canary else None,
        narrowed=_past(rollout.narrowed, now),
    )


def _history(history: Tuning, now: datetime) -> Tuning:
    return replace(
        history,
        changed_at=_past(history.changed_at, now),
        above_since=_past(history.above_since, now),
        below_since=_past(history.below_since, now),
        failed={n: _past(at, now) for n, at in history.failed.items()},
    )


def _past(at: Moment, now: datetime) -> Moment:
    return now if _is_future(at, now) else at


def _is_future(at: datetime | None, now: datetime) -> bool:
    return at is not None and at > now + _SKEW


def _put_back(item: Object, annotation: str, text: str) -> Patch:
    message = f"put times of {ref_of(item)} back to now"
    operations = set_value(item, annotation_path(annotation), text)
    return Patch(ref_of(item), operations, message, f"{annotation} has a time in the future")


def _clamped(item: Object, annotation: str) -> Finding:
    return Finding(
        "time-in-future",
        f"{ref_of(item)}: {annotation} has a time in the future.",
        "It counts as now. See that the clocks of those who write it are right.",
    )
