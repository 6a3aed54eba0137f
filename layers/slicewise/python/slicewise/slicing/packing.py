"""
Measured packing: pods ask for the memory and busy time that they were seen to use.

A request is (peak memory, busy thousandths of a node's 1,000). It is decided
once a day and sparingly, for a new request restarts the pod: pods leave GPUs
that contended too long on their own past, and requests fall only where that
lets a GPU go. Where pods land is the scheduler's choice, so the day's changes
are tried on a copy of the fleet first, till no GPU of it is hot.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from slicewise.slicing.evidence import PodUse, usable_memory
from slicewise.slicing.packing_calibration import (
    Calibration,
    calibrate,
    daily_folds,
    daily_target,
    recent_share,
)
from slicewise.slicing.packing_placement import Fleet, Request, settle

WHOLE = 1000
# A GPU at twice the threshold is contended about this share of the time: the scale that joins both risks.
OVERLOAD_RISK = 0.05
# GPUs of a copy that are tried in turn for consolidation: it takes their number squared.
TRIED = 1000

# How long the pods with these names, in ascending order, would have contended lately if they shared a GPU.
Risk = Callable[[tuple[str, ...]], float]


@dataclass(frozen=True)
class PackingPolicy:
    """
    Attributes:
        memory_headroom: Share of the card kept free: fragmentation, and peaks between two samples.
        gate: Share of GPU time that may be contended: the promise.
        safety: Share of the gate to spend a day, as `daily_target` keeps account of it.
        week_safety: The same for a decision that is to last a week: drift has seven times as long.
        hot: A GPU is hot when its pods would have contended longer than this on their own past: 1.5 gates.
        raise_factor: How far the request of a pod that leaves a hot GPU rises at least.
        lower_below: A request is too large when the pod needs less than this share of it.
        moves: Most raises a day.
        rounds: How often the day's raises are tried on a copy, and who lands on a hot GPU raised again.
    """

    memory_headroom: float = 0.1
    gate: float = 0.01
    safety: float = 0.85
    week_safety: float = 0.4
    hot: float = 0.015
    raise_factor: float = 1.25
    lower_below: float = 0.8
    moves: int = 25
    rounds: int = 4


@dataclass(frozen=True)
class Change:
    """A new request for one pod, and why. It restarts the pod."""

    pod: str
    request: Request
    reason: str


def request_for(pod: PodUse, threshold: float, memory_mib: int) -> Request:
    """
    The request vector of one pod.

    It always fits an empty GPU: a pod that needs more than the usable memory,
    or has no history, asks for all of it.
    """
    if not pod.can_share or not threshold > 0:
        return Request(memory_mib, WHOLE)
    # At least one thousandth: a pod that asks for nothing would fit on a full GPU.
    busy = max(1, math.ceil(min(WHOLE, WHOLE * pod.expected_busy / threshold)))
    return Request(min(memory_mib, max(1, math.ceil(pod.memory_mib))), busy)


def calibrate_packing(
    pods: Sequence[PodUse],
    card_memory_mib: float,
    policy: PackingPolicy | None = None,
    folds=daily_folds,
    happened: Sequence[float] = (),
) -> Calibration:
    """The threshold for `request_for`, from past days only; `happened` as in `daily_target`."""
    policy = policy or PackingPolicy()
    memory = usable_memory(card_memory_mib, policy.memory_headroom)

    def group(train: Sequence[PodUse], threshold: float, order: Sequence[int]) -> list[list[int]]:
        return settle([request_for(pod, threshold, memory) for pod in train], order, memory).groups()

    return calibrate(pods, group, daily_target(policy.gate, policy.safety, happened), folds)


def repack(
    pods: Mapping[str, PodUse],
    nodes: Sequence[Sequence[str]],
    current: Mapping[str, Request],
    threshold: float,
    card_memory_mib: float,
    policy: PackingPolicy | None = None,
) -> list[Change]:
    """
    The day's changes, raises first, hottest GPU first.

    Args:
        pods: Evidence by pod name; a pod on a node but not here counts as a whole GPU.
        nodes: The pods of each GPU.
        current: What each pod asks for today; one without is taken to ask for a whole GPU.
    """
    policy = policy or PackingPolicy()
    memory = usable_memory(card_memory_mib, policy.memory_headroom)
    known = {name: pods.get(name, PodUse(name, math.nan)) for node in nodes for name in node}
    wanted = {name: request_for(pod, threshold, memory) for name, pod in known.items()}
    current = {name: current.get(name, Request(memory, WHOLE)) for name in known}
    risk = cache(lambda names: recent_share([known[name].days for name in names]))
    copy = _Copy(nodes, current, memory)
    raises = _outgrown_memory(known, current, wanted)
    groups = [[name for name in node if name not in raises] for node in nodes]
    for _ in range(policy.rounds):
        before = dict(raises)
        for share, node in _hottest(groups, risk, policy.hot):
            for name in _leavers(node, known, raises, risk, policy.hot, threshold):
                if name in raises or len(raises) < policy.moves:
                    raises[name] = _raise(name, share, raises.get(name), current[name], wanted[name], policy)
        if raises == before:
            break
        groups = copy.groups(copy.after(raises))
    return [*raises.values(), *_lowers(copy, raises, wanted, risk, policy)]


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
    busy = min(WHOLE, max(wanted.busy, math.ceil(asked.busy * policy.raise_factor)))
    reason = f"its GPU would have been contended {share:.1%} of the time, over {policy.hot:.1%}"
    request = Request(max(asked.memory_mib, wanted.memory_mib), busy)
    return Change(name, request, before.reason if before else reason)


def _outgrown_memory(known, current, wanted) -> dict[str, Change]:
    """Memory is never overcommitted: these come first and count against no limit."""
    return {
        name: Change(
            name, Request(wanted[name].memory_mib, max(wanted[name].busy, current[name].busy)), reason
        )
        for name in sorted(known)
        if (reason := f"its memory peak outgrew {current[name].memory_mib} MiB")
        and wanted[name].memory_mib > current[name].memory_mib
    }


def _lowers(
    copy: "_Copy",
    raises: Mapping[str, Change],
    wanted: Mapping[str, Request],
    risk: Risk,
    policy: PackingPolicy,
) -> list[Change]:
    """Lower requests only where a GPU can be emptied thereafter and no other becomes hot."""
    before = {
        pod: request
        for pod, (name, request) in enumerate(zip(copy.names, copy.requests, strict=True))
        if name not in raises and wanted[name].busy < policy.lower_below * request.busy
    }
    if not before:
        return []
    fleet = copy.after(raises)
    for pod, request in before.items():
        fleet.ask(pod, Request(request.memory_mib, wanted[copy.names[pod]].busy))

    def is_cool(group: Sequence[int]) -> bool:
        return len(group) < 2 or risk(tuple(sorted(copy.names[pod] for pod in group))) <= policy.hot

    fleet.consolidate(is_cool, TRIED)
    lowers = []
    for pod, request in sorted(before.items(), key=lambda item: (-item[1].busy, copy.names[item[0]])):
        lowered, index = fleet.requests[pod], fleet.where[pod]
        # Whose GPU has room for its old request is not restarted for a lower one.
        if fleet.spare(index).busy >= request.busy - lowered.busy:
            fleet.ask(pod, request)
        else:
            reason = f"it needs {lowered.busy} of its {request.busy} thousandths, and a GPU can go"
            lowers.append(Change(copy.names[pod], lowered, reason))
    return lowers


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
