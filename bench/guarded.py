"""
Days with a look every hour, for recorded pods: what `slicewise backtest` plays and scores.

Between two mornings the rules that decide daily look at whose memory grows towards the end of its card
(`slicewise.tuning.rule.memory_guard`), and at which GPUs had no rest (`slicewise.tuning.rule.busy_guard`),
and move pods. So a pod's GPU may change within a day, and each hour is scored as a day of its own: its pods'
peaks of that hour must fit on their card.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from slicewise.tuning.classes.rule import ClassPolicy
from slicewise.tuning.packing.rule import PackingPolicy
from slicewise.tuning.usage.evidence import PodUse

from bench.contestants import Hour, Look, Morning, Placed
from bench.scoring import Groups, Score, Week, day_contended, score
from bench.tracks.serving import contestants, full_cards
from traces.serving import Trace

HOURS = 24


@dataclass(frozen=True)
class RecordedTrace(Trace):
    """
    Attributes:
        memory_by_hour: Pods × hours, peak device memory in MiB; NaN where nothing was measured.
    """

    memory_by_hour: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    @cached_property
    def by_hour(self) -> Trace:
        """The same pods, each hour as a day. An hour without memory has that of the hour before it."""
        known = self.memory_by_hour.copy()
        of_day = np.repeat(self.memory_mib, HOURS, axis=1)
        for hour in range(known.shape[1]):
            before = known[:, hour - 1] if hour else np.full(len(known), np.nan)
            # Nothing before it: the day's, which is more.
            before = np.where(np.isnan(before), of_day[:, hour], before)
            known[:, hour] = np.where(np.isnan(known[:, hour]), before, known[:, hour])
        return Trace(
            self.names,
            known,
            self.busy,
            decide_day=self.decide_day * HOURS,
            card_mib=self.card_mib,
            samples_a_day=self.samples_a_day // HOURS,
            alive=None if self.alive is None else np.repeat(self.alive, HOURS, axis=1),
            usd_per_gpu_hour=self.usd_per_gpu_hour,
        )


@dataclass
class Looks:
    """How often it was looked between mornings, at how many looks pods were moved, and how many."""

    taken: int = 0
    acted: int = 0
    moves: int = 0


def play(trace: RecordedTrace, policy: Callable[[Morning], Placed], arrival: int) -> tuple[Week, Looks]:
    """Run one policy over the scored days, hour by hour; each look knows the day so far and no more."""
    order = list(range(len(trace.names)))
    random.Random(arrival).shuffle(order)
    order.sort(key=trace.first_day)
    week, looks, happened = Week(), Looks(), []
    for day in trace.scored_days:
        morning = Morning(
            day,
            trace.history(day),
            tuple(order),
            trace.present(day),
            trace.card_mib,
            tuple(happened),
        )
        placed = policy(morning)
        hours, moves = [_present(placed, morning)], [placed.moves]
        for hour in range(1, HOURS):
            found = _looked(policy, trace, morning, hour, hours[-1], looks)
            hours.append(_present(found[-1], morning) if found else hours[-1])
            moves.append(sum(placed.moves for placed in found))
        week.days += [[(0, groups)] for groups in hours]
        # By hour, but a Score counts moves by day, and takes an hour for one.
        week.moves += [HOURS * count for count in moves]
        happened.append(_contended(trace, day, hours))
    return week, looks


def _looked(
    policy: Callable[[Morning], Placed],
    trace: RecordedTrace,
    morning: Morning,
    hour: int,
    groups: Groups,
    looks: Looks,
) -> list[Placed]:
    """What it moves, for memory first. A rule that decides once for the week has no look."""
    look, relieve = getattr(policy, "look", None), getattr(policy, "relieve", None)
    if look is None:
        return []
    looks.taken += 1
    found = [look(Look(morning, _seen(trace, morning, hour)))]
    long = trace.samples_a_day // HOURS
    # Where memory has moved somebody, the others are looked at once that has had its effect.
    if relieve and long and not found[0].moves:
        full = full_cards(trace, morning, groups, (hour - 1) * long, hour * long)
        found.append(relieve(Hour(morning, full)) if full else Placed([]))
    found = [placed for placed in found if placed.moves]
    looks.acted += bool(found)
    looks.moves += sum(placed.moves for placed in found)
    return found


def _seen(trace: RecordedTrace, morning: Morning, hour: int) -> tuple[PodUse, ...]:
    """The morning's evidence with the memory of the day so far."""
    begin = morning.day * HOURS
    peaks = np.fmax.reduce(trace.memory_by_hour[:, begin : begin + hour], axis=1)
    return tuple(
        replace(pod, memory_mib=float(np.fmax(pod.memory_mib, peak)))
        for pod, peak in zip(morning.pods, peaks, strict=True)
    )


def _present(placed: Placed, morning: Morning) -> list[list[int]]:
    kept = [[pod for pod in group if pod in morning.present] for group in placed.groups]
    return [group for group in kept if group]


def _contended(trace: RecordedTrace, day: int, hours: list[list[list[int]]]) -> float:
    if all(groups is hours[0] for groups in hours):
        return day_contended(trace, day, [(0, hours[0])])
    view = trace.by_hour
    shares = [day_contended(view, day * HOURS + hour, [(0, groups)]) for hour, groups in enumerate(hours)]
    return float(np.average(shares, weights=[len(groups) for groups in hours])) if hours[0] else 0.0


def run(
    trace: RecordedTrace,
    orders: int,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[dict[str, list[Score]], dict[str, list[Looks]]]:
    """By policy, the score of each order in which pods arrive, and the looks of those that look at memory."""
    makers, view = contestants(trace, ClassPolicy(), PackingPolicy()), trace.by_hour
    scores: dict[str, list[Score]] = {}
    looks: dict[str, list[Looks]] = {}
    for done, (name, make) in enumerate(makers.items(), 1):
        runs = [play(trace, make(), order) for order in range(orders)]
        scores[name] = [score(view, week) for week, _ in runs]
        if any(looked.taken for _, looked in runs):
            looks[name] = [looked for _, looked in runs]
        on_progress(done, len(makers))
    return scores, looks
