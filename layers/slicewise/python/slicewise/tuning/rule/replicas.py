"""
How many pods of a pool may share a GPU: N, from what was measured, with its reasons.

    memory   the n largest peaks fit in (1 − h) · M, and in M with what they may grow by; memory_growth.py
    compute  n · ū + 1.645 · σ · √n ≤ η · (1 − 1/S); without a slowdown budget, ≤ η
    host     vCPU, RAM and pod places of the instance, a GPU, over what a pod requests
    encoders, decoders
             as compute, of the GPU's NVENCs and NVDECs, with η = 1; only where pods used them
    N        the smallest of them, at least 1, at most the policy's maximum

ū and σ are over all samples of all pods, a pod weighing as much as another.
Taken as it is, the compute bound would reward an idle pod for becoming busier, since σ falls when pods grow
alike. So it is read as "some level c, such that the formula holds with every sample below c counted as c":
the least change that makes more use never look better.
"""

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType

from slicewise.hardware.gpus import DECODERS, ENCODERS
from slicewise.tuning.rule.memory_growth import MemoryGrowth
from slicewise.tuning.rule.memory_sum import QUANTILE, Member, fits, upper_bound
from slicewise.tuning.usage.evidence import WINDOW_DAYS, Grade, PodUse, usable_memory
from slicewise.tuning.usage.lanes import from_lanes
from slicewise.tuning.usage.slowdown import TIME_SLICING_SWITCH, queueing

# One-sided 95 % of a normal distribution.
Z95 = 1.645
# From here on the card is as good as full, no matter what the pod does; vLLM and TensorFlow start so.
GREEDY_SHARE = 0.8
# Time-slicing keys that the device plugin's configuration offers at most.
HARD_CAP = 48
# η, what time-slicing leaves of a GPU: nos measured 90 %.
EFFICIENCY = 0.9
# The same of NVENC and NVDEC: NVIDIA calls what switching between sessions costs negligible ("NVENC
# Application Note" and "NVDEC Application Note" of Video Codec SDK 13.0).
VIDEO_EFFICIENCY = 1.0
# h, for fragmentation and for peaks between two samples.
MEMORY_HEADROOM = 0.1
# Fewer days than this say little about a week.
FEW_DAYS = 3


@dataclass(frozen=True)
class TuningPolicy:
    """
    Attributes:
        slowdown_budget: Mean slowdown S that a request may see; None for batch.
        efficiency: η.
        memory_headroom: h.
        max_replicas: Upper limit on N.
        memory_quantile: With what chance the memory of pods that meet must fit as it may grow.
        memory_horizon_days: For how many days: another N takes days to come.
    """

    slowdown_budget: float | None = 2.0
    efficiency: float = EFFICIENCY
    memory_headroom: float = MEMORY_HEADROOM
    max_replicas: int = 8
    memory_quantile: float = QUANTILE
    memory_horizon_days: int = 5

    @property
    def busy_limit(self) -> float:
        return self.efficiency * self._share_that_may_be_busy

    @property
    def video_limit(self) -> float:
        return VIDEO_EFFICIENCY * self._share_that_may_be_busy

    @property
    def _share_that_may_be_busy(self) -> float:
        if self.slowdown_budget is None:
            return 1.0
        if math.isnan(self.slowdown_budget):
            return 0.0
        return 1 - 1 / max(1.0, self.slowdown_budget)


@dataclass(frozen=True)
class Host:
    """
    What the instance has for each of its GPUs, and what a pod requests of it. Zero requests are no bound.
    """

    vcpu: float = math.inf
    memory_mib: float = math.inf
    pods: float = math.inf
    pod_vcpu: float = 0.0
    pod_memory_mib: float = 0.0


@dataclass(frozen=True)
class Bound:
    """One limit on N, the arithmetic at N, and what rules out N + 1."""

    what: str
    n: int
    arithmetic: str
    next_arithmetic: str


@dataclass(frozen=True)
class Choice:
    """
    The N of a pool and all that led to it.

    Attributes:
        slowdown_mean: Predicted mean slowdown at the target; infinite if one GPU is too small.
        slow_share: Predicted share of busy time slower than the budget (2 × without one).
        gpus: GPUs that the pods take at the current N and at the target.
        advice: A setting to change instead of N, or "".
    """

    pool: str
    current: int
    target: int
    bounds: tuple[Bound, ...]
    binding: str
    slowdown_mean: float
    slow_share: float
    pods: int
    gpus: tuple[int, int]
    confidence: str
    would_change: str
    advice: str = ""

    @property
    def sentence(self) -> str:
        """The decision in the words of its operator."""
        step = f"N {self.current}→{self.target}" if self.current != self.target else f"N stays {self.target}"
        limits = ", ".join(f"{b.what} allows {b.n} ({b.arithmetic})" for b in self.bounds)
        mean = f"{self.slowdown_mean:.1f}×" if math.isfinite(self.slowdown_mean) else "without limit"
        parts = [
            f"{self.pool}: {step}. {limits[:1].upper()}{limits[1:]}. Binding: {self.binding}.",
            f"Predicted mean slowdown {mean}, {self.slow_share:.1%} of busy time over the budget.",
            f"{self.pods} pods: {self.gpus[0]}→{self.gpus[1]} GPUs.",
            f"Confidence: {self.confidence}.",
            f"{self.would_change}",
            self.advice,
        ]
        return " ".join(part for part in parts if part)


