"""A policy may split a pool, split it otherwise, or no longer: what runs stays where it is."""

import pytest
from slicewise.kube.objects import name
from slicewise.kube.ref import Ref
from slicewise.planning.outcome import Stage
from slicewise.policy.model import Drift

from tests.support import builders
from tests.support.simulated_cluster import SimulatedCluster

ONE = builders.DEFAULT_POOLS
TWO = "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: [1, 2]}}"
THREE = TWO.replace("[1, 2]", "[1, 2, 3]")
CHANGES = {"split": (ONE, TWO), "split less": (THREE, TWO), "no longer split": (TWO, ONE)}
GOES = {"split": "slicewise-shared-l4", "split less": "slicewise-shared-l4-3"}


def ref(node_pool):
    return Ref("karpenter.sh/v1", "NodePool", node_pool)


def onboarded(pools, *more):
    cluster = SimulatedCluster(policy=builders.policy(pools, *more))
    assert cluster.run().outcome.stage is Stage.ONBOARDED
    cluster.done.clear()
    return cluster


def with_a_node(cluster, node_pool):
    size = node_pool.rpartition("-")[2]
    key = f"ts-{size}" if size.isdecimal() else "ts-4"
    marks = {"slicewise.dev/class": size} if size.isdecimal() else {}
    cluster.claims.append(builders.node_claim(node_pool, key, labels=marks))
    return cluster


def there(cluster):
    return {r.name for r in cluster.objects if r.kind == "NodePool"}


@pytest.mark.parametrize("before, after", CHANGES.values(), ids=CHANGES.keys())
def test_a_nodepool_that_is_no_longer_wanted_goes_with_its_overlays_where_nothing_runs(before, after):
    cluster = onboarded(before)
    cluster.policy = builders.policy(after)

    assert cluster.run().outcome.stage is Stage.ONBOARDED

    assert cluster.installed()["objects"] == onboarded(after).installed()["objects"]


@pytest.mark.parametrize("change", GOES)
def test_one_on_which_pods_run_is_closed_and_nothing_else_of_it_is_touched(change):
    before, after = CHANGES[change]
    cluster = with_a_node(onboarded(before), GOES[change])
    was = cluster.objects[ref(GOES[change])]
    cluster.policy = builders.policy(after)

    plan = cluster.run()

    left = cluster.objects[ref(GOES[change])]
    assert left["spec"] == {**was["spec"], "limits": {"nvidia.com/gpu": "0"}}
    assert [f.code for f in plan.outcome.findings] == ["node-pool-closed"]
    assert "1 run there" in plan.outcome.findings[0].message
    assert plan.outcome.stage is Stage.ONBOARDED and cluster.step().actions == ()

    cluster.claims.clear()
    cluster.run()
    assert GOES[change] not in there(cluster)
    speak_of = [
        item["spec"]["requirements"][0]["values"]
        for ref, item in cluster.objects.items()
        if ref.kind == "NodeOverlay"
    ]
    assert [GOES[change]] not in speak_of and speak_of


def test_one_of_mig_is_closed_by_the_resource_that_its_nodes_have():
    before = "{shared: {sharing: mig, gpus: [h100], profile: 1g.10gb, maxGpus: 8}}"
    cluster = onboarded(before)
    cluster.claims.append(builders.node_claim("slicewise-shared-h100", "mig"))
    cluster.policy = builders.policy(TWO.replace("l4", "h100"))

    cluster.run()

    closed = cluster.objects[ref("slicewise-shared-h100")]
    assert closed["spec"]["limits"] == {"nvidia.com/mig-1g.10gb": "0", "nvidia.com/gpu": "0"}


def test_the_new_nodepools_are_there_before_the_old_one_is_closed():
    cluster = onboarded(ONE)
    cluster.policy = builders.policy(TWO)

    cluster.run()

    order = [str(action) for action in cluster.done]
    assert order.index("apply NodePool slicewise-shared-l4-2") < order.index(
        "close NodePool slicewise-shared-l4"
    ) < order.index("delete NodePool slicewise-shared-l4")  # fmt: skip


@pytest.mark.parametrize("drift", Drift)
def test_a_closed_one_that_is_wanted_again_is_as_it_was(drift):
    cluster = with_a_node(onboarded(ONE, f"drift: {drift}"), "slicewise-shared-l4")
    was = cluster.objects[ref("slicewise-shared-l4")]["spec"]
    cluster.policy = builders.policy(TWO, f"drift: {drift}")
    cluster.run()

    cluster.policy = builders.policy(ONE, f"drift: {drift}")
    cluster.run()

    assert cluster.objects[ref("slicewise-shared-l4")]["spec"] == was
    assert there(cluster) == {"slicewise-shared-l4"}


@pytest.mark.parametrize("before, after", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("runs", [False, True], ids=["empty", "with nodes"])
def test_killed_before_any_action_the_next_reconcile_converges_to_the_same(before, after, runs):
    def changed(kill_after=None):
        cluster = onboarded(before)
        if runs:
            for node_pool in sorted(there(cluster)):
                with_a_node(cluster, node_pool)
        cluster.policy, cluster.kill_after = builders.policy(after), kill_after
        cluster.run()
        return cluster

    whole = changed()
    for point in range(len(whole.done)):
        killed = changed(point)
        assert killed.installed() == whole.installed(), point
        assert killed.step().actions == (), point


def test_one_that_sleeps_is_closed_once_it_is_awake():
    cluster = with_a_node(onboarded(ONE), "slicewise-shared-l4")
    marks = cluster.objects[ref("slicewise-shared-l4")]["metadata"]["annotations"]
    marks["slicewise.dev/asleep"] = "2026-11-25T06:00:00Z"
    cluster.policy = builders.policy(TWO)
    cluster.run()

    assert cluster.objects[ref("slicewise-shared-l4")]["spec"]["limits"] == {"nvidia.com/gpu": "64"}

    del marks["slicewise.dev/asleep"]
    cluster.run()
    assert cluster.objects[ref("slicewise-shared-l4")]["spec"]["limits"] == {"nvidia.com/gpu": "0"}


def test_a_class_whose_requirement_a_user_edited_gets_its_own_n_back():
    """Elsewhere that is a person's choice of N. Here the class says it."""
    cluster = onboarded(TWO)
    item = cluster.objects[ref("slicewise-shared-l4-2")]
    (key,) = [r for r in item["spec"]["template"]["spec"]["requirements"] if "device-plugin" in r["key"]]
    key["values"] = ["ts-4"]

    cluster.run()

    again = cluster.objects[ref("slicewise-shared-l4-2")]["spec"]["template"]["spec"]["requirements"]
    assert {"key": key["key"], "operator": "In", "values": ["ts-2"]} in again


def test_a_nodepool_of_another_model_stays_and_is_reported():
    both = TWO.replace("[l4]", "[l4, a10g]")
    cluster = onboarded(both)
    cluster.policy = builders.policy(TWO)

    plan = cluster.run()

    assert {f.code for f in plan.outcome.findings} == {"pool-left-over"}
    assert {name(item) for ref, item in cluster.objects.items() if ref.kind == "NodePool"} == {
        f"slicewise-shared-{gpu}-{size}" for gpu in ("l4", "a10g") for size in (1, 2)
    }
