"""The bench shows rules the past only, and reads what users bring."""

import json
from dataclasses import replace

import numpy as np
import pytest
from slicewise.tuning.classes.rule import ClassPolicy
from slicewise.tuning.packing.rule import PackingPolicy

from bench.__main__ import _document, main
from bench.contestants import Hour, Morning, Placed
from bench.scoring import day_contended, gpus_of
from bench.tracks import calibration, requests
from bench.tracks.serving import MODULES, _vary, contestants, play, run_trace, table
from traces.serving import SAMPLES_A_DAY, Trace, serving


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


@pytest.mark.parametrize(
    "name", ["classes-daily", "packing-daily", "packing-static", "pool-n", "memory-only"]
)
def test_memory_that_comes_later_is_not_known_today(name):
    trace, today = small(), 9
    future = trace.memory_mib.copy()
    future[:, today:] = trace.card_mib
    until = today - trace.decide_day + 1
    grown = week(replace(trace, memory_mib=future), name)

    assert week(trace, name).groups[:until] == grown.groups[:until]


def test_a_day_that_has_not_come_is_not_in_what_a_rule_is_given():
    trace = small()
    seen = []

    def spy(morning: Morning) -> Placed:
        seen.append([len(pod.days) for pod in morning.pods])
        assert len(morning.happened) == morning.day - trace.decide_day
        return Placed([[pod] for pod in morning.order])

    play(trace, spy, 0)

    assert [set(days) for days in seen] == [{day} for day in trace.scored_days]


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

    for groups in (groups for parts in found.days for _, groups in parts):
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


def test_the_figures_are_written_by_policy_and_by_setting(tmp_path):
    few = ["whole", "oracle", "classes-daily"]
    file, html = tmp_path / "out" / "bench.json", tmp_path / "bench.html"

    assert main(["serving", "--seeds", "1", "--only", *few, "--json", str(file), "--html", str(html)]) == 0

    found = json.loads(file.read_text())
    assert set(found) == {"policies", "load_1.3", "weeks_exchanged"}
    figures = {"gpus", "moves_per_day", "seeds", "seeds_within_gates", "contended_pct", "oom_pods"}
    for setting in (found, found["load_1.3"], found["weeks_exchanged"]):
        assert all(figures <= set(setting["policies"][name]) for name in few)
    assert html.read_text().count("<svg") == 3


def test_in_the_figures_of_all_tracks_those_of_serving_are_at_the_top():
    found = _document({"serving": {"policies": {}, "load_1.3": {}}, "requests": {"policies": {}}})

    assert list(found) == ["policies", "load_1.3", "requests"]


@pytest.mark.parametrize("rule", ["classes-daily", "packing-daily", "packing-static"])
def test_the_sensitivity_table_varies_constants_that_do_something_and_leaves_them_as_they_were(rule):
    before = {name: getattr(module, name) for name, module in MODULES.items()}

    assert _vary((rule, "BURST_WEIGHT", 1.25, 0)) != _vary((rule, "", 1.0, 0))
    assert {name: getattr(module, name) for name, module in MODULES.items()} == before


def busy_as(*rows: list[float]) -> Trace:
    """Two weeks of pods that are idle but for the first scored day, which is given hour by hour."""
    busy = np.zeros((len(rows), 14 * SAMPLES_A_DAY))
    busy[:, 7 * SAMPLES_A_DAY : 8 * SAMPLES_A_DAY] = np.repeat(rows, 6, axis=1)
    memory = np.full((len(rows), 14), 1000.0)
    return Trace(tuple("abc"[: len(rows)]), memory, busy)


class Parts:
    """All pods on one GPU, until a look lets the first of them go."""

    def __init__(self):
        self.hours = []

    def __call__(self, morning: Morning) -> Placed:
        return Placed([list(morning.order)])

    def relieve(self, hour: Hour) -> Placed:
        self.hours.append(hour)
        return Placed([[0], [pod for pod in hour.morning.order if pod]], 1)


def test_a_gpu_that_had_no_rest_for_an_hour_is_reported_at_the_next_look():
    calm = [0.3] * 24
    trace = busy_as([0.3] * 10 + [0.8] + [0.3] * 13, calm, [0.1] * 24)
    rule = Parts()

    found = play(trace, rule, 0)

    assert [hour.full for hour in rule.hours] == [[pytest.approx({"a": 0.8, "b": 0.3, "c": 0.1})]]
    assert [[begin for begin, _ in parts] for parts in found.days[:2]] == [[0, 66], [0]]
    assert found.moves[:2] == [1, 0]


def test_who_is_left_is_checked_by_what_it_wants_itself():
    trace = busy_as([0.3] * 10 + [0.9] * 14, [0.3] * 10 + [0.9] * 14, [0.3] * 10 + [0.9] * 14)
    rule = Parts()

    found = play(trace, rule, 0)

    # Seen after the eleventh hour: b and c are by themselves from then on, and full at the next look.
    assert [begin for begin, _ in found.days[0]][:3] == [0, 66, 72]
    assert [len(card) for hour in rule.hours[:2] for card in hour.full] == [3, 2]


def test_time_counts_by_where_pods_were_in_it():
    trace = busy_as([0.9] * 24, [0.9] * 24)
    parts = [(0, [[0, 1]]), (36, [[0], [1]])]

    assert gpus_of(trace, parts) == pytest.approx((36 + 2 * 108) / 144)
    assert day_contended(trace, 7, parts) == pytest.approx(36 / (36 + 2 * 108))


@pytest.mark.parametrize("name", ["classes-daily", "packing-daily"])
def test_what_happens_after_a_look_changes_nothing_before_it(name):
    trace, noon = small(60), 7 * SAMPLES_A_DAY + 72
    future = trace.busy.copy()
    future[:, noon:] = 0.9

    def morning(busy):
        (parts, *_) = week(replace(trace, busy=busy), name).days
        return [part for part in parts if part[0] <= 72]

    assert morning(future) == morning(trace.busy)
    # What came before noon is not the whole day: the future given here moves pods.
    assert week(replace(trace, busy=future), name).days[0] != week(trace, name).days[0]
