"""Changes of N that people interrupt: by a tag, a mode, a policy, a pause or a hand in the cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.app import TUNING
from slicewise.errors import Conflict
from slicewise.kube.labels import CORDONED_ANNOTATION, ROLLOUT_ANNOTATION, TUNING_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.planning.outcome import Stage
from slicewise.pools import layout, observed
from slicewise.trigger import Trigger

from tests.support.tuning.tuned_account import BY_POD, GPU_1, POLICY, TunedAccount

OTHER = "pools:\n  other: {sharing: none, gpus: [a10g], maxGpus: 4, gpuCounts: [1]}\n"


def growing(until: Callable[[TunedAccount], bool]) -> TunedAccount:
    """An account whose NodePool is on its way from 4 to 5, as far as that."""
    account = TunedAccount()
    account.hours(2)
    account.let_pass(timedelta(hours=1))
    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    return as_far_as(account, until)


def shrinking(until: Callable[[TunedAccount], bool]) -> TunedAccount:
    account = TunedAccount(pods=(2, 2, 2), memory_mib=18000.0, slots=2)
    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    account.answer_gone()
    account.let_pass(timedelta(hours=1))
    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    return as_far_as(account, until)


def as_far_as(account: TunedAccount, until: Callable[[TunedAccount], bool]) -> TunedAccount:
    for _ in range(200):
        if until(account):
            return account
        account.let_pass(min(account.queues.waiting).due - account.clock.now)
        account._answer(*account.queues.receive(timedelta(minutes=6)))
    raise AssertionError(f"never: {account.tuned}")


def is_held(account: TunedAccount) -> bool:
    return after(account) == "Never"


def has_canary(account: TunedAccount) -> bool:
    return "canary" in account.annotation(ROLLOUT_ANNOTATION)


def is_wide(account: TunedAccount) -> bool:
    return len(observed.config_keys_of(account.node_pool)) == 2


def after(account: TunedAccount) -> str:
    return account.node_pool["spec"]["disruption"]["consolidateAfter"]


def cordoned(account: TunedAccount) -> list[str]:
    objects = account.servers["gpu-1"].objects.items()
    return [ref.name for ref, item in objects if ref.kind == "Node" and item["spec"].get("unschedulable")]


def untagged(account: TunedAccount) -> None:
    account.eks.clusters["gpu-1"] = replace(account.eks.clusters["gpu-1"], tags={})


def observing(account: TunedAccount) -> None:
    account.policies["default"] = POLICY + "mode: observe\n"


def wrong(account: TunedAccount) -> None:
    account.policies["default"] = POLICY.replace("dwell: 1h", "dwel: 1h")


def of_a_newer_format(account: TunedAccount) -> None:
    account.policies["default"] = "# slicewise policy, format 2, checked by 9.1.0\n" + POLICY


def without_the_pool(account: TunedAccount) -> None:
    account.policies["default"] = OTHER


def sweep(account: TunedAccount) -> None:
    account.let_pass(timedelta(hours=1))
    account.sweep()
    for _ in range(300):
        if account.is_idle:
            return
        account.reconcile()
        account.let_pass(min(account.queues.waiting).due - account.clock.now)
        account._answer(*account.queues.receive(timedelta(minutes=6)))
    raise AssertionError(f"still busy: {account.tuned}")


@pytest.mark.parametrize("stops", [untagged, observing, without_the_pool, wrong, of_a_newer_format])
@pytest.mark.parametrize("stage", [is_held, has_canary, is_wide])
def test_whoever_may_not_carry_a_change_on_releases_consolidation(stops, stage):
    account = growing(stage)

    stops(account)
    sweep(account)
    sweep(account)

    assert after(account) == "10m"
    assert not account.lost


def test_a_conflict_while_consolidation_is_released_does_not_keep_it():
    account = growing(is_wide)
    server, patch = account.servers["gpu-1"], account.servers["gpu-1"].patch

    def once(*_, **__):
        server.patch = patch
        raise Conflict("somebody was faster")

    server.patch = once
    untagged(account)
    sweep(account)

    assert server.patch == patch
    assert after(account) == "10m"
    assert account.tuned.stage is Stage.UNMANAGED


@pytest.mark.parametrize("stops", [untagged, observing, without_the_pool, wrong])
def test_whoever_may_not_carry_a_change_on_uncordons_its_nodes(stops):
    account = shrinking(cordoned)

    stops(account)
    sweep(account)
    sweep(account)

    assert cordoned(account) == []
    assert after(account) == "10m"


def test_a_wrong_policy_in_the_middle_of_a_change_reports_what_is_restored():
    account = growing(is_wide)

    wrong(account)
    account.answer_next()

    assert {finding.code for finding in account.tuned.findings} == {"policy", "n-half-changed"}
    assert "what the interrupted rollout held is released" in account.tuned.reason
    assert account.karpenter.ever_drifted == set()


def test_no_pod_comes_to_a_node_that_is_released_before_it_has_its_fewer_slices():
    account = shrinking(cordoned)
    account.karpenter.silent |= set(cordoned(account))
    as_far_as(account, lambda a: relabelled(a))
    account.karpenter.add_pod()
    account.karpenter.add_pod()

    untagged(account)
    sent = account.clock.now
    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    as_far_as(account, lambda a: not cordoned(a))

    assert timedelta(minutes=5) < account.clock.now - sent < timedelta(minutes=7)
    assert relabelled(account) == []
    account.karpenter.silent.clear()
    account.let_pass(timedelta(minutes=1))
    assert account.karpenter.broken_promises == []


def relabelled(account: TunedAccount) -> list[str]:
    nodes = (node["metadata"] for node in account.karpenter._of("Node"))
    return [node["name"] for node in nodes if node["labels"][layout.CONFIG_LABEL] != "ts-4"]


@pytest.mark.parametrize("stops", [untagged, observing, without_the_pool, wrong])
def test_a_change_that_was_let_go_is_finished_once_it_may_be(stops):
    account = growing(is_wide)
    policy, cluster = account.policies["default"], account.eks.clusters["gpu-1"]
    stops(account)
    sweep(account)

    account.policies["default"], account.eks.clusters["gpu-1"] = policy, cluster
    sweep(account)
    sweep(account)

    assert (account.n, after(account)) == (5, "10m")
    assert account.karpenter.ever_drifted == set()


def test_a_pause_in_the_middle_of_a_change_reports_what_stays_held():
    account = growing(is_wide)

    account.store.pause(GPU_1, "audit")
    sweep(account)

    assert account.tuned.stage is Stage.PAUSED
    assert {finding.code for finding in account.tuned.findings} == {"n-half-changed"}
    account.store.resume(GPU_1)
    sweep(account)
    assert (account.n, after(account)) == (5, "10m")


@pytest.mark.parametrize("sharing", ["sharing: none", "sharing: mps, replicas: {start: 4, max: 8}"])
@pytest.mark.parametrize("stage", [has_canary, is_wide])
def test_another_way_of_sharing_waits_for_the_end_of_a_change_and_replaces_no_node(sharing, stage):
    account = growing(stage)

    account.policies["default"] = (
        f"pools:\n  shared: {{{sharing}, gpus: [l4], maxGpus: 16, gpuCounts: [1]}}\n{BY_POD}"
    )
    sweep(account)
    sweep(account)

    assert account.karpenter.ever_drifted == set()
    assert account.n == 5
    assert after(account) == "10m"


def test_a_key_that_a_user_took_away_is_given_to_no_node():
    account = growing(is_held)
    server = account.servers["gpu-1"]

    server.delete(layout.CONFIG_MAP)
    for _ in range(20):
        account.let_pass(min(account.queues.waiting).due - account.clock.now)
        account._answer(*account.queues.receive(timedelta(minutes=6)))

    keys = {
        i["metadata"]["labels"][layout.CONFIG_LABEL] for r, i in server.objects.items() if r.kind == "Node"
    }
    assert keys == {"ts-4"}
    assert "key-missing" in {finding.code for finding in account.tuned.findings}
    sweep(account)
    assert account.n == 5


def test_nothing_begins_where_the_device_plugin_has_no_configuration():
    account = TunedAccount()
    account.hours(2)
    account.servers["gpu-1"].delete(layout.CONFIG_MAP)

    account.hours(1)

    assert account.n == 4
    assert after(account) == "10m"


def test_a_nodepool_that_is_deleted_in_the_middle_ends_the_change():
    account = growing(is_wide)
    server = account.servers["gpu-1"]

    for ref in [ref for ref in server.objects if ref.kind in ("Node", "NodeClaim", "NodePool")]:
        server.delete(ref)
    sweep(account)
    sweep(account)

    assert (account.n, after(account)) == (4, "10m")
    assert not account.lost


def test_an_annotation_asks_for_no_n_that_has_no_key():
    account = TunedAccount()
    text = json.dumps({"from": 4, "to": 64, "since": account.clock.now.isoformat()})
    account.node_pool["metadata"]["annotations"][ROLLOUT_ANNOTATION] = text

    account.hours(1)

    assert account.n == 4
    assert "annotation-unreadable" in {finding.code for finding in account.tuned.findings}


def test_a_cordon_that_a_change_left_behind_is_taken_away():
    account = shrinking(cordoned)
    annotations = account.node_pool["metadata"]["annotations"]
    del annotations[ROLLOUT_ANNOTATION]
    key = account.servers["gpu-1"].objects[Ref("v1", "Node", cordoned(account)[0])]["metadata"]["labels"]
    requirements = account.node_pool["spec"]["template"]["spec"]["requirements"]
    for requirement in requirements:
        if requirement["key"] == layout.CONFIG_LABEL:
            requirement["values"] = [key[layout.CONFIG_LABEL]]
    account.measure(memory_mib=4096.0, slots=2)

    account.hours(1)

    assert cordoned(account) == []


def in_a_year(account: TunedAccount, annotation: str, *path: str) -> None:
    annotations = account.node_pool["metadata"]["annotations"]
    found = json.loads(annotations[annotation])
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "2027-06-01T00:00:00Z"
    annotations[annotation] = json.dumps(found)


@pytest.mark.parametrize("path", [("since",), ("canary", "since")])
def test_a_change_that_says_it_began_in_the_future_ends_all_the_same(path):
    account = growing(has_canary)

    in_a_year(account, ROLLOUT_ANNOTATION, *path)
    account.answer_next()

    assert "time-in-future" in {finding.code for finding in account.tuned.findings}
    account.answer_all()
    assert account.n == 5


def test_a_node_that_says_it_was_cordoned_in_the_future_is_shrunk_all_the_same():
    account = shrinking(cordoned)
    nodes = cordoned(account)

    for node in nodes:
        marks = account.karpenter._node(node)["metadata"]["annotations"]
        marks[CORDONED_ANNOTATION] = "2027-06-01T00:00:00Z"
    sweep(account)

    assert account.n == 2
    assert cordoned(account) == []


@pytest.mark.parametrize("remembered", ["changed_at", "above_since"])
def test_n_that_was_changed_in_the_future_rises_all_the_same(remembered):
    account = TunedAccount()
    account.hours(1)

    in_a_year(account, TUNING_ANNOTATION, remembered)
    account.hours(4)

    assert account.n == 5
