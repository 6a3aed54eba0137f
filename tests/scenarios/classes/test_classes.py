"""A pool that is split into classes, from trigger to trigger. Stand-ins as in test_tuning.py."""

from __future__ import annotations

from slicewise.app import TUNING
from slicewise.errors import Unavailable
from slicewise.kube.labels import ASLEEP, CLASS_LABEL, ROLLOUT_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.planning.outcome import Stage
from slicewise.policy.model import parse
from slicewise.pools import layout
from slicewise.trigger import Trigger
from slicewise.tuning import explain, snapshot
from slicewise.tuning.plan import plan
from slicewise.tuning.state.pool_state import pool_states

from tests.support import builders
from tests.support.tuning.tuned_account import BY_POD, DAY, GPU_1, TunedAccount

POLICY = (
    """pools:
  shared: {sharing: time-slicing, gpus: [l4], classes: [1, 2, 3], maxGpus: 16, gpuCounts: [1]}
"""
    + BY_POD
)
NAMES = [f"slicewise-shared-l4-{size}" for size in (1, 2, 3)]


def split_account(**use):
    """Two nodes of class 1, one of class 2, one of class 3, all full."""
    account = TunedAccount(pods=(), policy=POLICY, **use)
    for size, count in ((1, 1), (1, 1), (2, 2), (3, 3)):
        node = account.karpenter.add_node(pool=NAMES[size - 1])
        for _ in range(count):
            account.karpenter.add_pod(node, size=size if size > 1 else None)
    account.clock.pass_by(3 * DAY)
    account.measure(**use)
    return account


def of_pools(account):
    return {one["node_pool"]: one for one in account.tuned.details if "node_pool" in one}


def test_the_n_of_a_class_never_changes_whatever_is_measured():
    account = split_account(busy=1.0, memory_mib=400.0)

    account.hours(30)

    assert {name: one["n"] for name, one in of_pools(account).items()} == dict(
        zip(NAMES, (1, 2, 3), strict=True)
    )
    assert account.tuned.stage is Stage.ONBOARDED
    assert account.karpenter.moved == account.karpenter.replaced == []


def test_what_a_user_wrote_into_overlay_and_limit_of_a_class_is_put_back():
    account = split_account()
    server = account.servers["gpu-1"]
    overlay = Ref("karpenter.sh/v1alpha1", "NodeOverlay", f"{NAMES[2]}-1")
    node_pool = Ref("karpenter.sh/v1", "NodePool", NAMES[2])
    for ref, path in ((overlay, "/spec/capacity"), (node_pool, "/spec/limits")):
        server.patch(ref, [{"op": "replace", "path": path, "value": {layout.GPU_RESOURCE: "9"}}], "kubectl")

    account.hours(1)

    assert server.objects[overlay]["spec"]["capacity"] == {layout.GPU_RESOURCE: "3"}
    assert server.objects[node_pool]["spec"]["limits"] == {layout.GPU_RESOURCE: "48"}
    assert {finding.code for finding in account.tuned.findings} >= {"foreign-edit"}


def test_a_change_of_n_that_an_annotation_reports_is_none_of_a_class():
    account = split_account()
    marks = account.servers["gpu-1"].objects[Ref("karpenter.sh/v1", "NodePool", NAMES[1])]["metadata"]
    marks["annotations"][ROLLOUT_ANNOTATION] = '{"from":2,"to":4,"since":"2026-11-24T12:00:00Z"}'

    account.hours(2)

    assert of_pools(account)[NAMES[1]]["n"] == 2
    assert not [call for call in account.calls.made if call.startswith("kubernetes.patch Node ")]


def test_a_pod_that_waits_waits_for_its_class():
    policy = parse(POLICY, "default")
    made = [layout.node_pool(policy, part, gpu, part.start) for part in policy.parts for gpu in part.models()]
    second = builders.pod("b", pool="shared")
    second["spec"]["nodeSelector"][CLASS_LABEL] = "2"
    seen = builders.contents(node_pools=tuple(made), pods=(builders.pod("a", pool="shared"), second))

    assert [(state.n, state.pending) for state in pool_states(seen, policy)] == [(1, 1), (2, 1), (3, 0)]


# Which class each workload belongs in


def of_classes(account):
    (found,) = [one for one in account.tuned.details if "classes" in one]
    return found


def recommended(account):
    return {one["ref"][2]: (one["class"], one["recommended"]) for one in of_classes(account)["workloads"]}


def test_each_workload_is_reported_where_it_belongs_and_nothing_is_written_for_it():
    account = split_account(busy=5.0, memory_mib=3000.0, slots=1)
    account.hours(1)
    before = len(account.calls.made)
    account.hours(2)

    assert list(recommended(account).values())[:2] == [(1, 3), (1, 3)]
    assert account.tuned.reason.endswith("pool shared: 4 of 7 workloads belong in another class")
    assert not [call for call in account.calls.made[before:] if "patch" in call or "apply" in call]


def test_it_is_decided_once_a_day_and_the_days_are_kept():
    account = split_account(busy=5.0, memory_mib=3000.0, slots=1)
    account.hours(20)
    first = of_classes(account)
    account.hours(10, busy=5.0, memory_mib=3000.0, slots=1)
    second = of_classes(account)

    assert first["decided_at"] < second["decided_at"]
    assert second["contended"] == [*first["contended"], [second["decided_at"], 0.0, 0.0]]


def test_what_the_record_lost_is_decided_again_and_comes_to_the_same():
    account = split_account(busy=5.0, memory_mib=3000.0, slots=1)
    account.hours(1)
    known = recommended(account)
    account.store._records.clear()

    account.tune()

    assert recommended(account) == known


def test_without_metrics_the_last_decision_stays_and_is_told_to_be_old():
    account = split_account(busy=5.0, memory_mib=3000.0, slots=1)
    account.hours(1)
    known = recommended(account)

    def out_of_reach(*window):
        raise Unavailable("503")

    account.metrics.read = out_of_reach
    account.queues.put(TUNING, Trigger(GPU_1, "a test").message())
    account.answer_next()

    assert recommended(account) == known
    assert "Nothing is decided now: metrics cannot be read" in "\n".join(explain.lines(of_classes(account)))


def test_a_pool_that_sleeps_is_decided_on_once_it_is_awake():
    account = split_account(busy=5.0, memory_mib=3000.0, slots=1)
    marks = account.servers["gpu-1"].objects[Ref("karpenter.sh/v1", "NodePool", NAMES[0])]["metadata"]
    marks["annotations"][ASLEEP] = "2026-11-25T06:00:00Z"
    account.hours(1)
    assert "asleep" in of_classes(account)["frozen"] and of_classes(account)["workloads"] == []

    del marks["annotations"][ASLEEP]
    account.hours(1)
    assert "frozen" not in of_classes(account) and of_classes(account)["workloads"]


def test_a_snapshot_reports_what_the_next_reconcile_would_decide():
    account = split_account(busy=5.0, memory_mib=3000.0, slots=1)
    account.hours(1)
    trigger = account.person().trigger("gpu-1", "")
    world, planned = account._apps["tuning"].tuning.dry_run(trigger)

    again, now = snapshot.load(snapshot.dump(world, account.clock()))

    assert plan(again, now).details == planned.details
    assert of_classes(account) == next(one for one in planned.details if "classes" in one)
