"""A policy is read strictly into values; what it leaves out has a default."""

from datetime import timedelta
from pathlib import Path

import pytest
from slicewise.errors import InvalidPolicy
from slicewise.policy.model import (
    BusinessHours,
    Classes,
    ConsolidationPolicy,
    Drift,
    Metrics,
    MetricsSource,
    Mode,
    Replicas,
    Sharing,
    fingerprint,
    parse,
)
from slicewise.pools import layout

from tests.support import builders

POLICIES = Path(__file__).parents[3] / "policies"


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_policies_that_we_ship_are_valid(path):
    assert parse(path.read_text(), path.stem).name == path.stem


def test_what_a_policy_leaves_out_has_a_default():
    policy = parse("pools: {shared: {sharing: time-slicing, gpus: [l4], maxGpus: 4}}", "short")
    (shared,) = policy.pools

    assert policy.mode is Mode.ACT
    assert shared.replicas == Replicas(start=4, max=8)
    assert shared.capacity_types == ("on-demand",)
    assert [shared.counts(gpu) for gpu in shared.models()] == [(1, 4, 8)]
    assert policy.consolidation.policy is ConsolidationPolicy.WHEN_EMPTY_OR_UNDERUTILIZED
    assert policy.node_class.create
    assert not policy.install_karpenter
    assert not policy.adopt_gpu_operator


def test_what_tuning_needs_is_read_into_values():
    policy = builders.policy(
        "{a: {sharing: time-slicing, gpus: [l4], maxGpus: 1, slowdownBudget: none, timeSlice: long}}",
        "consolidation: {after: learned, businessHours: {timeZone: Asia/Tokyo, hours: [Sun 08:00-18:00]}}",
        "metrics: {source: prometheus, endpoint: 'https://prometheus.example/'}",
        "tuning: {raiseAfter: 1h30m, dwell: 2h, lock: 7200s}",
        "drift: report",
    )

    (pool,) = policy.pools
    assert (pool.slowdown_budget, pool.time_slice) == (None, "long")
    assert policy.consolidation.first_after == "10m"
    assert policy.consolidation.business_hours == BusinessHours("Asia/Tokyo", ("Sun 08:00-18:00",))
    assert policy.metrics == Metrics(MetricsSource.PROMETHEUS, "https://prometheus.example")
    assert (policy.tuning.raise_after, policy.tuning.lock) == (timedelta(minutes=90), timedelta(hours=2))
    assert policy.drift is Drift.REPORT


def test_a_start_above_the_default_maximum_raises_the_maximum():
    assert builders.policy("{a: {sharing: mps, gpus: [l4], maxGpus: 1, replicas: {start: 12}}}").pools[
        0
    ].replicas == Replicas(12, 12)


def test_naming_another_node_class_means_that_it_is_not_ours():
    policy = builders.policy(
        builders.DEFAULT_POOLS, "nodeClass: {group: karpenter.kwok.sh, kind: KWOKNodeClass, name: default}"
    )

    assert not policy.node_class.create


def test_a_pool_that_is_split_has_classes_in_place_of_replicas():
    policy = builders.policy(
        "{a: {sharing: mps, gpus: [l4], maxGpus: 1, classes: [3, 1]},"
        " b: {sharing: time-slicing, gpus: [l4], maxGpus: 1, classes: [1, 2], movesADay: 0}}"
    )

    assert [(pool.classes, pool.replicas) for pool in policy.pools] == [
        (Classes((1, 3), 15), None),
        (Classes((1, 2), 0), None),
    ]
    assert [(part.name, part.size, part.start) for part in policy.parts] == [
        ("a", 1, 1), ("a", 3, 3), ("b", 1, 1), ("b", 2, 2),
    ]  # fmt: skip


def test_mig_needs_no_replicas():
    (slices,) = builders.policy("{s: {sharing: mig, gpus: [h100], profile: 1g.10gb, maxGpus: 8}}").pools

    assert (slices.sharing, slices.profile, slices.replicas) == (Sharing.MIG, "1g.10gb", None)


def test_the_fingerprint_is_of_the_meaning_not_of_the_text():
    short = parse(
        "pools: {b: {sharing: mps, gpus: [l4], maxGpus: 1}, a: {sharing: none, gpus: [t4], maxGpus: 1}}", "x"
    )
    long = parse(
        """
        # a comment
        mode: act
        pools:
          a: {gpus: [t4], sharing: none, maxGpus: 1, capacityTypes: [on-demand]}
          b: {sharing: mps, replicas: {max: 8, start: 4}, gpus: [l4], maxGpus: 1}
        karpenter: {install: false}
        """,
        "y",
    )

    assert fingerprint(short) == fingerprint(long)


@pytest.mark.parametrize(
    "change", ["mode: observe", "consolidation: {after: 5m}", "karpenter: {install: true}"]
)
def test_the_fingerprint_changes_with_the_meaning(change):
    assert fingerprint(builders.policy()) != fingerprint(builders.policy(builders.DEFAULT_POOLS, change))


# Adopting


ADOPTING = "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 4, adopt: gpu}}"


