"""
Tuning from trigger to trigger, and what strikes it on the way.

Karpenter, the scheduler, device plugins and AWS are stand-ins; batch, loop, plan, guards and writes are the
product's. The clock moves only when a message waits, so each run tells how long it would have taken.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from slicewise.app import TUNING
from slicewise.errors import Conflict, Refused, Unavailable
from slicewise.kube.labels import ROLLOUT_ANNOTATION, TUNING_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.planning.outcome import Stage
from slicewise.pools import layout, observed
from slicewise.trigger import Trigger
from slicewise.tuning.explain import lines
from slicewise.tuning.usage.pages import history_of

from tests.support.tuning.tuned_account import BY_GPU, BY_POD, GPU_1, POLICY, POOL, TunedAccount, alarm_event

OVERLAY = Ref("karpenter.sh/v1alpha1", "NodeOverlay", f"{POOL}-1")
GPU = layout.GPU_RESOURCE
POOL_REF = Ref("karpenter.sh/v1", "NodePool", POOL)
WRITES = ("apply", "patch", "delete", "alarms.put", "alarms.delete")


def writes(account: TunedAccount, since: int = 0) -> list[str]:
    return [call for call in account.calls.made[since:] if any(word in call for word in WRITES)]


def detail(account: TunedAccount) -> dict:
    (found,) = account.tuned.details
    return found


def codes(account: TunedAccount) -> set[str]:
    return {finding.code for finding in account.tuned.findings}


def edit(account: TunedAccount, ref: Ref, part: str, field: str, value: dict) -> None:
    """By a person's hand."""
    server = account.servers["gpu-1"]
    changed = {**server.objects[ref][part].get(field, {}), **value}
    server.patch(ref, ({"op": "add", "path": f"/{part}/{field}", "value": changed},), "kubectl-edit")


# The way through


def test_n_rises_by_one_after_its_time_and_no_node_is_replaced_and_no_pod_killed():
    account = TunedAccount()

    assert account.hours(2).stage is Stage.ONBOARDED
    assert account.n == 4
    account.hours(1)

    assert account.n == 5
    assert account.karpenter.ever_drifted == set()
    assert account.karpenter.broken_promises == []
    assert account.record(capability=TUNING).stage is Stage.ONBOARDED
    history = [line.stage for line in account.store.history if line.capability == TUNING]
    assert Stage.TUNING in history


def test_a_decision_is_kept_with_its_inputs_also_when_nothing_changes():
    account = TunedAccount()
    account.hours(1)

    found = detail(account)

    assert (found["n"], found["rule"], found["after"]) == (4, 8, 4)
    assert found["reason"] == "target 8 has not been stable for 2 h"
    assert [bound["what"] for bound in found["bounds"]] == ["memory", "compute", "host"]
    assert found["nodes"] == 5 and found["pods"] == 20


def test_an_unchanged_cluster_is_written_to_once_and_then_left_unchanged():
    account = TunedAccount(pods=(1,), busy=80.0, slots=1)
    account.hours(4)
    before, lines = len(account.calls.made), len(account.store.history)

    account.hours(3)

    assert writes(account, before) == []
    assert len(account.store.history) == lines


def test_memory_that_is_nearly_full_lowers_n_and_kills_no_pod():
    account = TunedAccount(pods=(4, 2), busy=10.0, memory_mib=18000.0, slots=2)
    full = account.fullest()

    account.hours(2)

    assert account.n == 2
    assert account.karpenter.broken_promises == []
    # Only the node that held more than two had to go.
    assert account.karpenter.replaced == [full]


def test_one_node_pool_grows_at_a_time():
    account = TunedAccount(policy=POLICY.replace("[l4]", "[l4, a10g]"))
    for _ in range(5):
        account.karpenter.add_node(4, gpu="a10g")
    account.let_pass(timedelta(days=3))
    account.measure()
    account.hours(2)
    account.let_pass(timedelta(hours=1))

    account.queues.put(TUNING, json.dumps({"slicewise": 1, "cluster": GPU_1}))
    account._answer(*account.queues.receive(timedelta(minutes=6)))

    assert "slicewise-shared-l4: N 4→5" in account.tuned.reason
    assert "slicewise-shared-a10g: N may become 5 once no other NodePool grows" in account.tuned.reason
    account.answer_all()
    account.hours(1)
    assert [found["n"] for found in account.tuned.details] == [5, 5]


