"""
N follows measured use in the deployed system: an alarm wakes the tuner, which raises N on the real Karpenter
with pods running, lowers it when the policy says so, and takes its alarms along when the policy goes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from slicewise.costs.count.collect import counted_to
from slicewise.costs.day import Change, Day
from slicewise.costs.text import load
from slicewise.kube.labels import PUBLISHES, SLICES_ANNOTATION
from slicewise.model.costs import CostDay
from slicewise.tuning.usage.evidence import Grade

from sandbox.aws.cloudwatch.metrics import Series
from sandbox.cluster.client import condition
from sandbox.metrics.prometheus import Prometheus
from sandbox.metrics.remote_write import Samples
from sandbox.system import Cluster, System
from tests.sandbox.system_fixtures import (
    NODE_CLAIMS,
    NODE_OVERLAYS,
    NODE_POOLS,
    PODS,
    POLICIES,
    POLICY_TAG,
    asking_pods,
    codes,
    policy_text,
    publish,
    running,
    shared,
    unreachable,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

TUNED, POOL = "tuned", "slicewise-shared-l4"
WORKLOADS = tuple(f"/apis/apps/v1/namespaces/default/{kind}" for kind in ("deployments", "statefulsets"))
OVERLAY = f"{NODE_OVERLAYS}/{POOL}-1"
ALARMS = [f"slicewise/{TUNED}/{kind}" for kind in ("full", "idle")]
# For the first two of them each node had but one pod.
DAYS, ALONE = timedelta(days=3), timedelta(days=1)


@pytest.fixture(scope="module")
def cluster(system: System) -> Cluster:
    cluster = system.start_control_plane(TUNED)
    system.create_cluster(TUNED, tags={POLICY_TAG: "tuned"})
    system.wait_for_stage(TUNED, "onboarded")
    eventually(lambda: system.record(TUNED, "tuning"), "the first pass of tuning has not ended")
    assert alarms(system) == ALARMS
    return cluster


@pytest.fixture(scope="module")
def busy(system: System, cluster: Cluster) -> Cluster:
    """
    Three nodes at N = 4 with nine pods that used little of their GPUs for days, one of each alone; and a
    StatefulSet without pods.
    """
    cluster.kube.apply(asking_pods("tuned", 9, "shared"))
    cluster.kube.apply(asking_set("later", "shared"))
    eventually(lambda: running(cluster.kube, "tuned") == 9, "the pods do not run", within_seconds=120)
    first: set[str] = set()
    for pod in cluster.kube.list(PODS, labelSelector="app=tuned"):
        age = ALONE if pod["spec"]["nodeName"] in first else DAYS
        first.add(pod["spec"]["nodeName"])
        began = {"startTime": (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ")}
        cluster.kube.merge(f"{PODS}/{pod['metadata']['name']}/status", {"status": began})
    measure(system, cluster)
    return cluster


@pytest.fixture(scope="module")
def raised(system: System, busy: Cluster) -> dict[str, Any]:
    """What stood before, and all NodeClaims that were ever seen to drift, once N has been raised."""
    before = {"claims": names(busy, NODE_CLAIMS), "pods": names(busy, PODS)}
    drifted: set[str] = set()
    tune(system)
    eventually(
        lambda: n_of(busy) == 5 and not drifted.update(drifting(busy)),
        lambda: system.record(TUNED, "tuning"),
        within_seconds=180,
    )
    settled(system)
    return {**before, "drifted": drifted}


def test_a_reconcile_that_gets_no_answer_comes_back_by_itself(system, cluster):
    with unreachable(system, TUNED):
        tune(system)
        eventually(lambda: "no answer: " in record(system)["reason"], lambda: record(system))

    settled(system)


def test_an_alarm_wakes_the_tuner_which_raises_n_and_replaces_nothing(system, busy, raised):
    assert raised["drifted"] == set()
    assert names(busy, NODE_CLAIMS) == raised["claims"]
    assert names(busy, PODS) == raised["pods"]
    pool = busy.kube.get(f"{NODE_POOLS}/{POOL}")
    assert pool["spec"]["limits"]["nvidia.com/gpu"] == str(5 * 16)
    assert busy.kube.get(OVERLAY)["spec"]["capacity"]["nvidia.com/gpu"] == "5"


def test_the_decision_is_recorded_with_its_inputs(system, raised):
    (detail,) = details(system)

    assert detail["n"] == 5
    assert [bound["what"] for bound in detail["bounds"]] == ["memory", "compute", "host"]
    assert detail["pods"] == 9


def test_n_is_published_on_workloads_that_have_it_or_will_have_it(busy, raised):
    eventually(lambda: published(busy) == {"tuned": "5", "later": "5"}, lambda: published(busy))


def test_each_query_of_the_dashboard_is_answered_with_what_reconciles_reported(system, raised):
    """And CloudWatch's own count of lines that it could not read is empty."""
    answers = {
        (widget, expression): answered(system, expression) for widget, expression in dashboard_queries(system)
    }

    assert len(answers) >= 11
    assert [query for query, values in answers.items() if not values] == []
    [saved] = [values for (widget, _), values in answers.items() if widget.startswith("GPUs saved against")]
    # Of all clusters that the same deployment serves, other tests' among them.
    assert max(saved) >= max(measured(system, "GPUsSaved")) > 0
    assert max(measured(system, "GPUsSaved")) <= 6, "a mean: at its end nine pods have slices of three GPUs"
    assert 4 <= max(measured(system, "SlicesPerGPU")) <= 5
    assert not [one for one in system.aws.metrics.series() if one.name.startswith("EMF")]


