"""
The ways to share that are compared, each a function of a morning to a day's placement.

A policy sees a `Morning`: evidence of the days before, how the fleet did
yesterday, the order in which pods happen to arrive. Only the oracle is given
the trace itself. Pods land as `slicewise.tuning.packing.placement` places
them, for ours and the others' alike.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from slicewise.tuning.classes import rule as class_rule
from slicewise.tuning.classes.rule import (
    ClassPolicy,
    calibrate_classes,
    class_of,
    place_in_classes,
    reclassify,
)
from slicewise.tuning.packing import rule as packing
from slicewise.tuning.packing.calibration import half_folds
from slicewise.tuning.packing.placement import Fleet, Request, settle
from slicewise.tuning.packing.rule import PackingPolicy, calibrate_packing, repack, requests_for
from slicewise.tuning.rule.busy_guard import FullCard
from slicewise.tuning.rule.memory_growth import MemoryGrowth
from slicewise.tuning.rule.memory_guard import in_danger, risings
from slicewise.tuning.rule.replicas import choose_replicas
from slicewise.tuning.usage.evidence import PodUse, usable_memory
from slicewise.tuning.usage.lanes import from_lanes

from traces.serving import Trace

HEADROOM = 0.1
# What a careful operator sets by hand: the p95s of a GPU's pods sum to at most this.
HAND_SET_P95 = 0.65


@dataclass(frozen=True)
class Morning:
    """
    What a policy may know: `pods` hold the past only.

    `order` is how pods arrive, those that come later included: of them nothing
    is known yet but that each keeps a place. `present` are there today.
    `happened` is how long GPUs were contended on each day of this policy so far.
    """

    day: int
    pods: tuple[PodUse, ...]
    order: tuple[int, ...]
    present: frozenset[int]
    card_mib: int
    happened: tuple[float, ...]
    learns_growth: bool = True

    @cached_property
    def growth(self) -> MemoryGrowth:
        """How memory may grow, as the pods that are there tell."""
        return MemoryGrowth(self.known if self.learns_growth else ())

    @property
    def known(self) -> list[PodUse]:
        """The pods that are there today, to learn from."""
        return [self.pods[pod] for pod in sorted(self.present)]


@dataclass(frozen=True)
class Look:
    """
    A look at memory between two mornings.

    Attributes:
        morning: As it was; `pods` have their memory as it is known now.
    """

    morning: Morning
    pods: tuple[PodUse, ...]

    @cached_property
    def growth(self) -> MemoryGrowth:
        known = [self.pods[pod] for pod in sorted(self.morning.present)]
        return MemoryGrowth(known if self.morning.learns_growth else ())

    def in_danger(self, groups: Sequence[Sequence[int]]) -> list[int]:
        """The pods that must leave their cards now."""
        number = {pod.name: index for index, pod in enumerate(self.pods)}
        known = risings(self.pods, {pod.name: pod.memory_mib for pod in self.morning.pods})
        cards = [[known[self.pods[pod].name] for pod in group] for group in groups]
        return [number[danger.pod] for danger in in_danger(cards, self.morning.card_mib)]


@dataclass(frozen=True)
class Hour:
    """
    A look at busy time between two mornings.

    Attributes:
        full: Of each shared GPU that had no rest in the last hour, its pods' mean busy fractions by name.
    """

    morning: Morning
    full: Sequence[FullCard]

    @cached_property
    def number(self) -> dict[str, int]:
        return {pod.name: index for index, pod in enumerate(self.morning.pods)}


@dataclass(frozen=True)
class Placed:
    groups: list[list[int]]
    moves: int = 0


@dataclass
class Memo:
    """Thresholds already calibrated on this trace; the arrival order does not enter them."""

    thresholds: dict[tuple, float] = field(default_factory=dict)

    def get(self, key: tuple, compute: Callable[[], float]) -> float:
        if key not in self.thresholds:
            self.thresholds[key] = compute()
        return self.thresholds[key]


class Keep:
    """Decides on the first morning and keeps that for the whole week."""

    def __init__(self, first: Callable[[Morning], list[list[int]]]):
        self._first = first
        self._groups: list[list[int]] | None = None

    def __call__(self, morning: Morning) -> Placed:
        if self._groups is None:
            self._groups = self._first(morning)
        return Placed(self._groups)


def whole_gpus(morning: Morning) -> list[list[int]]:
    return [[pod] for pod in morning.order]


def fixed_slots(n: int) -> Callable[[Morning], list[list[int]]]:
    """N slots a GPU, whoever comes: what the guides recommend."""

    def first(morning: Morning) -> list[list[int]]:
        return settle([Request(0, 0)] * len(morning.pods), morning.order, 0, slots=n).groups()

    return first


def pool_n(morning: Morning) -> list[list[int]]:
    """One N for all, by the rule."""
    choice = choose_replicas("serving", morning.known, morning.card_mib)
    return fixed_slots(choice.target)(morning)


def memory_only(morning: Morning) -> list[list[int]]:
    memory = usable_memory(morning.card_mib, HEADROOM)
    asks = [Request(_memory_ask(pod, memory), 0) for pod in morning.pods]
    return settle(asks, morning.order, memory).groups()


def hand_set_p95(morning: Morning) -> list[list[int]]:
    memory = usable_memory(morning.card_mib, HEADROOM)
    asks = []
    for pod in morning.pods:
        if not pod.has_history:
            asks.append(Request(memory, 1000))
            continue
        busy = np.percentile(_samples(pod), 95) / 1000
        share = min(1000, max(1, math.ceil(1000 * busy / HAND_SET_P95)))
        asks.append(Request(_memory_ask(pod, memory), share))
    return settle(asks, morning.order, memory).groups()


def for_a_week(policy):
    """The policy of a decision that is not taken again."""
    return replace(policy, safety=policy.week_safety)


def classes_static(memo: Memo, policy: ClassPolicy) -> Callable[[Morning], list[list[int]]]:
    def first(morning: Morning) -> list[list[int]]:
        threshold = memo.get(
            ("classes", "week"),
            lambda: (
                calibrate_classes(morning.known, morning.card_mib, for_a_week(policy), half_folds).threshold
            ),
        )
        sizes = [
            class_of(pod, threshold, morning.card_mib, policy, growth=morning.growth) for pod in morning.pods
        ]
        return place_in_classes(sizes, morning.order)

    return first


def packing_static(memo: Memo, policy: PackingPolicy) -> Callable[[Morning], list[list[int]]]:
    def first(morning: Morning) -> list[list[int]]:
        threshold = memo.get(
            ("packing", "week"),
            lambda: (
                calibrate_packing(morning.known, morning.card_mib, for_a_week(policy), half_folds).threshold
            ),
        )
        memory = usable_memory(morning.card_mib, policy.memory_headroom)
        asks = requests_for(morning.pods, threshold, morning.card_mib, policy, morning.growth)
        return settle(asks, morning.order, memory).groups()

    return first


class PackingDaily:
    """Measured packing, decided again each morning; the stock scheduler places what is restarted."""

    def __init__(self, memo: Memo, policy: PackingPolicy):
        self._memo, self._policy = memo, policy
        self._fleet: Fleet | None = None
        self._threshold = 1.0

    def __call__(self, morning: Morning) -> Placed:
        self._threshold = threshold = self._memo.get(
            ("packing", morning.day, morning.happened),
            lambda: (
                calibrate_packing(
                    morning.known,
                    morning.card_mib,
                    self._policy,
                    happened=morning.happened,
                    growth=morning.growth,
                ).threshold
            ),
        )
        if self._fleet is None:
            memory = usable_memory(morning.card_mib, self._policy.memory_headroom)
            asks = requests_for(morning.pods, threshold, morning.card_mib, self._policy, morning.growth)
            self._fleet = settle(asks, [pod for pod in morning.order if pod in morning.present], memory)
            moves = self._part(self._fleet, morning)
            return Placed(self._fleet.groups(), moves)
        _come_and_go(morning, self._fleet)
        moves = self._change(self._fleet, morning, threshold)
        moves += self._part(self._fleet, morning)
        return Placed(self._fleet.groups(), moves)

    def look(self, look: Look) -> Placed:
        """Who is in danger asks for what it needs now, and is restarted."""
        fleet, card = self._fleet, look.morning.card_mib
        assert fleet
        leavers = look.in_danger(fleet.groups())
        asks = requests_for([look.pods[pod] for pod in leavers], 1.0, card, self._policy, look.growth)
        for pod, ask in zip(leavers, asks, strict=True):
            fleet.remove(pod)
            now = fleet.requests[pod]
            fleet.ask(pod, Request(max(now.memory_mib, ask.memory_mib), now.busy))
        for pod in leavers:
            fleet.place(pod)
        return Placed(fleet.groups(), len(leavers))

    def relieve(self, hour: Hour) -> Placed:
        """Of a GPU without rest one pod asks for more, and is restarted."""
        fleet, number = self._fleet, hour.number
        assert fleet
        current = {pod: fleet.requests[number[pod]] for card in hour.full for pod in card}
        changes = packing.crowded_out(hour.full, current, self._threshold, self._policy)
        for change in changes:
            fleet.remove(number[change.pod])
            fleet.ask(number[change.pod], change.request)
        for change in changes:
            fleet.place(number[change.pod])
        return Placed(fleet.groups(), len(changes))

    def _part(self, fleet: Fleet, morning: Morning) -> int:
        """Where pods have landed is looked at again, as long as somebody has to leave."""
        names, moves = [pod.name for pod in morning.pods], 0
        known = dict(zip(names, morning.pods, strict=True))
        number = {name: index for index, name in enumerate(names)}
        for _ in range(self._policy.rounds):
            changes = packing.part(
                known,
                [[names[pod] for pod in group] for group in fleet.groups()],
                dict(zip(names, fleet.requests, strict=True)),
                self._threshold,
                morning.card_mib,
                self._policy,
                morning.growth,
            )
            if not changes:
                break
            for change in changes:
                fleet.remove(number[change.pod])
                fleet.ask(number[change.pod], change.request)
            for change in changes:
                fleet.place(number[change.pod])
            moves += len(changes)
        return moves

    def _change(self, fleet: Fleet, morning: Morning, threshold: float) -> int:
        names = [pod.name for pod in morning.pods]
        number = {name: index for index, name in enumerate(names)}
        changes = repack(
            dict(zip(names, morning.pods, strict=True)),
            [[names[pod] for pod in group] for group in fleet.groups()],
            dict(zip(names, fleet.requests, strict=True)),
            threshold,
            morning.card_mib,
            self._policy,
            morning.growth,
        )
        # All restarted pods are pending at once; the larger ones are bound first where they fit.
        for change in changes:
            fleet.remove(number[change.pod])
            fleet.ask(number[change.pod], change.request)
        for change in sorted(changes, key=lambda change: (-change.request.busy, change.pod)):
            fleet.place(number[change.pod])
        return len(changes) + len(fleet.consolidate())


class ClassesDaily:
    """Classes, decided again each morning: a pod that changes takes a free slot of its new pool."""

    def __init__(self, memo: Memo, policy: ClassPolicy):
        self._memo, self._policy = memo, policy
        self._sizes: list[int] = []
        self._pools: dict[int, Fleet] = {}

    def __call__(self, morning: Morning) -> Placed:
        threshold = self._memo.get(
            ("classes", morning.day, morning.happened),
            lambda: (
                calibrate_classes(
                    morning.known,
                    morning.card_mib,
                    self._policy,
                    happened=morning.happened,
                    growth=morning.growth,
                ).threshold
            ),
        )
        if not self._sizes:
            self._sizes = [
                class_of(pod, threshold, morning.card_mib, self._policy, growth=morning.growth)
                for pod in morning.pods
            ]
            slots = [Request(0, 0)] * len(morning.pods)
            self._pools = {size: Fleet(slots, 0, slots=size) for size in self._policy.sizes}
            self._come_and_go(morning)
            for pool in self._pools.values():
                pool.consolidate()
            return Placed(self._groups())
        self._come_and_go(morning)
        return Placed(self._groups_after(morning, threshold), self._moved)

    def _groups_after(self, morning: Morning, threshold: float) -> list[list[int]]:
        names = [pod.name for pod in morning.pods]
        number = {name: index for index, name in enumerate(names)}
        changes = reclassify(
            dict(zip(names, morning.pods, strict=True)),
            [[names[pod] for pod in group] for group in self._groups()],
            dict(zip(names, self._sizes, strict=True)),
            threshold,
            morning.card_mib,
            morning.happened[-1],
            self._policy,
            growth=morning.growth,
        )
        for change in changes:
            self._pools[change.before].remove(number[change.pod])
        for change in changes:
            self._pools[change.after].place(number[change.pod])
            self._sizes[number[change.pod]] = change.after
        self._moved = len(changes) + sum(len(pool.consolidate()) for pool in self._pools.values())
        return self._groups()

    def look(self, look: Look) -> Placed:
        """Who outgrew its class, and who is in danger, tightens at once."""
        sizes, number = self._sizes, {pod.name: index for index, pod in enumerate(look.pods)}
        groups = self._groups()
        # Who has not grown since the morning was looked at then.
        present = [
            look.pods[pod]
            for group in groups
            for pod in group
            if not look.pods[pod].memory_mib <= look.morning.pods[pod].memory_mib
        ]
        outgrown = reclassify(
            {pod.name: pod for pod in present},
            [[pod.name] for pod in present],
            {pod.name: sizes[number[pod.name]] for pod in present},
            math.inf,
            look.morning.card_mib,
            0.0,
            self._policy,
            growth=look.growth,
        )
        after = {number[one.pod]: one.after for one in outgrown if one.after < one.before}
        for pod in look.in_danger([[pod for pod in group if pod not in after] for group in groups]):
            after[pod] = max((size for size in self._policy.sizes if size < sizes[pod]), default=1)
        for pod in after:
            self._pools[sizes[pod]].remove(pod)
        for pod, size in after.items():
            self._pools[size].place(pod)
            sizes[pod] = size
        return Placed(self._groups(), len(after))

    def relieve(self, hour: Hour) -> Placed:
        """Of a GPU without rest one pod tightens."""
        current = {pod: self._sizes[hour.number[pod]] for card in hour.full for pod in card}
        changes = class_rule.crowded_out(hour.full, current, self._policy)
        for change in changes:
            self._pools[change.before].remove(hour.number[change.pod])
        for change in changes:
            self._pools[change.after].place(hour.number[change.pod])
            self._sizes[hour.number[change.pod]] = change.after
        return Placed(self._groups(), len(changes))

    def _come_and_go(self, morning: Morning) -> None:
        for size, pool in self._pools.items():
            _come_and_go(morning, pool, lambda pod, size=size: self._sizes[pod] == size)

    def _groups(self) -> list[list[int]]:
        return [group for pool in self._pools.values() for group in pool.groups()]


def oracle(trace: Trace) -> Callable[[Morning], list[list[int]]]:
    """
    Greedy with the scored week before its eyes: largest memory first, to the
    first GPU with room whose contended share stays within a limit, the loosest
    limit for which the fleet keeps the 1 % gate. Not the optimum.
    """
    week = np.concatenate([trace.day(day) for day in trace.scored_days], axis=1)
    peaks = np.max([trace.memory(day) for day in trace.scored_days], axis=0)

    def first(morning: Morning) -> list[list[int]]:
        for limit in (0.03, 0.025, 0.02, 0.015):
            groups = _greedy(trace, week, peaks, limit)
            if np.mean([(week[group].sum(axis=0) > 1).mean() for group in groups]) <= 0.01:
                return groups
        return _greedy(trace, week, peaks, 0.01)

    return first


def _greedy(trace: Trace, week: np.ndarray, peaks: np.ndarray, limit: float) -> list[list[int]]:
    groups: list[list[int]] = []
    sums: list[np.ndarray] = []
    free: list[float] = []
    for pod in np.lexsort((-week.mean(axis=1), -peaks)).tolist():
        for gpu, total in enumerate(sums):
            if free[gpu] >= peaks[pod] and ((total + week[pod]) > 1).mean() <= limit:
                break
        else:
            gpu = len(groups)
            groups.append([])
            sums.append(np.zeros(week.shape[1]))
            free.append(trace.card_mib * (1 - HEADROOM))
        groups[gpu].append(pod)
        sums[gpu] = sums[gpu] + week[pod]
        free[gpu] -= peaks[pod]
    return groups


def lower_bound(trace: Trace) -> float:
    """No placement needs fewer, as a mean over days: all memory in a row, or all busy time."""
    return float(np.mean([_least(trace, day) for day in trace.scored_days]))


def _least(trace: Trace, day: int) -> int:
    memory = trace.memory(day)[sorted(trace.present(day))].sum() / trace.card_mib
    return math.ceil(max(memory, trace.day(day).sum(axis=0).mean()))


def _memory_ask(pod: PodUse, usable: int) -> int:
    """All that is usable, where the pod's own is not known."""
    return min(usable, math.ceil(pod.memory_mib)) if math.isfinite(pod.memory_mib) else usable


def _come_and_go(morning: Morning, fleet: Fleet, belongs: Callable[[int], bool] = lambda pod: True) -> None:
    """Pods that are gone leave their GPUs; those that are new are placed as they arrive."""
    for pod in [pod for pod in fleet.where if pod not in morning.present]:
        fleet.remove(pod)
    for pod in morning.order:
        if pod in morning.present and pod not in fleet.where and belongs(pod):
            fleet.place(pod)


def _samples(pod: PodUse) -> Sequence[int]:
    return np.concatenate([from_lanes(day.lanes, day.samples) for day in pod.days])
