"""
Reads what the proof judges: pools, overlays, claims, nodes and the pods that ask for slices.

Five LISTs, exactly what the group `slicewise:tuner` may do.
"""

from __future__ import annotations

from slicewise.events import Hint
from slicewise.model import ClusterContents, Object
from slicewise.objects import UNFINISHED
from slicewise.ports import Kubernetes, Ports
from slicewise.slicing.proof_pass import ProofWorld

_OUR_POOLS = "slicewise.dev/pool"
_GPU_PREFIX = "nvidia.com/"


def observe(hint: Hint, ports: Ports, default_policy: str = "") -> ProofWorld:
    """
    What stands in the way of a look is raised: an onboarded cluster into which the tuner cannot look needs
    help, and the queue's retries bridge the seconds until a new access entry works.
    """
    cluster, paused = ports.eks.describe(hint.name), ports.store.paused(hint.cluster)
    watched = cluster is not None and cluster.policy_name(default_policy) is not None
    if not cluster or not watched or paused or cluster.status != "ACTIVE":
        return ProofWorld(cluster, watched, paused)
    return ProofWorld(cluster, watched, contents=look(ports.kubernetes(cluster)))


def look(kubernetes: Kubernetes) -> ClusterContents:
    return ClusterContents(
        version="",
        node_pools=kubernetes.list("karpenter.sh/v1", "NodePool"),
        node_overlays=kubernetes.list("karpenter.sh/v1alpha1", "NodeOverlay"),
        node_claims=kubernetes.list("karpenter.sh/v1", "NodeClaim", labels=_OUR_POOLS),
        nodes=kubernetes.list("v1", "Node", labels=_OUR_POOLS),
        # Most pods of a cluster ask for no GPU; all of them at once would not fit into the function's memory.
        pods=kubernetes.list("v1", "Pod", fields=UNFINISHED, only=asks_for_slices),
    )


def asks_for_slices(pod: Object) -> bool:
    """Requests of extended resources equal their limits, and a pod may name only the limit."""
    return any(
        resource.startswith(_GPU_PREFIX)
        for container in pod["spec"].get("containers") or ()
        for part in ("requests", "limits")
        for resource in (container.get("resources") or {}).get(part) or ()
    )