def dashboard_queries(system: System) -> Iterator[tuple[str, str]]:
    body = system.aws.client("cloudwatch").get_dashboard(DashboardName="slicewise")["DashboardBody"]
    for widget in json.loads(body)["widgets"]:
        for (metric,) in widget["properties"]["metrics"]:
            yield widget["properties"]["title"], metric["expression"]


def measured(system: System, metric: str) -> list[float]:
    """Of this cluster's NodePool, by the hour."""
    dimensions = [{"Name": "Cluster", "Value": TUNED}, {"Name": "NodePool", "Value": POOL}]
    # On the clock, as the dashboard's hours.
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    found = system.aws.client("cloudwatch").get_metric_statistics(
        Namespace="Slicewise",
        MetricName=metric,
        Dimensions=dimensions,
        StartTime=now - timedelta(hours=3),
        EndTime=now + timedelta(hours=1),
        Period=3600,
        Statistics=["Average"],
    )
    return [point["Average"] for point in found["Datapoints"]]


def answered(system: System, expression: str) -> list[float]:
    """All values of the last hours, of all series."""
    now = datetime.now(UTC)
    found = system.aws.client("cloudwatch").get_metric_data(
        MetricDataQueries=[{"Id": "q", "Expression": expression}],
        StartTime=now - timedelta(hours=3),
        EndTime=now + timedelta(hours=1),
    )
    return [value for one in found["MetricDataResults"] for value in one["Values"]]


def test_what_its_machines_cost_is_counted_from_the_creation_of_their_claims(system, busy, raised):
    tune(system)
    [change] = eventually(lambda: changes_of_n(system), lambda: cost_days(system), within_seconds=60)

    newest = cost_days(system)[-1]
    assert newest.roster
    counted = counted_to(newest, newest.roster.seen_at)
    began = {
        claim["status"]["providerID"].rpartition("/")[2]: max(second(claim), newest.since)
        for claim in busy.kube.list(NODE_CLAIMS)
    }
    seconds = {
        instance: sum(day.instances.get(instance, (None, 0))[1] for day in counted) for instance in began
    }
    assert seconds == {instance: counted[-1].through - at for instance, at in began.items()}
    assert sum(seconds.values()) == sum(of_one for day in counted for _, of_one in day.instances.values())
    assert (change.what, change.before, change.after) == (POOL, "4", "5") and change.why
    assert {life.machine.n for life in newest.roster.nodes.values() if life.end is None} == {5}
    assert sum(life.end is None for life in newest.roster.pods.values()) == 9


def test_what_a_person_edits_is_told_with_who_did_it_and_put_back(system, busy, raised):
    edited = busy.kube.get(OVERLAY)
    edited["spec"]["capacity"] = {"nvidia.com/gpu": "9"}
    busy.kube.request("PUT", f"{OVERLAY}?fieldManager=kubectl-edit", edited)

    tune(system)

    eventually(lambda: busy.kube.get(OVERLAY)["spec"]["capacity"]["nvidia.com/gpu"] == "5", "not put back")
    eventually(
        lambda: [
            finding["says"]
            for finding in record(system)["findings"]
            if "NodeOverlay" in finding["says"] and "written by kubectl-edit" in finding["says"]
        ],
        lambda: record(system)["findings"],
    )


