"""
What a gap moves, pass by pass, under the default source of metrics: neither N nor a workload.

The same fleet is looked at every hour twice, once with all its points and once with gaps. At no hour may the
fleet with gaps have more pods on a GPU, or fewer, or a workload moved, than the other one has it, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slicewise.kube.ref import Object
from slicewise.model.cluster import Series
from slicewise.pools import layout
from slicewise.tuning.classes.decision import ClassDecision, decided
from slicewise.tuning.classes.evidence import class_evidence
from slicewise.tuning.rule.decision import decide
from slicewise.tuning.rule.stabilization import Step
from slicewise.tuning.state.pool_state import Tuning, pool_states
from slicewise.tuning.usage.pool_usage import pool_use

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning import dcgm_samples
from tests.support.tuning.measured_reconciles import DAY, HOUR, Reconciler, Value, counted, hours

pytestmark = pytest.mark.slow

SOURCE = "container-insights"
FIRST, BEGAN = NOW - 2 * DAY, NOW - 6 * DAY


@dataclass(frozen=True)
class Gpu:
    """One GPU and its pods, of one workload: MiB, and the busy share of the whole GPU from midnight on."""

    workload: str
    pods: int
    busy: float
    mib: float
    busy_hours: int = 24

    def use(self, at: datetime) -> float:
        return self.busy if at.hour < self.busy_hours else self.busy / 10


Gap = tuple[datetime, datetime, str]  # from, to, and of which node, or "all"


def machine(name: str, key: str, size: int = 0) -> Object:
    room = {"nvidia.com/gpu": key.removeprefix("ts-"), "cpu": "96"}
    made = builders.node(key, name=name, allocatable=room, age=9 * DAY)
    if size:
        made["metadata"]["labels"] |= {
            "slicewise.dev/class": str(size),
            "karpenter.sh/nodepool": f"{dcgm_samples.POOL}-{size}",
        }
    return made


def named(fleet: Sequence[Gpu]) -> dict[str, Gpu]:
    return {f"n-{i}": gpu for i, gpu in enumerate(fleet)}


def pods(fleet: Sequence[Gpu], size: int = 0) -> list[Object]:
    made = [
        dcgm_samples.pod(f"{gpu.workload}-{10 * i + k}", name, 6 * DAY, owner=("StatefulSet", gpu.workload))
        for i, (name, gpu) in enumerate(named(fleet).items())
        for k in range(gpu.pods)
    ]
    for pod in made if size > 1 else ():
        pod["spec"]["nodeSelector"]["slicewise.dev/class"] = str(size)
    return made


def series(fleet: Sequence[Gpu], gaps: Sequence[Gap], begin: datetime, end: datetime) -> list[Series]:
    def seen(name: str, value: Value) -> Value:
        def at(when: datetime) -> float:
            away = any(of in (name, "all") and since <= when < until for since, until, of in gaps)
            return math.nan if away else value(when)

        return at

    return [
        one
        for name, gpu in named(fleet).items()
        for one in counted(
            name,
            max(begin, BEGAN),
            end,
            busy=seen(name, gpu.use),
            mib=seen(name, lambda _, gpu=gpu: gpu.mib),
            slots=seen(name, lambda _, gpu=gpu: float(gpu.pods)),
        )
    ]


def steps(fleet: Sequence[Gpu], n: int, gaps: Sequence[Gap] = ()) -> Iterator[Step]:
    """What each hour's pass would do to N, were it `n` all the time, with pods waiting for a slice."""
    policy = builders.policy(
        "{shared: {sharing: time-slicing, gpus: [l4], replicas: {start: 4, max: 8}, maxGpus: 64}}",
        "tuning: {raiseAfter: 6h}",
    )
    (gpu,) = policy.pools[0].models()
    nodes, there = [machine(name, f"ts-{n}") for name in named(fleet)], pods(fleet)
    node_pools = (layout.node_pool(policy, policy.pools[0], gpu, n),)
    reconciles, history = Reconciler(SOURCE), Tuning()
    for now in hours(FIRST, NOW):
        reconciles.observe(there, nodes, now, lambda begin, end: series(fleet, gaps, begin, end))
        contents = replace(reconciles.contents, node_pools=node_pools)
        (state,) = pool_states(contents, policy)
        use = pool_use(reconciles.last.readings, SOURCE, contents, now, state.name, reconciles.seen)
        decision = decide(replace(state, history=history, pending=3), use, (), contents, policy, now)
        history = decision.history
        yield decision.step


