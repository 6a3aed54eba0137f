"""Nodes that Karpenter replaces, and what keeps it from that. Pure."""

from __future__ import annotations

from slicewise.kube import quantities
from slicewise.kube.objects import is_true, labels, spec
from slicewise.planning.actions import Action
from slicewise.planning.outcome import Finding
from slicewise.pools import layout
from slicewise.tuning.rollout import patches
from slicewise.tuning.rollout.context import ROLL, Advance, Change, act


def roll(change: Change) -> Advance | None:
    """Also a node that is being deleted already counts as pending: its pods still move."""
    old = [claim for claim in change.state.claims if labels(claim).get(layout.CONFIG_LABEL) != change.new]
    if not old:
        return None
    message = f"Karpenter replaces {len(old)} node{'s' if len(old) > 1 else ''} under the pool's budgets"
    reported = (*change.blockers, *_not_ready(change), *_no_room(change))
    return act([*_never_came(change), *closed(change)], message, ROLL, findings=reported)


def closed(change: Change) -> list[Action]:
    """
    A node that is to be replaced takes no more pods: they would move with the others, from one such node to
    the next. Where Karpenter may not replace it for long, it is closed only where it is full by the new N.
    """
    rollout = change.rollout
    if rollout.grows or rollout.defers_to:
        return []
    # A node that has just come has no NodeClaim that names it yet.
    old = [node for node in change.nodes if node.claim_object and node.claim_key != change.new]
    full = [n for n in old if not change.rolls_long or n.slots_in_use >= rollout.target * n.gpus]
    why = "it is replaced, and pods that come now would have to move again"
    return [
        *(patches.cordon(node, why, change.now) for node in full if node.schedulable),
        *(
            patches.uncordon(node, "it is not replaced for long")
            for node in old
            if node.cordoned_by_us and node not in full
        ),
    ]


def _never_came(change: Change) -> list[Action]:
    """
    Karpenter replaces no node that it has not initialised, and would never be over with it. Nothing runs
    there: should it come after all, it comes with the new N.
    """
    if not change.rolls_long:
        return []
    why = "it never offered a slice, and Karpenter replaces only what did"
    resource = layout.resource(change.state.pool)
    never = [
        (node, claim)
        for node in change.nodes
        if node.claim_key != change.new
        and node.allocatable == node.slots_in_use == 0
        and (claim := node.claim_object)
        and not is_true(claim, "Initialized")
    ]
    return [
        action
        for node, claim in never
        for action in (
            patches.relabel(node, change.new, why, change.now, resource, most=0),
            patches.relabel_claim(claim, change.new, why, change.now),
        )
    ]


def _not_ready(change: Change) -> tuple[Finding, ...]:
    """Karpenter counts them as being disrupted: they use the budget up under which others would go."""
    return tuple(
        Finding(
            "roll-blocked",
            f"Node {node.name} is not ready, and Karpenter counts it against the disruption budget of "
            f"NodePool {change.state.name}.",
            "Fix the node, or delete its NodeClaim to replace it.",
        )
        for node in change.nodes
        if not node.ready and node.allocatable
    )


def _no_room(change: Change) -> tuple[Finding, ...]:
    """Karpenter starts a replacement first, and counts it against the limit beside what it replaces."""
    state, resource = change.state, layout.resource(change.state.pool)
    limit = quantities.whole((spec(state.node_pool).get("limits") or {}).get(resource))
    there = sum(node.allocatable for node in state.nodes)
    least = min((node.gpus for node in change.nodes), default=1) * change.rollout.target
    if not limit or there + least <= limit:
        return ()
    return (
        Finding(
            "roll-blocked",
            f"Nodes of NodePool {state.name} offer {there} slices, and its limit of {limit} slices leaves no "
            "room for a replacement.",
            "Let pods end: an empty node needs no replacement. Or raise the NodePool's limit by hand: the "
            "end of the change puts it back.",
        ),
    )
