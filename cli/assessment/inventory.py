"""
The GPU nodes of any cluster and the pods that hold their GPUs, from plain Nodes and Pods. Pure.

A node need not be Karpenter's, nor have GPU feature discovery. In this order:

    model   Karpenter's labels, else the family of `node.kubernetes.io/instance-type`
    GPUs    Karpenter's label, `nvidia.com/gpu.count`, the one count that the family has, else what is offered
    slices  what the device plugin offers ÷ GPUs
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from slicewise.costs.prices import ON_DEMAND, RESERVED, SPOT
from slicewise.hardware import gpus as catalog
from slicewise.hardware.gpus import GpuModel
from slicewise.kube import quantities
from slicewise.kube.labels import POOL_LABEL, SHARING_LABEL
from slicewise.kube.objects import asked, labels, name, spec, status
from slicewise.kube.ref import Object, Ref
from slicewise.pools import layout
from slicewise.tuning.state.whole_gpus import gpus_of
from slicewise.tuning.usage.owners import topmost_owner
from slicewise.tuning.usage.workloads import pod_key

INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
# EKS managed node groups, and eksctl's, say it in capitals.
_EKS_CAPACITY_LABEL = "eks.amazonaws.com/capacityType"
# GPU feature discovery (k8s-device-plugin, docs/gpu-feature-discovery).
_COUNT_LABEL, _PRODUCT_LABEL = "nvidia.com/gpu.count", "nvidia.com/gpu.product"
_SHARING_LABEL = "nvidia.com/gpu.sharing-strategy"
# The device plugin's name for slices where `renameByDefault` is set.
_SHARED_GPU = f"{layout.GPU_RESOURCE}.shared"
MIG_PREFIX = "nvidia.com/mig-"
# A product of strategy `single` says which instances its GPUs are cut into: "A100-SXM4-40GB-MIG-1g.5gb".
_MIG_PRODUCT = "-MIG-"


@dataclass(frozen=True)
class GpuNode:
    """
    Attributes:
        model: None where EC2 sells no such GPU, or nothing says which one it is; `product` is for people.
        gpus: Physical ones; None where nothing says how many.
        offered: What the device plugin offers of `nvidia.com/gpu`: GPUs, or slices of them.
        mig: Instances offered, by profile, such as {"1g.10gb": 7}.
        term: At which it is paid: ON_DEMAND, SPOT or RESERVED.
        mps: Whether its GPUs are shared by MPS, for which they are in exclusive compute mode.
        whole_by_policy: Whether its NodePool gives whole GPUs because a policy of Slicewise says so.
    """

    name: str
    instance_type: str
    model: GpuModel | None
    product: str
    gpus: int | None
    offered: int = 0
    mig: Mapping[str, int] = field(default_factory=dict)
    term: str = ON_DEMAND
    mps: bool = False
    whole_by_policy: bool = False
    node_pool: str = ""

    @property
    def paid(self) -> tuple[str, str]:
        """By which it has a price: type and term."""
        return self.instance_type, self.term

    @property
    def is_sliced(self) -> bool:
        """Whether pods may hold less than a GPU of it."""
        return bool(self.mig) or self.offered > (self.gpus or 0)

    @property
    def group(self) -> str:
        """By which nodes are assessed together: one model of GPU."""
        return self.model.name if self.model else self.product


@dataclass(frozen=True)
class GpuPod:
    """
    Attributes:
        key: "namespace/pod".
        node: "" while it is not placed.
        gpus: Asked of `nvidia.com/gpu`: GPUs, or slices where its node's GPUs are shared.
        most_of_one: What its largest container asks; more than one cannot be a slice.
        mig: MIG instances asked for, by profile.
        has_claims: Whether it claims devices by dynamic resource allocation (DRA).
    """

    key: str
    workload: Ref
    node: str
    gpus: int
    most_of_one: int = 0
    mig: Mapping[str, int] = field(default_factory=dict)
    has_claims: bool = False

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]


def gpu_nodes(nodes: Iterable[Object], node_pools: Iterable[Object] = ()) -> tuple[GpuNode, ...]:
    """
    Args:
        nodes: All of the cluster; those without GPUs are left out.
        node_pools: Karpenter's, as far as they could be read.
    """
    whole = {
        name(pool)
        for pool in node_pools
        if labels(pool).get(POOL_LABEL) and labels(pool).get(SHARING_LABEL) == "none"
    }
    return tuple(_node(node, whole) for node in sorted(nodes, key=name) if _has_gpus(node))


def gpu_pods(pods: Iterable[Object]) -> tuple[GpuPod, ...]:
    """That hold a GPU, a slice, a MIG instance or a claim, or wait for one, and are not being deleted."""
    found = (_pod(pod) for pod in pods if not is_ending(pod))
    return tuple(sorted((pod for pod in found if pod.gpus or pod.mig or pod.has_claims), key=lambda p: p.key))


def is_ending(pod: Object) -> bool:
    """Whether it is being deleted: on a node that is away it may be for hours, beside its replacement."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def held(pod: GpuPod, node: GpuNode) -> Fraction:
    """
    How many physical GPUs of its node a pod holds.

    Of MIG instances the part of the node's compute slices; of a claim nothing is known, and it counts as 0.
    """
    if node.gpus is None:
        return Fraction(0)
    slices = sum(catalog.mig_compute_slices(profile) * count for profile, count in node.mig.items())
    mig = sum(catalog.mig_compute_slices(profile) * count for profile, count in pod.mig.items())
    of_mig = Fraction(mig, slices) * _cut(node) if slices else Fraction(0)
    # Fewer than there are: one is unhealthy, and the others are whole.
    shared = max(1, node.offered, whole := node.gpus - _cut(node))
    return of_mig + Fraction(pod.gpus * whole, shared)


