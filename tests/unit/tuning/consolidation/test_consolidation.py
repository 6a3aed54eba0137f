from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from slicewise.kube.labels import ROLLOUT_ANNOTATION
from slicewise.pools import layout
from slicewise.tuning.consolidation.plan import actions, advise, wanted
from slicewise.tuning.consolidation.startup import STARTUP_ANNOTATION, dumped
from slicewise.tuning.state.pool_state import pool_states

from tests.support import builders
from tests.support.builders import NOW

POOL = "slicewise-shared-l4"
BERLIN = "{timeZone: Europe/Berlin, hours: [Mon-Fri 08:00-18:00]}"


def policy(consolidation: str = ""):
    return builders.policy(
        builders.DEFAULT_POOLS, *([f"consolidation: {consolidation}"] if consolidation else [])
    )


def state(policy, node_pool=None, claims=()):
    pool = policy.pools[0]
    live = node_pool or layout.node_pool(policy, pool, pool.models()[0], 4)
    (found,) = pool_states(builders.contents(node_pools=(live,), node_claims=tuple(claims)), policy)
    return found


def minutes(*starts):
    return tuple(timedelta(minutes=one) for one in starts)


def asked(text="", starts=(), idle=False, now=NOW):
    chosen = policy(text)
    return wanted(chosen, state(chosen), minutes(*starts), idle, now)


def patched(node_pool, action):
    """The disruption after a patch of all of it."""
    (path,) = {operation["path"] for operation in action.operations}
    assert path == "/spec/disruption"
    return {**node_pool, "spec": {**node_pool["spec"], "disruption": action.operations[-1]["value"]}}


# How long an idle node stays


@pytest.mark.parametrize(
    ("starts", "after"),
    [
        pytest.param((), "10m", id="nothing measured"),
        pytest.param((3, 3), "10m", id="too few"),
        pytest.param((3, 4.2, 3.5), "5m", id="rounded up to a minute"),
        pytest.param((0.3, 0.3, 0.3), "1m", id="never under a minute"),
        pytest.param((70, 80, 90), "1h", id="never over an hour"),
        pytest.param((*[2] * 96, *[30] * 4), "2m", id="four outliers of a hundred"),
        pytest.param((*[2] * 94, *[30] * 6), "30m", id="six of a hundred are no outliers"),
    ],
)
def test_what_is_learned_is_the_slow_end_of_starting(starts, after):
    assert asked("{after: learned}", starts).after == after


def test_a_fixed_value_stays_what_the_policy_says_and_is_reported_where_starting_takes_longer():
    found = asked("{after: 2m}", (5, 5, 5))

    assert found.after == "2m"
    assert found.why == "the policy says 2m, though its nodes take up to 5m to start again"


@pytest.mark.parametrize(
    ("text", "after"),
    [
        pytest.param("{after: learned}", "1m", id="learned"),
        pytest.param("{after: 10m, idleAfter: 3m}", "3m", id="fixed"),
        pytest.param("{after: 30s}", "30s", id="shorter already"),
        pytest.param("{after: Never}", "Never", id="a policy that never lets nodes go"),
    ],
)
def test_idle_gpus_go_sooner_and_within_the_policy(text, after):
    assert asked(text, idle=True).after == after


def test_the_setting_returns_when_the_idle_alarm_is_over():
    chosen = policy("{after: 10m}")
    before = state(chosen)
    (down,) = actions(before, wanted(chosen, before, (), True, NOW), NOW)
    idle = state(chosen, patched(before.node_pool, down))

    (up,) = actions(idle, wanted(chosen, idle, (), False, NOW), NOW)

    assert patched(idle.node_pool, up) == before.node_pool
    assert str(down) == f"let idle nodes of {POOL} go after 1m instead of 10m"


# Business hours


def test_within_business_hours_no_pod_is_moved_and_empty_nodes_still_go():
    found = asked(f"{{businessHours: {BERLIN}}}")

    assert found.budgets == (
        {"nodes": "100%", "reasons": ["Empty"]},
        {"nodes": "10%", "reasons": ["Underutilized", "Drifted"]},
        {
            "nodes": "0",
            "reasons": ["Underutilized", "Drifted"],
            "schedule": "0 7 * * 1,2,3,4,5",
            "duration": "10h",
        },
    )
    assert found.why == (
        "the policy says 10m; within Mon-Fri 08:00-18:00 in Europe/Berlin at most 0 nodes with pods go"
    )


def test_a_clock_change_changes_the_budgets():
    chosen = policy(f"{{businessHours: {BERLIN}}}")
    winter = state(chosen)
    (first,) = actions(winter, wanted(chosen, winter, (), False, NOW), NOW)
    held = state(chosen, patched(winter.node_pool, first))
    summer = NOW.replace(year=2027, month=5)

    assert actions(held, wanted(chosen, held, (), False, NOW), NOW) == ()
    (again,) = actions(held, wanted(chosen, held, (), False, summer), summer)
    assert again.operations[-1]["value"]["budgets"][-1]["schedule"] == "0 6 * * 1,2,3,4,5"
    assert str(again) == f"set when nodes of {POOL} may be disrupted"


