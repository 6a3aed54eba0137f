"""
Which class each workload of a split pool belongs in: decided once a day, and at once where memory is short
or a GPU never rests. Pure.

Between two days the record has what was decided. Where that is lost, it is decided again from what was
measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.kube.ref import Ref
from slicewise.policy.model import Pool
from slicewise.tuning.classes.evidence import ClassEvidence
from slicewise.tuning.classes.rule import (
    ClassChange,
    ClassPolicy,
    calibrate_classes,
    crowded_out,
    in_danger,
    kept_by_growth,
    reclassify,
)
from slicewise.tuning.rule.memory_growth import MemoryGrowth
from slicewise.tuning.state.pool_state import stamp
from slicewise.tuning.usage.evidence import WINDOW_DAYS, Grade, Interval, PodUse
from slicewise.tuning.usage.workloads import Workload

EVERY = timedelta(days=1)
# Reconciles come hourly, and a little early or late.
_SLACK = timedelta(minutes=5)


@dataclass(frozen=True)
class Recommendation:
    """
    Attributes:
        before: The class that the workload's pods request; `after` is the one that they belong in.
        owner: What lies above the workload, for people, such as "InferenceService llm"; "" for nothing.
    """

    workload: Ref
    pods: int
    before: int
    after: int
    reason: str = ""
    owner: str = ""

    @property
    def changes(self) -> bool:
        return self.after != self.before

    @property
    def tightens(self) -> bool:
        return self.after < self.before

    @property
    def gpus_saved(self) -> float:
        return self.pods * (1 / self.before - 1 / self.after)


@dataclass(frozen=True)
class ClassDecision:
    """
    One day's decision about a pool.

    Attributes:
        threshold: Busy share that a GPU may reach for pods to loosen; None while nothing was decided.
        happened: When each of the last days ended, and its contended share: how well the promise held.
        recommendations: Changes first, the most urgent before all others.
    """

    pool: str
    sizes: tuple[int, ...]
    decided_at: datetime | None = None
    threshold: float | None = None
    happened: tuple[tuple[datetime, Interval], ...] = ()
    recommendations: tuple[Recommendation, ...] = field(default=())

    def is_due(self, now: datetime) -> bool:
        return self.decided_at is None or not timedelta(0) <= now - self.decided_at < EVERY - _SLACK

    @property
    def changes(self) -> tuple[Recommendation, ...]:
        return tuple(one for one in self.recommendations if one.changes)


def decided(pool: Pool, before: ClassDecision, evidence: ClassEvidence, now: datetime) -> ClassDecision:
    """`before` is what the record has."""
    if pool.classes and before.sizes != pool.classes.sizes:
        before = replace(before, decided_at=None)
    found = (
        _decide_for_a_day(pool, before, evidence, now)
        if before.is_due(now)
        else _carried_on(before, evidence)
    )
    ours = {one.workload: one for one in found.recommendations}
    for one in _at_once(pool, evidence, found):
        if one.after < ours[one.workload].after:
            ours[one.workload] = one
    return replace(found, recommendations=in_order(ours.values()))


def in_order(found: Iterable[Recommendation]) -> tuple[Recommendation, ...]:
    """Who must have more room comes first, then what saves most."""
    return tuple(
        sorted(found, key=lambda one: (not one.changes, not one.tightens, -abs(one.gpus_saved), one.workload))
    )


def _decide_for_a_day(
    pool: Pool, before: ClassDecision, evidence: ClassEvidence, now: datetime
) -> ClassDecision:
    policy, card = rule(pool, evidence.watched), card_mib(pool)
    happened = [(at, share) for at, share in before.happened if now - at < WINDOW_DAYS * EVERY]
    if before.decided_at:
        # What happened before the first decision happened under another rule.
        happened.append((now, evidence.contended))
    pods = tuple(evidence.pods.values())
    certain, growth = tuple(pod.lower for pod in pods), MemoryGrowth(pods)
    threshold = _threshold(pods, [share.upper for _, share in happened], card, policy, growth)
    lower = growth.read_as(certain)
    tight = _threshold(certain, [share.lower for _, share in happened], card, policy, lower)
    contended = evidence.contended.lower if before.decided_at else 0.0
    current = _current(evidence.workloads)
    found = reclassify(
        evidence.pods,
        evidence.gpus,
        current,
        threshold,
        card,
        contended,
        policy,
        max(threshold, tight),
        growth,
    )
    kept = kept_by_growth(evidence.pods, current, threshold, card, policy, growth)
    return ClassDecision(
        pool.name,
        policy.sizes,
        now,
        threshold,
        tuple(happened[-WINDOW_DAYS:]),
        tuple(_of_workload(one, evidence, found, policy.sizes, kept) for one in evidence.workloads),
    )


def _threshold(
    pods: Sequence[PodUse],
    happened: Sequence[float],
    card: float,
    policy: ClassPolicy,
    growth: MemoryGrowth,
) -> float:
    return calibrate_classes(pods, card, policy, happened=happened, growth=growth).threshold


def _carried_on(before: ClassDecision, evidence: ClassEvidence) -> ClassDecision:
    """Who has come since is in no class until the next day; who has moved is where it belongs."""
    known = {one.workload: one for one in before.recommendations}
    return replace(
        before,
        recommendations=tuple(
            _as_it_is(workload, known.get(workload.ref)) for workload in evidence.workloads
        ),
    )


def _as_it_is(workload: Workload, known: Recommendation | None) -> Recommendation:
    pods, size = len(workload.pods), workload.size
    if known is None:
        reason = "nothing was decided about it yet today"
        return Recommendation(workload.ref, pods, size, size, reason, workload.owner)
    return replace(known, pods=pods, before=size, owner=workload.owner)


def _of_workload(
    workload: Workload,
    evidence: ClassEvidence,
    changes: Sequence[ClassChange],
    sizes: Sequence[int],
    kept: Mapping[str, str] = MappingProxyType({}),
) -> Recommendation:
    """One template for all its pods: the pod that needs most decides. `kept` says why some do not loosen."""
    size, pods = workload.size, len(workload.pods)
    of_pod = {change.pod: change for change in changes}
    wanted = {pod: of_pod[pod].after if pod in of_pod else size for pod in workload.pods}
    tightest = min(wanted, key=lambda pod: (wanted[pod], pod not in of_pod, pod))
    after = wanted[tightest]
    if after > size and any(evidence.pods[pod].grade is Grade.DEVICE for pod in workload.pods):
        reason = "only its GPU is measured, not the pod: that it shares one proves no room for more"
        return Recommendation(workload.ref, pods, size, size, reason, workload.owner)
    if after == size and size not in sizes:
        # A class that was removed, or that never was.
        smaller = max((one for one in sizes if one < size), default=1)
        reason = f"the pool has no class {size}"
        return Recommendation(workload.ref, pods, size, smaller, reason, workload.owner)
    reason = _why(tightest, of_pod, workload, evidence, kept)
    return Recommendation(workload.ref, pods, size, after, reason, workload.owner)


def _why(
    pod: str,
    of_pod: Mapping[str, ClassChange],
    workload: Workload,
    evidence: ClassEvidence,
    kept: Mapping[str, str],
) -> str:
    reasons = {name: change.reason for name, change in of_pod.items()}
    if pod not in of_pod:
        unknown = sum(1 for one in workload.pods if not evidence.pods[one].has_history)
        if unknown:
            return f"{unknown} of {len(workload.pods)} pods have no full day of measurements"
        pod = next((one for one in workload.pods if one in kept), "")
        if not pod:
            return "it belongs where it is"
        reasons = {pod: kept[pod]}
    whose = f"pod {pod.partition('/')[2]}: " if len(workload.pods) > 1 else ""
    return whose + reasons[pod]


def _at_once(pool: Pool, evidence: ClassEvidence, found: ClassDecision) -> Iterable[Recommendation]:
    """What does not wait for the next day: memory, a GPU without rest, and a class that was removed."""
    alone = [(pod,) for pod in evidence.pods]
    current, card, policy = _current(evidence.workloads), card_mib(pool), rule(pool)
    alike = reclassify(evidence.pods, alone, current, math.inf, card, 0.0, policy)
    tighter = [change for change in alike if change.after < change.before]
    outgrown = {change.pod for change in tighter}
    staying = [[pod for pod in gpu if pod not in outgrown] for gpu in evidence.gpus]
    tighter += in_danger(evidence.pods, staying, current, card, policy)
    # Where one leaves anyway, the others are decided on once it has left.
    leave = {one.workload for one in found.recommendations if one.tightens}
    leaving = {pod for one in evidence.workloads if one.ref in leave for pod in one.pods}
    leaving |= {change.pod for change in tighter}
    tighter += crowded_out([card for card in evidence.full if not leaving & set(card)], current, policy)
    for workload in evidence.workloads:
        one = _of_workload(workload, evidence, tighter, policy.sizes)
        if one.tightens:
            yield one


def _current(workloads: Iterable[Workload]) -> dict[str, int]:
    return {pod: workload.size for workload in workloads for pod in workload.pods}


def rule(pool: Pool, watched: bool = True) -> ClassPolicy:
    policy = ClassPolicy(sizes=pool.classes.sizes if pool.classes else ())
    return policy if watched else policy.unwatched()


def card_mib(pool: Pool) -> int:
    """A class is of the pool, not of a model: its pods must fit on the smallest card that they may get."""
    return min(gpu.memory_mib for gpu in pool.models())


# As the record keeps it

_MOST_UNCHANGED = 150


def dumped(
    decision: ClassDecision,
    moves_a_day: int,
    frozen: str = "",
    notes: Mapping[Ref, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """
    JSON values, some 400 bytes a workload. All changes are recorded, since moves are made by them until the
    next day; of those that stay where they are, which is also the result where nothing is recorded, only the
    first.

    Args:
        frozen: Why nothing was decided now.
        notes: What becomes of those that let us move them.
    """
    kept = decision.recommendations[: max(len(decision.changes), _MOST_UNCHANGED)]
    fields: dict[str, Any] = {
        "pool": decision.pool,
        "classes": list(decision.sizes),
        "moves_a_day": moves_a_day,
        "decided_at": stamp(decision.decided_at),
        "threshold": decision.threshold,
        "contended": [[stamp(at), share.lower, share.upper] for at, share in decision.happened],
        "gpus": [round(sum(one.pods / of for one, of in pairs), 1) for pairs in _both(decision)],
        "count": len(decision.recommendations),
        "workloads": [
            {
                "ref": list(one.workload),
                "pods": one.pods,
                "class": one.before,
                "recommended": one.after,
                "reason": one.reason,
                **({"owner": one.owner} if one.owner else {}),
                **({"auto": notes[one.workload]} if one.workload in notes else {}),
            }
            for one in kept
        ],
    }
    return {**fields, "frozen": frozen} if frozen else fields


def _both(decision: ClassDecision) -> Iterable[list[tuple[Recommendation, int]]]:
    yield [(one, one.before) for one in decision.recommendations]
    yield [(one, one.after) for one in decision.recommendations]


def loaded(details: Iterable[Mapping[str, Any]], pool: str) -> ClassDecision:
    """The decision about a pool as the previous record has it; one that is due where that cannot be read."""
    for detail in details:
        if detail.get("pool") == pool and "classes" in detail:
            try:
                return _loaded(detail)
            except UNREADABLE:
                break
    return ClassDecision(pool, ())


def _loaded(detail: Mapping[str, Any]) -> ClassDecision:
    decided_at, threshold = detail["decided_at"], detail["threshold"]
    return ClassDecision(
        detail["pool"],
        tuple(map(int, detail["classes"])),
        _aware(decided_at) if decided_at else None,
        None if threshold is None else float(threshold),
        tuple((_aware(at), _interval(*shares)) for at, *shares in detail["contended"]),
        tuple(map(_recommendation, detail["workloads"])),
    )


def _interval(lower: float | None, upper: float | None = None) -> Interval:
    """Releases before wrote one figure a day, and none where nothing was measured."""
    if lower is None:
        return Interval(0.0, 1.0)
    return Interval(float(lower), float(lower if upper is None else upper))


def _recommendation(one: Mapping[str, Any]) -> Recommendation:
    before, after = int(one["class"]), int(one["recommended"])
    ref = Ref(*map(str, one["ref"]))
    if min(before, after) < 1:
        raise ValueError(f"{ref}: class {before} or {after}")
    return Recommendation(ref, int(one["pods"]), before, after, str(one["reason"]), str(one.get("owner", "")))


def _aware(stamp: str) -> datetime:
    at = datetime.fromisoformat(stamp)
    if at.tzinfo is None:
        raise ValueError(f"{stamp} has no zone")
    return at
