"""What the evidence about one NodePool comes to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.planning.outcome import Finding
from slicewise.pools import layout
from slicewise.tuning import explain
from slicewise.tuning.rule.decision import Decision, decide, details, host, nodes_needed
from slicewise.tuning.rule.promises import PromiseViolation
from slicewise.tuning.rule.stabilization import Breach
from slicewise.tuning.state.pool_state import PoolState, Tuning, pool_states
from slicewise.tuning.usage.evidence import Grade, PodUse, day_of, measure
from slicewise.tuning.usage.pool_usage import PoolUse

from tests.support import builders
from tests.support.builders import NOW

L4 = 22888.0
DAY = day_of([0.05] * 144)
LONG = Tuning(above_since=NOW - timedelta(days=2), below_since=NOW - timedelta(hours=3))
QUIET = Finding("pods-not-told-apart", "", "")


def used(count: int = 16, memory_mib: float = 1000.0, days: int = 7, grade: Grade = Grade.POD) -> tuple:
    return tuple(PodUse(f"pod-{i}", memory_mib, (DAY,) * days, grade=grade) for i in range(count))


def unknown(count: int = 1) -> tuple:
    return tuple(PodUse(f"new-{i}", math.nan, grade=Grade.NONE) for i in range(count))


def use(pods: Iterable[PodUse] = used(), grade: Grade = Grade.POD, **more) -> PoolUse:
    return PoolUse(tuple(pods), grade, **more)


def state(n: int = 4, nodes: int = 5, pods_on_each: int = 4, policy=None, **changes) -> PoolState:
    policy = policy or builders.policy()
    pool = policy.pools[0]
    (gpu,) = pool.models()
    names = [f"node-{i}" for i in range(nodes)]
    contents = builders.contents(
        node_pools=(layout.node_pool(policy, pool, gpu, n),),
        nodes=tuple(
            builders.node(f"ts-{n}", name=name, allocatable={"nvidia.com/gpu": str(n), "cpu": "4"})
            for name in names
        ),
        pods=tuple(
            builders.pod(f"{name}-{i}", pool="shared", node=name)
            for name in names
            for i in range(pods_on_each)
        ),
    )
    (found,) = pool_states(contents, policy)
    return replace(found, **{"history": LONG, **changes})


def decided(found: PoolState, seen: PoolUse, *broken: PromiseViolation, policy=None, **more) -> Decision:
    return decide(found, seen, broken, builders.contents(), policy or builders.policy(), NOW, **more)


def test_small_quiet_pods_let_n_rise_by_one_where_a_node_would_be_freed():
    decision = decided(state(), use())

    assert (decision.target, decision.step.after) == (8, 5)
    assert decision.message == "slicewise-shared-l4: N 4→5: target 8 stable for 24 h"


def test_n_does_not_rise_where_nothing_waits_and_no_node_could_go():
    assert "would not help" in decided(state(nodes=4), use()).message
    assert decided(state(nodes=4, pending=1), use()).step.after == 5


@pytest.mark.parametrize(
    ("seen", "because"),
    [
        pytest.param(use(()), "no pod has a full day of measurements", id="nothing measured"),
        pytest.param(
            use((*used(), *unknown())), "1 of 17 pods have no full day of measurements", id="a new pod"
        ),
        pytest.param(
            use(problems=(Finding("nodes-unmeasured", "n-1: no GPU metrics.", ""),)),
            "the evidence is incomplete, which never raises N: n-1: no GPU metrics.",
            id="a node without metrics",
        ),
        pytest.param(
            use(used(grade=Grade.DEVICE), Grade.DEVICE, device_peaks={"n-1/0": 0.3 * L4}),
            "what 16 of 16 pods need alone is not known until each workload has had a GPU to itself",
            id="only whole GPUs, though they are rather empty",
        ),
    ],
)
def test_thin_evidence_keeps_n_and_says_so(seen, because):
    decision = decided(state(), seen)

    assert decision.step.after == 4
    assert because in decision.message


def test_a_finding_that_leaves_what_was_measured_as_good_as_it_is_lets_n_rise():
    fewer, gap = Finding("metrics-fewer-days", "", ""), Finding("metrics-gap", "", "")

    assert decided(state(), use(problems=(QUIET, fewer, gap))).step.after == 5


# Two readings


def gappy(count: int = 16, busy: float = 0.05, gap: int = 12) -> tuple[PodUse, ...]:
    """Pods of a week, of which the same steps of the last day were not measured."""
    week = [busy] * (144 * 7 - 72 - gap) + [math.nan] * gap + [busy] * 72
    return tuple(measure(f"pod-{i}", week, [1000.0]) for i in range(count))


@pytest.mark.parametrize("steps", [1, 3, 6, 144])
def test_a_gap_neither_lowers_n_nor_raises_it(steps):
    """Ten minutes of it once took N from 8 to 6, and an hour to 3."""
    decision = decided(state(n=8, pods_on_each=8), use(gappy(gap=steps)))

    assert decision.step.after == 8
    assert decision.allowed and decision.allowed.upper == 8
    assert not decided(state(n=2, pods_on_each=2), use(gappy(gap=144))).changes


def test_what_lies_between_both_readings_leaves_n_and_says_so():
    decision = decided(state(n=6, pods_on_each=6), use(gappy(gap=36)))

    assert decision.allowed and decision.allowed.lower < 6 < decision.allowed.upper
    assert "what was measured allows 8, and with what was not measured pods may need" in decision.message
    reported = explain.lines(details(decision, NOW))
    assert any("must fall to 8 by what they use for certain" in line for line in reported)


@pytest.mark.parametrize(
    ("n", "share", "mib"), [(2, "0.45", "10,299"), (4, "0.22", "5,035"), (8, "0.11", "2,517")]
)
def test_it_names_what_a_server_that_reserves_memory_may_reserve(n, share, mib):
    """Rounded down: 4 · 0.23 of a card would leave less than the headroom."""
    decision = decided(state(n=n, pods_on_each=n), use(gappy(gap=0)))
    fields = {**details(decision, NOW), "after": n}

    reported = [line.strip() for line in explain.lines(fields)]

    line = f"For vLLM on one of {n} slices: --gpu-memory-utilization {share}, {mib} of 22,888 MiB"
    assert line in reported
    assert line not in [one.strip() for one in explain.lines({**fields, "sharing": "mps"})]


def test_pods_that_are_too_busy_lower_n_though_they_have_gaps():
    decision = decided(state(n=8, pods_on_each=8), use(gappy(busy=0.3)))

    assert decision.step.after < 8 and "pods may need" not in decision.message


def test_the_policy_may_want_more_history():
    policy = builders.policy(builders.DEFAULT_POOLS, "tuning: {minimumHistory: 72h}")

    assert (
        "2 days are measured, fewer than the policy's 3"
        in decided(state(), use(used(days=2)), policy=policy).message
    )
    assert decided(state(), use(used(days=3)), policy=policy).step.after == 5


def test_pods_without_history_do_not_hide_that_the_others_need_more_room():
    decision = decided(state(), use((*used(memory_mib=0.4 * L4), *unknown(9))))

    assert (decision.target, decision.step.after) == (2, 2)


def test_a_broken_promise_lowers_n_at_once_also_without_evidence():
    fresh = state(history=Tuning(changed_at=NOW - timedelta(minutes=1)))

    decision = decided(fresh, use(()), PromiseViolation(Breach.OUT_OF_MEMORY, "pod a was killed", "node-1"))

    assert decision.step.after == 3
    assert details(decision, NOW)["broken"] == ["pod a was killed"]


def test_n_above_the_policys_maximum_comes_down_to_it():
    policy = builders.policy(
        "{shared: {sharing: time-slicing, gpus: [l4], replicas: {start: 2, max: 3}, maxGpus: 16}}"
    )

    decision = decided(state(policy=policy), use(), policy=policy)

    assert (decision.target, decision.step.after) == (3, 3)


def test_frozen_means_frozen_and_remembers_nothing_new():
    found = state(history=Tuning())

    decision = decided(found, use(), frozen="metrics cannot be read")

    assert decision.message == "slicewise-shared-l4: N stays 4: frozen: metrics cannot be read"
    assert decision.history == found.history


def test_a_target_is_remembered_from_the_first_reconcile_that_saw_it():
    first = decided(state(history=Tuning()), use())
    later = decide(
        state(history=first.history),
        use(),
        (),
        builders.contents(),
        builders.policy(),
        NOW + timedelta(hours=1),
    )

    assert first.history == Tuning(above_since=NOW, above_target=8)
    assert later.history == first.history


def test_the_host_bounds_n_by_its_scarcest_resource():
    found = state(nodes=1, pods_on_each=2)
    asking = [builders.pod(f"p{i}", pool="shared", node="node-0") for i in range(2)]
    for pod in asking:
        pod["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "1500m"}

    bound = host(found, builders.contents(pods=tuple(asking)))

    assert (bound.vcpu, bound.pod_vcpu) == (4.0, 1.5)


@pytest.mark.parametrize(("n", "nodes"), [(4, 5), (5, 4), (8, 3), (20, 1)])
def test_nodes_needed_are_counted_by_slices_in_use(n, nodes):
    assert nodes_needed(state(), n) == nodes


def test_what_is_kept_of_a_decision_is_json():
    reported = details(decided(state(), use()), NOW)

    assert json.loads(json.dumps(reported, allow_nan=False)) == reported
    assert [bound["what"] for bound in reported["bounds"]] == ["memory", "compute", "host"]


def tried_by(n: int, since: timedelta) -> PoolState:
    """Pods at N = 5 that nobody tried, `n` of them running on one GPU for that long."""
    found = state(n=5, nodes=1, pods_on_each=n, policy=builders.policy())
    (node,) = found.nodes
    history = replace(LONG, changed_at=NOW - timedelta(hours=8), untried=4)
    return replace(found, nodes=(replace(node, held_since=(NOW - since,) * n),), history=history)


@pytest.mark.parametrize(
    ("n", "since", "untried"),
    [
        (5, timedelta(minutes=31), None),
        (5, timedelta(minutes=29), 4),
        (4, timedelta(hours=7), 4),
    ],
)
def test_what_no_canary_tried_is_tried_once_a_gpu_held_more_for_as_long_as_a_canary(n, since, untried):
    found = decide(tried_by(n, since), use(used(n)), (), builders.contents(), builders.policy(), NOW)

    assert found.history.untried == untried


def test_after_a_day_nobody_waits_for_it_any_more():
    found = tried_by(4, timedelta(0))
    found = replace(found, history=replace(found.history, changed_at=NOW - timedelta(hours=24)))

    decided = decide(found, use(used(4)), (), builders.contents(), builders.policy(), NOW)
    assert decided.history.untried is None


def test_where_n_may_not_leave_one_it_stays_and_says_why():
    found = state(n=1, nodes=5, pods_on_each=1)
    found = replace(found, history=LONG)

    free = decide(found, use(used(5)), (), builders.contents(), builders.policy(), NOW)
    assert free.step.after == 2
    held = decide(
        found, use(used(5)), (), builders.contents(), builders.policy(), NOW, alone="Job a/b asks for two"
    )
    assert (held.step.after, held.step.reason) == (1, "Job a/b asks for two")