def test_the_most_hours_that_a_policy_may_name_fit_into_karpenters_fifty_budgets():
    hours = ", ".join(f"Sat-Fri {hour:02}:15-{hour:02}:00" for hour in range(12))
    before_clock_change = datetime.fromisoformat("2026-10-23T12:00:00+00:00")
    text = f"{{businessHours: {{timeZone: Europe/Berlin, hours: [{hours}], nodes: '1'}}}}"

    assert len(asked(text, now=before_clock_change).budgets) <= 50


# What is written


def test_a_new_node_pool_needs_no_write():
    chosen = policy()
    found = state(chosen)

    assert actions(found, wanted(chosen, found, (), False, NOW), NOW) == ()


def test_the_same_in_another_spelling_needs_no_write():
    chosen = policy(f"{{after: 1h, businessHours: {BERLIN}}}")
    found = state(chosen)
    aim = wanted(chosen, found, (), False, NOW)
    spelled = [
        {**budget, "reasons": budget["reasons"][::-1]}
        | ({"duration": "10h0m0s"} if "duration" in budget else {})
        for budget in aim.budgets
    ]
    disruption = {"consolidateAfter": "60m", "consolidationPolicy": aim.policy, "budgets": spelled}
    live = {**found.node_pool, "spec": {**found.node_pool["spec"], "disruption": disruption}}

    assert actions(state(chosen, live), aim, NOW) == ()


def test_the_write_is_refused_where_a_person_has_edited_it_since():
    chosen = policy("{after: learned}")
    found = state(chosen)
    (patch,) = actions(found, wanted(chosen, found, minutes(5, 5, 5), False, NOW), NOW)

    assert patch.operations[0] == {
        "op": "test",
        "path": "/spec/disruption",
        "value": found.node_pool["spec"]["disruption"],
    }
    assert patch.operations[1]["value"]["consolidateAfter"] == "5m"


def test_fields_of_disruption_that_we_do_not_know_stay():
    chosen = policy("{after: 5m}")
    live = layout.node_pool(policy(), chosen.pools[0], chosen.pools[0].models()[0], 4)
    live["spec"]["disruption"]["someday"] = "x"
    found = state(chosen, live)

    (patch,) = actions(found, wanted(chosen, found, (), False, NOW), NOW)

    assert patch.operations[1]["value"]["someday"] == "x"


def test_nothing_is_written_while_a_change_of_n_holds_consolidation():
    chosen = policy("{after: learned}")
    live = layout.node_pool(chosen, chosen.pools[0], chosen.pools[0].models()[0], 4)
    live["metadata"]["annotations"][ROLLOUT_ANNOTATION] = (
        '{"from":4,"to":8,"since":"2026-11-24T11:00:00Z","reason":"a test"}'
    )
    found = state(chosen, live)

    assert actions(found, wanted(chosen, found, minutes(5, 5, 5), False, NOW), NOW) == ()


# Learning


def test_what_was_learned_survives_the_nodes():
    chosen = policy("{after: learned}")
    live = layout.node_pool(chosen, chosen.pools[0], chosen.pools[0].models()[0], 4)
    live["metadata"]["annotations"][STARTUP_ANNOTATION] = dumped({"a": 240, "b": 240, "c": 240})

    found = advise(chosen, state(chosen, live), (), False, NOW)

    assert found.wanted.after == "4m"
    assert found.wanted.why == "95 of 100 nodes had their first pod ready within 4m (3 starts)"


def test_nodes_that_start_slowly_are_reported_with_what_their_pods_should_say():
    chosen = policy()
    live = layout.node_pool(chosen, chosen.pools[0], chosen.pools[0].models()[0], 4)
    live["metadata"]["annotations"][STARTUP_ANNOTATION] = dumped({"a": 840, "b": 840, "c": 870})

    (finding,) = advise(chosen, state(chosen, live), (), False, NOW).findings

    assert finding.code == "starts-slowly"
    assert 'karpenter.sh/do-not-disrupt: "15m"' in finding.remedy
    assert not finding.blocking


def test_a_reconcile_of_nodes_that_just_started_remembers_them_and_a_second_reconcile_writes_nothing():
    chosen = policy("{after: learned}")
    claims, pods = [], []
    for i in range(3):
        born = NOW - timedelta(minutes=30)
        claim = builders.node_claim(POOL, name=f"claim-{i}")
        claim["metadata"]["creationTimestamp"] = born.isoformat()
        claim["status"] = {
            "nodeName": f"node-{i}",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": (born + after).isoformat()}
                for kind, after in (("Registered", minutes(1)[0]), ("Initialized", minutes(2)[0]))
            ],
        }
        pod = builders.pod(f"pod-{i}", pool="shared", node=f"node-{i}")
        pod["metadata"]["creationTimestamp"] = born.isoformat()
        ready = (born + minutes(6)[0]).isoformat()
        pod["status"] = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]}
        claims.append(claim)
        pods.append(pod)
    before = state(chosen, claims=claims)

    remember, set_ = advise(chosen, before, pods, False, NOW).actions

    assert str(remember) == f"remember how long 3 nodes of {POOL} took to start"
    assert str(set_) == f"let idle nodes of {POOL} go after 6m instead of 10m"
    after = patched(before.node_pool, set_)
    after["metadata"]["annotations"][STARTUP_ANNOTATION] = remember.operations[-1]["value"]
    assert advise(chosen, state(chosen, after, claims), pods, False, NOW).actions == ()
