"""Recorded answers of Prometheus become what a pass would have read."""

from __future__ import annotations

import json

import pytest
from slicewise.errors import Refused

from cli import recorded_series


def write(tmp_path, *series, content=None):
    file = tmp_path / "week.json"
    file.write_text(json.dumps({"data": {"result": list(series)}}) if content is None else content)
    return file


def one(name, values, **labels):
    return {"metric": {"__name__": name, "gpu": "0", **labels}, "values": values}


def test_memory_becomes_the_peak_of_ten_minutes_and_busy_time_their_mean(tmp_path):
    file = write(
        tmp_path,
        one("DCGM_FI_DEV_FB_USED", [[1200, "100"], [1230, "300"], [1800, "50"]], pod="a"),
        one("DCGM_FI_DEV_GPU_UTIL", [[1200, "20"], [1230.5, "40"]]),
        one("node_load1", [[1200, "7"]]),
    )

    memory, busy = recorded_series.read(file)

    assert (memory.name, memory.labels) == ("DCGM_FI_DEV_FB_USED", {"gpu": "0", "pod": "a"})
    assert (memory.times, memory.values) == ((1200, 1800), (300, 50))
    assert (busy.times, busy.values) == ((1200,), (30,))
    assert recorded_series.newest([memory, busy]) == 2400


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "no answer of query_range"),
        ('{"data": {"result": [{"metric": null}]}}', "no answer of query_range"),
        ('{"data": {"result": []}}', "has no series of DCGM_FI_DEV_FB_USED"),
        (
            json.dumps({"data": {"result": [one("DCGM_FI_DEV_FB_USED", [[1, "x"]])]}}),
            "series 1: .* is no sample",
        ),
        (json.dumps({"data": {"result": [one("DCGM_FI_DEV_FB_USED", [])]}}), "series 1 has no values"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_with_what_is_wrong(tmp_path, content, says):
    with pytest.raises(Refused, match=says):
        recorded_series.read(write(tmp_path, content=content))


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(Refused, match=r"gone\.json cannot be read"):
        recorded_series.read(tmp_path / "gone.json")
