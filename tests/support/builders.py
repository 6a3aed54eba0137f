"""Values for tests: whole and valid, so that a test names only what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents, EksCluster, KarpenterInstall
from slicewise.onboarding.observation import Chart, Settings, eks_fingerprint
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.policy.model import Policy, fingerprint, parse

DEFAULT_POOLS = "{shared: {sharing: time-slicing, gpus: [l4], replicas: {start: 4, max: 8}, maxGpus: 16}}"


def policy(pools: str = DEFAULT_POOLS, *more: str, name: str = "default") -> Policy:
    """A policy from the YAML of its pools and, where the test is about them, of further fields."""
    return parse("\n".join((f"pools: {pools}", *more)), name)


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ACCOUNT, REGION = "111122223333", "eu-central-1"
INSTALLER = f"arn:aws:iam::{ACCOUNT}:role/slicewise-installer"
TUNER = f"arn:aws:iam::{ACCOUNT}:role/slicewise-tuner"
NODE_ROLE = f"arn:aws:iam::{ACCOUNT}:role/karpenter-nodes"


def cluster(name: str = "gpu-1", **fields: Any) -> EksCluster:
    """An ACTIVE cluster that nothing speaks against, an hour old."""
    given = {
        "arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{name}",
        "name": name,
        "region": REGION,
        "account": ACCOUNT,
        "status": "ACTIVE",
        "version": "1.35",
        "authentication_mode": "API_AND_CONFIG_MAP",
        "created_at": NOW - timedelta(hours=1),
        "endpoint": "https://127.0.0.1:6443",
        "ca_data": "",
        "tags": {"slicewise.dev/policy": "default"},
    }
    return EksCluster(**(given | fields))


def settings(**fields: Any) -> Settings:
    """A deployment that may install Karpenter."""
    given = {
        "installer_role": INSTALLER,
        "tuner_role": TUNER,
        "gpu_operator": Chart("charts/gpu-operator.tgz", "v26.7.0"),
        "karpenter": Chart("oci://charts.example.com/karpenter", "1.14.1"),
        "karpenter_crd": Chart("oci://charts.example.com/karpenter-crd", "1.14.1"),
        "karpenter_controller_role": f"arn:aws:iam::{ACCOUNT}:role/karpenter-controller",
        "karpenter_node_role": "karpenter-nodes",
    }
    return Settings(**(given | fields))


def record(stage: Stage, since: timedelta = timedelta(0), **fields: Any) -> Record:
    """What the pass before left, `since` ago, about a cluster under the default policy."""
    given = {
        "cluster": cluster().arn,
        "capability": "onboarding",
        "stage": stage,
        "reason": "",
        "at": NOW,
        "since": NOW - since,
        "policy": "default",
        "fingerprint": fingerprint(policy()),
        "cluster_fingerprint": eks_fingerprint(cluster()),
    }
    return Record(**(given | fields))


def karpenter(version: str | None = "1.14.1", gates: str | None = "NodeOverlay=true") -> KarpenterInstall:
    return KarpenterInstall("kube-system", "karpenter", version, gates)


def contents(**fields: Any) -> ClusterContents:
    """A cluster with Karpenter and its CRDs, and nothing of ours."""
    given = {
        "version": "v1.35.4",
        "crds": frozenset({"nodepools.karpenter.sh", "nodeclaims.karpenter.sh", "nodeoverlays.karpenter.sh"}),
        "karpenter": karpenter(),
    }
    return ClusterContents(**(given | fields))


def node_claim(
    node_pool: str,
    key: str = "ts-4",
    *,
    gpu: str = "l4",
    gpus: int = 1,
    capacity: Mapping[str, str] | None = None,
    name: str = "claim-1",
    labels: Mapping[str, str] | None = None,
) -> Object:
    """A NodeClaim born with `key`, as Karpenter makes it from one of our NodePools."""
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {
            "name": name,
            "labels": {
                "slicewise.dev/pool": node_pool.split("-")[1],
                "karpenter.sh/nodepool": node_pool,
                "karpenter.sh/capacity-type": "on-demand",
                "karpenter.k8s.aws/instance-gpu-name": gpu,
                "karpenter.k8s.aws/instance-gpu-count": str(gpus),
                "nvidia.com/device-plugin.config": key,
                **(labels or {}),
            },
        },
        "spec": {
            "requirements": [{"key": "nvidia.com/device-plugin.config", "operator": "In", "values": [key]}]
        },
        "status": {"capacity": dict(capacity)} if capacity is not None else {},
    }


def node(
    key: str = "ts-4",
    *,
    name: str = "node-1",
    pool: str | None = "shared",
    gpu: str = "l4",
    gpus: int = 1,
    mig: str | None = None,
    allocatable: Mapping[str, str] | None = None,
    age: timedelta = timedelta(0),
) -> Object:
    """A GPU node as Karpenter makes it from one of our NodePools; nobody's where `pool` is None."""
    labels = {
        "karpenter.k8s.aws/instance-gpu-name": gpu,
        "karpenter.k8s.aws/instance-gpu-count": str(gpus),
        "nvidia.com/device-plugin.config": key,
    }
    if pool:
        labels |= {"slicewise.dev/pool": pool, "karpenter.sh/nodepool": f"slicewise-{pool}-{gpu}"}
    if mig:
        labels["nvidia.com/mig.config"] = f"all-{mig}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "creationTimestamp": (NOW - age).isoformat()},
        "status": {"allocatable": dict(allocatable or {})},
    }


def pod(name: str, *, pool: str, node: str | None = None) -> Object:
    """A pod that asks for one slice of a pool; unscheduled where `node` is None."""
    spec = {
        "nodeSelector": {"slicewise.dev/pool": pool},
        "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
    }
    return {"metadata": {"name": name}, "spec": {**spec, "nodeName": node} if node else spec}
