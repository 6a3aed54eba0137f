"""A policy is read strictly, and every problem comes with its place, its value and what to write instead."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from slicewise import layout
from slicewise.errors import InvalidPolicy
from slicewise.policy import (
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

from tests import builders

POLICIES = Path(__file__).parents[3] / "policies"


def problems(text: str) -> list[tuple[str, object, str]]:
    with pytest.raises(InvalidPolicy) as refused:
        parse(text, "test")
    return [(p.path, p.value, p.remedy) for p in refused.value.problems]


def pool(**fields) -> str:
    body = {"sharing": "time-slicing", "gpus": ["l4"], "maxGpus": 4} | fields
    return yaml.safe_dump({"pools": {"shared": {k: v for k, v in body.items() if v is not ...}}})


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
        "tuning: {raiseAfter: 1h30m, lock: 90s}",
        "drift: tell",
    )

    (pool,) = policy.pools
    assert (pool.slowdown_budget, pool.time_slice) == (None, "long")
    assert policy.consolidation.first_after == "10m"
    assert policy.consolidation.business_hours == BusinessHours("Asia/Tokyo", ("Sun 08:00-18:00",))
    assert policy.metrics == Metrics(MetricsSource.PROMETHEUS, "https://prometheus.example")
    assert (policy.tuning.raise_after, policy.tuning.lock) == (timedelta(minutes=90), timedelta(seconds=90))
    assert policy.drift is Drift.TELL


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


# One mistake each: the path, the value, and words that the remedy must hold.
ONE_MISTAKE = {
    "no pools": ("mode: act", "pools", None, "write at least one"),
    "pools empty": ("pools: {}", "pools", {}, "write at least one"),
    "pools a list": ("pools: [l4]", "pools", ["l4"], "pools by name"),
    "pool empty": ("pools: {a: }", "pools.a", None, "write fields"),
    "nothing at all": ("", "(policy)", None, "is empty"),
    "not a table": ("hello", "(policy)", "hello", "not a table"),
    "unknown field": (pool() + "color: red", "color", "red", "known here: mode, pools"),
    "misspelt field": (pool(replica=3), "pools.shared.replica", 3, "did you mean replicas?"),
    "unknown mode": (pool() + "mode: on", "mode", True, "act or recommend or observe"),
    "no sharing": (pool(sharing=...), "pools.shared.sharing", None, "this is missing"),
    "unknown sharing": (pool(sharing="vgpu"), "pools.shared.sharing", "vgpu", "none or time-slicing or mps"),
    "no gpus": (pool(gpus=...), "pools.shared.gpus", None, "EC2 sells"),
    "gpus not a list": (pool(gpus="l4"), "pools.shared.gpus", "l4", "such as [l4]"),
    "gpu that EC2 lacks": (pool(gpus=["l4", "h800"]), "pools.shared.gpus[1]", "h800", "EC2 sells"),
    "gpu with two kinds": (pool(gpus=["a100"]), "pools.shared.gpus[0]", "a100", "a100-40gb (p4d) or"),
    "gpu twice": (pool(gpus=["l4", "l4"]), "pools.shared.gpus[1]", "l4", "stands twice"),
    "no maxGpus": (pool(maxGpus=...), "pools.shared.maxGpus", None, "bounds the bill"),
    "maxGpus zero": (pool(maxGpus=0), "pools.shared.maxGpus", 0, "from 1 to"),
    "maxGpus text": (pool(maxGpus="8"), "pools.shared.maxGpus", "8", "whole number"),
    "maxGpus true": (pool(maxGpus=True), "pools.shared.maxGpus", True, "whole number"),
    "replicas 1": (pool(replicas={"start": 1}), "pools.shared.replicas.start", 1, "sharing: none"),
    "replicas 49": (pool(replicas={"max": 49}), "pools.shared.replicas.max", 49, "from 2 to 16"),
    "replicas a number": (pool(replicas=4), "pools.shared.replicas", 4, "{start: 4, max: 8}"),
    "start above max": (
        pool(replicas={"start": 6, "max": 4}),
        "pools.shared.replicas.start",
        6,
        "above max (4)",
    ),
    "replicas of whole": (pool(sharing="none", replicas={}), "pools.shared.replicas", {}, "remove it"),
    "profile of whole": (
        pool(sharing="none", profile="1g.5gb"),
        "pools.shared.profile",
        "1g.5gb",
        "sharing: mig",
    ),
    "replicas of mig": (
        pool(sharing="mig", gpus=["h100"], profile="1g.10gb", replicas={"start": 2}),
        "pools.shared.replicas",
        {"start": 2},
        "the MIG profile says",
    ),
    "mig without profile": (
        pool(sharing="mig", gpus=["h100"]),
        "pools.shared.profile",
        None,
        "1g.10gb or 1g.20gb or 2g.20gb or 3g.40gb or 4g.40gb or 7g.80gb",
    ),
    "a list of profiles": (
        pool(sharing="mig", gpus=["h100"], profile=["1g.10gb"]),
        "pools.shared.profile",
        ["1g.10gb"],
        "h100 lacks this profile",
    ),
    "a limit below the smallest machine": (
        pool(gpus=["l4", "h200"]),
        "pools.shared.maxGpus",
        4,
        "the smallest machine with h200 here has 8 GPUs, so none would ever start",
    ),
    "a limit below the counts allowed": (
        pool(gpuCounts=[8]),
        "pools.shared.maxGpus",
        4,
        "write 8 or more, or remove l4",
    ),
    "profile of another card": (
        pool(sharing="mig", gpus=["a100-80gb"], profile="1g.5gb", maxGpus=8),
        "pools.shared.profile",
        "1g.5gb",
        "a100-80gb lacks this profile",
    ),
    "mig on a card without": (
        pool(sharing="mig", gpus=["l4"], profile="1g.5gb"),
        "pools.shared.profile",
        "1g.5gb",
        "l4 has no MIG",
    ),
    "capacity type unknown": (
        pool(capacityTypes=["on-demand", "cheap"]),
        "pools.shared.capacityTypes[1]",
        "cheap",
        "on-demand, spot",
    ),
    "count unknown": (pool(gpuCounts=[1, 3]), "pools.shared.gpuCounts[1]", 3, "1, 2, 4 or 8"),
    "count not sold": (pool(gpus=["h200"], gpuCounts=[1]), "pools.shared.gpuCounts", [1], "h200 only in"),
    "name of a pool": (pool().replace("shared", "My_Pool"), "pools.My_Pool", "My_Pool", "a-z, 0-9 and -"),
    "period in a pool": (pool(period="10ms"), "pools.shared.period", "10ms", "no such setting"),
    "period at the top": (
        pool() + "timeSlicing: {period: 1}",
        "timeSlicing",
        {"period": 1},
        "does not exist",
    ),
    "period in replicas": (
        pool(replicas={"start": 4, "period": 1}),
        "pools.shared.replicas.period",
        1,
        "no such setting",
    ),
    "off-hours without hours": (
        pool() + "offHours: {timeZone: Europe/Berlin}",
        "offHours.asleep",
        None,
        "Sat-Sun",
    ),
    "off-hours in no zone": (
        pool() + "offHours: {timeZone: Europe/Berln, asleep: [Sat-Sun]}",
        "offHours.timeZone",
        "Europe/Berln",
        "did you mean Europe/Berlin",
    ),
    "off-hours nobody can read": (
        pool() + "offHours: {timeZone: UTC, asleep: [weekends]}",
        "offHours.asleep[0]",
        "weekends",
        "write weekly hours",
    ),
    "an exception that does not exist": (
        pool() + 'offHours: {timeZone: UTC, asleep: [Sat-Sun], awake: ["2026-02-30"]}',
        "offHours.awake[0]",
        "2026-02-30",
        "no such date",
    ),
    "a namespace of Kubernetes": (
        pool() + "offHours: {timeZone: UTC, asleep: [Sat-Sun], namespaces: [kube-system]}",
        "offHours.namespaces[0]",
        "kube-system",
        "a namespace of yours",
    ),
    "classes with replicas": (
        pool(classes=[1, 2], replicas={"start": 2}),
        "pools.shared.replicas",
        {"start": 2},
        "each class has its own number",
    ),
    "classes of whole": (
        pool(sharing="none", classes=[1, 2]),
        "pools.shared.classes",
        [1, 2],
        "or write `sharing: time-slicing` or mps",
    ),
    "classes of mig": (
        pool(sharing="mig", gpus=["h100"], profile="1g.10gb", maxGpus=8, classes=[1, 2]),
        "pools.shared.classes",
        [1, 2],
        "divide a GPU by a number",
    ),
    "classes of a NodePool that is there": (
        pool(classes=[1, 2], adopt="gpu"),
        "pools.shared.adopt",
        "gpu",
        "without replacing them",
    ),
    "classes without 1": (pool(classes=[2, 3]), "pools.shared.classes", [2, 3], "add 1"),
    "one class": (pool(classes=[1]), "pools.shared.classes", [1], "sharing: none"),
    "classes a number": (pool(classes=3), "pools.shared.classes", 3, "such as [1, 2, 3]"),
    "a class too many": (pool(classes=[1, 17]), "pools.shared.classes[1]", 17, "from 1 to 16"),
    "a class by name": (pool(classes=[1, "small"]), "pools.shared.classes[1]", "small", "whole number"),
    "a class twice": (pool(classes=[1, 2, 2]), "pools.shared.classes[2]", 2, "stands twice"),
    "moves without classes": (pool(movesADay=3), "pools.shared.movesADay", 3, "classes: [1, 2, 3]"),
    "moves below none": (pool(classes=[1, 2], movesADay=-1), "pools.shared.movesADay", -1, "from 0 to"),
    "source of metrics": (
        pool() + "metrics: {source: datadog}",
        "metrics.source",
        "datadog",
        "prometheus or",
    ),
    "prometheus nowhere": (
        pool() + "metrics: {source: prometheus}",
        "metrics.endpoint",
        None,
        "write the URL of a Prometheus-compatible server",
    ),
    "a password in the endpoint": (
        pool() + "metrics: {source: prometheus, endpoint: 'http://me:secret@prometheus:9090'}",
        "metrics.endpoint",
        "http://me:secret@prometheus:9090",
        "without user",
    ),
    "an endpoint for CloudWatch": (
        pool() + "metrics: {endpoint: 'http://prometheus:9090'}",
        "metrics.endpoint",
        "http://prometheus:9090",
        "remove it, or write `source: prometheus`",
    ),
    "time slice by the clock": (pool(timeSlice="10ms"), "pools.shared.timeSlice", "10ms", "short or medium"),
    "time slice of mps": (
        pool(sharing="mps", timeSlice="long"),
        "pools.shared.timeSlice",
        "long",
        "no turns",
    ),
    "slowdown below one": (pool(slowdownBudget=0.5), "pools.shared.slowdownBudget", 0.5, "a number above 1"),
    "slowdown of whole": (
        pool(sharing="none", slowdownBudget=2),
        "pools.shared.slowdownBudget",
        2,
        "no N to choose",
    ),
    "slowdown not a number": (pool(slowdownBudget=True), "pools.shared.slowdownBudget", True, "above 1"),
    "tuning without unit": (pool() + "tuning: {dwell: 6}", "tuning.dwell", 6, "30m, 24h"),
    "too little history": (
        pool() + "tuning: {minimumHistory: 23h}",
        "tuning.minimumHistory",
        "23h",
        "24h or more",
    ),
    "tuning misspelt": (pool() + "tuning: {dwel: 6h}", "tuning.dwel", "6h", "did you mean dwell"),
    "drift unknown": (pool() + "drift: ignore", "drift", "ignore", "repair or tell"),
    "idle after": (
        pool() + "consolidation: {idleAfter: Never}",
        "consolidation.idleAfter",
        "Never",
        "such as 1m",
    ),
    "no zone": (
        pool() + "consolidation: {businessHours: {hours: ['Sun 10:00-12:00']}}",
        "consolidation.businessHours.timeZone",
        None,
        "Europe/Berlin",
    ),
    "a zone that is not": (
        pool() + "consolidation: {businessHours: {timeZone: Europe, hours: ['Sun 10:00-12:00']}}",
        "consolidation.businessHours.timeZone",
        "Europe",
        "Europe/Berlin",
    ),
    "more hours than Karpenter takes": (
        pool()
        + "consolidation: {businessHours: {timeZone: UTC, hours: ["
        + ", ".join(f"'Mon 08:{minute}-18:00'" for minute in range(10, 23))
        + "]}}",
        "consolidation.businessHours.hours",
        13,
        "at most 12",
    ),
    "hours that are not": (
        pool() + "consolidation: {businessHours: {timeZone: UTC, hours: ['Mon 8-18']}}",
        "consolidation.businessHours.hours[0]",
        "Mon 8-18",
        "Mon-Fri 08:00-18:00",
    ),
    "nodes a bare number": (
        pool() + "consolidation: {businessHours: {timeZone: UTC, hours: ['Sun 10:00-24:00'], nodes: 0}}",
        "consolidation.businessHours.nodes",
        0,
        "in quotes",
    ),
    "consolidation policy": (
        pool() + "consolidation: {policy: Always}",
        "consolidation.policy",
        "Always",
        "WhenEmpty or",
    ),
    "consolidation after": (pool() + "consolidation: {after: 10}", "consolidation.after", 10, "10m"),
    "foreign class made by us": (
        pool() + "nodeClass: {group: karpenter.kwok.sh, kind: KWOKNodeClass, name: default, create: true}",
        "nodeClass.create",
        True,
        "write false",
    ),
    "install not a flag": (
        pool() + "karpenter: {install: maybe}",
        "karpenter.install",
        "maybe",
        "true or false",
    ),
    "version in the policy": (
        pool() + "gpuOperator: {version: v25}",
        "gpuOperator.version",
        "v25",
        "known here: adopt",
    ),
    "key twice": (pool() + "mode: act\nmode: observe", "line 8", "mode", "stands twice"),
    "key that is a list": ("[a, b]: 1", "line 1", "['a', 'b']", "plain words"),
    "not YAML": ("pools: [", "line 1, column 9", ..., "not YAML"),
    "a day that is not": ("when: 2026-02-30", "(policy)", ..., "not YAML"),
}


@pytest.mark.parametrize("text, path, value, words", ONE_MISTAKE.values(), ids=ONE_MISTAKE.keys())
def test_one_mistake_is_one_problem_with_path_value_and_remedy(text, path, value, words):
    ((found_path, found_value, remedy),) = problems(text)

    assert found_path == path
    assert value is ... or found_value == value
    assert words in remedy


def test_every_mistake_is_told_at_once():
    found = problems(pool(gpus=["a100", "tpu"], replicas={"start": 1, "max": 49}, maxGpus=0, period=1))

    assert [path for path, _, _ in found] == [
        "pools.shared.gpus[0]",
        "pools.shared.gpus[1]",
        "pools.shared.maxGpus",
        "pools.shared.replicas.start",
        "pools.shared.replicas.max",
        "pools.shared.period",
    ]


def test_yaml_cannot_make_python_objects():
    ((_, _, remedy),) = problems("pools: !!python/object/apply:os.getcwd []")

    assert "not YAML" in remedy


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
def test_what_cannot_be_with_adopt_is_told_with_its_remedy(wrong, path, remedy):
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
