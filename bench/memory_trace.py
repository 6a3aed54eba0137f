"""
The memory track's pods: made up and seeded. Each figure of how they are made stands here.

Some thirty services of one to ten pods, 120 pods or a few more, share cards of one size for two weeks, in
samples of ten minutes. One week is quiet, and the other has twice its load. A pod's device memory is

    min(0.95 · card, context + weights · (1 + drift · days) · releases + batch + leak)

- *weights*: log-normal with median 0.23 of the card and deviation 0.45, between 0.04 and 0.5.
- *batch*: activations and caches, in proportion to the load, at its height 5 to 35 % of the weights. Three
  services in five never give it back before a pod restarts, as PyTorch's allocator does not. So the busy week
  reaches sizes that the quiet one never saw, on all pods at once.
- *drift*: three services in twenty grow by 0.5 to 3 % a day: tables, indexes, adapters.
- *releases*: one service in four is released one to three times, all its pods within two hours, and needs 0.7
  to 1.7 times its weights from then on (log-normal, median 1.08, deviation 0.2).
- *leak*: one service in five leaks 0.2 to 1.2 % of its weights an hour at full load until the pod restarts,
  every four days on average.
- Any pod restarts once a week on average, which ends its leak and empties its caches. One pod in ten comes
  only on one of the days 3 to 12, as when a service scales up.

Nobody measured these shares. They were chosen so that a constant headroom of 10 % puts about as many pods at
risk as a back-test on real traffic did: a few with classes, some twenty with packing. A pod that is moved
does not begin anew here, which makes the track harder.
"""

from dataclasses import dataclass

import numpy as np

from traces.serving import L4_MIB, SAMPLES_A_DAY, WEEK, Trace

# What the driver shows of the two cards, in MiB: L4 and A100 80 GB or H100.
CARDS = {"24gib": L4_MIB, "80gib": 81_559}
DAYS = 2 * WEEK
LEAST_PODS = 120
MOST_REPLICAS = 10
QUIET, BUSY = 0.5, 1.0
MOST_OF_CARD = 0.95
CONTEXT_MIB = 450
DAYS_BETWEEN_RESTARTS = 7.0
DAYS_BETWEEN_LEAK_RESTARTS = 4.0
SAMPLES = DAYS * SAMPLES_A_DAY


@dataclass(frozen=True)
class MemoryTrace(Trace):
    """
    Attributes:
        memory_steps: Pods × samples, the device memory in MiB that a pod had at most in those ten minutes;
            0 where it is not there.
    """

    memory_steps: np.ndarray | None = None


def growing(seed: int, card_mib: int = L4_MIB, *, exchanged: bool = False) -> MemoryTrace:
    """
    Two weeks of a fleet: decided after the first, scored on the second.

    Args:
        exchanged: The busy week comes first, with the same pods.
    """
    draw = np.random.default_rng(seed)
    levels = np.repeat([BUSY, QUIET] if exchanged else [QUIET, BUSY], WEEK * SAMPLES_A_DAY)
    names, workloads, busy, memory, since = [], [], [], [], []
    while len(names) < LEAST_PODS:
        service = f"service-{len(set(workloads)):02d}"
        replicas = int(min(MOST_REPLICAS, draw.geometric(0.27)))
        load = levels * _load(draw)
        make = _service(draw, card_mib, load)
        share = draw.uniform(0.03, 0.2)
        for replica in range(replicas):
            first = int(draw.integers(3, 13)) * SAMPLES_A_DAY if draw.random() < 0.1 else 0
            used = np.minimum(1.0, share * load * draw.lognormal(0, 0.2, SAMPLES))
            mib = make(first)
            used[:first], mib[:first] = np.nan, 0
            names.append(f"{service}-{replica}")
            workloads.append(service)
            busy.append(used)
            memory.append(mib)
            since.append(first // SAMPLES_A_DAY)
    steps = np.array(memory)
    by_day = steps.reshape(len(names), DAYS, SAMPLES_A_DAY).max(axis=2)
    alive = np.arange(DAYS)[None, :] >= np.array(since)[:, None]
    return MemoryTrace(
        tuple(names),
        np.where(alive, by_day, np.nan),
        np.array(busy),
        card_mib=card_mib,
        alive=alive,
        workloads=tuple(workloads),
        memory_steps=steps,
    )


def _load(draw: np.random.Generator) -> np.ndarray:
    """Of one service, about 1 at the day's height: the hour of the day, and weather of some hours."""
    hours = np.arange(SAMPLES) / 6
    day = 0.65 + 0.35 * np.sin(2 * np.pi * (hours - draw.uniform(8, 12)) / 24)
    weather = np.repeat(draw.lognormal(0, 0.15, SAMPLES // 18), 18)
    return day * weather


def _service(draw: np.random.Generator, card_mib: int, load: np.ndarray):
    """A function from a pod's first sample to its memory; the service's own draws are made once."""
    weights = card_mib * float(np.clip(draw.lognormal(np.log(0.23), 0.45), 0.04, 0.5))
    batch = weights * draw.uniform(0.05, 0.35) * np.minimum(1.2, load)
    holds = draw.random() < 0.6
    kind = draw.choice(["steady", "drift", "released", "leak"], p=[0.4, 0.15, 0.25, 0.2])
    days = np.arange(SAMPLES) / SAMPLES_A_DAY
    settled = weights * (1 + (draw.uniform(0.005, 0.03) * days if kind == "drift" else 0 * days))
    releases: list[int] = []
    if kind == "released":
        releases = sorted(draw.integers(0, SAMPLES, draw.integers(1, 4)).tolist())
        for at in releases:
            settled[at:] *= np.clip(draw.lognormal(np.log(1.08), 0.2), 0.7, 1.7)
    leak = weights * draw.uniform(0.002, 0.012) / 6 * load if kind == "leak" else 0 * load
    between = DAYS_BETWEEN_LEAK_RESTARTS if kind == "leak" else DAYS_BETWEEN_RESTARTS

    def pod(first: int) -> np.ndarray:
        starts = np.flatnonzero(draw.random(SAMPLES) < 1 / (between * SAMPLES_A_DAY)).tolist()
        # A release reaches each pod within two hours, and its memory is the old one until then.
        late = {at: min(SAMPLES, at + int(draw.integers(0, 13))) for at in releases}
        mine = settled.copy()
        for at, reached in late.items():
            mine[at:reached] = mine[at - 1] if at else mine[at]
        begins = sorted({first, *(s for s in [*starts, *late.values()] if first < s < SAMPLES)})
        used = np.zeros(SAMPLES)
        for begin, end in zip(begins, [*begins[1:], SAMPLES], strict=True):
            own = batch[begin:end] * draw.lognormal(0, 0.05, end - begin)
            used[begin:end] = (np.maximum.accumulate(own) if holds else own) + np.cumsum(leak[begin:end])
        return np.minimum(MOST_OF_CARD * card_mib, CONTEXT_MIB + mine + used)

    return pod
