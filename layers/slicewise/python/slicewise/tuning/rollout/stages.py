"""
A change of N in a live NodePool: no node is replaced while it grows, no pod is killed while it shrinks. Pure.

What makes it so, on Karpenter 1.14 and 1.15 (each was run):

* Karpenter compares a NodeClaim's *labels* with the NodePool's requirement and hashes neither. So a
  requirement that is widened, and narrowed again once every NodeClaim carries the new key, replaces nothing.
* The device plugin reads the *Node's* label, and the pods that run keep their slices.
* Growing: nodes first, overlays after, so that Karpenter never counts slices that are not there. It would
  also at once empty nodes that the new N makes superfluous; so consolidation is held meanwhile.
* Shrinking: overlays first. A node whose pods fit is relabelled under a cordon; the others drift, and
  Karpenter replaces them under the pool's budgets and the pods' PodDisruptionBudgets.
* Changing N kills the clients of MPS: there nodes are only ever replaced.

Each stage says what is still to do for it, or None; the first that has something decides. So a reconcile that
was killed after any call is finished by the next, and a person's edit is met by the stage that it concerns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from slicewise.kube.objects import MANAGER, being_deleted, is_true, name, written_by
from slicewise.kube.quantities import NEVER
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Sharing
from slicewise.pools import layout, observed
from slicewise.tuning.rollout import patches
from slicewise.tuning.rollout.context import (
    PLUGIN,
    RAREST,
    ROLL,
    SOON,
    Advance,
    Change,
    RolloutSettings,
    Stage,
    act,
)
from slicewise.tuning.rollout.grow import canary, relabel, revert
from slicewise.tuning.rollout.node_replacement import roll
from slicewise.tuning.rollout.requirement import (
    contested,
    defer_to_other_writer,
    narrow,
    narrow_at_once,
    own_keys,
    widen,
)
from slicewise.tuning.rollout.shrink import shrink
from slicewise.tuning.state.pool_state import PoolState, Rollout

__all__ = ["Advance", "RolloutSettings", "advance", "begin"]

_MOST_BROKEN = 3
# Growing is locked by control, for as long as the policy says.
_LOCK = timedelta(hours=24)


def begin(state: PoolState, target: int, reason: str, now: datetime) -> Advance:
    """
    Start a rollout on a NodePool: the annotation, and with it the hold on consolidation.

    Where it cannot be done now there are no actions, and a finding says why.
    """
    rollout = Rollout(state.n, target, now, reason)
    why_not = _why_not(state, rollout)
    if why_not:
        return Advance((), f"N stays {state.n}: {why_not.message}", None, (why_not,))
    return act(
        (patches.hold(state, rollout),),
        f"N becomes {target} instead of {state.n}: {reason}",
        requeue_after=SOON,
    )


def advance(
    state: PoolState,
    rollout: Rollout,
    broken: Sequence[str],
    blockers: Sequence[Finding],
    settings: RolloutSettings,
    now: datetime,
) -> Advance:
    """
    The next actions of a change that is under way, from what is there.

    Args:
        rollout: The change, which `state` has.
        broken: Promises broken on the canary or in the pool since the change began, in words.
        blockers: What keeps Karpenter from replacing nodes.
    """
    change = Change(state, rollout, settings, now, tuple(blockers))
    goes_back = broken and change.rollout.grows and not change.rollout.defers_to
    step = revert(change, _few(broken)) if goes_back else None
    if step is None and change.is_overdue:
        step = _given_up(change)
    if step is None:
        found = (stage(change) for stage in _stages(change))
        step = next((decided for decided in found if decided), None) or _finish(change)
    failed = step.failed or (change.rollout.reason if change.rollout.revert else "")
    findings = (*_foreign_edits(change), *contested(change), *step.findings)
    step = replace(step, findings=tuple(dict.fromkeys(findings)), failed=failed)
    return _with_more_gpus(change, _held_again(change, _patient(change, step)))


def _given_up(change: Change) -> Advance:
    hours = change.longest / timedelta(hours=1)
    why = f"the rollout did not end within {hours:g} h"
    finding = Finding(
        "change-given-up",
        f"N of NodePool {change.state.name} stays {change.rollout.from_}: {why}.",
        "See in the record what was pending: nodes that come and go, as on Spot, or an overlay that "
        "Karpenter does not take in. N is tried again after the lock.",
    )
    return replace(revert(change, why), findings=(finding,))


def _held_again(change: Change, step: Advance) -> Advance:
    """
    Beside the next step: a tool may put consolidation back as often as we hold it; the rollout must end all
    the same.
    """
    if step.finished or change.holds_long or not _is_put_back(change):
        return step
    return replace(step, actions=(patches.hold(change.state, change.rollout), *step.actions))


def _with_more_gpus(change: Change, step: Advance) -> Advance:
    """A policy that allows more GPUs is followed at once, at the N that the change began with."""
    state, before = change.state, change.rollout.from_
    limit = observed.n_of_limits(state.node_pool, state.pool)
    is_over = change.rollout.narrowed and all(key == change.new for key in change.claim_keys)
    if step.finished or is_over or change.rollout.limited or limit is None or limit >= before:
        return step
    why = f"the policy allows {state.pool.max_gpus} GPUs now"
    return replace(step, actions=(*step.actions, patches.limit(state, before, why)))


def _is_put_back(change: Change) -> bool:
    after = patches.consolidate_after(change.state)
    return after not in (NEVER, None) and after == change.rollout.held.get("consolidateAfter")


def _few(broken: Sequence[str]) -> str:
    """It is saved in an annotation and in records, which have little room."""
    more = len(broken) - _MOST_BROKEN
    return "; ".join(broken[:_MOST_BROKEN]) + (f"; and {more} more" if more > 0 else "")


def _patient(change: Change, step: Advance) -> Advance:
    """
    What has not moved for long, such as a replacement that a PodDisruptionBudget forbids, is reconciled more
    rarely: each reconcile lists the cluster.
    """
    if step.requeue_after is None:
        return step
    # What is written to and fro in a rollout of days need not be every two seconds.
    waits = [step.requeue_after, (change.now - change.rollout.since) / 1000]
    if not step.actions and step.requeue_after in (PLUGIN, ROLL):
        waits.append((change.now - change.moved_at) / 10)
    return replace(step, requeue_after=max(step.requeue_after, min(max(waits), RAREST)))


def _stages(change: Change) -> tuple[Stage, ...]:
    first = (defer_to_other_writer, _hold, _known_key)
    if change.state.pool.sharing is Sharing.MPS:
        if change.rollout.grows:
            return *first, _overlays, _limits, narrow_at_once, roll, _settle
        return *first, _overlays, narrow_at_once, roll, _limits, _settle
    if change.rollout.grows:
        return *first, _uncordon, own_keys, canary, widen, relabel, _overlays, _limits, narrow, _settle
    return *first, own_keys, _overlays, widen, shrink, narrow, roll, _limits, _settle


def _why_not(state: PoolState, rollout: Rollout) -> Finding | None:
    pool, key = state.pool, layout.config_key(state.pool.sharing, rollout.to)
    live = f"NodePool {state.name}"
    if not pool.sharing.has_replicas:
        return no(f"{live} has no N: its pool shares by {pool.sharing}", "Nothing.")
    if rollout.to == rollout.from_:
        return no(f"N of {live} is {rollout.to} already", "No action needed.")
    if being_deleted(state.node_pool):
        return no(f"{live} is being deleted", "No action needed: it is recreated once it is deleted.")
    if state.keys != (layout.config_key(pool.sharing, rollout.from_),):
        required = " or ".join(state.keys) or "any key"
        return no(
            f"{live} lets its nodes have {required}",
            "Put its requirement back to one key of the device plugin.",
        )
    if state.known_keys is not None and key not in state.known_keys:
        return no(
            f"{layout.CONFIG_MAP} has no key {key}", "Onboarding writes it again: slicewise onboard CLUSTER."
        )
    asleep = [name(overlay) for overlay in state.overlays if not is_true(overlay, "Ready")]
    if asleep:
        return no(
            f"NodeOverlay {asleep[0]} is not ready, so Karpenter would not plan with it",
            "kubectl describe it; see that Karpenter's gate NodeOverlay is on.",
        )
    drifted = [name(claim) for claim in state.claims if is_true(claim, "Drifted")]
    contested_at = state.history.failed.get(rollout.to)
    if not rollout.grows and contested_at and rollout.since - contested_at < _LOCK:
        return no(
            f"the requirement of {live} was contested at {contested_at:%H:%M}",
            f"No action needed: it is tried again {_LOCK // timedelta(hours=1)} hours after that.",
        )
    if rollout.grows and drifted:
        return no(
            f"NodeClaim {drifted[0]} is being replaced for another reason",
            "No action needed once it is deleted.",
        )
    return None


def no(message: str, remedy: str) -> Finding:
    return Finding("n-cannot-change-now", f"{message}.", remedy)


# Stages of every change


def _hold(change: Change) -> Advance | None:
    """
    Also again where another writer set it meanwhile: theirs is put back in the end. But a roll may last for
    days, and no node that is empty should wait for it.
    """
    if change.holds_long:
        why = "Karpenter has been replacing nodes for long" if change.rolls_long else "the rollout takes long"
        restored = patches.give_back(change.state, change.rollout, why)
        during = "while nodes are replaced" if change.rolls_long else f"since {why}"
        return act((restored,), f"consolidation is restored {during}") if restored else None
    if patches.consolidate_after(change.state) == NEVER or _is_put_back(change):
        return None
    return act((patches.hold(change.state, change.rollout),), "consolidation is held while N changes")


def _known_key(change: Change) -> Advance | None:
    """A device plugin exits on a key that it does not know, and its node offers no slice at all."""
    known = change.state.known_keys
    if known is None or change.new in known:
        return None
    missing = Finding(
        "key-missing",
        f"{layout.CONFIG_MAP} has no key {change.new}, so no node is given it.",
        "Onboarding writes it again within the hour, or: slicewise onboard CLUSTER.",
    )
    return act((), f"{layout.CONFIG_MAP} has no key {change.new}", ROLL, findings=(missing,))


def _uncordon(change: Change) -> Advance | None:
    """Left from when it shrank, before another writer had it turned round."""
    nodes = [node for node in change.nodes if node.cordoned_by_us]
    if not nodes:
        return None
    why = "no node loses slices any longer"
    return act([patches.uncordon(node, why) for node in nodes], "nodes are uncordoned")


def _overlays(change: Change) -> Advance | None:
    state, n = change.state, change.rollout.target
    why = (
        "every node now has its new slices"
        if change.rollout.grows and state.pool.sharing is not Sharing.MPS
        else "Karpenter must plan for what new nodes will offer"
    )
    wrong = [overlay for overlay in state.overlays if observed.n_of_overlay(overlay, state.pool) != n]
    if wrong:
        actions = [patches.count_with(state, overlay, n, why, change.now) for overlay in wrong]
        return act(actions, f"Karpenter counts {n} slices a GPU")
    waiting = [name(overlay) for overlay in state.overlays if not is_true(overlay, "Ready")]
    if waiting:
        return act((), f"Karpenter has not taken NodeOverlay {waiting[0]} in yet", PLUGIN)
    return None


def _limits(change: Change) -> Advance | None:
    """Once: a tool may put the limit back each time, and the end of the rollout reports it."""
    n, rollout = change.rollout.target, change.rollout
    if observed.is_limited_for(change.state.node_pool, change.state.pool, n) or rollout.limited == n:
        return None
    why = f"{change.state.pool.max_gpus} GPUs have that many slices at N = {n}"
    action = patches.limit(change.state, n, why, rollout=replace(rollout, limited=n))
    return act((action,), "the NodePool's limit is updated")


def _settle(change: Change) -> Advance | None:
    """A NodeClaim that was made of the NodePool as it was before would show now."""
    left = change.settings.settle - (change.now - (change.rollout.narrowed or change.now))
    return act((), "all nodes are updated; the final check is pending", left) if left > timedelta(0) else None


def _finish(change: Change) -> Advance:
    state, rollout = change.state, change.rollout
    failed = {**state.history.failed, rollout.to: change.now} if rollout.revert else state.history.failed
    history = replace(
        state.history,
        changed_at=change.now,
        above_since=None,
        below_since=None,
        above_target=None,
        below_target=None,
        failed=failed,
        untried=rollout.from_ if _is_untried(change) else None,
    )
    message = f"N is {rollout.target} again: {rollout.reason}" if rollout.revert else f"N is {rollout.target}"
    return act((patches.release(state, rollout, history),), message, finished=True)


def _is_untried(change: Change) -> bool:
    """MPS has no canary: there nodes are replaced one after another, under the pool's budgets."""
    rollout = change.rollout
    grows = rollout.grows and not rollout.revert and change.state.pool.sharing is not Sharing.MPS
    return grows and (rollout.canary is None or rollout.canary.empty)


