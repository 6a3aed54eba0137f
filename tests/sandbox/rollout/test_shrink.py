"""
N shrinks on the real Karpenter: pods that fit stay where they are, the others move under their budgets.

Karpenter takes tens of seconds to replace a node, so all pools change side by side, each in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest
from slicewise.tuning.rollout.stages import RolloutSettings

from sandbox.cluster.control_plane import ControlPlane
from tests.sandbox.rollout.rollout_pool import BUDGETS, RetunedPool, at, make_pool
from tests.support.tuning.rollout_runs import FAST
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox


@dataclass
class Story:
    """A pool after its change: the nodes it had, in order, and the pods that should have stayed."""

    pool: RetunedPool
    nodes: list[str] = field(default_factory=list)
    stay: dict[str, str] = field(default_factory=dict)

    @property
    def left(self) -> list[bool]:
        """Whether each of its nodes is there still."""
        names = {node["metadata"]["name"] for node in self.pool.nodes()}
        return [node in names for node in self.nodes]


def some_fit(plane: ControlPlane) -> Story:
    pool = make_pool(plane, "shrink", 8)
    nodes = pool.on_each_node(8, 3, 2)
    story = Story(pool, nodes, pool.running("n1") | pool.running("n2"))
    pool.seen.start()
    pool.change(4)
    return story


def all_fit(plane: ControlPlane) -> Story:
    """Every stage is left alone for a while."""
    pool = make_pool(plane, "fits", 8)
    nodes = pool.on_each_node(4, 2)
    story = Story(pool, nodes, pool.running("n0") | pool.running("n1"))
    pool.seen.start()
    pool.change(4, after_each=lambda found: time.sleep(1.5 if found.actions else 0))
    return story


def none_fits(plane: ControlPlane) -> Story:
    pool = make_pool(plane, "crowded", 8)
    nodes = pool.on_each_node(5, 5, 5)
    pool.seen.start()
    pool.change(4, within_seconds=280)
    return Story(pool, nodes)


def two_become_one(plane: ControlPlane) -> Story:
    pool = make_pool(plane, "single", 2)
    nodes = pool.on_each_node(1, 1)
    pool.run(0, "n1")
    pool.seen.start()
    pool.change(1)
    return Story(pool, nodes)


def several_gpus(plane: ControlPlane) -> Story:
    pool = make_pool(plane, "quadshrink", 8, counts="[4]")
    nodes = pool.on_each_node(4, 5)
    pool.seen.start()
    pool.change(4)
    return Story(pool, nodes)


def blocked(plane: ControlPlane) -> Story:
    """By a PodDisruptionBudget, until it has been told."""
    pool = make_pool(plane, "blocked", 8)
    pool.run(5)
    budget = f"{BUDGETS}/blocked"
    pool.kube.apply(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "blocked", "namespace": "default"},
            "spec": {"minAvailable": "100%", "selector": {"matchLabels": {"app": "blocked-a"}}},
        }
    )
    eventually(lambda: pool.kube.get(budget).get("status", {}).get("currentHealthy") == 5)
    pool.seen.start()

    def unblock(found):
        blocked = "PodDisruptionBudget default/blocked allows no disruption of 5 pods"
        if any(blocked in finding for finding in pool.tuner.findings):
            pool.kube.delete(budget, missing_ok=True)

    pool.change(4, after_each=unblock)
    return Story(pool)


def under_mps(plane: ControlPlane) -> Story:
    pool = make_pool(plane, "clients", 4, sharing="mps")
    # A Karpenter that has much to do plans with a new overlay seconds after it is Ready; here it has a lot.
    pool.tuner.settings = replace(FAST, settle=2 * RolloutSettings().settle)
    pool.run(4)
    pool.seen.start()
    pool.change(8)
    return Story(pool)


STORIES = (some_fit, all_fit, none_fits, two_become_one, several_gpus, blocked, under_mps)
Reports = Callable[[Callable[[ControlPlane], Story]], Story]


@pytest.fixture(scope="module")
def reported(retuning_plane: ControlPlane) -> Iterator[Reports]:
    with ThreadPoolExecutor(len(STORIES)) as threads:
        stories: dict[Callable, Future[Story]] = {
            story: threads.submit(story, retuning_plane) for story in STORIES
        }
        yield lambda story: stories[story].result()
    for done in stories.values():
        if not done.exception():
            done.result().pool.clean()


def test_pods_on_nodes_that_fit_stay_and_the_others_move(reported: Reports):
    story = reported(some_fit)
    pool = story.pool

    assert pool.stands() == at(4, "ts-4")
    assert pool.running("n1") | pool.running("n2") == story.stay
    assert story.left == [False, True, True]
    assert len(pool.seen.drifted) == 1
    assert [gone for gone in pool.seen.gone if "NodeClaim" in gone] == [
        f"NodeClaim {name}" for name in pool.seen.drifted
    ]
    assert pool.seen.short == []


def test_where_all_fit_nothing_drifts_at_whatever_stage_it_stops(reported: Reports):
    story = reported(all_fit)
    pool = story.pool

    assert pool.stands() == at(4, "ts-4")
    assert pool.running("n0") | pool.running("n1") == story.stay
    assert (pool.seen.drifted, pool.seen.gone, pool.seen.short) == (set(), [], [])


def test_where_none_fits_each_pod_moves_once(reported: Reports):
    story = reported(none_fits)
    pool = story.pool

    assert pool.stands() == at(4, "ts-4")
    assert story.left == [False, False, False]
    assert len([gone for gone in set(pool.seen.gone) if gone.startswith("Pod")]) == 15


def test_two_pods_a_gpu_become_one_in_place_only_where_nothing_runs(reported: Reports):
    story = reported(two_become_one)

    assert story.pool.stands() == at(1, "exclusive")
    assert story.left == [False, True]
    assert story.pool.seen.short == []


def test_on_several_gpus_all_pods_must_fit_on_one(reported: Reports):
    story = reported(several_gpus)

    assert story.pool.stands() == at(4, "ts-4")
    assert story.left == [True, False]
    assert story.pool.seen.short == []


def test_what_blocks_the_roll_is_named_and_the_roll_goes_on_when_it_is_deleted(reported: Reports):
    pool = reported(blocked).pool

    assert pool.stands() == at(4, "ts-4")
    assert any("has been due for replacement since" in found for found in pool.tuner.findings)
    pool.wait_for_pods(5)


def test_under_mps_nodes_are_replaced_and_planned_for_the_new_n(reported: Reports):
    pool = reported(under_mps).pool

    assert pool.stands() == at(8, "mps-8")
    pool.wait_for_pods(4)
    born = [claim for claim in pool.claims() if claim["metadata"]["name"] in pool.seen.made]
    assert born and {claim["status"]["capacity"]["nvidia.com/gpu"] for claim in born} == {"8"}
