"""What a change of N costs, believes and waits for, and that each of these has a bound."""

from __future__ import annotations

import json
from datetime import timedelta

from slicewise.errors import Unavailable
from slicewise.kube.labels import ROLLOUT_ANNOTATION, TUNING_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.model.cluster import Series
from slicewise.policy.model import Policy
from slicewise.pools import layout, observed
from slicewise.tuning.observed_fields import asks_for_slices

from tests.scenarios.rollout.test_interrupted import (
    as_far_as,
    cordoned,
    growing,
    has_canary,
    is_wide,
    shrinking,
)
from tests.support import builders
from tests.support.tuning.rollout_world import OVERLAYS, POOL, World, at, halfway
from tests.support.tuning.tuned_account import TunedAccount


def test_a_node_that_karpenter_is_about_to_take_away_is_waited_for_without_conflicts():
    world = World(4, [4, 4, 3])
    going = world.nodes[2]
    taints = [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]
    world.happens = {
        1: lambda w: w.edit(Ref("v1", "Node", going), "/spec/taints", taints),
        45: lambda w: w.karpenter._take_away(going),
    }

    world.change(8)

    assert world.tuner.conflicts == []
    assert world.stands() == at(8, "ts-8")


def test_a_change_that_is_held_up_is_checked_ever_more_rarely():
    world = World(8, [6, 6])
    world.karpenter.stuck = set(world.nodes)
    world.tuner.begin(4)
    for _ in range(20):
        world.let_pass(timedelta(seconds=5))
        soon = world.tuner.step().requeue_after

    world.clock.pass_by(timedelta(hours=6))
    world.tuner.step()  # consolidation is given back
    late = world.tuner.step().requeue_after

    assert soon <= timedelta(seconds=30)
    assert late == timedelta(minutes=15)
    world.karpenter.stuck = set()
    world.change(4)
    assert world.stands() == at(4, "ts-4")


def test_without_capacity_in_ec2_a_change_is_checked_ever_more_rarely_all_the_same():
    world = World(8, [6, 6])
    world.karpenter.stuck = set(world.nodes)
    world.tuner.begin(4)
    for _ in range(20):
        world.let_pass(timedelta(seconds=5))
        world.tuner.step()
    world.clock.pass_by(timedelta(minutes=20))

    waits = []
    for _ in range(3):
        launched_in_vain(world)
        waits.append(world.tuner.step().requeue_after)
        world.clock.pass_by(waits[-1])

    assert min(waits) >= timedelta(minutes=2)


def test_without_capacity_in_ec2_a_pool_grows_all_the_same():
    world = World(4, [4, 4]).hold_forever()
    world.happens = dict.fromkeys(range(0, 120, 2), launched_in_vain)

    last = world.change(8)

    assert last.finished and world.stands()["keys"] == ("ts-8",)
    assert world.karpenter.ever_drifted <= set(world.karpenter.vain)


def launched_in_vain(world: World) -> None:
    """A NodeClaim that Karpenter has just made, and the one before it has gone again."""
    for name in world.karpenter.vain:
        world.server.delete(Ref("karpenter.sh/v1", "NodeClaim", name))
    (key, *_) = observed.config_keys_of(world.server.objects[POOL])
    name = world.karpenter._launch(POOL.name, key)
    world.server.delete(Ref("v1", "Node", name))
    world.karpenter.vain.append(name)


def test_what_goes_to_and_fro_for_days_does_so_ever_more_rarely():
    world = halfway(World(4, [4, 4]).hold_forever())
    overlay = OVERLAYS[0]
    world.server.on_change.append(
        lambda item: (
            item["spec"].update(capacity={"nvidia.com/gpu": "5"}) if item["kind"] == "NodeOverlay" else None
        )
    )
    for _ in range(20):
        world.let_pass(timedelta(seconds=10))
        soon = world.tuner.step().requeue_after
    assert world.server.objects[overlay]["spec"]["capacity"] == {"nvidia.com/gpu": "5"}

    world.clock.pass_by(timedelta(days=2))
    world.tuner.step()
    world.let_pass(None)

    assert soon <= timedelta(seconds=10)
    assert world.tuner.step().requeue_after > timedelta(minutes=2)


def test_a_tool_that_puts_consolidation_back_at_once_does_not_hold_the_change_up():
    world = World(4, [4, 4])
    pool = Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4")
    puts_back = {n: lambda w: w.edit(pool, "/spec/disruption/consolidateAfter", "10m") for n in range(120)}
    world.happens = puts_back

    world.change(8)

    assert world.stands() == at(8, "ts-8")


