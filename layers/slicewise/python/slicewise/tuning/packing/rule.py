"""
Measured packing: pods request the memory and busy time that they were seen to use.

A request is (peak memory, busy thousandths of a node's 1,000). It is decided
once a day and sparingly, for a new request restarts the pod: pods leave GPUs
that contended too long on their own past, and requests fall only where that
lets a GPU go. Where pods land is the scheduler's choice, so the day's changes
are tried on a copy of the fleet first, till no GPU of it is hot.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from slicewise.tuning.packing.calibration import (
    Calibration,
    Folds,
    calibrate,
    daily_folds,
    daily_target,
    recent_share,
)
from slicewise.tuning.packing.placement import Fleet, Request, settle
from slicewise.tuning.packing.requests import WHOLE, PackingPolicy, asked_mib, request_for, requests_for
from slicewise.tuning.rule.busy_guard import FullCard, leavers
from slicewise.tuning.rule.memory_growth import MemoryGrowth, outgrowing
from slicewise.tuning.rule.memory_sum import fits
from slicewise.tuning.usage.evidence import PodUse, usable_memory

# A GPU at twice the threshold is contended about this share of the time: the scale that joins both risks.
OVERLOAD_RISK = 0.05
# GPUs of a copy that are tried in turn for consolidation: it takes their number squared.
TRIED = 1000

# How long the pods with these names, in ascending order, would have contended lately if they shared a GPU.
Risk = Callable[[tuple[str, ...]], float]


@dataclass(frozen=True)
class Change:
    """A new request for one pod, and why. It restarts the pod."""

    pod: str
    request: Request
    reason: str


def calibrate_packing(
    pods: Sequence[PodUse],
    card_memory_mib: float,
    policy: PackingPolicy | None = None,
    folds: Folds = daily_folds,
    happened: Sequence[float] = (),
    growth: MemoryGrowth | None = None,
) -> Calibration:
    """The threshold for `request_for`, from past days only; `happened` as in `daily_target`."""
    policy, growth = policy or PackingPolicy(), growth or MemoryGrowth(pods)
    memory = usable_memory(card_memory_mib, policy.memory_headroom)
    asked = {pod.name: asked_mib(pod, card_memory_mib, policy, growth) for pod in pods}

    def group(train: Sequence[PodUse], threshold: float) -> Callable[[Sequence[int]], list[list[int]]]:
        asks = [request_for(pod, threshold, memory, asked[pod.name]) for pod in train]
        return lambda order: settle(asks, order, memory).groups()

    target = daily_target(policy.gate, policy.safety, happened)
    return calibrate(pods, group, target, folds, watched=folds is daily_folds)


def repack(
    pods: Mapping[str, PodUse],
    nodes: Sequence[Sequence[str]],
    current: Mapping[str, Request],
    threshold: float,
    card_memory_mib: float,
    policy: PackingPolicy | None = None,
    growth: MemoryGrowth | None = None,
) -> list[Change]:
    """
    The day's changes, raises first, hottest GPU first.

    Args:
        pods: Evidence by pod name; a pod on a node but not here counts as a whole GPU.
        nodes: The pods of each GPU.
        current: What each pod requests today; one without is taken to request a whole GPU.
    """
    policy, growth = policy or PackingPolicy(), growth or MemoryGrowth(pods.values())
    memory = usable_memory(card_memory_mib, policy.memory_headroom)
    known = {name: pods.get(name, PodUse(name, math.nan)) for node in nodes for name in node}
    asks = requests_for(list(known.values()), threshold, card_memory_mib, policy, growth)
    wanted = dict(zip(known, asks, strict=True))
    current = {name: current.get(name, Request(memory, WHOLE)) for name in known}
    copy = _Copy(nodes, current, memory)
    day = _Day(policy, card_memory_mib, threshold, known, current, wanted, growth)
    day.raise_until_cool(nodes, copy)
    return [*day.raises.values(), *_lowers(copy, day.raises, wanted, day.may_meet, policy)]


class _Day:
    """
    One day's raises as they are decided, a pod once.

    Args:
        known: What each pod is known to use, by name.
        current: What each requests.
        wanted: What each would request today.
    """

    def __init__(
        self,
        policy: PackingPolicy,
        card_memory_mib: float,
        threshold: float,
        known: Mapping[str, PodUse],
        current: Mapping[str, Request],
        wanted: Mapping[str, Request],
        growth: MemoryGrowth,
    ):
        self._policy, self._card_mib, self._threshold = policy, card_memory_mib, threshold
        self._known, self._current, self._wanted, self._growth = known, current, wanted, growth
        self._risk: Risk = cache(lambda names: recent_share([known[name].days for name in names]))
        self.raises = _outgrown_memory(known, current, wanted, growth)

    def raise_until_cool(self, nodes: Sequence[Sequence[str]], copy: "_Copy") -> None:
        """Round after round, on a copy of the fleet, until no GPU of it is hot or may overflow."""
        groups = [[name for name in node if name not in self.raises] for node in nodes]
        for _ in range(self._policy.rounds):
            before = dict(self.raises)
            self._raise_memory(groups)
            self._raise_busy(groups)
            if self.raises == before:
                return
            groups = copy.groups(copy.after(self.raises))

    def may_meet(self, group: tuple[str, ...]) -> bool:
        """Whether these pods may share a GPU."""
        policy = self._policy
        members = self._growth.members(self._known[name] for name in group)
        return self._risk(group) <= policy.hot and fits(
            members, self._card_mib, policy.memory_headroom, policy.memory_quantile, policy.memory_surge
        )

    def _raise_memory(self, groups: Sequence[Sequence[str]]) -> None:
        memory = usable_memory(self._card_mib, self._policy.memory_headroom)
        for node in sorted(tuple(sorted(group)) for group in groups):
            for name in _outgrowing(
                node, self._known, self.raises.__contains__, self._card_mib, self._policy, self._growth
            ):
                self.raises[name] = _raise_memory(
                    self._known[name],
                    self.raises.get(name),
                    self._current[name],
                    self._wanted[name],
                    memory,
                    self._policy,
                    self._growth,
                )

    def _raise_busy(self, groups: Sequence[Sequence[str]]) -> None:
        policy = self._policy
        for share, node in _hottest(groups, self._risk, policy.hot):
            for name in _leavers(node, self._known, self.raises, self._risk, policy.hot, self._threshold):
                before = self.raises.get(name)
                if before or len(self.raises) < policy.moves:
                    self.raises[name] = _raise(
                        name, share, before, self._current[name], self._wanted[name], policy
                    )


def part(
    pods: Mapping[str, PodUse],
    nodes: Sequence[Sequence[str]],
    current: Mapping[str, Request],
    threshold: float,
    card_memory_mib: float,
    policy: PackingPolicy,
    growth: MemoryGrowth,
) -> list[Change]:
    """
    Pods that request more once the day's changes have landed: the scheduler need not put pods where they were
    tried, and a pod that requests less than it would today takes too many beside it. Siblings that request
    enough would land together again: they wait for the next morning.

    Args:
        pods, nodes, current: As in `repack`, with evidence about each pod on a node.
    """
    memory = usable_memory(card_memory_mib, policy.memory_headroom)
    asks = requests_for(list(pods.values()), threshold, card_memory_mib, policy, growth)
    wanted = dict(zip(pods, asks, strict=True))

    def asks_too_little(name: str) -> bool:
        return wanted[name].memory_mib > current[name].memory_mib

    return [
        _raise_memory(pods[name], None, current[name], wanted[name], memory, policy, growth)
        for node in nodes
        if len(node) > 1
        for name in _outgrowing(sorted(node), pods, asks_too_little, card_memory_mib, policy, growth)
        if asks_too_little(name)
    ]


def _outgrowing(
    node: Sequence[str],
    known: Mapping[str, PodUse],
    goes_first: Callable[[str], bool],
    card_memory_mib: float,
    policy: PackingPolicy,
    growth: MemoryGrowth,
) -> list[str]:
    return outgrowing(
        node,
        known,
        goes_first,
        card_memory_mib,
        policy.memory_headroom,
        policy.memory_quantile,
        growth,
        policy.memory_surge,
    )


def crowded_out(
    cards: Iterable[FullCard], current: Mapping[str, Request], threshold: float, policy: PackingPolicy
) -> list[Change]:
    """Pods that request more before the next day, since their GPU has had no rest. See `busy_guard`."""
    return [
        Change(
            one.pod,
            Request(
                current[one.pod].memory_mib,
                _more(current[one.pod].busy, math.ceil(WHOLE * one.busy / threshold), policy),
            ),
            one.reason,
        )
        for one in leavers(cards)
    ]


def _more(asked: int, wanted: int, policy: PackingPolicy) -> int:
    """The busy thousandths to request for a pod that leaves its GPU."""
    return min(WHOLE, max(wanted, math.ceil(asked * policy.raise_factor)))


def _hottest(groups: Sequence[Sequence[str]], risk: Risk, hot: float) -> list[tuple[float, tuple[str, ...]]]:
    nodes = [tuple(sorted(group)) for group in groups if len(group) > 1]
    return sorted(((risk(node), node) for node in nodes if risk(node) > hot), key=lambda p: (-p[0], p[1]))


def _leavers(
    node: tuple[str, ...],
    known: Mapping[str, PodUse],
    restarted: Mapping[str, Change],
    risk: Risk,
    hot: float,
    threshold: float,
) -> list[str]:
    """
    Who has to go for the rest to be cool and, if it can be, within the threshold.

    Where that leaves a choice, who is restarted anyway; else the least busy.
    """
    rest, leavers = node, []
    while len(rest) > 1 and risk(rest) > hot:

        def burden(name: str, rest: tuple[str, ...] = rest) -> tuple[float, bool, float, str]:
            staying = tuple(other for other in rest if other != name)
            load = sum(known[other].expected_busy for other in staying) / threshold
            # Below half of the limit, cooler is no better; a load over the threshold is risk to come.
            heat = max(risk(staying), hot / 2) + OVERLOAD_RISK * max(0.0, load - 1)
            return heat, name not in restarted, known[name].expected_busy, name

        leaver = min(rest, key=burden)
        rest = tuple(name for name in rest if name != leaver)
        leavers.append(leaver)
    return leavers


def _raise(
    name: str, share: float, before: Change | None, now: Request, wanted: Request, policy: PackingPolicy
) -> Change:
    asked = before.request if before else now
    busy = _more(asked.busy, wanted.busy, policy)
    reason = f"its GPU would have been contended {share:.1%} of the time, over {policy.hot:.1%}"
    request = Request(max(asked.memory_mib, wanted.memory_mib), busy)
    return Change(name, request, before.reason if before else reason)


def _outgrown_memory(
    known: Mapping[str, PodUse],
    current: Mapping[str, Request],
    wanted: Mapping[str, Request],
    growth: MemoryGrowth,
) -> dict[str, Change]:
    """
    Memory is never overcommitted: these come first and count against no limit.

    A request that leaves less to grow than it would today is no reason yet: see `outgrowing`.
    """
    return {
        name: Change(
            name, Request(wanted[name].memory_mib, max(wanted[name].busy, current[name].busy)), reason
        )
        for name in sorted(known)
        if (reason := f"its memory peak outgrew {current[name].memory_mib} MiB")
        and wanted[name].memory_mib > current[name].memory_mib
        and not growth.peak(known[name]) <= current[name].memory_mib
    }


def _raise_memory(
    pod: PodUse,
    before: Change | None,
    now: Request,
    wanted: Request,
    memory: int,
    policy: PackingPolicy,
    growth: MemoryGrowth,
) -> Change:
    asked = before.request if before else now
    least = math.ceil(asked.memory_mib * policy.raise_factor) if before else asked.memory_mib
    request = Request(min(memory, max(wanted.memory_mib, least)), max(wanted.busy, asked.busy))
    reason = before.reason if before else growth.explain(pod, policy.memory_quantile, policy.memory_surge)
    return Change(pod.name, request, reason)


def _lowers(
    copy: "_Copy",
    raises: Mapping[str, Change],
    wanted: Mapping[str, Request],
    may_meet: Callable[[tuple[str, ...]], bool],
    policy: PackingPolicy,
) -> list[Change]:
    """Lower requests only where a GPU can be emptied thereafter and no other becomes hot or may overflow."""
    before = _too_large(copy, raises, wanted, policy)
    if not before:
        return []
    fleet = copy.after(raises)
    for pod, request in before.items():
        needed = wanted[copy.names[pod]]
        fleet.ask(pod, Request(min(request.memory_mib, needed.memory_mib), min(request.busy, needed.busy)))

    def is_wanted(group: Sequence[int]) -> bool:
        return len(group) < 2 or may_meet(tuple(sorted(copy.names[pod] for pod in group)))

    fleet.consolidate(is_wanted, TRIED)
    lowers = []
    for pod, request in sorted(before.items(), key=lambda item: (-item[1].busy, copy.names[item[0]])):
        if _has_room_for(request, fleet, pod):
            # It is not restarted for a lower request.
            fleet.ask(pod, request)
        else:
            lowers.append(_lower(copy.names[pod], request, fleet.requests[pod]))
    return lowers


def _too_large(
    copy: "_Copy", raises: Mapping[str, Change], wanted: Mapping[str, Request], policy: PackingPolicy
) -> dict[int, Request]:
    """By number, what pods request that request more than they need."""
    return {
        pod: request
        for pod, (name, request) in enumerate(zip(copy.names, copy.requests, strict=True))
        if name not in raises
        and (
            wanted[name].busy < policy.lower_below * request.busy
            or wanted[name].memory_mib < policy.lower_memory_below * request.memory_mib
        )
    }


def _has_room_for(request: Request, fleet: Fleet, pod: int) -> bool:
    """Whether the pod's GPU holds this request in place of the pod's own."""
    lowered, spare = fleet.requests[pod], fleet.spare(fleet.where[pod])
    return (
        spare.busy >= request.busy - lowered.busy
        and spare.memory_mib >= request.memory_mib - lowered.memory_mib
    )


def _lower(name: str, request: Request, lowered: Request) -> Change:
    reason = (
        f"it needs {lowered.busy} of its {request.busy} thousandths and {lowered.memory_mib} of its "
        f"{request.memory_mib} MiB, and a GPU can go"
    )
    return Change(name, lowered, reason)


class _Copy:
    """The fleet as it is, over its capacity or not, to try changes on. Pods are numbered by name."""

    def __init__(self, nodes: Sequence[Sequence[str]], current: Mapping[str, Request], memory: int):
        self.names = sorted(current)
        self._number = {name: index for index, name in enumerate(self.names)}
        # Sorted, so that the order in which a cluster lists its nodes changes nothing.
        self._nodes = sorted(sorted(self._number[name] for name in node) for node in nodes if node)
        self.requests = [current[name] for name in self.names]
        self._memory = memory

    def groups(self, fleet: Fleet) -> list[list[str]]:
        return [[self.names[pod] for pod in group] for group in fleet.groups()]

    def after(self, changes: Mapping[str, Change]) -> Fleet:
        """As the scheduler and Karpenter would leave it, once the changed pods are restarted."""
        fleet = Fleet(self.requests, self._memory)
        for node in self._nodes:
            index = fleet.new_node()
            for pod in node:
                fleet.put(pod, index)
        for name, change in changes.items():
            fleet.remove(self._number[name])
            fleet.ask(self._number[name], change.request)
        # All restarted pods are pending at once; the larger ones are bound first where they fit.
        for change in sorted(changes.values(), key=lambda change: (-change.request.busy, change.pod)):
            fleet.place(self._number[change.pod])
        fleet.consolidate(most=TRIED)
        return fleet
