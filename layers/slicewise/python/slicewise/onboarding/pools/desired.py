"""
What each NodePool of a policy and its overlays should be, given what there is; or why they stay as they are.

N is read from the live NodePools, never from the policy: changing it is tuning's work. What would make
Karpenter replace nodes that run is reported, not done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slicewise.hardware.gpus import GpuModel
from slicewise.kube.labels import ROLLOUT_ANNOTATION, SHARING_LABEL
from slicewise.kube.objects import annotations_of, being_deleted, holds, labels, name, required_values, spec
from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents
from slicewise.onboarding.pools import fallback as fallback_pools
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy, Pool
from slicewise.pools import layout, observed


@dataclass(frozen=True)
class PoolTarget:
    """
    What one NodePool and its overlays should be; with `unchanged` set, why they are left unchanged instead.
    """

    overlays: tuple[Object, ...]
    node_pool: Object
    unchanged: Finding | None = None


def targets(contents: ClusterContents, policy: Policy) -> tuple[PoolTarget, ...]:
    weights = layout.overlay_weights(policy)
    return tuple(
        _target(contents, policy, pool, gpu, weights) for pool in policy.parts for gpu in pool.models()
    )


def _target(
    contents: ClusterContents, policy: Policy, pool: Pool, gpu: GpuModel, weights: Mapping[str, int]
) -> PoolTarget:
    pool_name = layout.node_pool_name(pool, gpu)
    found = next((item for item in contents.node_pools if name(item) == pool_name), None)
    n = pool.start
    keys = observed.config_keys_of(found) if found else ()
    if (
        not pool.size
        and len(keys) == 1
        and (now := layout.slices_of_key(keys[0]))
        and layout.config_key(pool.sharing, now) == keys[0]
        and not (found and _did_not_share(found, pool))
    ):
        n = now
    elif found and not keys and not pool.size and pool.sharing.has_replicas:
        observed_n = observed.n_of_nodes(contents.node_claims, contents.node_overlays, pool, pool_name)
        n = observed_n or n
    if pool.adopt and found:
        # Tuning takes it over: with the labels of its nodes, which must come first.
        return PoolTarget(layout.overlays(pool, gpu, n, weights), found, _busy(found, keys))
    wanted = fallback_pools.opened_as(found, _disrupted_as(found, layout.node_pool(policy, pool, gpu, n)))
    unchanged = _why_unchanged(contents, found, wanted, keys) if found else None
    return PoolTarget(layout.overlays(pool, gpu, n, weights), wanted, unchanged)


def _disrupted_as(found: Object | None, wanted: Object) -> Object:
    """
    With the live spec.disruption: tuning writes it, once there is a NodePool. The stamp stays the policy's,
    so that what tuning writes is no difference.
    """
    live = spec(found).get("disruption") if found else None
    return {**wanted, "spec": {**wanted["spec"], "disruption": live}} if live else wanted


def _did_not_share(found: Object, pool: Pool) -> bool:
    """Whether its one slice a GPU was no choice of N: the policy had another way of sharing for this pool."""
    return labels(found).get(SHARING_LABEL, pool.sharing) != pool.sharing


def _busy(found: Object, keys: tuple[str, ...]) -> Finding | None:
    """Why nothing may be applied to a NodePool and its overlays now."""
    pool_name = name(found)
    if being_deleted(found):
        return Finding(
            "node-pool-going",
            f"NodePool {pool_name} is being deleted.",
            "No action needed: it is recreated once it is deleted. Remove the pool from the policy if it "
            "shall stay "
            "away.",
        )
    if ROLLOUT_ANNOTATION in annotations_of(found):
        return Finding(
            "n-being-changed",
            f"N of NodePool {pool_name} is being changed.",
            "No action needed: tuning finishes it. The policy's other changes to this pool are made then.",
        )
    if len(keys) > 1:
        return Finding(
            "n-being-changed",
            f"NodePool {pool_name} allows {' and '.join(keys)}: its N is being changed.",
            "No action needed: tuning narrows it once every node is updated.",
        )
    return None


def _why_unchanged(
    contents: ClusterContents, found: Object, wanted: Object, keys: tuple[str, ...]
) -> Finding | None:
    """Why a NodePool must be left unchanged; None where it may be applied."""
    if busy := _busy(found, keys):
        return busy
    pool_name = name(found)
    if _class_of(found)[:2] != _class_of(wanted)[:2]:
        return Finding(
            "node-class-fixed",
            f"NodePool {pool_name} names a NodeClass of another kind than the policy, and Karpenter "
            "does not allow that to change.",
            f"kubectl delete nodepool {pool_name} when its workloads may move; it is recreated with the new "
            "NodeClass.",
        )
    claims = [
        claim for claim in contents.node_claims if labels(claim).get(layout.NODE_POOL_LABEL) == pool_name
    ]
    why = _drift(found, wanted, claims)
    if why is None:
        return None
    return Finding(
        "would-replace-nodes",
        f"NodePool {pool_name} is left unchanged: the policy's {why} would replace its {len(claims)} nodes.",
        f"Empty it, or kubectl delete nodepool {pool_name} when its workloads may move: then the policy "
        "applies.",
    )


def _drift(found: Object, wanted: Object, claims: list[Object]) -> str | None:
    """
    What would make Karpenter replace one of these NodeClaims; None where nothing would.

    It hashes the template without its requirements, and compares the NodeClaims' labels with the
    requirements.
    """
    if not claims:
        return None
    old, new = spec(found).get("template") or {}, wanted["spec"]["template"]
    if ((old.get("metadata") or {}).get("labels") or {}) != new["metadata"]["labels"]:
        return "template labels"
    old_spec = old.get("spec") or {}
    for part in ("taints", "nodeClassRef"):
        if not holds(old_spec.get(part), new["spec"][part]):
            return part
    requirements = new["spec"]["requirements"]
    for key in (requirement["key"] for requirement in requirements):
        allowed = required_values(requirements, key) or ()
        if any(labels(claim).get(key) not in allowed for claim in claims):
            return f"{key} of {', '.join(allowed)}"
    return None


def _class_of(node_pool: Object) -> tuple[str, str, str]:
    reference = ((spec(node_pool).get("template") or {}).get("spec") or {}).get("nodeClassRef") or {}
    return reference.get("group", ""), reference.get("kind", ""), reference.get("name", "")