def test_beside_adopt_max_gpus_may_be_left_out_since_the_nodepool_has_a_limit_of_its_own():
    (pool,) = builders.policy(ADOPTING.replace("maxGpus: 4, ", "")).pools

    assert pool.max_gpus is None
    with pytest.raises(InvalidPolicy, match="maxGpus"):
        builders.policy("{shared: {sharing: time-slicing, gpus: [l4]}}")


def test_what_was_written_of_consolidation_is_known_only_where_something_is_adopted():
    written = "consolidation: {policy: WhenEmpty, after: 10m}"

    assert builders.policy(ADOPTING, written).consolidation.written == ("after", "policy")
    assert builders.policy(ADOPTING).consolidation.written == ()
    assert builders.policy(builders.DEFAULT_POOLS, written).consolidation.written == ()


def test_an_adopted_pool_begins_at_one_pod_a_gpu_and_may_grow_as_any_other():
    (pool,) = builders.policy(ADOPTING).pools

    assert (pool.adopt, pool.start, pool.replicas.max) == ("gpu", 1, 8)
    (least,) = builders.policy(ADOPTING.replace("adopt: gpu", "adopt: gpu, replicas: {max: 2}")).pools
    assert least.replicas.max == 2
    assert layout.node_pool_name(pool, pool.models()[0]) == "gpu"
    assert layout.overlay_name(pool, pool.models()[0], 4) == "slicewise-shared-l4-4", "overlays are ours"


@pytest.mark.parametrize(
    ("wrong", "path", "remedy"),
    [
        (("adopt: gpu", "adopt: [gpu]"), "pools.shared.adopt", "write the name of the NodePool"),
        (("adopt: gpu", "adopt: slicewise-x"), "pools.shared.adopt", "made by us"),
        (("time-slicing", "mps"), "pools.shared.adopt", "write `sharing: time-slicing`"),
        (("time-slicing", "none"), "pools.shared.adopt", "write `sharing: time-slicing`"),
        (("[l4]", "[l4, a10g]"), "pools.shared.adopt", "name one model in gpus"),
        (("adopt: gpu", "adopt: gpu, gpuCounts: [1]"), "pools.shared.gpuCounts", "remove it"),
        (("adopt: gpu", "adopt: gpu, capacityTypes: [spot]"), "pools.shared.capacityTypes", "remove it"),
        (("adopt: gpu", "adopt: gpu, replicas: {start: 2}"), "pools.shared.replicas.start", "remove it"),
    ],
    ids=["no name", "ours", "mps", "whole", "two models", "counts", "capacity", "start"],
)
def test_what_cannot_be_with_adopt_is_reported_with_its_remedy(wrong, path, remedy):
    with pytest.raises(InvalidPolicy) as refused:
        builders.policy(ADOPTING.replace(*wrong))

    assert [problem.path for problem in refused.value.problems] == [path]
    assert remedy in refused.value.problems[0].remedy


def test_two_pools_cannot_adopt_one_nodepool():
    two = ADOPTING[:-1] + ", other: {sharing: time-slicing, gpus: [l4], maxGpus: 4, adopt: gpu}}"

    with pytest.raises(InvalidPolicy) as refused:
        builders.policy(two)

    assert {problem.path for problem in refused.value.problems} == {
        "pools.other.adopt",
        "pools.shared.adopt",
    }


ON_POOLS = f"pools: {builders.DEFAULT_POOLS}\n"


@pytest.mark.parametrize(
    ("text", "is_on_fargate"),
    [
        ("", False),
        ("karpenter: {install: true}", False),
        ("karpenter: {install: true, on: nodes}", False),
        ("karpenter: {install: true, on: fargate}", True),
        ("karpenter:\n  install: true\n  on: fargate", True),
        ('karpenter: {install: true, "on": fargate}', True),
    ],
)
def test_where_karpenter_runs_is_read_though_yaml_1_1_takes_on_for_a_boolean(text, is_on_fargate):
    assert parse(ON_POOLS + text, "default").is_on_fargate == is_on_fargate


def test_karpenter_on_fargate_is_one_that_we_install():
    with pytest.raises(InvalidPolicy) as refused:
        parse(ON_POOLS + "karpenter: {on: fargate}", "default")

    [problem] = refused.value.problems
    assert (problem.path, problem.value) == ("karpenter.on", "fargate")
    assert "install: true" in problem.remedy


@pytest.mark.parametrize("image", ["al2023@latest", "al2023@v20261101"])
def test_the_image_of_our_nodes_is_the_newest_or_a_release(image):
    assert parse(ON_POOLS + f"nodeClass: {{image: {image}}}", "default").node_class.image == image


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ("image: al2023@v2026", "al2023@v20261101"),
        ("image: bottlerocket@latest", "al2023@latest"),
        ("name: gpu, create: false, image: al2023@latest", "write it into yours"),
    ],
)
def test_an_image_that_cannot_be_is_refused(fields, remedy):
    with pytest.raises(InvalidPolicy) as refused:
        parse(ON_POOLS + f"nodeClass: {{{fields}}}", "default")

    [problem] = refused.value.problems
    assert problem.path == "nodeClass.image" and remedy in problem.remedy
