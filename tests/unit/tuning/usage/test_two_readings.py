"""From series to N: what was not measured moves N in neither direction, nor does what belongs to others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.kube.ref import Object, Ref
from slicewise.model.cluster import Series
from slicewise.pools import layout
from slicewise.tuning.classes.decision import ClassDecision, Recommendation, decided
from slicewise.tuning.classes.evidence import class_evidence
from slicewise.tuning.rule.decision import Decision, decide
from slicewise.tuning.state.pool_state import Tuning, pool_states
from slicewise.tuning.usage.pool_usage import PoolUse, pool_use, read

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning import dcgm_samples

STEPS = 7 * 144
BEGIN = int((NOW - timedelta(days=7)).timestamp())
PROMETHEUS = "metrics: {source: prometheus, endpoint: 'http://p:9090'}"
LONG = Tuning(above_since=NOW - timedelta(days=2), below_since=NOW - timedelta(hours=3), below_target=1)
MIB = 1024 * 1024
Values = Sequence[float]


def points(name: str, labels: Mapping[str, str], values: Values) -> Series:
    """A value a step of the week; steps that have NaN have no point."""
    found = {BEGIN + 600 * step: v for step, v in enumerate(values) if not math.isnan(v)}
    return Series(name, labels, tuple(found), tuple(found.values()))


def dcgm(node: str, pods: Mapping[str, tuple[Values, Values]]) -> list[Series]:
    """One GPU whose exporter tells its pods apart: busy fractions and MiB by the pod's name."""
    of_gpu = {"Hostname": node, "gpu": "0", "modelName": "NVIDIA L4"}
    busy = [min(total(step), 1.0) for step in zip(*(busy for busy, _ in pods.values()), strict=True)]
    memory = [total(step) for step in zip(*(memory for _, memory in pods.values()), strict=True)]
    found = [
        points("DCGM_FI_DEV_FB_USED", of_gpu, memory),
        points("DCGM_FI_DEV_GPU_UTIL", of_gpu, [100 * value for value in busy]),
        points("DCGM_FI_PROF_GR_ENGINE_ACTIVE", of_gpu, busy),
    ]
    for name, (its_busy, its_memory) in pods.items():
        of_pod = {**of_gpu, "pod": name, "namespace": "team"}
        found.append(points("DCGM_FI_DEV_FB_USED", of_pod, its_memory))
        found.append(points("DCGM_FI_DEV_GPU_UTIL", of_pod, [100 * value for value in its_busy]))
    return found


def total(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) if known else math.nan


def world(source: str, n: int, gpus: int = 1, classes: str = "") -> Any:
    replicas = classes or f"replicas: {{start: {n}, max: 8}}"
    pools = f"{{shared: {{sharing: time-slicing, gpus: [l4], {replicas}, maxGpus: 64, gpuCounts: [1, 4]}}}}"
    return builders.policy(pools, *((PROMETHEUS,) if source == "prometheus" else ()))


def machine(n: int, name: str = "n-1", gpus: int = 1) -> Object:
    room = {"nvidia.com/gpu": str(n * gpus), "cpu": "96"}
    return builders.node(f"ts-{n}", name=name, gpus=gpus, allocatable=room, age=timedelta(days=9))


def seen(
    series: Sequence[Series], source: str, pods: Sequence[Object], n: int, nodes: Sequence[Object] = ()
) -> tuple[Decision, PoolUse]:
    policy = world(source, n)
    pool = policy.pools[0]
    (gpu,) = pool.models()
    contents = builders.contents(
        node_pools=(layout.node_pool(policy, pool, gpu, n),),
        nodes=tuple(nodes) or (machine(n),),
        pods=tuple(pods),
    )
    (state,) = pool_states(contents, policy)
    use = pool_use(read(series, source, contents), source, contents, NOW, state.name)
    state = replace(state, history=LONG, pending=3)
    return decide(state, use, (), contents, policy, NOW), use


def steady(value: float) -> list[float]:
    return [value] * STEPS


def served(*names: str, owner: tuple[str, str] = ("StatefulSet", "web"), **more: Any) -> list[Object]:
    return [dcgm_samples.pod(name, owner=owner, **more) for name in names]


# A gap


def with_gap(value: float, steps: int) -> list[float]:
    """It ended twelve hours ago."""
    return [math.nan if STEPS - 72 - steps <= step < STEPS - 72 else value for step in range(STEPS)]


