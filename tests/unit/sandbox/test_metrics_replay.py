"""The replay says of the cluster's own nodes what Container Insights would, in its words and units."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from slicewise.gateways.cloudwatch_metrics import CloudWatchMetrics
from slicewise.tuning.usage.evidence import Grade
from slicewise.tuning.usage.pool_usage import STEP, WINDOW, pool_use
from slicewise.tuning.usage.pool_usage import read as in_one_shape

from sandbox.aws.cloudwatch.metrics import Series
from sandbox.aws.server import Aws
from sandbox.metrics.replay import MetricsReplay
from tests.support import builders, functions_aws
from tests.support.tuning.series import in_one_piece
from traces.serving import Trace

NOW = datetime.fromtimestamp(int(datetime.now(UTC).timestamp()) // 600 * 600, UTC)
POOL = "slicewise-shared-l4"


class Listed:
    """Stands in for the API server: what it lists."""

    def __init__(self, nodes, pods):
        self._all = {"/api/v1/nodes": nodes, "/api/v1/pods": pods}

    def list(self, path):
        return self._all[path]


def node(name, gpus=1):
    made = builders.node(name=name, gpus=gpus, allocatable={"nvidia.com/gpu": str(4 * gpus)})
    made["metadata"]["labels"]["node.kubernetes.io/instance-type"] = "g6.xlarge"
    return {**made, "spec": {"providerID": f"kwok://{name}"}}


def pod(name, on):
    made = builders.pod(name, pool="shared", node=on)
    started = (NOW - timedelta(days=9)).isoformat()
    return {**made, "metadata": {"name": name, "namespace": "team"}, "status": {"startTime": started}}


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environ, Aws.start(tmp_path_factory.mktemp("aws")) as aws:
        environ.setenv("AWS_ENDPOINT_URL", aws.endpoint)
        yield aws


@pytest.fixture
def replay(aws):
    aws.metrics.forget()
    nodes = [node("n-1"), node("n-2", gpus=4)]
    pods = [pod("a-0", "n-1"), pod("b-0", "n-1"), pod("c-0", "n-2")]
    replay = MetricsReplay(aws.metrics, Listed(nodes, pods), "gpu-1")
    # Never idle for a whole day, whatever day it is.
    memory, busy = np.tile([[1000.0], [3000.0]], (1, 14)), np.tile([[0.1], [0.3]], (1, 14 * 144))
    replay._trace = Trace(("s", "l"), memory, busy)
    return replay


def read(aws):
    key, secret = (aws.environment()[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    gateway = CloudWatchMetrics(functions_aws.session(key, secret, region=aws.region), aws.region)
    return in_one_piece(gateway.read("gpu-1", NOW - WINDOW, NOW, STEP))


def test_a_reconcile_finds_a_week_of_every_pod_that_is_there(aws, replay):
    replay.day(8, until=NOW)
    seen = builders.contents(
        nodes=tuple(replay._kube.list("/api/v1/nodes")), pods=tuple(replay._kube.list("/api/v1/pods"))
    )
    readings = in_one_shape(read(aws), "container-insights", seen)
    found = pool_use(readings, "container-insights", seen, NOW, POOL)

    assert [len(one.days) for one in found.pods] == [7, 7, 7]
    assert found.grade is Grade.DEVICE
    assert set(found.device_peaks) == {"n-1/nvidia0", *(f"n-2/nvidia{gpu}" for gpu in range(4))}
    assert all(0 < one.expected_busy <= 1 and 450 < one.memory_mib <= 6450 for one in found.pods)
    assert not found.problems


def test_alarms_find_the_clusters_own_series_in_percent_and_slots(aws, replay):
    replay.day(1, until=NOW)
    cluster = (("ClusterName", "gpu-1"),)

    def values(name):
        series = Series("ContainerInsights", name, cluster)
        return [value for _, value in aws.metrics.read(series, "Maximum", 300, NOW - timedelta(days=1), NOW)]

    assert 0 < max(values("node_gpu_utilization")) <= 100
    assert set(values("node_gpu_reserved_capacity")) == {50}  # two of n-1's four slots
    assert set(values("node_gpu_limit")) == {16}


def test_a_second_call_goes_on_where_the_first_has_ended(aws, replay):
    replay.day(1, until=NOW - timedelta(hours=2))

    once = replay.day(1, until=NOW)

    assert once < replay_points(aws)
    assert replay.day(1, until=NOW) == 0
    assert {one.times for one in read(aws)} == {read(aws)[0].times}


def replay_points(aws):
    return sum(len(aws.metrics.read(one, "Average", 300, NOW - WINDOW, NOW)) for one in aws.metrics.series())


def test_more_load_is_more_busy_and_never_over_the_whole(aws, replay):
    replay.day(1, until=NOW)
    before = max(value for one in read(aws) for value in one.values if one.name == "node_gpu_utilization")
    aws.metrics.forget()
    replay.load, replay._reported = 10.0, {}
    replay.day(1, until=NOW)
    after = max(value for one in read(aws) for value in one.values if one.name == "node_gpu_utilization")

    assert before < after <= 100


def test_the_public_trace_is_what_is_played_by_default(aws, replay):
    del replay._trace
    replay.day(8, until=NOW)

    assert any(value > 0 for one in read(aws) if one.name == "node_gpu_utilization" for value in one.values)
