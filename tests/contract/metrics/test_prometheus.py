"""
What a Prometheus answers Slicewise: a real one, and the one in memory that unit tests read, held to the same.

The real one is `sandbox.metrics.prometheus`, of the version that docs/supported_versions.md names.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
import urllib3
from slicewise.errors import Refused
from slicewise.gateways.prometheus import PrometheusMetrics

from sandbox.metrics.remote_write import STALE
from tests.support import functions_aws
from tests.support.tuning.series import in_one_piece

END = datetime.fromtimestamp(int(datetime.now(UTC).timestamp()) // 600 * 600, UTC)
STEP = timedelta(minutes=10)
SESSION = functions_aws.session()
SERIES = {"cluster": "gpu-1", "Hostname": "n-1"}
# dcgm_structs.h: DCGM_INT64_BLANK, DCGM_INT32_BLANK and DCGM_FP64_BLANK.
BLANKS = (9223372036854775792.0, 2147483632.0, 140737488355328.0)


def second(steps: float) -> int:
    """Of the epoch, so many steps before the end."""
    return int(END.timestamp() - steps * 600)


def read(prometheus, *, days: float = 7, step: timedelta = STEP, end: datetime = END):
    port = PrometheusMetrics(prometheus.url, SESSION)
    return in_one_piece(port.read("gpu-1", end - timedelta(days=days), end, step))


def asked(prometheus, query: str, start: int, end: int, step: int):
    """Status and body of a range query, as the gateway sends it."""
    form = urlencode({"query": query, "start": start, "end": end, "step": step})
    answer = urllib3.request(
        "POST",
        f"{prometheus.url}/api/v1/query_range",
        body=form,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    return answer.status, json.loads(answer.data)


def points(series):
    return dict(zip(series.times, series.values, strict=True))


UTIL, MEMORY, ENGINE, XID = (
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "DCGM_FI_DEV_XID_ERRORS",
)


# Range selectors


def test_a_range_leaves_out_its_very_beginning_and_holds_its_very_end(prometheus):
    """(t - range, t]: since Prometheus 3; before, both ends belonged to it."""
    prometheus.put(UTIL, SERIES, [(second(4), 40.0), (second(3), 30.0), (second(2), 20.0)])

    [series] = read(prometheus)

    assert points(series) == {second(5): 40.0, second(4): 30.0, second(3): 20.0}


@pytest.mark.parametrize(
    ("name", "expected"), [(UTIL, 3.0), (ENGINE, 3.0), (MEMORY, 6.0), (XID, 2.0)], ids=lambda one: str(one)
)
def test_what_a_step_is_depends_on_the_metric(prometheus, name, expected):
    """The mean of how busy it was, the peak of memory, the last Xid error."""
    values = zip((second(3) + 30, second(3) + 60, second(3) + 90), (1.0, 6.0, 2.0), strict=True)
    prometheus.put(name, SERIES, values)

    assert points(*read(prometheus)) == {second(3): expected}


def test_a_window_of_past_months_is_read_as_any_other(prometheus):
    long_ago = second(144 * 50)
    prometheus.put(UTIL, SERIES, [(long_ago + 60, 50.0)])

    [series] = read(prometheus, end=datetime.fromtimestamp(long_ago + 6000, UTC))

    assert points(series) == {long_ago: 50.0}


def test_samples_that_come_out_of_order_are_all_there(prometheus):
    for steps in (3, 900, 2, 901, 1):
        prometheus.put(UTIL, SERIES, [(second(steps) + 1, float(steps))])

    assert points(*read(prometheus)) == {second(steps): float(steps) for steps in (901, 900, 3, 2, 1)}


# What goes away


def test_a_target_that_went_away_ends_with_its_last_step_marked_stale_or_not(prometheus):
    """No value is carried on, as an instant selector does for five minutes where there is no marker."""
    seen = [(second(5) + 30 * n, 70.0) for n in range(1, 11)]
    prometheus.put(UTIL, {**SERIES, "gpu": "0"}, seen)
    prometheus.put(UTIL, {**SERIES, "gpu": "1"}, [*seen, (second(5) + 330, STALE)])

    found = {series.labels["gpu"]: points(series) for series in read(prometheus)}

    assert found == {"0": {second(5): 70.0}, "1": {second(5): 70.0}}


def test_a_step_that_has_nothing_but_a_marker_has_no_point(prometheus):
    prometheus.put(UTIL, SERIES, [(second(5) + 30, 70.0), (second(4) + 30, STALE)])

    assert points(*read(prometheus)) == {second(5): 70.0}


def test_a_series_of_markers_alone_is_none(prometheus):
    prometheus.put(UTIL, SERIES, [(second(4) + 30, STALE)])

    assert read(prometheus) == ()


# What is no measurement


@pytest.mark.parametrize(
    ("name", "expected"),
    [(UTIL, math.nan), (ENGINE, math.nan), (MEMORY, 20.0), (XID, math.nan)],
    ids=lambda one: str(one),
)
def test_a_value_that_is_no_number_spoils_means_and_not_peaks(prometheus, name, expected):
    prometheus.put(name, SERIES, [(second(3) + 30, 10.0), (second(3) + 60, 20.0), (second(3) + 90, math.nan)])

    assert points(*read(prometheus)) == pytest.approx({second(3): expected}, nan_ok=True)


@pytest.mark.parametrize("order", [(10.0, math.nan), (math.nan, 10.0)], ids=["after", "before"])
def test_of_pods_that_repeat_a_gpu_the_one_that_has_a_number_counts(prometheus, order):
    for pod, value in zip("ab", order, strict=True):
        prometheus.put(ENGINE, {**SERIES, "pod": pod}, [(second(3) + 30, value)])

    assert points(*read(prometheus)) == {second(3): 10.0}


@pytest.mark.parametrize("value", [*BLANKS, math.inf, -math.inf])
def test_values_that_no_gpu_has_arrive_as_they_are(prometheus, value):
    """DCGM's codes for "no value", which the evidence then leaves out and counts."""
    prometheus.put(MEMORY, SERIES, [(second(3) + 30, value)])

    assert points(*read(prometheus)) == {second(3): value}


