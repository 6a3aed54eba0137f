"""What a reconcile observes of what GPUs cost, from objects and readings as they are."""

from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.costs.count.lives import UNMEASURED, CostObservation, Measured
from slicewise.costs.day import Machine, PodLife, Replicas, Workload
from slicewise.kube.labels import ASLEEP, ROLLOUT_ANNOTATION
from slicewise.pools import layout
from slicewise.tuning.costs import cost_days, observation
from slicewise.tuning.plan import plan
from slicewise.tuning.state.observation import (
    Complete,
    CountedCosts,
    Measurement,
    MetricsUnreadable,
    NotRead,
    Observed,
)
from slicewise.tuning.state.pool_plan import PoolPlan
from slicewise.tuning.state.pool_state import Rollout, pool_states
from slicewise.tuning.usage.history import NOTHING
from slicewise.tuning.usage.readings import Device, PodPoints, Readings

from tests.support import builders
from tests.support.builders import NOW

POOL = "slicewise-shared-l4"
AT = int(NOW.timestamp())
STEP = AT // 600 * 600 - 1200
NO_METRICS = "metrics: {source: none}"
LABELS = {"node.kubernetes.io/instance-type": "g6.xlarge", "karpenter.sh/capacity-type": "spot"}


def node(name: str = "n1", allocatable: str = "4", **more) -> dict:
    found = builders.node(name=name, allocatable={"nvidia.com/gpu": allocatable, "cpu": "4"}, **more)
    found["metadata"]["labels"] |= LABELS
    return {**found, "spec": {"providerID": f"aws:///eu-central-1a/i-{name}"}}


def claim(name: str, node: str = "", provider: str = "", age: timedelta = timedelta(hours=2), **more) -> dict:
    found = builders.node_claim(POOL, name=name, labels=LABELS, **more)
    found["metadata"]["creationTimestamp"] = (NOW - age).isoformat()
    return {**found, "status": {"nodeName": node, "providerID": provider}}


def pod(name: str, node: str | None = "n1", gpus: str = "1", **more) -> dict:
    resource = more.get("resource", "nvidia.com/gpu")
    requests = {"cpu": "1500m", "memory": "2Gi"}
    resources = {"requests": requests, "limits": {"memory": "4Gi", resource: gpus}}
    started = (NOW - timedelta(hours=1)).isoformat()
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team-a", "labels": more.get("labels", {})},
        "spec": {"nodeName": node, "containers": [{"name": "main", "resources": resources}]},
        "status": {"startTime": started} if more.get("started", True) else {},
    }


def seen(measurement: Measurement | None = None, policy: str = NO_METRICS, **more) -> Observed:
    pools, nights = more.pop("pools", builders.DEFAULT_POOLS), more.pop("nights", ())
    found = builders.policy(pools, policy)
    [one, *_] = found.parts
    node_pool = layout.node_pool(found, one, one.models()[0], 4)
    given = {"node_pools": (node_pool,), "nodes": (node(),), "node_claims": (claim("c1", "n1"),)} | more
    costs = CountedCosts(NOW, None, tuple(nights))
    return Observed(
        builders.cluster(),
        "default",
        found,
        builders.contents(**given),
        measurement or NotRead(),
        costs=costs,
    )


def observed(found: Observed, *plans: PoolPlan) -> CostObservation:
    return observation(found, pool_states(found.contents, found.policy), plans, NOW)


def test_a_machine_begins_with_its_claim_and_has_what_its_node_offers():
    [(name, life)] = observed(seen()).nodes.items()

    assert (name, life.instance, life.begin, life.end) == ("n1", "i-n1", AT - 7200, None)
    assert life.machine == Machine(POOL, "shared", "g6.xlarge", "spot", "l4", 1, 4)


def test_a_claim_is_a_machine_once_it_has_an_instance():
    claims = claim("c1", "n1"), claim("c2"), claim("c3", provider="aws:///eu-central-1a/i-3", key="ts-3")

    nodes = observed(seen(node_claims=claims)).nodes

    assert {name: (life.instance, life.machine.n) for name, life in nodes.items()} == {
        "n1": ("i-n1", 4),
        "c3": ("i-3", 3),
    }


