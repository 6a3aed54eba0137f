"""
The serving track: one week to learn, one to score, every policy on the same pods.

Each mapping of clients to models is run in two arrival orders; a seed's figure
is the mean of both. Every hour between two mornings a daily rule is told which
GPUs had no rest in it, and may let pods go. Three settings: as recorded, the scored week at 1.3 × the
load, and the weeks exchanged.
"""

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
from slicewise.tuning.classes.rule import ClassPolicy
from slicewise.tuning.packing import calibration
from slicewise.tuning.packing import rule as packing_rule
from slicewise.tuning.packing.rule import PackingPolicy
from slicewise.tuning.rule.busy_guard import LOOKS_A_DAY, FullCard
from slicewise.tuning.usage import evidence

from bench import contestants as policies
from bench.contestants import Hour, Keep, Memo, Morning
from bench.scoring import GATE, Groups, Parts, Score, Week, day_contended, score
from traces.serving import Trace, serving

SEEDS = 8
ORDERS = 2
# Constants that are no part of a policy, by where they are.
MODULES = {
    "BURST_WEIGHT": evidence,
    "LEAST_AIM": calibration,
    "OVERLOAD_RISK": packing_rule,
}
EVERYWHERE = ("memory_headroom", "BURST_WEIGHT")
# What the sensitivity table varies; the gate is the promise itself, and the sizes are no scale.
VARIED = {
    "classes-daily": (*EVERYWHERE, "safety", "hot", "broken", "room", "LEAST_AIM"),
    "packing-daily": (
        *EVERYWHERE,
        "safety",
        "hot",
        "raise_factor",
        "lower_below",
        "moves",
        "rounds",
        "LEAST_AIM",
        "OVERLOAD_RISK",
    ),
    "packing-static": (*EVERYWHERE, "week_safety"),
}
SETTINGS = {"load_1.0": {}, "load_1.3": {"load": 1.3}, "weeks_exchanged": {"exchanged": True}}


def play(trace: Trace, policy: Callable[[Morning], policies.Placed], arrival: int) -> Week:
    """
    Run one policy over the scored days.

    Each morning it gets the evidence of the days before and nothing later;
    the day is scored only after the policy has placed its pods.
    """
    order = list(range(len(trace.names)))
    random.Random(arrival).shuffle(order)
    order.sort(key=trace.first_day)
    week, happened = Week(), []
    for day in trace.scored_days:
        present = trace.present(day)
        morning = Morning(day, trace.history(day), tuple(order), present, trace.card_mib, tuple(happened))
        placed = policy(morning)
        parts, moves = [(0, _there(placed.groups, present))], placed.moves
        if relieve := getattr(policy, "relieve", None):
            moves += _watch(trace, morning, relieve, parts)
        week.days.append(parts)
        week.moves.append(moves)
        happened.append(day_contended(trace, day, parts))
    return week


