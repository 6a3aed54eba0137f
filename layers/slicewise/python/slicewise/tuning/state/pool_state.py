"""
One NodePool as tuning sees it: its nodes, claims and overlays together, and what its annotations remember.
Pure.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.hardware.gpus import GpuModel
from slicewise.kube import quantities
from slicewise.kube.labels import (
    CORDONED_ANNOTATION,
    ROLLOUT_ANNOTATION,
    SHARING_LABEL,
    STARTUP_ANNOTATION,
    TUNING_ANNOTATION,
)
from slicewise.kube.objects import (
    annotations_of,
    asked,
    being_deleted,
    created_at,
    is_ours,
    is_true,
    labels,
    name,
    spec,
    status,
)
from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents
from slicewise.planning.outcome import Finding
from slicewise.policy.model import MAX_REPLICAS, Policy, Pool, Sharing
from slicewise.pools import adopted_settings, layout, observed
from slicewise.pools.startup_history import is_unreadable
from slicewise.tuning.state import schedulable as landing
from slicewise.tuning.state.history import History

# Karpenter's promise not to remove a node or a pod on its own.
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
DISRUPTED_TAINT = "karpenter.sh/disrupted"
# Of spec.disruption.consolidateAfter; source: NodePool's CRD, karpenter v1.14.1.
_AFTER = re.compile(r"([0-9]+(s|m|h))+|Never")


@dataclass(frozen=True)
class Canary:
    """
    The one node that has the new N first, and since when.

    Attributes:
        empty: Its time has ended, and no GPU of it had more pods than before for long enough: it proves
            nothing.
    """

    node: str
    since: datetime
    empty: bool = False


@dataclass(frozen=True)
class Rollout:
    """
    A rollout in progress, as its annotation records it.

    Attributes:
        held: Settings of the NodePool that are put back in the end, by their field in spec.disruption.
        narrowed: When the requirement came to allow only the new key.
        revert: Back to `from_`; `reason` then says why.
        wide: The requirement was written so that it allows both keys.
        taken_back: How often another writer undid what we had written into the requirement.
        limited: The N for which the NodePool's limit was written.
        defers_to: The writer to whom the requirement is left, since it was undone too often.
    """

    from_: int
    to: int
    since: datetime
    reason: str
    canary: Canary | None = None
    held: Mapping[str, str] = field(default_factory=dict)
    narrowed: datetime | None = None
    revert: bool = False
    wide: bool = False
    taken_back: int = 0
    limited: int | None = None
    defers_to: str = ""

    @property
    def grows(self) -> bool:
        return self.target > self.other

    @property
    def target(self) -> int:
        return self.from_ if self.revert else self.to

    @property
    def other(self) -> int:
        """The N that is left."""
        return self.to if self.revert else self.from_

    def dumped(self) -> str:
        canary: dict[str, Any] | None = None
        if self.canary:
            canary = {"node": self.canary.node, "since": stamp(self.canary.since)}
            canary |= {"empty": True} if self.canary.empty else {}
        return _dumped(
            {
                "from": self.from_,
                "to": self.to,
                "since": stamp(self.since),
                "reason": self.reason,
                "canary": canary,
                "held": dict(self.held),
                "narrowed": stamp(self.narrowed),
                "revert": self.revert,
                "wide": self.wide,
                "taken_back": self.taken_back,
                "limited": self.limited,
                "yields": self.defers_to or None,
            }
        )


class Tuning(History):
    """What tuning records of a NodePool, as its annotation has it."""

    def dumped(self) -> str:
        return _dumped(
            {
                "changed_at": stamp(self.changed_at),
                "above_since": stamp(self.above_since),
                "below_since": stamp(self.below_since),
                "above_target": self.above_target,
                "below_target": self.below_target,
                "failed": {str(n): stamp(at) for n, at in self.failed.items()},
                "untried": self.untried,
            }
        )


@dataclass(frozen=True)
class NodeState:
    """
    Attributes:
        key: The device plugin's, by the Node's label; `claim_key` by its NodeClaim's.
        allocatable: Slices that the node offers now.
        slots_in_use: Slices that its unfinished pods have.
        cordoned_by_us: And by no other: we may uncordon it.
        deleting: It, or its NodeClaim, is going.
        do_not_disrupt: It, or one of its GPU pods, forbids Karpenter to take it away.
        held_since: Since when each slice that a running pod has is in use, the oldest first.
    """

    name: str
    gpus: int
    key: str | None
    allocatable: int
    slots_in_use: int
    schedulable: bool
    cordoned_by_us: bool
    ready: bool
    claim: str | None
    claim_key: str | None
    deleting: bool
    node: Object
    claim_object: Object | None
    do_not_disrupt: bool
    held_since: tuple[datetime, ...] = ()

    def holds_more_since(self, n: int) -> datetime | None:
        """
        Since when one GPU of it has more than `n` running pods for certain; None where none does.

        It is not known which GPU has which pod, but as many as this cannot be spread otherwise.
        """
        most = n * self.gpus
        return self.held_since[most] if len(self.held_since) > most else None

    @property
    def leaving(self) -> bool:
        """Going already, or tainted by Karpenter, which has decided to take it away."""
        return self.deleting or any(
            taint.get("key") == DISRUPTED_TAINT for taint in spec(self.node).get("taints") or ()
        )

    @property
    def works(self) -> bool:
        """It runs, and its plugin has applied what the label had until now."""
        return self.ready and self.allocatable > 0 and self.promised in (None, self.allocatable)

    @property
    def promised(self) -> int | None:
        """Slices that its key promises; None for a key that is none of ours."""
        n = layout.slices_of_key(self.key or "")
        return n * self.gpus if n else None


@dataclass(frozen=True)
class PoolState:
    """
    One NodePool of one pool and GPU model.

    Attributes:
        claims: All of the NodePool, also those whose node has not come yet.
        pending: Pods that are bound nowhere, and select this pool; to a NodePool that you or a tool made they
            come by what their owners choose.
        keys: That its new nodes may start with: one, two during a rollout.
        n: N now; while it is being changed, the one that it is changed from.
        known_keys: Of the device plugin's ConfigMap; None where that was not read.
        findings: Annotations that could not be read.
    """

    pool: Pool
    gpu: GpuModel
    node_pool: Object
    overlays: tuple[Object, ...]
    nodes: tuple[NodeState, ...]
    claims: tuple[Object, ...]
    pending: int
    rollout: Rollout | None
    history: Tuning
    keys: tuple[str, ...]
    n: int
    known_keys: frozenset[str] | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        return name(self.node_pool)


def pool_states(contents: ClusterContents, policy: Policy) -> tuple[PoolState, ...]:
    """Of every NodePool that the policy wants and that is there, in the policy's order."""
    live = {name(item): item for item in contents.node_pools if is_ours(item)}
    pods, claims = by_node(contents.pods), by_node_pool(contents.node_claims)
    nodes = by_node_pool(sorted(contents.nodes, key=name))
    config_map = contents.objects.get(layout.CONFIG_MAP)
    known_keys = frozenset(config_map.get("data") or ()) if config_map else None
    return tuple(
        _pool_state(
            contents,
            pool,
            gpu,
            live[pool_name],
            tuple(claims.get(pool_name, ())),
            nodes.get(pool_name, ()),
            pods,
            known_keys,
        )
        for pool in policy.parts
        for gpu in pool.models()
        if (pool_name := layout.node_pool_name(pool, gpu)) in live
    )


