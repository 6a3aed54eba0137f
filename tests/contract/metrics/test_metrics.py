from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from botocore.credentials import Credentials
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from slicewise.errors import Refused, Unavailable
from slicewise.gateways import cloudwatch_metrics, prometheus
from slicewise.gateways.cloudwatch_metrics import CloudWatchMetrics
from slicewise.gateways.cloudwatch_promql import CloudWatchPromQl
from slicewise.gateways.prometheus import PrometheusMetrics
from slicewise.model.cluster import Series

from sandbox.aws.cloudwatch.metrics import Metrics
from sandbox.aws.cloudwatch.metrics import Series as Stored
from sandbox.aws.core.loopback import Handler, Server
from sandbox.aws.server import Aws
from tests.fakes.aws.cloudwatch_promql import CloudWatchApi
from tests.fakes.calls import Calls
from tests.fakes.metrics import FakeMetrics
from tests.support import functions_aws
from tests.support.tuning.series import in_one_piece

# The sandbox lists metrics by how recent their points are, so the window lies where a pass's does.
END = datetime.fromtimestamp(int(datetime.now(UTC).timestamp()) // 600 * 600, UTC)
STEP = timedelta(minutes=10)
WEEK = timedelta(days=7)
SESSION = functions_aws.session()


def at(steps: float) -> datetime:
    """So many steps after the window's start."""
    return END - WEEK + steps * STEP


class InMemory:
    def __init__(self):
        self.port = FakeMetrics(Calls())

    def put(self, cluster, node, values):
        times = tuple(int(when.timestamp()) for when in values)
        one = Series("busy", {"node": node}, times, tuple(values.values()))
        self.port.series.setdefault(cluster, []).append(one)


class ContainerInsights:
    def __init__(self, aws):
        self.aws = aws
        environment = aws.environment()
        session = functions_aws.session(
            environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region=aws.region
        )
        self.port = CloudWatchMetrics(session, aws.region)

    def put(self, cluster, node, values, name="node_gpu_utilization", **more):
        if name != "node_gpu_usage_total":
            more = {"InstanceType": "g6.xlarge", "GpuDevice": "nvidia0", **more}
        dimensions = {"ClusterName": cluster, "NodeName": node, "InstanceId": "i-1", **more}
        stored = Stored("ContainerInsights", name, tuple(sorted(dimensions.items())))
        self.aws.metrics.put_values(stored, values.items())


class OtelInsights:
    def __init__(self, api, environ):
        self.api = api
        environ.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", api.url)
        self.port = CloudWatchPromQl(functions_aws.session(), "eu-west-1")

    def put(self, cluster, node, values, name="DCGM_FI_DEV_GPU_UTIL", **labels):
        # A sample at the very start of a step belongs to the point that begins one step before.
        points = [(int(when.timestamp()) + 1, value) for when, value in values.items()]
        of_a_gpu = {"gpu": "0", "UUID": f"GPU-0{node}", "modelName": "NVIDIA L4"}
        whose = {"@resource.k8s.cluster.name": cluster, "@resource.k8s.node.name": node}
        self.api.put(name, {**whose, **of_a_gpu, **labels}, points)


class Scraped:
    def __init__(self, server):
        self.server = server
        self.port = PrometheusMetrics(server.url, SESSION)

    def put(self, cluster, node, values, name="DCGM_FI_DEV_GPU_UTIL", **labels):
        # A scrape at the very start of a step belongs to the point that begins one step before.
        points = [(int(when.timestamp()) + 1, value) for when, value in values.items()]
        self.server.put(name, {"cluster": cluster, "Hostname": node, **labels}, points)


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environ, Aws.start(tmp_path_factory.mktemp("aws")) as aws:
        environ.setenv("AWS_ENDPOINT_URL", aws.endpoint)
        yield aws


@pytest.fixture
def insights(aws):
    aws.metrics.forget()
    return ContainerInsights(aws)


@pytest.fixture
def scraped(prometheus):
    return Scraped(prometheus)


@pytest.fixture
def played(prometheus_in_memory):
    """For what a Prometheus of one process never does."""
    return Scraped(prometheus_in_memory)


@pytest.fixture
def otel(monkeypatch):
    with CloudWatchApi() as api:
        yield OtelInsights(api, monkeypatch)


@pytest.fixture
def otel_on_prometheus(real_prometheus, monkeypatch):
    """What CloudWatch is asked, answered by Prometheus' own engine, which its API is compatible with."""
    return OtelInsights(real_prometheus, monkeypatch)


@pytest.fixture(
    params=[
        *("fake", "insights", "otel", "prometheus_in_memory"),
        pytest.param("real_prometheus", marks=pytest.mark.sandbox),
        pytest.param("otel_on_prometheus", marks=pytest.mark.sandbox),
    ]
)
def far_side(request):
    if request.param == "fake":
        return InMemory()
    found = request.getfixturevalue(request.param)
    return found if hasattr(found, "port") else Scraped(found)


def read(far_side, cluster="gpu-1", start=END - WEEK):
    return in_one_piece(far_side.port.read(cluster, start, END, STEP))


def test_a_cluster_without_metrics_has_none(far_side):
    assert read(far_side) == ()


def test_points_stand_at_the_beginning_of_their_step(far_side):
    far_side.put("gpu-1", "n-1", {at(1000): 10.0, at(1001): 30.0})

    [series] = read(far_side)

    assert series.times == (int(at(1000).timestamp()), int(at(1001).timestamp()))
    assert series.values == (10.0, 30.0)
    assert not series.incomplete


def test_a_gap_stays_a_gap(far_side):
    far_side.put("gpu-1", "n-1", {at(990): 10.0, at(1007): 30.0})

    [series] = read(far_side)

    assert len(series.times) == 2


def test_points_before_the_window_are_left_out(far_side):
    far_side.put("gpu-1", "n-1", {at(-1): 10.0, at(0): 20.0, at(1007): 30.0})

    [series] = read(far_side)

    assert series.values == (20.0, 30.0)


def test_a_window_that_begins_within_a_step_holds_that_step(far_side):
    """As a pass asks for it, at any second."""
    far_side.put("gpu-1", "n-1", {at(n): float(n) for n in (998, 999, 1000, 1006)})
    seconds = timedelta(minutes=3, seconds=7, microseconds=5)

    [series] = in_one_piece(far_side.port.read("gpu-1", at(999) + seconds, at(1007) + seconds, STEP))

    assert series.values == (999.0, 1000.0, 1006.0)


def test_the_step_that_goes_on_is_reported_by_cloudwatch_alone(insights, scraped):
    for far_side in (insights, scraped):
        far_side.put("gpu-1", "n-1", {at(1006): 1.0, at(1007): 2.0})

    def values(far_side):
        end = at(1007) + timedelta(minutes=9)
        [series] = in_one_piece(far_side.port.read("gpu-1", at(1000), end, STEP))
        return series.values

    assert values(insights) == (1.0, 2.0)
    assert values(scraped) == (1.0,)


@pytest.mark.parametrize("length", [timedelta(0), timedelta(hours=-1)])
def test_a_window_without_time_holds_nothing(far_side, length):
    far_side.put("gpu-1", "n-1", {at(1000): 1.0})

    assert list(far_side.port.read("gpu-1", at(1000), at(1000) + length, STEP)) == []


def test_another_clusters_series_are_not_read(far_side):
    far_side.put("gpu-1", "n-1", {at(1000): 10.0})
    far_side.put("gpu-12", "n-1", {at(1000): 20.0})

    assert [series.values for series in read(far_side)] == [(10.0,)]


def test_each_gpu_has_a_series_of_its_own(far_side):
    for node in ("n-1", "n-2"):
        far_side.put("gpu-1", node, {at(1000): 10.0})

    assert len({tuple(sorted(series.labels.items())) for series in read(far_side)}) == 2


def test_a_step_is_the_mean_of_utilization_the_peak_of_memory_and_the_fewest_and_the_most_pods(insights):
    minutes = {at(1000) + timedelta(minutes=n): value for n, value in enumerate((1.0, 2.0, 6.0))}
    for name in ("node_gpu_utilization", "node_gpu_memory_used", "node_gpu_usage_total"):
        insights.put("gpu-1", "n-1", minutes, name)

    assert {one.name: one.values for one in read(insights)} == {
        "node_gpu_utilization": (3.0,),
        "node_gpu_memory_used": (6.0,),
        "node_gpu_usage_total": (1.0,),
        "node_gpu_usage_total/most": (6.0,),
    }


@pytest.fixture
def paid(monkeypatch):
    """What CloudWatch is paid for: requests of GetMetricStatistics, metrics of GetMetricData."""
    asked = {"requests": 0, "metrics": 0}
    data, statistics = Metrics.get_metric_data, Metrics.get_metric_statistics

    def get_metric_data(self):
        asked["metrics"] += len(self._get_param("MetricDataQueries"))
        return data(self)

    def get_metric_statistics(self):
        asked["requests"] += 1
        return statistics(self)

    monkeypatch.setattr(CloudWatchResponse, "get_metric_data", get_metric_data)
    monkeypatch.setattr(CloudWatchResponse, "get_metric_statistics", get_metric_statistics)
    return asked


@pytest.mark.parametrize(
    ("few", "hourly"), [(2, {"requests": 0, "metrics": 3}), (3, {"requests": 3, "metrics": 0})]
)
def test_a_short_time_is_paid_for_once_a_metric_and_says_the_same(insights, monkeypatch, paid, few, hourly):
    """
    A request has all statistics of a metric. Of GetMetricData each costs, and the fewest and the most pods
    are read by the minute, which says as much as two of a step.
    """
    monkeypatch.setattr(cloudwatch_metrics, "FEW_METRICS", few)
    counts = (3.0, 3.0, 1.0, 2.5) + (2.0,) * 6 + (4.0,) * 10
    minutes = {at(1006) + timedelta(minutes=n): value for n, value in enumerate(counts)}
    for name in ("node_gpu_utilization", "node_gpu_memory_used", "node_gpu_usage_total"):
        insights.put("gpu-1", "n-1", minutes, name)
    steps = tuple(int(at(n).timestamp()) for n in (1006, 1007))

    of_an_hour = {one.name: one for one in read(insights, start=at(1001))}
    assert paid == hourly
    of_a_week = {one.name: one for one in read(insights)}

    assert paid == hourly | {"metrics": hourly["metrics"] + 4}
    assert of_an_hour == of_a_week
    assert of_an_hour["node_gpu_usage_total"].values == (1.0, 4.0)
    assert of_an_hour["node_gpu_usage_total/most"].values == (3.0, 4.0)
    assert {one.times for one in of_an_hour.values()} == {steps}


def test_what_container_insights_adds_up_over_gpus_or_keeps_by_pod_is_not_read(insights):
    insights.put("gpu-1", "n-1", {at(1000): 1.0}, FullPodName="web-1")
    for dimensions in (
        {"ClusterName": "gpu-1"},
        {"ClusterName": "gpu-1", "NodeName": "n", "InstanceId": "i"},
    ):
        stored = Stored("ContainerInsights", "node_gpu_utilization", tuple(sorted(dimensions.items())))
        insights.aws.metrics.put_values(stored, [(at(1000), 1.0)])

    assert read(insights) == ()


def test_gpus_of_nodes_that_are_deleted_are_not_paid_for(insights):
    insights.put("gpu-1", "gone", {at(500): 10.0})
    insights.put("gpu-1", "there", {at(1007): 10.0})

    assert [series.labels["NodeName"] for series in read(insights)] == ["there"]


def test_more_metrics_than_one_call_takes_are_all_read(insights):
    for number in range(501):
        insights.put("gpu-1", f"n-{number}", {at(1007): float(number)})

    assert sorted(series.values[0] for series in read(insights)) == [float(n) for n in range(501)]


def test_answers_in_pages_are_put_together(insights):
    values = {at(n): float(n) for n in range(1008)}
    for number in range(101):  # 101,808 points, and an answer holds 100,800
        insights.put("gpu-1", f"n-{number}", values)

    assert {len(series.values) for series in read(insights)} == {1008}
    assert read(insights)[-1].values == tuple(values.values())


@pytest.mark.parametrize("few", [0, 60])
def test_a_short_time_has_its_gaps_and_no_series_of_what_has_no_point(insights, monkeypatch, few):
    monkeypatch.setattr(cloudwatch_metrics, "FEW_METRICS", few)
    insights.put("gpu-1", "n-1", {at(n): float(n) for n in (991, 1001, 1002, 1005, 1006, 1007)})
    insights.put("gpu-1", "n-2", {at(1000): 1.0})

    [series] = read(insights, start=at(1001))

    assert series.labels["NodeName"] == "n-1"
    assert series.values == (1001.0, 1002.0, 1005.0, 1006.0, 1007.0)
    assert series.times == tuple(int(at(n).timestamp()) for n in (1001, 1002, 1005, 1006, 1007))


@pytest.mark.parametrize(
    ("error", "raised"),
    [("AccessDenied", Refused), ("Throttling", Unavailable), ("InternalServiceFault", Unavailable)],
)
def test_what_cloudwatch_refuses_of_a_short_time_is_an_error_of_the_whole_read(
    insights, monkeypatch, error, raised
):
    """One of its requests alone: what the others answered is no half of a reading."""

    class Refusal(ServiceException):
        code = error

    real = Metrics.get_metric_statistics

    def get_metric_statistics(self):
        if "n-2" in str(self._get_params()["Dimensions"]):
            raise Refusal("no")
        return real(self)

    monkeypatch.setattr(CloudWatchResponse, "get_metric_statistics", get_metric_statistics)
    for node in ("n-1", "n-2", "n-3"):
        insights.put("gpu-1", node, {at(1006): 1.0})

    with pytest.raises(raised, match="cloudwatch:GetMetricStatistics of gpu-1"):
        list(insights.port.read("gpu-1", at(1001), END, STEP))


LEFT_OUT = "CloudWatch left out points of node_gpu_utilization"
TOO_MANY = "Maximum number of allowed metrics exceeded"


@pytest.mark.parametrize(
    ("pages", "reported"),
    [
        pytest.param([("PartialData", ()), ("Complete", ())], "", id="a page follows"),
        pytest.param([("Complete", ()), (None, ())], "", id="a page follows for others"),
        pytest.param([("PartialData", ())], f"{LEFT_OUT} (PartialData)", id="no page follows"),
        pytest.param(
            [("InternalError", ()), ("Complete", ())], f"{LEFT_OUT} (InternalError)", id="an error on the way"
        ),
        pytest.param([("Complete", [TOO_MANY])], f"CloudWatch says: {TOO_MANY}", id="of the whole answer"),
    ],
)
def test_what_cloudwatch_says_to_have_left_out_is_reported(insights, monkeypatch, pages, reported):
    """As its pages of results say it, by the API reference of MetricDataResult and GetMetricData."""
    insights.put("gpu-1", "n-1", {at(1000): 10.0})
    answers, real = list(pages), Metrics.get_metric_data

    def get_metric_data(self):
        result = real(self).result
        status, messages = answers.pop(0)
        [one] = result["MetricDataResults"]
        result["MetricDataResults"] = [one | {"StatusCode": status}] if status else []
        result["Messages"] = [{"Code": "x", "Value": text} for text in messages]
        return ActionResult(result | ({"NextToken": "{}"} if answers else {}))

    monkeypatch.setattr(CloudWatchResponse, "get_metric_data", get_metric_data)

    [series] = read(insights)
    assert series.incomplete == reported


def test_more_gpus_than_memory_holds_are_read_for_fewer_days_which_is_reported(insights, monkeypatch):
    monkeypatch.setattr(cloudwatch_metrics, "MAX_POINTS", 2 * 2 * 144)
    for node in ("n-1", "n-2"):
        insights.put("gpu-1", node, {at(n): 1.0 for n in range(1008)})

    series = read(insights)

    assert [len(one.values) for one in series] == [288, 288]
    assert series[0].incomplete == "only the last 2 days were read, for there are 2 series"
    monkeypatch.setattr(cloudwatch_metrics, "MAX_POINTS", 2 * 144)
    assert read(insights)[0].incomplete == "only the last day was read, for there are 2 series"
    monkeypatch.setattr(cloudwatch_metrics, "MAX_POINTS", 2 * 20)
    assert read(insights)[0].incomplete == "only the last 3 hours were read, for there are 2 series"


def test_more_series_than_memory_holds_are_read_for_fewer_days_which_is_reported(scraped, monkeypatch):
    monkeypatch.setattr(prometheus, "MAX_POINTS", 2 * 2 * 144)
    for node in ("n-1", "n-2"):
        scraped.put("gpu-1", node, {at(n): 1.0 for n in range(1008)})

    series = read(scraped)

    assert [len(one.values) for one in series] == [288, 288]
    assert series[0].incomplete == "only the last 2 days were read, for there are 2 series"
    monkeypatch.setattr(prometheus, "MAX_POINTS", 2 * 144)
    assert read(scraped)[0].incomplete == "only the last day was read, for there are 2 series"
    monkeypatch.setattr(prometheus, "MAX_POINTS", 2 * 20)
    assert read(scraped)[0].incomplete == "only the last 4 hours were read, for there are 2 series"
    assert [len(one.values) for one in read(scraped)] == [24, 24]


@pytest.mark.parametrize("minutes", [70, 110, 130, 175])
@pytest.mark.parametrize("source", ["insights", "played"])
def test_reconciles_an_hour_apart_leave_no_gap_however_many_series_there_are(
    request, monkeypatch, source, minutes
):
    """Else each hour of a very large cluster would have one, and N would never rise."""
    far_side = request.getfixturevalue(source)
    for module in (cloudwatch_metrics, prometheus):
        monkeypatch.setattr(module, "MAX_POINTS", 1)
    monkeypatch.setattr(cloudwatch_metrics, "FEW_METRICS", 0)
    far_side.put("gpu-1", "n-1", {at(n): 1.0 for n in range(900, 1008)})

    [series] = read(far_side, start=END - timedelta(minutes=minutes))

    assert len(series.values) >= min(12, minutes // 10)
    assert bool(series.incomplete) == (minutes > 120)


def test_a_week_is_whole_where_two_questions_meet(scraped):
    values = {at(n): float(n % 100) for n in range(1008)}
    scraped.put("gpu-1", "n-1", values)

    [series] = read(scraped)

    assert series.values == tuple(values.values())
    assert series.times == tuple(int(when.timestamp()) for when in values)


def test_series_without_a_clusters_name_are_the_clusters_own(scraped):
    scraped.server.put("DCGM_FI_DEV_FB_USED", {"Hostname": "n-1"}, [(int(at(1000).timestamp()) + 1, 9.0)])

    assert [series.values for series in read(scraped)] == [(9.0,)]


def test_what_is_only_repeated_for_each_pod_is_read_once_a_gpu(scraped):
    for name in ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_FB_USED"):
        for pod in ("a-0", "b-0"):
            scraped.put("gpu-1", "n-1", {at(1000): 1.0}, name, pod=pod, namespace="team", vgpu=pod[0])

    assert sorted(series.name for series in read(scraped)) == [
        "DCGM_FI_DEV_FB_USED",
        "DCGM_FI_DEV_FB_USED",
        "DCGM_FI_DEV_XID_ERRORS",
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    ]


def test_what_the_store_warns_of_is_reported_with_the_series(played):
    played.put("gpu-1", "n-1", {at(1000): 10.0})
    played.server.warnings = ["partial data: store b is down"]

    assert read(played)[0].incomplete == "partial data: store b is down"


@pytest.mark.parametrize("ending", ["", "/", "/api/v1/query", "/api/v1/remote_write"])
def test_an_endpoint_is_taken_as_people_paste_it(scraped, ending):
    scraped.put("gpu-1", "n-1", {at(1000): 10.0})
    scraped.port = PrometheusMetrics(scraped.server.url + ending, SESSION)

    assert len(read(scraped)) == 1


def signing(server, secret):
    port = PrometheusMetrics(server.url, functions_aws.session("AKIA", secret))
    # As the host's name would say it.
    port._region = "eu-west-1"
    return port


def test_amazon_managed_prometheus_gets_signed_requests(played):
    played.put("gpu-1", "n-1", {at(1000): 10.0})
    played.server.signed_by = Credentials("AKIA", "right")

    played.port = signing(played.server, "right")
    assert len(read(played)) == 1
    for port in (signing(played.server, "wrong"), PrometheusMetrics(played.server.url, SESSION)):
        played.port = port
        with pytest.raises(Refused, match="403"):
            read(played)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("aps-workspaces.eu-central-1.amazonaws.com", "eu-central-1"),
        ("aps-workspaces.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("aps-workspaces-fips.us-east-1.amazonaws.com", "us-east-1"),
        ("aps-workspaces.eu-west-1.api.aws", "eu-west-1"),
        ("vpce-0ab1-2cd3.aps-workspaces.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
        ("vpce-0ab1-2cd3-eu-west-1a.aps-workspaces.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
        ("prometheus.monitoring", None),
        ("vpce-0ab1.prometheus.example", None),
        ("aps-workspaces", None),
    ],
)
def test_only_workspaces_of_amazon_managed_prometheus_are_signed_for(host, region):
    port = PrometheusMetrics(f"https://{host}:443/workspaces/ws-1", SESSION)

    assert port._region == region
    assert ("Authorization" in port._signed("", {})) == bool(region)


def test_a_prometheus_out_of_reach_is_unavailable(scraped):
    scraped.server.close()

    with pytest.raises(Unavailable):
        read(scraped)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        pytest.param(200, b"<html>sign in</html>", Refused, id="a page to sign in on"),
        pytest.param(200, b"[]", Refused, id="JSON of something else"),
        pytest.param(400, b"{}", Refused, id="a query that it does not know"),
        pytest.param(429, b"{}", Unavailable, id="too many requests"),
        pytest.param(503, b"{}", Unavailable, id="overloaded"),
    ],
)
def test_what_is_no_answer_is_an_error(status, body, error):
    answering = type(
        "Answering", (Handler,), {"do_POST": lambda self: (self.body(), self.reply(status, body))}
    )
    server = Server(answering)
    try:
        with pytest.raises(error):
            list(
                PrometheusMetrics(f"http://127.0.0.1:{server.port}", SESSION).read("gpu-1", at(0), END, STEP)
            )
    finally:
        server.close()


def test_an_answer_too_large_to_hold_is_refused(scraped, monkeypatch):
    scraped.put("gpu-1", "n-1", {at(1000): 10.0})
    monkeypatch.setattr(prometheus, "MAX_BYTES", 50)

    with pytest.raises(Refused, match="fewer series"):
        read(scraped)