def test_a_roll_for_which_the_limit_leaves_no_room_is_reported():
    world = World(8, [8] * 16)
    world.karpenter.stuck = set(world.nodes)
    world.tuner.begin(4)
    for _ in range(12):
        world.let_pass(timedelta(seconds=5))
        world.tuner.step()

    assert any("its limit of 128 slices leaves no room" in finding for finding in world.tuner.findings)


def test_shrinking_reads_no_metrics_since_none_decides_about_it():
    account = shrinking(cordoned)
    reads, read = [], account.metrics.read

    def noting(*asked):
        reads.append(ROLLOUT_ANNOTATION in account.node_pool["metadata"]["annotations"])
        return read(*asked)

    account.metrics.read = noting
    account.answer_all()

    assert not any(reads)


def test_of_a_change_that_began_long_ago_no_more_than_the_window_is_read():
    account = growing(has_canary)
    annotations = account.node_pool["metadata"]["annotations"]
    rollout = json.loads(annotations[ROLLOUT_ANNOTATION]) | {"since": "2025-01-01T00:00:00Z"}
    annotations[ROLLOUT_ANNOTATION] = json.dumps(rollout)
    spans, read = [], account.metrics.read

    def noting(cluster, start, end, step):
        spans.append(end - start)
        return read(cluster, start, end, step)

    account.metrics.read = noting
    account.answer_all()

    assert spans and max(spans) <= timedelta(days=7)


def test_the_reason_of_a_revert_is_short_however_much_broke():
    world = World(4, [4, 4])
    world.tuner.begin(8)
    while "canary" not in world.annotation(ROLLOUT_ANNOTATION):
        world.let_pass(timedelta(seconds=2))
        world.tuner.step()

    world.tuner.step(
        [f"GPU node-{number}/0 used 23.0 GiB, over the bound of 20.2 GiB" for number in range(999)]
    )

    reason = world.annotation(ROLLOUT_ANNOTATION)["reason"]
    assert len(reason) < 400
    assert reason.endswith("and 996 more")


def test_a_canary_of_which_nothing_is_measured_takes_the_pool_back():
    account = growing(has_canary)
    canary = json.loads(account.annotation(ROLLOUT_ANNOTATION))["canary"]["node"]
    scraped = account.metrics.scraped
    account.metrics.scraped = lambda start, end: [
        series for series in scraped(start, end) if series.labels["Hostname"] != canary
    ]

    account.answer_all()

    assert account.n == 4
    assert list(json.loads(account.annotation(TUNING_ANNOTATION))["failed"]) == ["5"]
    assert account.karpenter.ever_drifted == set()


def test_a_change_that_nobody_can_measure_any_more_holds_consolidation_for_an_hour_at_most():
    account = growing(is_wide)
    read = account.metrics.read

    def unreadable(*_):
        raise Unavailable("cloudwatch:GetMetricData: throttled")

    account.metrics.read = unreadable
    began = account.clock.now
    as_far_as(account, lambda a: a.clock.now - began > timedelta(hours=2))

    assert account.node_pool["spec"]["disruption"]["consolidateAfter"] == "10m"
    assert is_wide(account)
    account.metrics.read = read
    account.answer_all()
    assert account.n == 5


def test_a_pod_that_crashes_elsewhere_takes_no_pool_back():
    account = growing(is_wide)
    canary = json.loads(account.annotation(ROLLOUT_ANNOTATION))["canary"]["node"]
    as_far_as(account, lambda a: len(relabelled(a)) > 2)
    node = next(node for node in relabelled(account) if node != canary)

    crash(account, node)
    account.answer_all()

    assert account.n == 5


def relabelled(account: TunedAccount) -> list[str]:
    return [
        ref.name
        for ref, item in account.servers["gpu-1"].objects.items()
        if ref.kind == "Node" and item["metadata"]["labels"][layout.CONFIG_LABEL] == "ts-5"
    ]


def crash(account: TunedAccount, node: str) -> None:
    server, now = account.servers["gpu-1"], account.clock.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    ref, pod = next(
        (r, i) for r, i in server.objects.items() if r.kind == "Pod" and i["spec"].get("nodeName") == node
    )
    ended = {"exitCode": 1, "reason": "Error", "startedAt": "2026-03-03T00:00:00Z", "finishedAt": now}
    crashed = {"name": "main", "restartCount": 3, "lastState": {"terminated": ended}}
    server.set_status(ref, {**(pod.get("status") or {}), "containerStatuses": [crashed]})


