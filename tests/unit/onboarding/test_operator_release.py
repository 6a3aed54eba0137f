"""Whose GPU Operator is, what is done about it, and how it is given back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.kube.ref import Ref, ref_of
from slicewise.model.cluster import Keeper, Release
from slicewise.onboarding import diff, preflight, verify
from slicewise.onboarding.helm.operator_values import join
from slicewise.onboarding.observation import Inside
from slicewise.onboarding.operator import release as operator_release
from slicewise.onboarding.operator import restore as operator_restore
from slicewise.onboarding.releases import LONGEST_HELM
from slicewise.planning.actions import Apply
from slicewise.planning.eks_actions import ApplyChartCrds, RollbackRelease, TryUpgrade, UpgradeRelease
from slicewise.pools import layout

from tests.fakes.kube.helm import DEFAULTS
from tests.support import builders
from tests.support.builders import NOW, contents

CHART = DEFAULTS["gpu-operator"]
ADOPTS = builders.policy(builders.DEFAULT_POOLS, "gpuOperator: {adopt: true}", "metrics: {source: none}")
SETTINGS = builders.settings()
CLUSTER_POLICY = Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy")
ARGO = Keeper("Argo CD", "Application gpus", "the helm values of the source")
FLUX = Keeper("Flux", "HelmRelease flux-system/gpus", "spec.values")
TEAM = {
    "driver": {"enabled": True},
    "devicePlugin": {"config": {"name": "team-slicing", "default": "any"}},
}
KEYS = {"any": "version: v1\n# 8 slices\n", "few": "version: v1\n# 2 slices\n"}


def release(values=TEAM, name="gpu-operator-1739580441", namespace="nvidia", **fields):
    plain = Release(name, namespace, 3, "deployed", "gpu-operator", "v26.7.0", values, defaults=CHART)
    return replace(plain, **fields)


def config_map(name, data, namespace="nvidia", labels=None):
    ref = Ref("v1", "ConfigMap", name, namespace)
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {ref: {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}}


def seen(one=None, objects=None, **more):
    return contents(
        releases=(one or release(),),
        crds=builders.contents().crds | {"clusterpolicies.nvidia.com"},
        objects=config_map("team-slicing", KEYS) if objects is None else objects,
        **more,
    )


def done(found, policy=ADOPTS, settings=SETTINGS):
    return operator_release.difference(found, policy, settings, NOW)


def refusals(found, policy=ADOPTS, settings=SETTINGS):
    return [one for one in preflight.inside(found, policy, settings, NOW) if one.blocking]


def all_of(found, policy=ADOPTS):
    return diff.difference(Inside(builders.cluster(), policy, found), SETTINGS, NOW)


def test_a_release_of_any_name_in_any_namespace_is_joined_where_it_is():
    [crds, tried, upgrade] = done(seen()).actions

    assert isinstance(crds, ApplyChartCrds) and isinstance(tried, TryUpgrade)
    assert (upgrade.name, upgrade.namespace) == ("gpu-operator-1739580441", "nvidia")
    assert upgrade.values["driver"] == {"enabled": True}
    assert upgrade.values["devicePlugin"]["config"] == {"name": layout.CONFIG_MAP.name, "default": "any"}
    assert any("devicePlugin.config.name" in change for change in upgrade.changes)
    assert tried.values == upgrade.values
    assert refusals(seen()) == []


def test_plugins_find_the_owners_configurations_and_ours_before_they_are_told_to_read_them():
    actions = all_of(seen()).actions
    maps = [one for one in actions if isinstance(one, Apply) and one.object["kind"] == "ConfigMap"]

    assert [ref_of(one.object) for one in maps] == [
        layout.CONFIG_MAP._replace(namespace="nvidia"),
        layout.CONFIG_MAP,
    ]
    for one in maps:
        assert one.object["data"] == layout.device_plugin_configs() | KEYS
        assert actions.index(one) < next(
            number for number, action in enumerate(actions) if isinstance(action, UpgradeRelease)
        )


def test_a_config_map_that_the_chart_makes_from_values_is_carried_as_well():
    made = {"devicePlugin": {"config": {"create": True, "name": "made", "data": KEYS, "default": "any"}}}
    found = seen(release(made), objects={})

    assert operator_release.config_maps(found)[0]["data"] == layout.device_plugin_configs() | KEYS
    [*_, upgrade] = done(found).actions
    assert upgrade.values["devicePlugin"]["config"]["create"] is False
    assert upgrade.values["devicePlugin"]["config"]["data"] == KEYS


def joined(**more):
    """After we joined it: what a look finds."""
    values = join(ADOPTS, release()).values
    ours = {"app.kubernetes.io/managed-by": "slicewise"}
    objects = config_map("team-slicing", KEYS)
    for ref in operator_release.config_map_refs("nvidia"):
        objects |= config_map(ref.name, layout.device_plugin_configs() | KEYS, ref.namespace, ours)
    return seen(release(values, revision=4), objects=objects, **more)


def test_a_release_that_was_joined_is_left_unchanged():
    assert done(joined()).actions == ()
    assert operator_release.findings_of_keys(joined()) == []


def test_a_later_edit_of_the_owners_is_carried_over_and_said():
    found = joined()
    theirs = Ref("v1", "ConfigMap", "team-slicing", "nvidia")
    found.objects[theirs]["data"] = KEYS | {"few": "version: v1\n# 3 slices\n", "more": "version: v1\n"}

    for item in operator_release.config_maps(found):
        assert item["data"]["few"] == "version: v1\n# 3 slices\n"
        assert item["data"]["more"] == "version: v1\n"
    assert [(one.code, "few" in one.message) for one in operator_release.findings_of_keys(found)] == [
        ("device-plugin-key-carried", True)
    ]


def test_a_key_that_its_owner_removes_stays_where_nodes_may_carry_it():
    found = joined()
    found.objects[Ref("v1", "ConfigMap", "team-slicing", "nvidia")]["data"] = {"any": KEYS["any"]}

    assert operator_release.config_maps(found)[0]["data"]["few"] == KEYS["few"]


@pytest.mark.parametrize("text", ["version: v1\n", layout.device_plugin_configs()["ts-4"]])
def test_a_key_of_theirs_with_our_name_and_other_content_refuses(text):
    found = refusals(seen(objects=config_map("team-slicing", {"ts-4": text})))

    same = text == layout.device_plugin_configs()["ts-4"]
    assert [one.code for one in found] == ([] if same else ["device-plugin-key-clash"])
    for one in found:
        assert json.dumps(text) in one.message and "replicas: 4" in one.message and "ts-4" in one.remedy


def test_a_config_map_of_our_name_beside_their_release_must_be_ours():
    objects = config_map("team-slicing", KEYS) | config_map(layout.CONFIG_MAP.name, {})

    assert [one.code for one in refusals(seen(objects=objects))] == ["name-taken"]


def test_a_contradiction_refuses_before_anything_is_touched():
    found = refusals(seen(release({"devicePlugin": {"enabled": False}}), objects={}))

    assert [one.code for one in found] == ["operator-value-conflict"]


def test_taints_of_adopted_node_pools_are_tolerated_by_operands():
    pools = "{taken: {sharing: time-slicing, gpus: [l4], adopt: theirs, maxGpus: 8}}"
    taint = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
    pool = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "theirs"},
        "spec": {"template": {"spec": {"taints": [taint]}}},
    }
    policy = builders.policy(pools, "gpuOperator: {adopt: true}")

    [*_, upgrade] = done(seen(node_pools=(pool,)), policy).actions
    wanted = {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}
    assert wanted in upgrade.values["daemonsets"]["tolerations"]
    assert wanted in upgrade.values["node-feature-discovery"]["worker"]["tolerations"]


def test_a_chart_around_gpu_operators_is_not_ours_to_change():
    around = Release("platform", "infra", 4, "deployed", "our-platform", "1.0.0", {"gpu-operator": {}})
    [finding] = refusals(seen(around, objects={CLUSTER_POLICY: {**config_map("x", {}).popitem()[1]}}))

    assert finding.code == "foreign-gpu-operator"
    assert "part of the release infra/platform of chart our-platform" in finding.message


# Drivers that would be replaced

OLDER = {"version": "v26.3.0"}


@pytest.mark.parametrize(
    ("nodes", "version", "values", "refused"),
    [
        pytest.param(4, "v26.3.0", TEAM, True, id="drivers run, and the chart would change"),
        pytest.param(0, "v26.3.0", TEAM, False, id="none run"),
        pytest.param(4, "v26.7.0", TEAM, False, id="the chart stays"),
        pytest.param(
            4,
            "v26.3.0",
            {"driver": {"upgradePolicy": {"autoUpgrade": False}}},
            False,
            id="they wait for a restart of the node",
        ),
    ],
)
def test_nobodys_pods_are_evicted_for_another_chart(nodes, version, values, refused):
    found = seen(release(values, chart_version=version), driver_nodes=nodes, operator_chart=CHART)

    assert [one.code for one in refusals(found)] == (["drivers-would-restart"] if refused else [])


def test_a_joined_release_keeps_its_chart_while_drivers_of_it_run():
    values = join(ADOPTS, release(chart_version="v26.3.0")).values
    old = release(values, chart_version="v26.3.0")
    found = seen(old, driver_nodes=4, operator_chart=CHART)

    assert refusals(found) == []
    assert done(found).actions == ()
    assert "drivers-would-restart" in [one.code for one in done(found).findings]


# Helm at work


def pending(age, status="pending-upgrade", values=None, revision=7):
    at = NOW - age if age is not None else None
    values = join(ADOPTS, release()).values if values is None else values
    return release(values, status=status, changed_at=at, revision=revision)


def test_a_helm_that_may_still_be_at_work_is_waited_for():
    found = done(seen(pending(timedelta(minutes=5))))

    assert found.actions == ()
    assert found.findings[0].code == "helm-at-work"
    assert found.requeue_after == timedelta(minutes=10)


@pytest.mark.parametrize("status", ["pending-upgrade", "pending-rollback", "uninstalling"])
def test_what_is_pending_for_longer_than_any_helm_of_ours_was_killed(status):
    found = done(seen(pending(LONGEST_HELM, status)))

    assert any(isinstance(one, RollbackRelease) for one in found.actions)


def test_a_first_installation_with_our_mark_can_only_be_ours():
    ours = {"slicewise": {"adopted": False}}
    mine = pending(timedelta(minutes=1), "pending-install", ours, revision=1)
    found = done(seen(replace(mine, name="gpu-operator", namespace="gpu-operator"), objects={}))

    assert any(isinstance(one, RollbackRelease) for one in found.actions)


# What others keep


@pytest.mark.parametrize(
    "kept",
    [FLUX, Keeper("Argo CD", "Application gpus", "the helm values of the source")],
    ids=["Flux", "Argo"],
)
def test_what_a_tool_keeps_is_not_touched_and_reported_what_to_write_instead(kept):
    found = seen(release(keeper=kept))
    planned = all_of(found)

    assert not [one for one in planned.actions if isinstance(one, UpgradeRelease | ApplyChartCrds)]
    kinds = {one.object["kind"] for one in planned.actions if isinstance(one, Apply)}
    assert "NodePool" not in kinds and "ConfigMap" in kinds, "what the manifest will name must be there"
    [awaited] = verify.awaited(found, ADOPTS, SETTINGS)
    assert awaited.code == "gpu-operator-kept" and not awaited.blocking
    assert kept.tool in awaited.message and kept.manifest in awaited.message
    assert 'devicePlugin.config.name: "team-slicing" -> "slicewise-device-plugin"' in awaited.message
    assert f"{kept.values} of {kept.manifest}" in awaited.remedy
    assert '{"devicePlugin": {"config": {"name": "slicewise-device-plugin"}}' in awaited.remedy
    assert refusals(found) == []


def test_once_the_manifest_says_so_onboarding_goes_on_and_helm_is_left_unchanged():
    written = join(ADOPTS, release()).values
    said = {key: value for key, value in written.items() if key != "slicewise"}
    found = seen(release(said, keeper=FLUX))
    planned = all_of(found)

    assert not [one for one in planned.actions if isinstance(one, UpgradeRelease | ApplyChartCrds)]
    assert "NodePool" in {one.object["kind"] for one in planned.actions if isinstance(one, Apply)}
    assert "gpu-operator-kept" not in [one.code for one in verify.awaited(found, ADOPTS, SETTINGS)]


def test_a_contradiction_in_a_manifest_refuses_too():
    found = seen(release({"devicePlugin": {"enabled": False}}, keeper=FLUX), objects={})

    assert [one.code for one in refusals(found)] == ["operator-value-conflict"]


def test_without_leave_to_adopt_whoever_keeps_it_is_named():
    [finding] = refusals(seen(release(keeper=FLUX)), builders.policy())

    assert finding.code == "foreign-gpu-operator"
    assert finding.message.startswith("Flux (HelmRelease flux-system/gpus) installed GPU Operator")


def test_who_overwrites_us_again_and_again_is_reported_and_not_contested():
    once = seen(release(overwritten=1))
    assert any(isinstance(one, UpgradeRelease) for one in done(once).actions)

    again = seen(release(overwritten=2))
    assert done(again).actions == ()
    [awaited] = verify.awaited(again, ADOPTS, SETTINGS)
    assert awaited.code == "gpu-operator-kept"


# Giving back


def restored(found, *revisions):
    return operator_restore.give_back(found, revisions, SETTINGS, NOW)


def test_the_owners_values_come_back():
    tried, back = restored(joined()).actions

    assert isinstance(tried, TryUpgrade)

    assert isinstance(back, UpgradeRelease)
    assert (back.name, back.namespace, back.values) == ("gpu-operator-1739580441", "nvidia", TEAM)


def test_it_waits_for_nodes_that_carry_a_key_of_ours_alone():
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n", "labels": {layout.CONFIG_LABEL: "ts-4"}},
    }
    theirs = {**node, "metadata": {"name": "m", "labels": {layout.CONFIG_LABEL: "few"}}}

    waits = restored(joined(nodes=(node, theirs)))
    assert waits.actions == () and [one.code for one in waits.findings] == ["device-plugin-key-in-use"]
    assert restored(joined(nodes=(theirs,))).actions


def from_older():
    values = join(ADOPTS, release(chart_version="v26.3.0"), CHART).values
    return seen(release(values, revision=4))


def test_the_chart_of_before_comes_back_while_helm_keeps_it():
    before = release(chart_version="v26.3.0")

    [back] = restored(from_older(), before).actions
    assert isinstance(back, RollbackRelease) and back.revision == 3

    found = restored(from_older())
    _, back = found.actions
    assert isinstance(back, UpgradeRelease) and back.values == TEAM
    assert [one.code for one in found.findings] == ["chart-stays"]


def test_values_that_were_never_kept_are_reported():
    old = seen(release({"slicewise": {"adopted": True}, "a": 1}))

    found = restored(old)
    assert found.actions[0].values == {"a": 1}
    assert [one.code for one in found.findings] == ["original-unreadable"]


def test_what_is_ours_or_was_never_joined_is_not_restored():
    assert restored(seen()).actions == ()
    assert restored(seen(release({"slicewise": {"adopted": False}}))).actions == ()


def test_a_chart_that_the_owner_has_upgraded_since_is_not_downgraded():
    newer = replace(joined(), releases=(replace(joined().releases[0], chart_version="v27.1.0"),))

    found = restored(newer)

    assert found.actions == ()
    [reported] = found.findings
    assert reported.code == "gpu-operator-by-hand" and "v27.1.0" in reported.message


def test_drivers_are_not_restarted_to_give_it_back():
    before = release(chart_version="v26.3.0")

    found = restored(replace(from_older(), driver_nodes=5), before)

    assert found.actions == ()
    assert "drivers of 5 nodes would restart" in found.findings[0].message


def test_a_users_helm_is_waited_for():
    found_release = replace(joined().releases[0], status="pending-upgrade", changed_at=NOW)

    found = restored(replace(joined(), releases=(found_release,)))

    assert found.actions == () and found.requeue_after and found.findings[0].code == "helm-at-work"
