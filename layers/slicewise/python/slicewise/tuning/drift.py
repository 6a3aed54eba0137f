"""
What another writer put into objects of ours while no rollout is in progress: reported with its field manager,
and reverted. Pure.

The NodePool's requirement is where N is written down, so an edit of it is a choice of N: overlays and limits
follow it. Everything else that says another N is drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from slicewise.kube.labels import CHANGED_ANNOTATION
from slicewise.kube.objects import MANAGER, labels, name, written_by
from slicewise.kube.ref import Object, ref_of
from slicewise.planning.actions import Action
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Drift, Policy, Sharing
from slicewise.pools import layout, observed
from slicewise.tuning.rollout import patches
from slicewise.tuning.state.annotations import marked_at
from slicewise.tuning.state.pool_state import NodeState, PoolState


@dataclass(frozen=True)
class Repair:
    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()


def repair(state: PoolState, policy: Policy, now: datetime) -> Repair:
    """What differs from N, and, unless the policy says `report`, the writes that revert it."""
    key = layout.config_key(state.pool.sharing, state.n)
    # Without any requirement N is what the nodes have, and the rest of what says N is set to that.
    if state.pool.profile or state.keys not in ((key,), ()):
        return _by_hand(state)
    puts_back = policy.drift is Drift.REPAIR
    actions: list[Action] = []
    findings: list[Finding] = []
    resource = layout.resource(state.pool)
    for overlay in state.overlays:
        if observed.n_of_overlay(overlay, state.pool) != state.n:
            actions.append(patches.count_with(state, overlay, state.n, f"N is {state.n}", now))
            findings += _reported(overlay, ("spec", "capacity", resource), state.n, puts_back)
    if not observed.is_limited_for(state.node_pool, state.pool, state.n):
        actions.append(patches.limit(state, state.n, f"N is {state.n}"))
        findings += _reported(state.node_pool, ("spec", "limits", resource), state.n, puts_back)
    findings += [_relabelled(node, key) for node in state.nodes if _is_odd(node, key)]
    hand, aside = _by_hand(state), _set_aside(state, key, now)
    return Repair(
        (*(actions if puts_back else ()), *aside.actions), (*findings, *hand.findings, *aside.findings)
    )


def _reported(item: Object, path: Sequence[str], n: int, puts_back: bool) -> list[Finding]:
    """
    None where we wrote it: then it is the policy or the requirement that has changed, and it is updated.
    """
    writers = written_by(item, path)
    others = [writer for writer in writers if writer != MANAGER]
    if writers and not others:
        return []
    by = f", written by {' and '.join(others)}" if others else ""
    return [
        Finding(
            "foreign-edit",
            f"{ref_of(item)}: {'.'.join(path)} does not have N = {n}{by}.",
            "It is put back."
            if puts_back
            else "The policy leaves it: put it back, or Karpenter plans wrongly.",
        )
    ]


def _is_odd(node: NodeState, key: str) -> bool:
    return _is_behind(node, key) and not _was_left(node)


def _is_behind(node: NodeState, key: str) -> bool:
    return node.key != key and node.claim_key == key and not node.leaving


def _relabelled(node: NodeState, key: str) -> Finding:
    return Finding(
        "foreign-edit",
        f"Node {node.name} is labelled {node.key or 'with no key'}; its NodeClaim has {key}.",
        f"kubectl label node {node.name} {layout.CONFIG_LABEL}={key} --overwrite, once its pods fit: it is "
        "not done for you, since it may take slices away from pods that run.",
    )


def _set_aside(state: PoolState, key: str, now: datetime) -> Repair:
    """Nodes that a change of N went on without: those that work again follow, a few at a time."""
    waited = [node for node in state.nodes if patches.waited_for(node)]
    behind = [node for node in state.nodes if _is_behind(node, key) and _was_left(node)]
    back = [node for node in behind if node.works and _gets_more(node, state)]
    batch_size = max(1, len(state.nodes) // 10)
    why = "it works again, and N has changed meanwhile"
    return Repair(
        (
            *(patches.relabel(node, key, why, now) for node in back[:batch_size]),
            *(patches.no_longer_wait_for(node) for node in waited if node.key == key and node.works),
        ),
        tuple(_left_behind(node, key) for node in behind if node not in back),
    )


def _was_left(node: NodeState) -> bool:
    """Skipped after a long wait, or registered just before its NodeClaim had the new key."""
    relabelled = marked_at(node.node, CHANGED_ANNOTATION)
    claim = marked_at(node.claim_object, CHANGED_ANNOTATION)
    return bool(patches.waited_for(node) or (claim and not relabelled))


def _gets_more(node: NodeState, state: PoolState) -> bool:
    """A node that gets fewer slices might lose one that is in use, and under MPS all its pods die."""
    has = layout.slices_of_key(node.key or "")
    return has is not None and has < state.n and state.pool.sharing is not Sharing.MPS


def _left_behind(node: NodeState, key: str) -> Finding:
    return Finding(
        "node-set-aside",
        f"Node {node.name} is {'ready' if node.ready else 'not ready'} and offers {node.allocatable} of "
        f"{node.promised} slices: it stayed at {node.key} when its NodePool was changed to {key}.",
        "Fix the node and it is updated automatically, or delete its NodeClaim to replace it.",
    )


def _by_hand(state: PoolState) -> Repair:
    """Karpenter replaces such nodes, one after another."""
    other = [
        name(claim)
        for claim in state.claims
        if labels(claim).get(layout.CONFIG_LABEL) not in state.keys and state.keys
    ]
    if not other:
        return Repair()
    writers = written_by(state.node_pool, ("spec", "template", "spec", "requirements"))
    by = " and ".join(writer for writer in writers if writer != MANAGER) or "an unknown writer"
    return Repair(
        findings=(
            Finding(
                "n-set-by-hand",
                f"NodePool {state.name} lets its nodes have {' or '.join(state.keys)}, written by {by}, and "
                f"{len(other)} of its NodeClaims have another key: Karpenter replaces them.",
                "Put the requirement back to keep them; to change N without replacing nodes, leave it to us.",
            ),
        )
    )
