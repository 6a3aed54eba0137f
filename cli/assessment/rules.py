"""
How many GPUs each rule would need for the pods that could share one model of GPU, and at what risk. Pure.

The rules are those of tuning and of the backtest; nothing is decided here that they do not decide.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from slicewise.tuning.classes.rule import ClassPolicy, calibrate_classes, class_of, place_in_classes
from slicewise.tuning.packing.placement import settle
from slicewise.tuning.packing.requests import PackingPolicy, requests_for
from slicewise.tuning.packing.rule import calibrate_packing
from slicewise.tuning.rule.memory_growth import MemoryGrowth
from slicewise.tuning.rule.replicas import Bound, Choice, Host, choose_replicas
from slicewise.tuning.usage.evidence import WINDOW_DAYS, PodUse, usable_memory

from cli.output import plural

WHOLE, TWO, ONE_N, CLASSES, PACKING, BOUND = "whole", "two", "n", "classes", "packing", "bound"
TITLES = {
    WHOLE: "whole GPUs",
    TWO: "N = 2 for all",
    ONE_N: "one N, by the rule",
    CLASSES: "classes",
    PACKING: "measured packing",
    BOUND: "lower bound",
}
# Packing is tried on a copy of the fleet, GPU by GPU: the time grows with the square of the pods.
MOST_PACKED = 2000
# Of sums of fractions: what is nine GPUs to all that is measured is not ten.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Estimate:
    """
    Attributes:
        rule: WHOLE, TWO and so on.
        gpus: That the pods which could share would need; None where that is not known.
        risk: What is against it, or why it is not known.
        n: Pods that share a GPU; 0 where that differs from pod to pod.
        doubt: Why its figure is not to be counted on, in a few words; "" where it is.
    """

    rule: str
    gpus: int | None
    risk: str
    n: int = 0
    doubt: str = ""

    @property
    def title(self) -> str:
        if self.rule == ONE_N and self.n:
            return f"one N = {self.n}, by the rule"
        return TITLES[self.rule] + (f", {self.doubt}" if self.doubt else "")


@dataclass(frozen=True)
class Rules:
    """
    Attributes:
        choice: The rule's N with its arithmetic; None where nothing was measured.
        sizes: How many pods belong in each class.
    """

    estimates: tuple[Estimate, ...]
    choice: Choice | None = None
    sizes: Counter[int] | None = None

    def gpus(self, rule: str) -> int | None:
        return next((one.gpus for one in self.estimates if one.rule == rule), None)

    def pools(self, rule: str) -> tuple[int, ...] | None:
        """GPUs of each NodePool: each class has one, with machines of its own."""
        needed = self.gpus(rule)
        if needed is not None and rule == CLASSES and self.sizes:
            return tuple(_at(pods, size) for size, pods in sorted(self.sizes.items()))
        return None if needed is None else (needed,)


def unmeasured(pods: int, why: str) -> Rules:
    """What the number of pods alone says."""
    if not pods:
        return none_could_share()
    two = f"whether two pods fit in a GPU's memory is not known: {why}"
    unknown = [Estimate(rule, None, f"not known: {why}") for rule in (ONE_N, CLASSES, PACKING, BOUND)]
    return Rules((_whole(pods), Estimate(TWO, _at(pods, 2), two, 2, doubt="if it fits"), *unknown))


def none_could_share() -> Rules:
    """No pod could share: nodes without pods could still be removed."""
    return Rules((_whole(0),))


def rules(name: str, pods: Sequence[PodUse], card_mib: int, host: Host) -> Rules:
    """
    Args:
        name: Of the model of GPU.
        pods: Those that could share, measured or not; a pod without a full day counts as a whole GPU.
        host: What a machine of today has for each GPU.
    """
    if not pods:
        return none_could_share()
    growth = MemoryGrowth(pods)
    choice = choose_replicas(name, pods, card_mib, host=host)
    room = next(bound for bound in choice.bounds if bound.what == "host")
    classes, sizes = _classes(pods, card_mib, growth, room)
    return Rules(
        (
            _whole(len(pods)),
            _two(len(pods), choice),
            _one_n(len(pods), choice),
            classes,
            _packing(pods, card_mib, growth, room),
            Estimate(BOUND, lower_bound(pods, card_mib), "no placement needs fewer, by what was measured"),
        ),
        choice,
        sizes,
    )


def lower_bound(pods: Sequence[PodUse], card_mib: int) -> int:
    """All measured memory peaks in a row, or all busy time, whichever is more."""
    certain = [pod.lower for pod in pods if pod.has_history]
    memory = sum(pod.memory_mib for pod in certain) / card_mib
    days = [pod.days[-WINDOW_DAYS:] for pod in certain]
    busy = sum(sum(day.mean for day in of_pod) / len(of_pod) for of_pod in days)
    return max(1, math.ceil(max(memory, busy) - _ROUNDING))


def _at(pods: int, n: int) -> int:
    return -(-pods // n)


def _whole(pods: int) -> Estimate:
    return Estimate(
        WHOLE, pods, "no risk: each pod keeps a GPU of its own, and nodes that no pod needs are removed", 1
    )


def _two(pods: int, choice: Choice) -> Estimate:
    against = [bound for bound in choice.bounds if bound.n < 2]
    refused = "; ".join(f"{bound.what}: {bound.next_arithmetic}" for bound in against)
    fits = "; ".join(f"{bound.what} allows {bound.n}" for bound in choice.bounds)
    if against:
        return Estimate(TWO, _at(pods, 2), f"the rule refuses it: {refused}", 2, doubt="refused")
    return Estimate(TWO, _at(pods, 2), f"fits: {fits}", 2)


def _one_n(pods: int, choice: Choice) -> Estimate:
    bound = next((one for one in choice.bounds if one.what == choice.binding), choice.bounds[0])
    slow = f"{choice.slow_share:.1%} of busy time slower than twice"
    risk = f"bound by {choice.binding}: {bound.arithmetic}; {slow}; confidence {choice.confidence}"
    return Estimate(ONE_N, _at(pods, choice.target), risk, choice.target)


def _classes(
    pods: Sequence[PodUse], card_mib: int, growth: MemoryGrowth, host: Bound
) -> tuple[Estimate, Counter[int]]:
    policy = ClassPolicy()
    found = calibrate_classes(pods, card_mib, policy, growth=growth)
    sizes = [class_of(pod, found.threshold, card_mib, policy, growth=growth) for pod in pods]
    groups = place_in_classes(sizes, range(len(sizes)))
    classes = ", ".join(
        f"{plural(count, 'pod')} at {size} a GPU" for size, count in sorted(Counter(sizes).items())
    )
    room = _room(host, max(sizes))
    risk = (
        f"{_replayed(found.contended, found.folds)}; {classes}{room}; a change of class restarts its workload"
    )
    return Estimate(CLASSES, len(groups), risk), Counter(sizes)


def _packing(pods: Sequence[PodUse], card_mib: int, growth: MemoryGrowth, host: Bound) -> Estimate:
    if len(pods) > MOST_PACKED:
        return Estimate(PACKING, None, f"not tried: {len(pods)} pods are more than {MOST_PACKED}")
    policy = PackingPolicy()
    found = calibrate_packing(pods, card_mib, policy, growth=growth)
    memory = usable_memory(card_mib, policy.memory_headroom)
    asks = requests_for(pods, found.threshold, card_mib, policy, growth)
    groups = settle(asks, range(len(asks)), memory).groups()
    risk = _replayed(found.contended, found.folds) + _room(host, max(map(len, groups)))
    return Estimate(PACKING, len(groups), f"{risk}; only reckoned: no policy asks for it yet")


def _room(host: Bound, most: int) -> str:
    """Karpenter starts a larger machine where so many pods do not fit on one of today's."""
    if most <= host.n:
        return ""
    return f"; up to {most} on a GPU need larger machines than today's ({host.arithmetic}), which cost more"


def _replayed(contended: float, folds: int) -> str:
    if not folds:
        return "too few days to replay, so the tightest threshold counts"
    return f"contended {contended:.2%} of GPU time in {folds} replayed days"