@pytest.mark.parametrize("minutes", [10, 30, 60, 600])
@pytest.mark.parametrize("source", ["prometheus", "container-insights"])
def test_minutes_without_metrics_lower_n_by_nothing_and_are_reported_once_as_the_sources_own(source, minutes):
    names = [f"web-{i}" for i in range(8)]
    gap = minutes // 10
    if source == "prometheus":
        series = dcgm("n-1", {name: (with_gap(0.05, gap), with_gap(1000.0, gap)) for name in names})
    else:
        series = [
            insights("node_gpu_utilization", [100 * v for v in with_gap(0.4, gap)]),
            insights("node_gpu_memory_used", [v * MIB for v in with_gap(8000.0, gap)]),
            insights("node_gpu_usage_total", with_gap(8.0, gap)),
        ]

    decision, use = seen(series, source, served(*names), 8)

    assert not decision.changes and decision.allowed and decision.allowed.upper == 8
    (reported,) = [problem for problem in use.problems if problem.code == "metrics-gap"]
    assert "the source itself was away" in reported.message
    assert "UTC" in reported.message and "N is not lowered by it" in reported.remedy


def test_a_gap_of_one_node_is_not_reported_as_the_sources():
    series = [*dcgm("n-1", {"web-0": (with_gap(0.05, 6), with_gap(900.0, 6))})]
    series += dcgm("n-2", {"web-1": (steady(0.05), steady(900.0))})
    pods = [*served("web-0"), dcgm_samples.pod("web-1", "n-2", owner=("StatefulSet", "web"))]

    _, use = seen(series, "prometheus", pods, 4, [machine(4), machine(4, "n-2")])

    assert not [problem for problem in use.problems if problem.code == "metrics-gap"]


# Container Insights: only whole GPUs are measured


def insights(name: str, values: Values, node: str = "n-1", gpu: int = 0) -> Series:
    labels = {"ClusterName": "gpu-1", "NodeName": node, "InstanceId": f"i-{node}"}
    if "usage_total" not in name:
        labels |= {"InstanceType": "g6.xlarge", "GpuDevice": f"nvidia{gpu}"}
    return points(name, labels, values)