def test_what_broke_before_n_was_lowered_does_not_lower_it_again():
    account = TunedAccount(pods=(1, 1))
    account.metrics.scraped = None
    account.metrics.series["gpu-1"] = [
        Series(name, {"Hostname": node, "gpu": "0", "UUID": f"GPU-{node}"}, times, values)
        for node in ("node-001", "node-003")
        for name, times, values in exposition(account)
    ]

    account.tune()

    assert account.n == 3


def exposition(account: TunedAccount) -> list[tuple[str, tuple[int, ...], tuple[float, ...]]]:
    """Two days, and an Xid error in the step that has just ended: a Prometheus tells none that goes on."""
    now = int(account.clock.now.timestamp()) // 600 * 600
    times = tuple(range(now - 289 * 600, now, 600))
    return [
        ("DCGM_FI_DEV_GPU_UTIL", times, (10.0,) * 289),
        ("DCGM_FI_DEV_FB_USED", times, (4096.0,) * 289),
        ("DCGM_FI_DEV_XID_ERRORS", times, (0.0,) * 288 + (48.0,)),
    ]


def test_a_slice_that_only_an_initial_container_asks_for_is_counted():
    pod = {"spec": {"initContainers": [{"name": "side", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}

    assert asks_for_slices(pod)


def test_nodes_that_a_person_cordoned_shrink_a_tenth_at_a_time_too():
    world = World(8, [1] * 12).hold_forever()
    for node in world.nodes:
        world.edit(Ref("v1", "Node", node), "/spec/unschedulable", True)
    most = 0

    def watch(item):
        nonlocal most
        nodes = world.karpenter._of("Node")
        labelled = [n["metadata"] for n in nodes if n["metadata"]["labels"][layout.CONFIG_LABEL] == "ts-4"]
        most = max(most, sum(1 for n in labelled if world.karpenter._slices(n["name"]) == 8))

    world.server.on_change.append(watch)
    world.change(4, reconciles=200)

    assert most == 1
    assert world.stands()["labels"] == {"ts-4"}
    assert sorted(world.stands()["cordoned"]) == world.nodes


def test_more_gpus_that_a_pool_may_have_are_allowed_at_once_while_it_is_rolled():
    world = World(8, [6, 2])
    world.karpenter.stuck.add(world.nodes[0])
    world.tuner.begin(4)
    for _ in range(12):
        world.let_pass(timedelta(seconds=10))
        world.tuner.step()
    assert world.stands()["limit"] == "128"

    world.server.objects[POOL]["metadata"]["managedFields"] = [
        {"manager": "slicewise", "fieldsV1": {"f:spec": {"f:limits": {"f:nvidia.com/gpu": {}}}}}
    ]

    world.tuner.policy = world.policy = with_gpus(24)
    world.tuner.step()

    assert world.stands()["limit"] == "192"
    world.karpenter.stuck.clear()
    world.change(4)
    assert world.stands()["limit"] == "96"
    assert not any("fits neither N" in message for message in world.tuner.findings)


def test_a_limit_that_another_owner_writes_meanwhile_is_reported():
    world = World(8, [6, 2])
    world.karpenter.stuck.add(world.nodes[0])
    world.tuner.begin(4)
    world.tuner.step()
    assert not any("fits neither N" in message for message in world.tuner.findings)

    pool = world.server.objects[POOL]
    pool["spec"]["limits"]["nvidia.com/gpu"] = "100"
    pool["metadata"]["managedFields"] = [
        {"manager": "kubectl-edit", "fieldsV1": {"f:spec": {"f:limits": {"f:nvidia.com/gpu": {}}}}}
    ]
    world.tuner.step()

    assert any("fits neither N: another writer changed it" in message for message in world.tuner.findings)


def test_more_gpus_are_allowed_at_once_while_a_canary_tries():
    world = World(4, [4, 4])
    world.tuner.begin(8)
    world.let_pass(timedelta(seconds=10))
    world.tuner.step()

    world.tuner.policy = world.policy = with_gpus(32)
    world.tuner.step()

    assert world.stands()["limit"] == "128"
    world.change(8)
    assert world.stands()["limit"] == "256"


def with_gpus(number: int) -> Policy:
    pool = "sharing: time-slicing, gpus: [l4], replicas: {start: 4, max: 8}, maxGpus: "
    return builders.policy(f"{{shared: {{{pool}{number}}}}}")
