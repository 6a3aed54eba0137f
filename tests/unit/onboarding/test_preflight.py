"""Preflight finds what rules an installation out, all of it at once, and says what to do."""

from datetime import timedelta

import pytest
from slicewise.kube.ref import Ref
from slicewise.model.cluster import GpuServer, Release
from slicewise.onboarding import preflight
from slicewise.pools import layout

from tests.support import builders
from tests.support.builders import NOW, contents, karpenter

OURS = {"app.kubernetes.io/managed-by": "slicewise"}
CRDS = builders.contents().crds


def found(policy=None, settings=None, **seen):
    policy = policy or builders.policy()
    return preflight.inside(contents(**seen), policy, settings or builders.settings(), NOW)


def codes(*args, **seen):
    return [finding.code for finding in found(*args, **seen)]


def test_a_good_cluster_has_no_findings():
    assert codes() == []


@pytest.mark.parametrize(
    "version, expected",
    [
        ("1.13.9", ["karpenter-version"]),
        ("0.37.0", ["karpenter-version"]),
        ("2.0.0", ["karpenter-version"]),
        ("1.14.0", []),
        ("v1.15.3", []),
        ("1.16.0", ["karpenter-version-untried"]),
        (None, ["karpenter-version-unknown"]),
        ("latest", ["karpenter-version-unknown"]),
    ],
)
def test_karpenters_version_is_judged(version, expected):
    assert codes(karpenter=karpenter(version)) == expected


@pytest.mark.parametrize(
    "seen, expected",
    [
        ({"karpenter": None, "crds": frozenset()}, ["karpenter-absent"]),
        ({"karpenter": None}, ["karpenter-not-seen"]),
        ({"crds": CRDS - {"nodeoverlays.karpenter.sh"}}, ["node-overlay-crd-absent"]),
        (
            {"karpenter": karpenter(gates="NodeOverlay=false,SpotToSpotConsolidation=true")},
            ["node-overlay-gate-off"],
        ),
        ({"karpenter": karpenter(gates="StaticCapacity=true")}, []),
    ],
    ids=["absent", "outside the cluster", "without overlays", "gate off", "gate not said"],
)
def test_karpenter_must_be_there_and_honour_overlays(seen, expected):
    assert codes(**seen) == expected


def overlay(age, conditions=(), name="theirs"):
    return {
        "apiVersion": "karpenter.sh/v1alpha1",
        "kind": "NodeOverlay",
        "metadata": {"name": name, "creationTimestamp": (NOW - age).isoformat()},
        "status": {"conditions": list(conditions)},
    }


@pytest.mark.parametrize(
    "overlays, expected",
    [
        ([], []),
        ([overlay(timedelta(seconds=5))], []),
        ([overlay(timedelta(seconds=31))], ["node-overlay-gate-off"]),
        (
            [overlay(timedelta(days=9)), overlay(timedelta(days=9), [{"type": "Ready", "status": "False"}])],
            [],
        ),
    ],
    ids=["none yet", "just asked", "no answer", "one was answered"],
)
def test_the_gate_is_judged_by_its_effect(overlays, expected):
    assert codes(node_overlays=tuple(overlays)) == expected


def test_installing_karpenter_needs_its_roles():
    policy = builders.policy(builders.DEFAULT_POOLS, "karpenter: {install: true}", "nodeClass: {name: mine}")
    bare = {"karpenter": None, "crds": frozenset()}
    mine = Ref("karpenter.k8s.aws/v1", "EC2NodeClass", "mine")
    bare["objects"] = {
        mine: {"apiVersion": mine.api_version, "kind": mine.kind, "metadata": {"name": "mine"}}
    }

    assert codes(policy, **bare) == []
    assert codes(policy, builders.settings(karpenter_controller_role=""), **bare) == [
        "karpenter-roles-missing"
    ]


def test_another_owners_karpenter_is_never_ours_to_install():
    policy = builders.policy(builders.DEFAULT_POOLS, "karpenter: {install: true}")
    theirs = Release("karpenter", "kube-system", 4, "deployed", "karpenter", "1.9.0", {"settings": {}})

    assert codes(policy, karpenter=karpenter("1.9.0"), releases=(theirs,)) == ["karpenter-version"]


def server(namespace):
    return GpuServer(
        Ref("apps/v1", "DaemonSet", "nvdp", namespace), "advertises GPUs of NVIDIA's to the kubelet"
    )


def test_every_foreign_device_plugin_is_named():
    plugins = tuple(server(namespace) for namespace in ("a", "b"))

    assert [f.message.split(" advertises")[0] for f in found(gpu_servers=plugins)] == [
        "DaemonSet a/nvdp",
        "DaemonSet b/nvdp",
    ]


def operator(namespace="gpu-operator", **values):
    return Release("gpu-operator", namespace, 1, "deployed", "gpu-operator", "v25.3.0", values)


