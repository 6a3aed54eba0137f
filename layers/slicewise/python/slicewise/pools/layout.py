"""
The layout of slices in a cluster: names, numbers, and the objects that must change in step.

Device-plugin key, NodePool requirement, NodePool limits and NodeOverlay capacity all have the same N. They
are made here, from one N, for onboarding and tuning alike. Every function is pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from slicewise.hardware.gpus import GpuModel
from slicewise.kube import kinds
from slicewise.kube.labels import (
    CLASS_LABEL,
    FALLBACK_LABEL,
    POOL_LABEL,
    SHARING_LABEL,
)
from slicewise.kube.objects import spec, stamped
from slicewise.kube.ref import Object, Ref
from slicewise.policy.model import MAX_REPLICAS, MIN_REPLICAS, MOVES_PODS_PERCENT, Policy, Pool, Sharing

OPERATOR_NAMESPACE = "gpu-operator"
CONFIG_MAP = Ref(*kinds.CONFIG_MAP, "slicewise-device-plugin", OPERATOR_NAMESPACE)
EXCLUSIVE = "exclusive"
NO_KEYS: Mapping[str, str] = MappingProxyType({})

# A value of CLASS_LABEL on a workload: its class is chosen by what it uses.
AUTO = "auto"
# A limit of Karpenter's: no nodes at all.
NO_NODES = {"nodes": "0"}
# Karpenter tries the heaviest NodePools first, and those without a weight last: the others before fallbacks.
WEIGHT_BEFORE_FALLBACKS = 10
# On a NodePool in place of the stamp of what was applied: it starts no more nodes. Should the policy want it
# back, it is applied again.
CLOSED = "closed"
CONFIG_LABEL = "nvidia.com/device-plugin.config"
MIG_LABEL = "nvidia.com/mig.config"
NODE_POOL_LABEL = "karpenter.sh/nodepool"
CAPACITY_TYPE_LABEL = "karpenter.sh/capacity-type"
GPU_NAME_LABEL = "karpenter.k8s.aws/instance-gpu-name"
GPU_COUNT_LABEL = "karpenter.k8s.aws/instance-gpu-count"
GPU_MEMORY_LABEL = "karpenter.k8s.aws/instance-gpu-memory"
GPU_MANUFACTURER_LABEL = "karpenter.k8s.aws/instance-gpu-manufacturer"
GPU_RESOURCE = "nvidia.com/gpu"
TAINT = {"key": GPU_RESOURCE, "value": "true", "effect": "NoSchedule"}
# For all that has to run on every node of ours. Always both: a pool may be split, and no longer, at any time.
TOLERATIONS = [
    {"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"},
    {"key": CLASS_LABEL, "operator": "Exists", "effect": "NoSchedule"},
]

_PREFIXES = {Sharing.TIME_SLICING: "ts", Sharing.MPS: "mps"}


# Keys of the device plugin's ConfigMap


def config_key(sharing: Sharing, n: int) -> str:
    """The key that makes the device plugin advertise each GPU `n` times; MIG and n = 1 share nothing."""
    return f"{_PREFIXES[sharing]}-{n}" if sharing in _PREFIXES and n > 1 else EXCLUSIVE


def slices_of_key(key: str) -> int | None:
    """How often a key's configuration advertises each GPU; None for a key that is not ours."""
    if key == EXCLUSIVE:
        return 1
    prefix, _, n = key.partition("-")
    if prefix in _PREFIXES.values() and n.isdecimal() and MIN_REPLICAS <= int(n) <= MAX_REPLICAS:
        return int(n)
    return None


