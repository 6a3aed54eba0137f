"""The policy that an assessment suggests is one that `slicewise policy check` takes."""

from __future__ import annotations

import random
from zoneinfo import ZoneInfo

import pytest
from slicewise.policy.model import Mode, Sharing, parse

from cli.assessment import policy_file
from cli.assessment.assessment import ClusterListing, assess, contents_of, groups_of
from cli.assessment.evidence import evidence
from tests.support.assessed_cluster import node, of_a_pod, pod, series_of_a_week, three_teams
from tests.support.builders import NOW

GPU = "nvidia.com/gpu"
BERLIN = ZoneInfo("Europe/Berlin")


def assessed(found: ClusterListing, series=(), endpoint: str = ""):
    known = evidence(series, "prometheus", contents_of(found), groups_of(found), NOW, endpoint)
    return assess(found, NOW, BERLIN, known)


def alike(count: int, memory_mib: float, busy: float = 0.05):
    nodes = tuple(node(f"n-{i}") for i in range(count))
    pods = tuple(pod(f"a-{i}", f"n-{i}") for i in range(count))
    series = [one for i in range(count) for one in of_a_pod(f"a-{i}", f"n-{i}", busy, memory_mib)]
    return ClusterListing("c", "gpu-1", nodes=nodes, pods=pods), series


def test_three_teams_get_a_pool_each_that_fits_them():
    text = policy_file.text(assessed(three_teams(), series_of_a_week(), "http://prometheus.monitoring:9090"))
    policy = parse(text, "suggested")
    pools = {pool.name: pool for pool in policy.pools}

    assert policy.mode is Mode.RECOMMEND
    assert policy.metrics.endpoint == "http://prometheus.monitoring:9090"
    assert set(pools) == {"l4", "l4-whole", "a100-40gb-1g-5gb"}
    assert pools["l4"].classes.sizes == (1, 2, 3)
    assert (pools["l4"].max_gpus, pools["l4"].gpu_counts) == (7, (1,))
    assert (pools["l4-whole"].sharing, pools["l4-whole"].gpu_counts) == (Sharing.NONE, (4,))
    assert pools["a100-40gb-1g-5gb"].profile == "1g.5gb"


def test_every_pool_stands_below_its_evidence():
    lines = policy_file.text(assessed(three_teams(), series_of_a_week())).splitlines()

    for place, line in enumerate(lines):
        if line.startswith("  ") and not line.startswith("  #"):
            assert lines[place - 1].startswith("  # ")
    assert "6 pods at 3 a GPU" in " ".join(lines)
    assert "StatefulSet vllm/vllm (1)" in " ".join(lines)


def test_pods_that_are_alike_get_one_n():
    found, series = alike(12, 6000)

    (pool,) = parse(policy_file.text(assessed(found, series)), "suggested").pools

    assert (pool.replicas.start, pool.replicas.max, pool.max_gpus) == (3, 8, 12)


def test_pods_that_fill_their_gpus_keep_them():
    found, series = alike(4, 18_000)

    (pool,) = parse(policy_file.text(assessed(found, series)), "suggested").pools

    assert (pool.name, pool.sharing, pool.max_gpus) == ("l4-whole", Sharing.NONE, 4)


def test_pods_that_share_too_much_get_the_gpus_that_they_need():
    """Three of about 7,000 MiB on a card that offers four slices: two of them leave a tenth of it free."""
    sliced = node("n-0", offers={GPU: 4}, labels={"nvidia.com/gpu.count": "1"})
    pods = tuple(pod(f"a-{i}", "n-0") for i in range(3))
    series = [one for i in range(3) for one in of_a_pod(f"a-{i}", "n-0", 0.05, 7000 - 100 * i)]

    found = ClusterListing("c", "gpu-1", nodes=(sliced,), pods=pods)
    (pool,) = parse(policy_file.text(assessed(found, series)), "suggested").pools

    assert (pool.replicas.start, pool.max_gpus) == (2, 2)


def test_pods_under_mps_keep_mps():
    labels = {"nvidia.com/gpu.count": "1", "nvidia.com/gpu.sharing-strategy": "mps"}
    found = ClusterListing(
        "c", "c", nodes=(node("n", offers={GPU: 4}, labels=labels),), pods=(pod("a-0", "n"),)
    )

    (pool,) = parse(policy_file.text(assessed(found)), "suggested").pools

    assert (pool.name, pool.sharing, pool.replicas.start, pool.max_gpus) == ("l4-mps", Sharing.MPS, 4, 1)


def test_without_metrics_it_only_recommends_and_says_why():
    text = policy_file.text(assess(three_teams(), NOW, BERLIN))

    assert parse(text, "suggested").mode is Mode.RECOMMEND
    assert "Not everything was measured" in text
    assert "\nmetrics:" not in text


def test_unused_hours_are_written_as_a_proposal_that_is_a_policy_too():
    text = policy_file.text(assessed(three_teams(), series_of_a_week()))

    assert parse(text, "suggested").off_hours is None
    off = parse(text.replace("# offHours:", "offHours:"), "suggested").off_hours
    assert off.asleep == ("Sat-Sun", "Mon-Fri 21:00-07:00")


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_there_the_policy_is_one_or_has_no_pools(seed):
    chance = random.Random(seed)
    machines = [
        ("g6.xlarge", 1),
        ("g6.12xlarge", 4),
        ("p4d.24xlarge", 8),
        ("p5.48xlarge", 8),
        ("g5g.metal", 2),
    ]
    nodes, pods = [], []
    for i in range(chance.randint(1, 8)):
        machine, gpus = chance.choice(machines)
        slices = chance.choice([1, 1, 4])
        strategy = {"nvidia.com/gpu.sharing-strategy": chance.choice(["none", "mps"])}
        spot = {"karpenter.sh/capacity-type": chance.choice(["spot", "on-demand"])}
        count = {"nvidia.com/gpu.count": str(gpus)}
        nodes.append(node(f"n-{i}", machine, {GPU: gpus * slices}, {**spot, **count, **strategy}))
        for k in range(chance.randint(0, gpus * slices)):
            asks = {GPU: chance.choice([1, 1, 1, 2])}
            pods.append(
                pod(f"p{i}-{k}", f"n-{i}", chance.choice([("Job", "j"), ("DaemonSet", "d")]), asks=asks)
            )
    text = policy_file.text(
        assess(ClusterListing("c", "c", nodes=tuple(nodes), pods=tuple(pods)), NOW, BERLIN)
    )

    if "\npools:" in text:
        assert parse(text, "suggested").pools
    else:
        assert not pods