def _cut(node: GpuNode) -> int:
    """GPUs of the node that MIG cuts, where others of it may be whole."""
    if not node.mig or node.gpus is None or not node.offered:
        return (node.gpus or 0) if node.mig else 0
    most = node.model.mig if node.model else {}
    if not node.mig.keys() <= most.keys():
        return max(0, node.gpus - node.offered)
    # The others may be sliced: what is offered beside the instances says nothing of how many they are.
    of_one = max(-(-count // most[profile]) for profile, count in node.mig.items())
    slices = sum(catalog.mig_compute_slices(profile) * count for profile, count in node.mig.items())
    return min(node.gpus, max(of_one, -(-slices // (node.model.compute_slices if node.model else 1))))


def _has_gpus(node: Object) -> bool:
    found = _offers(node)
    return (
        any(resource.startswith("nvidia.com/") for resource in found)
        or layout.GPU_NAME_LABEL in labels(node)
        or _by_family(node) is not None
    )


def _offers(node: Object) -> dict[str, int]:
    """NVIDIA's resources of the node; allocatable, since an unhealthy GPU is left out of it."""
    found = status(node).get("allocatable") or status(node).get("capacity") or {}
    wanted = {
        one: amount for one, amount in found.items() if one.startswith((layout.GPU_RESOURCE, MIG_PREFIX))
    }
    return {resource: quantities.whole(amount) for resource, amount in wanted.items()}


def _node(node: Object, whole: set[str]) -> GpuNode:
    found, offers, model = labels(node), _offers(node), _model(node)
    mig = {
        key.removeprefix(MIG_PREFIX).removesuffix(".shared"): n
        for key, n in offers.items()
        if _is_mig(key, n)
    }
    offered = offers.get(layout.GPU_RESOURCE, 0) + offers.get(_SHARED_GPU, 0)
    product = found.get(_PRODUCT_LABEL, "")
    profile = product.partition(_MIG_PRODUCT)[2].removesuffix("-SHARED")
    if profile:
        mig, offered = {profile: offered}, 0
    return GpuNode(
        name=name(node),
        instance_type=found.get(INSTANCE_TYPE_LABEL, ""),
        model=model,
        product=product or found.get(layout.GPU_NAME_LABEL, "") or "GPU of unknown model",
        gpus=_count(found, offered, mig, model, bool(profile)),
        offered=offered,
        mig=mig,
        term=_term(found),
        mps=found.get(_SHARING_LABEL) == "mps",
        whole_by_policy=found.get(layout.NODE_POOL_LABEL) in whole,
        node_pool=found.get(layout.NODE_POOL_LABEL, ""),
    )


def _term(found: Mapping[str, str]) -> str:
    said = found.get(layout.CAPACITY_TYPE_LABEL) or found.get(_EKS_CAPACITY_LABEL, "").lower()
    # Karpenter's word for a capacity block, too, is "reserved".
    return {"spot": SPOT, "reserved": RESERVED, "capacity_block": RESERVED}.get(said, ON_DEMAND)


def _is_mig(resource: str, count: int) -> bool:
    return resource.startswith(MIG_PREFIX) and count > 0


def _model(node: Object) -> GpuModel | None:
    found = labels(node)
    known = [one for one in catalog.MODELS if one.karpenter_name == found.get(layout.GPU_NAME_LABEL)]
    memory = found.get(layout.GPU_MEMORY_LABEL, "")
    if len(known) > 1:
        known = [one for one in known if str(one.memory_mib) == memory]
    return known[0] if known else _by_family(node)


def _by_family(node: Object) -> GpuModel | None:
    family = labels(node).get(INSTANCE_TYPE_LABEL, "").partition(".")[0]
    return next((one for one in catalog.MODELS if family in one.families), None)


def _count(
    found: Mapping[str, str], offered: int, mig: Mapping[str, int], model: GpuModel | None, single: bool
) -> int | None:
    # Strategy `single` has the label count MIG instances.
    for label in (layout.GPU_COUNT_LABEL, *(() if single else (_COUNT_LABEL,))):
        if found.get(label, "").isdecimal() and int(found[label]):
            return int(found[label])
    if model and len(model.counts) == 1:
        return model.counts[0]
    if single and model and (most := model.mig.get(next(iter(mig), ""))):
        return math.ceil(sum(mig.values()) / most)
    return offered or None


def _pod(pod: Object) -> GpuPod:
    wanted = {
        resource
        for part in ("containers", "initContainers")
        for container in spec(pod).get(part) or ()
        for amounts in (container.get("resources") or {}).values()
        if isinstance(amounts, Mapping)
        for resource in amounts
        if resource.startswith(MIG_PREFIX)
    }
    mig = {one.removeprefix(MIG_PREFIX).removesuffix(".shared"): asked(pod, one) for one in sorted(wanted)}
    return GpuPod(
        key=pod_key(pod),
        workload=topmost_owner(pod),
        node=spec(pod).get("nodeName", ""),
        gpus=asked(pod, layout.GPU_RESOURCE) + asked(pod, _SHARED_GPU),
        most_of_one=gpus_of(spec(pod)),
        mig={profile: count for profile, count in mig.items() if count},
        has_claims=bool(spec(pod).get("resourceClaims")),
    )