def scaled(begin: int, end: int, most: int, mib: float = 4096.0) -> list[Series]:
    """One GPU on which there is one pod, and `most` of them between two minutes of each day."""
    counts = [
        [most if begin <= (BEGIN // 60 + 10 * step + minute) % 1440 < end else 1 for minute in range(10)]
        for step in range(STEPS)
    ]
    return [
        insights("node_gpu_utilization", [5.0 * sum(of_step) / 10 for of_step in counts]),
        insights("node_gpu_memory_used", [max(of_step) * mib * MIB for of_step in counts]),
        insights("node_gpu_usage_total", [float(min(of_step)) for of_step in counts]),
        insights("node_gpu_usage_total/most", [float(max(of_step)) for of_step in counts]),
    ]


@pytest.mark.parametrize(
    ("begin", "end"), [(540, 1020), (543, 1024), (540, 1024)], ids=["on the border", "within", "going"]
)
def test_steps_in_which_an_hpa_scales_say_nothing_of_one_pods_memory(begin, end):
    """In such a step the memory is that of four pods, and the fewest pods are one: N went from 4 to 1."""
    young = timedelta(minutes=12 * 60 - begin)
    pods = [*served("web-0"), *served("web-1", "web-2", "web-3", age=young)]

    decision, use = seen(scaled(begin, end, 4), "container-insights", pods, 4)

    assert [pod.memory_mib for pod in use.pods if pod.name == "team/web-0"] == [4096.0]
    # It was alone for nights, so N may rise.
    assert decision.step.after >= 4


@pytest.mark.parametrize("minute", [540, 543])
def test_steps_in_which_an_hpa_scales_restart_no_workload_of_a_split_pool(minute):
    policy = world("container-insights", 3, classes="classes: [1, 2, 3]")
    node = machine(3)
    node["metadata"]["labels"] |= {
        "karpenter.sh/nodepool": "slicewise-shared-l4-3",
        "slicewise.dev/class": "3",
    }
    young = timedelta(minutes=12 * 60 - minute)
    pods = [*served("web-0"), *served("web-1", "web-2", age=young)]
    for pod in pods:
        pod["spec"]["nodeSelector"]["slicewise.dev/class"] = "3"
    contents = builders.contents(nodes=(node,), pods=tuple(pods))
    readings = read(scaled(minute, 1440, 3), "container-insights", contents)
    evidence = class_evidence(readings, "container-insights", contents, policy.pools[0], NOW)
    web = Recommendation(Ref("", "StatefulSet", "web", "team"), 3, 3, 3)

    for at in (NOW - timedelta(hours=2), NOW - timedelta(hours=30)):
        before = ClassDecision("shared", (1, 2, 3), at, 0.8, (), (web,))
        (found,) = decided(policy.pools[0], before, evidence, NOW).recommendations
        assert (found.before, found.after) == (3, 3)


@pytest.mark.parametrize("spread", [(4, 4, 4, 4), (4, 4, 4, 3), (3, 2, 2, 2), (2, 2, 2, 1), (1, 0, 0, 0)])
def test_a_machine_of_several_gpus_that_is_not_full_lowers_n_by_nothing(spread):
    """Four pods of 4,500 MiB fit on a card; 15 of 16 took N from 4 to 3, and 7 of 16 to 2."""
    count = sum(spread)
    series = [insights("node_gpu_usage_total", steady(float(count)))]
    for gpu, pods in enumerate(spread):
        series.append(insights("node_gpu_utilization", steady(5.0 * pods), gpu=gpu))
        series.append(insights("node_gpu_memory_used", steady(4500.0 * pods * MIB), gpu=gpu))

    decision, _ = seen(
        series, "container-insights", served(*(f"web-{i}" for i in range(count))), 4, [machine(4, gpus=4)]
    )

    assert not decision.changes


@pytest.mark.parametrize(("n", "small"), [(2, 1), (3, 2)])
def test_pods_of_unlike_memory_are_not_packed_by_their_mean(n, small):
    """11,500 MiB beside 1,000: their mean would let four share a card that not even two large ones fit on."""
    pods, nodes, series = [], [], []
    for i in range(6):
        nodes.append(machine(n, f"n-{i}"))
        pods.append(dcgm_samples.pod(f"large-{i}-0", f"n-{i}", owner=("StatefulSet", f"large-{i}")))
        pods += [
            dcgm_samples.pod(f"small-{i}-{k}", f"n-{i}", owner=("StatefulSet", f"small-{i}"))
            for k in range(small)
        ]
        used = 11_500.0 + 1000.0 * small
        series.append(insights("node_gpu_utilization", steady(8.0), f"n-{i}"))
        series.append(insights("node_gpu_memory_used", steady(used * MIB), f"n-{i}"))
        series.append(insights("node_gpu_usage_total", steady(1.0 + small), f"n-{i}"))

    decision, _ = seen(series, "container-insights", pods, n, nodes)

    assert not decision.changes
    assert "what 12 of 12 pods need alone is not known" in decision.message or n == 3


def alone_then_together(hours: int) -> list[Series]:
    """One pod of 2,000 MiB by itself for so long, and then two of them."""
    first = hours * 6
    count = [1.0] * first + [2.0] * (STEPS - first)
    return [
        insights("node_gpu_utilization", [5.0 * pods for pods in count]),
        insights("node_gpu_memory_used", [2000.0 * pods * MIB for pods in count]),
        insights("node_gpu_usage_total", count),
        insights("node_gpu_usage_total/most", count),
    ]


@pytest.mark.parametrize(("hours", "after"), [(20, 2), (48, 3)])
def test_a_workload_that_had_a_gpu_to_itself_for_a_day_is_measured_and_lets_n_rise(hours, after):
    pods = [*served("web-0"), *served("web-1", age=timedelta(days=7) - timedelta(hours=hours))]

    decision, _ = seen(alone_then_together(hours), "container-insights", pods, 2)

    assert decision.step.after == after


# Whose past it is


@pytest.mark.parametrize(
    "stranger",
    [
        "other-job-bk7k2",
        "llm-train-b7k2p",
        "llm-cache-0",
        "llm-eval-12",
        "llm-api-6c5d7d9f8b-bcdfg",
        "llm-v2-b7k2p",
    ],
)
def test_a_stranger_of_a_like_name_is_no_past_of_a_workload(stranger):
    """A Job of 18 GB in a week once made a server of 2 GB a pod of 18 GB: N went from 4 to 1."""
    hash_ = "7d9f8b6c5d"
    names = [f"llm-{hash_}-{letter}2x4z" for letter in "bcdf"]
    owned = {"owner": ("ReplicaSet", f"llm-{hash_}"), "labels": {"pod-template-hash": hash_}}
    pods = [dcgm_samples.pod(name, age=timedelta(days=2), **owned) for name in names]
    young = [math.nan] * (5 * 144)
    past = [math.nan] * 108 + [1.0] * 400 + [math.nan] * 500

    def of(busy: float, mib: float) -> tuple[Values, Values]:
        return [*young, *[busy] * 288], [*young, *[mib] * 288]

    shapes = {name: of(0.05, 2000.0) for name in names}
    shapes[stranger] = [0.95 * v for v in past], [18_000.0 * v for v in past]
    decision, use = seen(dcgm("n-1", shapes), "prometheus", pods, 4)

    assert {pod.memory_mib for pod in use.pods} == {2000.0}
    assert not decision.changes or decision.step.after > 4


# In general

LEVELS = st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8])
SHAPES: dict[str, Callable[[float], list[float]]] = {
    "steady": steady,
    "by day": lambda level: [level if step % 144 < 60 else level / 4 for step in range(STEPS)],
    "bursts": lambda level: [level if step % 7 == 0 else 0.0 for step in range(STEPS)],
    "grows": lambda level: [level * step / STEPS for step in range(STEPS)],
}


