"""N grows on the real Karpenter: no node is replaced and no pod restarts, at whatever stage it stops."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.pools import layout, observed
from slicewise.tuning.rollout.stages import RolloutSettings

from tests.sandbox.rollout.rollout_pool import BUDGETS, CLAIMS, NODE_POOLS, NODES, OVERLAYS, RetunedPool, at
from tests.support.tuning.rollout_runs import FAST, Retuning
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox


def untouched(pool: RetunedPool) -> tuple[set[str], list[str], list[str]]:
    return pool.seen.drifted, pool.seen.gone, pool.seen.short


def test_growing_replaces_no_node_restarts_no_pod_and_then_fills_the_nodes(retuned):
    pool = retuned("grow", 4)
    pool.run(23)
    claims, pods = {c["metadata"]["name"] for c in pool.claims()}, pool.running()
    assert len(claims) == 6
    pool.seen.start()

    last = pool.change(8)

    assert last.finished and last.message == "N is 8"
    assert pool.stands() == at(8, "ts-8")
    assert {c["metadata"]["name"] for c in pool.claims()} == claims
    assert pool.running() == pods
    assert untouched(pool) == (set(), [], [])

    pool.run(48)
    assert (len(pool.claims()), pool.seen.made) == (6, [])
    pool.run(49)
    assert len(pool.claims()) == 7
    (new,) = pool.seen.made
    claim = next(c for c in pool.claims() if c["metadata"]["name"] == new)
    assert claim["status"]["capacity"]["nvidia.com/gpu"] == "8"


def test_stopped_at_every_stage_growing_ends_the_same_and_nodes_created_in_the_middle_are_caught(retuned):
    """Each stage is left alone for a while, with more pods than fit, before the next pass goes on."""
    pool = retuned("stages", 4)
    pool.run(8)
    pool.seen.start()
    wanted, stages = 8, 0

    def pause(found):
        nonlocal wanted, stages
        if found.actions and stages < 8:
            stages += 1
            wanted += 3
            pool.run(wanted)

    pool.change(8, after_each=pause)

    assert stages == 8
    assert pool.stands() == at(8, "ts-8")
    assert untouched(pool) == (set(), [], [])
    assert pool.seen.made  # somebody was born in the middle


def test_consolidation_waits_for_the_end_and_keeps_the_pods_disruption_budget(retuned):
    pool = retuned("saving", 4, after="1s")
    pool.run(8)
    pool.kube.apply(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "saving", "namespace": "default"},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "saving-a"}}},
        }
    )
    budget = f"{BUDGETS}/saving"
    eventually(lambda: pool.kube.get(budget).get("status", {}).get("currentHealthy") == 8)
    pool.seen.start()
    moved_before_the_end: list[str] = []

    pool.change(8, after_each=lambda found: moved_before_the_end.extend(pool.seen.gone))

    assert moved_before_the_end == []
    healthy = []

    def one_node_left() -> bool:
        healthy.append(pool.kube.get(budget)["status"]["currentHealthy"])
        return len(pool.claims()) == 1

    eventually(one_node_left, within_seconds=180)
    pool.wait_for_pods(8)
    assert min(healthy) >= 7
    assert pool.seen.drifted == set()
    pool.kube.delete(budget)


def test_one_pod_a_gpu_becomes_two_with_the_pods_that_run(retuned):
    pool = retuned("double", 2)
    _start_at_one(pool)
    pool.run(2)
    pods = pool.running()
    assert len(pool.claims()) == 2
    pool.seen.start()

    pool.change(2)

    assert pool.stands() == at(2, "ts-2")
    assert pool.running() == pods
    assert untouched(pool) == (set(), [], [])


def _start_at_one(pool: RetunedPool) -> None:
    """
    A policy's replicas begin at 2; a pool at 1 is one that was lowered.

    Karpenter gets the time that it gets in production to plan with it: it goes through every overlay of the
    control plane before one that has changed counts, and other tests have theirs there.
    """
    pool.tuner.settings = replace(FAST, settle=RolloutSettings().settle)
    assert pool.change(1).finished
    pool.tuner.settings = FAST


def test_two_gpu_models_of_a_pool_have_each_their_own_n(retuned):
    pool = retuned("models", 4, gpus="[l4, a10g]")
    pool.run(5, "l4")
    pool.run(5, "a10g", gpu="a10g")
    pool.seen.start()

    pool.change(8, gpu="a10g")

    assert pool.stands("l4") == at(4, "ts-4")
    assert pool.stands("a10g") == at(8, "ts-8")
    assert untouched(pool) == (set(), [], [])


def test_machines_with_several_gpus_grow_in_place(retuned):
    pool = retuned("quads", 2, counts="[4]")
    pool.run(10)
    assert len(pool.claims()) == 2
    pool.seen.start()

    pool.change(3)

    assert pool.stands() == at(3, "ts-3")
    assert untouched(pool) == (set(), [], [])
    pool.run(24)
    assert (len(pool.claims()), pool.seen.made) == (2, [])


def test_a_canary_that_breaks_a_promise_takes_the_pool_back(retuned):
    pool = retuned("canary", 4)
    # Longer than a busy machine takes to reload the stand-in plugin: the promise is broken on the canary.
    pool.tuner.settings = replace(FAST, canary=timedelta(seconds=30))
    pool.run(7)
    pods = pool.running()
    pool.seen.start()

    def xid(tuner: Retuning) -> list[str]:
        return ["Xid 31 on the canary"] if any("tries N = 8" in said for said in tuner.said) else []

    last = pool.change(8, broken=xid)

    assert last.failed == "Xid 31 on the canary"
    assert pool.stands() == at(4, "ts-4")
    assert pool.running() == pods
    assert untouched(pool) == (set(), [], [])
    assert list(pool.tuner.state().history.failed) == [8]


def test_a_promise_broken_halfway_takes_the_pool_back(retuned):
    pool = retuned("halfway", 4)
    pool.run(11)
    pods = pool.running()
    pool.seen.start()

    def late(tuner: Retuning) -> list[str]:
        return ["a pod ran out of memory"] if "2 of 3 nodes are relabelled" in tuner.said else []

    last = pool.change(8, broken=late)

    assert last.failed and pool.stands() == at(4, "ts-4")
    assert pool.running() == pods
    assert untouched(pool) == (set(), [], [])


def test_a_persons_edits_in_the_middle_are_seen_and_taken_along(retuned):
    pool = retuned("edited", 4)
    pool.run(8)
    pods = pool.running()
    pool.seen.start()
    edits = iter(
        (
            lambda: pool.kube.merge(
                f"{OVERLAYS}/{pool.name()}-1", {"spec": {"capacity": {"nvidia.com/gpu": "6"}}}
            ),
            lambda: pool.kube.merge(
                f"{NODE_POOLS}/{pool.name()}", {"spec": {"limits": {"nvidia.com/gpu": "99"}}}
            ),
            lambda: pool.kube.merge(
                f"{NODES}/{sorted(pods.values())[-1]}",
                {"metadata": {"labels": {layout.CONFIG_LABEL: "ts-6"}}},
            ),
            lambda: pool.kube.merge(
                f"{NODE_POOLS}/{pool.name()}", {"spec": {"disruption": {"consolidateAfter": "1h"}}}
            ),
        )
    )

    def edit(found):
        if set(observed.config_keys_of(pool.node_pool())) == {"ts-4", "ts-8"}:
            next(edits, lambda: None)()

    pool.change(8, after_each=edit)

    assert pool.stands() == at(8, "ts-8", after="1h")
    assert pool.running() == pods
    assert untouched(pool) == (set(), [], [])
    reported = " ".join(pool.tuner.findings)
    for what in ("NodeOverlay", "limit", "ts-6", "onsolidateAfter"):
        assert what in reported, what


def test_a_heartbeat_is_no_conflict_and_an_edit_is(retuned):
    pool = retuned("stale", 4)
    pool.run(4)
    looked = pool.tuner.state()
    (node,) = looked.nodes
    path = f"{NODES}/{node.name}"

    from slicewise.tuning.rollout import patches
    from slicewise.tuning.rollout.stages import Advance

    action = patches.relabel(node, "ts-8", "a test", pool.tuner.clock())
    pool.kube.merge(f"{path}/status", {"status": {"nodeInfo": {"kubeletVersion": "v1.35.9"}}})
    pool.tuner._act(Advance((action,), "", None))
    assert pool.tuner.conflicts == []

    pool.kube.merge(path, {"metadata": {"labels": {layout.CONFIG_LABEL: "ts-6"}}})
    pool.tuner._act(Advance((action,), "", None))
    assert len(pool.tuner.conflicts) == 1
    assert pool.kube.get(path)["metadata"]["labels"][layout.CONFIG_LABEL] == "ts-6"
    assert len(pool.kube.list(CLAIMS)) >= 1
