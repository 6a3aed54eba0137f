"""The bench shows rules the past only, and reads what users bring."""

import json
from dataclasses import replace

import numpy as np
import pytest
from slicewise.slicing.classes import ClassPolicy
from slicewise.slicing.packing import PackingPolicy

from bench import backtest, calibration, requests
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


def write_csv(path, days=3, extra=()):
    lines = ["time,pod,busy,memory_mib"]
    lines += [f"{w * 600},pod-{p},{0.1 * p},{2000}" for w in range(days * 144) for p in range(4)]
    path.write_text("\n".join([*lines, *extra]) + "\n")


def test_a_users_csv_gives_the_same_table(tmp_path, capsys):
    write_csv(tmp_path / "use.csv", extra=["x,pod-1,0.5,1", "600,,0.5,1", "600,pod-1,7,1"])

    assert backtest.main([str(tmp_path / "use.csv"), "--html", str(tmp_path / "page.html")]) == 0

    out = capsys.readouterr()
    assert "packing-daily" in out.out and "whole" in out.out
    assert "1 rows left out: busy is not between 0 and 1" in out.err
    assert "1 rows left out: no pod" in out.err
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_a_prometheus_export_is_read(tmp_path):
    series = [
        {"metric": {"pod": "a", "signal": s}, "values": [[i * 600, v] for i in range(3 * 144)]}
        for s, v in (("busy", "0.2"), ("memory_mib", "3000"))
    ]
    (tmp_path / "p.json").write_text(json.dumps({"data": {"result": series}}))
    rows, rejected = backtest.read(tmp_path / "p.json")

    assert not rejected
    assert backtest.to_trace(rows, 22888).memory_mib.tolist() == [3000]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "time,pod\n1,a\n", "column busy"),
        ("a.txt", "", "expected .csv"),
        ("a.json", "{}", "no Prometheus"),
    ],
    ids=["a column short", "unknown kind", "not an export"],
)
def test_a_file_that_cannot_be_used_is_named_with_the_remedy(tmp_path, capsys, name, text, said):
    (tmp_path / name).write_text(text)

    assert backtest.main([str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err


def test_two_days_are_too_few(tmp_path, capsys):
    write_csv(tmp_path / "use.csv", days=2)

    assert backtest.main([str(tmp_path / "use.csv")]) == 2
    assert "at least 3" in capsys.readouterr().err


def test_regret_is_one_for_whole_gpus_and_nought_for_the_oracle():
    rows = table([run_trace(small(), ["whole", "oracle"], 1)], [1])

    assert (rows["whole"]["regret"], rows["oracle"]["regret"]) == (1, 0)