def test_a_lower_maximum_shrinks_in_place_and_kills_no_pod(system, busy, raised):
    pods = names(busy, PODS)

    publish(system, "tuned", tuned_policy(maximum=4, publishes=False))
    tune(system)

    eventually(lambda: n_of(busy) == 4, lambda: system.record(TUNED, "tuning"), within_seconds=180)
    settled(system)
    assert names(busy, PODS) == pods
    assert running(busy.kube, "tuned") == 9


def test_a_policy_that_publishes_n_no_longer_has_it_removed_and_the_marks_after_it(system, busy, raised):
    """Of the policy that the test before published: the annotations go while N changes."""
    eventually(lambda: published(busy) == {"tuned": None, "later": None}, lambda: published(busy))

    eventually(lambda: marked(busy) == [], lambda: marked(busy))
    assert names(busy, PODS) == raised["pods"]


def test_pods_are_distinguished_by_what_a_real_prometheus_has_of_them(system, busy, raised, tmp_path):
    needed = "top-4 peaks 11.7 of "  # GiB: four pods of 3000 MiB

    def decided() -> dict[str, Any] | None:
        for detail in details(system):
            if any(bound["says"].startswith(needed) for bound in detail.get("bounds", ())):
                return detail
        return None

    with Prometheus.start(tmp_path) as prometheus:
        prometheus.write(dcgm(busy, of_a_pod={"busy": 10.0, "memory_mib": 3000.0}))
        metrics = {"source": "prometheus", "endpoint": prometheus.url}
        publish(system, "tuned", tuned_policy(maximum=4, publishes=False, metrics=metrics))
        tune(system)
        detail = eventually(decided, lambda: (record(system), details(system)))

    assert (detail["evidence"], detail["pods"], detail["after"]) == (Grade.POD.value, 9, 4)
    assert not {code for code in codes(record(system)) if "metrics" in code or "measured" in code}


def test_a_cluster_without_a_policy_loses_its_alarms_and_nothing_else(system, busy, raised):
    pools = busy.kube.list(NODE_POOLS)
    system.aws.client("eks").untag_resource(resourceArn=system.arn(TUNED), tagKeys=[POLICY_TAG])

    tune(system)

    eventually(lambda: alarms(system) == [], lambda: alarms(system))
    assert len(busy.kube.list(NODE_POOLS)) == len(pools)


# Asking and doing


def tuned_policy(maximum: int, publishes: bool, **sections: Any) -> str:
    pool = shared(4) | {"replicas": {"start": 4, "max": maximum}}
    tuning = POLICIES["tuned"]["tuning"] | {"publishSlices": publishes}
    return policy_text("tuned", pools={"shared": pool}, tuning=tuning, **sections)


def asking_set(app: str, pool: str) -> dict[str, Any]:
    """A StatefulSet of no pod yet that would ask for a slice."""
    template = asking_pods(app, 0, pool)
    return {**template, "kind": "StatefulSet", "spec": {**template["spec"], "serviceName": app}}


def tune(system: System) -> None:
    system.send_message("TuningQueueUrl", {"slicewise": 1, "cluster": TUNED, "reason": "a test"})


def cost_days(system: System) -> list[Day]:
    found = system.aws.client("dynamodb").query(
        TableName=system.outputs["StateTableName"],
        KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
        ExpressionAttributeValues={":pk": {"S": f"cluster#{system.arn(TUNED)}"}, ":sk": {"S": "cost#"}},
    )
    days = (
        load(CostDay(int(item["day"]["N"]), int(item["through"]["N"]), bytes(item["content"]["B"])))
        for item in found["Items"]
    )
    return [day for day in days if day]


def changes_of_n(system: System) -> list[Change]:
    return [change for day in cost_days(system) for change in day.changes if change.kind == "n"]


def second(item: dict[str, Any]) -> int:
    return int(
        datetime.fromisoformat(item["metadata"]["creationTimestamp"].replace("Z", "+00:00")).timestamp()
    )


def record(system: System) -> dict[str, Any]:
    found = system.record(TUNED, "tuning")
    assert found
    return found


def details(system: System) -> list[dict[str, Any]]:
    return system.details(TUNED, "tuning")


def settled(system: System) -> None:
    eventually(lambda: record(system)["stage"] == "onboarded", lambda: record(system), within_seconds=120)


def alarms(system: System) -> list[str]:
    found = system.aws.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"slicewise/{TUNED}/")
    return sorted(alarm["AlarmName"] for alarm in found["MetricAlarms"])


