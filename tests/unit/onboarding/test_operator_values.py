"""Joining somebody's GPU Operator keeps what its values say, or says why it cannot."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slicewise.model.cluster import Release
from slicewise.onboarding.helm.conflicts import CONFLICTS
from slicewise.onboarding.helm.operator_values import join, theirs, union
from slicewise.onboarding.helm.value_paths import ABSENT, at, merged, spelled
from slicewise.pools import layout

from tests.fakes.aws.refusals import as_kept
from tests.fakes.kube.helm import DEFAULTS
from tests.support import builders, vendor_charts

CHART = DEFAULTS["gpu-operator"]
MIG = "{s: {sharing: mig, gpus: [h100], profile: 1g.10gb, maxGpus: 8}}"
# Reports of users, as one set of values: a driver, slices, taints and an exporter of their own.
TEAM = {
    "driver": {"enabled": True, "version": "570.124.06"},
    "toolkit": {"enabled": True},
    "daemonsets": {
        "tolerations": [
            {"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        ]
    },
    "node-feature-discovery": {"worker": {"tolerations": [{"operator": "Exists"}]}},
    "devicePlugin": {"config": {"name": "team-slicing", "default": "any"}},
    "mig": {"strategy": "single"},
    "migManager": {"enabled": True},
    "dcgmExporter": {"enabled": True, "config": {"name": "metrics"}},
    "extraObjects": [{"kind": "ConfigMap"}],
}
CLASSES = {"key": "slicewise.dev/class", "operator": "Exists", "effect": "NoSchedule"}


def release(values=None, version="v26.7.0", defaults=CHART, revision=3):
    return Release(
        "gpus", "nvidia", revision, "deployed", "gpu-operator", version, values or {}, defaults=defaults
    )


def policy(pools=builders.DEFAULT_POOLS, metrics="metrics: {source: none}"):
    return builders.policy(pools, "gpuOperator: {adopt: true}", metrics)


def bare(values):
    return {key: value for key, value in values.items() if key != "slicewise"}


def test_what_the_owner_set_stays_and_ours_is_added():
    found = join(policy(), release(TEAM))

    assert not [finding for finding in found.findings if finding.blocking]
    wanted = deepcopy(TEAM)
    wanted["devicePlugin"]["config"]["name"] = "slicewise-device-plugin"
    wanted["daemonsets"]["tolerations"].append(CLASSES)
    assert bare(found.values) == wanted


def test_of_a_release_with_nothing_set_no_more_is_written_than_slicing_needs():
    found = join(policy(), release())

    assert found.written == {
        "devicePlugin": {"config": {"name": "slicewise-device-plugin", "default": "exclusive"}},
        "daemonsets": {"tolerations": [*CHART["daemonsets"]["tolerations"], CLASSES]},
        "node-feature-discovery": {
            "worker": {"tolerations": [*CHART["node-feature-discovery"]["worker"]["tolerations"], CLASSES]}
        },
    }
    assert [finding.code for finding in found.findings] == ["operator-brings-driver"]


def test_a_driver_that_runs_stays_the_one_that_it_is_under_another_chart():
    newer = merged(CHART, {"driver": {"version": "600.1"}, "gfd": {"enabled": False}})

    found = join(policy(), release(version="v26.3.0"), newer)
    assert found.written["driver"] == {"version": CHART["driver"]["version"]}
    assert [str(one) for one in found.differences if one.path == ("gfd", "enabled")] == [
        "gfd.enabled: true -> false (the chart's own)"
    ]

    then = join(policy(), release(found.values, "v26.9.0", newer))
    assert then.written["driver"] == found.written["driver"], "also once the chart is the newer one"
    assert "driver" not in join(policy(), release({"driver": {"enabled": False}}), newer).written
    assert "driver" not in join(policy(), release({"driver": {"version": "1"}}), newer).written


def test_each_value_that_changes_is_reported_with_both():
    found = [str(one) for one in join(policy(), release(TEAM)).differences]

    assert found == [
        'daemonsets.tolerations: 2 stay, and more: {"key": "slicewise.dev/class", "operator": "Exists", '
        '"effect": "NoSchedule"} (slicing needs it)',
        'devicePlugin.config.name: "team-slicing" -> "slicewise-device-plugin" (slicing needs it)',
    ]


# Contradictions

CLASHING = {
    "devicePlugin.enabled": (False, builders.DEFAULT_POOLS),
    "clusterPolicy.deployCR": (False, builders.DEFAULT_POOLS),
    "gpuCluster.deployCR": (True, builders.DEFAULT_POOLS),
    "sandboxWorkloads.enabled": (True, builders.DEFAULT_POOLS),
    "mig.strategy": ("single", MIG),
    "migManager.enabled": (False, MIG),
    "devicePlugin.args": (["--config-file=/etc/it.yaml"], builders.DEFAULT_POOLS),
    "devicePlugin.env": ([{"name": "CONFIG_FILE", "value": "/etc/it.yaml"}], builders.DEFAULT_POOLS),
    "node-feature-discovery.worker.nodeSelector": ({"team": "vision"}, builders.DEFAULT_POOLS),
}


def test_every_contradiction_has_a_case_here():
    assert sorted(CLASHING) == sorted(spelled(row.path) for row in CONFLICTS)


@pytest.mark.parametrize("row", CONFLICTS, ids=lambda row: spelled(row.path))
def test_a_contradiction_refuses_and_says_both_values_why_and_what_to_do(row):
    value, pools = CLASHING[spelled(row.path)]
    values: dict = {}
    below = values
    for key in row.path[:-1]:
        below = below.setdefault(key, {})
    below[row.path[-1]] = value
    if pools == MIG:
        values.setdefault("mig", {"strategy": "mixed"})

    [finding] = [one for one in join(policy(pools), release(values)).findings if one.blocking]

    assert finding.code == "operator-value-conflict"
    assert (
        spelled(row.path) in finding.message and row.needed in finding.message and row.why in finding.message
    )
    assert finding.remedy == row.remedy and finding.remedy.endswith(".")


def test_what_only_mig_pools_need_is_asked_for_only_where_there_are_some():
    mine = {"mig": {"strategy": "single"}, "migManager": {"enabled": False}}

    assert not [one for one in join(policy(), release(mine)).findings if one.blocking]


# The exporter stays

PROMETHEUS = 'metrics: {source: prometheus, endpoint: "http://prometheus:9090"}'


@pytest.mark.parametrize(
    ("metrics", "values", "code"),
    [
        pytest.param("metrics: {source: container-insights}", {}, "two-exporters", id="two"),
        pytest.param(
            "metrics: {source: container-insights}",
            {"dcgmExporter": {"enabled": False}},
            None,
            id="the add-on's alone",
        ),
        pytest.param(PROMETHEUS, {}, "exporter-not-as-needed", id="as the chart has it"),
        pytest.param(PROMETHEUS, {"dcgmExporter": {"enabled": False}}, "exporter-not-as-needed", id="none"),
        pytest.param("metrics: {source: none}", {}, None, id="nothing is measured"),
    ],
)
def test_an_exporter_that_does_not_serve_us_is_reported_and_left(metrics, values, code):
    found = join(policy(builders.DEFAULT_POOLS, metrics), release(values))

    codes = {finding.code for finding in found.findings} - {"operator-brings-driver"}
    assert codes == ({code} if code else set())
    assert "dcgmExporter" not in found.written


def test_all_that_prometheus_lacks_is_reported_as_it_must_be_written():
    found = join(policy(builders.DEFAULT_POOLS, PROMETHEUS), release())
    [finding] = [one for one in found.findings if one.code == "exporter-not-as-needed"]

    assert "dcgmExporter.hostPID: true" in finding.message
    assert "dcgmExporter.serviceMonitor.honorLabels: true" in finding.message
    assert "KUBERNETES_VIRTUAL_GPUS" in finding.message


# Tolerations


@pytest.mark.parametrize(
    ("there", "added"),
    [
        ([], [CLASSES]),
        ([{"operator": "Exists"}], []),
        ([{"key": "slicewise.dev/class", "operator": "Exists"}], []),
        ([{"key": "slicewise.dev/class", "value": "2", "effect": "NoSchedule"}], [CLASSES]),
        ([{"key": "slicewise.dev/class", "operator": "Exists", "effect": "NoExecute"}], [CLASSES]),
        ([CLASSES | {"tolerationSeconds": 60}], [CLASSES]),
    ],
)
def test_a_toleration_is_added_only_where_none_covers_it(there, added):
    assert union(there, [CLASSES]) == [*there, *added]


# What was theirs


def test_what_the_owner_had_is_kept_word_for_word():
    joined = release(join(policy(), release(TEAM)).values, revision=4)

    found = theirs(joined)
    assert (found.values, found.chart_version, found.revision, found.is_whole) == (TEAM, "v26.7.0", 3, True)
    assert found.config_map == "team-slicing"


def test_joining_twice_changes_nothing():
    once = join(policy(), release(TEAM)).values

    again = join(policy(), release(once, revision=4))
    assert again.values == once
    assert again.differences == ()


def test_a_release_that_an_older_slicewise_took_over_says_that_nothing_was_kept():
    old = release({"slicewise": {"adopted": True}, "driver": {"enabled": False}})

    assert theirs(old).is_whole is False
    joined = join(policy(), old)
    assert joined.values["driver"] == {"enabled": False}
    assert theirs(release(joined.values)).is_whole is False


@pytest.mark.parametrize(
    ("edit", "now"),
    [
        pytest.param({"driver": {"version": "580"}}, {"driver": {"version": "580"}}, id="another value"),
        pytest.param({"gds": {"enabled": True}}, {"gds": {"enabled": True}}, id="a new table"),
        pytest.param(
            {"devicePlugin": {"config": {"name": "other"}}},
            {"devicePlugin": {"config": {"name": "other"}}},
            id="over ours",
        ),
    ],
)
def test_what_the_owner_changes_later_is_theirs(edit, now):
    """As `helm upgrade --reuse-values --set` does it."""
    live = merged(join(policy(), release(TEAM)).values, edit)

    assert theirs(release(live)).values == merged(TEAM, now)
    assert (
        at(join(policy(), release(live)).values, ("devicePlugin", "config", "name")) == layout.CONFIG_MAP.name
    )


def test_of_a_list_that_the_owner_edits_what_we_had_added_is_not_theirs():
    live = as_kept(join(policy(), release(TEAM)).values)
    mine = {"key": "another", "operator": "Exists"}
    live["daemonsets"]["tolerations"].append(mine)

    assert theirs(release(live)).values["daemonsets"]["tolerations"] == [
        *TEAM["daemonsets"]["tolerations"],
        mine,
    ]


KEYS = st.sampled_from(["driver", "daemonsets", "tolerations", "config", "devicePlugin", "name", "x.y"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda below: st.dictionaries(KEYS, below, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_an_owner_had_comes_back_byte_for_byte(values):
    joined = join(policy(), release(values)).values

    assert theirs(release(joined)).values == values
    assert join(policy(), release(joined)).values == joined


def test_the_fakes_chart_says_what_the_vendors_says():
    real = vendor_charts.values(vendor_charts.vendor_chart("gpu-operator"))

    def lacking(ours, there, path=()):
        for key, value in ours.items():
            found = at(there, (key,))
            if isinstance(value, dict) and value and found is not ABSENT:
                yield from lacking(value, found, (*path, key))
            elif found != value:
                yield (*path, key), value, found

    assert list(lacking(CHART, real)) == []
