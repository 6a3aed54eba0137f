"""N as it is in live objects: in keys, overlays and limits, and what a machine of theirs shall offer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction

from slicewise.hardware import gpus as catalog
from slicewise.hardware.gpus import GpuModel
from slicewise.kube import quantities
from slicewise.kube.objects import labels as labels_of
from slicewise.kube.objects import required_values, spec
from slicewise.kube.ref import Object
from slicewise.policy.model import Pool
from slicewise.pools.layout import (
    CONFIG_LABEL,
    GPU_COUNT_LABEL,
    GPU_MEMORY_LABEL,
    GPU_NAME_LABEL,
    GPU_RESOURCE,
    MIG_LABEL,
    NODE_POOL_LABEL,
    mig_resource,
    resource,
    slices_of_key,
)


def config_keys_of(pool_object: Object) -> tuple[str, ...]:
    """The keys that a live NodePool lets its nodes have: one, or two while N is being changed."""
    template = spec(pool_object).get("template") or {}
    return required_values((template.get("spec") or {}).get("requirements") or (), CONFIG_LABEL) or ()


def initial_key(claim: Object) -> str | None:
    """The key that a NodeClaim started with; its spec never changes, also when N does."""
    keys = required_values(spec(claim).get("requirements") or (), CONFIG_LABEL) or ()
    return keys[0] if len(keys) == 1 else None


def n_of_nodes(
    claims: Iterable[Object], overlays: Iterable[Object], pool: Pool, node_pool: str
) -> int | None:
    """
    N of a NodePool whose requirement does not show it: what most of its NodeClaims are labelled with, of two
    the lower one; without any, what its overlays agree on. None where nothing shows it.
    """
    of = (labels_of(claim) for claim in claims)
    keys = (found.get(CONFIG_LABEL, "") for found in of if found.get(NODE_POOL_LABEL) == node_pool)
    counted = Counter(n for n in map(slices_of_key, keys) if n)
    if counted:
        return min(counted, key=lambda n: (-counted[n], n))
    claimed = {n_of_overlay(overlay, pool) for overlay in overlays if _speaks_of(overlay, node_pool)}
    return claimed.pop() if len(claimed) == 1 else None


def _speaks_of(overlay: Object, node_pool: str) -> bool:
    return required_values(spec(overlay).get("requirements") or (), NODE_POOL_LABEL) == (node_pool,)


def n_of_overlay(overlay: Object, pool: Pool) -> int | None:
    """
    Slices a GPU that a live overlay makes Karpenter count for a pool with replicas; None where that is odd.
    """
    counts = required_values(spec(overlay).get("requirements") or (), GPU_COUNT_LABEL) or ()
    capacity = (spec(overlay).get("capacity") or {}).get(resource(pool))
    if len(counts) != 1 or not counts[0].isdecimal() or int(counts[0]) < 1 or capacity is None:
        return None
    n, rest = divmod(quantities.number(capacity), int(counts[0]))
    return n if rest == 0 else None


def n_of_limits(node_pool: Object, pool: Pool) -> Fraction | None:
    """Slices a GPU that a live NodePool's limits allow for; None where there is no limit of them."""
    limit = (spec(node_pool).get("limits") or {}).get(resource(pool))
    return None if limit is None or not pool.max_gpus else quantities.number(limit) / pool.max_gpus


def is_limited_for(node_pool: Object, pool: Pool, n: int) -> bool:
    """Whether a live NodePool's limit is that of N = `n`; also where neither policy nor owner set one."""
    limit = (spec(node_pool).get("limits") or {}).get(resource(pool))
    if pool.max_gpus is None:
        return True
    return limit is not None and quantities.number(limit) == n * pool.max_gpus


def promised(labels: Mapping[str, str], key: str | None) -> dict[str, int] | None:
    """
    What a machine with these labels shall offer under a key, by resource; None where they do not show it.

    Args:
        labels: Of a NodeClaim or a Node of ours: GPU model and count, and under MIG the profile.
        key: Of the device plugin's ConfigMap.
    """
    n = slices_of_key(key) if key else None
    gpus = labels.get(GPU_COUNT_LABEL, "")
    if n is None or not gpus.isdecimal() or int(gpus) == 0:
        return None
    profile = labels.get(MIG_LABEL, "").removeprefix("all-")
    if not profile:
        return {GPU_RESOURCE: n * int(gpus)}
    most = {gpu.mig[profile] for gpu in catalog.MODELS if _is_model(gpu, labels) and profile in gpu.mig}
    if len(most) != 1:
        return None
    return {mig_resource(profile): most.pop() * int(gpus), GPU_RESOURCE: 0}


def _is_model(gpu: GpuModel, labels: Mapping[str, str]) -> bool:
    memory = labels.get(GPU_MEMORY_LABEL, str(gpu.memory_mib))
    return (labels.get(GPU_NAME_LABEL), memory) == (gpu.karpenter_name, str(gpu.memory_mib))
