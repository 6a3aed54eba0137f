"""Models that stand in where EC2 has none of a pool's own: what a policy may say of them."""

from __future__ import annotations

import pytest
from slicewise.errors import InvalidPolicy
from slicewise.pools import layout

from tests.support import builders

NIGHTS = "offHours: {timeZone: Europe/Berlin, asleep: [Sat-Sun]}"
SHARED = "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 8, fallbackGpus: [l40s]}}"
CUT = "{cut: {sharing: mig, gpus: [h100], profile: 1g.10gb, maxGpus: 8, fallbackGpus: [a100-80gb]}}"


def test_they_are_models_of_the_pool_that_are_used_last():
    (pool,) = builders.policy(SHARED, NIGHTS).pools

    assert [(gpu.name, pool.is_fallback(gpu)) for gpu in pool.models()] == [("l4", False), ("l40s", True)]
    assert [gpu.name for gpu in builders.policy(CUT, NIGHTS).pools[0].models()] == ["h100", "a100-80gb"]


@pytest.mark.parametrize(
    ("pools", "wrong", "path", "value", "remedy"),
    [
        (SHARED, ("[l40s]", "[l40]"), "fallbackGpus[0]", "l40", "did you mean l40s?"),
        (SHARED, ("[l40s]", "[4]"), "fallbackGpus[0]", 4, "EC2 has no such GPU"),
        (SHARED, ("[l40s]", "[a10g, l4]"), "fallbackGpus[1]", "l4", "in gpus already"),
        (SHARED, ("[l40s]", "[l40s, l40s]"), "fallbackGpus[1]", "l40s", "is there twice"),
        (SHARED, ("[l40s]", "l40s"), "fallbackGpus", "l40s", "write a list"),
        (SHARED, ("[l40s]", "[]"), "fallbackGpus", [], "write a list"),
        (SHARED, ("[l40s]", "[h200], gpuCounts: [1]"), "fallbackGpus[0]", "h200", "only in machines with 8"),
        (SHARED, ("maxGpus: 8, fallbackGpus: [l40s]", "maxGpus: 4, fallbackGpus: [h200]"), "maxGpus", 4, "8"),
        (SHARED, ("[l40s]", "[l40s], adopt: gpu"), "fallbackGpus", ["l40s"], "remove it"),
        (CUT, ("[a100-80gb]", "[l40s]"), "fallbackGpus[0]", "l40s", "has no MIG"),
        (CUT, ("[a100-80gb]", "[h200]"), "fallbackGpus[0]", "h200", "lacks profile 1g.10gb"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith(("fallback", "maxGpus")) else "",
)
def test_what_cannot_stand_in_is_reported_with_path_value_and_remedy(pools, wrong, path, value, remedy):
    with pytest.raises(InvalidPolicy) as refused:
        builders.policy(pools.replace(*wrong), NIGHTS)

    [problem] = refused.value.problems
    assert problem.path.endswith(f".{path}") and problem.value == value
    assert remedy in problem.remedy


@pytest.mark.parametrize("count", ["[1]", "{of: 1}"])
def test_counts_that_are_no_numbers_are_reported_beside_them_as_well(count: str):
    with pytest.raises(InvalidPolicy) as refused:
        builders.policy(SHARED.replace("[l40s]", f"[l40s], gpuCounts: [{count}]"), NIGHTS)

    assert "pools.shared.gpuCounts[0]" in {problem.path for problem in refused.value.problems}


def test_without_off_hours_nobody_would_ever_open_them():
    with pytest.raises(InvalidPolicy) as refused:
        builders.policy(SHARED)

    [problem] = refused.value.problems
    assert problem.path == "pools.shared.fallbackGpus" and "write offHours" in problem.remedy


def test_their_node_pool_has_no_nodes_and_comes_after_the_others():
    policy = builders.policy(SHARED, NIGHTS)
    (pool,) = policy.pools
    main, fallback = (layout.node_pool(policy, pool, gpu, 4) for gpu in pool.models())

    assert fallback["spec"]["limits"] == {"nvidia.com/gpu": "32", "nodes": "0"}
    assert main["spec"]["limits"] == {"nvidia.com/gpu": "32"}
    assert main["spec"]["weight"] > fallback["spec"].get("weight", 0)
    labels = fallback["spec"]["template"]["metadata"]["labels"]
    assert labels == main["spec"]["template"]["metadata"]["labels"], "the same pods may run there"
    assert {layout.overlay_name(pool, gpu, 1) for gpu in pool.models()} <= layout.overlay_weights(
        policy
    ).keys()


def test_a_pool_without_them_looks_as_it_always_did():
    policy = builders.policy()
    (pool,) = policy.pools

    item = layout.node_pool(policy, pool, pool.models()[0], 4)

    assert "weight" not in item["spec"] and "nodes" not in item["spec"]["limits"]
