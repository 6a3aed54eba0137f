"""Who hands out GPUs is told by what it does, in whatever registry its image lies."""

from __future__ import annotations

import pytest
from slicewise.kube.ref import Ref
from slicewise.model.cluster import Release
from slicewise.onboarding import rbac
from slicewise.onboarding.operator import gpu_findings, gpu_servers
from slicewise.onboarding.operator import release as operator_release

from tests.support import builders

SOCKETS = "/var/lib/kubelet/device-plugins"
DRA = ("/var/lib/kubelet/plugins_registry", "/var/lib/kubelet/plugins")


def daemon_set(image="x", *paths, name="plugin", owner=None, container=None, **pod):
    metadata = {"name": name, "namespace": "kube-system"}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner, "name": "x"}]
    volumes = [{"name": f"v{number}", "hostPath": {"path": path}} for number, path in enumerate(paths)]
    spec = {"containers": [{"name": "c", "image": image} | (container or {})], "volumes": volumes} | pod
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {"template": {"spec": spec}},
    }


NVIDIA_ENV = {"env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}
TOLERATES = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
FOREIGN = {
    "NVIDIA's manifest": daemon_set("nvcr.io/nvidia/k8s-device-plugin:v0.20.0", SOCKETS),
    "its mirror": daemon_set("1.dkr.ecr.eu-west-1.amazonaws.com/k8s-device-plugin:v0.17.1"),
    "a mirror by digest": daemon_set("registry.corp.example:5000/gpu/k8s-device-plugin@sha256:aa"),
    "Google's": daemon_set("registry.k8s.io/nvidia-gpu-device-plugin@sha256:aa"),
    "a name of one's own": daemon_set("corp/gpus:1", SOCKETS, container=NVIDIA_ENV),
    "mounted above": daemon_set("corp/gpus:1", "/var/lib/kubelet/", container=NVIDIA_ENV),
    "by runtime class": daemon_set("corp/gpus:1", SOCKETS, runtimeClassName="nvidia"),
    "by node selector": daemon_set("corp/g:1", SOCKETS, nodeSelector={"nvidia.com/gpu.present": "true"}),
    "HAMi": daemon_set("projecthami/hami:v2.7.1", name="hami-device-plugin"),
    "MPS": daemon_set("corp/x:1", container={"command": ["mps-control-daemon"]}),
    "KAI": daemon_set("registry/kai-resource-isolator:1"),
    "NVIDIA's DRA driver": daemon_set(
        "nvcr.io/nvidia/dra-driver-nvidia-gpu:v0.5.0", *DRA, container={"name": "gpus"}
    ),
    "and a mirror of it": daemon_set(
        "corp/dra:1", *DRA, container={"args": ["gpu-kubelet-plugin"], **NVIDIA_ENV}
    ),
}
OTHERS = {
    "GPU Operator's": daemon_set("nvcr.io/nvidia/k8s-device-plugin:v0.20.0", SOCKETS, owner="ClusterPolicy"),
    "a log shipper": daemon_set("ghcr.io/example/fluent-bit:3", "/var/log"),
    "Neuron's": daemon_set("public.ecr.aws/neuron/neuron-device-plugin:2", SOCKETS),
    "EFA's on GPU nodes": daemon_set(
        "602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/aws-efa-k8s-device-plugin:v0.5",
        SOCKETS,
        tolerations=TOLERATES,
    ),
    "AMD's": daemon_set("docker.io/rocm/k8s-device-plugin:1", SOCKETS, tolerations=TOLERATES),
    "an exporter": daemon_set(
        "nvcr.io/nvidia/dcgm-exporter:4", "/var/lib/kubelet/pod-resources", container=NVIDIA_ENV
    ),
    "a DRA driver of fabrics alone": daemon_set(
        "nvcr.io/nvidia/dra-driver-nvidia-gpu:v0.5.0", *DRA, container={"name": "compute-domains"}
    ),
    "another vendor's DRA driver": daemon_set("corp/dra-nic:1", *DRA),
}


@pytest.mark.parametrize("item", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_hands_out_gpus_is_seen(item):
    [server] = gpu_servers.servers([item])

    assert server.ref == Ref("apps/v1", "DaemonSet", item["metadata"]["name"], "kube-system")
    [finding] = gpu_findings.findings(builders.contents(gpu_servers=(server,)), builders.policy())
    assert finding.blocking and finding.code == "foreign-device-plugin"
    assert finding.message.startswith(f"{server.ref} {server.does};")


@pytest.mark.parametrize("item", OTHERS.values(), ids=OTHERS.keys())
def test_what_hands_out_none_of_nvidias_gpus_is_left_unchanged(item):
    assert gpu_servers.servers([item]) == ()


def device_class(name, expression=""):
    selectors = [{"cel": {"expression": expression}}] if expression else []
    head = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": name}}
    return {**head, "spec": {"selectors": selectors}}


@pytest.mark.parametrize(
    ("item", "seen"),
    [
        (device_class("gpu.nvidia.com"), True),
        (device_class("mig.nvidia.com"), True),
        (device_class("big-gpus", "device.driver == 'gpu.nvidia.com'"), True),
        (device_class("compute-domain-daemon.nvidia.com"), False),
        (device_class("nic.example.com", "device.driver == 'nic.example.com'"), False),
    ],
    ids=lambda one: one["metadata"]["name"] if isinstance(one, dict) else "",
)
def test_classes_under_which_gpus_are_claimed_are_seen(item, seen):
    assert bool(gpu_servers.servers([], [item])) is seen


# NodePools


def node_pool(name="theirs", kind="EC2NodeClass", node_class="theirs", labels=None, **spec):
    group = "eks.amazonaws.com" if kind == "NodeClass" else "karpenter.k8s.aws"
    inner = {
        "nodeClassRef": {"group": group, "kind": kind, "name": node_class},
        "requirements": [
            {"key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": ["g", "p"]}
        ],
    }
    template = {"metadata": {"labels": labels or {}}, "spec": inner | spec}
    head = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}}
    return {**head, "spec": {"template": template}}