def n_of(cluster: Cluster) -> int | None:
    for requirement in cluster.kube.get(f"{NODE_POOLS}/{POOL}")["spec"]["template"]["spec"]["requirements"]:
        if requirement["key"] == "nvidia.com/device-plugin.config" and len(requirement["values"]) == 1:
            return int(requirement["values"][0].removeprefix("ts-"))
    return None


def names(cluster: Cluster, kind: str) -> list[str]:
    return sorted(item["metadata"]["name"] for item in cluster.kube.list(kind))


def published(cluster: Cluster) -> dict[str, str | None]:
    """By workload; of templates nothing is said, since their pods would be replaced."""
    items = [item for path in WORKLOADS for item in cluster.kube.list(path)]
    assert not any(SLICES_ANNOTATION in str(item["spec"]["template"]) for item in items)
    return {
        item["metadata"]["name"]: item["metadata"].get("annotations", {}).get(SLICES_ANNOTATION)
        for item in items
    }


def marked(cluster: Cluster) -> list[str]:
    """NodePools that say that workloads may have N published on them."""
    return [
        item["metadata"]["name"]
        for item in cluster.kube.list(NODE_POOLS)
        if PUBLISHES in item["metadata"].get("annotations", {})
    ]


def drifting(cluster: Cluster) -> set[str]:
    claims = cluster.kube.list(NODE_CLAIMS)
    return {claim["metadata"]["name"] for claim in claims if condition(claim, "Drifted") == "True"}


def measure(system: System, cluster: Cluster, busy: float = 3.0, memory_mib: float = 1400.0) -> None:
    """
    Three days of every node's GPU in CloudWatch, as Container Insights would have written them: of each of
    its pods, of which the first was alone until the others came.
    """
    now = int(time.time()) // 600 * 600
    times = [datetime.fromtimestamp(now - 600 * step, UTC) for step in range(-6, 3 * 144)]
    on = Counter(
        pod["spec"].get("nodeName", "") for pod in cluster.kube.list(PODS, labelSelector="app=tuned")
    )
    came = datetime.now(UTC) - ALONE
    for node in cluster.kube.list("/api/v1/nodes", labelSelector="slicewise.dev/pool=shared"):
        name = node["metadata"]["name"]
        of_node = {"ClusterName": TUNED, "NodeName": name, "InstanceId": f"i-{name}"}
        of_gpu = of_node | {"InstanceType": "g6.xlarge", "GpuDevice": "nvidia0"}
        for metric, dimensions, of_a_pod in (
            ("node_gpu_utilization", of_gpu, busy),
            ("node_gpu_memory_used", of_gpu, memory_mib * 1024 * 1024),
            ("node_gpu_usage_total", of_node, 1.0),
        ):
            series = Series("ContainerInsights", metric, tuple(sorted(dimensions.items())))
            values = [(at, of_a_pod * (on[name] if at >= came else min(1, on[name]))) for at in times]
            system.aws.metrics.put_values(series, values)


def dcgm(cluster: Cluster, of_a_pod: Mapping[str, float]) -> Iterator[Samples]:
    """Three days of each GPU and its pods, as dcgm-exporter 4.5.3 exposes them where it tells pods apart."""
    now = time.time() // 600 * 600
    at = [now - 600 * step + 30 for step in range(1, 3 * 144)]

    def samples(name: str, value: float, labels: Mapping[str, str]) -> Samples:
        return Samples(f"DCGM_FI_{name}", labels, [(one, value) for one in at])

    pods: dict[str, list[str]] = {}
    for pod in cluster.kube.list(PODS, labelSelector="app=tuned"):
        pods.setdefault(pod["spec"]["nodeName"], []).append(pod["metadata"]["name"])
    for node, on_it in pods.items():
        gpu = {"cluster": TUNED, "Hostname": node, "gpu": "0", "modelName": "NVIDIA L4"}
        yield samples("DEV_FB_USED", 450 + len(on_it) * of_a_pod["memory_mib"], gpu)
        yield samples("DEV_GPU_UTIL", len(on_it) * of_a_pod["busy"], gpu)
        for number, pod in enumerate(on_it):
            labels = {**gpu, "namespace": "default", "pod": pod, "container": "main", "vgpu": str(number)}
            yield samples("DEV_FB_USED", of_a_pod["memory_mib"], labels)
            yield samples("DEV_GPU_UTIL", of_a_pod["busy"], labels)
            yield samples("PROF_GR_ENGINE_ACTIVE", len(on_it) * of_a_pod["busy"] / 100, labels)
            yield samples("DEV_XID_ERRORS", 0.0, labels)
