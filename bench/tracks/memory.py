"""
The memory track: pods that grow, decided on a quiet week and scored on a busy one, and the other way round.

Each morning a rule decides on the days before; every hour in between it may look at memory (the guard). A pod
is at risk if in some ten minutes the pods of its card held more together than the card has. Each rule is run

- as shipped: growth learnt, with the guard;
- `h alone`: a constant headroom, and nobody looks before the next morning;
- `foreseen`: h alone, but with each pod's peak of the coming day known: what no rule can.
"""

import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from slicewise.tuning.classes.rule import ClassPolicy
from slicewise.tuning.packing.rule import PackingPolicy
from slicewise.tuning.usage.evidence import PodUse

from bench import contestants
from bench.contestants import Look, Memo, Morning
from bench.memory_trace import CARDS, MemoryTrace, growing
from bench.tracks.serving import progress

SEEDS = 8
# Samples between two looks: an hour.
LOOK = 6
SETTINGS = {
    f"{card}{', exchanged' if exchanged else ''}": {"card_mib": mib, "exchanged": exchanged}
    for card, mib in CARDS.items()
    for exchanged in (False, True)
}


@dataclass(frozen=True)
class Variant:
    """
    How a rule is run.

    Attributes:
        learns: Growth is learnt; else h is all there is.
        guarded: Memory is looked at every hour.
        foreseen: The peaks of the coming day are known.
        quantile: With which the sum must fit; None for the rule's own.
        surge: By what ratio any one workload must find room to grow; None for the rule's own.
    """

    rule: str
    learns: bool = True
    guarded: bool = True
    foreseen: bool = False
    quantile: float | None = None
    surge: float | None = None

    def make(self, memo: Memo):
        chosen = {} if self.quantile is None else {"memory_quantile": self.quantile}
        if self.rule == "classes-daily":
            return contestants.ClassesDaily(memo, ClassPolicy(**chosen))
        if self.surge is not None:
            chosen["memory_surge"] = self.surge
        return contestants.PackingDaily(memo, PackingPolicy(**chosen))


RULES = ("classes-daily", "packing-daily")
VARIANTS = {
    name: variant
    for rule in RULES
    for name, variant in {
        rule: Variant(rule),
        f"{rule}, h alone": Variant(rule, learns=False, guarded=False),
        f"{rule}, foreseen": Variant(rule, learns=False, guarded=False, foreseen=True),
    }.items()
}


# What the published frontier is made of: each rule by quantile, with looks between mornings and without, and
# packing by the surge that it leaves room for: none where quantiles are compared.
FRONTIER = {
    name: variant
    for rule in RULES
    for name, variant in {
        f"{rule}, foreseen": VARIANTS[f"{rule}, foreseen"],
        f"{rule}, h alone": VARIANTS[f"{rule}, h alone"],
        f"{rule}, h and guard": Variant(rule, learns=False),
        **{
            f"{rule}, {quantile:g}{'' if guarded else ', no guard'}": Variant(
                rule, guarded=guarded, quantile=quantile, surge=1.0
            )
            for quantile in (0.97, 0.98, 0.99, 0.9925, 0.995)
            for guarded in (False, True)
        },
    }.items()
} | {
    f"packing-daily, surge {surge:g}": Variant("packing-daily", surge=surge)
    for surge in (1.2, 1.3, 1.35, 1.4, 1.5)
}


@dataclass
class Run:
    """What came of a week: GPUs and moves by day, and the pods that were at risk."""

    gpus: list[float] = field(default_factory=list)
    contended: list[float] = field(default_factory=list)
    moves: list[int] = field(default_factory=list)
    guard_moves: list[int] = field(default_factory=list)
    at_risk: set[int] = field(default_factory=set)


def play(trace: MemoryTrace, variant: Variant, arrival: int, memo: Memo | None = None) -> Run:
    """Run one rule over the scored days: what it is given ends with the last look."""
    order = list(range(len(trace.names)))
    random.Random(arrival).shuffle(order)
    order.sort(key=trace.first_day)
    policy, run, happened = variant.make(memo or Memo()), Run(), []
    for day in trace.scored_days:
        morning = Morning(
            day,
            _evidence(trace, day, variant.foreseen),
            tuple(order),
            trace.present(day),
            trace.card_mib,
            tuple(happened),
            variant.learns,
        )
        placed = policy(morning)
        parts, moves = [(0, _present(placed.groups, morning))], 0
        if variant.guarded:
            for sample in range(LOOK, trace.samples_a_day, LOOK):
                looked = policy.look(Look(morning, _seen(trace, morning, sample)))
                if looked.moves:
                    parts.append((sample, _present(looked.groups, morning)))
                    moves += looked.moves
        run.moves.append(placed.moves + moves)
        run.guard_moves.append(moves)
        happened.append(_score(trace, day, parts, run))
    return run


