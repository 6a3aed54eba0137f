"""
What the NodePool's requirement allows during a rollout, and what is done where another writer undoes it.
Pure.

A tool that keeps a NodePool as its repository says undoes each of our writes. Each time NodeClaims may drift,
so after a few times its value is taken as it is: N ends where the tool has it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from slicewise.kube.labels import CHANGED_ANNOTATION
from slicewise.kube.objects import MANAGER, written_by
from slicewise.planning.actions import ClaimsCarry
from slicewise.planning.outcome import Finding
from slicewise.pools import layout
from slicewise.tuning.rollout import patches
from slicewise.tuning.rollout.context import Advance, Change, act
from slicewise.tuning.rollout.node_replacement import closed
from slicewise.tuning.rollout.shrink import fits
from slicewise.tuning.state.annotations import marked_at
from slicewise.tuning.state.pool_state import Rollout

# A person may change their mind; a writer that undoes it a third time is a tool.
_MOST_TAKEN_BACK = 2
_PATH = ("spec", "template", "spec", "requirements")


def defer_to_other_writer(change: Change) -> Advance | None:
    """
    The writer whose value came back too often has it: the nodes are changed to it, and the requirement is
    left unchanged.
    """
    rollout, keys = change.rollout, change.state.keys
    is_contested = rollout.taken_back >= _MOST_TAKEN_BACK and _is_taken_back(change)
    if not (rollout.defers_to or is_contested) or (rollout.defers_to and keys == (change.new,)):
        return None
    whom = rollout.defers_to or _holders(change)
    if keys not in ((change.old,), (change.new,)):
        return _leave(change, whom)
    begun = layout.config_key(change.state.pool.sharing, rollout.from_)
    return _yield(change, keys == (begun,), whom)


def _leave(change: Change, whom: str) -> Advance:
    """
    An N that is neither of the rollout's: with any label that we wrote, Karpenter would replace the node.
    """
    required = " or ".join(change.state.keys) or "any key"
    history = replace(change.state.history, changed_at=change.now)
    message = f"N is left to {whom}, whose requirement is {required}"
    release = patches.release(change.state, change.rollout, history)
    findings = _contested(change, replace(change.rollout, defers_to=whom))
    return act((release,), message, findings=findings, finished=True)


def _yield(change: Change, revert: bool, whom: str) -> Advance:
    times = change.rollout.taken_back + 1
    required = " or ".join(change.state.keys) or "any key"
    why = f"{whom} put the requirement back to {required} {times} times"
    rollout = replace(
        change.rollout,
        defers_to=whom,
        revert=revert,
        narrowed=change.now,
        reason=why if revert else change.rollout.reason,
    )
    message = f"leave the requirement of NodePool {change.state.name} to {whom}"
    return act(
        (patches.save(change.state, rollout, message, why),), why, findings=_contested(change, rollout)
    )


def contested(change: Change) -> tuple[Finding, ...]:
    return _contested(change, change.rollout) if change.rollout.defers_to else ()


def _contested(change: Change, rollout: Rollout) -> tuple[Finding, ...]:
    name, required = change.state.name, " or ".join(change.state.keys) or "any key"
    n = layout.slices_of_key(required) or rollout.target
    return (
        Finding(
            "requirement-fought-over",
            f"{rollout.defers_to} puts the requirement {layout.CONFIG_LABEL} of NodePool {name} back "
            f"whenever N is changed, so N ends where it has it, at {required}.",
            "Have it leave spec.template.spec.requirements, spec.limits and spec.disruption of this NodePool "
            "unchanged (Argo CD: ignoreDifferences, with RespectIgnoreDifferences=true). Or leave N to it: "
            f"replicas: {{start: {n}, max: {n}}} for pool {change.state.pool.name} in the policy.",
        ),
    )


def _holders(change: Change) -> str:
    writers = (writer for writer in written_by(change.state.node_pool, _PATH) if writer != MANAGER)
    return " and ".join(writers) or "an unknown writer"


def _is_taken_back(change: Change) -> bool:
    """Whether the requirement is another than the one that this change wrote last."""
    rollout, pool = change.rollout, change.state.pool
    if rollout.wide:
        return set(change.state.keys) != {change.old, change.new}
    if rollout.narrowed:
        return change.state.keys != (change.new,)
    # What is aborted may have been narrowed to the other N before.
    ours = {rollout.from_, rollout.to} if rollout.revert else {rollout.from_}
    return change.state.keys not in {(layout.config_key(pool.sharing, n),) for n in ours}


def own_keys(change: Change) -> Advance | None:
    """Another writer required a key that is none of this rollout's: nodes would be replaced because of it."""
    if change.rollout.defers_to or (set(change.state.keys) <= {change.old, change.new} and change.state.keys):
        return None
    tried = change.rollout.canary or not change.rollout.grows
    keys = (change.old, change.new) if tried else (change.old,)
    why = "the nodes that run have these keys, and are replaced under another"
    count = change.rollout.taken_back + 1
    taken = replace(change.rollout, taken_back=count, wide=len(keys) == 2, narrowed=None)
    action = patches.require(change.state, keys, why, rollout=taken)
    return act((action,), f"the requirement is put back: {why}")


