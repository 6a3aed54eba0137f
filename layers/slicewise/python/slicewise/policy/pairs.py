"""
Fields of a policy that are each fine, and together can never do what they say. Pure.

Asked of what was written, not of defaults: a field that is left out can be no contradiction. And
`metrics: {source: none}` goes with all: it is how N is frozen for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from slicewise.errors import PolicyProblem
from slicewise.kube import quantities
from slicewise.policy.bounds import text_of
from slicewise.policy.model import LEARNED, MOVES_PODS_PERCENT, BusinessHours, MetricsSource, Policy, Pool
from slicewise.policy.off_hours import OffHours
from slicewise.schedule.entries import Dated, entry
from slicewise.schedule.weekly_hours import Span, spans

_WEEK = 7 * 24 * 60
Written = Mapping[str, Any]


def problems(written: Written, policy: Policy) -> Iterator[PolicyProblem]:
    """
    Args:
        written: The policy's YAML as values, of which each field was found to be right.
    """
    for pool in policy.pools:
        yield from _machines(written["pools"][pool.name], pool)
    yield from _times(written, policy)
    yield from _without_a_number(written, policy)
    yield from _idle(written, policy)
    if policy.consolidation.business_hours:
        yield from _business_hours(policy.consolidation.business_hours)
    if policy.off_hours:
        yield from _off_hours(policy.off_hours)


def _machines(written: Written, pool: Pool) -> Iterator[PolicyProblem]:
    for index, count in enumerate(written.get("gpuCounts") or ()):
        if pool.max_gpus is not None and count > pool.max_gpus:
            yield PolicyProblem(
                f"pools.{pool.name}.gpuCounts[{index}]",
                count,
                f"a machine with {count} GPUs exceeds maxGpus ({pool.max_gpus}), so none would ever start; "
                "remove it, or raise maxGpus",
            )


def _times(written: Written, policy: Policy) -> Iterator[PolicyProblem]:
    asked, tuning = policy.tuning, written.get("tuning") or {}
    raised, lowered = text_of(asked.raise_after), text_of(asked.lower_after)
    if "dwell" in tuning and asked.dwell < min(asked.raise_after, asked.lower_after):
        yield PolicyProblem(
            "tuning.dwell",
            tuning["dwell"],
            f"N changes no sooner than after raiseAfter ({raised}) or lowerAfter ({lowered}) anyway; write "
            "as much as the shorter one or more, or remove it",
        )
    slowest = max(asked.raise_after, asked.dwell)
    if "lock" in tuning and asked.lock < slowest:
        yield PolicyProblem(
            "tuning.lock",
            tuning["lock"],
            f"no N is tried again sooner than after {text_of(slowest)} anyway, by raiseAfter and dwell; "
            "write that or more, or remove it",
        )


def _without_a_number(written: Written, policy: Policy) -> Iterator[PolicyProblem]:
    if "tuning" in written and not any(pool.replicas for pool in policy.pools):
        yield PolicyProblem(
            "tuning",
            dict(written["tuning"]),
            "no pool here has an N that changes (`sharing: time-slicing` or mps, without `classes`); "
            "remove it",
        )


def _idle(written: Written, policy: Policy) -> Iterator[PolicyProblem]:
    asked, chosen = written.get("consolidation") or {}, policy.consolidation
    if "idleAfter" not in asked:
        return
    after = None if chosen.after in (LEARNED, quantities.NEVER) else quantities.duration(chosen.after)
    why = ""
    if policy.metrics.source in (MetricsSource.PROMETHEUS, MetricsSource.CONTAINER_INSIGHTS_OTEL):
        why = "only `source: container-insights` has an alarm for idle GPUs; remove it"
    elif chosen.after == quantities.NEVER:
        why = "with `after: Never` idle nodes stay as well; remove it, or write a duration as `after`"
    elif after is not None and quantities.duration(chosen.idle_after) >= after:
        why = (
            f"it is for idle clusters, where nodes go after {chosen.after} already; write less, or remove it"
        )
    if why:
        yield PolicyProblem("consolidation.idleAfter", asked["idleAfter"], why)


def _business_hours(asked: BusinessHours) -> Iterator[PolicyProblem]:
    path = "consolidation.businessHours"
    percent = asked.nodes.removesuffix("%")
    if asked.nodes != percent and int(percent) >= MOVES_PODS_PERCENT:
        yield PolicyProblem(
            f"{path}.nodes",
            asked.nodes,
            f"at most {MOVES_PODS_PERCENT}% of the nodes with pods go at once at any hour; write less, or "
            "remove businessHours",
        )
    hours = [span for text in asked.hours for span in spans(text)]
    if int(percent) == 0 and len(_minutes(hours)) == _WEEK:
        yield PolicyProblem(
            f"{path}.hours",
            list(asked.hours),
            f"these cover the whole week, in which {asked.nodes} nodes with pods may go: none could ever be "
            'replaced; leave hours out, or write nodes: "1"',
        )


def _off_hours(asked: OffHours) -> Iterator[PolicyProblem]:
    asleep, awake = [entry(text) for text in asked.asleep], [entry(text) for text in asked.awake]
    minutes = _minutes(_weekly(asleep)) - _minutes(_weekly(awake))
    dated = any(isinstance(one, Dated) for one in asleep)
    if not (minutes or dated or asked.holidays):
        yield PolicyProblem(
            "offHours.awake",
            list(asked.awake),
            "these cover all hours of `asleep`, and awake wins: nothing would ever sleep; leave hours out "
            "here, or remove offHours",
        )
    if len(minutes) == _WEEK and not any(isinstance(one, Dated) for one in awake):
        yield PolicyProblem(
            "offHours.asleep",
            list(asked.asleep),
            "these cover the whole week: nothing would ever wake; leave hours out, or add some to `awake`",
        )


def _weekly(entries: Iterable[tuple[Span, ...] | Dated]) -> Iterator[Span]:
    return (span for found in entries if isinstance(found, tuple) for span in found)


def _minutes(hours: Iterable[Span]) -> set[int]:
    """Of a week that begins on Monday, as the clock on the wall shows it."""
    days = ((span, span.weekday * 24 * 60) for span in hours)
    return {(day + minute) % _WEEK for span, day in days for minute in range(span.start, span.end)}
