"""
NodePools that a pool had before its policy split it otherwise: closed, and deleted once they have no node.
Pure. What runs there stays as it is: only a limit is written, which is hashed nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from slicewise.kube.json_patch import annotation_path, set_value
from slicewise.kube.labels import APPLIED, ASLEEP, ORIGINAL_ANNOTATION, PUBLISHES
from slicewise.kube.objects import (
    annotations_of,
    being_deleted,
    is_ours,
    labels,
    name,
    required_values,
    spec,
)
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import ClusterContents
from slicewise.planning.actions import Action, Delete, Patch
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy
from slicewise.pools import layout


def actions(contents: ClusterContents, policy: Policy) -> Iterator[Action]:
    superseded = _superseded(contents, policy)
    for item in superseded:
        if not _is_closed(item) and ASLEEP not in annotations_of(item):
            yield _close(item)
        # A NodePool that is closed gets no NodeClaim any more, so that none can come between this reconcile
        # and its end.
        # One with a mark is what lets tuning remove its annotations from workloads.
        elif _is_closed(item) and not _claims(contents, item) and PUBLISHES not in annotations_of(item):
            yield Delete(
                ref_of(item), "its pool is now split otherwise, and no node of it is left", name(item)
            )
    kept = {name(item) for item in superseded if _claims(contents, item) or not _is_closed(item)}
    for overlay in sorted(contents.node_overlays, key=name):
        of = required_values(spec(overlay).get("requirements") or (), layout.NODE_POOL_LABEL) or ("",)
        if is_ours(overlay) and of[0] not in kept and layout.is_superseded(of[0], labels(overlay), policy):
            yield Delete(ref_of(overlay), f"it is about NodePool {of[0]}, which is deleted", of[0])


def findings(contents: ClusterContents, policy: Policy) -> list[Finding]:
    return [
        Finding(
            "node-pool-closed",
            f"NodePool {name(item)} is from before its pool was split otherwise. It starts no more "
            f"nodes; {len(claims)} run there, and take pods as long as they do.",
            "No action needed: it is deleted once they are empty. Sooner: kubectl delete nodepool "
            f"{name(item)} when its "
            "workloads may move.",
        )
        for item in _superseded(contents, policy)
        if (claims := _claims(contents, item))
    ]


def _superseded(contents: ClusterContents, policy: Policy) -> list[Object]:
    """Those that were adopted are restored instead."""
    return [
        item
        for item in sorted(contents.node_pools, key=name)
        if is_ours(item)
        and not being_deleted(item)
        and ORIGINAL_ANNOTATION not in annotations_of(item)
        and layout.is_superseded(name(item), labels(item), policy)
    ]


def _is_closed(node_pool: Object) -> bool:
    return annotations_of(node_pool).get(APPLIED) == layout.CLOSED


def _close(node_pool: Object) -> Patch:
    operations = (
        *set_value(node_pool, ("spec", "limits"), layout.closed_limits(node_pool)),
        *set_value(node_pool, annotation_path(APPLIED), layout.CLOSED),
    )
    why = "its pool is now split otherwise: what runs there stays, and nothing new starts"
    message = f"close NodePool {name(node_pool)}"
    return Patch(ref_of(node_pool), operations, message, why, part=name(node_pool))


def _claims(contents: ClusterContents, node_pool: Object) -> list[Object]:
    return [
        claim
        for claim in contents.node_claims
        if labels(claim).get(layout.NODE_POOL_LABEL) == name(node_pool)
    ]