def classes(fleet: Sequence[Gpu], size: int, gaps: Sequence[Gap] = ()) -> Iterator[Mapping[str, int]]:
    """By workload, in which class each hour's pass would have it, were all of them in one all the time."""
    policy = builders.policy("{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 64, classes: [1, 2, 3]}}")
    key = f"ts-{size}" if size > 1 else "exclusive"
    nodes, there = [machine(name, key, size) for name in named(fleet)], pods(fleet, size)
    reconciles, decision = Reconciler(SOURCE), ClassDecision("shared", ())
    for now in hours(FIRST, NOW):
        reconciles.observe(there, nodes, now, lambda begin, end: series(fleet, gaps, begin, end))
        evidence = class_evidence(
            reconciles.last.readings, SOURCE, reconciles.contents, policy.pools[0], now, reconciles.seen
        )
        decision = decided(policy.pools[0], decision, evidence, now)
        yield {one.workload.name: one.after for one in decision.recommendations}


GAPS = st.lists(
    st.tuples(st.integers(0, 5 * 24 * 6), st.integers(1, 24 * 6), st.sampled_from(["n-0", "n-1", "all"])),
    min_size=1,
    max_size=3,
).map(lambda found: [_gap(*one) for one in found])


def _gap(begin: int, length: int, of: str) -> Gap:
    """It ends two hours ago at the latest: that a source is away right now is told and freezes N."""
    since = BEGAN + timedelta(minutes=10 * begin)
    return since, min(since + timedelta(minutes=10 * length), NOW - 2 * HOUR), of


GPUS = st.builds(
    Gpu,
    st.sampled_from(["web", "db"]),
    st.integers(1, 3),
    st.sampled_from([0.05, 0.3, 0.7, 0.97]),
    st.sampled_from([2000.0, 6000.0, 12_000.0, 19_000.0]),
    st.sampled_from([2, 10, 24]),
)
# Examples share a process's caches, so that times differ by far.
in_general = settings(max_examples=5, deadline=None)
# Where it would be seen at once, were a gap taken for load, or for rest: quiet pods of which half the time is
# missing; and pods that are busy for two hours a day, each of which is missing.
QUIET, BUSY_AT_NIGHT = [Gpu("web", 3, 0.3, 9000.0)] * 2, [Gpu("web", 1, 1.0, 2000.0, 2)] * 2
HALF = [(NOW - 5 * DAY, NOW - 2 * DAY - HOUR, "all"), (NOW - 20 * HOUR, NOW - 2 * HOUR, "all")]
EACH_NIGHT = [(day, day + 2 * HOUR, "all") for day in (NOW.replace(hour=0) - back * DAY for back in range(7))]


@in_general
@given(st.lists(GPUS, min_size=1, max_size=3), st.sampled_from([1, 2, 4]), GAPS)
@example(QUIET, 3, HALF)
@example(BUSY_AT_NIGHT, 1, EACH_NIGHT)
def test_no_hours_reconcile_raises_or_lowers_n_by_a_gap(fleet, n, gaps):
    for whole, gapped in zip(steps(fleet, n), steps(fleet, n, gaps), strict=True):
        assert gapped.after <= max(n, whole.after), gapped.reason
        assert gapped.after >= min(n, whole.after), gapped.reason


@in_general
@given(st.lists(GPUS, min_size=1, max_size=3), st.sampled_from([1, 2, 3]), GAPS)
@example(QUIET, 3, HALF)
@example(BUSY_AT_NIGHT, 1, EACH_NIGHT)
def test_no_hours_reconcile_moves_a_workload_by_a_gap(fleet, size, gaps):
    for whole, gapped in zip(classes(fleet, size), classes(fleet, size, gaps), strict=True):
        for workload, after in gapped.items():
            assert min(size, whole[workload]) <= after <= max(size, whole[workload])


@pytest.mark.parametrize("n", [1, 2])
def test_hour_by_hour_n_rises_only_for_who_had_a_gpu_to_itself(n):
    """Two pods on each GPU never say what one of them needs; one pod a GPU says it after a day."""
    alone, together = Gpu("web", 1, 0.05, 2000.0), Gpu("web", 2, 0.1, 4000.0)

    assert all(step.after == n for step in steps([together, together], n))
    risen = [step.after > n for step in steps([alone, alone], n)]
    assert risen[-1] and not any(risen[:5])
