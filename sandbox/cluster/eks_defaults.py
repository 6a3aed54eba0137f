"""
What stands in an EKS cluster before anybody touches it, as plain objects.

* two nodes of a managed node group, where Karpenter and the GPU Operator run
* Karpenter's Deployment as its chart makes it, for whoever reads version and gates
* the binding behind EKS's cluster admin access policy
"""

from __future__ import annotations

from typing import Any

from sandbox.artifacts import versions
from sandbox.cluster.instance_types import INSTANCE_TYPES, ZONES

Object = dict[str, Any]

KARPENTER_NAMESPACE = "kube-system"
SYSTEM_NODE_TYPE = "m7i.4xlarge"
# The token webhook turns an associated access policy into this group. On EKS access
# policies are an authorizer of their own; a binding is as visible and as revocable.
ADMIN_POLICY_GROUP = "eks-access-policy:AmazonEKSClusterAdminPolicy"


def admin_policy_binding() -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "eks-access-policy-cluster-admin"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": ADMIN_POLICY_GROUP}],
    }


def system_node(index: int) -> Object:
    """A node of a managed node group: not Karpenter's, without GPUs, in the zone of its index."""
    kind = INSTANCE_TYPES[SYSTEM_NODE_TYPE]
    name = f"system-{index}"
    resources = {"cpu": str(kind.vcpu), "memory": f"{kind.memory_mib}Mi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": kind.name,
                "topology.kubernetes.io/zone": ZONES[index % len(ZONES)],
                "eks.amazonaws.com/nodegroup": "system",
            },
        },
        "status": {"capacity": resources, "allocatable": resources},
    }


def karpenter_service_account() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "karpenter", "namespace": KARPENTER_NAMESPACE},
    }


def karpenter_deployment(cluster_name: str, gates: str) -> Object:
    """As its chart makes it, reduced to what can be read from outside."""
    version = versions.chosen().karpenter
    selector = {"app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter"}
    container = {
        "name": "controller",
        "image": f"public.ecr.aws/karpenter/controller:{version}",
        "env": [
            {"name": "FEATURE_GATES", "value": gates},
            {"name": "CLUSTER_NAME", "value": cluster_name},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "karpenter",
            "namespace": KARPENTER_NAMESPACE,
            "labels": {
                **selector,
                "app.kubernetes.io/version": version,
                "app.kubernetes.io/managed-by": "Helm",
                "helm.sh/chart": f"karpenter-{version}",
            },
        },
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": selector},
                "spec": {
                    "serviceAccountName": "karpenter",
                    "priorityClassName": "system-cluster-critical",
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "affinity": _not_on_karpenter_nodes(),
                    "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
                    "containers": [container],
                },
            },
        },
    }


def _not_on_karpenter_nodes() -> Object:
    term = {"matchExpressions": [{"key": "karpenter.sh/nodepool", "operator": "DoesNotExist"}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
