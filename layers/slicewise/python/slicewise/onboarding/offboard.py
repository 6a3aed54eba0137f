"""
Onboarding's share of offboarding: what is ours goes, in an order that strands nobody. Pure.

1. Off-hours wakes what sleeps and deletes its schedule; tuning ends changes of N, gives adopted NodePools
   back, has ours emptied, and deletes its alarms. Both have identities of their own, so they are waited for.
2. As cluster admin: NodeOverlays, NodePools (closed ones without NodeClaims only), GPU Operator if it is ours
   and no GPU of others rests on it, its configuration, admission policies and roles.
3. The access entries, and then what the table knows of the cluster.

Nothing of it is remembered: each pass asks what is still there. The last thing to go is the installer's own
access entry, without which nobody of us could look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from slicewise import layout
from slicewise.actions import Action, Delete, Forget, Notify, Wake
from slicewise.capabilities import OFF_HOURS, TUNING
from slicewise.installations import DeleteAccessEntry, GrantAdmin, RevokeAdmin, UninstallRelease
from slicewise.model import Object, Ref, Release, ref_of
from slicewise.objects import APPLIED, annotations, being_deleted, is_ours, labels, name
from slicewise.onboarding import manifests, rbac
from slicewise.onboarding.operator_giving_back import give_back
from slicewise.onboarding.operator_release import is_theirs
from slicewise.onboarding.operator_release import of as operator_of
from slicewise.onboarding.operator_values import is_joined, is_marked
from slicewise.onboarding.world import LookFailure, Remains, Settings, World
from slicewise.outcomes import Finding, Outcome, Plan, Stage

# Kinds of which we may have made objects, in the order in which they go. What others rest on comes last.
KINDS = (
    ("karpenter.sh/v1alpha1", "NodeOverlay"),
    ("karpenter.sh/v1", "NodePool"),
    ("karpenter.k8s.aws/v1", "EC2NodeClass"),
    ("apps/v1", "DaemonSet"),
    ("v1", "ConfigMap"),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
)
_POLL, _FOR_OTHERS, _FOR_PEOPLE = timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=15)
_ADMIN_DEADLINE = timedelta(minutes=30)
_WHY = "the cluster is being offboarded"
_RIGHTS = ("rbac.authorization.k8s.io", "admissionregistration.k8s.io")
_CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
_MOST_NAMED = 5


def plan(world: World, settings: Settings, now: datetime) -> Plan:
    """Needs a cluster that is ACTIVE, and `world.remains`."""
    remains = world.remains
    if remains is None:
        raise ValueError("a look for an offboarding says what remains")
    waits_for = [*_held_by_others(remains), *_held_in_the_cluster(world, settings)]
    if waits_for and not remains.only_told:
        return _others_first(world, settings, waits_for)
    if settings.installer_role not in world.entries and not remains.only_told:
        return _ended(world, settings)
    if remains.node_pools is None:
        return _not_seen(world, settings, now)
    if remains.ours is None and not remains.only_told:
        return _as_admin(world, settings, now)
    actions, findings = tuple(_taken_away(remains, settings)), tuple(_left(remains, settings))
    if remains.only_told:
        return Plan(Outcome(Stage.OFFBOARDING, _WHY, findings), (*actions, *_entries_go(world, settings)))
    waits = "" if actions else _waits(remains, settings)
    if (actions or waits) and _is_late(world, settings, now):
        says = f"after {_ADMIN_DEADLINE.seconds // 60} minutes there is still to do: {waits or actions[0]}"
        revoke = RevokeAdmin(settings.installer_role, "offboarding does not end")
        return Plan(Outcome(Stage.FAILED, says, findings, _FOR_PEOPLE), (revoke,))
    if waits:
        return Plan(Outcome(Stage.OFFBOARDING, f"{_WHY}: {waits}", findings, _FOR_OTHERS))
    if actions:
        says = f"{_WHY}: {len(actions)} things of ours go, first: {actions[0]}"
        return Plan(Outcome(Stage.OFFBOARDING, says, findings, _POLL), actions)
    return _ended(world, settings, findings)


# Who must come before


def _held_by_others(remains: Remains) -> Iterator[tuple[str, str]]:
    """Capability, and what it still has to do."""
    if remains.asleep:
        yield OFF_HOURS, f"{len(remains.asleep)} objects sleep, such as {remains.asleep[0]}"
    for record in remains.others:
        if record.stage != Stage.LEFT_ALONE:
            yield record.capability, f"{record.capability} says: {record.reason}"


def _held_in_the_cluster(world: World, settings: Settings) -> Iterator[tuple[str, str]]:
    remains = world.remains
    for pool in (remains.node_pools or ()) if remains else ():
        marks = annotations(pool)
        if layout.ASLEEP in marks:
            yield OFF_HOURS, f"NodePool {name(pool)} is asleep"
        elif layout.ORIGINAL_ANNOTATION in marks:
            yield TUNING, f"NodePool {name(pool)} is adopted, and not given back yet"
        elif is_ours(pool) and not being_deleted(pool):
            claims = [c for c in remains.claims if labels(c).get(layout.NODE_POOL_LABEL) == name(pool)]
            if claims:
                yield TUNING, f"NodePool {name(pool)} has {len(claims)} nodes"
            elif marks.get(APPLIED) != layout.CLOSED and settings.tuner_role in world.entries:
                yield TUNING, f"NodePool {name(pool)} may start nodes yet"


def _others_first(world: World, settings: Settings, waits_for: list[tuple[str, str]]) -> Plan:
    capabilities = dict.fromkeys(capability for capability, _ in waits_for)
    actions: list[Action] = [Wake(capability, _WHY) for capability in capabilities]
    if world.is_admin(settings.installer_role):
        actions.append(RevokeAdmin(settings.installer_role, "others have to come first"))
    more = f" (and {len(waits_for) - 1} more)" if len(waits_for) > 1 else ""
    findings = tuple(finding for record in world.remains.others for finding in record.findings)
    outcome = Outcome(Stage.OFFBOARDING, f"{_WHY}: {waits_for[0][1]}{more}", findings, _wait(world))
    return Plan(outcome, tuple(actions))


def _wait(world: World) -> timedelta:
    """People take their time: nobody is asked every half minute for a day."""
    others = world.remains.others if world.remains else ()
    slow = any(finding.code == "still-asked-for" for record in others for finding in record.findings)
    return _FOR_PEOPLE if slow else _FOR_OTHERS


# Looking inside


def _not_seen(world: World, settings: Settings, now: datetime) -> Plan:
    error = world.look_error
    says = f"{_WHY}: the cluster could not be looked into: {error.says if error else 'no answer'}"
    if error and error.kind is LookFailure.FORBIDDEN and not world.is_admin(settings.installer_role):
        return _as_admin(world, settings, now)
    return Plan(Outcome(Stage.OFFBOARDING, says, wait=timedelta(minutes=1)))


def _as_admin(world: World, settings: Settings, now: datetime) -> Plan:
    if _is_late(world, settings, now):
        says = f"{_WHY}: cluster admin is not in effect after {_ADMIN_DEADLINE.seconds // 60} minutes"
        revoke = RevokeAdmin(settings.installer_role, "it does not work")
        return Plan(Outcome(Stage.FAILED, says, wait=_FOR_PEOPLE), (revoke,))
    if world.is_admin(settings.installer_role):
        return Plan(Outcome(Stage.OFFBOARDING, f"{_WHY}: cluster admin is not in effect yet", wait=_POLL))
    grant = GrantAdmin(settings.installer_role, "to take away what is ours")
    return Plan(Outcome(Stage.OFFBOARDING, f"{_WHY}: nobody needs our nodes any more", wait=_POLL), (grant,))


def _is_late(world: World, settings: Settings, now: datetime) -> bool:
    entry = world.entries.get(settings.installer_role)
    since = entry.admin_since if entry and entry.is_admin else None
    return since is not None and now - since > _ADMIN_DEADLINE


# What goes


def _taken_away(remains: Remains, settings: Settings) -> Iterator[Action]:
    """Rights go last: whoever is interrupted before still has them."""
    ours = tuple(item for item in remains.ours or () if not being_deleted(item))
    yield from (_delete(item) for item in ours if not _is_right(item) and item["kind"] != "ConfigMap")
    contents, release = remains.contents, _operator(remains)
    if contents and release and is_joined(release):
        yield from give_back(contents, remains.revisions, settings).actions
        return  # what it reads goes once it reads it no more
    goes = release is not None and not is_theirs(release) and not _foreign_gpus(remains)
    if release and goes:
        yield UninstallRelease(release.name, release.namespace, "we installed it, and no GPU rests on it")
    if (release is None or is_theirs(release) or goes) and not remains.readers:
        # A device plugin exits on a configuration that is gone.
        yield from (_delete(item) for item in ours if item["kind"] == "ConfigMap")
    if release is None and remains.namespace is not None:
        for crd in remains.chart_crds:
            yield Delete(Ref(*_CRD, crd), "GPU Operator's chart brought it, and no object of it is left")
    yield from (_delete(item) for item in ours if _is_right(item))
    namespace = remains.namespace
    empty = not remains.namespace_holds and not remains.readers
    if namespace and empty and not _is_operator_of_ours(release) and not being_deleted(namespace):
        yield _delete(namespace)


def _is_right(item: Object) -> bool:
    return item["apiVersion"].partition("/")[0] in _RIGHTS


def _delete(item: Object) -> Delete:
    return Delete(ref_of(item), _WHY, part=str(ref_of(item)))


def _operator(remains: Remains) -> Release | None:
    return operator_of(remains.contents) if remains.contents else None


def _is_operator_of_ours(release: Release | None) -> bool:
    return release is not None and not is_theirs(release)


def _foreign_gpus(remains: Remains) -> tuple[str, ...]:
    """Nodes with GPUs that no NodePool of ours started."""
    ours = {name(pool) for pool in remains.node_pools or () if is_ours(pool)}
    nodes = remains.contents.nodes if remains.contents else ()
    return tuple(name(node) for node in nodes if labels(node).get(layout.NODE_POOL_LABEL) not in ours)


def _waits(remains: Remains, settings: Settings) -> str:
    """What has to come to an end before the next step; empty where nothing has."""
    gone = [item for item in remains.ours or () if being_deleted(item)]
    if gone:
        return f"{ref_of(gone[0])} is being deleted"
    release = _operator(remains)
    if remains.contents and release and is_joined(release):
        found = give_back(remains.contents, remains.revisions, settings).findings
        return str(found[0]) if found else ""
    if remains.readers and not _is_operator_of_ours(release):
        return f"{remains.readers[0]} still reads a configuration of ours"
    return ""


def _left(remains: Remains, settings: Settings) -> Iterator[Finding]:
    """What a person has to decide on, or should know."""
    release, contents = _operator(remains), remains.contents
    if contents and release and is_joined(release):
        yield from give_back(contents, remains.revisions, settings).findings
    if _is_operator_of_ours(release) and (theirs := _foreign_gpus(remains)):
        yield Finding(
            "gpu-operator-stays",
            f"GPU Operator stays, with its configuration: {_some(theirs)} have GPUs that are not ours, and "
            "rest on it.",
            f"Once they do not: helm uninstall {manifests.OPERATOR} -n {layout.OPERATOR_NAMESPACE}",
        )
    if remains.readers and release and is_theirs(release) and not is_joined(release):
        yield Finding(
            "configuration-in-use",
            f"{_some(remains.readers)} read ConfigMap {layout.CONFIG_MAP.name}, which is ours: it stays "
            "while they do.",
            "Set devicePlugin.config in the values of your GPU Operator to what it was before.",
        )
    releases = contents.releases if contents else ()
    karpenter = manifests.find_release(releases, manifests.KARPENTER, rbac.KARPENTER_NAMESPACE)
    if karpenter and is_marked(karpenter):
        yield Finding(
            "karpenter-stays",
            "Karpenter, which we installed, stays with its roles: it starts the cluster's other nodes.",
            "Once nothing needs it: helm uninstall karpenter -n kube-system",
        )
    if remains.namespace is not None and remains.namespace_holds and not _is_operator_of_ours(release):
        yield Finding(
            "namespace-stays",
            f"Namespace {layout.OPERATOR_NAMESPACE} stays: it holds {_some(remains.namespace_holds)}.",
            f"Once nothing needs it: kubectl delete namespace {layout.OPERATOR_NAMESPACE}",
        )


def _some(names: Iterable[str]) -> str:
    found = tuple(names)
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(found[:_MOST_NAMED]) + more


# The end


def _ended(world: World, settings: Settings, stays: tuple[Finding, ...] = ()) -> Plan:
    """After it nothing is known of the cluster, and there is nothing to be known."""
    outcome = Outcome(Stage.LEFT_ALONE, "its tag says offboard, and nothing of ours is left", stays)
    entries = _entries_go(world, settings)
    if not entries and world.record is None:
        return Plan(outcome, unrecorded=True)
    cluster = world.cluster.name if world.cluster else ""
    said = Notify(
        f"Slicewise: {cluster} is offboarded",
        "\n".join(map(str, stays)) or "Nothing of ours is left in it, and we cannot enter it any more.",
        "its record goes, and with it what it says",
        "offboarded",
    )
    return Plan(outcome, (said, *entries, Forget("the cluster is offboarded")))


def _entries_go(world: World, settings: Settings) -> tuple[DeleteAccessEntry, ...]:
    """The installer's last: with it goes the right to look again."""
    roles = (settings.tuner_role, settings.sleeper_role, settings.installer_role)
    return tuple(DeleteAccessEntry(role, _WHY) for role in roles if role in world.entries)
