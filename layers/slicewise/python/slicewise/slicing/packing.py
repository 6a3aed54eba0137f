"""
Measured packing: pods ask for the memory and busy time that they were seen to use.

A request is (peak memory, busy thousandths of a node's 1,000). It is decided
once a day and sparingly, for a new request restarts the pod: GPUs whose pods
contended too long on their own past first, a bounded number of raises, and a
lower request only where it lets a GPU go.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slicewise.slicing.evidence import WINDOW_DAYS, PodUse, usable_memory
from slicewise.slicing.packing_calibration import (
    Calibration,
    calibrate,
    daily_folds,
    joint_share,
)
from slicewise.slicing.packing_placement import Fleet, Request, settle

WHOLE = 1000
# A GPU at twice the threshold is contended about this share of the time: the scale that joins both risks.
OVERLOAD_RISK = 0.05


@dataclass(frozen=True)
class PackingPolicy:
    """
    Attributes:
        memory_headroom: Share of the card kept free: fragmentation, and peaks between two samples.
        gate: Share of GPU time that may be contended: the promise.
        safety: Calibrate to this share of the gate, since the next days differ from the past ones.
        week_safety: The same for a decision that is to last a week: drift has seven times as long.
        hot: A GPU is hot when its pods would have contended longer than this on their own past: the gate.
        raise_factor: How far the request of a pod that leaves a hot GPU rises at least.
        lower_below: A request is too large when the pod needs less than this share of it.
        moves: Most raises a day.
    """

    memory_headroom: float = 0.1
    gate: float = 0.01
    safety: float = 0.6
    week_safety: float = 0.4
    hot: float = 0.01
    raise_factor: float = 1.25
    lower_below: float = 0.4
    moves: int = 25


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
) -> Calibration:
    """The threshold for `request_for`, from past days only."""
    policy = policy or PackingPolicy()
    memory = usable_memory(card_memory_mib, policy.memory_headroom)

    def group(train: Sequence[PodUse], threshold: float, order: Sequence[int]) -> list[list[int]]:
        return settle([request_for(pod, threshold, memory) for pod in train], order, memory).groups()

    return calibrate(pods, group, policy.safety * policy.gate, folds)


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
    raises = _outgrown_memory(known, current, wanted)
    changed = {change.pod for change in raises}
    for share, node in _hottest(known, nodes, policy):
        for name in _leavers([n for n in node if n not in changed], known, policy.hot, threshold):
            if len(raises) >= policy.moves:
                break
            raises.append(_raise(name, share, current[name], wanted[name], policy))
            changed.add(name)
    return raises + _lowers(nodes, current, wanted, raises, memory, policy)


def node_risk(pods: Sequence[PodUse]) -> float:
    """Share of time these pods would have contended, over the window or yesterday, whichever is higher."""
    window = [pod.days[-WINDOW_DAYS:] for pod in pods]
    return max(joint_share(window), joint_share([days[-1:] for days in window]))


def _hottest(known, nodes, policy) -> list[tuple[float, Sequence[str]]]:
    shares = [(node_risk([known[name] for name in node]), node) for node in nodes if len(node) > 1]
    return sorted(
        (pair for pair in shares if pair[0] > policy.hot), key=lambda pair: (-pair[0], sorted(pair[1]))
    )


def _leavers(node: Sequence[str], known: Mapping[str, PodUse], hot: float, threshold: float) -> list[str]:
    """Who has to go for the rest to be cool and, if it can be, within the threshold: the least busy."""
    rest, leavers = sorted(node), []
    while len(rest) > 1 and node_risk([known[name] for name in rest]) > hot:

        def burden(name: str, rest: Sequence[str] = rest) -> tuple[float, float, str]:
            staying = [known[other] for other in rest if other != name]
            load = sum(pod.expected_busy for pod in staying) / threshold
            # Below half of the limit, cooler is no better; a load over the threshold is risk to come.
            risk = max(node_risk(staying), hot / 2) + OVERLOAD_RISK * max(0.0, load - 1)
            return risk, known[name].expected_busy, name

        leaver = min(rest, key=burden)
        rest = [name for name in rest if name != leaver]
        leavers.append(leaver)
    return leavers


def _raise(name: str, share: float, now: Request, wanted: Request, policy: PackingPolicy) -> Change:
    busy = min(WHOLE, max(wanted.busy, math.ceil(now.busy * policy.raise_factor)))
    reason = f"its GPU would have been contended {share:.1%} of the time, over {policy.hot:.1%}"
    return Change(name, Request(max(now.memory_mib, wanted.memory_mib), busy), reason)


def _outgrown_memory(known, current, wanted) -> list[Change]:
    """Memory is never overcommitted: these come first and count against no limit."""
    return [
        Change(name, Request(wanted[name].memory_mib, max(wanted[name].busy, current[name].busy)), reason)
        for name in sorted(known)
        if (reason := f"its memory peak outgrew {current[name].memory_mib} MiB")
        and wanted[name].memory_mib > current[name].memory_mib
    ]


def _lowers(nodes, current, wanted, raises, memory: int, policy: PackingPolicy) -> list[Change]:
    """Lower a request only where its GPU can be emptied thereafter, as tried on a copy of the fleet."""
    names = sorted(name for node in nodes for name in node)
    number = {name: index for index, name in enumerate(names)}
    fleet = _fleet([[number[n] for n in node] for node in nodes], [current[n] for n in names], memory)
    for change in raises:
        fleet.remove(number[change.pod])
        fleet.ask(number[change.pod], change.request)
    for change in sorted(raises, key=lambda change: (-change.request.busy, change.pod)):
        fleet.place(number[change.pod])
    raised = {change.pod for change in raises}
    too_large = [
        name
        for name in names
        if name not in raised and wanted[name].busy < policy.lower_below * current[name].busy
    ]
    lowers = []
    for name in sorted(too_large, key=lambda n: (wanted[n].busy - current[n].busy, n)):
        pod = number[name]
        before = fleet.requests[pod]
        request = Request(before.memory_mib, wanted[name].busy)
        fleet.ask(pod, request)
        if fleet.empty(fleet.where[pod]):
            reason = f"it needs {request.busy} of its {before.busy} thousandths, and a GPU can go"
            lowers.append(Change(name, request, reason))
        else:
            fleet.ask(pod, before)
    return lowers


def _fleet(nodes: Sequence[Sequence[int]], requests: Sequence[Request], memory: int) -> Fleet:
    """The fleet as it is, over its capacity or not."""
    fleet = Fleet(requests, memory)
    for node in nodes:
        index = fleet.new_node() if node else -1
        for pod in node:
            fleet.put(pod, index)
    return fleet
