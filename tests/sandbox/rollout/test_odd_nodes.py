"""Nodes that do not work, and NodeClaims without a node, on the real Karpenter while N grows."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.pools import layout
from slicewise.tuning.rollout import patches
from slicewise.tuning.rollout.stages import Advance

from sandbox.cluster import samples
from tests.sandbox.rollout.rollout_pool import NODES, at
from tests.support.tuning.rollout_runs import FAST
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

# Karpenter looks for drift to act upon every 10 s.
TWO_LOOKS = 22


def keys(items) -> list[str]:
    return sorted(item["metadata"]["labels"][layout.CONFIG_LABEL] for item in items)


def test_a_node_with_a_unhealthy_gpu_is_skipped_and_not_replaced(retuned):
    pool = retuned("sick", 4)
    pool.tuner.settings = replace(FAST, patience=timedelta(seconds=2))
    well, unhealthy = pool.on_each_node(4, 2)
    three = {"status": {"allocatable": {"nvidia.com/gpu": "3"}, "capacity": {"nvidia.com/gpu": "3"}}}
    pool.kube.merge(f"{NODES}/{unhealthy}/status", three)
    pods = pool.running("n0") | pool.running("n1")
    pool.seen.start()

    assert pool.change(8).finished
    time.sleep(TWO_LOOKS)

    assert (keys(pool.nodes()), keys(pool.claims())) == (["ts-4", "ts-8"], ["ts-8", "ts-8"])
    assert pool.stands() == at(8, "ts-8", labels={"ts-4", "ts-8"})
    assert pool.running("n0") | pool.running("n1") == pods
    assert (pool.seen.drifted, pool.seen.gone, pool.seen.short) == (set(), [], [])
    assert well != unhealthy


def test_a_node_comes_with_the_key_that_its_node_claim_was_given_before(retuned, retuning_plane):
    """It registers with the old one, as a kubelet does that was told so when its machine was launched."""
    slow = samples.node_class("slow") | {"spec": {"nodeRegistrationDelay": "8s"}}
    retuning_plane.kube.apply(slow)
    pool = retuned("unborn", 4, node_class="slow")
    both = patches.require(pool.tuner.state(), ("ts-4", "ts-8"), "a test")
    pool.tuner._act(Advance((both,), "", None))
    pool.kube.apply(samples.deployment("unborn-a", 1, pool.name()))
    eventually(pool.claims)

    state = pool.tuner.state()
    (claim,) = state.claims
    other = {"ts-4": "ts-8", "ts-8": "ts-4"}[claim["metadata"]["labels"][layout.CONFIG_LABEL]]
    assert state.nodes == ()
    pool.tuner._act(Advance((patches.relabel_claim(claim, other, "a test", pool.tuner.clock()),), "", None))
    pool.wait_for_pods(1)

    assert (keys(pool.nodes()), keys(pool.claims()), pool.tuner.conflicts) == ([other], [other], [])