BOTTLEROCKET = {"amiSelectorTerms": [{"alias": "bottlerocket@latest"}]}
FAMILY = {"amiFamily": "Bottlerocket", "amiSelectorTerms": [{"id": "ami-1"}]}
AL2023 = {"amiSelectorTerms": [{"alias": "al2023@latest"}]}
ADOPTS = builders.policy(
    "{taken: {sharing: time-slicing, gpus: [l4], adopt: theirs, maxGpus: 8}}", "gpuOperator: {adopt: true}"
)
OPERATOR = Release("gpus", "nvidia", 1, "deployed", "gpu-operator", "v26.7.0")


def node_class(spec, name="theirs"):
    head = {"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": name}}
    return {**head, "spec": spec}


def codes(policy=None, **seen):
    found = gpu_findings.findings(builders.contents(**seen), policy or builders.policy())
    assert all(one.blocking for one in found)
    return [one.code for one in found]


@pytest.mark.parametrize(
    ("spec", "expected"), [(BOTTLEROCKET, ["bottlerocket"]), (FAMILY, ["bottlerocket"]), (AL2023, [])]
)
def test_the_policys_own_node_class_must_not_be_bottlerocket(spec, expected):
    policy = builders.policy(builders.DEFAULT_POOLS, "nodeClass: {name: gpu, create: false}")
    ref = rbac.node_class_ref(policy)

    assert codes(policy, objects={ref: node_class(spec, "gpu")}) == expected


def test_nor_may_that_of_a_node_pool_that_is_adopted():
    seen = {"node_pools": (node_pool(),), "node_classes": (node_class(BOTTLEROCKET),)}

    assert codes(ADOPTS, **seen) == ["bottlerocket"]
    assert codes(ADOPTS, node_pools=(node_pool(kind="NodeClass"),)) == ["auto-mode"]


@pytest.mark.parametrize(
    ("pool", "releases", "expected"),
    [
        pytest.param(node_pool(), (), ["bottlerocket"], id="would get a second plugin"),
        pytest.param(node_pool(), (OPERATOR,), [], id="has it already"),
        pytest.param(
            node_pool(labels={"nvidia.com/gpu.deploy.operands": "false"}), (), [], id="is kept off it"
        ),
        pytest.param(node_pool(requirements=[]), (), [], id="has no GPUs"),
    ],
)
def test_bottlerocket_nodes_of_others_get_no_second_plugin(pool, releases, expected):
    seen = {"node_pools": (pool,), "node_classes": (node_class(BOTTLEROCKET),), "releases": releases}

    assert codes(**seen) == expected


WORKER = daemon_set(
    "registry.k8s.io/nfd/node-feature-discovery:v0.18",
    name="nfd-worker",
    container={"command": ["nfd-worker"]},
    tolerations=[{"operator": "Exists"}],
)


def of_release(item, name):
    marks = {"annotations": {"meta.helm.sh/release-name": name}}
    return {**item, "metadata": item["metadata"] | marks}


def test_a_second_feature_discovery_is_not_brought():
    assert gpu_servers.feature_discovery([WORKER, daemon_set("x")], []) == (WORKER,)
    of_ours = of_release(WORKER, "gpus")
    assert gpu_servers.feature_discovery([of_ours], [OPERATOR]) == ()
    assert gpu_servers.feature_discovery([of_release(WORKER, "nfd")], [OPERATOR]) != ()

    contents = builders.contents(feature_discovery=(WORKER,))
    [finding] = gpu_findings.findings(contents, builders.policy())
    assert finding.code == "nfd-elsewhere" and finding.remedy.startswith("Nothing")
    found = operator_release.difference(contents, builders.policy(), builders.settings(), builders.NOW)
    assert found.actions[-1].values["nfd"] == {"enabled": False}


def test_one_that_would_not_run_on_our_nodes_is_reported():
    bare = daemon_set(container={"command": ["nfd-worker"]}, tolerations=TOLERATES)
    [finding] = gpu_findings.findings(builders.contents(feature_discovery=(bare,)), builders.policy())

    assert finding.remedy.startswith("Have its workers tolerate slicewise.dev/class:")


def test_labels_that_nobody_we_see_would_write_are_reported():
    node = builders.node(name="n", pool=None)
    node["metadata"]["labels"]["nvidia.com/gpu.count"] = "1"

    def reported(**seen):
        return [one.code for one in gpu_findings.findings(builders.contents(nodes=(node,), **seen), ADOPTS)]

    assert reported() == ["gpus-labelled-by-others"]
    assert reported(releases=(OPERATOR,)) == []


def test_who_serves_the_gpus_of_each_node_pool_is_said():
    pools = (
        node_pool("a"),
        node_pool("b", node_class="rockets"),
        node_pool("c", kind="NodeClass"),
        node_pool("d", requirements=[]),
    )
    found = gpu_findings.by_node_pool(
        builders.contents(
            node_pools=pools, node_classes=(node_class(FAMILY, "rockets"),), releases=(OPERATOR,)
        )
    )

    assert [tuple(one.values()) for one in found] == [
        ("a", "GPU Operator nvidia/gpus"),
        ("b", "Bottlerocket's own device plugin"),
        ("c", "EKS Auto Mode"),
    ]
