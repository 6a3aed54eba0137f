"""What is CloudWatch's own about its PromQL; what all sources have in common is test_metrics.py's."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from botocore.credentials import Credentials
from slicewise.errors import Refused, Unavailable
from slicewise.gateways.cloudwatch_promql import CloudWatchPromQl
from slicewise.gateways.prometheus import PrometheusMetrics

from tests.fakes.aws.cloudwatch_promql import TRUNCATED, CloudWatchApi
from tests.support import functions_aws
from tests.support.tuning.series import in_one_piece

END = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
STEP, HOUR = timedelta(minutes=10), timedelta(hours=1)
USED, UTIL = "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_GPU_UTIL"


@pytest.fixture
def api(monkeypatch):
    with CloudWatchApi() as api:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", api.url)
        yield api


def port(secret="testing", region="eu-west-1"):
    return CloudWatchPromQl(functions_aws.session("AKIA", secret, region=region), region)


def uuid(number):
    return "GPU-" + hashlib.sha256(str(number).encode()).hexdigest()[:8]


def put(api, number, *, name=USED, value=1.0, cluster="gpu-1", **labels):
    its = {
        "@resource.k8s.cluster.name": cluster,
        "@resource.k8s.node.name": f"n-{number}",
        "@resource.host.type": "g6.xlarge",
        "gpu": "0",
        "UUID": uuid(number),
        "modelName": "NVIDIA L4",
    }
    its = {label: text for label, text in {**its, **labels}.items() if text is not None}
    api.put(name, its, [(int((END - HOUR).timestamp()) + 1, value)])


def read(api_port, start=END - 2 * HOUR, cluster="gpu-1"):
    return in_one_piece(api_port.read(cluster, start, END, STEP))


def test_requests_are_signed_for_monitoring_in_the_clusters_region(api):
    put(api, 1)
    api.signed_by = Credentials("AKIA", "right")

    assert len(read(port("right", "us-east-2"))) == 1
    with pytest.raises(Refused, match="403"):
        read(port("wrong"))
    amp = PrometheusMetrics(api.url, functions_aws.session("AKIA", "right"))
    amp._region = "eu-west-1"
    with pytest.raises(Refused, match="correct service"):
        read(amp)


@pytest.mark.parametrize("region", ["eu-west-1", "us-east-2"])
def test_the_endpoint_is_cloudwatchs_own(region, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)

    assert port(region=region)._url == f"https://monitoring.{region}.amazonaws.com/api/v1/query_range"


def test_memory_is_the_peak_of_a_step_and_utilization_its_mean(api):
    at = int((END - HOUR).timestamp()) + 1
    for name in (USED, UTIL, "DCGM_FI_DEV_GPU_TEMP"):
        its = {"@resource.k8s.cluster.name": "gpu-1", "@resource.k8s.node.name": "n", "UUID": "GPU-0"}
        api.put(name, its, [(at, 1.0), (at + 30, 2.0), (at + 60, 6.0)])

    assert {one.name: one.values for one in read(port())} == {USED: (6.0,), UTIL: (3.0,)}


def test_only_labels_that_tell_whose_a_series_is_come_over_the_wire(api):
    put(api, 1, pod="a-0", namespace="team", container="main", **{"@resource.k8s.pod.label.app": "web"})

    [series] = read(port())

    assert series.labels == {
        "@resource.k8s.node.name": "n-1",
        "gpu": "0",
        "UUID": uuid(1),
        "modelName": "NVIDIA L4",
        "pod": "a-0",
        "namespace": "team",
    }


def test_more_series_than_an_answer_holds_are_all_read(api):
    for number in range(1203):
        put(api, number, value=float(number))

    found = read(port(), END - 3 * HOUR)

    assert sorted(one.values[0] for one in found) == [float(number) for number in range(1203)]
    assert not any(one.incomplete for one in found)
    # The newest hour, which has none of them, and all before it in its parts.
    assert len([query for query in api.queries if USED in query]) == 1 + (1 + 16 + 1)


def test_gpus_whose_number_is_none_are_read_with_the_others(api):
    for number in range(600):
        put(api, number)
    put(api, 600, UUID=None)
    put(api, 601, UUID="MIG-7")

    assert len(read(port())) == 602


def test_a_part_that_is_too_large_is_asked_for_in_smaller_ones(api):
    api.most = 20
    for number in range(700):
        put(api, number)
    source = port()

    found = read(source)

    assert len({one.labels["UUID"] for one in found}) == 700
    assert not any(one.incomplete for one in found)


@pytest.mark.parametrize(("warns", "reported"), [(True, TRUNCATED), (False, "500 series")])
def test_series_that_no_part_holds_are_told_to_be_missing(api, warns, reported):
    api.warns = warns
    for number in range(501):
        put(api, 1, pod=f"a-{number}", namespace="team")

    found = read(port())

    assert len(found) == 500
    assert all(reported in one.incomplete for one in found)


def test_a_week_is_within_what_one_request_may_span(api):
    put(api, 1)

    assert read(port(), END - timedelta(days=7, minutes=-3))
    assert read(port(), END - timedelta(days=7))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(422, Unavailable, id="too many a second, or too much to look through"),
        pytest.param(429, Unavailable, id="too many at once"),
        pytest.param(500, Unavailable, id="a server at fault"),
        pytest.param(400, Refused, id="not understood"),
        pytest.param(403, Refused, id="not allowed"),
        pytest.param(404, Refused, id="no such API in this Region"),
    ],
)
def test_an_error_is_sorted_by_what_helps(api, status, error):
    api.failing = status, b'{"message": "no"}'

    with pytest.raises(error, match=str(status)):
        read(port())


def test_a_region_without_promql_is_reported_with_what_to_write_instead(api):
    api.failing = 404, b"<UnknownOperationException/>"

    with pytest.raises(Refused, match=r"no PromQL in this Region .*`source: container-insights`"):
        read(port())


def test_two_clusters_of_one_account_are_distinguished(api):
    put(api, 1)
    put(api, 2, cluster="gpu-12")

    assert [one.labels["UUID"] for one in read(port())] == [uuid(1)]