def by_node(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """Pods by the name of the node that they are on; those on none by ""."""
    found: dict[str, list[Object]] = {}
    for pod in pods:
        found.setdefault(spec(pod).get("nodeName") or "", []).append(pod)
    return found


def _pool_state(
    contents: ClusterContents,
    pool: Pool,
    gpu: GpuModel,
    node_pool: Object,
    claims: tuple[Object, ...],
    nodes: Sequence[Object],
    pods: Mapping[str, Sequence[Object]],
    known_keys: frozenset[str] | None,
) -> PoolState:
    overlay_names = {layout.overlay_name(pool, gpu, count) for count in gpu.counts}
    claim_of = {status(claim).get("nodeName"): claim for claim in claims}
    overlays = tuple(item for item in contents.node_overlays if name(item) in overlay_names)
    keys = observed.config_keys_of(node_pool)
    rollout, rollout_finding = read_rollout(node_pool)
    rollout = None if pool.size else rollout or _unrecorded_rollout(node_pool, pool, keys, overlays)
    pool = adopted_settings.as_limited(_as_begun(pool, node_pool) if rollout else pool, node_pool)
    history, history_finding = read_tuning(node_pool)
    startup_finding = _unreadable(STARTUP_ANNOTATION, node_pool) if is_unreadable(node_pool) else None
    return PoolState(
        pool=pool,
        gpu=gpu,
        node_pool=node_pool,
        overlays=overlays,
        nodes=tuple(
            _node_state(node, claim_of.get(name(node)), pods.get(name(node), ()), layout.resource(pool))
            for node in nodes
        ),
        claims=claims,
        pending=_pending(pods.get("", ()), pool, node_pool, nodes),
        rollout=rollout,
        history=history,
        keys=keys,
        n=rollout.from_ if rollout else pool.size or _n_of(keys, pool, node_pool, claims, overlays),
        known_keys=known_keys,
        findings=tuple(filter(None, (rollout_finding, history_finding, startup_finding))),
    )


def _pending(pods: Iterable[Object], pool: Pool, node_pool: Object, nodes: Sequence[Object]) -> int:
    """Of pods that are bound nowhere, those that wait for this NodePool."""
    if not adopted_settings.is_adopted(node_pool):
        return sum(1 for pod in pods if layout.selects(spec(pod), pool))
    resource = layout.resource(pool)
    choices = [landing.of_a_pod_spec(spec(pod)) for pod in pods if asked(pod, resource)]
    alike = Counter(map(repr, choices))  # pods of a workload are, and there may be thousands
    found = {repr(one): one for one in choices}
    return sum(alike[shown] for shown, one in found.items() if landing.may_land(one, pool, node_pool, nodes))


def _unrecorded_rollout(
    node_pool: Object, pool: Pool, keys: tuple[str, ...], overlays: tuple[Object, ...]
) -> Rollout | None:
    """
    A NodePool whose nodes may have either of two N, while no annotation has a rollout: it was removed. The
    rollout ends at the N that Karpenter counts with.
    """
    found = sorted(n for n in map(layout.slices_of_key, keys) if n)
    if len(found) != 2:
        return None
    counted = {observed.n_of_overlay(overlay, pool) for overlay in overlays}
    to = found[1] if counted == {found[1]} else found[0]
    from_ = found[0] if to == found[1] else found[1]
    reason = "its nodes may have either N, and its annotation has no rollout"
    return Rollout(from_, to, created_at(node_pool) or datetime.fromtimestamp(0, UTC), reason)


def _as_begun(pool: Pool, node_pool: Object) -> Pool:
    """
    A change of N ends under the way of sharing that it began with: the keys of another one would have every
    node replaced.
    """
    live = labels(node_pool).get(SHARING_LABEL)
    begun = next((way for way in Sharing if way == live and way.has_replicas), pool.sharing)
    return pool if begun is pool.sharing else replace(pool, sharing=begun, profile=None)


def by_node_pool(items: Iterable[Object]) -> dict[str, list[Object]]:
    """In their order. Once for all: NodePools are tens, and nodes thousands."""
    found: dict[str, list[Object]] = {}
    for item in items:
        found.setdefault(labels(item).get(layout.NODE_POOL_LABEL, ""), []).append(item)
    return found


def _n_of(
    keys: tuple[str, ...],
    pool: Pool,
    node_pool: Object,
    claims: tuple[Object, ...],
    overlays: tuple[Object, ...],
) -> int:
    found = [n for n in map(layout.slices_of_key, keys) if n]
    if found:
        return min(found)
    shown = None if keys else observed.n_of_nodes(claims, overlays, pool, name(node_pool))
    return shown or pool.start


def _node_state(node: Object, claim: Object | None, pods: Any, resource: str) -> NodeState:
    gpus = labels(node).get(layout.GPU_COUNT_LABEL, "")
    allocatable = (status(node).get("allocatable") or {}).get(resource)
    unschedulable = bool(spec(node).get("unschedulable"))
    holders = (node, *pods)
    return NodeState(
        name=name(node),
        gpus=int(gpus) if gpus.isdecimal() else 0,
        key=labels(node).get(layout.CONFIG_LABEL),
        allocatable=quantities.whole(allocatable),
        slots_in_use=sum(asked(pod, resource) for pod in pods),
        schedulable=not unschedulable,
        cordoned_by_us=unschedulable and CORDONED_ANNOTATION in annotations_of(node),
        ready=is_true(node, "Ready"),
        claim=name(claim) if claim else None,
        claim_key=labels(claim).get(layout.CONFIG_LABEL) if claim else None,
        deleting=being_deleted(node) or bool(claim and being_deleted(claim)),
        node=node,
        claim_object=claim,
        do_not_disrupt=any(
            annotations_of(holder).get(DO_NOT_DISRUPT) not in (None, "false") for holder in holders
        ),
        held_since=tuple(sorted(_held_since(pods, resource))),
    )


def _held_since(pods: Iterable[Object], resource: str) -> Iterator[datetime]:
    """A pod that still pulls its image tries nothing."""
    for pod in pods:
        began = stamped_at(status(pod).get("startTime"))
        if began and status(pod).get("phase") == "Running":
            yield from repeat(began, asked(pod, resource))


# Annotations: read leniently, since a person may have written them; written compactly.


def read_rollout(node_pool: Object) -> tuple[Rollout | None, Finding | None]:
    return _read(node_pool, ROLLOUT_ANNOTATION, _rollout, None)


def read_tuning(node_pool: Object) -> tuple[Tuning, Finding | None]:
    return _read(node_pool, TUNING_ANNOTATION, _tuning, Tuning())


def _read(node_pool: Object, annotation: str, parse: Any, otherwise: Any) -> tuple[Any, Finding | None]:
    text = annotations_of(node_pool).get(annotation)
    if text is None:
        return otherwise, None
    try:
        return parse(json.loads(text)), None
    except UNREADABLE:
        return otherwise, _unreadable(annotation, node_pool)


def _unreadable(annotation: str, node_pool: Object) -> Finding:
    return Finding(
        "annotation-unreadable",
        f"Annotation {annotation} of NodePool {name(node_pool)} cannot be read and counts as absent.",
        f"kubectl annotate nodepool {name(node_pool)} {annotation}- removes it.",
    )


def _rollout(found: Mapping[str, Any]) -> Rollout:
    from_, to = int(found["from"]), int(found["to"])
    if min(from_, to) < 1 or max(from_, to) > MAX_REPLICAS or from_ == to:
        raise ValueError
    canary = found.get("canary")
    return Rollout(
        from_=from_,
        to=to,
        since=_required_time(found["since"]),
        reason=str(found.get("reason", "")),
        canary=_canary(canary) if canary else None,
        held=_held(found.get("held") or {}),
        narrowed=_time(found.get("narrowed")),
        revert=found.get("revert") is True,
        wide=found.get("wide") is True,
        taken_back=int(found.get("taken_back", 0)),
        limited=int(found["limited"]) if found.get("limited") else None,
        defers_to=str(found.get("yields", "")),
    )


def _canary(found: Mapping[str, Any]) -> Canary:
    return Canary(str(found["node"]), _required_time(found["since"]), found.get("empty") is True)


def _held(found: Mapping[str, Any]) -> dict[str, str]:
    """The API server would refuse to have anything else restored, each time."""
    if not all(_AFTER.fullmatch(str(value)) for value in found.values()):
        raise ValueError(f"held: {found}")
    return {str(key): str(value) for key, value in found.items()}


def _tuning(found: Mapping[str, Any]) -> Tuning:
    def number(key: str) -> int | None:
        return int(found[key]) if found.get(key) is not None else None

    return Tuning(
        changed_at=_time(found.get("changed_at")),
        above_since=_time(found.get("above_since")),
        below_since=_time(found.get("below_since")),
        above_target=number("above_target"),
        below_target=number("below_target"),
        failed={int(n): _required_time(at) for n, at in (found.get("failed") or {}).items()},
        untried=number("untried"),
    )


def _dumped(values: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in values.items() if value not in (None, {}, False)}
    return json.dumps(shown, sort_keys=True, separators=(",", ":"))


def stamp(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z") if at else None


def stamped_at(text: Any) -> datetime | None:
    """A time as `stamp` writes it; None for what is none."""
    try:
        return _time(text)
    except UNREADABLE:
        return None


def _time(stamp: str | None) -> datetime | None:
    return _required_time(stamp) if stamp else None


def _required_time(stamp: str) -> datetime:
    at = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    if at.tzinfo is None:
        raise ValueError(stamp)
    return at
