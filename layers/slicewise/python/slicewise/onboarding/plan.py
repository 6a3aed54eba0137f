"""
What onboarding does next with one cluster: Observation in, Plan out. Pure, and derived from what is there
alone.

A reconcile does not know what the last one did. It asks in turn: is the cluster there, does a policy ask for
it, is it ready, may we touch it, can we read it, what differs, does it work? The first question whose answer
is not yet "yes" decides. Records are read for two things only: how long something has lasted, and whether a
blocked cluster has changed since it was read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from slicewise.kube.labels import POLICY_TAG
from slicewise.kube.objects import is_ours
from slicewise.model.capabilities import OFF_HOURS, TUNING
from slicewise.model.cluster import AccessEntry, ClusterContents, EksCluster
from slicewise.onboarding import diff, karpenter, manifests, preflight, rbac, verify
from slicewise.onboarding.aws import fargate, interruptions
from slicewise.onboarding.karpenter import Gate
from slicewise.onboarding.observation import (
    Inside,
    Observation,
    ObserveError,
    ObserveFailure,
    Settings,
    eks_fingerprint,
    live,
)
from slicewise.onboarding.operator import gpu_findings
from slicewise.onboarding.operator import release as operator_release
from slicewise.planning import retries
from slicewise.planning.actions import Action, Apply, Delete, DeleteState, Patch, Wake, part_of
from slicewise.planning.eks_actions import (
    AllowAccessEntries,
    ApplyChartCrds,
    DeleteAccessEntry,
    GrantAdmin,
    PutAccessEntry,
    RevokeAdmin,
    RollbackRelease,
    TryUpgrade,
    UpgradeRelease,
)
from slicewise.planning.outcome import Finding, Outcome, Plan, Stage
from slicewise.planning.record import Record
from slicewise.planning.retries import Retry
from slicewise.policy.model import Mode, Policy, fingerprint

ACTIVE_POLL, ACTIVE_DEADLINE = timedelta(seconds=60), timedelta(minutes=45)
ACCESS_POLL, ACCESS_DEADLINE = timedelta(seconds=5), timedelta(minutes=10)
SWITCH_POLL = timedelta(seconds=30)
# Waiting for an endpoint may have begun with the cluster's creation: its deadline comes on top.
REACH_POLL, REACH_DEADLINE = timedelta(seconds=60), ACTIVE_DEADLINE + timedelta(minutes=15)
INSTALL_POLL, INSTALL_DEADLINE = timedelta(seconds=10), timedelta(minutes=30)
VERIFY_POLL, VERIFY_DEADLINE = timedelta(seconds=15), timedelta(minutes=10)
# To read a blocked cluster makes us its admin for seconds, which may alarm its owner: at most daily.
BLOCKED_POLL = timedelta(hours=24)

_GONE = "the cluster is deleted"
_IN_CLUSTER = (Apply, Delete, Patch, ApplyChartCrds, TryUpgrade, UpgradeRelease, RollbackRelease)


def plan(observation: Observation, settings: Settings, now: datetime) -> Plan:
    """
    Args:
        observation: Read together. `contents` may be missing; then `observe_error` says why.
        now: Aware UTC.

    Returns:
        Actions in the order in which they must happen, and the outcome once they have, with its reason for
        the operator. Where the policy's mode is not `act`, the actions are reported, not done (`enforced`).
    """
    cluster = observation.cluster
    if cluster is None:
        return _deleted(observation)
    asked = _asked_for(cluster, observation, settings)
    if cluster.offboards and not (observation.paused or cluster.status == "DELETING"):
        waiting = _not_active(cluster, now)
        return Plan(waiting) if waiting else _offboard(observation, settings, now)
    if isinstance(asked, Outcome):
        return Plan(asked, _release(observation, settings, asked.reason))
    waiting = _not_active(cluster, now)
    if waiting:
        return Plan(waiting)
    findings = (*preflight.outside(cluster), *_of_karpenter(observation, cluster, asked, settings))
    if preflight.has_blocking(findings):
        outcome = Outcome(Stage.BLOCKED, _refusal(findings), findings)
        return Plan(outcome, _release(observation, settings, "the cluster is refused"))
    if cluster.authentication_mode == "CONFIG_MAP":
        why = "access entries are the only way in, and the cluster's tag allows the one-way switch"
        outcome = Outcome(Stage.WAITING, "access entries are being switched on", findings, SWITCH_POLL)
        return Plan(outcome, (AllowAccessEntries(why),))
    if not _in_act_mode(observation) and observation.is_admin(settings.installer_role):
        return Plan(
            Outcome(Stage.UNMANAGED, "the policy's mode no longer lets us act", findings, ACCESS_POLL),
            _release(observation, settings, "the policy's mode no longer lets us act"),
        )
    if observation.contents is None:
        return _from_outside(observation, cluster, asked, settings, findings, now)
    # Which GPUs are whose is for people to read; nothing is decided by it.
    details = gpu_findings.by_node_pool(observation.contents)
    inside = _read(observation, cluster, asked, observation.contents)
    return replace(_from_inside(observation, inside, settings, findings, now), details=details)


def _read(observation: Observation, cluster: EksCluster, policy: Policy, contents: ClusterContents) -> Inside:
    return Inside(
        cluster,
        policy,
        contents,
        observation.entries,
        observation.addons,
        observation.pod_identities,
        observation.fargate,
        observation.interruptions,
    )


def _deleted(observation: Observation) -> Plan:
    # In this order: killed in between, a record still shows that there is state to delete.
    access, events, record = observation.fargate, observation.interruptions, observation.record
    last = (
        *(fargate.identity_taken_away(record.cluster, access, _GONE) if access and record else ()),
        *(interruptions.taken_away(record.cluster, events, _GONE) if events and record else ()),
        Wake(TUNING, "the cluster is deleted: so are its alarms"),
        DeleteState("EKS knows no such cluster"),
    )
    return Plan(Outcome(Stage.DELETED, _GONE), last)


def _offboard(observation: Observation, settings: Settings, now: datetime) -> Plan:
    """Few clusters are, and every cold start would pay for it."""
    from slicewise.onboarding import offboard

    return offboard.plan(observation, settings, now)


def enforced(observation: Observation, settings: Settings) -> bool:
    """
    Whether the actions of this plan are to be done, or only reported.

    Rights that a reconcile in mode `act` left behind are returned in every mode.
    """
    return _in_act_mode(observation) or observation.is_admin(settings.installer_role)


def _in_act_mode(observation: Observation) -> bool:
    return observation.policy is None or observation.policy.mode is Mode.ACT


# Before any access


def _of_karpenter(
    observation: Observation, cluster: EksCluster, policy: Policy, settings: Settings
) -> tuple[Finding, ...]:
    place = f"{rbac.KARPENTER_NAMESPACE}/{manifests.KARPENTER_SERVICE_ACCOUNT}"
    identity = observation.pod_identities.get(place)
    failed = observation.record.retries if observation.record and not observation.forced else ()
    return (
        *fargate.findings(cluster, policy, observation.fargate, settings, identity, failed),
        *interruptions.findings(cluster, policy, observation.interruptions, settings, identity),
    )


def _asked_for(cluster: EksCluster, observation: Observation, settings: Settings) -> Policy | Outcome:
    """The policy that asks for the cluster; or why it is not ours to touch."""
    if cluster.status == "DELETING":
        return Outcome(Stage.DELETED, "the cluster is being deleted", requeue_after=ACTIVE_POLL)
    if observation.paused:
        return Outcome(Stage.PAUSED, f"paused: {observation.paused}")
    if observation.policy_error is not None:
        findings = tuple(
            Finding("policy", f"{problem.path}: {problem.value!r}.", f"{problem.remedy}.", blocking=True)
            for problem in observation.policy_error.problems
        )
        return Outcome(
            Stage.FAILED,
            f"policy {observation.policy_error.name} has {_count(findings, 'mistake')}",
            findings,
        )
    if observation.policy is None:
        tag_value = cluster.tags.get(POLICY_TAG)
        tag = (
            f"it has no tag {POLICY_TAG}" if tag_value is None else f"its tag {POLICY_TAG} says {tag_value!r}"
        )
        return Outcome(
            Stage.UNMANAGED, f"no policy applies to this cluster: {tag}", _left_behind(observation, settings)
        )
    return observation.policy


def _left_behind(observation: Observation, settings: Settings) -> tuple[Finding, ...]:
    if settings.installer_role not in observation.entries:
        return ()
    return (
        Finding(
            "left-behind",
            "A policy asked for this cluster before. What was installed stays and keeps working, and the "
            "access entries of installer and tuner stay, with rights to read; no reconcile manages it.",
            "Tag it again to have it managed, or remove everything as docs/deploying.md says.",
        ),
    )


def _not_active(cluster: EksCluster, now: datetime) -> Outcome | None:
    if cluster.status == "ACTIVE":
        return None
    if cluster.status == "FAILED":
        return Outcome(Stage.FAILED, "EKS could not create the cluster (status FAILED)")
    if cluster.status == "UPDATING":
        return Outcome(Stage.WAITING, "EKS is updating the cluster", requeue_after=ACTIVE_POLL)
    age = now - cluster.created_at
    if age > ACTIVE_DEADLINE:
        minutes = int(age.total_seconds() // 60)
        reason = f"the cluster is still {cluster.status}, {minutes} minutes after its creation"
        return Outcome(Stage.FAILED, reason)
    return Outcome(Stage.WAITING, f"the cluster is {cluster.status}", requeue_after=ACTIVE_POLL)


def _release(observation: Observation, settings: Settings, why: str) -> tuple[Action, ...]:
    """Rights of an installation that did not end are returned, no matter what stopped it."""
    installer = settings.installer_role
    return (RevokeAdmin(installer, why),) if observation.is_admin(installer) else ()


# Without reading the cluster


def _from_outside(
    observation: Observation,
    cluster: EksCluster,
    policy: Policy,
    settings: Settings,
    findings: tuple[Finding, ...],
    now: datetime,
) -> Plan:
    entry, error = observation.entries.get(settings.installer_role), observation.observe_error
    failure = error.kind if error else None
    if error and error.kind is ObserveFailure.UNREACHABLE:
        return _out_of_reach(observation, cluster, error, settings, findings, now)
    if entry is None and (record := _still_refused(observation, cluster, policy, now)):
        again = "It is read again when cluster or policy change, by hand, or a day after it was last read."
        return Plan(Outcome(Stage.BLOCKED, f"{_refusal(record.findings)} {again}", record.findings))
    if not _in_act_mode(observation):
        outcome = Outcome(
            Stage.UNMANAGED,
            f"mode {policy.mode}: nothing at EKS rules out onboarding; what is in the "
            "cluster is not known, since reading it needs an access entry",
            findings,
        )
        return Plan(outcome, _probe_endpoint(settings, entry))
    if entry is None or entry.groups != (rbac.INSTALLER_GROUP,):
        reason = "our role gets access; reading the cluster comes next"
        return Plan(
            Outcome(Stage.INSTALLING, reason, findings, ACCESS_POLL), _probe_endpoint(settings, entry)
        )
    if failure is not ObserveFailure.FORBIDDEN and _unknown_for(entry, observation, now) > ACCESS_DEADLINE:
        return _never_let_in(observation, settings, findings)
    # Rights do not help an identity that is not known: a cluster that knew us yesterday knows us again soon.
    if failure is not ObserveFailure.UNAUTHORIZED and not observation.is_admin(settings.installer_role):
        why = "our rights to read are not in effect yet"
        outcome = Outcome(Stage.INSTALLING, "the cluster must be read", findings, ACCESS_POLL)
        return Plan(outcome, (GrantAdmin(settings.installer_role, why),))
    if _installing(observation, settings, now) > INSTALL_DEADLINE:
        return _never_let_in(observation, settings, findings)
    return Plan(
        Outcome(Stage.INSTALLING, "access was granted and is not in effect yet", findings, ACCESS_POLL)
    )


def _probe_endpoint(settings: Settings, entry: AccessEntry | None) -> tuple[Action, ...]:
    installer = settings.installer_role
    put = PutAccessEntry(installer, (rbac.INSTALLER_GROUP,), "a cluster answers only those who have one")
    grant = GrantAdmin(installer, "to read what rules an installation out, and to install")
    return (grant,) if entry and entry.groups == (rbac.INSTALLER_GROUP,) else (put, grant)


def _unknown_for(entry: AccessEntry, observation: Observation, now: datetime) -> timedelta:
    """How long the cluster cannot have known us: one 401 in the life of an entry is no reason to end it."""
    lasted = _lasted(observation, Stage.INSTALLING, now)
    return min(now - entry.created_at, lasted) if entry.created_at else lasted


def _never_let_in(observation: Observation, settings: Settings, findings: tuple[Finding, ...]) -> Plan:
    """
    An entry is bound to the role's inner id, so that of a role that was recreated never works: the next
    reconcile recreates the entry.
    """
    installer = settings.installer_role
    reason = f"the cluster does not accept {installer}, minutes after its access entry was made"
    finding = Finding(
        "not-let-in",
        f"The API server refuses {installer}, though its access entry is there.",
        "The entry is deleted and recreated at the next sweep; if this lasts, see the cluster's "
        "authenticator log.",
    )
    actions = (*_release(observation, settings, reason), DeleteAccessEntry(installer, "it does not work"))
    return Plan(Outcome(Stage.FAILED, reason, (*findings, finding)), actions)


def _out_of_reach(
    observation: Observation,
    cluster: EksCluster,
    error: ObserveError,
    settings: Settings,
    findings: tuple[Finding, ...],
    now: datetime,
) -> Plan:
    finding = preflight.endpoint_out_of_reach(cluster, error.message)
    waited = _lasted(observation, Stage.WAITING, now)
    if cluster.public_endpoint and waited <= REACH_DEADLINE:
        late = _installing(observation, settings, now) > INSTALL_DEADLINE
        released = _release(observation, settings, "we cannot reach the cluster") if late else ()
        return Plan(Outcome(Stage.WAITING, "the API server does not answer", findings, REACH_POLL), released)
    outcome = Outcome(Stage.BLOCKED, _refusal((finding,)), (finding, *findings))
    return Plan(outcome, _release(observation, settings, "we cannot reach the cluster"))


def _still_refused(
    observation: Observation, cluster: EksCluster, policy: Policy, now: datetime
) -> Record | None:
    """
    The record of this very cluster's refusal under this very policy, less than a day ago; None also where a
    user forces a reconcile.
    """
    record = observation.record
    if (
        record is None
        or record.stage is not Stage.BLOCKED
        or record.observed_at is None
        or observation.forced
    ):
        return None
    seen = (eks_fingerprint(cluster), fingerprint(policy))
    is_same = (record.cluster_fingerprint, record.fingerprint) == seen
    return record if is_same and now - record.observed_at < BLOCKED_POLL else None


# With the cluster read


def _from_inside(
    observation: Observation, inside: Inside, settings: Settings, outside: tuple[Finding, ...], now: datetime
) -> Plan:
    policy, contents = inside.policy, inside.contents
    findings = (*outside, *preflight.inside(contents, policy, settings, now))
    probe = live(contents, manifests.GATE_PROBE)
    clean_up: tuple[Action, ...] = ()
    if probe is not None and is_ours(probe):
        clean_up = (Delete(manifests.GATE_PROBE, "Karpenter has answered, or never will"),)
    if preflight.has_blocking(findings):
        return _refused(observation, inside, settings, findings, clean_up, now)

    gate = karpenter.gate(contents, policy, now)
    # Before the manifest of a tool says what it must, there is no overlay that would go on proving the gate.
    is_held = operator_release.awaited(contents, policy, settings) is not None
    if gate is Gate.UNKNOWN and _in_act_mode(observation) and not is_held:
        ask = Apply(manifests.gate_probe(), "whether Karpenter honours NodeOverlays shows only in its effect")
        reason = "checking whether Karpenter honours NodeOverlays"
        return _with_admin(observation, policy, settings, (ask,), reason, findings, now)
    if gate is Gate.ASKED and _in_act_mode(observation) and not is_held:
        reason = "Karpenter has up to 30 seconds to answer our NodeOverlay"
        return Plan(Outcome(Stage.INSTALLING, reason, findings, ACCESS_POLL))

    difference = diff.difference(inside, settings, now)
    findings = (*findings, *difference.findings)
    stuck = _stuck(observation, difference.actions, now)
    left = tuple(action for action in difference.actions if part_of(action) not in stuck)
    # The probe is removed last: should we be stopped in between, our own overlays or it still prove the gate.
    actions = (*left, *clean_up)
    if not actions and difference.requeue_after:
        reason = difference.waits_for
        closing = _release(observation, settings, "what is pending needs no right of ours")
        return Plan(Outcome(Stage.INSTALLING, reason, findings, difference.requeue_after), closing)
    if not actions:
        findings = (*findings, *retries.findings(stuck.values()))
        plan = _verified(observation, inside, settings, findings, now, stuck)
        waiting = (action for action in difference.actions if part_of(action) in stuck)
        unread = interruptions.requeue_after(policy, inside.interruptions, is_new=_is_new(observation))
        return _again_in(_retried(plan, waiting, stuck, now), unread)
    return _with_admin(observation, policy, settings, actions, _summary(actions), findings, now)


def _refused(
    observation: Observation,
    inside: Inside,
    settings: Settings,
    findings: tuple[Finding, ...],
    clean_up: tuple[Action, ...],
    now: datetime,
) -> Plan:
    """A cluster that we refuse keeps nothing of ours; one that was onboarded before keeps our read access."""
    installer = settings.installer_role
    if clean_up and not observation.is_admin(installer):
        return _with_admin(
            observation, inside.policy, settings, clean_up, "the gate's probe is taken away", findings, now
        )
    actions = (*clean_up, *_release(observation, settings, "the cluster is refused"))
    if installer in observation.entries and not manifests.anything_of_ours(inside.contents):
        actions = (*actions, DeleteAccessEntry(installer, "nothing of ours is in the cluster"))
    return Plan(Outcome(Stage.BLOCKED, _refusal(findings), findings), actions)


def _with_admin(
    observation: Observation,
    policy: Policy,
    settings: Settings,
    actions: tuple[Action, ...],
    reason: str,
    findings: tuple[Finding, ...],
    now: datetime,
) -> Plan:
    """These actions, if our rights suffice and are in effect; else what brings us there."""
    needs_admin = any(isinstance(action, _IN_CLUSTER) for action in actions)
    is_admin = observation.is_admin(settings.installer_role)
    grant = GrantAdmin(settings.installer_role, f"to {_first_words(actions)}")
    if not _in_act_mode(observation):
        planned = (grant, *actions) if needs_admin else actions
        reason = f"mode {policy.mode}: not done, only reported: {reason}"
        return Plan(Outcome(Stage.UNMANAGED, reason, findings), planned)
    if _installing(observation, settings, now) > INSTALL_DEADLINE:
        late = f"after {INSTALL_DEADLINE.seconds // 60} minutes there is still to do: {_summary(actions)}"
        released = _release(observation, settings, "the installation does not end")
        return Plan(Outcome(Stage.FAILED, late, findings), released)
    if needs_admin and not is_admin:
        # A user's `slicewise plan` reads the cluster before our own access entry is there.
        probe_endpoint = (
            (grant,) if settings.installer_role in observation.entries else _probe_endpoint(settings, None)
        )
        return Plan(
            Outcome(Stage.INSTALLING, f"we need to write: {reason}", findings, ACCESS_POLL), probe_endpoint
        )
    if needs_admin and observation.admin_in_effect is False:
        return Plan(Outcome(Stage.INSTALLING, "cluster admin is not in effect yet", findings, ACCESS_POLL))
    if reached := _stage_of_retries(observation, actions):
        return Plan(Outcome(reached, reason, findings, INSTALL_POLL), actions, keeps_stage=True)
    return Plan(Outcome(Stage.INSTALLING, reason, findings, INSTALL_POLL), actions)


def _stage_of_retries(observation: Observation, actions: tuple[Action, ...]) -> Stage | None:
    """
    The stage that was reached, where all that is done is tried again, and in AWS alone: another would begin
    anew what follows an installation.
    """
    record = observation.record
    if record is None or record.stage not in (Stage.ONBOARDED, Stage.VERIFYING):
        return None
    failed = {retry.part for retry in record.retries}
    again = all(part_of(one) in failed and not isinstance(one, _IN_CLUSTER) for one in actions)
    return Stage(record.stage) if again else None


def _stuck(observation: Observation, actions: tuple[Action, ...], now: datetime) -> dict[str, Retry]:
    """
    Parts that something refuses, and whose next try is not due, by name: one NodePool that cannot be written
    keeps no other from being served, and does not keep us admin of the cluster.
    """
    asked = {(part_of(action), retries.named(str(action))) for action in actions if part_of(action)}
    failed = observation.record.retries if observation.record else ()
    return {one.part: one for one in failed if (one.part, one.action) in asked and one.at > now}


def _retried(plan: Plan, left: Iterable[Action], stuck: Mapping[str, Retry], now: datetime) -> Plan:
    """What fails in the cluster is left to the sweep, since each try makes us admin; in AWS none does."""
    in_aws = [stuck[part_of(action)] for action in left if not isinstance(action, _IN_CLUSTER)]
    return _again_in(plan, retries.wait(in_aws, now))


def _again_in(plan: Plan, wait: timedelta | None) -> Plan:
    """No later than the plan has it by itself."""
    waits = [one for one in (plan.outcome.requeue_after, wait) if one]
    return replace(plan, outcome=replace(plan.outcome, requeue_after=min(waits, default=None)))


def _verified(
    observation: Observation,
    inside: Inside,
    settings: Settings,
    findings: tuple[Finding, ...],
    now: datetime,
    stuck: Collection[str] = (),
) -> Plan:
    policy, contents = inside.policy, inside.contents
    closing = _release(observation, settings, "the installation is done")
    awaited = verify.awaited(contents, policy, settings, stuck)
    if awaited:
        patient = _lasted(observation, Stage.VERIFYING, now) <= VERIFY_DEADLINE
        reason = f"all is applied; pending: {awaited[0].message}" + _and_more(awaited)
        outcome = Outcome(Stage.VERIFYING, reason, (*findings, *awaited), VERIFY_POLL if patient else None)
        return Plan(outcome, closing)
    findings = (*findings, *verify.without_effect(contents))
    reason = "nothing to change: the cluster is as its policy says"
    if findings:
        reason += f", with {_count(findings, 'finding')} to read"
    wake: tuple[Wake, ...] = ()
    if _is_new(observation) and _in_act_mode(observation):
        wake = (Wake(TUNING, "the cluster is onboarded"),)
    if wake and policy.off_hours:
        wake = (*wake, Wake(OFF_HOURS, "the cluster is onboarded"))
    return Plan(Outcome(Stage.ONBOARDED, reason, findings), (*closing, *wake))


def _is_new(observation: Observation) -> bool:
    """Whether the reconcile before did not find it onboarded, as after a change of the policy."""
    return observation.record is None or observation.record.stage is not Stage.ONBOARDED


# Words and time


def _lasted(observation: Observation, stage: Stage, now: datetime) -> timedelta:
    """How long a cluster has been in a stage without a break; zero where it is in another."""
    record = observation.record
    return now - record.since if record and record.stage is stage else timedelta(0)


def _installing(observation: Observation, settings: Settings, now: datetime) -> timedelta:
    """
    How long an installation has gone on: by its stage, or by how long we have been admin.

    Where each reconcile fails at the same call, its record says so and the stage never lasts; the right does.
    """
    entry = observation.entries.get(settings.installer_role)
    held = now - entry.admin_since if entry and entry.is_admin and entry.admin_since else timedelta(0)
    return max(held, _lasted(observation, Stage.INSTALLING, now))


def _refusal(findings: tuple[Finding, ...]) -> str:
    refusing = tuple(finding for finding in findings if finding.blocking)
    return f"{refusing[0].message}{_and_more(refusing)}" if refusing else "refused"


def _summary(actions: tuple[Action, ...]) -> str:
    return f"{_count(actions, 'change')}: {_first_words(actions)}"


def _first_words(actions: tuple[Action, ...]) -> str:
    more = f" and {len(actions) - 1} more" if len(actions) > 1 else ""
    return f"{actions[0]}{more}"


def _and_more(found: tuple[Finding, ...]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""


def _count(items: tuple[object, ...], noun: str) -> str:
    return f"{len(items)} {noun}{'s' if len(items) != 1 else ''}"