def _watch(trace: Trace, morning: Morning, relieve: Callable[[Hour], policies.Placed], parts: Parts) -> int:
    """The looks of a day: adds a part to it for each that moved pods, and returns how many it moved."""
    hour, moves = max(1, trace.samples_a_day // LOOKS_A_DAY), 0
    for now in range(hour, trace.samples_a_day, hour):
        # Pods move at looks alone, so each group has been together for the hour.
        full = full_cards(trace, morning, parts[-1][1], now - hour, now)
        placed = relieve(Hour(morning, full)) if full else policies.Placed([])
        if placed.moves:
            parts.append((now, _there(placed.groups, morning.present)))
            moves += placed.moves
    return moves


def full_cards(trace: Trace, morning: Morning, groups: Groups, begin: int, end: int) -> list[FullCard]:
    """Of each shared GPU that had no rest in these samples of the day, its pods' mean busy by name."""
    busy = trace.day(morning.day)[:, begin:end]
    return [
        {morning.pods[pod].name: float(busy[pod].mean()) for pod in group}
        for group in groups
        if len(group) > 1 and (busy[group].sum(axis=0) > 1).all()
    ]


def _there(groups: Groups, present: frozenset[int]) -> Groups:
    kept = [[pod for pod in group if pod in present] for group in groups]
    return [group for group in kept if group]


def contestants(trace: Trace, classes: ClassPolicy, packing: PackingPolicy) -> dict[str, Callable]:
    """Policy makers by name; what they learn of the trace's past is shared between arrival orders."""
    memo = Memo()
    return {
        "whole": lambda: Keep(policies.whole_gpus),
        "static-2": lambda: Keep(policies.fixed_slots(2)),
        "static-4": lambda: Keep(policies.fixed_slots(4)),
        "static-8": lambda: Keep(policies.fixed_slots(8)),
        "memory-only": lambda: Keep(policies.memory_only),
        "hand-set-p95": lambda: Keep(policies.hand_set_p95),
        "pool-n": lambda: Keep(policies.pool_n),
        "classes-static": lambda: Keep(policies.classes_static(memo, classes)),
        "classes-daily": lambda: policies.ClassesDaily(memo, classes),
        "packing-static": lambda: Keep(policies.packing_static(memo, packing)),
        "packing-daily": lambda: policies.PackingDaily(memo, packing),
        "oracle": lambda: Keep(policies.oracle(trace)),
    }


def run_trace(
    trace: Trace,
    names: Sequence[str] | None = None,
    orders: int = ORDERS,
    classes: ClassPolicy | None = None,
    packing: PackingPolicy | None = None,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, list[Score]]:
    """Scores by policy, one an arrival order; `on_progress` hears how many policies are done."""
    makers = contestants(trace, classes or ClassPolicy(), packing or PackingPolicy())
    chosen, scores = list(names or makers), {}
    for done, name in enumerate(chosen, 1):
        scores[name] = [score(trace, play(trace, makers[name](), order)) for order in range(orders)]
        on_progress(done, len(chosen))
    return scores


def table(by_seed: Sequence[dict[str, list[Score]]], bounds: Sequence[int]) -> dict[str, dict]:
    """The figures by policy, over seeds; the contended share of a seed is the mean of its orders."""
    means = {name: float(np.mean([s.gpus for seed in by_seed for s in seed[name]])) for name in by_seed[0]}
    rows = {}
    for name in by_seed[0]:
        runs = [s for seed in by_seed for s in seed[name]]
        seeds = [float(np.mean([s.contended for s in seed[name]])) for seed in by_seed]
        risky = [max(s.memory_risk_pods for s in seed[name]) for seed in by_seed]
        span = means.get("whole", 0) - means.get("oracle", 0)
        rows[name] = {
            "gpus": _mean(runs, "gpus"),
            "gpus_min": min(s.gpus for s in runs),
            "gpus_max": max(s.gpus for s in runs),
            "usd_a_week": _mean(runs, "usd_a_week"),
            "contended_pct": 100 * float(np.mean(seeds)),
            "contended_pct_max_seed": 100 * max(seeds),
            "contended_pct_max_run": 100 * max(s.contended for s in runs),
            "oom_pods": max(risky),
            "slowdown_mean": _mean(runs, "slow_mean"),
            "slowdown_p99": _mean(runs, "slow_p99"),
            "slower_than_1.5_pct": 100 * _mean(runs, "slow_share"),
            "moves_per_day": _mean(runs, "moves"),
            "seeds": len(by_seed),
            "seeds_within_gates": sum(
                share <= GATE and risk == 0 for share, risk in zip(seeds, risky, strict=True)
            ),
            "regret": (means[name] - means["oracle"]) / span if span > 0 else None,
        }
    rows["lower-bound"] = {"gpus": float(np.mean(bounds))}
    return rows


def run(
    seeds: int = SEEDS,
    orders: int = ORDERS,
    workers: int | None = None,
    only: Sequence[str] | None = None,
    first_seed: int = 0,
) -> dict:
    """All settings, for policies `only` or all of them; progress goes to stderr."""
    chosen = range(first_seed, first_seed + seeds)
    jobs = [(setting, seed, orders, only) for setting in SETTINGS for seed in chosen]
    results: dict[str, list] = {setting: [] for setting in SETTINGS}
    began = time.monotonic()
    with ProcessPoolExecutor(workers or min(2, os.cpu_count() or 1)) as pool:
        for done, (job, found) in enumerate(zip(jobs, pool.map(_job, jobs), strict=True), 1):
            results[job[0]].append(found)
            progress(done, len(jobs), began)
    tables = {
        setting: table([scores for scores, _ in found], [bound for _, bound in found])
        for setting, found in results.items()
    }
    first, *others = tables
    return {"policies": tables[first], **{name: {"policies": tables[name]} for name in others}}


def sensitivity(seeds: int = 4, workers: int | None = None) -> list[dict]:
    """What ±25 % of each constant does to the rules that it is part of, other constants as shipped."""
    jobs = [
        (rule, constant, factor, seed)
        for rule, constants in VARIED.items()
        for constant in ("", *constants)
        for factor in ((0.75, 1.25) if constant else (1.0,))
        for seed in range(seeds)
    ]
    found: dict[tuple, list[Score]] = {}
    began = time.monotonic()
    with ProcessPoolExecutor(workers or min(2, os.cpu_count() or 1)) as pool:
        for done, (job, scored) in enumerate(zip(jobs, pool.map(_vary, jobs), strict=True), 1):
            found.setdefault(job[:3], []).append(scored)
            progress(done, len(jobs), began)
    return [
        {
            "policy": rule,
            "constant": constant or "as shipped",
            "factor": factor,
            "gpus": _mean(runs, "gpus"),
            "contended_pct": 100 * _mean(runs, "contended"),
            "contended_pct_max_seed": 100 * max(s.contended for s in runs),
            "moves_per_day": _mean(runs, "moves"),
        }
        for (rule, constant, factor), runs in found.items()
    ]


def _job(job: tuple) -> tuple[dict[str, list[Score]], int]:
    setting, seed, orders, only = job
    trace = serving(seed, **SETTINGS[setting])
    return run_trace(trace, only, orders), policies.lower_bound(trace)


def _vary(job: tuple) -> Score:
    rule, constant, factor, seed = job
    classes, packing = ClassPolicy(), PackingPolicy()
    module, before = MODULES.get(constant), None
    if module:
        before = getattr(module, constant)
        setattr(module, constant, before * factor)
    elif constant and rule.startswith("classes"):
        classes = _scaled(classes, constant, factor)
    elif constant:
        packing = _scaled(packing, constant, factor)
    try:
        return run_trace(serving(seed), [rule], 1, classes, packing)[rule][0]
    finally:
        if module:
            setattr(module, constant, before)


def _scaled(policy, constant: str, factor: float):
    value = getattr(policy, constant) * factor
    # Room is a share: a quarter more than 0.9 would mean loosening into overload.
    if constant == "room":
        value = min(1.0, value)
    return replace(policy, **{constant: round(value) if constant in ("moves", "rounds") else value})


def _mean(runs: Sequence[Score], attribute: str) -> float:
    return float(np.mean([getattr(run, attribute) for run in runs]))


def progress(done: int, of: int, began: float) -> None:
    """How far a long run is, on one line of stderr."""
    seconds = time.monotonic() - began
    left = seconds / done * (of - done)
    end = "\n" if done == of else "\r"
    print(
        f"  {done}/{of} runs, {seconds:.0f} s, about {left:.0f} s left ", end=end, file=sys.stderr, flush=True
    )