def test_a_users_edit_of_one_node_pool_stops_no_other():
    account = TunedAccount(policy=POLICY.replace("[l4]", "[l4, a10g]"))
    account.hours(1)
    server = account.servers["gpu-1"]
    for count in ("l4", "a10g"):
        edit(account, OVERLAY._replace(name=f"slicewise-shared-{count}-1"), "spec", "capacity", {GPU: "9"})
    patch = server.patch

    def faster(ref, operations, *how):
        if ref.name.startswith(POOL):
            raise Conflict("somebody was faster")
        patch(ref, operations, *how)

    server.patch = faster
    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    account.answer_next()

    other = server.objects[OVERLAY._replace(name="slicewise-shared-a10g-1")]
    assert other["spec"]["capacity"] == {GPU: "4"}
    assert "somebody was faster" in account.tuned.reason
    assert account.tuned.stage is Stage.TUNING
    server.patch = patch
    account.answer_all()
    assert server.objects[OVERLAY]["spec"]["capacity"] == {GPU: "4"}


def spans_read(account: TunedAccount) -> list[timedelta]:
    """How long a time of each read of metrics from now on is about."""
    spans, read = [], account.metrics.read

    def noting(cluster, start, end, step):
        spans.append(end - start)
        return read(cluster, start, end, step)

    account.metrics.read = noting
    return spans


def test_a_reconcile_reads_what_is_new_and_never_a_week_again():
    account = TunedAccount()
    account.hours(2)
    account.let_pass(timedelta(hours=1))
    spans = spans_read(account)

    account.tune()

    assert account.n == 5
    assert len(spans) > 10
    assert all(span < timedelta(hours=2) for span in spans)


def test_what_no_reconcile_has_read_for_hours_is_read_by_the_next():
    account = TunedAccount()
    account.hours(1)
    account.let_pass(timedelta(hours=30))
    spans = spans_read(account)

    account.tune()

    assert timedelta(hours=30) < spans[0] < timedelta(hours=31)


def test_an_emptied_table_costs_one_long_read_and_no_decision():
    account = TunedAccount()
    account.hours(1)
    account.usage.kept.clear()
    spans = spans_read(account)

    account.tune()

    assert spans[0] == timedelta(days=7)
    assert (
        detail(account)["rule"] == 8 and detail(account)["reason"] == "target 8 has not been stable for 2 h"
    )


def test_a_reconcile_that_is_killed_between_two_pages_counts_nothing_twice():
    def looked_at(kill_before: int | None) -> TunedAccount:
        account = TunedAccount()
        account.hours(1)
        account.calls.kill_before = kill_before
        account.hours(1)
        account.let_pass(timedelta(minutes=30))
        account.tune()
        return account

    calls = looked_at(None).calls.made
    whole = history_of(looked_at(None).usage.kept.values())
    pages = [number for number, call in enumerate(calls) if call.startswith("usage.keep")]
    assert len(pages) > 5

    for number in pages[-3:]:
        assert history_of(looked_at(number).usage.kept.values()).workloads == whole.workloads


def test_while_one_node_pool_changes_the_others_are_decided_on_with_each_new_point():
    account = TunedAccount(policy=POLICY.replace("[l4]", "[l4, a10g]").replace("canary: 2m", "canary: 60m"))
    for _ in range(2):
        account.karpenter.add_node(4, gpu="a10g")
    account.let_pass(timedelta(days=3))
    account.measure()
    account.hours(2)
    account.let_pass(timedelta(hours=1))
    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    account.answer_next()
    began = account.clock.now

    while account.clock.now - began < timedelta(minutes=25):
        account.answer_next()
    assert ROLLOUT_ANNOTATION in account.node_pool["metadata"]["annotations"]
    (other,) = [found for found in account.tuned.details if found["gpu"] == "a10g"]
    assert account.clock.now - datetime.fromisoformat(other["decided_at"]) < timedelta(minutes=13)