# What other writers changed meanwhile


def _foreign_edits(change: Change) -> tuple[Finding, ...]:
    state, known = change.state, {change.rollout.from_, change.rollout.to}
    odd: list[str] = []
    keys = {change.old, change.new}
    if not state.keys or not set(state.keys) <= keys:
        required = " or ".join(state.keys) or "any key"
        odd.append(f"NodePool {state.name} lets its nodes have {required}, not {' or '.join(sorted(keys))}")
    for overlay in state.overlays:
        if observed.n_of_overlay(overlay, state.pool) not in known:
            odd.append(f"NodeOverlay {name(overlay)} has neither N = {' nor '.join(map(str, sorted(known)))}")
    path = ("spec", "limits", layout.resource(state.pool))
    ours = written_by(state.node_pool, path) == (MANAGER,)
    if not (ours or any(observed.is_limited_for(state.node_pool, state.pool, n) for n in known)):
        odd.append(f"the limit of NodePool {state.name} fits neither N")
    for node in change.nodes:
        if node.key not in keys and patches.waited_for(node) is None:
            odd.append(f"Node {node.name} is labelled {node.key or 'with no key'}")
    after, held = patches.consolidate_after(state), change.rollout.held.get("consolidateAfter")
    if held and after not in (NEVER, held):
        odd.append(f"consolidateAfter of NodePool {state.name} is {after}, and was {held} before the rollout")
    return tuple(
        Finding(
            "foreign-edit",
            f"{message[0].upper()}{message[1:]}: another writer changed it during the rollout.",
            "No action needed: it is changed to the new N; a consolidateAfter is saved, and restored at the "
            "end.",
        )
        for message in odd
    )