def test_a_claim_whose_node_is_deleted_already_is_still_a_machine():
    claims = (claim("c1", "n1", "aws:///eu-central-1a/i-n1"),)

    nodes = observed(seen(nodes=(), node_claims=claims)).nodes

    assert {name: life.instance for name, life in nodes.items()} == {"c1": "i-n1"}


@pytest.mark.parametrize(
    ("fields", "n"),
    [
        ({"allocatable": "3"}, 3),
        ({"allocatable": "0", "key": "ts-5"}, 5),
        ({"allocatable": "0", "key": "their-own"}, 4),
        ({"allocatable": "1", "key": "exclusive"}, 1),
        # One of four GPUs has failed: N of the others is still 4.
        ({"allocatable": "12", "gpus": 4}, 3),
        ({"allocatable": "13", "gpus": 4}, 4),
    ],
)
def test_n_is_what_a_node_offers_and_before_that_what_its_key_or_pool_promise(fields, n):
    [life] = observed(seen(nodes=(node(**fields),))).nodes.values()

    assert life.machine.n == n


def test_of_a_node_that_mig_splits_n_is_the_number_of_its_instances():
    split = node(allocatable="0", key="exclusive")
    split["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = "7"
    on = pod("a", resource="nvidia.com/mig-1g.10gb")

    found = observed(seen(nodes=(split,), pods=(on,)))

    assert [life.machine.n for life in found.nodes.values()] == [7]
    assert [life.slices for life in found.pods.values()] == [1]


def test_an_adopted_node_pool_is_of_the_pool_that_adopted_it():
    theirs = node(pool=None)
    theirs["metadata"]["labels"][layout.NODE_POOL_LABEL] = "theirs"
    pools = "{taken: {sharing: time-slicing, gpus: [l4], adopt: theirs}}"

    [life] = observed(seen(nodes=(theirs,), node_claims=(), pools=pools)).nodes.values()

    assert (life.machine.node_pool, life.machine.pool) == ("theirs", "taken")


def test_a_pod_holds_what_it_asked_for_from_when_its_kubelet_took_it():
    pods = pod("a", gpus="2"), pod("b", started=False), pod("c", node="other"), pod("d", node=None)
    without = pod("e")
    del without["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]

    found = observed(seen(pods=(*pods, without))).pods

    bare = Workload("", "Pod", "team-a", "a")
    assert found == {
        "team-a/a": PodLife("n1", bare, 2, AT - 3600, None, 1500, 2048),
        "team-a/b": PodLife("n1", bare._replace(name="b"), 1, 0, None, 1500, 2048),
    }


def test_labels_are_those_of_people_without_what_controllers_add():
    labels = {"team": "a", "pod-template-hash": "5d4", "app.kubernetes.io/name": "llm", "zone": "b"}
    labels |= {f"x-{number}": "1" for number in range(9)}

    [found] = observed(seen(pods=(pod("a", labels=labels),))).labels.values()

    assert len(found) == 10 and found["team"] == "a"
    assert "pod-template-hash" not in found and "app.kubernetes.io/name" not in found


def test_while_metrics_cannot_be_read_counting_waits_for_six_hours():
    assert observed(seen()).until == STEP + 600
    assert observed(seen(MetricsUnreadable("503"))).until == STEP + 600 - 6 * 3600


def readings(*pods: PodPoints, devices: tuple[Device, ...] = ()) -> Complete:
    return Complete(Readings(devices=devices, pods=pods), NOTHING, NOW)


def of_pod(name: str, busy: float, node: str = "n1") -> PodPoints:
    return PodPoints("team-a", name, node, "NVIDIA L4", {STEP: busy}, {STEP: 1000.0})


def measured_of(found: Observed, name: str) -> Measured:
    observed_now = observed(found)
    return observed_now.measured(f"team-a/{name}", observed_now.pods[f"team-a/{name}"])


PROMETHEUS = "metrics: {source: prometheus, endpoint: 'http://prometheus:9090'}"


def test_what_a_pod_did_on_each_of_its_gpus_is_added_up():
    found = seen(
        readings(of_pod("a", 0.5), of_pod("a", 0.25), of_pod("b", 0.5), of_pod("b", 0.25)),
        PROMETHEUS,
        pods=(pod("a", gpus="2"), pod("b")),
    )

    assert measured_of(found, "a") == Measured({STEP: 0.75}, {STEP: 2000.0}, 22_888)
    # Of one that has a single GPU these are two series of the same.
    assert measured_of(found, "b") == Measured({STEP: 0.5}, {STEP: 1000.0}, 22_888)


def test_an_instance_of_mig_that_is_always_busy_is_its_part_of_a_gpu():
    split = node(allocatable="0", key="exclusive")
    split["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = "4"
    on = pod("a", resource="nvidia.com/mig-1g.10gb")

    found = seen(readings(of_pod("a", 1.0)), PROMETHEUS, nodes=(split,), pods=(on,))

    assert measured_of(found, "a").busy == {STEP: 0.25}


def test_what_a_pod_did_until_it_went_is_known_by_its_name():
    found = observed(seen(readings(of_pod("gone", 0.5)), PROMETHEUS))
    life = PodLife("n1@5", Workload("", "Pod", "team-a", "gone"), 1, 0, 5)

    assert found.measured("team-a/gone@5", life).busy == {STEP: 0.5}
    assert found.measured("team-a/other", life).busy == {}


def test_of_whole_gpus_each_pod_is_taken_to_use_as_much_as_the_others():
    device = Device("n1", "0", {STEP: 0.5}, {STEP: 8000.0}, fewest={STEP: 2}, most={STEP: 2})
    found = seen(readings(devices=(device,)), PROMETHEUS, pods=(pod("a"), pod("b")))

    assert measured_of(found, "a").busy == {STEP: 0.25}
    assert measured_of(found, "a").memory == {}


def test_where_nothing_is_read_nothing_is_measured():
    found = seen(pods=(pod("a"),))

    assert measured_of(found, "a") == UNMEASURED


def test_n_of_a_node_pool_comes_with_the_reason_of_its_change():
    found = seen()
    stays = PoolPlan(POOL, detail={"node_pool": POOL, "reason": "N stays 4"})
    begins = PoolPlan(POOL, detail={"node_pool": POOL, "reason": "five fit", "rollout": "the canary"})

    assert observed(found, stays).pools == {POOL: Replicas(4)}
    assert observed(found, begins).pools == {POOL: Replicas(4, "five fit")}
    [node_pool] = found.contents.node_pools
    rollout = Rollout(4, 5, NOW, "five fit").dumped()
    node_pool["metadata"].setdefault("annotations", {})[ROLLOUT_ANNOTATION] = rollout
    assert observed(found).pools == {POOL: Replicas(4, "five fit")}


def test_a_node_pool_that_sleeps_and_the_nights_of_the_off_hours_record_are_observed():
    night = {"began": "2026-11-23T20:00:00+00:00", "usd": 4.5}
    found = seen(nights=[night])
    [node_pool] = found.contents.node_pools
    node_pool["metadata"].setdefault("annotations", {})[ASLEEP] = "2026-11-24T07:00:00Z"

    now = observed(found, PoolPlan(POOL, detail={"reason": "it is asleep"}))

    assert now.asleep == {POOL: "it is asleep"}
    assert now.nights == {night["began"]: night}


@pytest.mark.parametrize("workloads", [5, [5], [{"ref": 5}], [{"ref": ["apps/v1", "Deployment", "llm"]}]])
def test_reasons_of_classes_that_cannot_be_read_are_left_out(workloads):
    known = {"pool": "shared", "classes": [1, 3], "workloads": workloads}
    right = {"ref": ["apps/v1", "Deployment", "llm", "team-a"], "reason": "it is idle"}

    found = observed(seen(), PoolPlan("a", detail=known), PoolPlan("b", detail={"workloads": [right]}))

    assert found.class_reasons == {"team-a/Deployment/llm": "it is idle"}


def test_a_plan_has_the_days_to_keep_and_none_where_not_the_whole_was_read():
    found = seen()
    days = list(cost_days(found, pool_states(found.contents, found.policy), ()))

    assert plan(found, NOW).costs == tuple(days)
    assert [day.day for day in days] == [AT - AT % 86_400]
    without = Observed(found.cluster, "default", found.policy, found.contents)
    assert plan(without, NOW).costs == ()