def device_plugin_configs() -> dict[str, str]:
    """
    Every configuration that a node may ever be labelled with, as YAML by key.

    All are written at onboarding: the plugin's config-manager notices a changed *label*, never a changed
    ConfigMap, and exits on a key that has not reached it yet. A key in use must never be edited or deleted.
    """
    configs = {EXCLUSIVE: "version: v1\nflags:\n  migStrategy: mixed\n"}
    for sharing, block in ((Sharing.TIME_SLICING, "timeSlicing"), (Sharing.MPS, "mps")):
        for n in range(MIN_REPLICAS, MAX_REPLICAS + 1):
            configs[config_key(sharing, n)] = (
                "version: v1\n"
                "flags:\n"
                "  migStrategy: mixed\n"
                "sharing:\n"
                f"  {block}:\n"
                "    renameByDefault: false\n"
                "    failRequestsGreaterThanOne: true\n"
                "    resources:\n"
                f"    - name: {GPU_RESOURCE}\n"
                f"      replicas: {n}\n"
            )
    return configs


def config_map(
    live_data: Mapping[str, str],
    theirs: Mapping[str, str] = NO_KEYS,
    namespace: str = OPERATOR_NAMESPACE,
) -> Object:
    """
    All our keys; those that are there already stay word for word, no matter who wrote them.

    Args:
        theirs: Keys that a GPU Operator's owner has in a ConfigMap of their own: they follow it, where their
            name is none of ours.
        namespace: That of the operator.
    """
    ours = device_plugin_configs()
    carried = {key: text for key, text in theirs.items() if key not in ours}
    return stamped(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP.name, "namespace": namespace},
            "data": {**ours, **live_data, **carried},
        }
    )


# Numbers


def resource(pool: Pool) -> str:
    """What a pod of this pool requests one of."""
    return mig_resource(pool.profile) if pool.profile else GPU_RESOURCE


def mig_resource(profile: str) -> str:
    """The device plugin's name for a profile under `mig.strategy: mixed` (internal/rm/rm.go)."""
    return f"nvidia.com/mig-{profile.replace('+', '.')}"


def slices_per_gpu(pool: Pool, gpu: GpuModel, n: int) -> int:
    return gpu.mig[pool.profile] if pool.profile else n


def capacity(pool: Pool, gpu: GpuModel, n: int, gpus: int) -> dict[str, str]:
    """What a machine with `gpus` GPUs offers at N = `n`. Under MIG no whole GPU is left to request."""
    slices = {resource(pool): str(slices_per_gpu(pool, gpu, n) * gpus)}
    return {**slices, GPU_RESOURCE: "0"} if pool.profile else slices


def limits(pool: Pool, gpu: GpuModel, n: int) -> dict[str, str]:
    """Karpenter's limits count slices, not GPUs: they grow and shrink with N. Empty where none is set."""
    if pool.max_gpus is None:
        return {}
    return {resource(pool): str(slices_per_gpu(pool, gpu, n) * pool.max_gpus)}


# Pods


def class_of(pod_spec: Mapping[str, Any]) -> int | None:
    """The class that a pod, or a template of pods, selects; None for none, or for what is no class."""
    found = str((pod_spec.get("nodeSelector") or {}).get(CLASS_LABEL, ""))
    return int(found) if found.isdecimal() else None


def selects(pod_spec: Mapping[str, Any], pool: Pool) -> bool:
    """Whether a pod is meant for a pool or, where that is split, for this class; without one, for class 1."""
    return chooses(pod_spec, pool) and is_of_class(pod_spec, pool)


def chooses(pod_spec: Mapping[str, Any], pool: Pool) -> bool:
    """Whether a pod selects a pool, in any class."""
    return bool((pod_spec.get("nodeSelector") or {}).get(POOL_LABEL) == pool.name)


def is_of_class(pod_spec: Mapping[str, Any], pool: Pool) -> bool:
    """Also of every pool that is not split."""
    return pool.size in (None, class_of(pod_spec) or 1)


# NodePools and NodeOverlays

# How many nodes Karpenter may remove at once. To remove an empty node moves no pod, and each minute of it is
# paid for: all may be removed together. Moving pods stays at Karpenter's own default of a tenth, rounded up.
BUDGETS = [
    {"nodes": "100%", "reasons": ["Empty"]},
    {"nodes": f"{MOVES_PODS_PERCENT}%", "reasons": ["Underutilized", "Drifted"]},
]


# Where N is untried: of nodes whose pods would have to move one is removed, and then the next.
ONE_AT_A_TIME = {"nodes": "1", "reasons": ["Underutilized"]}


