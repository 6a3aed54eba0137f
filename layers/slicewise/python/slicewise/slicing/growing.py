"""Stages of growing N in place, beside those of every change. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from slicewise.actions import Action, Finding
from slicewise.slicing import steps
from slicewise.slicing.change import CANARY, PLUGIN, ROLL, Advance, Change, act
from slicewise.slicing.pool_state import Canary, NodeState


def canary(change: Change) -> Advance | None:
    """One node is relabelled, not its NodeClaim: the requirement still allows only the old key."""
    state, rollout = change.state, change.rollout
    if state.keys != (change.old,):
        return None
    node = next((n for n in change.nodes if rollout.canary and n.name == rollout.canary.node), None)
    if rollout.canary is None or node is None:
        return _choose_canary(change)
    why = "one node has the new N first"
    if node.key != change.new:
        action = steps.relabel(node, change.new, why, change.now)
        return act((action,), f"node {node.name} is the canary", PLUGIN)
    if not change.has_new(node):
        return _reloading(change, [node])
    left = change.settings.canary - (change.now - rollout.canary.since)
    if left <= timedelta(0):
        return None
    minutes = max(1, round(left.total_seconds() / 60))
    says = (
        f"node {node.name} tries N = {rollout.target} for {minutes} more minute{'s' if minutes > 1 else ''}"
    )
    return act((), says, min(left, CANARY))


def _choose_canary(change: Change) -> Advance | None:
    """The node with the most pods tells most."""
    if not change.nodes:
        return None
    fit = [node for node in change.nodes if _can_be_relabelled(node) and node.schedulable]
    if not fit:
        return act((), "no node is ready to try the new N", ROLL, findings=_not_ready(change))
    node = min(fit, key=lambda node: (-node.slots_in_use, node.name))
    rollout = replace(change.rollout, canary=Canary(node.name, change.now))
    says = f"node {node.name} is the canary"
    why = "one node has the new N first"
    actions = [
        steps.save(change.state, rollout, f"choose Node {node.name} as canary of {change.state.name}", why)
    ]
    if node.key != change.new:
        actions.append(steps.relabel(node, change.new, why, change.now))
    return act(actions, says, PLUGIN)


def relabel(change: Change) -> Advance | None:
    """Node first; its NodeClaim once the node offers what its label says."""
    actions: list[Action] = [
        steps.relabel_claim(node, change.new, "its node offers the new slices", change.now)
        for node in change.nodes
        if change.has_new(node) and node.claim and node.claim_key != change.new
    ]
    reloading = [node for node in change.nodes if change.reloads(node)]
    late = _reloading(change, reloading) if reloading else None
    if late and late.failed:
        return late
    old = [node for node in change.nodes if node.key != change.new]
    able = [node for node in old if _can_be_relabelled(node)]
    actions += [
        steps.relabel(node, change.new, f"{change.rollout.target} pods share a GPU", change.now)
        for node in able[: max(0, change.at_once - len(reloading))]
    ]
    total = len(change.nodes)
    says = f"{total - len(old)} of {total} nodes are relabelled"
    if actions:
        return act(actions, says, PLUGIN)
    if reloading:
        return late
    if any(not _is_over(change, node) for node in change.nodes):
        return act((), f"{says}; the others are not ready", ROLL, findings=_not_ready(change))
    if change.to_come:
        return act((), f"{says}; {change.to_come} more are about to come or go", PLUGIN)
    return None


def _reloading(change: Change, nodes: Sequence[NodeState]) -> Advance:
    node = max(nodes, key=lambda node: change.since_relabelled(node) or timedelta(0))
    since = change.since_relabelled(node) or timedelta(0)
    told = f"node {node.name} offers {node.allocatable} of {node.promised} slices"
    if change.late(node):
        minutes = int(since.total_seconds() // 60)
        return revert(change, f"{told} {minutes} minutes after it was relabelled")
    return act((), f"{told}, and its device plugin is given time", PLUGIN)


def _can_be_relabelled(node: NodeState) -> bool:
    """It runs, and its plugin has done what the label said until now."""
    return node.ready and node.allocatable > 0 and node.promised in (None, node.allocatable)


def _is_over(change: Change, node: NodeState) -> bool:
    return node.key == change.new and node.claim_key in (None, change.new)


def _not_ready(change: Change) -> tuple[Finding, ...]:
    odd = [n for n in change.nodes if not _is_over(change, n) and not _can_be_relabelled(n)]
    return tuple(
        Finding(
            "node-holds-up-change",
            f"Node {node.name} is {'ready' if node.ready else 'not ready'} and offers {node.allocatable} of "
            f"{node.promised} slices, so N of NodePool {change.state.name} waits for it.",
            "Mend it, or delete its NodeClaim.",
        )
        for node in odd
    )


def revert(change: Change, why: str) -> Advance:
    rollout = replace(change.rollout, revert=True, reason=why, narrowed=None)
    says = f"back to N = {change.rollout.from_}: {why}"
    action = steps.save(change.state, rollout, f"take NodePool {change.state.name} back to the old N", why)
    return act((action,), says, failed=why)