# Evidence


def test_a_canary_waits_while_nobody_can_tell_how_it_does():
    account = TunedAccount()
    account.hours(2)
    account.let_pass(timedelta(hours=1))
    account.queues.put(TUNING, json.dumps({"slicewise": 1, "cluster": GPU_1}))
    read = account.metrics.read
    for _ in range(12):
        account.let_pass(min(account.queues.waiting).due - account.clock.now)
        if "canary" in account.annotation(ROLLOUT_ANNOTATION):
            account.metrics.read = unreadable
        account._answer(*account.queues.receive(timedelta(minutes=6)))

    assert observed.config_keys_of(account.node_pool) == ("ts-4",)
    assert "waits: metrics cannot be read" in account.tuned.reason
    account.metrics.read = read
    account.answer_all()
    assert account.n == 5


def unreadable(*_):
    raise Unavailable("cloudwatch:GetMetricData: throttled")


def test_thin_evidence_keeps_n():
    account = TunedAccount()
    account.metrics.scraped = None

    account.hours(5)

    assert account.n == 4
    assert "no pod has a full day of measurements" in account.tuned.reason
    assert "no-gpu-metrics" in codes(account)


def test_a_pod_without_history_neither_raises_nor_lowers_n():
    account = TunedAccount(pods=(4, 4))
    account.hours(1)
    account.karpenter.add_node(3)
    account.let_pass(timedelta(hours=1))
    account.measure()

    account.hours(4)

    assert account.n == 4
    assert "pods have no full day of measurements" in account.tuned.reason


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ("metrics: {source: container-insights}\n", "N stays as it is."),
        (BY_POD, "where a Service's name is not known."),
    ],
)
def test_metrics_that_cannot_be_read_keep_n_and_all_else_goes_on(metrics, says):
    account = TunedAccount(policy=BY_GPU + metrics)

    def refused(*_):
        raise Refused("cloudwatch:GetMetricData: not authorized")

    account.metrics.read = refused
    began = account.clock.now
    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    for _ in range(12):
        account.answer_next()

    assert account.clock.now - began == timedelta(hours=2, minutes=45), "a quarter of an hour apart"
    assert account.n == 4
    assert account.tuned.stage is Stage.ONBOARDED
    [found] = [one for one in account.tuned.findings if one.code == "metrics-unreadable"]
    assert found.remedy.endswith(says)


def test_a_policy_without_metrics_never_changes_n():
    account = TunedAccount(policy=BY_GPU + "metrics: {source: none}\n")

    account.hours(4)

    assert account.n == 4
    assert "the policy names no source of metrics" in account.tuned.reason
    assert not account.alarms.kept


# A canary that fails


def with_canary_that_refuses(pods: int) -> TunedAccount:
    account = TunedAccount()
    account.hours(2)
    account.let_pass(timedelta(hours=1))
    account.queues.put(TUNING, json.dumps({"slicewise": 1, "cluster": GPU_1}))
    canary = None
    while account.queues.waiting:
        account.let_pass(min(account.queues.waiting).due - account.clock.now)
        tried = json.loads(account.annotation(ROLLOUT_ANNOTATION)).get("canary")
        if tried and account.clock.now - datetime.fromisoformat(tried["since"]) > timedelta(minutes=1):
            canary = canary or turned_away(account, tried["node"], pods)
        account._answer(*account.queues.receive(timedelta(minutes=6)))
    assert canary
    return account


def test_a_canary_that_fails_is_reverted_by_itself_and_its_n_is_locked():
    account = with_canary_that_refuses(2)

    assert account.n == 4
    assert account.karpenter.ever_drifted == set()
    assert list(json.loads(account.annotation(TUNING_ANNOTATION))["failed"]) == ["5"]
    account.hours(6)
    assert account.n == 4
    assert "N 5 is locked for 24 h: its canary failed" in account.tuned.reason


def test_one_pod_that_a_canary_turned_away_is_an_accident():
    assert with_canary_that_refuses(1).n == 5


