"""
Proof that slices are where they were promised: every GPU node against its N, every overlay and NodeClaim.
Pure.

Configuration can be right everywhere and still have no effect: an overlay that matches nothing, a device
plugin that never came. Only nodes show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from slicewise.kube import quantities
from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.objects import condition, created_at, is_ours, is_true, labels, name, since, spec, status
from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents
from slicewise.planning.outcome import Finding
from slicewise.pools import layout, observed

# Driver, operands and device plugin take two to three minutes on a new node. Karpenter itself sets no limit:
# a node without slices stays uninitialised, and its pods nominated, for ever.
START_UP = timedelta(minutes=5)

_CAUSES = (
    "Likely: GPU Operator's pods do not tolerate the node's taints or cannot pull images; the image is not "
    "an accelerated AL2023 one, so driver or toolkit are missing; its key is not in the ConfigMap "
    f"{layout.CONFIG_MAP.namespace}/{layout.CONFIG_MAP.name}; another device plugin allocates the GPUs. "
    f"See the pods on the node in {layout.OPERATOR_NAMESPACE}."
)


@dataclass(frozen=True)
class CapacityCheck:
    """`summary` is one sentence; no findings means that every node is as promised or still starting."""

    summary: str
    findings: tuple[Finding, ...] = ()


def check_capacity(contents: ClusterContents, now: datetime, changing: Collection[str] = ()) -> CapacityCheck:
    """`changing` are NodePools whose N is being changed: their nodes differ for a while, as they should."""
    nodes = [node for node in contents.nodes if POOL_LABEL in labels(node)]
    known = _Known(_registered(contents.node_claims), Counter(_awaited(contents.pods)))
    judged = [_judge(node, known, now, changing) for node in sorted(nodes, key=name)]
    findings = (
        *(judgement.finding for judgement in judged if judgement.finding),
        *_overlays(contents),
        *_claims(contents),
    )
    return CapacityCheck(_summary(judged, findings), findings)


@dataclass(frozen=True)
class _Known:
    """
    What is read for each of thousands of nodes.

    Attributes:
        registered: When each node registered, by its name.
        waiting: By pool, how many pods wait for a node.
    """

    registered: Mapping[str, datetime]
    waiting: Mapping[str, int]


@dataclass(frozen=True)
class _Judgement:
    offered: int
    promised: int
    starting: bool = False
    finding: Finding | None = None


def _judge(node: Object, known: _Known, now: datetime, changing: Collection[str]) -> _Judgement:
    found = labels(node)
    key = found.get(layout.CONFIG_LABEL)
    promised = observed.promised(found, key)
    if promised is None:
        return _Judgement(0, 0, finding=_unknown(node, key))
    allocatable = status(node).get("allocatable") or {}
    offered = {resource: quantities.whole(allocatable.get(resource)) for resource in promised}
    total, due = sum(offered.values()), sum(promised.values())
    if offered == promised:
        return _Judgement(total, due)
    if total and found.get(layout.NODE_POOL_LABEL) in changing:
        return _Judgement(total, due)
    # When it registered, as its NodeClaim shows; else when it was created.
    started = known.registered.get(name(node)) or created_at(node) or now
    if now - started <= START_UP:
        return _Judgement(total, due, starting=True)
    if total == 0:
        return _Judgement(0, due, finding=_never_initialised(node, promised, known))
    return _Judgement(total, due, finding=_mismatch(node, key, offered, promised))


def _registered(claims: Iterable[Object]) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for claim in claims:
        registered = condition(claim, "Registered") or {}
        if registered.get("status") == "True" and (at := since(registered)):
            found.setdefault(status(claim).get("nodeName", ""), at)
    return found


def _awaited(pods: Iterable[Object]) -> Iterator[str]:
    """The pool that each pod chooses which has no node yet."""
    for pod in pods:
        pool = (spec(pod).get("nodeSelector") or {}).get(POOL_LABEL)
        if pool and not spec(pod).get("nodeName"):
            yield pool


def _unknown(node: Object, key: str | None) -> Finding:
    if layout.slices_of_key(key or "") is None:
        return Finding(
            "node-key-unknown",
            f"Node {name(node)} carries {layout.CONFIG_LABEL}={key or '(nothing)'}, which is none of our "
            "keys: the device plugin offers no GPUs for it.",
            "Label it with the key of its NodePool, or delete its NodeClaim: delete it and a new node gets "
            "the right label.",
        )
    return Finding(
        "node-gpus-unknown",
        f"Node {name(node)} has no label that says how many GPUs it has, or which.",
        f"See that Karpenter sets {layout.GPU_COUNT_LABEL} and {layout.GPU_NAME_LABEL} on it.",
    )


def _never_initialised(node: Object, promised: Mapping[str, int], known: _Known) -> Finding:
    pool = labels(node)[POOL_LABEL]
    waiting = known.waiting.get(pool, 0)
    pods = (
        f" {waiting} pods of pool {pool} wait, and Karpenter starts nothing else for them." if waiting else ""
    )
    return Finding(
        "never-initialised",
        f"Node {name(node)} offers no slices of {_in_words(promised)} promised, {_minutes(START_UP)} minutes "
        f"and more after it joined.{pods}",
        _CAUSES,
    )


def _mismatch(
    node: Object, key: str | None, offered: Mapping[str, int], promised: Mapping[str, int]
) -> Finding:
    return Finding(
        "slices-differ",
        f"Node {name(node)} offers {_in_words(offered)}; its key {key} promises {_in_words(promised)}.",
        "If it was just relabelled, wait. Else see the device plugin's config-manager on this node: it "
        "notices a changed label, not a changed ConfigMap.",
    )


def _overlays(contents: ClusterContents) -> list[Finding]:
    return [
        Finding(
            "overlay-not-ready",
            f"NodeOverlay {name(overlay)} is not ready, so Karpenter does not count its slices.",
            "kubectl describe it; if Karpenter's gate NodeOverlay was switched off, switch it on again.",
        )
        for overlay in sorted(contents.node_overlays, key=name)
        if is_ours(overlay) and not is_true(overlay, "Ready")
    ]


def _claims(contents: ClusterContents) -> list[Finding]:
    """
    What Karpenter believed when it launched each NodeClaim, against the N of its birth; one finding a
    NodePool.

    An overlay can be Ready and match nothing: this is where it shows.
    """
    found: dict[str, Finding] = {}
    for claim in sorted(contents.node_claims, key=name):
        node_pool = labels(claim).get(layout.NODE_POOL_LABEL, "")
        believed = status(claim).get("capacity")
        promised = observed.promised(labels(claim), observed.initial_key(claim))
        if node_pool in found or not believed or promised is None:
            continue
        had = {resource: quantities.whole(believed.get(resource)) for resource in promised}
        if had != promised:
            found[node_pool] = Finding(
                "overlay-without-effect",
                f"Karpenter launched NodeClaim {name(claim)} for {_in_words(had)}, not "
                f"{_in_words(promised)}: no NodeOverlay matched it.",
                "Compare the overlay's requirements with the NodeClaim's labels; until then Karpenter "
                "starts too many nodes.",
            )
    return list(found.values())


def _summary(judged: list[_Judgement], findings: tuple[Finding, ...]) -> str:
    if not judged:
        nodes = "no GPU node yet"
    else:
        offered, promised = sum(j.offered for j in judged), sum(j.promised for j in judged)
        starting = sum(1 for judgement in judged if judgement.starting)
        nodes = f"{len(judged)} GPU node{'s' if len(judged) != 1 else ''}, {offered} of {promised} slices"
        nodes += f", {starting} still starting" if starting else ""
    return f"{nodes}; {len(findings)} finding{'s' if len(findings) != 1 else ''}" if findings else nodes


def _in_words(slices: Mapping[str, int]) -> str:
    """ "nvidia.com/gpu 4"; a resource that shall be 0 is named only where it is not."""
    counted = [f"{resource} {count}" for resource, count in slices.items() if count]
    return ", ".join(counted) or "nothing"


def _minutes(length: timedelta) -> int:
    return int(length.total_seconds() // 60)