@pytest.mark.parametrize(
    "adopt, releases, expected",
    [
        (False, (operator(),), ["foreign-gpu-operator"]),
        (True, (operator(),), []),
        (True, (operator("nvidia"),), []),
        (True, (operator(), operator("nvidia")), ["foreign-gpu-operator"]),
        (False, (operator(slicewise={"adopted": False}),), []),
    ],
    ids=["theirs", "theirs, adopted", "theirs, in another namespace", "two of them", "ours"],
)
def test_a_foreign_gpu_operator_is_adopted_only_where_the_policy_says_so(adopt, releases, expected):
    policy = builders.policy(builders.DEFAULT_POOLS, f"gpuOperator: {{adopt: {str(adopt).lower()}}}")

    assert codes(policy, releases=releases) == expected


def named(kind, name, labels=None, api="karpenter.sh/v1"):
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": labels or {}}}


def test_a_cluster_policy_without_a_release_is_another_owners():
    ref = Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy")
    seen = named("ClusterPolicy", "cluster-policy", api="nvidia.com/v1")

    assert codes(objects={ref: seen}) == ["foreign-gpu-operator"]


def test_a_cluster_policy_that_outlives_our_own_rolled_back_installation_is_not():
    ref = Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy")
    ours = Ref("v1", "Namespace", "gpu-operator")
    seen = {
        ref: named("ClusterPolicy", "cluster-policy", api="nvidia.com/v1"),
        ours: named("Namespace", "gpu-operator", OURS, api="v1"),
    }

    assert codes(objects=seen) == []


@pytest.mark.parametrize("labels, expected", [({}, ["name-taken"]), (OURS, [])], ids=["theirs", "ours"])
def test_a_node_pool_with_our_name_must_be_ours(labels, expected):
    assert codes(node_pools=(named("NodePool", "slicewise-shared-l4", labels),)) == expected


def test_a_config_map_with_our_name_must_be_ours():
    ref = layout.CONFIG_MAP
    seen = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": ref.name, "namespace": ref.namespace},
    }

    assert codes(objects={ref: seen}) == ["name-taken"]


def test_a_namespace_that_is_there_already_is_welcome():
    ref = Ref("v1", "Namespace", "gpu-operator")

    assert codes(objects={ref: named("Namespace", "gpu-operator", api="v1")}) == []


def test_a_node_class_must_be_there_or_ours_to_make():
    theirs = builders.policy(builders.DEFAULT_POOLS, "nodeClass: {name: gpu}")
    unknown = builders.policy(
        builders.DEFAULT_POOLS, "nodeClass: {group: example.com, kind: BoxClass, name: gpu}"
    )

    assert codes(theirs) == ["node-class-missing"]
    assert codes(unknown) == []
    assert codes(builders.policy(), builders.settings(karpenter_node_role="")) == ["node-role-missing"]


def test_all_is_reported_at_once_refusals_first_each_with_a_remedy():
    findings = found(
        karpenter=karpenter("1.16.0", "NodeOverlay=false"),
        gpu_servers=(server("kube-system"),),
        releases=(operator(),),
        node_pools=(named("NodePool", "slicewise-shared-l4"), named("NodePool", "slicewise-old-l4", OURS)),
    )

    assert [f.code for f in findings] == [
        "node-overlay-gate-off",
        "foreign-device-plugin",
        "foreign-gpu-operator",
        "name-taken",
        "karpenter-version-untried",
        "pool-left-over",
    ]
    for finding in findings:
        assert finding.message.endswith(".") and finding.remedy.endswith("."), finding


def test_an_operator_of_others_that_is_newer_than_ours_is_not_adopted():
    """Nothing would configure it: its nodes would offer whole GPUs where Karpenter counts slices."""
    theirs = Release("gpu-operator", "gpu-operator", 3, "deployed", "gpu-operator", "v26.9.0")
    adopting = builders.policy(builders.DEFAULT_POOLS, "gpuOperator: {adopt: true}")

    assert codes(adopting, releases=(theirs,)) == ["gpu-operator-newer"]


@pytest.mark.parametrize("tag, allowed", [("true", True), ("True", False), ("yes", False)])
def test_the_tag_that_allows_the_switch_is_read_word_for_word_as_iam_does(tag, allowed):
    cluster = builders.cluster(tags={"slicewise.dev/allow-access-entries": tag})

    assert preflight.may_allow_access_entries(cluster) is allowed


@pytest.mark.parametrize("status", ["pending-upgrade", "pending-install", "uninstalling"])
def test_a_helm_of_others_that_is_at_work_is_not_rolled_back_under_them(status):
    theirs = Release("gpu-operator", "gpu-operator", 3, status, "gpu-operator", "v26.3.0")
    adopting = builders.policy(builders.DEFAULT_POOLS, "gpuOperator: {adopt: true}")

    assert codes(adopting, releases=(theirs,)) == ["gpu-operator-busy"]


def test_no_second_karpenter_is_installed_beside_one_that_we_cannot_see():
    installing = builders.policy(builders.DEFAULT_POOLS, "karpenter: {install: true}")
    theirs = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "general"}}

    assert codes(installing, karpenter=None, node_pools=(theirs,)) == ["karpenter-elsewhere"]
    assert codes(installing, karpenter=None) == []
