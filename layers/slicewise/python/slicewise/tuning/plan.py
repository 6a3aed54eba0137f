"""
What a tuning pass does: prove the slices, carry changes of N on, decide on the others. Pure.

A NodePool is in one of two states. While its N is being changed, the next step of that change is all that
happens to it. Else its N is decided on, its consolidation set, and what somebody else edited put back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from slicewise.kube import json_patch
from slicewise.kube.objects import annotations_of, status
from slicewise.kube.ref import ref_of
from slicewise.model.cluster import ClusterContents
from slicewise.model.usage import Page
from slicewise.planning.actions import Action, Patch
from slicewise.planning.outcome import Finding, Outcome, Plan, Stage
from slicewise.planning.record import Record
from slicewise.policy.model import MetricsSource, Mode, Policy, fingerprint
from slicewise.pools import layout
from slicewise.tuning import adoption, alarms, drift
from slicewise.tuning.capacity_check import prove
from slicewise.tuning.consolidation import plan as consolidation
from slicewise.tuning.rollout import clock_skew
from slicewise.tuning.rollout import release as rollout_release
from slicewise.tuning.rollout import stages as rollout_stages
from slicewise.tuning.rollout_plan import carried_on
from slicewise.tuning.rule.decision import RECENT, Decision, decide, details
from slicewise.tuning.rule.pool_plan import Part, broken_now, known_before
from slicewise.tuning.state import whole_gpus
from slicewise.tuning.state.observation import (
    Complete,
    Deleted,
    NotReady,
    Observation,
    Observed,
    Offboarding,
    Paused,
    PolicyInvalid,
    Unmanaged,
    measured_by,
)
from slicewise.tuning.state.pool_state import PoolState, Tuning, pool_states, read_tuning
from slicewise.tuning.usage.history import NOTHING
from slicewise.tuning.usage.pages import pages, written
from slicewise.tuning.usage.pool_usage import STEP, pool_use

_TUNING = ("metadata", "annotations", layout.TUNING_ANNOTATION)
# Where nothing is being changed there is no hurry, but an hour without an answer would be long.
_UNREAD_WAIT = timedelta(minutes=15)
_SOON = timedelta(seconds=2)
# What is let go may have to wait for a device plugin, minutes at most.
_LET_GO_WAIT = timedelta(seconds=15)
_MOST_SAID = 5


def acts(found: Observation) -> bool:
    """Whether the plan is carried out. Where no policy applies (any more) what it leaves behind is ours."""
    match found:
        case NotReady():
            return found.policy.mode is Mode.ACT
        case Observed():
            return found.policy.mode is Mode.ACT or _holds(found)
        case _:
            return True


def remembered(found: Observation, before: Record | None, now: datetime) -> dict[str, object]:
    """What the record of this pass keeps of what it observed."""
    policy = found.policy if isinstance(found, Offboarding | NotReady | Observed) else None
    return {
        "policy": "" if isinstance(found, Deleted | Unmanaged) else found.policy_name or "",
        "fingerprint": fingerprint(policy) if policy else "",
        "looked_at": now if _is_looked_into(found) else before and before.looked_at,
    }


def _is_looked_into(found: Observation) -> bool:
    match found:
        case Observed():
            return found.whole
        case Offboarding() | PolicyInvalid() | Unmanaged():
            return found.contents is not None
        case Deleted() | Paused() | NotReady():
            return False


def plan(found: Observation, now: datetime) -> Plan:
    """Actions in the order in which they must happen, and one mapping of details a NodePool."""
    match found:
        case Deleted():
            gone = Outcome(Stage.GONE, "the cluster is gone; the sweep has it forgotten")
            return Plan(gone, alarms.actions(None, None, found.alarms))
        case Paused():
            findings = tuple(_paused_halfway(known) for known in found.known if "rollout" in known)
            return Plan(Outcome(Stage.PAUSED, f"paused: {found.why}", findings), details=found.known)
        case Offboarding():
            # Few clusters are, and every cold start would pay for it.
            from slicewise.tuning import offboard

            return offboard.plan(found, now)
        case PolicyInvalid():
            return _refused(found, now)
        case Unmanaged(contents=ClusterContents() as left):
            return _unmanaged(left, alarms.actions(found.cluster, None, found.alarms), now)
        case Unmanaged():
            kept = alarms.actions(found.cluster, None, found.alarms)
            return Plan(Outcome(Stage.LEFT_ALONE, "no policy asks for this cluster"), kept)
        case NotReady():
            waiting = Outcome(Stage.WAITING, f"the cluster is {found.cluster.status}")
            return Plan(waiting, details=found.known)
        case Observed() if _holds(found):
            return _no_longer_in_force(found, now)
        case Observed():
            return _tune(found, found.policy, now)


def _unmanaged(left: ClusterContents, kept: Sequence[Action], now: datetime) -> Plan:
    """Only a cluster of which nothing is held any more is not looked into again."""
    why = "no policy asks for this cluster any more"
    given_back, shared = adoption.given_back(left, None)
    holds = bool(given_back) or rollout_release.holds(left, ())
    stage, wait = (Stage.TUNING, _LET_GO_WAIT) if holds else (Stage.LEFT_ALONE, None)
    findings = (*rollout_release.halfway(left, (), why), *shared)
    actions = (*kept, *rollout_release.let_go(left, (), why, now), *given_back)
    return Plan(Outcome(stage, "no policy asks for this cluster", findings, wait), actions)


def _holds(seen: Observed) -> bool:
    """What a pass in mode `act` left held is given back in every mode."""
    return seen.policy.mode is not Mode.ACT and rollout_release.holds(seen.contents, ())


def _no_longer_in_force(seen: Observed, now: datetime) -> Plan:
    why = f"the policy's mode is {seen.policy.mode} by now"
    actions = rollout_release.let_go(seen.contents, (), why, now)
    says = f"what a change of N held is given back: {why}"
    return Plan(Outcome(Stage.TUNING, says, wait=_LET_GO_WAIT), actions, seen.known)


def _paused_halfway(known: Mapping[str, Any]) -> Finding:
    return Finding(
        "n-half-changed",
        f"The pause stops a change of N of NodePool {known.get('node_pool')}: {known['rollout']}.",
        "Until it goes on, consolidation stays held, and nodes may be cordoned: slicewise resume CLUSTER.",
    )


def _refused(found: PolicyInvalid, now: datetime) -> Plan:
    """Nothing is decided by a wrong policy; but what a change of N holds cannot wait until it is mended."""
    why, left = "its policy is wrong by now", found.contents
    findings = tuple(
        Finding("policy", f"{problem.path}: {problem.value!r}.", f"{problem.remedy}.", refuses=True)
        for problem in found.error.problems
    )
    findings += rollout_release.halfway(left, (), why) if left else ()
    actions = rollout_release.let_go(left, (), why, now) if left else ()
    wait = _LET_GO_WAIT if left and rollout_release.holds(left, ()) else None
    held = "what a change of N held is given back" if actions else "nothing is touched"
    outcome = Outcome(Stage.FAILED, f"policy {found.policy_name!r} is wrong; {held}", findings, wait)
    return Plan(outcome, actions, found.known)


def _tune(seen: Observed, policy: Policy, now: datetime) -> Plan:
    contents = seen.contents
    states = pool_states(contents, policy)
    ours = {state.name for state in states}
    gone = "the policy no longer asks for it"
    changing = {state.name for state in states if state.rollout}
    growing = {state.name for state in states if state.rollout and state.rollout.grows}
    parts: list[Part] = []
    for state in states:
        if layout.ASLEEP in annotations_of(state.node_pool):
            parts.append(_asleep(state))
            continue
        part = _put_back_to_now(state, seen, now) or (
            carried_on(state, state.rollout, seen, policy, now)
            if state.rollout
            else _decided(state, seen, policy, growing, now)
        )
        parts.append(part)
        if part.changing:
            changing.add(state.name)
        if part.begins_to_grow:
            growing.add(state.name)
    adopting = adoption.steps(contents, policy, now)
    parts += [_adopting(step, ours) for step in adopting]
    node_pools = [*(state.name for state in states), *(step.node_pool for step in adopting)]
    for pool_name, part in _about_classes(policy, states, seen, now):
        parts.append(part)
        node_pools.append(pool_name)
    proof = prove(contents, now, changing)
    findings = [*proof.findings, *(finding for part in parts for finding in part.findings)]
    findings += rollout_release.halfway(contents, ours, gone)
    given_back, shared = adoption.given_back(contents, policy)
    findings += shared
    if seen.metrics_error:
        findings.append(
            Finding("metrics-unreadable", f"Metrics: {seen.metrics_error}", "Until then N stays as it is.")
        )
    if seen.alarms_error:
        says = f"Alarms of this cluster cannot be read: {seen.alarms_error.rstrip('.')}."
        remedy = "Until then nothing wakes tuning between the hourly looks, and idle GPUs count as used."
        findings.append(Finding("alarms-unreadable", says, remedy))
    waits = [_not_before(part.wait, part.actions, seen, now) for part in parts if part.wait is not None]
    if seen.metrics_error or seen.alarms_error:
        waits.append(_UNREAD_WAIT)
    outcome = Outcome(
        Stage.TUNING if changing or any(step.wait for step in adopting) else Stage.ONBOARDED,
        _reason(proof.summary, parts),
        tuple(dict.fromkeys(findings)),
        min(waits, default=None),
    )
    actions = (
        *(() if seen.alarms_error else alarms.actions(seen.cluster, policy, seen.alarms)),
        *(
            _in_part(action, node_pool)
            for node_pool, part in zip(node_pools, parts, strict=True)
            for action in part.actions
        ),
        *rollout_release.let_go(contents, ours, gone, now),
        *given_back,
    )
    return Plan(outcome, actions, tuple(part.detail for part in parts if part.detail), measured=_kept(seen))


def _not_before(wait: timedelta, actions: Sequence[Action], seen: Observed, now: datetime) -> timedelta:
    """What something refuses is not looked at each few seconds, but when it is tried again."""
    tries = {one.action: one.at - now for one in seen.failed}
    again = [tries[str(action)] for action in actions if str(action) in tries]
    return max(wait, *again) if again else wait


def _kept(seen: Observed) -> tuple[Page, ...]:
    if seen.measured is None or not isinstance(seen.measurement, Complete):
        return ()
    before = written(seen.measurement.history)
    return tuple(pages(seen.measured.kept, before, measured_by(seen.policy)))


def _about_classes(
    policy: Policy, states: Sequence[PoolState], seen: Observed, now: datetime
) -> Iterable[tuple[str, Part]]:
    """Every cold start would pay for what decides on classes, and few policies have any."""
    if not (policy.has_classes or seen.contents.workloads):
        return ()
    from slicewise.tuning.classes.plan import about_classes

    return about_classes(policy, states, seen, now)


def _adopting(step: adoption.Step, decided: set[str]) -> Part:
    says = f"{step.node_pool}: {step.says}"
    detail = {} if step.node_pool in decided else {"node_pool": step.node_pool, "n": 1, "reason": step.says}
    return Part(says, detail, step.actions, step.findings, step.wait)


def _asleep(state: PoolState) -> Part:
    """It has to come back as it was, and an idle night says nothing about a day's load."""
    until = annotations_of(state.node_pool)[layout.ASLEEP]
    says = f"{state.name} is asleep until {until}; nothing is changed"
    return Part("", {"node_pool": state.name, "n": state.n, "reason": says})


