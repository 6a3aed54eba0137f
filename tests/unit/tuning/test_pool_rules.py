"""Each NodePool has one plan, by the first rule that applies, with the reason also of doing nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.kube import labels as kube_labels
from slicewise.planning.actions import Patch
from slicewise.policy.model import parse
from slicewise.pools import layout
from slicewise.tuning.plan import plan
from slicewise.tuning.pool_rules import plan_pool
from slicewise.tuning.state.observation import NotRead, Observed
from slicewise.tuning.state.pool_plan import PoolPlan, Shared
from slicewise.tuning.state.pool_state import Rollout, pool_states

from tests.support import builders
from tests.support.builders import NOW

ROLLOUT = Rollout(4, 5, NOW - timedelta(hours=1), "more fit")
LATER = Rollout(4, 5, NOW + timedelta(hours=1), "more fit")
SHARED = "sharing: time-slicing, gpus: [l4], maxGpus: 9"


def observed(pool: str = SHARED, *, whole: bool = True, **annotations: str) -> Observed:
    policy = parse(f"pools: {{p0: {{{pool}}}}}\nmetrics: {{source: none}}\n", "default")
    node_pools = tuple(
        layout.node_pool(policy, part, part.models()[0], part.size or 4) for part in policy.parts
    )
    for node_pool in node_pools:
        node_pool["metadata"]["annotations"] = {
            **node_pool["metadata"].get("annotations", {}),
            **{getattr(kube_labels, name): text for name, text in annotations.items()},
        }
    contents = builders.contents(node_pools=node_pools)
    return Observed(builders.cluster(), "default", policy, contents, NotRead(whole))


SEEN = {
    "is asleep until tomorrow": observed(ASLEEP="tomorrow", ROLLOUT_ANNOTATION=ROLLOUT.dumped()),
    "put back to now": observed(ROLLOUT_ANNOTATION=LATER.dumped()),
    "more fit": observed(ROLLOUT_ANNOTATION=ROLLOUT.dumped()),
    "there is no N to choose": observed("sharing: none, gpus: [l4], maxGpus: 9"),
    "it is class 1 of pool p0": observed(f"classes: [1, 2], {SHARED}"),
    "with the next measurements": observed(whole=False),
    "names no source of metrics": observed(),
}


@pytest.mark.parametrize("reason", SEEN)
def test_the_first_rule_that_applies_gives_its_reason(reason):
    seen = SEEN[reason]

    planned = plan_pool(pool_states(seen.contents, seen.policy)[0], seen, Shared(), NOW)

    assert reason in planned.detail["reason"]


@pytest.mark.parametrize(
    ("annotations", "wait"),
    [
        pytest.param({"ROLLOUT_ANNOTATION": ROLLOUT.dumped()}, timedelta(minutes=15), id="a change waits"),
        pytest.param({}, None, id="nothing waits"),
    ],
)
def test_a_change_that_a_night_interrupts_is_looked_at_again_before_the_next_sweep(annotations, wait):
    """It holds consolidation, and nobody triggers tuning in the morning."""
    made = plan(observed(ASLEEP="tomorrow", **annotations), NOW)

    assert (made.outcome.requeue_after, made.actions) == (wait, ())


def test_the_plan_of_a_reconcile_has_each_node_pools_once():
    seen = observed(f"classes: [1, 2], {SHARED}")

    made = plan(seen, NOW)

    names = [detail["node_pool"] for detail in made.details if "node_pool" in detail]
    assert names == [state.name for state in pool_states(seen.contents, seen.policy)]


def test_node_pools_that_come_later_know_who_changes_and_who_grows():
    shared = Shared(frozenset({"a"}), frozenset())

    grown = shared.after(PoolPlan("b", changing=True, begins_to_grow=True)).after(PoolPlan("c"))

    assert grown == Shared(frozenset({"a", "b"}), frozenset({"b"}))


def test_each_write_is_a_part_of_its_node_pool():
    seen = SEEN["more fit"]
    planned = plan_pool(pool_states(seen.contents, seen.policy)[0], seen, Shared(), NOW)

    assert {step.part for step in planned.steps if isinstance(step, Patch)} == {planned.name}
    assert replace(planned, actions=()).steps == ()
