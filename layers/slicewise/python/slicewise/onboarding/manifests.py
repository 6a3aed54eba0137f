"""What onboarding installs, as values: the namespace, the NodeClass, the gate's probe, and helm's values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from slicewise.kube import kinds
from slicewise.kube.labels import GATE_PROBE_RESOURCE
from slicewise.kube.objects import is_ours, stamped
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import ClusterContents, EksCluster, Release
from slicewise.onboarding import admission, rbac
from slicewise.onboarding.helm.operator_values import (
    EXPORTER_FOR_PROMETHEUS,
    MARK,
    MEASURED_BY_THE_ADD_ON,
    is_marked,
)
from slicewise.onboarding.observation import Settings
from slicewise.policy.model import Policy
from slicewise.pools import layout
from slicewise.pools.layout import TOLERATIONS

OPERATOR = "gpu-operator"
KARPENTER, KARPENTER_CRD = "karpenter", "karpenter-crd"
KARPENTER_SERVICE_ACCOUNT = "karpenter"
POD_IDENTITY_ADDON = "eks-pod-identity-agent"

NAMESPACE = Ref(*kinds.NAMESPACE, layout.OPERATOR_NAMESPACE)
GATE_PROBE = Ref(*kinds.NODE_OVERLAY, "slicewise-gate-probe")


def namespace() -> Object:
    return stamped({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE.name}})


def node_class(policy: Policy, settings: Settings, cluster: EksCluster) -> Object:
    """
    AL2023 brings NVIDIA's driver and toolkit; subnets and security groups are found by Karpenter's own tag.
    """
    discovery = [{"tags": {"karpenter.sh/discovery": cluster.name}}]
    return stamped(
        {
            "apiVersion": "karpenter.k8s.aws/v1",
            "kind": "EC2NodeClass",
            "metadata": {"name": policy.node_class.name},
            "spec": {
                "role": settings.karpenter_node_role,
                "amiSelectorTerms": [{"alias": policy.node_class.image}],
                "subnetSelectorTerms": discovery,
                "securityGroupSelectorTerms": discovery,
                "blockDeviceMappings": [
                    {
                        "deviceName": "/dev/xvda",
                        # Images of AI frameworks are 5 to 15 GiB each; AL2023's own 20 GiB hold hardly two.
                        "ebs": {"volumeSize": "100Gi", "volumeType": "gp3", "encrypted": True},
                    }
                ],
            },
        }
    )


def gate_probe() -> Object:
    """
    An overlay that matches no machine there is. With the gate on, Karpenter writes conditions on it in a
    moment; with the gate off, it never does, and nothing else in the API shows it.
    """
    return stamped(
        {
            "apiVersion": GATE_PROBE.api_version,
            "kind": GATE_PROBE.kind,
            "metadata": {"name": GATE_PROBE.name},
            "spec": {
                "weight": 1,
                "requirements": [
                    {"key": layout.NODE_POOL_LABEL, "operator": "In", "values": [GATE_PROBE.name]},
                    {
                        "key": "node.kubernetes.io/instance-type",
                        "operator": "In",
                        "values": [GATE_PROBE.name],
                    },
                ],
                "capacity": {GATE_PROBE_RESOURCE: "1"},
            },
        }
    )


def operator_values(
    policy: Policy, tolerations: Iterable[Mapping[str, Any]] = TOLERATIONS, nfd: bool = True
) -> dict[str, Any]:
    """
    Our own GPU Operator's values for EKS (chart v26.7.0); operator_values.join joins another owner's.

    Args:
        policy: Only a MIG pool needs mig-manager, which restarts kubelets: else it stays off.
        tolerations: What operands must tolerate on our nodes.
        nfd: Whether it brings node-feature-discovery, of which a cluster has room for one.
    """
    tolerated = [dict(one) for one in tolerations]
    return {
        MARK: {"adopted": False},
        "driver": {"enabled": False},  # AL2023's accelerated image has both
        "toolkit": {"enabled": False},
        "nfd": {"enabled": nfd},  # its pci-10de labels decide where operands run
        "cdi": {"enabled": True},
        "gfd": {"enabled": True},
        # The hook that upgrades CRDs is a Job that needs a node and can hang helm; we apply the CRDs
        # ourselves.
        "operator": {"upgradeCRD": False},
        "clusterPolicy": {"deployCR": True},
        "gpuCluster": {"deployCR": False},
        "devicePlugin": {
            "enabled": True,
            "config": {"create": False, "name": layout.CONFIG_MAP.name, "default": layout.EXCLUSIVE},
        },
        # With `single`, whole GPUs are advertised before MIG is set up, and a pod that takes one blocks it.
        "mig": {"strategy": "mixed"},
        "migManager": {"enabled": policy.has_mig},
        "dcgmExporter": {
            # Two exporters on a node fight over the GPUs' profiling counters.
            "enabled": policy.metrics.source not in MEASURED_BY_THE_ADD_ON,
            **EXPORTER_FOR_PROMETHEUS,
        },
        "daemonsets": {"tolerations": tolerated},
        "node-feature-discovery": {"worker": {"tolerations": tolerated}},
    }


def karpenter_on_fargate_values(cluster: EksCluster, role_arn: str, queue: str = "") -> dict[str, Any]:
    """
    Fargate sells each pod half a processor with 2 GB at least from 1 GiB on, of which 256 MiB are kubelet's
    (EKS user guide, "Understand Fargate Pod configuration details"): asked for is all that is paid for.
    """
    memory = "1792Mi"
    values = karpenter_values(cluster, queue)
    return values | {
        "serviceAccount": {
            **values["serviceAccount"],
            "annotations": {"eks.amazonaws.com/role-arn": role_arn},
        },
        # CoreDNS may run on machines that this Karpenter has yet to start.
        "dnsPolicy": "Default",
        "controller": {
            "resources": {
                "requests": {"cpu": "500m", "memory": memory},
                "limits": {"cpu": "500m", "memory": memory},
            }
        },
    }


def karpenter_values(cluster: EksCluster, queue: str = "") -> dict[str, Any]:
    """
    Args:
        queue: Name of the SQS queue from which Karpenter learns of interruptions; empty where it does not.
    """
    settings = {"clusterName": cluster.name, "featureGates": {"nodeOverlay": True}}
    return {
        MARK: {"adopted": False},
        "replicas": 2,
        "serviceAccount": {"name": KARPENTER_SERVICE_ACCOUNT},  # its role comes by EKS Pod Identity
        "settings": settings | ({"interruptionQueue": queue} if queue else {}),
        "controller": {
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
        },
    }


def karpenter_crd_values() -> dict[str, Any]:
    return {MARK: {"adopted": False}}


def find_release(releases: tuple[Release, ...], name: str, namespace: str) -> Release | None:
    return next((r for r in releases if (r.name, r.namespace) == (name, namespace)), None)


def anything_of_ours(contents: ClusterContents) -> bool:
    """Whether something that we installed is in the cluster; the gate's probe does not count."""
    things: list[Object] = [*contents.objects.values(), *contents.node_pools, *contents.node_overlays]
    return any(is_ours(item) and ref_of(item) != GATE_PROBE for item in things) or any(
        map(is_marked, contents.releases)
    )


@lru_cache(maxsize=64)  # as the policy that is parsed
def observed_refs(policy: Policy) -> tuple[Ref, ...]:
    """
    The objects that a reconcile must `get` one by one. What comes with a list (NodePools, NodeOverlays) is
    not here.
    """
    node_class = rbac.node_class_ref(policy)
    return (
        NAMESPACE,
        layout.CONFIG_MAP,
        rbac.CLUSTER_POLICY,
        *((node_class,) if node_class else ()),
        *(ref_of(item) for item in (*admission.objects(policy), *rbac.objects(policy))),
    )