def node_pool_name(pool: Pool, gpu: GpuModel) -> str:
    return pool.adopt or _own_name(pool, gpu)


def overlay_name(pool: Pool, gpu: GpuModel, gpus: int) -> str:
    return f"{_own_name(pool, gpu)}-{gpus}"


def _own_name(pool: Pool, gpu: GpuModel) -> str:
    return "-".join(("slicewise", pool.name, gpu.name, *_class(pool).values()))


def node_pool_names(policy: Policy) -> frozenset[str]:
    return frozenset(node_pool_name(part, gpu) for part in policy.parts for gpu in part.models())


def is_superseded(node_pool: str, marks: Mapping[str, str], policy: Policy) -> bool:
    """
    Whether a NodePool of this name and these labels is one that a pool had before it was split otherwise.
    """
    size = marks.get(CLASS_LABEL)
    bare = node_pool.removesuffix(f"-{size}") if size else node_pool
    names = {_own_name(pool, gpu) for pool in policy.pools for gpu in pool.models()}
    return bare in names and node_pool not in node_pool_names(policy)


def _class(pool: Pool) -> dict[str, str]:
    return {CLASS_LABEL: str(pool.size)} if pool.size else {}


def node_pool(policy: Policy, pool: Pool, gpu: GpuModel, n: int) -> Object:
    """
    The NodePool of one pool and GPU model, whose new nodes start with N = `n`.

    The template's labels and taints are hashed by Karpenter, so any change of theirs would replace every
    node: nothing that may vary is in them. N is in the requirements, which are not hashed. Our own
    stamp leaves N out as well: tuning changes it, and what it wrote is no difference.
    """
    return stamped(_node_pool(policy, pool, gpu, n), shape=_node_pool(policy, pool, gpu, 1))


def _node_pool(policy: Policy, pool: Pool, gpu: GpuModel, n: int) -> Object:
    fallback = pool.is_fallback(gpu)
    labels = {POOL_LABEL: pool.name, SHARING_LABEL: pool.sharing.value, **_class(pool)}
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {
            "name": node_pool_name(pool, gpu),
            "labels": labels | ({FALLBACK_LABEL: "true"} if fallback else {}),
        },
        "spec": {
            "template": {
                "metadata": {"labels": _template_labels(pool)},
                "spec": {
                    "nodeClassRef": {
                        "group": policy.node_class.group,
                        "kind": policy.node_class.kind,
                        "name": policy.node_class.name,
                    },
                    "taints": _taints(pool),
                    "requirements": _node_requirements(pool, gpu, n),
                },
            },
            "disruption": {
                "consolidationPolicy": policy.consolidation.policy.value,
                "consolidateAfter": policy.consolidation.first_after,
                "budgets": BUDGETS,
            },
            "limits": limits(pool, gpu, n) | (NO_NODES if fallback else {}),
            **({"weight": WEIGHT_BEFORE_FALLBACKS} if pool.fallback_gpus and not fallback else {}),
        },
    }


def _taints(pool: Pool) -> list[dict[str, str]]:
    """A pod without a class lands in class 1 alone, where it has a GPU to itself."""
    shared = {"key": CLASS_LABEL, "value": str(pool.size), "effect": "NoSchedule"}
    return [TAINT, shared] if (pool.size or 1) > 1 else [TAINT]


def _template_labels(pool: Pool) -> dict[str, str]:
    labels = {POOL_LABEL: pool.name, **_class(pool)}
    if pool.profile:
        labels[MIG_LABEL] = f"all-{pool.profile}"
    return labels


def _node_requirements(pool: Pool, gpu: GpuModel, n: int) -> list[dict[str, Any]]:
    wanted = {
        CONFIG_LABEL: [config_key(pool.sharing, n)],
        GPU_NAME_LABEL: [gpu.karpenter_name],
        GPU_COUNT_LABEL: [str(count) for count in pool.counts(gpu)],
        CAPACITY_TYPE_LABEL: list(pool.capacity_types),
    }
    if gpu.name_is_shared:
        wanted[GPU_MEMORY_LABEL] = [str(gpu.memory_mib)]
    return _in(wanted)


