"""Helm's values mean on EKS what they should, and are keys that the charts have."""

import pytest
from slicewise.model.cluster import Release
from slicewise.onboarding import manifests
from slicewise.onboarding.operator import release as operator_release
from slicewise.planning.eks_actions import UpgradeRelease

from tests.support import builders, vendor_charts

MIG = "{s: {sharing: mig, gpus: [h100], profile: 1g.10gb, maxGpus: 8}}"


def unknown(ours, theirs, path=""):
    """Keys of ours that a chart does not have. Empty tables and lists of a chart take anything."""
    for key, value in ours.items():
        if key not in theirs:
            yield f"{path}{key}"
        elif isinstance(value, dict) and isinstance(theirs[key], dict) and theirs[key]:
            yield from unknown(value, theirs[key], f"{path}{key}.")


def test_every_value_is_a_key_of_the_gpu_operators_chart():
    theirs = vendor_charts.values(vendor_charts.vendor_chart("gpu-operator"))

    assert list(unknown(manifests.operator_values(builders.policy()), theirs)) == ["slicewise"]


def test_every_value_is_a_key_of_karpenters_chart():
    theirs = vendor_charts.values(vendor_charts.vendor_chart("karpenter"))

    assert list(unknown(manifests.karpenter_values(builders.cluster()), theirs)) == ["slicewise"]


def test_what_the_eks_image_brings_is_not_installed_again():
    values = manifests.operator_values(builders.policy())

    assert values["driver"] == values["toolkit"] == {"enabled": False}


def test_no_helm_hook_is_left_to_hang_on():
    assert manifests.operator_values(builders.policy())["operator"]["upgradeCRD"] is False


@pytest.mark.parametrize(
    ("metrics", "on"),
    [
        pytest.param("{source: container-insights}", False, id="the CloudWatch add-on has its own"),
        pytest.param("{source: container-insights-otel}", False, id="the same one by OpenTelemetry"),
        pytest.param('{source: prometheus, endpoint: "http://prometheus:9090"}', True, id="prometheus"),
        pytest.param("{source: none}", True, id="none"),
    ],
)
def test_no_node_has_two_exporters_of_its_gpus(metrics, on):
    policy = builders.policy(builders.DEFAULT_POOLS, f"metrics: {metrics}")

    assert manifests.operator_values(policy)["dcgmExporter"]["enabled"] is on


def test_pods_that_share_a_gpu_are_distinguished_in_prometheus():
    exporter = manifests.operator_values(builders.policy())["dcgmExporter"]

    assert exporter["hostPID"] and exporter["serviceMonitor"]["honorLabels"]
    assert exporter["env"] == [{"name": "KUBERNETES_VIRTUAL_GPUS", "value": "true"}]
    assert exporter["serviceMonitor"]["relabelings"][0]["targetLabel"] == "node"


def test_nodes_read_our_configurations_and_share_nothing_by_default():
    config = manifests.operator_values(builders.policy())["devicePlugin"]["config"]

    assert config == {"create": False, "name": "slicewise-device-plugin", "default": "exclusive"}


@pytest.mark.parametrize("pools, runs", [(builders.DEFAULT_POOLS, False), (MIG, True)], ids=["no mig", "mig"])
def test_mig_manager_runs_only_where_a_pool_is_cut_and_the_strategy_is_always_mixed(pools, runs):
    values = manifests.operator_values(builders.policy(pools))

    assert values["migManager"] == {"enabled": runs}
    assert values["mig"] == {"strategy": "mixed"}


def test_our_taints_are_tolerated_by_operands_and_by_nfd():
    values = manifests.operator_values(builders.policy())

    wanted = [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "slicewise.dev/class", "operator": "Exists", "effect": "NoSchedule"},
    ]
    assert values["daemonsets"]["tolerations"] == wanted
    assert values["node-feature-discovery"]["worker"]["tolerations"] == wanted


def test_a_value_that_we_no_longer_set_leaves_our_own_release():
    ours = Release(
        "gpu-operator", "gpu-operator", 2, "deployed", "gpu-operator", "v26.7.0",
        {"slicewise": {"adopted": False}, "old": 1},
    )  # fmt: skip

    contents = builders.contents(releases=(ours,))
    found = operator_release.difference(contents, builders.policy(), builders.settings(), builders.NOW)
    [upgrade] = [action for action in found.actions if isinstance(action, UpgradeRelease)]

    assert upgrade.values == manifests.operator_values(builders.policy())


def test_the_node_class_finds_its_network_by_the_clusters_name_and_has_room_for_images():
    spec = manifests.node_class(builders.policy(), builders.settings(), builders.cluster("gpu-7"))["spec"]

    assert spec["role"] == "karpenter-nodes"
    assert spec["subnetSelectorTerms"] == [{"tags": {"karpenter.sh/discovery": "gpu-7"}}]
    assert spec["blockDeviceMappings"][0]["ebs"]["volumeSize"] == "100Gi"
