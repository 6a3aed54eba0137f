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


def pools_of(nodes, pods, series=()):
    found = ClusterListing("c", "gpu-1", nodes=tuple(nodes), pods=tuple(pods))
    text = policy_file.text(assessed(found, series) if series else assess(found, NOW, BERLIN))
    return {pool.name: pool for pool in parse(text, "suggested").pools}


def quad(name, term="on-demand"):
    return node(name, "g6.12xlarge", {GPU: 4}, {"karpenter.sh/capacity-type": term})


def test_a_pool_has_the_terms_of_the_nodes_of_its_own_pods():
    """Serving on demand must not come to Spot because training of the same model runs there."""
    chat, series = alike(6, 6000)
    train = pod("train-0", "spot", ("Job", "train"), asks={GPU: 4})
    bought = pod("bought-0", "bought", ("Job", "bought"), asks={GPU: 4})

    pools = pools_of([*chat.nodes, quad("spot", "spot")], [*chat.pods, train], series)
    assert (pools["l4"].capacity_types, pools["l4-whole"].capacity_types) == (("on-demand",), ("spot",))

    pools = pools_of([quad("bought", "reserved"), quad("spot", "spot")], [bought, train])
    assert pools["l4-whole"].capacity_types == ("spot", "reserved")


def test_pods_that_must_not_share_keep_the_machines_that_they_have():
    """A DaemonSet on one GPU each, and a pod of two on a machine of four, which has another of them."""
    pods = [
        pod("d-0", "s", ("DaemonSet", "d")),
        pod("d-1", "q", ("DaemonSet", "d")),
        pod("t-0", "q", ("Job", "t"), asks={GPU: 2}),
    ]

    pools = pools_of([node("s"), quad("q")], pods)

    assert (pools["l4-whole"].max_gpus, pools["l4-whole"].gpu_counts) == (5, (1, 4))


def test_pods_with_several_slices_get_whole_machines_into_which_they_fit():
    """Two pods with three of four slices of a GPU: of whole GPUs each needs three of a machine."""
    sliced = [node(f"s-{i}", offers={GPU: 4}, labels={"nvidia.com/gpu.count": "1"}) for i in range(2)]
    pods = [pod(f"t-{i}", f"s-{i}", ("Job", "t"), asks={GPU: 3}) for i in range(2)]

    pools = pools_of(sliced, pods)

    assert (pools["l4-whole"].max_gpus, pools["l4-whole"].gpu_counts) == (8, (4,))


def test_a_pool_of_mig_has_a_gpu_for_as_many_instances_as_one_can_have():
    """Of 4g.20gb a GPU has one at most: 14 pods need 14 GPUs, and so two machines of eight."""
    cut = {"nvidia.com/mig-4g.20gb": 8, "nvidia.com/mig-3g.20gb": 8}
    nodes = [node(f"p-{i}", "p4d.24xlarge", cut) for i in range(2)]
    pods = [pod(f"b-{i}", f"p-{i // 7}", asks={"nvidia.com/mig-4g.20gb": 1}) for i in range(14)]

    pools = pools_of(nodes, pods)

    assert {name: pool.max_gpus for name, pool in pools.items()} == {"a100-40gb-4g-20gb": 16}


def test_a_pool_has_room_for_pods_that_wait_for_gpus_that_are_there():
    nodes, waiting = [node(f"n-{i}") for i in range(6)], [pod(f"w-{i}", "") for i in range(3)]

    pools = pools_of(nodes, [pod("a-0", "n-0"), pod("a-1", "n-1"), *waiting])

    assert pools["l4"].max_gpus == 2 + 3
