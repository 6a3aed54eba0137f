"""Stages of growing N in place, beside those of every change. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from slicewise.planning.actions import Action
from slicewise.planning.outcome import Finding
from slicewise.pools import layout
from slicewise.tuning.rollout import patches
from slicewise.tuning.rollout.context import (
    CANARY,
    PLUGIN,
    ROLL,
    Advance,
    Change,
    act,
    come_or_go,
    not_ready,
    wait_for,
)
from slicewise.tuning.state.pool_state import Canary, NodeState


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
        action = patches.relabel(node, change.new, why, change.now)
        return act((action,), f"node {node.name} is the canary", PLUGIN)
    if not change.has_new(node):
        return _reloading(change, [node])
    return _tried(change, node, rollout.canary)


def _tried(change: Change, node: NodeState, trial: Canary) -> Advance | None:
    """
    A canary counts only while one of its GPUs has more pods than before. No pod is moved there for it: where
    none comes in its time, or not for long enough in twice that, it was empty, and the rollout reports that.
    """
    if trial.empty:
        return None
    begun, there = node.holds_more_since(change.rollout.other), change.now - trial.since
    tried = change.now - max(begun, trial.since) if begun else timedelta(0)
    if tried >= change.settings.canary:
        return None
    left = change.settings.canary - (tried if begun else there)
    if left <= timedelta(0) or there >= 2 * change.settings.canary:
        rollout = replace(change.rollout, canary=replace(trial, empty=True))
        why = f"no GPU of node {node.name} ran more than {change.rollout.other} pods for long enough"
        message = f"remember that the canary of NodePool {change.state.name} was empty"
        return act((patches.save(change.state, rollout, message, why),), f"the canary was empty: {why}")
    seconds = math.ceil(left.total_seconds())
    more = f"{round(seconds / 60)} more minutes" if seconds >= 90 else f"{seconds} more seconds"
    message = f"node {node.name} tries N = {change.rollout.target} for {more}"
    return act((), message if begun else f"{message}, without a pod more than before yet", min(left, CANARY))


def _choose_canary(change: Change) -> Advance | None:
    """The node with the most pods shows most."""
    if not change.nodes:
        return None
    fit = [node for node in change.nodes if node.works and node.schedulable]
    if not fit and change.now - change.moved_at >= change.settings.patience:
        minutes = int(change.settings.patience.total_seconds() // 60)
        return revert(change, f"for {minutes} minutes no node was ready to try N = {change.rollout.target}")
    if not fit:
        return act((), "no node is ready to try the new N", ROLL, findings=not_ready(change))
    node = min(fit, key=lambda node: (-node.slots_in_use, node.name))
    rollout = replace(change.rollout, canary=Canary(node.name, change.now))
    message = f"node {node.name} is the canary"
    why = "one node has the new N first"
    actions = [
        patches.save(change.state, rollout, f"choose Node {node.name} as canary of {change.state.name}", why)
    ]
    if node.key != change.new:
        actions.append(patches.relabel(node, change.new, why, change.now))
    return act(actions, message, PLUGIN)


def relabel(change: Change) -> Advance | None:
    """Node first; its NodeClaim once the node offers what its label says."""
    overdue = [node for node in change.nodes if change.is_node_overdue(node)]
    if len(overdue) > change.max_unavailable:
        return _revert_for(change, overdue)
    actions: list[Action] = [
        patches.relabel_claim(node.claim_object, change.new, "its node offers the new slices", change.now)
        for node in change.nodes
        if change.has_new(node) and node.claim_object and node.claim_key != change.new
    ]
    reloading = [node for node in change.nodes if change.reloads(node) and not change.has_timed_out(node)]
    old = [node for node in change.nodes if node.key != change.new]
    able = [node for node in old if node.works and not change.is_skipped(node)]
    actions += [_relabel(change, node) for node in able[: max(0, change.batch_size - len(reloading))]]
    total = len(change.nodes)
    message = f"{total - len(old)} of {total} nodes are relabelled"
    if actions:
        return act(actions, message, PLUGIN, findings=set_aside(change))
    if reloading:
        return _reloading(change, reloading)
    return _without_them(change, message, overdue)


def _relabel(change: Change, node: NodeState) -> Action:
    """It may have been given more slices than it is to have: those that are in use stay."""
    resource = layout.resource(change.state.pool)
    most = change.most(node) if change.would_lose(node) else None
    why = f"{change.rollout.target} pods share a GPU"
    return patches.relabel(node, change.new, why, change.now, resource, most)


def _without_them(change: Change, message: str, overdue: Sequence[NodeState]) -> Advance | None:
    """
    What does not work blocks the rollout, and at last is skipped: its Node stays unchanged, and its NodeClaim
        gets
    the new key, so that narrowing the requirement replaces no node.
    """
    why = "the others do not wait for a node that does not work"
    behind = [node for node in change.nodes if not _is_over(change, node) and node not in overdue]
    if waits := wait_for(change, behind, f"{message}; the others are not ready", not_ready(change)):
        return waits
    aside = [node for node in (*behind, *overdue) if node.claim_object and node.claim_key != change.new]
    if aside:
        claims = [
            patches.relabel_claim(claim, change.new, why, change.now)
            for node in aside
            if (claim := node.claim_object)
        ]
        return act(claims, f"{message}; {len(aside)} are skipped", PLUGIN, findings=set_aside(change))
    return come_or_go(change, message)


def _reloading(change: Change, nodes: Sequence[NodeState]) -> Advance:
    overdue = [node for node in nodes if change.has_timed_out(node)]
    if overdue:
        return _revert_for(change, overdue)
    return act((), f"{_behind(nodes[0])}, and its device plugin is given time", PLUGIN)


def _revert_for(change: Change, overdue: Sequence[NodeState]) -> Advance:
    node = max(overdue, key=lambda node: change.since_relabelled(node) or timedelta(0))
    minutes = int((change.since_relabelled(node) or timedelta(0)).total_seconds() // 60)
    others = f", and so do {len(overdue) - 1} others" if len(overdue) > 1 else ""
    return revert(change, f"{_behind(node)} {minutes} minutes after it was relabelled{others}")


def _behind(node: NodeState) -> str:
    return f"node {node.name} offers {node.allocatable} of {node.promised} slices"


def _is_over(change: Change, node: NodeState) -> bool:
    return node.claim_key in (None, change.new) and (node.key == change.new or change.is_skipped(node))


def set_aside(change: Change) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            "node-set-aside",
            f"Node {node.name} is {'ready' if node.ready else 'not ready'} and offers {node.allocatable} of "
            f"{node.promised} slices: N of NodePool {change.state.name} changes without it.",
            "Fix the node and it is updated automatically, or delete its NodeClaim to replace it.",
        )
        for node in change.nodes
        if change.is_skipped(node) or change.is_node_overdue(node)
    )


def revert(change: Change, why: str) -> Advance:
    rollout = replace(
        change.rollout, revert=True, reason=why, narrowed=None, wide=len(change.state.keys) == 2
    )
    message = f"back to N = {change.rollout.from_}: {why}"
    action = patches.save(change.state, rollout, f"take NodePool {change.state.name} back to the old N", why)
    return act((action,), message, failed=why)
