"""
Off-hours in the deployed system: a person says "sleep", the function puts real workloads to sleep on the real
Karpenter under its own rights; "wake" brings them back as they were; and without off-hours nothing is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from slicewise import rights as rights_of
from slicewise.gateways.sleep_store import SleepTable
from slicewise.model.opening import Opening
from slicewise.offhours.sleep_fields import NO_SCALE_UP
from slicewise.policy.off_hours import Override

from sandbox.artifacts import versions
from sandbox.cluster.client import KubeError
from sandbox.controllers.stand_ins import Keda
from sandbox.system import Cluster, System
from tests.fakes.kube.controllers import autoscaler
from tests.sandbox import rights
from tests.sandbox.offhours.gpu_workloads import LEADER_WORKER_SET, ROLLOUT, GpuWorkloads, pod_of
from tests.sandbox.system_fixtures import (
    FAR_DAY,
    NODE_POOLS,
    NODES,
    PODS,
    POLICY_TAG,
    SLEEPER,
    TUNER,
    onboard_now,
    policy_text,
    publish,
    running,
    unreachable,
)
from tests.support.waiting import eventually
from tests.support.workload_crds import serve

pytestmark = pytest.mark.sandbox

NIGHTLY, POOL = "nightly", "/apis/karpenter.sh/v1/nodepools/slicewise-shared-l4"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/nightly"
CRON_JOB = "/apis/batch/v1/namespaces/default/cronjobs/nightly"
FALLBACK = "slicewise-shared-l40s"
NODE_CLASS = "/apis/karpenter.kwok.sh/v1alpha1/kwoknodeclasses/default"
SOLD_OUT = "sandbox.slicewise.dev/sold-out"
GPU = GpuWorkloads("default", "shared")
# Their controllers are not here: what those would do with a count is done by hand.
NOT_CONTROLLED_HERE = (
    GPU.scaled("Rollout", "web", 1, ROLLOUT),
    GPU.scaled("LeaderWorkerSet", "llm", 1, LEADER_WORKER_SET),
)
# Its metric is nowhere, so that it does nothing itself.
_WAITING = {"metric": {"name": "waiting"}, "target": {"type": "AverageValue", "averageValue": "5"}}
QUEUED = autoscaler(
    "nightly",
    {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "nightly", "namespace": "default"}},
    metrics=[{"type": "External", "external": _WAITING}],
)
del QUEUED["status"]
# The API server takes no minReplicas of 0 before.
SCALES_FROM_ZERO = tuple(map(int, versions.chosen().kubernetes.split(".")[:2])) >= rights_of.SCALES_FROM_ZERO
TAINT = [{"key": "a", "effect": "NoSchedule"}]
KEDA = "/apis/keda.sh/v1alpha1/namespaces/default"


@pytest.fixture(scope="module")
def cluster(system: System) -> Iterator[Cluster]:
    """With KEDA stood in for: what it scales comes back in two steps, and the second waits for it."""
    cluster = system.start_control_plane(NIGHTLY)
    serve(cluster.kube)
    with Keda(cluster.plane):
        yield filled(system, cluster)


def filled(system: System, cluster: Cluster) -> Cluster:
    system.create_cluster(NIGHTLY, tags={POLICY_TAG: "nightly"})
    system.wait_for_stage(NIGHTLY, "onboarded")
    for item in (
        GPU.scaled("Deployment", "nightly", 5),
        GPU.scaled("StatefulSet", "store", 1),
        GPU.cron_job("nightly"),
        GPU.scaled("Deployment", "of-keda", 1),
        GPU.scaled_object("of-keda"),
        GPU.scaled_job("nightly"),
        *NOT_CONTROLLED_HERE,
        *([QUEUED] if SCALES_FROM_ZERO else []),
    ):
        cluster.kube.apply(item)
    for owner in NOT_CONTROLLED_HERE:
        cluster.kube.create(pod_of(cluster.kube.get(cluster.kube.path(owner))))
    for app, count in {"nightly": 5, "store": 1, "of-keda": 1, "web": 1, "llm": 1}.items():
        eventually(lambda app=app, count=count: running(cluster.kube, app) == count, app)
    return cluster


def table_of(system: System) -> SleepTable:
    administrator = SimpleNamespace(create_client=lambda service, **_: system.aws.client(service))
    return SleepTable(system.outputs["StateTableName"], administrator, system.aws.region)


def put_override(system: System, asleep: bool) -> None:
    """What `slicewise sleep` and `wake` write, without the trigger that they send."""
    now = datetime.now(UTC)
    table_of(system).put_override(system.arn(NIGHTLY), Override(asleep, now, now + timedelta(hours=2), "ada"))


def ask(system: System) -> None:
    system.send_message("OffHoursQueueUrl", {"slicewise": 1, "cluster": NIGHTLY, "reason": "a test"})


def stage(system: System) -> str:
    return (system.record(NIGHTLY, "off-hours") or {}).get("stage", "")


def replicas(cluster: Cluster) -> int:
    return cluster.kube.get(DEPLOYMENT)["spec"]["replicas"]


def gpu_nodes(cluster: Cluster) -> list[Any]:
    return cluster.kube.list(NODES, labelSelector="slicewise.dev/pool=shared")


def nodes_limit(cluster: Cluster) -> str | None:
    return cluster.kube.get(f"{NODE_POOLS}/{FALLBACK}")["spec"]["limits"].get("nodes")


def sell_out(cluster: Cluster, families: str | None) -> None:
    cluster.kube.merge(NODE_CLASS, {"metadata": {"annotations": {SOLD_OUT: families}}})


def test_a_fallback_is_opened_where_ec2_has_none_of_the_usual_machines(system, cluster):
    """On the real Karpenter: a limit of no nodes holds it shut, and pods land there once that is gone."""
    more = GPU.scaled("Deployment", "more", 7)  # 3 of them on nodes that run
    try:
        sell_out(cluster, "g6")
        cluster.kube.create(more)
        events = "/api/v1/namespaces/default/events"
        eventually(lambda: cluster.kube.list(events, fieldSelector="reason=InsufficientCapacityError"))
        assert nodes_limit(cluster) == "0" and running(cluster.kube, "more") == 3

        ask(system)
        eventually(lambda: running(cluster.kube, "more") == 7, lambda: system.record(NIGHTLY, "off-hours"))

        [node] = cluster.kube.list(NODES, labelSelector=f"karpenter.sh/nodepool={FALLBACK}")
        assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "g6e.xlarge"
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "4", "N is right there, too"
        assert nodes_limit(cluster) is None
        onboard_now(system, NIGHTLY)
        assert nodes_limit(cluster) is None, "onboarding leaves it open"
    finally:
        sell_out(cluster, None)
        cluster.kube.delete(cluster.kube.path(more))


def test_a_cluster_sleeps_and_wakes_under_the_functions_own_rights(system, cluster):
    at = {"workload": DEPLOYMENT, "cron job": CRON_JOB, "pool": POOL, "keda": f"{KEDA}/scaledobjects/of-keda"}
    at |= {owner["kind"]: cluster.kube.path(owner) for owner in NOT_CONTROLLED_HERE}
    at |= {"autoscaler": cluster.kube.path(QUEUED)} if SCALES_FROM_ZERO else {}
    before = {name: cluster.kube.get(path)["spec"] for name, path in at.items()}
    eventually(lambda: stage(system) == "awake", lambda: system.record(NIGHTLY, "off-hours"))
    cluster.kube.create(GPU.job("batch", "8s"))  # runs to completion
    eventually(lambda: running(cluster.kube, "batch") == 1, "batch")

    put_override(system, asleep=True)
    ask(system)
    eventually(
        lambda: cluster.kube.get(DEPLOYMENT)["spec"]["replicas"] == 0,
        lambda: system.record(NIGHTLY, "off-hours"),
    )
    for paused, annotation in (
        ("scaledobjects/of-keda", "paused-replicas"),
        ("scaledjobs/nightly", "paused"),
    ):
        eventually(
            lambda paused=paused, annotation=annotation: (
                f"autoscaling.keda.sh/{annotation}"
                in (cluster.kube.get(f"{KEDA}/{paused}")["metadata"].get("annotations") or {})
            )
        )
    for owner in NOT_CONTROLLED_HERE:
        path = cluster.kube.path(owner)
        eventually(lambda path=path: cluster.kube.get(path)["spec"]["replicas"] == 0, path)
        cluster.kube.delete(f"{PODS}/{owner['metadata']['name']}-0")
    eventually(lambda: stage(system) == "asleep", lambda: system.record(NIGHTLY, "off-hours"))
    eventually(lambda: gpu_nodes(cluster) == [], "GPU nodes run")
    if SCALES_FROM_ZERO:
        assert cluster.kube.get(at["autoscaler"])["spec"]["behavior"] == NO_SCALE_UP.asleep
    assert nodes_limit(cluster) == "0", "a fallback that was open is closed"

    arn, table, now = system.arn(NIGHTLY), table_of(system), datetime.now(UTC)
    assert table.opening(arn).opens - now > timedelta(hours=1), "a person said: for two hours"
    # Its hour has come, and no message does.
    put_override(system, asleep=False)
    table.put_opening(arn, Opening(now - timedelta(minutes=20), now - timedelta(minutes=10)))
    system.watch_openings()
    eventually(lambda: running(cluster.kube, "nightly") == 5, lambda: system.record(NIGHTLY, "off-hours"))
    eventually(lambda: stage(system) == "awake")
    assert {name: cluster.kube.get(path)["spec"] for name, path in at.items()} == before
    system.watch_openings()
    eventually(lambda: table.opening(arn) is None, lambda: system.record(NIGHTLY, "off-hours"))


def test_a_reconcile_that_was_turned_away_is_made_again(system, cluster):
    eks = system.aws.client("eks")
    [sleeper] = [
        arn
        for arn in eks.list_access_entries(clusterName=NIGHTLY)["accessEntries"]
        if arn.endswith(f"/{SLEEPER}")
    ]
    eventually(lambda: stage(system) == "awake", lambda: system.record(NIGHTLY, "off-hours"))
    eks.delete_access_entry(clusterName=NIGHTLY, principalArn=sleeper)
    ask(system)
    eventually(lambda: stage(system) != "awake", "the look was let in")

    onboard_now(system, NIGHTLY)

    eventually(lambda: stage(system) == "awake", lambda: system.record(NIGHTLY, "off-hours"))


def test_a_reconcile_that_gets_no_answer_comes_back_by_itself(system, cluster):
    with unreachable(system, NIGHTLY):
        ask(system)
        eventually(
            lambda: "no answer: " in system.record(NIGHTLY, "off-hours")["reason"],
            lambda: system.record(NIGHTLY, "off-hours"),
        )

    eventually(lambda: stage(system) == "awake", lambda: system.record(NIGHTLY, "off-hours"))


@pytest.mark.parametrize(
    ("role", "path", "patch"),
    [
        pytest.param(SLEEPER, CRON_JOB, {"spec": {"jobTemplate": {"spec": {"parallelism": 9}}}}, id="a Job"),
        pytest.param(SLEEPER, POOL, {"spec": {"weight": 9}}, id="a NodePool"),
        pytest.param(TUNER, POOL, {"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}, id="nodes"),
        pytest.param(TUNER, f"{NODES}/system-0", {"spec": {"taints": TAINT}}, id="a Node's taints"),
        pytest.param(TUNER, f"{NODES}/system-0", {"metadata": {"labels": {"a": "b"}}}, id="a Node's label"),
    ],
)
def test_a_role_may_not_write_what_its_reconciles_never_write(system, cluster, role, path, patch):
    """RBAC lets it patch the object; the admission policy that onboarding applied lets it not do this."""
    trespasser = rights.trespasser(system, cluster, role)

    with pytest.raises(KubeError, match=f"403 Forbidden: .* ValidatingAdmissionPolicy '{role}'"):
        trespasser.merge(path, patch)


def test_a_schedule_waits_for_the_next_change_and_goes_with_the_policy(system, cluster):
    scheduler = system.aws.client("scheduler")

    def schedules() -> list[Any]:
        return scheduler.list_schedules(GroupName=system.outputs["ScheduleGroup"])["Schedules"]

    def day_before_is(day: date) -> bool:
        [found] = schedules()
        key = {"GroupName": found["GroupName"], "Name": found["Name"]}
        # Berlin's midnight is on the day before in UTC.
        return str(day - timedelta(days=1)) in scheduler.get_schedule(**key)["ScheduleExpression"]

    ask(system)
    eventually(schedules)
    eventually(lambda: day_before_is(FAR_DAY))
    policy = yaml.safe_load(policy_text("nightly"))
    policy["offHours"]["asleep"] = [str(FAR_DAY + timedelta(days=1))]
    publish(system, "nightly", yaml.safe_dump(policy))
    ask(system)
    eventually(lambda: day_before_is(FAR_DAY + timedelta(days=1)))

    del policy["offHours"]
    publish(system, "nightly", yaml.safe_dump(policy))
    ask(system)
    eventually(lambda: not schedules())
    eventually(lambda: stage(system) == "unmanaged", lambda: system.record(NIGHTLY, "off-hours"))
