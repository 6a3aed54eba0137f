"""What onboarding installs, as values: the namespace, the NodeClass, the gate's probe, and helm's values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from slicewise import layout
from slicewise.model import EksCluster, Object, Ref, Release, ref_of
from slicewise.objects import stamped
from slicewise.onboarding import rbac
from slicewise.onboarding.world import Settings
from slicewise.policy import MetricsSource, Policy

OPERATOR = "gpu-operator"
KARPENTER, KARPENTER_CRD = "karpenter", "karpenter-crd"
KARPENTER_SERVICE_ACCOUNT = "karpenter"
POD_IDENTITY_ADDON = "eks-pod-identity-agent"

NAMESPACE = Ref("v1", "Namespace", layout.OPERATOR_NAMESPACE)
GATE_PROBE = Ref("karpenter.sh/v1alpha1", "NodeOverlay", "slicewise-gate-probe")

# The CloudWatch add-on brings an exporter of its own, which both versions of Container Insights read.
_MEASURED_BY_THE_ADD_ON = (MetricsSource.CONTAINER_INSIGHTS, MetricsSource.CONTAINER_INSIGHTS_OTEL)

# Charts do not know this key and ignore it; a release's values are where helm keeps what its owner said.
_MARK = "slicewise"


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
                "amiSelectorTerms": [{"alias": "al2023@latest"}],
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
    moment; with the gate off, nobody ever does, and nothing else in the API tells.
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
                "capacity": {"slicewise.dev/gate-probe": "1"},
            },
        }
    )


# The exporter's own label holds the name of its pod where nobody tells it that of its node.
_NODE_OF_EXPORTER = {
    "sourceLabels": ["__meta_kubernetes_pod_node_name"],
    "targetLabel": "node",
    "action": "replace",
}


def operator_values(policy: Policy, adopted: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    GPU Operator's values for EKS (chart v26.7.0).

    Args:
        policy: Only a MIG pool needs mig-manager, which restarts kubelets: else it stays off.
        adopted: Values of a release that somebody else installed; they stay wherever ours say nothing.
    """
    ours: dict[str, Any] = {
        _MARK: {"adopted": adopted is not None},
        "driver": {"enabled": False},  # AL2023's accelerated image has both
        "toolkit": {"enabled": False},
        "nfd": {"enabled": True},  # its pci-10de labels decide where operands run
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
            "enabled": policy.metrics.source not in _MEASURED_BY_THE_ADD_ON,
            "hostPID": True,  # or use by process, and so by pod, cannot be told
            "serviceMonitor": {"enabled": True, "honorLabels": True, "relabelings": [_NODE_OF_EXPORTER]},
            # Without it all slices of a GPU count as one, and the last pod is named for them.
            "env": [{"name": "KUBERNETES_VIRTUAL_GPUS", "value": "true"}],
        },
        # In both places: operands and NFD's workers each have their own list.
        "daemonsets": {"tolerations": layout.TOLERATIONS},
        "node-feature-discovery": {"worker": {"tolerations": layout.TOLERATIONS}},
    }
    return _merged(adopted, ours) if adopted is not None else ours


def wanted_operator_values(policy: Policy, live: Release | None) -> dict[str, Any]:
    """The values for the release as it stands: somebody else's are kept below ours, our own are replaced."""
    if live is None or (is_marked(live) and not live.values[_MARK].get("adopted")):
        return operator_values(policy)
    return operator_values(policy, adopted=live.values)


def karpenter_values(cluster: EksCluster) -> dict[str, Any]:
    return {
        _MARK: {"adopted": False},
        "replicas": 2,
        "serviceAccount": {"name": KARPENTER_SERVICE_ACCOUNT},  # its role comes by EKS Pod Identity
        "settings": {"clusterName": cluster.name, "featureGates": {"nodeOverlay": True}},
        "controller": {
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
        },
    }


def karpenter_crd_values() -> dict[str, Any]:
    return {_MARK: {"adopted": False}}


def is_marked(release: Release) -> bool:
    """Whether this release was installed or adopted by us."""
    return isinstance(release.values.get(_MARK), Mapping)


def find_release(releases: tuple[Release, ...], name: str, namespace: str) -> Release | None:
    return next((r for r in releases if (r.name, r.namespace) == (name, namespace)), None)


@lru_cache(maxsize=64)  # as the policy that is parsed
def observed_refs(policy: Policy) -> tuple[Ref, ...]:
    """
    The objects that a look must `get` one by one. What comes with a list (NodePools, NodeOverlays) is not
    here.
    """
    node_class = rbac.node_class_ref(policy)
    return (
        NAMESPACE,
        layout.CONFIG_MAP,
        rbac.CLUSTER_POLICY,
        *((node_class,) if node_class else ()),
        *(ref_of(item) for item in rbac.objects(policy)),
    )


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        both = isinstance(lower, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(lower, value) if both else value
    return merged