def _in_part(action: Action, node_pool: str) -> Action:
    """Somebody's edit of one NodePool is no reason to leave the others alone."""
    return replace(action, part=node_pool) if isinstance(action, Patch) else action


def _reason(summary: str, parts: Sequence[Part]) -> str:
    told = [part.says for part in sorted(parts, key=lambda part: not part.changing) if part.says]
    more = [f"and {len(told) - _MOST_SAID} more NodePools"] if len(told) > _MOST_SAID else []
    return "; ".join((summary, *told[:_MOST_SAID], *more))


def _put_back_to_now(state: PoolState, seen: Observed, now: datetime) -> Part | None:
    actions, findings = clock_skew.mend(state, now)
    if not actions or not acts(seen):
        return None
    says = f"{state.name}: times that have not come yet are put back to now"
    known = {**known_before(seen, state), "node_pool": state.name, "reason": says}
    return Part(says, known, actions, findings, _SOON, changing=bool(state.rollout))


# A NodePool whose N stands


def _decided(state: PoolState, seen: Observed, policy: Policy, growing: set[str], now: datetime) -> Part:
    asking = whole_gpus.known(state, seen.of_several_gpus, known_before(seen, state))
    part = _about_n(state, seen, policy, growing, asking, now)
    if part.changing:
        return part
    refused = whole_gpus.findings(state, asking, seen.contents)
    idle = alarms.idle_now(seen.alarms)
    on_claims = (status(claim).get("nodeName") or "" for claim in state.claims)
    pods = [pod for node in on_claims if node for pod in seen.pods_on.get(node, ())]
    advice = consolidation.advise(policy, state, pods, idle, now)
    repair = drift.repair(state, policy, now)
    left = rollout_release.uncordon(seen.contents, {state.name}, "no change of N is under way", now)
    return replace(
        part,
        detail={
            **part.detail,
            "consolidation": {"after": advice.wanted.after, "why": advice.wanted.why},
        },
        actions=(*part.actions, *repair.actions, *left, *advice.actions),
        findings=(*state.findings, *part.findings, *refused, *repair.findings, *advice.findings),
    )