# How much is asked for


def test_a_question_for_more_than_11_000_steps_is_refused(prometheus):
    prometheus.put(UTIL, SERIES, [(second(1) + 1, 1.0)])
    query = f"max_over_time({UTIL}{{}}[60s])"

    status, body = asked(prometheus, query, second(0) - 11_001, second(0), 1)
    assert (status, body["status"], body["errorType"]) == (400, "error", "bad_data")
    assert body["error"].startswith("exceeded maximum resolution of 11,000 points per timeseries.")

    status, body = asked(prometheus, query, second(0) - 11_000, second(0), 1)
    assert (status, body["status"]) == (200, "success")


@pytest.mark.parametrize("seconds", [30, 5])
def test_no_window_and_no_step_make_us_ask_for_more(prometheus, seconds):
    """A week of half minutes and a day and a half of five seconds: 20,160 and 25,920 steps."""
    values = {second(1 + steps): float(steps) for steps in range(0, 210, 7)}
    prometheus.put(UTIL, SERIES, [(at + 1, value) for at, value in values.items()])

    [series] = read(prometheus, days=7 if seconds == 30 else 1.5, step=timedelta(seconds=seconds))

    assert points(series) == dict(sorted(values.items()))
    assert not series.incomplete


def test_an_answer_of_many_series_is_read_whole(prometheus):
    """Compressed on the way, where the server does that: a megabyte."""
    for gpu in range(40):
        at = [(second(steps) + 1, 50.0 + gpu / 3) for steps in range(1, 1009)]
        prometheus.put(UTIL, {**SERIES, "gpu": str(gpu)}, at)

    found = read(prometheus)

    assert {series.labels["gpu"] for series in found} == {str(gpu) for gpu in range(40)}
    assert {
        (len(series.values), set(series.values) == {50.0 + int(series.labels["gpu"]) / 3}) for series in found
    } == {(1008, True)}


# Encoders and decoders

ENC = "DCGM_FI_DEV_ENC_UTIL"


def test_encoders_at_rest_are_counted_by_model_and_only_those_in_use_are_read(prometheus):
    """The exporter repeats a GPU's value for each of its pods: they are one GPU."""
    for gpu, value in enumerate((40.0, 0.0, 0.0)):
        for pod in ("", "a", "b"):
            labels = {**SERIES, "gpu": str(gpu), "modelName": "NVIDIA L4"} | ({"pod": pod} if pod else {})
            prometheus.put(ENC, labels, [(second(3) + 30, value), (second(2) + 30, 0.0)])
    prometheus.put(ENC, {**SERIES, "gpu": "9", "modelName": "Tesla T4"}, [(second(3) + 30, 0.0)])

    port = PrometheusMetrics(prometheus.url, SESSION, ["encoders"])
    found = {
        tuple(sorted(one.labels.items())): (one.name, points(one))
        for one in in_one_piece(port.read("gpu-1", END - timedelta(days=1), END, STEP))
    }

    in_use = tuple(sorted({"Hostname": "n-1", "gpu": "0", "modelName": "NVIDIA L4"}.items()))
    assert found == {
        in_use: (ENC, {second(3): 40.0}),
        (("modelName", "NVIDIA L4"),): (ENC, {second(3): 3.0, second(2): 3.0}),
        (("modelName", "Tesla T4"),): (ENC, {second(3): 1.0}),
    }


def test_encoders_are_not_read_unless_asked_for(prometheus):
    prometheus.put(ENC, {**SERIES, "gpu": "0"}, [(second(3) + 30, 40.0)])

    assert read(prometheus) == ()


# Whose series


def test_labels_that_name_the_cluster_may_be_absent_and_must_not_be_anothers(prometheus):
    at = [(second(3) + 30, 1.0)]
    for labels in (
        {"Hostname": "no label"},
        {"Hostname": "ours", "k8s_cluster_name": "gpu-1"},
        {"Hostname": "another's", "eks_cluster": "gpu-2"},
        {"Hostname": "ours by one, another's by the other", "cluster": "gpu-1", "cluster_name": "gpu-2"},
        {"Hostname": "longer", "cluster": "gpu-11"},
        {"Hostname": "shorter", "cluster": "gpu-"},
    ):
        prometheus.put(UTIL, labels, at)

    assert {series.labels["Hostname"] for series in read(prometheus)} == {"no label", "ours"}


def test_another_value_at_a_time_that_has_one_is_refused(prometheus):
    prometheus.put(UTIL, SERIES, [(second(3), 1.0)])
    prometheus.put(UTIL, SERIES, [(second(3), 1.0)])

    with pytest.raises(Exception, match="duplicate sample"):
        prometheus.put(UTIL, SERIES, [(second(3), 2.0)])
    assert points(*read(prometheus)) == {second(4): 1.0}


def test_a_query_that_cannot_be_parsed_is_refused_with_its_words(prometheus, monkeypatch):
    monkeypatch.setattr("slicewise.gateways.prometheus._query", lambda *_: "avg_over_time(")

    with pytest.raises(Refused, match=r"avg_over_time\(.*400"):
        read(prometheus)
