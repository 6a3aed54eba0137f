"""Encoders and decoders: from what DCGM has of a GPU to N. What is not used, or not read, changes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.hardware import gpus
from slicewise.kube.ref import Object
from slicewise.model.cluster import Series
from slicewise.pools import layout
from slicewise.tuning.explain import lines
from slicewise.tuning.rule.decision import Decision, decide, details
from slicewise.tuning.state.pool_state import Tuning, pool_states
from slicewise.tuning.usage.history import NOTHING, History
from slicewise.tuning.usage.pages import history_of, pages
from slicewise.tuning.usage.pool_usage import measured, pool_use, read
from slicewise.tuning.usage.readings import Device
from slicewise.tuning.usage.shares import Sharing
from slicewise.tuning.usage.video import Attributed, Reading, concentrated

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning import dcgm_samples

STEPS = 2 * 144
BEGIN = int(NOW.timestamp()) // 600 * 600 - STEPS * 600
LONG = Tuning(above_since=NOW - timedelta(days=2), below_since=NOW - timedelta(hours=3), below_target=1)
ENC, DEC = "DCGM_FI_DEV_ENC_UTIL", "DCGM_FI_DEV_DEC_UTIL"
L4 = "NVIDIA L4"
Values = Sequence[float]


def points(name: str, labels: dict[str, str], values: Values) -> Series:
    """A value a step; steps that have NaN have no point."""
    found = {BEGIN + 600 * step: v for step, v in enumerate(values) if not math.isnan(v)}
    return Series(name, labels, tuple(found), tuple(found.values()))


def steady(value: float) -> list[float]:
    return [value] * STEPS


def gpu(
    node: str, *pods: str, encoders: Values | None = None, decoders: Values | None = None
) -> list[Series]:
    """One GPU with pods that hardly use its SMs and memory, each measured by itself."""
    of_gpu = {"Hostname": node, "gpu": "0", "modelName": L4}
    found = []
    for pod in ("", *pods):
        labels = {**of_gpu, "pod": pod, "namespace": "team"} if pod else of_gpu
        count = 1 if pod else len(pods)
        found.append(points("DCGM_FI_DEV_FB_USED", labels, steady(500.0 * count)))
        found.append(points("DCGM_FI_DEV_GPU_UTIL", labels, steady(2.0 * count)))
    for name, values in ((ENC, encoders), (DEC, decoders)):
        if values is not None:
            found.append(points(name, of_gpu, [100 * value for value in values]))
    return found


def pod(name: str, node: str = "n-1", job: str = "encode") -> Object:
    return dcgm_samples.pod(name, node, timedelta(days=3), owner=("StatefulSet", job))


def machine(n: int, name: str = "n-1", node_pool: str = "") -> Object:
    room = {"nvidia.com/gpu": str(n), "cpu": "96"}
    found = builders.node(f"ts-{n}", name=name, gpus=1, allocatable=room, age=timedelta(days=9))
    if node_pool:
        found["metadata"]["labels"][layout.NODE_POOL_LABEL] = node_pool
    return found


def decision(
    series: Sequence[Series],
    pods: Sequence[Object],
    n: int,
    nodes: Sequence[Object] = (),
    budget: str = "none",
) -> Decision:
    pools = (
        "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 64, "
        f"replicas: {{start: {max(2, n)}, max: 8}}, slowdownBudget: {budget}}}}}"
    )
    policy = builders.policy(pools, "metrics: {source: prometheus, endpoint: 'http://p:9090'}")
    pool = policy.pools[0]
    contents = builders.contents(
        node_pools=(layout.node_pool(policy, pool, pool.models()[0], n),),
        nodes=tuple(nodes) or (machine(n),),
        pods=tuple(pods),
    )
    (state,) = pool_states(contents, policy)
    use = pool_use(read(series, "prometheus", contents), "prometheus", contents, NOW, state.name)
    return decide(replace(state, history=LONG, pending=3), use, (), contents, policy, NOW)


def interval(found: Decision) -> tuple[float, float]:
    assert found.allowed
    return found.allowed.lower, found.allowed.upper


def bound(found: Decision, what: str) -> Any:
    assert found.choice
    return next((one for one in found.choice.bounds if one.what == what), None)


# A third resource


@pytest.mark.parametrize(("budget", "expected"), [("none", 5), ("2", 2)])
@pytest.mark.parametrize("kind", ["encoders", "decoders"])
def test_a_pod_that_was_alone_counts_by_what_its_gpu_did(kind, budget, expected):
    """n · 0.2 of the engines is at most 1; half of that where a request may take twice as long."""
    found = decision(gpu("n-1", "a", **{kind: steady(0.2)}), [pod("a")], 1, budget=budget)

    assert interval(found)[0] == expected and found.choice.binding == kind
    assert bound(found, kind).n == expected


def test_more_pods_than_the_encoders_serve_lower_n():
    """Four pods keep them busy all the time: whichever it is, three are enough for that."""
    found = decision(
        gpu("n-1", *"abcd", encoders=steady(1.0)), [pod(name) for name in "abcd"], 4, budget="10"
    )

    assert interval(found)[1] == 3 and found.step.after < 4


def test_it_is_not_known_which_of_two_pods_encodes_so_n_rises_less_and_falls_no_further():
    """0.4 together: as the work of one, the third pod may bring 0.4 more; as that of both, 0.2."""
    alone = interval(decision(gpu("n-1", "a", encoders=steady(0.2)), [pod("a")], 1))
    both = interval(decision(gpu("n-1", "a", "b", encoders=steady(0.4)), [pod("a"), pod("b")], 2))

    assert both[0] < alone[0] <= both[1] == 5


def test_the_explanation_names_the_engines_of_the_card():
    found = decision(gpu("n-1", "a", encoders=steady(0.2)), [pod("a")], 1)

    shown = "\n".join(lines(details(found, NOW)))

    assert "encoders allows  5: 5·0.200 + 1.645·0.000·√5 = 1.00 ≤ 1.00 of 2 NVENC" in shown


# Nothing for those that do not encode


def unchanged(series: Sequence[Series], plain: Sequence[Series], names: str = "abcd") -> None:
    pods = [pod(name) for name in names]
    assert decision(series, pods, len(names)) == decision(plain, pods, len(names))


def test_a_source_that_has_no_engines_decides_as_before():
    found = decision(gpu("n-1", "a"), [pod("a")], 1)

    assert [one.what for one in found.choice.bounds] == ["memory", "compute", "host"]


def test_engines_that_rest_change_no_decision():
    unchanged(gpu("n-1", *"abcd", encoders=steady(0.0), decoders=steady(0.0)), gpu("n-1", *"abcd"))


def test_engines_that_rest_may_be_left_out_where_the_source_says_that_it_has_all_of_them():
    counts = [points(name, {"modelName": L4}, steady(1.0)) for name in (ENC, DEC)]

    unchanged([*gpu("n-1", *"abcd"), *counts], gpu("n-1", *"abcd"))


def test_what_was_not_measured_before_the_source_had_it_is_not_missing():
    began = [math.nan if step < STEPS - 5 else 0.0 for step in range(STEPS)]

    unchanged(gpu("n-1", *"abcd", encoders=began), gpu("n-1", *"abcd"))


def test_encoders_of_another_node_pool_change_nothing():
    mine = [*gpu("n-1", "a", encoders=steady(0.2)), *gpu("n-2", "x", encoders=steady(0.0))]
    busy = [*gpu("n-1", "a", encoders=steady(0.2)), *gpu("n-2", "x", encoders=steady(1.0))]
    nodes = [machine(1), machine(1, "n-2", "slicewise-other-l4")]

    assert decision(mine, [pod("a")], 1, nodes) == decision(busy, [pod("a")], 1, nodes)


# Gaps


def test_one_gpu_too_few_means_that_no_gpu_is_known_to_rest():
    """The source has a value of one GPU of two, and not of which: neither may be taken to have rested."""
    two = [*gpu("n-1", "a"), *gpu("n-2", "b")]
    pods, nodes = [pod("a"), pod("b", "n-2")], [machine(1), machine(1, "n-2")]

    later = [2.0 if step < STEPS / 2 else 1.0 for step in range(STEPS)]

    one_of_two = decision([*two, points(ENC, {"modelName": L4}, later)], pods, 1, nodes)
    both = decision([*two, points(ENC, {"modelName": L4}, steady(2.0))], pods, 1, nodes)

    assert bound(one_of_two, "encoders").n == 1 and bound(both, "encoders") is None
    assert interval(one_of_two)[1] == interval(both)[1]


def with_gaps(value: float, gaps: set[int]) -> list[float]:
    return [math.nan if step in gaps else value for step in range(STEPS)]


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([0.0, 0.1, 0.3, 0.9]),
    st.sampled_from([1, 2, 4]),
    st.integers(1, STEPS),
    st.integers(1, STEPS),
)
def test_a_gap_neither_raises_n_nor_lowers_it(value, n, begin, length):
    """Of what came after the source began; what was before that is of no source."""
    names = "abcd"[:n]
    pods = [pod(name) for name in names]
    gaps = set(range(begin, min(STEPS, begin + length)))

    whole = interval(decision(gpu("n-1", *names, encoders=steady(value)), pods, n))
    less = interval(decision(gpu("n-1", *names, encoders=with_gaps(value, gaps)), pods, n))

    assert less[0] <= whole[0] and less[1] >= whole[1]


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([1, 2, 4]),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.sampled_from([0.0, 0.05, 0.4]),
    st.integers(1, STEPS),
)
def test_more_use_never_raises_n(n, value, more, until):
    names = "abcd"[:n]
    pods = [pod(name) for name in names]
    busier = [value + more if step < until else value for step in range(STEPS)]

    before = interval(decision(gpu("n-1", *names, encoders=steady(value)), pods, n))
    after = interval(decision(gpu("n-1", *names, encoders=busier), pods, n))

    assert after[0] <= before[0] and after[1] <= before[1]


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5))
def test_one_pod_of_a_workload_is_taken_to_have_done_everything_at_each_moment(there):
    use = Attributed({600 * step: 0.7 for step in range(6)}, {}, frozenset())
    pods = [({600 * step: 0.0 for step, is_there in enumerate(one) if is_there}, use) for one in there]

    found = concentrated(pods)

    for step in range(6):
        present = [
            one.most[600 * step] for (points, _), one in zip(pods, found, strict=True) if 600 * step in points
        ]
        assert sum(present) == pytest.approx(0.7 if present else 0.0)


# Where only GPUs are measured


def devices(*values: Values | None, sharers: float) -> Sharing:
    """The GPUs of one node, of which each was read or, with None, not; so many pods were on the node."""
    on_gpu = [
        {} if one is None else {"encoders": Reading({600 * step: v for step, v in enumerate(one)})}
        for one in values
    ]
    counts = {600 * step: sharers for step in range(2)}
    found = [
        Device("n-1", str(number), counts, counts, fewest=counts, most=counts, video=its)
        for number, its in enumerate(on_gpu)
    ]
    return Sharing(found, {}, 600)


def test_of_whole_gpus_each_pod_may_have_done_what_the_busiest_did_and_did_its_part_for_certain():
    use = devices([0.2, 0.8], [0.6, 0.4], sharers=4.0).by_node["n-1"].video["encoders"]

    assert dict(use.most) == {0: 0.6, 600: 0.8}
    assert use.certain == pytest.approx({0: 0.2, 600: 0.3})


def test_of_a_machine_with_a_gpu_that_was_not_read_nothing_is_known():
    use = devices([0.2, 0.8], None, sharers=4.0).by_node["n-1"].video["encoders"]

    assert (use.most, use.certain) == ({}, {}) and 0 not in use.resting


# The table


def kept(encoders: Values | None) -> History:
    pods = [pod("a")]
    contents = builders.contents(nodes=(machine(1),), pods=tuple(pods))
    return measured(
        NOTHING, read(gpu("n-1", "a", encoders=encoders), "prometheus", contents), contents, NOW
    ).history


def test_a_history_comes_back_from_its_pages_with_its_engines():
    before = kept([0.1 + step % 7 / 10 for step in range(STEPS)])

    assert history_of(pages(before, 0, "prometheus")).workloads == before.workloads
    assert any(day.video for days in before.workloads.values() for day in days.values())


def test_engines_that_rest_take_few_bytes_and_at_most_two_kinds_of_two_readings():
    def size(history: History) -> int:
        return sum(len(page.content) for page in pages(history, 0, "prometheus"))

    plain, resting, busy = kept(None), kept(steady(0.0)), kept([step % 100 / 100 for step in range(STEPS)])

    assert size(resting) - size(plain) < 120 and size(busy) - size(plain) < 1500


@pytest.mark.parametrize(
    "odd", [7, [], {"encoders": 1}, {"encoders": [[], []]}, {"lasers": [[], [], 0]}, None]
)
def test_what_another_release_wrote_of_engines_costs_the_engines_only(odd):
    import json
    import zlib

    before = kept(steady(0.2))
    written = []
    for page in pages(before, 0, "prometheus"):
        entries = json.loads(zlib.decompress(page.content))
        if page.day > 1:
            entries = [[key, {**day, "video": odd}] for key, day in entries]
        written.append(replace(page, content=zlib.compress(json.dumps(entries).encode())))

    found = history_of(written)

    for key, days in before.workloads.items():
        for begin, day in days.items():
            assert found.workloads[key][begin] == replace(day, video=None)


# The catalog


def test_the_catalog_says_which_cards_have_no_encoder():
    without = {model.name for model in gpus.MODELS if model.video_engines["encoders"] == 0}

    assert without == {"a100-40gb", "a100-80gb", "h100", "h200"}
    assert gpus.model("l4").video_engines == {"encoders": 2, "decoders": 4}
    assert gpus.model("t4g").video_engines == {"encoders": None, "decoders": None}


@pytest.mark.parametrize(
    ("pool", "kinds"),
    [
        ("sharing: time-slicing, gpus: [l4]", ("encoders", "decoders")),
        ("sharing: time-slicing, gpus: [h100]", ("decoders",)),
        ("sharing: mps, gpus: [h100, t4g]", ("encoders", "decoders")),
        ("sharing: time-slicing, gpus: [l4], classes: [1, 2]", ()),
        ("sharing: mig, gpus: [h100], profile: 1g.10gb", ()),
        ("sharing: none, gpus: [l4]", ()),
    ],
)
def test_only_engines_that_may_decide_an_n_are_read(pool, kinds):
    assert builders.policy(f"{{one: {{{pool}, maxGpus: 8}}}}").video_kinds == kinds