@st.composite
def fleets(draw) -> dict[str, tuple[list[float], list[float]]]:
    """Busy fractions and memory by pod, of two workloads."""
    found = {}
    for i in range(draw(st.integers(2, 5))):
        shape, level = SHAPES[draw(st.sampled_from(sorted(SHAPES)))], draw(LEVELS)
        memory = steady(draw(st.sampled_from([500.0, 2000.0, 5000.0, 9000.0])))
        found[f"{'web' if i % 2 else 'db'}-{i}"] = shape(level), memory
    return found


def allowed(fleet: Mapping[str, tuple[Values, Values]], n: int = 4) -> tuple[float, float]:
    pods = [dcgm_samples.pod(name, owner=("StatefulSet", name.partition("-")[0])) for name in fleet]
    decision, _ = seen(dcgm("n-1", fleet), "prometheus", pods, n)
    assert decision.allowed
    return decision.allowed


# Examples share a process's caches, so that times differ by far.
in_general = settings(max_examples=25, deadline=None)


@in_general
@given(fleets(), st.data())
def test_removing_samples_never_raises_n_and_never_lowers_it(fleet, data):
    whole = allowed(fleet)
    one = data.draw(st.sampled_from([*sorted(fleet), "all"]))
    for _ in range(data.draw(st.integers(1, 3))):
        # Neither the first nor the last: those say when the source began, and whether it is still there.
        begin = data.draw(st.integers(2, STEPS - 200))
        end = begin + data.draw(st.integers(1, 150))
        for name, (busy, memory) in fleet.items():
            if one in (name, "all"):
                busy[begin:end] = memory[begin:end] = [math.nan] * (end - begin)

    lower, upper = allowed(fleet)

    assert lower <= whole[0] and upper >= whole[1]


@in_general
@given(fleets(), st.data())
def test_more_use_never_raises_n(fleet, data):
    before = allowed(fleet)
    busy, memory = fleet[data.draw(st.sampled_from(sorted(fleet)))]
    begin, more = data.draw(st.integers(0, STEPS - 1)), data.draw(st.floats(0.0, 1.0))
    busy[begin:] = [min(1.0, value + more) for value in busy[begin:]]
    memory[begin:] = [value * (1 + more) for value in memory[begin:]]

    after = allowed(fleet)

    assert after[0] <= before[0] and after[1] <= before[1]


@in_general
@given(fleets(), LEVELS, st.sampled_from([500.0, 20_000.0]))
def test_pods_of_another_workload_change_no_workloads_own_evidence(fleet, level, mib):
    def uses(fleet):
        pods = [dcgm_samples.pod(name, owner=("StatefulSet", name.partition("-")[0])) for name in fleet]
        _, use = seen(dcgm("n-1", fleet), "prometheus", pods, 4)
        return {pod.name: pod for pod in use.pods}

    before = uses(fleet)
    after = uses({**fleet, "train-0": (steady(level), steady(mib))})

    assert {name: after[name] for name in before} == before
