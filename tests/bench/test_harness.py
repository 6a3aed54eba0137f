"""The bench shows rules the past only, and reads what users bring."""

from dataclasses import replace

import numpy as np
import pytest
from slicewise.slicing.classes import ClassPolicy
from slicewise.slicing.packing import PackingPolicy

from bench import calibration, requests
from bench.serving import contestants, play, run_trace, table
from bench.trace import SAMPLES_A_DAY, Trace, serving


def small(pods: int = 24, seed: int = 0) -> Trace:
    trace = serving(seed)
    return replace(
        trace, names=trace.names[:pods], memory_mib=trace.memory_mib[:pods], busy=trace.busy[:pods]
    )


def week(trace: Trace, name: str):
    return play(trace, contestants(trace, ClassPolicy(), PackingPolicy())[name](), 0)


@pytest.mark.parametrize(
    "name", ["classes-daily", "packing-daily", "classes-static", "packing-static", "pool-n"]
)
def test_what_happens_later_cannot_change_a_placement_already_made(name):
    trace, today = small(), 9
    future = trace.busy.copy()
    future[:, today * SAMPLES_A_DAY :] = np.random.default_rng(1).random(
        (len(trace.names), (trace.days - today) * SAMPLES_A_DAY)
    )
    until = today - trace.decide_day + 1

    assert week(trace, name).groups[:until] == week(replace(trace, busy=future), name).groups[:until]


def test_a_rule_that_peeks_would_be_caught():
    trace = small()
    changed = replace(trace, busy=np.where(np.arange(trace.busy.shape[1]) >= 1008, 1.0, trace.busy))

    assert week(trace, "oracle").groups[0] != week(changed, "oracle").groups[0]


def test_history_ends_the_evening_before():
    trace = small()

    assert [len(pod.days) for pod in trace.history(8)] == [8] * len(trace.names)


@pytest.mark.parametrize("name", ["classes-daily", "packing-daily", "packing-static", "classes-static"])
def test_every_pod_has_one_place_each_day_and_no_memory_at_risk(name):
    trace = small(60)
    found = week(trace, name)

    for groups in found.groups:
        assert sorted(pod for group in groups for pod in group) == list(range(60))
    assert run_trace(trace, [name], 1)[name][0].memory_risk_pods == 0


def test_the_serving_trace_is_the_published_one():
    assert len(serving(0).names) == 231
    assert len(serving(0, exchanged=True).names) == 239


def test_no_pod_is_below_its_request_in_2137_gpus():
    rows = requests.run()["policies"]

    assert (rows["classes-5"]["gpus"], rows["static-2"]["gpus"], rows["floor"]["gpus"]) == (2137, 2278, 2134)


def test_the_slowdown_models_meet_the_published_table_within_one_percent():
    assert all(row["worst_pct"] <= 1 for row in calibration.run()["policies"].values())


def test_regret_is_one_for_whole_gpus_and_nought_for_the_oracle():
    rows = table([run_trace(small(), ["whole", "oracle"], 1)], [1])

    assert (rows["whole"]["regret"], rows["oracle"]["regret"]) == (1, 0)