def _evidence(trace: MemoryTrace, day: int, foreseen: bool) -> tuple[PodUse, ...]:
    pods = trace.history(day)
    if not foreseen:
        return pods
    return tuple(
        replace(pod, memory_mib=float(peak)) for pod, peak in zip(pods, trace.memory_mib[:, day], strict=True)
    )


def _seen(trace: MemoryTrace, morning: Morning, sample: int) -> tuple[PodUse, ...]:
    """The morning's evidence with the memory of the day so far."""
    start = morning.day * trace.samples_a_day
    peaks = trace.memory_steps[:, start : start + sample].max(axis=1)
    return tuple(
        replace(pod, memory_mib=float(np.fmax(pod.memory_mib, peak))) if peak else pod
        for pod, peak in zip(morning.pods, peaks, strict=True)
    )


def _present(groups: Iterable[Sequence[int]], morning: Morning) -> list[list[int]]:
    kept = [[pod for pod in group if pod in morning.present] for group in groups]
    return [group for group in kept if group]


def _score(trace: MemoryTrace, day: int, parts: list[tuple[int, list[list[int]]]], run: Run) -> float:
    """Add one day, given from which sample on which pods shared a card; its contended share."""
    start, length = day * trace.samples_a_day, trace.samples_a_day
    busy, gpu_time, full = trace.day(day), 0, 0
    ends = [begin for begin, _ in parts[1:]] + [length]
    for (begin, groups), end in zip(parts, ends, strict=True):
        gpu_time += len(groups) * (end - begin)
        for group in groups:
            if len(group) < 2:
                continue
            full += int((busy[group, begin:end].sum(axis=0) > 1).sum())
            held = trace.memory_steps[group, start + begin : start + end].sum(axis=0)
            if (held > trace.card_mib).any():
                run.at_risk.update(group)
    run.gpus.append(gpu_time / length)
    run.contended.append(full / gpu_time if gpu_time else 0.0)
    return run.contended[-1]


def table(by_seed: Sequence[dict[str, list[Run]]]) -> dict[str, dict]:
    """The figures by variant over seeds; `oom_pods` is the worst run of all."""
    rows = {}
    for name in by_seed[0]:
        runs = [run for seed in by_seed for run in seed[name]]
        risky = [max(len(run.at_risk) for run in seed[name]) for seed in by_seed]
        shares = [100 * float(np.mean([np.mean(run.contended) for run in seed[name]])) for seed in by_seed]
        rows[name] = {
            "gpus": float(np.mean([np.mean(run.gpus) for run in runs])),
            "contended_pct": float(np.mean(shares)),
            "contended_pct_max_seed": max(shares),
            "oom_pods": max(risky),
            "moves_per_day": float(np.mean([np.mean(run.moves) for run in runs])),
            "guard_moves_per_day": float(np.mean([np.mean(run.guard_moves) for run in runs])),
            "seeds": len(by_seed),
            "seeds_within_gates": sum(
                share <= 1 and risk == 0 for share, risk in zip(shares, risky, strict=True)
            ),
        }
    for name, row in rows.items():
        foreseen = rows.get(f"{name.partition(',')[0]}, foreseen")
        row["of_foreseen"] = row["gpus"] / foreseen["gpus"] if foreseen else None
    return rows


def run(
    seeds: int = SEEDS,
    variants: dict[str, Variant] | None = None,
    settings: Iterable[str] = SETTINGS,
    on_progress: Callable[[int, int, float], None] = progress,
    orders: int = 1,
    first_seed: int = 0,
    remembered: int | None = None,
) -> dict:
    """All settings by variant; progress goes to stderr. `remembered` is as in `Trace`, unless None."""
    chosen, kept = variants or VARIANTS, list(settings)
    jobs = [
        (setting, seed, chosen, orders, remembered)
        for setting in kept
        for seed in range(first_seed, first_seed + seeds)
    ]
    results: dict[str, list] = {setting: [] for setting in kept}
    began = time.monotonic()
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for done, (job, found) in enumerate(zip(jobs, pool.map(_job, jobs), strict=True), 1):
            results[job[0]].append(found)
            on_progress(done, len(jobs), began)
    first, *others = kept
    tables = {setting: table(found) for setting, found in results.items()}
    return {"policies": tables[first], **{name: {"policies": tables[name]} for name in others}}


def _job(job: tuple) -> dict[str, list[Run]]:
    setting, seed, variants, orders, remembered = job
    trace = growing(seed, **SETTINGS[setting])
    trace = replace(trace, remembered=remembered or trace.remembered)
    return {
        name: [play(trace, variant, order) for order in range(orders)] for name, variant in variants.items()
    }