def _in(wanted: Mapping[str, Iterable[str]]) -> list[dict[str, Any]]:
    return [{"key": key, "operator": "In", "values": list(values)} for key, values in wanted.items()]


def overlays(pool: Pool, gpu: GpuModel, n: int, weights: Mapping[str, int]) -> tuple[Object, ...]:
    """
    What Karpenter shall believe of the pool's machines: one overlay for each GPU count that EC2 sells.

    Keyed on the NodePool's *name*: an overlay never matches a label that is only in requirements. Count and
    manufacturer keep it off machines without GPUs, which would otherwise seem to have slices, too.
    """
    return tuple(
        stamped(_overlay(pool, gpu, n, count, weights), shape=_overlay(pool, gpu, 1, count, weights))
        for count in gpu.counts
    )


def _overlay(pool: Pool, gpu: GpuModel, n: int, count: int, weights: Mapping[str, int]) -> Object:
    return {
        "apiVersion": "karpenter.sh/v1alpha1",
        "kind": "NodeOverlay",
        "metadata": {
            "name": overlay_name(pool, gpu, count),
            "labels": {POOL_LABEL: pool.name, **_class(pool)},
        },
        "spec": {
            "weight": weights[overlay_name(pool, gpu, count)],
            "requirements": _in(
                {
                    NODE_POOL_LABEL: [node_pool_name(pool, gpu)],
                    GPU_COUNT_LABEL: [str(count)],
                    GPU_MANUFACTURER_LABEL: ["nvidia"],
                }
            ),
            "capacity": capacity(pool, gpu, n, count),
        },
    }


def closed_limits(node_pool: Object) -> dict[str, Any]:
    """
    Of a NodePool that starts no more nodes. Of MIG's nodes no `nvidia.com/gpu` counts: what its own limit
    names must be none, too.
    """
    limits = spec(node_pool).get("limits") or {}
    gpus = dict.fromkeys((resource for resource in limits if resource.startswith("nvidia.com/")), "0")
    return {**limits, **gpus, GPU_RESOURCE: "0"}


def may_have_gpus(node_pool: Object) -> bool:
    """
    Whether a NodePool may start machines with NVIDIA GPUs, now or when a pod asks: where its requirements do
    not rule them out. EC2's types with such GPUs are those of its families g and p.
    """
    requirements = ((spec(node_pool).get("template") or {}).get("spec") or {}).get("requirements") or ()
    return not any(_rules_gpus_out(one) for one in requirements)


def _rules_gpus_out(requirement: Mapping[str, Any]) -> bool:
    key, operator = requirement.get("key"), requirement.get("operator")
    if key in (GPU_NAME_LABEL, GPU_COUNT_LABEL, GPU_MANUFACTURER_LABEL, GPU_MEMORY_LABEL):
        return operator == "DoesNotExist"
    if key in _OF_A_TYPE and operator == "In":
        return not any(str(value).startswith(("g", "p")) for value in requirement.get("values") or ())
    return False


_OF_A_TYPE = (
    "karpenter.k8s.aws/instance-category",
    "karpenter.k8s.aws/instance-family",
    "node.kubernetes.io/instance-type",
)


def overlay_weights(policy: Policy) -> dict[str, int]:
    """
    A weight for each overlay's name, no two alike: of two equal ones Karpenter drops one, even if they agree.

    Taken from the name's checksum, so that a pool that is added or removed leaves the others' weights
    unchanged; where two meet, the later name moves on to the next free weight. Karpenter allows 1 to 10000.
    """
    names = sorted(
        overlay_name(pool, gpu, count)
        for pool in policy.parts
        for gpu in pool.models()
        for count in gpu.counts
    )
    weights: dict[str, int] = {}
    taken: set[int] = set()
    for name in names:
        weight = zlib.crc32(name.encode()) % 10_000 + 1
        while weight in taken:
            weight = weight % 10_000 + 1
        taken.add(weight)
        weights[name] = weight
    return weights