def widen(change: Change) -> Advance | None:
    both = {change.old, change.new}
    if change.rollout.defers_to or set(change.state.keys) == both:
        return None
    rollout = change.rollout
    strays = any(key != change.new for key in change.claim_keys)
    if change.state.keys == (change.new,):
        if rollout.grows and not strays:
            return None
        if not rollout.grows:
            unfit = any(node.key != change.new and not fits(change, node) for node in change.nodes)
            if rollout.narrowed or not (strays or unfit):
                return None
    why = "a NodeClaim that carries either key is none that Karpenter replaces"
    widened = replace(
        rollout, narrowed=None, wide=True, taken_back=rollout.taken_back + _is_taken_back(change)
    )
    return act(
        (patches.require(change.state, (change.old, change.new), why, rollout=widened),),
        f"nodes may have {change.old} or {change.new}",
    )


def narrow(change: Change) -> Advance | None:
    if change.rollout.defers_to or (change.state.keys == (change.new,) and change.rollout.narrowed):
        return None
    if unseen := _unseen(change):
        return unseen
    if change.rollout.grows:
        guard = ClaimsCarry(change.state.name, change.new)
        return _narrowed(change, "every NodeClaim carries it", guard)
    step = _narrowed(change, "the nodes that do not fit are replaced under the pool's budgets")
    return replace(step, actions=(*closed(change), *step.actions))


def narrow_at_once(change: Change) -> Advance | None:
    if change.rollout.defers_to or (change.state.keys == (change.new,) and change.rollout.narrowed):
        return None
    why = "changing N kills what runs under MPS, so nodes are replaced"
    step = _unseen(change) or _narrowed(change, why)
    return replace(step, actions=(*closed(change), *step.actions)) if step.actions else step


def _unseen(change: Change) -> Advance | None:
    """
    Labels are in Karpenter's cache some time after they are written. And it says that an overlay is Ready
    before it plans with it: where it must start again meanwhile, seconds before (run, with other pools'
    overlays changing at the same time).

    A NodeClaim without a node does not block it: without capacity in EC2 there is always a new one, and
    Karpenter replaces none before its node is initialised.
    """
    claims = (node.claim_object for node in change.state.nodes if node.claim_object)
    written = (*claims, *change.state.overlays)
    marks = (marked_at(item, CHANGED_ANNOTATION) for item in written)
    last = max((at for at in marks if at), default=None)
    left = change.settings.settle - (change.now - last) if last else timedelta(0)
    if left <= timedelta(0):
        return None
    return act((), "Karpenter is given time to see what was written", left)


def _narrowed(change: Change, why: str, guard: ClaimsCarry | None = None) -> Advance:
    taken = change.rollout.taken_back + (bool(change.rollout.narrowed) and _is_taken_back(change))
    rollout = replace(change.rollout, narrowed=change.now, wide=False, taken_back=taken)
    action = patches.require(change.state, (change.new,), why, rollout=rollout, guard=guard)
    return act((action,), f"new nodes start with {change.new}: {why}")
