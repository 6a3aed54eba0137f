"""
Reads what the proof judges: pools, overlays, claims, nodes and the pods that ask for slices.

Five LISTs, exactly what the group `slicewise:tuner` may do.
"""

from __future__ import annotations

from dataclasses import dataclass

from slicewise.errors import Refused, Unauthorized, Unavailable
from slicewise.events import Hint
from slicewise.model import ClusterContents, EksCluster, Object
from slicewise.ports import Kubernetes, Ports
from slicewise.records import Record

_OUR_POOLS = "slicewise.dev/pool"
_UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
_GPU_PREFIX = "nvidia.com/"


@dataclass(frozen=True)
class ProofWorld:
    """
    Attributes:
        cluster: None where EKS knows no such cluster.
        watched: Whether a policy applies to the cluster; contents are read only then.
        look_error: Why contents are None although they were asked for.
    """

    cluster: EksCluster | None
    watched: bool = False
    record: Record | None = None
    paused: str | None = None
    contents: ClusterContents | None = None
    look_error: str | None = None


def observe(hint: Hint, record: Record | None, ports: Ports, default_policy: str = "") -> ProofWorld:
    cluster, paused = ports.eks.describe(hint.name), ports.store.paused(hint.cluster)
    watched = cluster is not None and cluster.policy_name(default_policy) is not None
    if not cluster or not watched or paused or cluster.status != "ACTIVE":
        return ProofWorld(cluster, watched, record, paused)
    try:
        return ProofWorld(cluster, watched, record, contents=look(ports.kubernetes(cluster)))
    except (Unauthorized, Refused, Unavailable) as error:
        return ProofWorld(cluster, watched, record, look_error=str(error))


def look(kubernetes: Kubernetes) -> ClusterContents:
    return ClusterContents(
        version="",
        node_pools=kubernetes.list("karpenter.sh/v1", "NodePool"),
        node_overlays=kubernetes.list("karpenter.sh/v1alpha1", "NodeOverlay"),
        node_claims=kubernetes.list("karpenter.sh/v1", "NodeClaim", labels=_OUR_POOLS),
        nodes=kubernetes.list("v1", "Node", labels=_OUR_POOLS),
        pods=tuple(pod for pod in kubernetes.list("v1", "Pod", fields=_UNFINISHED) if asks_for_slices(pod)),
    )


def asks_for_slices(pod: Object) -> bool:
    """Requests of extended resources equal their limits, and a pod may name only the limit."""
    return any(
        resource.startswith(_GPU_PREFIX)
        for container in pod["spec"].get("containers") or ()
        for part in ("requests", "limits")
        for resource in (container.get("resources") or {}).get(part) or ()
    )
