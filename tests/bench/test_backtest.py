"""Anybody's recorded use gives the same table; what cannot be used is counted and named."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from bench import backtest, guarded
from bench.contestants import Morning
from bench.usage_files import BadFile, Row, read, to_trace

CARD = 22_888
HEADER = "time,pod,busy,memory_mib"


def lines(days=3, pods=4, step=600):
    return [f"{w * step},pod-{p},{0.1 * p},{2000}" for w in range(days * 86_400 // step) for p in range(pods)]


def write(path, *rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def rows_of(pod, days, busy=0.1, memory=2000.0, first=0, step=600):
    a_day = 86_400 // step
    return [Row((first * a_day + w) * step, pod, busy, memory) for w in range(days * a_day)]


def series(pod="a", values=((0, "0.2"),), **labels):
    return {"metric": {"pod": pod, **labels}, "values": [list(pair) for pair in values]}


def export(path, *found):
    path.write_text(
        json.dumps({"status": "success", "data": {"resultType": "matrix", "result": list(found)}})
    )
    return path


def test_a_users_csv_gives_the_same_table_a_chart_and_a_page(tmp_path, capsys):
    file = write(tmp_path / "use.csv", *lines())

    assert backtest.main([str(file), "--html", str(tmp_path / "out" / "page.html")]) == 0

    out = capsys.readouterr()
    assert "packing-daily" in out.out and "whole" in out.out and "█" in out.out
    assert "12/12 runs" in out.err
    assert "<svg" in (tmp_path / "out" / "page.html").read_text()


def test_bad_rows_are_counted_by_reason_and_named_by_line(tmp_path):
    bad = ["x,pod-1,0.5,1", "600,,0.5,1", "600,pod-1,7,1", "600,pod-1,-1,1", "600,pod-1,nan,", "600,a,0.1,-5"]
    found = read(write(tmp_path / "use.csv", "0,a,0.1,1", *bad))

    assert len(found.rows) == 1
    assert found.complaints() == [
        "2 rows left out: busy is not between 0 and 1 (line 5, line 6)",
        "1 row left out: memory_mib is negative (line 8)",
        "1 row left out: neither busy nor memory_mib is a number (line 7)",
        "1 row left out: no pod (line 4)",
        "1 row left out: time is neither seconds nor ISO 8601 (line 3)",
    ]


def test_a_prometheus_export_is_read_with_its_namespaces(tmp_path):
    found = read(
        export(
            tmp_path / "p.json",
            series(namespace="x", signal="busy"),
            series(namespace="x", values=[(0, "3000")], signal="memory_mib"),
            series(namespace="y", __name__="up"),
        )
    )

    assert [(row.pod, row.busy) for row in found.rows if row.busy == row.busy] == [("x/a", 0.2)]
    assert [row.memory_mib for row in found.rows if row.busy != row.busy] == [3000]
    assert found.complaints() == ["1 row left out: neither busy nor memory_mib is a number (series 3 at 0)"]


def test_the_names_of_dcgms_exporter_are_known(tmp_path):
    labels = {"exported_pod": "mine", "exported_namespace": "team"}
    found = read(
        export(
            tmp_path / "p.json",
            series("exporter", [(0, "40")], __name__="DCGM_FI_DEV_GPU_UTIL", **labels),
            series("exporter", [(0, "0.3")], __name__="DCGM_FI_PROF_GR_ENGINE_ACTIVE", **labels),
            series("exporter", [(0, "512")], __name__="DCGM_FI_DEV_FB_USED", **labels),
        )
    )

    assert [row.pod for row in found.rows] == ["team/mine"] * 3
    assert [row.busy for row in found.rows[:2]] == [0.4, 0.3] and found.rows[2].memory_mib == 512


def test_several_files_are_read_as_one(tmp_path, capsys):
    values = [(w * 600, "0.1") for w in range(3 * 144)]
    busy = export(tmp_path / "busy.json", series(values=values, signal="busy"))
    memory = export(tmp_path / "memory.json", series(values=[(0, "100")], signal="memory_mib"))

    assert backtest.main([str(busy), str(memory)]) == 0
    assert "1 pods, 3 days" in capsys.readouterr().out


def test_parquet_is_read(tmp_path):
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    table = {"time": [moment, moment], "pod": ["a", ""], "busy": [0.5, 0.5], "memory_mib": [100, 100]}
    parquet.write_table(pyarrow.table(table), tmp_path / "use.parquet")
    found = read(tmp_path / "use.parquet")

    assert found.rows == [Row(moment.timestamp(), "a", 0.5, 100.0)]
    assert found.complaints() == ["1 row left out: no pod (row 2)"]


def test_a_time_without_a_zone_is_utc_wherever_the_file_is_read(tmp_path, monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        found = read(write(tmp_path / "a.csv", "1970-01-01T01:00:00,a,0.1,1", "1970-01-01 02:00Z,a,0.1,1"))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert [row.time for row in found.rows] == [3600, 7200]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"time,pod\n1,a\n", "column busy is missing"),
        ("a.csv", b"", "column time is missing"),
        ("a.csv", b"time,pod,busy,memory_mib\n", "no usable row"),
        ("a.csv", b"time,pod,busy,memory_mib\n0,\xff\xfe,0.1,1\n", "UTF-8"),
        ("a.csv", b'time,pod,busy,memory_mib\n0,"' + b"x" * 200_000 + b'",0.1,1\n', "no CSV"),
        ("a.txt", b"", "expected .csv"),
        ("a.json", b"{}", "no Prometheus"),
        ("a.json", b"{", "no Prometheus"),
        ("a.json", b"\xff\xfe", "no Prometheus"),
        ("a.json", b'{"data": {"result": [{"metric": null, "values": []}]}}', "no Prometheus"),
        ("a.json", b'{"data": {"result": [{"metric": {"pod": "a"}, "values": [[1]]}]}}', "no Prometheus"),
        ("a.json", b'{"data": {"result": [{"metric": {"pod": "a"}, "values": [7]}]}}', "no Prometheus"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_remedy(tmp_path, capsys, name, content, said):
    (tmp_path / name).write_bytes(content)

    assert backtest.main([str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err


def test_a_broken_parquet_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")

    with pytest.raises(BadFile, match="no Parquet"):
        read(tmp_path / "a.parquet")


def test_two_days_are_too_few(tmp_path, capsys):
    assert backtest.main([str(write(tmp_path / "use.csv", *lines(days=2)))]) == 2
    assert "at least 3" in capsys.readouterr().err


def test_a_single_stray_time_is_reported_with_the_span_it_makes():
    with pytest.raises(BadFile, match="1970-01-01 to 2026"):
        to_trace([*rows_of("a", 3), Row(1_780_000_000, "a", 0.1, 1)], CARD)


def test_samples_an_hour_apart_are_no_gaps_and_rarer_ones_are_refused():
    hourly = to_trace(rows_of("a", 4, step=3600), CARD)

    assert hourly.samples_a_day == 24
    assert not np.isnan(hourly.busy).any()
    with pytest.raises(BadFile, match="7,200 s apart"):
        to_trace(rows_of("a", 4, step=7200), CARD)


def test_memory_is_known_of_the_past_only_and_scored_as_it_came():
    """A peak in the scored days is memory at risk for who stays, and no news before it happened."""
    rows = [*rows_of("a", 2), *rows_of("a", 2, memory=21_000, first=2), *rows_of("b", 4)]
    trace = to_trace(rows, CARD)

    assert [pod.memory_mib for pod in trace.history(2)] == [2000, 2000]
    assert [pod.memory_mib for pod in trace.history(3)] == [21_000, 2000]
    assert backtest.backtest(trace)["static-2"]["oom_pods"] == 2


def test_unknown_memory_takes_a_gpu_of_its_own():
    rows = [row for name in "abc" for row in rows_of(name, 4, busy=0.01, memory=float("nan"))]

    found = backtest.backtest(to_trace(rows, CARD))

    assert {found[name]["gpus"] for name in ("classes-daily", "packing-daily", "memory-only", "pool-n")} == {
        3
    }


def test_a_pod_that_comes_later_or_goes_holds_no_gpu_while_it_is_not_there():
    rows = [*rows_of("stays", 6), *rows_of("goes", 4), *rows_of("comes", 1, first=5)]
    trace = to_trace(rows, CARD)
    found = backtest.backtest(trace)

    # Days 3, 4 and 5 are scored: two pods, one, two.
    assert [sorted(trace.present(day)) for day in trace.scored_days] == [[1, 2], [2], [0, 2]]
    assert found["whole"]["gpus"] == pytest.approx(5 / 3)
    assert found["classes-daily"]["gpus"] == pytest.approx(4 / 3)
    assert found["packing-daily"]["gpus"] == pytest.approx(4 / 3)


def test_the_price_of_the_gpu_can_be_reported():
    trace = to_trace(rows_of("a", 4), CARD, usd_per_gpu_hour=2.0)

    assert backtest.backtest(trace)["whole"]["usd_a_week"] == pytest.approx(2 * 24 * 7)


def grows_within_a_day(step=600):
    """Two pods that shared a card for days; on the fifth one of them takes twice its memory by evening."""
    rows = [row for name in ("calm", "leaks") for row in rows_of(name, 6, memory=8000.0, step=step)]
    return [
        replace(row, memory_mib=8000.0 * (1 + row.time % 86_400 / 86_400))
        if row.pod == "leaks" and row.time // 86_400 == 4
        else row
        for row in rows
    ]


@pytest.mark.parametrize("step", [600, 1200, 3600])
def test_who_would_fill_its_card_before_the_next_morning_is_moved_by_a_look(step):
    found = backtest.backtest(to_trace(grows_within_a_day(step), CARD))

    assert found["static-2"]["oom_pods"] == 2
    classes, packing = found["classes-daily"], found["packing-daily"]
    assert classes["oom_pods"] == packing["oom_pods"] == 0
    # One move in the three scored days, at one of 23 looks a day in each of two orders.
    assert classes["guard_moves_per_day"] == pytest.approx(1 / 3)
    assert (classes["looks"], classes["looks_acted"]) == (2 * 3 * 23, 2)
    # With packing who is restarted may land where it was, as long as what it asks for by then fits there.
    assert packing["guard_moves_per_day"] >= 1 / 3
    assert "looks" not in found["static-2"] and "looks" not in found["pool-n"]


def test_a_look_knows_the_day_so_far_and_no_more():
    trace = to_trace(grows_within_a_day(), CARD)
    morning = Morning(4, trace.history(4), (0, 1), trace.present(4), CARD, ())

    seen = [dict(zip(trace.names, guarded._seen(trace, morning, hour), strict=True)) for hour in (1, 12)]

    assert [one["leaks"].memory_mib for one in seen] == pytest.approx([8277.8, 11_944.4], abs=0.1)
    assert [one["calm"].memory_mib for one in seen] == [8000.0, 8000.0]


def test_the_output_says_how_often_looks_acted(tmp_path, capsys):
    rows = [f"{row.time},{row.pod},{row.busy},{row.memory_mib}" for row in grows_within_a_day(3600)]

    assert backtest.main([str(write(tmp_path / "use.csv", *rows))]) == 0

    out = capsys.readouterr().out
    assert "by guard" in out
    looked = "memory and GPUs without rest were looked at every hour"
    assert f"classes-daily: {looked}, and at 2 of 138 looks pods were moved, 0.3 a day" in out


def test_an_hour_without_memory_has_that_of_the_hour_before_and_the_first_that_of_its_day():
    rows = [
        replace(row, memory_mib=float("nan")) if row.time // 3600 % 24 not in (6, 12) else row
        for row in rows_of("a", 3)
    ]
    rows = [replace(row, memory_mib=5000.0) if row.time // 3600 == 6 else row for row in rows]
    trace = to_trace(rows, CARD)

    assert trace.by_hour.memory_mib[0, :14].tolist() == [5000.0] * 12 + [2000.0] * 2
    assert trace.by_hour.memory_mib[0, 24] == 2000.0
