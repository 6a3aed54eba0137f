"""A pool that is split into classes, from hint to hint. Stand-ins as in test_tuning_on_fakes.py."""

from __future__ import annotations

from slicewise import layout
from slicewise.actions import Stage
from slicewise.model import Ref
from slicewise.policy import parse
from slicewise.slicing.pool_state import pool_states

from tests import builders
from tests.tuned_account import TunedAccount

POLICY = """pools:
  shared: {sharing: time-slicing, gpus: [l4], classes: [1, 2, 3], maxGpus: 16, gpuCounts: [1]}
"""
NAMES = [f"slicewise-shared-l4-{size}" for size in (1, 2, 3)]


def split_account(**use):
    """Two nodes of class 1, one of class 2, one of class 3, all full."""
    account = TunedAccount(pods=(), policy=POLICY, **use)
    for size, count in ((1, 1), (1, 1), (2, 2), (3, 3)):
        node = account.karpenter.add_node(pool=NAMES[size - 1])
        for _ in range(count):
            account.karpenter.add_pod(node, size=size if size > 1 else None)
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


def test_what_somebody_wrote_into_overlay_and_limit_of_a_class_is_put_back():
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


def test_a_change_of_n_that_an_annotation_tells_of_is_none_of_a_class():
    account = split_account()
    marks = account.servers["gpu-1"].objects[Ref("karpenter.sh/v1", "NodePool", NAMES[1])]["metadata"]
    marks["annotations"][layout.ROLLOUT_ANNOTATION] = '{"from":2,"to":4,"since":"2026-11-24T12:00:00Z"}'

    account.hours(2)

    assert of_pools(account)[NAMES[1]]["n"] == 2
    assert account.karpenter.ever_drifted == set()


def test_a_pod_that_waits_waits_for_its_class():
    policy = parse(POLICY, "default")
    made = [layout.node_pool(policy, part, gpu, part.start) for part in policy.parts for gpu in part.models()]
    second = builders.pod("b", pool="shared")
    second["spec"]["nodeSelector"][layout.CLASS_LABEL] = "2"
    seen = builders.contents(node_pools=tuple(made), pods=(builders.pod("a", pool="shared"), second))

    assert [(state.n, state.pending) for state in pool_states(seen, policy)] == [(1, 1), (2, 1), (3, 0)]