def _about_n(
    state: PoolState,
    seen: Observed,
    policy: Policy,
    growing: set[str],
    asking: tuple[str, ...],
    now: datetime,
) -> Part:
    bare = {"node_pool": state.name, "pool": state.pool.name, "gpu": state.gpu.name, "n": state.n}
    if not state.pool.sharing.has_replicas:
        return Part(
            "", {**bare, "reason": f"there is no N to choose: its pool shares by {state.pool.sharing}"}
        )
    if size := state.pool.size:
        broken = broken_now(state, seen, policy, now - RECENT, now) if seen.whole else ()
        reason = f"it is class {size} of pool {state.pool.name}: {_pods(size)} a GPU, always"
        return Part("", {**bare, "reason": reason, "broken": [one.says for one in broken[:_MOST_SAID]]})
    if not seen.whole:
        return Part(
            "",
            known_before(seen, state) or {**bare, "reason": "it is decided on with the next measurements"},
        )
    if not acts(seen):
        state = replace(state, history=_told_before(state, seen))
    history = seen.measured.history if seen.measured else NOTHING
    contents = seen.contents_of(state.name)
    use = pool_use(seen.readings, policy.metrics.source.value, contents, now, state.name, history)
    since = now - RECENT
    if state.history.changed_at:
        # The step in which N changed measured the old one, too.
        since = max(since, state.history.changed_at + STEP)
    decision = decide(
        state,
        use,
        broken_now(state, seen, policy, since, now),
        contents,
        policy,
        now,
        frozen=_frozen(seen, policy),
        alone=whole_gpus.why_alone(asking, seen.contents) if state.n == 1 else "",
    )
    told = details(decision, now)
    problems = () if seen.metrics_error else use.problems
    if asking:
        told |= {"asks_for_more": list(asking[:_MOST_SAID]), "lets_them_run": whole_gpus.what_helps(state)}
    memory = _memory(state, decision) if acts(seen) else ()
    if decision.changes:
        grows = decision.step.after > state.n
        if grows and growing:
            told["reason"] = says = f"N may become {decision.step.after} once no other NodePool grows"
            return Part(f"{state.name}: {says}", told, memory, problems)
        begun = rollout_stages.begin(state, decision.step.after, decision.step.reason, now)
        if begun.actions:
            told["rollout"] = begun.says
            return Part(
                decision.says,
                told,
                begun.actions,
                (*problems, *begun.findings),
                begun.wait,
                changing=True,
                begins_to_grow=grows,
            )
        told["reason"] = begun.says
        return Part(f"{state.name}: {begun.says}", told, memory, (*problems, *begun.findings))
    return Part(decision.says, told, memory, problems)


def _pods(count: int) -> str:
    return f"{count} pod{'s' if count > 1 else ''}"


def _told_before(state: PoolState, seen: Observed) -> Tuning:
    """Who only recommends writes nothing into the cluster, so the record before says how long what stood."""
    text = json.dumps(known_before(seen, state).get("history", {}))
    metadata = {"name": state.name, "annotations": {layout.TUNING_ANNOTATION: text}}
    return read_tuning({"metadata": metadata})[0]


def _frozen(seen: Observed, policy: Policy) -> str:
    if policy.metrics.source is MetricsSource.NONE:
        return "the policy names no source of metrics"
    return "metrics cannot be read" if seen.metrics_error else ""


def _memory(state: PoolState, decision: Decision) -> tuple[Action, ...]:
    """Since when another N has been right is kept where N is; written only when it changes."""
    if decision.history == state.history:
        return ()
    operations = json_patch.set_value(state.node_pool, _TUNING, decision.history.dumped())
    says = f"remember since when N should be {decision.target} for NodePool {state.name}"
    if decision.target == state.n:
        says = f"remember that N of NodePool {state.name} is right"
    return (Patch(ref_of(state.node_pool), operations, says, decision.step.reason),)