def test_one_pod_that_was_turned_away_lowers_no_n():
    account = TunedAccount()
    account.hours(3)
    turned_away(account, account.fullest(), 1)

    account.hours(1)

    assert account.n == 5


def turned_away(account: TunedAccount, node: str, pods: int) -> str:
    """So many pods that the device plugin on this node refuses."""
    server, now = account.servers["gpu-1"], account.clock.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    failed = {
        "phase": "Failed",
        "reason": "UnexpectedAdmissionError",
        "startTime": now,
        "message": "no slice",
    }
    for number in range(pods):
        name = account.karpenter.add_pod(node, name=f"refused-{number}")
        server.set_status(Ref("v1", "Pod", name, "default"), failed)
    return node


# Alarms


def test_the_first_reconcile_puts_the_alarms_and_later_ones_leave_them():
    account = TunedAccount(policy=BY_GPU)
    account.hours(1)
    before = len(account.calls.made)

    account.hours(1)

    assert sorted(account.alarms.kept) == ["slicewise/gpu-1/full", "slicewise/gpu-1/idle"]
    assert not [call for call in account.calls.made[before:] if call.startswith("alarms.put")]


def test_an_alarm_wakes_the_tuner_and_its_echo_starts_no_loop():
    account = TunedAccount()
    account.hours(1)
    account.queues.put(TUNING, alarm_event("idle", "ALARM", "OK"))
    looks = account.calls.made.count("kubernetes.list NodePool")

    account.answer_all()
    account.queues.put(TUNING, alarm_event("idle", "ALARM", "ALARM"))
    account.queues.put(TUNING, alarm_event("idle", "INSUFFICIENT_DATA", "ALARM"))
    account.answer_all()

    assert account.calls.made.count("kubernetes.list NodePool") == looks + 1
    assert not account.lost


def test_idle_gpus_go_sooner_until_the_alarm_is_over():
    account = TunedAccount(pods=(1, 0), policy=BY_GPU)
    account.hours(1)
    assert account.node_pool["spec"]["disruption"]["consolidateAfter"] == "10m"

    account.alarms.set_state("slicewise/gpu-1/idle", "ALARM")
    account.queues.put(TUNING, alarm_event("idle", "ALARM", "OK"))
    account._answer(*account.queues.receive(timedelta(minutes=6)))
    assert account.node_pool["spec"]["disruption"]["consolidateAfter"] == "1m"

    account.alarms.set_state("slicewise/gpu-1/idle", "OK")
    account.queues.put(TUNING, alarm_event("idle", "OK", "ALARM"))
    account.answer_all()
    assert account.node_pool["spec"]["disruption"]["consolidateAfter"] == "10m"


def test_a_policy_that_goes_takes_the_alarms_along():
    account = TunedAccount()
    account.hours(1)
    account.eks.clusters["gpu-1"] = replace(account.eks.clusters["gpu-1"], tags={})

    account.let_pass(timedelta(hours=1))
    account.sweep()
    account.answer_all()

    assert account.alarms.kept == {}
    assert account.tuned.stage is Stage.UNMANAGED
    account.sweep()
    assert not [message for message in account.queues.waiting if message.capability == TUNING]


def test_a_cluster_that_goes_takes_its_alarms_along_and_is_forgotten():
    account = TunedAccount()
    account.hours(1)
    del account.eks.clusters["gpu-1"]

    account.sweep()
    account.answer_gone()

    assert account.alarms.kept == {}
    assert account.store._records == {}


def test_after_an_empty_canary_consolidation_goes_one_node_at_a_time_for_a_day():
    policy = POLICY.replace("max: 8", "max: 5")
    account = TunedAccount(policy=policy)
    record = account.hours(3)

    assert account.n == 5
    budgets = account.node_pool["spec"]["disruption"]["budgets"]
    assert budgets == [*layout.BUDGETS, layout.ONE_AT_A_TIME], "and the passes since have left it"
    assert "one node at a time" in record.details[0]["consolidation"]["why"]
    assert any("It was not tried before all nodes had it" in line for line in lines(record.details[0]))

    account.hours(26)
    assert account.n == 5
    assert account.node_pool["spec"]["disruption"]["budgets"] == layout.BUDGETS
