"""Shrinking N in place, where the pods of a node fit into its fewer slices. Pure."""

from __future__ import annotations

from slicewise.kube.labels import CORDONED_ANNOTATION, GIVEN_UP_ANNOTATION
from slicewise.planning.actions import Action
from slicewise.pools import layout
from slicewise.tuning.rollout import patches
from slicewise.tuning.rollout.context import PLUGIN, Advance, Change, act, come_or_go, not_ready, wait_for
from slicewise.tuning.state.annotations import marked_at
from slicewise.tuning.state.pool_state import NodeState


def shrink(change: Change) -> Advance | None:
    """In place where the pods fit, each node under a cordon; else the NodeClaim says what its Node says."""
    if change.rollout.narrowed and not change.rollout.defers_to:
        return None
    actions: list[Action] = _claims_first(change)
    busy = sum(1 for node in change.nodes if _in_hand(change, node))
    for node in change.nodes:
        room = busy < change.batch_size
        step = _shrink_node(change, node, room)
        if step:
            actions.append(step)
            busy += 1 if not _in_hand(change, node) and node.key != change.new and room else 0
    if actions:
        return act(actions, "nodes whose pods fit get fewer slices in place", PLUGIN)
    if busy:
        return act((), f"{busy} node{'s take' if busy > 1 else ' takes'} fewer slices in place", PLUGIN)
    if waits := wait_for(change, _away(change), "the others are not ready", not_ready(change)):
        return waits
    return come_or_go(change, "the nodes that are there have what they can have in place")


def _claims_first(change: Change) -> list[Action]:
    """
    Where another writer has narrowed the requirement already, a node that fits must not drift any longer.
    """
    if not change.rollout.defers_to:
        return []
    why = "the requirement allows no other key, and its pods fit"
    return [
        patches.relabel_claim(node.claim_object, change.new, why, change.now)
        for node in change.nodes
        if node.claim_object and node.claim_key != change.new and fits(change, node)
    ]


def _in_hand(change: Change, node: NodeState) -> bool:
    if node.key == change.new and not change.has_new(node) and change.has_timed_out(node):
        return False
    return node.cordoned_by_us or change.reloads(node)


def _shrink_node(change: Change, node: NodeState, room: bool) -> Action | None:
    if node.key == change.new:
        return _shrunk_node(change, node)
    if not fits(change, node):
        if node.cordoned_by_us:
            return patches.uncordon(node, f"{node.slots_in_use} of its slices are now in use")
        if node.claim_object and node.claim_key != node.key:
            why = "a node whose pods do not fit is replaced, and Karpenter reads the NodeClaim"
            return patches.relabel_claim(node.claim_object, node.key or "", why, change.now)
        return None
    if not (room or node.cordoned_by_us):
        return None
    if node.schedulable:
        return patches.cordon(node, "no pod may come while its slices become fewer", change.now)
    at = marked_at(node.node, CORDONED_ANNOTATION)
    if node.cordoned_by_us and at and change.now - at < change.settings.settle:
        return None  # pods that the scheduler was about to bind would show by then
    why = f"its {node.slots_in_use} slices in use fit into {change.most(node)}"
    resource = layout.resource(change.state.pool)
    return patches.relabel(node, change.new, why, change.now, resource, change.most(node))


def _shrunk_node(change: Change, node: NodeState) -> Action | None:
    if change.is_node_overdue(node):
        # With the new label it might lose slices at any later time, with pods on them by then.
        why = "its slices do not become fewer, so that Karpenter replaces it"
        return patches.give_up(node, change.old, why, change.now)
    if not _offers_no_more(change, node):
        return None
    if node.claim_object and node.claim_key != change.new:
        return patches.relabel_claim(
            node.claim_object, change.new, "its node offers the new slices", change.now
        )
    return patches.uncordon(node, "its slices are fewer now") if node.cordoned_by_us else None


def _offers_no_more(change: Change, node: NodeState) -> bool:
    """Than its label says; fewer where a GPU is unhealthy. What no plugin works on stays as it is."""
    return 0 < node.allocatable <= (node.promised or 0) or not change.was_changed(node)


def fits(change: Change, node: NodeState) -> bool:
    return node.ready and _may_shrink(change, node)


def _may_shrink(change: Change, node: NodeState) -> bool:
    given_up = marked_at(node.node, GIVEN_UP_ANNOTATION)
    tried = given_up is not None and given_up >= change.rollout.since
    return not tried and change.fits(node)


def _away(change: Change) -> list[NodeState]:
    """Not ready, and else they would shrink in place: once narrowed, Karpenter replaces them."""
    return [
        node
        for node in change.nodes
        if node.key != change.new and not node.ready and _may_shrink(change, node)
    ]
