"""
Classes: sub-pools with N = 1, 2 or 3 pods a GPU, and which one each workload belongs to.

One N cannot serve a mixed pool: two pods that fill more than a card together
force N = 1 on all. A pod's class is the largest N such that N pods like it
fit in memory and in the calibrated busy share. Changing class restarts the
pod, so it tightens where a GPU is hot or has had no rest for an hour, or for
all when the promise was broken, and loosens only with room to spare.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from slicewise.tuning.packing.calibration import (
    Calibration,
    Folds,
    calibrate,
    daily_folds,
    daily_target,
    joint_share,
)
from slicewise.tuning.packing.placement import Request, settle
from slicewise.tuning.rule import busy_guard, memory_guard
from slicewise.tuning.rule.busy_guard import FullCard
from slicewise.tuning.rule.memory_growth import MemoryGrowth, outgrowing
from slicewise.tuning.rule.memory_guard import within_a_day
from slicewise.tuning.rule.memory_sum import QUANTILE
from slicewise.tuning.usage.evidence import WINDOW_DAYS, Grade, PodUse, usable_memory


@dataclass(frozen=True)
class ClassPolicy:
    """
    Attributes:
        sizes: The N of each class. Three capture nearly all; a fourth saves one GPU in a hundred.
        memory_headroom, gate, week_safety: As in `PackingPolicy`.
        memory_quantile: As there. No room is reserved for a surge: a class has slack, since its N is a whole
            number.
        safety: As there.
        hot: As there, but at 7 gates: leaving a class takes a third or a half of a GPU, not a sliver.
        broken: All outgrown pods tighten at once when the pool was contended longer than this yesterday.
        room: Loosen only if the class would fit a pod busier by 1/room. That is for half a GPU
            saved; the less a restart saves, the more room it needs.
        watched: Whether GPUs are read between decisions, and pods leave those without rest.
    """

    sizes: tuple[int, ...] = (1, 2, 3)
    memory_headroom: float = 0.1
    memory_quantile: float = QUANTILE
    gate: float = 0.01
    safety: float = 0.65
    week_safety: float = 0.35
    hot: float = 0.07
    broken: float = 0.02
    room: float = 0.9
    watched: bool = True

    def unwatched(self) -> "ClassPolicy":
        """
        Where it is not known which pod is to leave a GPU, contention has to be foreseen: tighter, and sooner.
        """
        return replace(self, watched=False, hot=0.035, safety=0.9)


@dataclass(frozen=True)
class ClassChange:
    """A pod that belongs in another class, and why. It restarts the pod."""

    pod: str
    before: int
    after: int
    reason: str


def class_of(
    pod: PodUse,
    threshold: float,
    card_memory_mib: float,
    policy: ClassPolicy,
    spare: float = 1.0,
    growth: MemoryGrowth | None = None,
) -> int:
    """The largest N of the policy for which N pods like this one share a GPU; 1 without history."""
    if not pod.can_share:
        return 1
    growth, busy = growth or MemoryGrowth(), pod.expected_busy / spare
    for size in sorted(policy.sizes, reverse=True):
        if size * busy <= threshold and growth.fits_alike(
            pod, size, card_memory_mib, policy.memory_headroom, policy.memory_quantile
        ):
            return size
    return 1


def place_in_classes(classes: Sequence[int], order: Sequence[int]) -> list[list[int]]:
    """The pods of each GPU when every class is a pool of its own, consolidated."""
    groups: list[list[int]] = []
    for size in sorted(set(classes)):
        members = [pod for pod in order if classes[pod] == size]
        local = settle([Request(0, 0)] * len(members), range(len(members)), 0, slots=size)
        groups += [[members[index] for index in group] for group in local.groups()]
    return groups


def calibrate_classes(
    pods: Sequence[PodUse],
    card_memory_mib: float,
    policy: ClassPolicy | None = None,
    folds: Folds = daily_folds,
    happened: Sequence[float] = (),
    growth: MemoryGrowth | None = None,
) -> Calibration:
    """The threshold for `class_of`, from past days only; `happened` as in `daily_target`."""
    policy, growth = policy or ClassPolicy(), growth or MemoryGrowth(pods)

    def group(train: Sequence[PodUse], threshold: float) -> Callable[[Sequence[int]], list[list[int]]]:
        sizes = [class_of(p, threshold, card_memory_mib, policy, growth=growth) for p in train]
        return lambda order: place_in_classes(sizes, order)

    target = daily_target(policy.gate, policy.safety, happened)
    return calibrate(pods, group, target, folds, watched=policy.watched and folds is daily_folds)


def reclassify(
    pods: Mapping[str, PodUse],
    nodes: Sequence[Sequence[str]],
    current: Mapping[str, int],
    threshold: float,
    card_memory_mib: float,
    contended_yesterday: float,
    policy: ClassPolicy | None = None,
    measured_threshold: float | None = None,
    growth: MemoryGrowth | None = None,
) -> list[ClassChange]:
    """
    The day's changes of class: memory first, then hot GPUs, hottest first, then the rest.

    Args:
        pods: Evidence by pod name; a pod on a node but not here counts as a whole GPU.
        nodes: The pods of each GPU.
        current: The class of each pod; one without is taken to be in class 1.
        contended_yesterday: Share of the pool's GPU time, as it was measured.
        measured_threshold: The threshold by which pods must tighten; None where it is the one by which they
            may loosen.
        growth: What was learnt of these pods' memory; learnt here unless given.

    A pod tightens by what it needs for certain, and loosens by what it may need.
    """
    policy, growth = policy or ClassPolicy(), growth or MemoryGrowth(pods.values())
    may_need = {name: pods.get(name, PodUse(name, math.nan)) for node in nodes for name in node}
    certain = {name: pod.lower for name, pod in may_need.items()}
    day = _Day(
        policy,
        card_memory_mib,
        certain,
        growth.read_as(certain.values()),
        {name: current.get(name, 1) for name in certain},
        threshold if measured_threshold is None else measured_threshold,
    )
    day.tighten_what_does_not_fit()
    day.tighten_what_outgrows(nodes)
    day.cool(nodes)
    if contended_yesterday > policy.broken:
        day.tighten_all(contended_yesterday)
    day.loosen(may_need, threshold, growth)
    return list(day.changes.values())


class _Day:
    """
    One day's changes as they are decided, a pod once, by the first reason that applies.

    Args:
        certain: What each pod needs for certain, by name.
        growth: What was learnt of their memory, read of what is certain.
        current: The class of each of them.
        threshold: The one by which they must tighten.
    """

    def __init__(
        self,
        policy: ClassPolicy,
        card_memory_mib: float,
        certain: Mapping[str, PodUse],
        growth: MemoryGrowth,
        current: Mapping[str, int],
        threshold: float,
    ):
        self._policy, self._memory_mib = policy, card_memory_mib
        self._certain, self._growth, self._current = certain, growth, current
        self._target = {
            name: class_of(pod, threshold, card_memory_mib, policy, growth=growth)
            for name, pod in certain.items()
        }
        self.changes: dict[str, ClassChange] = {}

    def tighten_what_does_not_fit(self) -> None:
        for name, pod in sorted(self._certain.items()):
            size = self._current[name]
            if size > 1 and not _fits_known(pod, size, self._memory_mib, self._policy, self._growth):
                self._change(name, min(self._target[name], size), f"{size} pods like it do not fit in memory")

    def tighten_what_outgrows(self, nodes: Sequence[Sequence[str]]) -> None:
        policy = self._policy
        for node in nodes:
            for name in outgrowing(
                sorted(self._staying(node)),
                self._certain,
                self._is_too_loose,
                self._memory_mib,
                policy.memory_headroom,
                policy.memory_quantile,
                self._growth,
            ):
                reason = self._growth.explain(self._certain[name], policy.memory_quantile)
                self._tighten(name, reason)

    def cool(self, nodes: Sequence[Sequence[str]]) -> None:
        """Pods leave hot GPUs, the hottest first."""
        hot = self._policy.hot
        for share, node in _hot_nodes(self._certain, nodes, hot):
            reason = f"its GPU would have been contended {share:.1%} of the time, over {hot:.1%}"
            for name in _leavers(self._staying(node), self._certain, self._is_too_loose, hot):
                self._tighten(name, reason)

    def tighten_all(self, contended: float) -> None:
        """Each pod that has outgrown its class, since the pool as a whole was contended too long."""
        limit = self._policy.broken
        reason = f"the pool was contended {contended:.1%} of yesterday, over {limit:.1%}"
        for name in filter(self._is_too_loose, sorted(self._certain)):
            self._change(name, self._target[name], reason)

    def loosen(self, may_need: Mapping[str, PodUse], threshold: float, growth: MemoryGrowth) -> None:
        for name in sorted(may_need, key=lambda n: (may_need[n].expected_busy, n)):
            self._loosen(may_need[name], name, threshold, growth)

    def _loosen(self, pod: PodUse, name: str, threshold: float, growth: MemoryGrowth) -> None:
        """To the loosest class that it fits with room."""
        size = self._current[name]
        for after in sorted(self._policy.sizes, reverse=True):
            if after <= size or name in self.changes:
                return
            spare = _spare(self._policy.room, size, after)
            if class_of(pod, threshold, self._memory_mib, self._policy, spare, growth) >= after:
                self._change(name, after, f"{after} pods {1 / spare - 1:.0%} busier than it fit on a GPU")

    def _is_too_loose(self, name: str) -> bool:
        return self._target[name] < self._current[name]

    def _staying(self, node: Iterable[str]) -> list[str]:
        return [name for name in node if name not in self.changes]

    def _tighten(self, name: str, reason: str) -> None:
        smaller = _next_smaller(self._policy.sizes, self._current[name])
        self._change(name, max(1, min(self._target[name], smaller)), reason)

    def _change(self, name: str, after: int, reason: str) -> None:
        if name not in self.changes and after != self._current[name]:
            self.changes[name] = ClassChange(name, self._current[name], after, reason)


def kept_by_growth(
    pods: Mapping[str, PodUse],
    current: Mapping[str, int],
    threshold: float,
    card_memory_mib: float,
    policy: ClassPolicy,
    growth: MemoryGrowth,
) -> dict[str, str]:
    """
    By name, why pods do not loosen that would if memory never grew; `threshold` as in `reclassify`.

    Of a pod that is known by its GPU alone the peak is not known, and it may not loosen anyway.
    """
    found = {}
    for name, pod in pods.items():
        size = current.get(name, 1)
        looser = sorted((one for one in policy.sizes if one > size), reverse=True)
        if not pod.can_share or pod.grade is not Grade.POD:
            continue
        for after in looser:
            spare = _spare(policy.room, size, after)
            if class_of(pod, threshold, card_memory_mib, policy, spare, growth) >= after:
                break
            # Beyond a whole GPU of time it is not memory that keeps it, however few share one now.
            busy = after * pod.expected_busy / spare
            if busy <= min(threshold, 1.0) and _fits_known(pod, after, card_memory_mib, policy, growth):
                bound = growth.explain(pod, policy.memory_quantile)
                found[name] = (
                    f"{after} pods like it fit on a GPU only while its memory stays as it is: {bound}"
                )
                break
    return found


def in_danger(
    pods: Mapping[str, PodUse],
    nodes: Sequence[Sequence[str]],
    current: Mapping[str, int],
    card_memory_mib: float,
    policy: ClassPolicy,
) -> list[ClassChange]:
    """
    Pods that tighten before the next day, since their card may be full before the next reconcile. See
    `reclassify`.
    """
    known = within_a_day(pod for pod in pods.values() if pod.can_share and pod.grade is Grade.POD)
    cards = [[known[name] for name in node if name in known] for node in nodes]
    return [
        ClassChange(
            danger.pod, current[danger.pod], _next_smaller(policy.sizes, current[danger.pod]), danger.reason
        )
        for danger in memory_guard.in_danger(cards, card_memory_mib)
        if current.get(danger.pod, 1) > 1
    ]


def crowded_out(
    cards: Iterable[FullCard], current: Mapping[str, int], policy: ClassPolicy
) -> list[ClassChange]:
    """Who tightens before the next day, since its GPU has had no rest. See `busy_guard`."""
    shared = ({pod: busy for pod, busy in card.items() if current.get(pod, 1) > 1} for card in cards)
    return [
        ClassChange(one.pod, current[one.pod], _next_smaller(policy.sizes, current[one.pod]), one.reason)
        for one in busy_guard.leavers(shared)
    ]


def _fits_known(
    pod: PodUse, size: int, card_memory_mib: float, policy: ClassPolicy, growth: MemoryGrowth
) -> bool:
    """Whether pods like it fit a card as large as they were seen to be."""
    return size * growth.peak(pod) <= usable_memory(card_memory_mib, policy.memory_headroom)


def _risk(pods: Sequence[PodUse]) -> float:
    """Share of time these pods would have contended, over the window or yesterday, whichever is higher."""
    window = [pod.days[-WINDOW_DAYS:] for pod in pods]
    return max(joint_share(window), joint_share([days[-1:] for days in window]))


def _hot_nodes(
    known: Mapping[str, PodUse], nodes: Iterable[Sequence[str]], hot: float
) -> list[tuple[float, Sequence[str]]]:
    shares = [(_risk([known[name] for name in node]), node) for node in nodes if len(node) > 1]
    return sorted((pair for pair in shares if pair[0] > hot), key=lambda pair: (-pair[0], sorted(pair[1])))


def _leavers(
    node: Iterable[str],
    known: Mapping[str, PodUse],
    is_too_loose: Callable[[str], bool],
    hot: float,
) -> list[str]:
    """Pods that outgrew their class leave first, then the busiest, until the rest is cool."""
    rest, leavers = sorted(node), []
    while len(rest) > 1 and _risk([known[name] for name in rest]) > hot:
        leaver = max(rest, key=lambda n: (is_too_loose(n), known[n].expected_busy, n))
        rest.remove(leaver)
        leavers.append(leaver)
    return leavers


def _spare(room: float, before: int, after: int) -> float:
    saved = 1 / before - 1 / after
    return float(room ** (0.5 / saved))


def _next_smaller(sizes: Sequence[int], size: int) -> int:
    return max((s for s in sizes if s < size), default=1)