def choose_replicas(
    pool: str,
    pods: Sequence[PodUse],
    card_memory_mib: float,
    *,
    host: Host | None = None,
    current: int = 1,
    policy: TuningPolicy | None = None,
    engines: Mapping[str, int | None] = MappingProxyType({}),
) -> Choice:
    """
    N for one pool of one GPU model.

    A pod without a full day of history counts as a whole GPU, as does one of
    unknown memory. Without any pods there is no evidence, and N is 1.

    Args:
        engines: How many encoders and decoders the GPU has, by kind, where that is known.
    """
    policy, host = policy or TuningPolicy(), host or Host()
    limit = max(1, min(policy.max_replicas, HARD_CAP))
    demand = Demand(pods)
    compute = _compute_bound(demand, policy, limit)
    bounds = (
        _memory_bound(pods, card_memory_mib, policy, limit),
        compute,
        _host_bound(host, limit),
        *_video_bounds(pods, policy, limit, engines, compute.n),
    )
    target = max(1, min(bound.n for bound in bounds))
    binding = _binding(bounds, limit)
    return Choice(
        pool=pool,
        current=current,
        target=target,
        bounds=bounds,
        binding=binding,
        slowdown_mean=queueing((target - 1) * demand.mean, policy.efficiency),
        slow_share=_slow_share(demand, target, policy),
        pods=len(pods),
        gpus=(-(-len(pods) // max(1, current)), -(-len(pods) // target)),
        confidence=_confidence(pods),
        would_change=_would_change(bounds, binding, target),
        advice=_greedy_advice(pods, card_memory_mib, bounds, policy),
    )


def is_greedy(pod: PodUse, card_memory_mib: float) -> bool:
    """Whether the pod takes most of the card from its start, no matter what it then does with it."""
    return (
        pod.has_history
        and math.isfinite(pod.memory_mib)
        and pod.memory_floor_mib >= GREEDY_SHARE * card_memory_mib
        # Flat: what a model needs varies with its load, what an allocator reserves does not.
        and pod.memory_mib - pod.memory_floor_mib <= 0.02 * card_memory_mib
    )


class Demand:
    """How busy the pods of a pool are, as one distribution in which every pod weighs the same."""

    def __init__(self, pods: Sequence[PodUse], of: Callable[[PodUse], Mapping[int, float]] | None = None):
        """
        Args:
            of: What a pod does: thousandths, and in which part of its time; how busy it is, if not given.
        """
        weights: dict[int, float] = defaultdict(float)
        # Pods of a workload share what was measured of it, and there may be hundreds of them.
        alike: dict[tuple[int, int, int, bool], list[PodUse]] = {}
        for pod in pods:
            key = (id(pod.pooled), id(pod.days), id(pod.video), pod.has_history)
            alike.setdefault(key, []).append(pod)
        for group in alike.values():
            for value, share in (of or _distribution)(group[0]).items():
                weights[value] += share * len(group)
        total = sum(weights.values()) or 1.0
        # Without pods: one that is always busy.
        self._values = sorted((v / 1000, w / total) for v, w in (weights or {1000: 1.0}).items())
        self._levels = [value for value, _ in self._values]
        self._needs: dict[int, tuple[float, float, float]] = {}

    @cached_property
    def mean(self) -> float:
        return sum(value * weight for value, weight in self._values)

    @cached_property
    def deviation(self) -> float:
        return self.floored(0.0)[1]

    def floored(self, level: float) -> tuple[float, float]:
        """Mean and standard deviation with every sample below `level` counted as `level`."""
        return _floored(level, *self._above[bisect_left(self._levels, level)])

    @cached_property
    def _above(self) -> list[tuple[float, float, float]]:
        """Weight, Σwv and Σwv² of the values from each index on."""
        sums = [(0.0, 0.0, 0.0)]
        for value, weight in reversed(self._values):
            w, first, second = sums[-1]
            sums.append((w + weight, first + weight * value, second + weight * value * value))
        return sums[::-1]

    def need(self, n: int) -> tuple[float, float, float]:
        """The least n·ū + 1.645·σ·√n over all levels, with its ū and σ. Never falls as a sample rises."""
        if n not in self._needs:
            self._needs[n] = self._need(n)
        return self._needs[n]

    def _need(self, n: int) -> tuple[float, float, float]:
        levels, above, root, top = self._levels, self._above, math.sqrt(n), self._levels[-1]

        def cost(level: float) -> float:
            mean, deviation = _floored(level, *above[bisect_left(levels, level)])
            return n * mean + Z95 * deviation * root

        low, high = 0.0, top
        # The cost is convex in the level: thirds close in on its least point.
        for _ in range(60):
            third = (high - low) / 3
            if cost(low + third) <= cost(high - third):
                high -= third
            else:
                low += third
        # The ends by name: at the top the deviation vanishes with a kink that thirds only approach.
        level = min((0.0, (low + high) / 2, top), key=cost)
        return (cost(level), *self.floored(level))


def _floored(level: float, weight: float, first: float, second: float) -> tuple[float, float]:
    """Of what lies above the level, its weight, Σwv and Σwv²: mean and standard deviation of all."""
    below = (1 - weight) * level
    mean = below + first
    square = below * level + second - mean * mean
    return mean, math.sqrt(square) if square > 0.0 else 0.0


def _distribution(pod: PodUse) -> dict[int, float]:
    days = pod.days[-WINDOW_DAYS:]
    if not pod.has_history:
        return {1000: 1.0}
    if pod.pooled:
        return dict(pod.pooled)
    counts: Counter[int] = Counter()
    for day in days:
        counts.update(from_lanes(day.lanes, day.samples))
    samples = sum(counts.values())
    return {value: count / samples for value, count in counts.items()}


def _memory_bound(pods: Sequence[PodUse], card: float, policy: TuningPolicy, limit: int) -> Bound:
    room = usable_memory(card, policy.memory_headroom)
    growth = MemoryGrowth((pod for pod in pods if pod.can_share), policy.memory_horizon_days)
    level, whole = policy.memory_quantile, PodUse("", max(room, 1.0))

    # Who cannot share counts as a whole GPU, and pods that do not exist yet as the one that needs most.
    known = [pod if pod.can_share else replace(whole, name=pod.name) for pod in pods] or [whole]
    known.sort(key=lambda pod: (-growth.may_reach(pod, level), -pod.memory_mib))

    def together(n: int) -> list[Member]:
        return growth.members(known[:n] + known[:1] * (n - len(known)))

    n = _largest(limit, lambda n: fits(together(n), card, policy.memory_headroom, level))

    def arithmetic(n: int) -> str:
        peaks_word = "the largest peak" if n == 1 else f"top-{n} peaks"
        members = together(n)
        peaks = sum(member.peak_mib for member in members)
        use = f"{peaks_word} {peaks / 1024:.1f} of {room / 1024:.1f} GiB"
        if not any(member.growth.over for member in members):
            return use
        bound = upper_bound(members, card, policy.memory_headroom, level)
        often = growth.growth(known[0]).describe(level)
        return f"{use}, may grow to {bound / 1024:.1f} of {card / 1024:.1f}: {often}"

    return Bound("memory", n, arithmetic(n), arithmetic(n + 1))


def _compute_bound(demand: Demand, policy: TuningPolicy, limit: int) -> Bound:
    return _bound_of_time("compute", demand, policy.busy_limit, limit)


def _bound_of_time(what: str, demand: Demand, most: float, limit: int, unit: str = "") -> Bound:
    """How many pods may share something that one of them uses at a time, of which `most` may be in use."""
    n = _largest(limit, lambda n: demand.need(n)[0] <= most + 1e-9)

    def arithmetic(n: int) -> str:
        need, mean, deviation = demand.need(n)
        sign = "≤" if need <= most + 1e-9 else ">"
        return f"{n}·{mean:.3f} + 1.645·{deviation:.3f}·√{n} = {need:.2f} {sign} {most:.2f}{unit}"

    return Bound(what, n, arithmetic(n), arithmetic(n + 1))


_ENGINES = {ENCODERS: "NVENC", DECODERS: "NVDEC"}


def _video_bounds(
    pods: Sequence[PodUse],
    policy: TuningPolicy,
    limit: int,
    engines: Mapping[str, int | None],
    compute: int,
) -> Iterator[Bound]:
    """
    Only of what the pods may have used. Where nothing of it is certain, gaps are all there is: these bind
    compute as well, and only a bound that is tighter is worth a line.
    """
    for kind, engine in _ENGINES.items():
        uses = [pod.video[kind] for pod in pods if kind in pod.video]
        if not any(use.is_any for use in uses):
            continue
        count = engines.get(kind)
        unit = f" of {count} {engine}" if count else f" of its {engine}"
        demand = Demand(pods, partial(_video_distribution, kind))
        bound = _bound_of_time(kind, demand, policy.video_limit, limit, unit)
        if bound.n < compute or any(use.lower.is_any for use in uses):
            yield bound


def _video_distribution(kind: str, pod: PodUse) -> Mapping[int, float]:
    if not pod.has_history or kind not in pod.video:
        return {round(1000 * pod.unknown_video): 1.0}
    return dict(pod.video[kind].most)


def _host_bound(host: Host, limit: int) -> Bound:
    asks = {
        "vCPU": (host.vcpu, host.pod_vcpu),
        "RAM MiB": (host.memory_mib, host.pod_memory_mib),
        "pods": (host.pods, 1.0),
    }
    # What is not known of the host (NaN) is enough for one pod a GPU, as a gap elsewhere does.
    fits = {
        what: 1.0 if math.isnan(have) or math.isnan(ask) else have / ask if ask > 0 else math.inf
        for what, (have, ask) in asks.items()
    }
    scarce = min(fits, key=fits.__getitem__)
    ratio = fits[scarce]
    n = math.floor(min(limit, max(1.0, ratio)))
    if math.isinf(ratio):
        return Bound("host", n, "nothing asked of it", "nothing asked of it")
    have, ask = asks[scarce]
    unknown = math.isnan(have) or math.isnan(ask)
    arithmetic = f"{scarce} is not known" if unknown else f"{have:g} {scarce} a GPU over {ask:g} a pod"
    return Bound("host", n, arithmetic, arithmetic)


def _largest(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest n up to which every n fits; 1 always does, as a GPU of one's own."""
    n = 1
    while n < limit and fits(n + 1):
        n += 1
    return n


def _binding(bounds: Sequence[Bound], limit: int) -> str:
    tightest = min(bounds, key=lambda bound: bound.n)
    return "the policy's maximum" if tightest.n >= limit else tightest.what


def _slow_share(demand: Demand, n: int, policy: TuningPolicy) -> float:
    if n <= 1:
        return 0.0
    budget = policy.slowdown_budget or 2.0
    # (1 + o)(1 + s·o) = S, for the o ≤ 1 that budgets up to 2.2 call for; above, (1 + o)(1 + s) = S.
    s = TIME_SLICING_SWITCH
    others = (-(1 + s) + math.sqrt((1 + s) ** 2 + 4 * s * (budget - 1))) / (2 * s)
    if others > 1:
        others = budget / (1 + s) - 1
    spread = demand.deviation * math.sqrt(n - 1)
    gap = others - (n - 1) * demand.mean
    if spread == 0:
        return 0.0 if gap >= 0 else 1.0
    return 0.5 * math.erfc(gap / spread / math.sqrt(2))


def _confidence(pods: Sequence[PodUse]) -> str:
    unknown = sum(not pod.has_history for pod in pods)
    if not pods or unknown:
        return f"low, {unknown} of {len(pods)} pods have no full day of history"
    estimated = sum(pod.grade is Grade.DEVICE for pod in pods)
    if estimated:
        return f"medium, {estimated} of {len(pods)} pods are estimated from their device"
    days = min(len(pod.days) for pod in pods)
    missing = sum(pod.missing for pod in pods)
    if days < FEW_DAYS or missing:
        return f"medium, {days} days at least and {missing} samples missing"
    return f"high, every pod measured for {min(days, WINDOW_DAYS)} days or more"


def _would_change(bounds: Sequence[Bound], binding: str, target: int) -> str:
    for bound in bounds:
        if bound.what == binding:
            return f"N = {target + 1} would need: {bound.next_arithmetic}."
    return f"N = {target + 1} would need a higher maximum in the policy."


def memory_share(n: int, headroom: float = MEMORY_HEADROOM) -> float:
    """
    What part of its card each of `n` servers may reserve, all of it but the headroom, in whole hundredths:
    rounded down, since together they must fit.
    """
    return math.floor(100 * (1 - headroom) / n + 1e-9) / 100


def _greedy_advice(pods: Sequence[PodUse], card: float, bounds: Sequence[Bound], policy: TuningPolicy) -> str:
    greedy = [pod.name for pod in pods if is_greedy(pod, card)]
    compute = next(bound.n for bound in bounds if bound.what == "compute")
    # With a headroom that is no part of a card, nothing may be reserved of it.
    if not greedy or compute < 2 or not 0 <= policy.memory_headroom < 1:
        return ""
    return (
        f"{len(greedy)} pods reserve the card when they start ({', '.join(sorted(greedy)[:3])}): "
        f"set vLLM's --gpu-memory-utilization to {memory_share(compute, policy.memory_headroom):.2f}, "
        f"or TensorFlow's allow_growth, and compute would let {compute} of them share a GPU."
    )
