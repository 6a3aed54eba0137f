"""
Onboarding's share of offboarding: what is ours is removed, in an order that strands no workload. Pure.

1. Off-hours wakes what sleeps and deletes its schedule; tuning ends rollouts, restores adopted NodePools, has
   ours emptied, and deletes its alarms. Both have identities of their own, so onboarding continues once they
   have ended.
2. As cluster admin: NodeOverlays, NodePools (closed ones without NodeClaims only), GPU Operator if it is ours
   and no GPU of others rests on it, its configuration, the access entries of the others, admission policies
   and roles. A Karpenter that we put on Fargate, once nothing is left that it serves; then its Fargate
   profile, its role and the OIDC provider, unless other roles trust that. Its queue and rule of interruptions
   once no Karpenter is left to read them, wherever it ran.
3. The installer's access entry, and then what the table knows of the cluster.

Nothing of it is recorded: each reconcile reads what is still there. The last thing to be deleted is the
installer's own access entry, without which no reconcile could read the cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from slicewise.kube import kinds
from slicewise.kube.labels import APPLIED, ASLEEP, ORIGINAL_ANNOTATION, POOL_LABEL, SWITCHES
from slicewise.kube.objects import (
    annotations_of,
    being_deleted,
    is_ours,
    labels,
    name,
    required_values,
    spec,
)
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.capabilities import OFF_HOURS, TUNING
from slicewise.model.cluster import Release
from slicewise.onboarding import manifests, rbac
from slicewise.onboarding.aws import fargate, interruptions
from slicewise.onboarding.helm.operator_values import is_joined, is_marked
from slicewise.onboarding.observation import Observation, ObserveFailure, Remains, Settings, live
from slicewise.onboarding.operator.release import is_theirs
from slicewise.onboarding.operator.release import of as operator_of
from slicewise.onboarding.operator.restore import give_back
from slicewise.planning.actions import Action, Delete, DeleteState, Notify, Wake
from slicewise.planning.eks_actions import (
    DeleteAccessEntry,
    GrantAdmin,
    PutAccessEntry,
    RevokeAdmin,
    UninstallRelease,
)
from slicewise.planning.outcome import Finding, Outcome, Plan, Stage
from slicewise.pools import layout

# Kinds of which we may have made objects, in the order in which they go. What others rest on comes last.
KINDS = (
    kinds.NODE_OVERLAY,
    kinds.NODE_POOL,
    kinds.EC2_NODE_CLASS,
    kinds.DAEMON_SET,
    kinds.CONFIG_MAP,
    kinds.ADMISSION_BINDING,
    kinds.ADMISSION_POLICY,
    kinds.ROLE_BINDING,
    kinds.CLUSTER_ROLE_BINDING,
    kinds.ROLE,
    kinds.CLUSTER_ROLE,
)
_POLL, _FOR_OTHERS, _FOR_PEOPLE = timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=15)
_AGAIN, _ADMIN_DEADLINE = timedelta(minutes=5), timedelta(minutes=30)
# After an attempt that did not end.
_RESTS, _DOES_NOT_END = timedelta(hours=6), "offboarding-does-not-end"
# Findings of tuning's (tuning/offboard.py) that only people can end.
_UP_TO_PEOPLE = frozenset({"still-asked-for", "still-on-our-nodes"})
_WHY = "the cluster is being offboarded"
_RIGHTS = ("rbac.authorization.k8s.io", "admissionregistration.k8s.io")
_CRD = kinds.CRD
_MOST_NAMED = 5


def plan(observation: Observation, settings: Settings, now: datetime) -> Plan:
    """Needs a cluster that is ACTIVE, and `observation.remains`."""
    remains = observation.remains
    if remains is None:
        raise ValueError("the offboarding reads what remains")
    waits_for = [*_held_by_others(observation, settings), *_held_in_the_cluster(observation)]
    if waits_for and not remains.is_preview:
        return _others_first(observation, settings, waits_for, now)
    if settings.installer_role not in observation.entries and not remains.is_preview:
        # A Karpenter that stayed for others may go now: a person says when.
        is_again = observation.forced and (_is_on_fargate(observation) or _has_interruptions(observation))
        return _let_in_again(settings) if is_again else _ended(observation, settings)
    if remains.node_pools is None:
        return _not_seen(observation, settings, now)
    if remains.ours is None and not remains.is_preview:
        return _as_admin(observation, settings, now)
    actions = tuple(_taken_away(observation, settings, now))
    findings = tuple(_left(observation, settings, now))
    if remains.is_preview:
        entries = (one for one in _entries_go(observation, settings) if one not in actions)
        return Plan(Outcome(Stage.OFFBOARDING, _WHY, findings), (*actions, *entries))
    waits = "" if actions else _waits(observation, settings, now)
    if (actions or waits) and _is_late(observation, settings, now):
        message = f"after {_ADMIN_DEADLINE.seconds // 60} minutes there is still to do: {waits or actions[0]}"
        return _given_up(settings, message, findings)
    if waits:
        return Plan(Outcome(Stage.OFFBOARDING, f"{_WHY}: {waits}", findings, _FOR_OTHERS))
    if actions:
        message = f"{_WHY}: {len(actions)} things of ours go, first: {actions[0]}"
        return Plan(Outcome(Stage.OFFBOARDING, message, findings, _POLL), actions)
    return _ended(observation, settings, (*_of_others(observation), *findings))


# Who must come before


def _held_by_others(observation: Observation, settings: Settings) -> Iterator[tuple[str, str]]:
    """Capability, and what it still has to do."""
    remains = observation.remains or Remains()
    if remains.asleep:
        yield OFF_HOURS, f"{len(remains.asleep)} objects sleep, such as {remains.asleep[0]}"
    roles = {TUNING: settings.tuner_role, OFF_HOURS: settings.sleeper_role}
    for record in remains.others:
        # A capability without an entry has nothing left to do, except where something is left to restore.
        may = roles[record.capability] in observation.entries or bool(_node_pools_of_ours(remains))
        if may and record.stage != Stage.UNMANAGED:
            yield record.capability, f"{record.capability} says: {record.reason}"


def _node_pools_of_ours(remains: Remains) -> list[Object]:
    """Also those that are adopted."""
    return [pool for pool in remains.node_pools or () if is_ours(pool) and not being_deleted(pool)]


def _held_in_the_cluster(observation: Observation) -> Iterator[tuple[str, str]]:
    remains = observation.remains or Remains()
    for pool in remains.node_pools or ():
        marks = annotations_of(pool)
        if ASLEEP in marks:
            yield OFF_HOURS, f"NodePool {name(pool)} is asleep"
        elif SWITCHES in marks:
            yield OFF_HOURS, f"something sleeps by a switch that NodePool {name(pool)} has the mark of"
        elif ORIGINAL_ANNOTATION in marks:
            yield TUNING, f"NodePool {name(pool)} is adopted, and not restored yet"
        elif is_ours(pool) and APPLIED in marks and not being_deleted(pool):
            claims = [c for c in remains.claims if labels(c).get(layout.NODE_POOL_LABEL) == name(pool)]
            if claims:
                yield TUNING, f"NodePool {name(pool)} has {len(claims)} nodes"
            elif marks[APPLIED] != layout.CLOSED:
                yield TUNING, f"NodePool {name(pool)} may start nodes yet"


def _others_first(
    observation: Observation, settings: Settings, waits_for: list[tuple[str, str]], now: datetime
) -> Plan:
    capabilities = dict.fromkeys(capability for capability, _ in waits_for)
    actions: list[Action] = list(_lets_in(observation, settings, capabilities))
    actions += [Wake(capability, _WHY) for capability in capabilities]
    if observation.is_admin(settings.installer_role):
        actions.append(RevokeAdmin(settings.installer_role, "others have to come first"))
    more = f" (and {len(waits_for) - 1} more)" if len(waits_for) > 1 else ""
    findings = _of_others(observation)
    outcome = Outcome(
        Stage.OFFBOARDING, f"{_WHY}: {waits_for[0][1]}{more}", findings, _wait(observation, now)
    )
    return Plan(outcome, tuple(actions))


def _lets_in(
    observation: Observation, settings: Settings, capabilities: Collection[str]
) -> Iterator[PutAccessEntry]:
    """A capability that has something left to do needs its entry, which may have been deleted."""
    of = {
        TUNING: (settings.tuner_role, rbac.TUNER_GROUP),
        OFF_HOURS: (settings.sleeper_role, rbac.SLEEPER_GROUP),
    }
    for capability in capabilities:
        role, group = of[capability]
        if role not in observation.entries and settings.installer_role in observation.entries:
            yield PutAccessEntry(role, (group,), "it has something to restore")


def _of_others(observation: Observation) -> tuple[Finding, ...]:
    others = observation.remains.others if observation.remains else ()
    return tuple(finding for record in others for finding in record.findings)


def _wait(observation: Observation, now: datetime) -> timedelta:
    """People take their time: they are not asked every half minute for a day."""
    if any(finding.code in _UP_TO_PEOPLE for finding in _of_others(observation)):
        return _FOR_PEOPLE
    record = observation.record
    long = record and record.stage is Stage.OFFBOARDING and now - record.since > _ADMIN_DEADLINE
    return _AGAIN if long else _FOR_OTHERS


# Reading the cluster


def _let_in_again(settings: Settings) -> Plan:
    why = "what Karpenter has in AWS is ours still"
    entry = PutAccessEntry(settings.installer_role, (rbac.INSTALLER_GROUP,), why)
    return Plan(Outcome(Stage.OFFBOARDING, f"{_WHY}: {why}", requeue_after=_POLL), (entry,))


def _not_seen(observation: Observation, settings: Settings, now: datetime) -> Plan:
    error = observation.observe_error
    message = f"{_WHY}: the cluster could not be read: {error.message if error else 'no answer'}"
    if _is_late(observation, settings, now):
        return _given_up(settings, message)
    if error and error.kind is ObserveFailure.FORBIDDEN and not observation.is_admin(settings.installer_role):
        return _as_admin(observation, settings, now)
    return Plan(Outcome(Stage.OFFBOARDING, message, requeue_after=timedelta(minutes=1)))


def _as_admin(observation: Observation, settings: Settings, now: datetime) -> Plan:
    if _is_late(observation, settings, now):
        minutes = _ADMIN_DEADLINE.seconds // 60
        return _given_up(settings, f"{_WHY}: cluster admin is not in effect after {minutes} minutes")
    if observation.is_admin(settings.installer_role):
        return Plan(
            Outcome(Stage.OFFBOARDING, f"{_WHY}: cluster admin is not in effect yet", requeue_after=_POLL)
        )
    record = observation.record
    ended = record and any(finding.code == _DOES_NOT_END for finding in record.findings)
    if record and ended and now - record.since < _RESTS and not observation.forced:
        return Plan(Outcome(Stage.FAILED, record.reason, record.findings))
    grant = GrantAdmin(settings.installer_role, "to take away what is ours")
    return Plan(
        Outcome(Stage.OFFBOARDING, f"{_WHY}: no pod needs our nodes any more", requeue_after=_POLL), (grant,)
    )


def _given_up(settings: Settings, message: str, findings: tuple[Finding, ...] = ()) -> Plan:
    """We must not be cluster admin for as long as a cluster does not answer."""
    failure = Finding(
        _DOES_NOT_END,
        f"Offboarding was abandoned after {_ADMIN_DEADLINE.seconds // 60} minutes as cluster admin.",
        "It is tried again six hours later; sooner: slicewise offboard CLUSTER.",
    )
    revoke = RevokeAdmin(settings.installer_role, "offboarding does not end")
    return Plan(Outcome(Stage.FAILED, message, (failure, *findings)), (revoke,))


def _is_late(observation: Observation, settings: Settings, now: datetime) -> bool:
    entry = observation.entries.get(settings.installer_role)
    since = entry.admin_since if entry and entry.is_admin else None
    return since is not None and now - since > _ADMIN_DEADLINE


# What is removed


def _taken_away(observation: Observation, settings: Settings, now: datetime) -> Iterator[Action]:
    """Rights are removed last: an offboarding that is interrupted before still has them."""
    remains = observation.remains or Remains()
    ours = tuple(item for item in remains.ours or () if not being_deleted(item))
    stays = {ref_of(item) for item, _ in _in_use(remains)}
    things = (item for item in ours if not _is_right(item) and item["kind"] != "ConfigMap")
    yield from (_delete(item) for item in things if ref_of(item) not in stays and not _is_doubtful(item))
    yield from _karpenter_goes(observation, settings)
    yield from _interruptions_go(observation)
    contents, release = remains.contents, _operator(remains)
    if contents and release and is_joined(release):
        yield from give_back(contents, remains.revisions, settings, now).actions
        return  # what it reads is removed once it reads it no longer
    goes = release is not None and not is_theirs(release) and not _rests_on_it(remains)
    if release and goes:
        yield UninstallRelease(release.name, release.namespace, "we installed it, and no GPU rests on it")
    if (release is None or is_theirs(release) or goes) and not _readers(remains, goes):
        # A device plugin exits on a configuration that is deleted.
        yield from (_delete(item) for item in ours if item["kind"] == "ConfigMap")
    if release is None and remains.namespace is not None:
        for crd in remains.chart_crds:
            yield Delete(Ref(*_CRD, crd), "GPU Operator's chart brought it, and no object of it is left")
    yield from _rights_go(observation, settings, [item for item in ours if _is_right(item)])
    namespace = remains.namespace
    empty = not remains.namespace_holds and not _readers(remains, goes)
    if namespace and empty and not _is_operator_of_ours(release) and not being_deleted(namespace):
        yield _delete(namespace)


def _karpenter_goes(observation: Observation, settings: Settings) -> Iterator[Action]:
    """Only one on Fargate: what its pods run on is ours, and would be of no use to the next owner."""
    cluster, access = observation.cluster, observation.fargate
    remains = observation.remains or Remains()
    if cluster is None or access is None or not _is_on_fargate(observation) or _served(remains):
        return
    releases = [one for one in _karpenter_releases(remains) if is_marked(one)]
    for release in releases:
        yield UninstallRelease(release.name, release.namespace, "nothing is left that it serves")
    if not remains.is_preview and (releases or _has_karpenter_there(remains)):
        return  # its pods end by that, and not with their profile
    # Before what shows that Karpenter was there; EKS made the entry of the profile's pods.
    principals = [settings.node_role_arn(cluster)]
    if fargate.profile_of_ours(access) is None:
        principals.append(settings.fargate_pod_role)
    for principal in principals:
        if principal in observation.entries:
            yield DeleteAccessEntry(principal, _WHY)
    yield from fargate.taken_away(cluster.arn, access, _WHY)


def _interruptions_go(observation: Observation) -> Iterator[Action]:
    """After the Karpenter that reads them: where one stays, so do they."""
    cluster, found = observation.cluster, observation.interruptions
    if cluster and found and not _keeps_karpenter(observation):
        yield from interruptions.taken_away(cluster.arn, found, _WHY)


def _keeps_karpenter(observation: Observation) -> bool:
    """Whether one is there; for a preview, whether one stays."""
    remains = observation.remains or Remains()
    releases = remains.contents.releases if remains.contents else ()
    is_there = manifests.find_release(releases, manifests.KARPENTER, rbac.KARPENTER_NAMESPACE) is not None
    goes = remains.is_preview and _is_on_fargate(observation) and not _served(remains)
    return (is_there or _has_karpenter_there(remains)) and not goes


def _has_interruptions(observation: Observation) -> bool:
    cluster = observation.cluster
    return cluster is not None and interruptions.anything_of_ours(cluster.arn, observation.interruptions)


def _served(remains: Remains) -> list[Ref]:
    """What a Karpenter still has to serve; for a preview, once ours are deleted."""
    ours = {ref_of(item) for item in (*(remains.ours or ()), *remains.claims)}
    return [ref for ref in remains.on_karpenter if not (remains.is_preview and ref in ours)]


def _has_karpenter_there(remains: Remains) -> bool:
    """Also one that is not ours, and that our profile gives its place."""
    found = remains.contents.karpenter if remains.contents else None
    return found is not None and found.namespace == rbac.KARPENTER_NAMESPACE


def _is_on_fargate(observation: Observation) -> bool:
    cluster = observation.cluster
    return cluster is not None and fargate.anything_of_ours(cluster.arn, observation.fargate)


def _karpenter_releases(remains: Remains) -> Iterator[Release]:
    """The controller first: its CRDs go with all objects that there are of them."""
    releases = remains.contents.releases if remains.contents else ()
    for name_of_it in (manifests.KARPENTER, manifests.KARPENTER_CRD):
        if found := manifests.find_release(releases, name_of_it, rbac.KARPENTER_NAMESPACE):
            yield found


def _rights_go(observation: Observation, settings: Settings, rights: Sequence[Object]) -> Iterator[Action]:
    """Entries first: else a late reconcile of tuning would be let in, and forbidden everything."""
    others = (settings.tuner_role, settings.sleeper_role) if rights else ()
    yield from (DeleteAccessEntry(role, _WHY) for role in others if role in observation.entries)
    yield from map(_delete, rights)


def _is_doubtful(item: Object) -> bool:
    """A NodePool with our label and without our stamp may be a team's, adopted, and edited since."""
    return item["kind"] == "NodePool" and annotations_of(item).get(APPLIED) != layout.CLOSED


def _in_use(remains: Remains) -> Iterator[tuple[Object, str]]:
    """Of ours, what another owner's NodePool uses, and which one."""
    theirs = [pool for pool in remains.node_pools or () if not is_ours(pool)]
    classes = {_class_of(pool): name(pool) for pool in theirs}
    shared = {name(pool) for pool in theirs if _shares_by_us(pool)}
    for item in remains.ours or ():
        requirements = spec(item).get("requirements") or ()
        of = required_values(requirements, layout.NODE_POOL_LABEL) or ("",)
        if item["kind"] == "NodeOverlay" and of[0] in shared:
            yield item, of[0]
        if item["kind"] == "EC2NodeClass" and name(item) in classes:
            yield item, classes[name(item)]


def _class_of(node_pool: Object) -> str:
    template = (spec(node_pool).get("template") or {}).get("spec") or {}
    return str((template.get("nodeClassRef") or {}).get("name") or "")


def _shares_by_us(node_pool: Object) -> bool:
    """Restored with several pods a GPU, as its requirements still say."""
    template = (spec(node_pool).get("template") or {}).get("spec") or {}
    return any(one.get("key") == POOL_LABEL for one in template.get("requirements") or ())


def _readers(remains: Remains, goes: bool = False) -> tuple[str, ...]:
    """What reads a configuration of ours, or will: pods, and a ClusterPolicy that names it."""
    policy = live(remains.contents, rbac.CLUSTER_POLICY) if remains.contents else None
    named = (((spec(policy) if policy else {}).get("devicePlugin") or {}).get("config") or {}).get("name")
    is_named = named == layout.CONFIG_MAP.name and not goes
    return (*remains.readers, *((str(rbac.CLUSTER_POLICY),) if is_named else ()))


def _is_right(item: Object) -> bool:
    return item["apiVersion"].partition("/")[0] in _RIGHTS


def _delete(item: Object) -> Delete:
    return Delete(ref_of(item), _WHY, part=str(ref_of(item)))


def _operator(remains: Remains) -> Release | None:
    return operator_of(remains.contents) if remains.contents else None


def _is_operator_of_ours(release: Release | None) -> bool:
    return release is not None and not is_theirs(release)


def _rests_on_it(remains: Remains) -> tuple[str, ...]:
    """Nodes with GPUs that no NodePool of ours started, and NodePools of others that may start such."""
    pools = remains.node_pools or ()
    ours = {name(pool) for pool in pools if is_ours(pool)}
    nodes = remains.contents.nodes if remains.contents else ()
    return (
        *(f"NodePool {name(pool)}" for pool in pools if not is_ours(pool) and layout.may_have_gpus(pool)),
        *(f"Node {name(one)}" for one in nodes if labels(one).get(layout.NODE_POOL_LABEL) not in ours),
    )


def _waits(observation: Observation, settings: Settings, now: datetime) -> str:
    """What has to come to an end before the next step; empty where nothing has."""
    remains = observation.remains or Remains()
    gone = [item for item in remains.ours or () if being_deleted(item)]
    if gone:
        return f"{ref_of(gone[0])} is being deleted"
    if waits := _waits_for_fargate(observation):
        return waits
    release = _operator(remains)
    if remains.contents and release and is_joined(release):
        found = give_back(remains.contents, remains.revisions, settings, now).findings
        return str(found[0]) if found else ""
    if _readers(remains) and not _is_operator_of_ours(release):
        return f"{_readers(remains)[0]} still reads a configuration of ours"
    return ""


def _waits_for_fargate(observation: Observation) -> str:
    cluster, access = observation.cluster, observation.fargate
    return fargate.waits(cluster.arn, access) if cluster and access else ""


def _left(observation: Observation, settings: Settings, now: datetime) -> Iterator[Finding]:
    """What a person has to decide on, or should know."""
    remains = observation.remains or Remains()
    release, contents = _operator(remains), remains.contents
    if contents and release and is_joined(release):
        yield from give_back(contents, remains.revisions, settings, now).findings
    if _is_operator_of_ours(release) and (theirs := _rests_on_it(remains)):
        yield Finding(
            "gpu-operator-stays",
            f"GPU Operator stays, with its configuration: {_some(theirs)} have GPUs that are not ours, or "
            "may get some, and rest on it.",
            f"Once none does: helm uninstall {manifests.OPERATOR} -n {layout.OPERATOR_NAMESPACE}, then "
            f"kubectl delete configmap {layout.CONFIG_MAP.name} -n {layout.OPERATOR_NAMESPACE}",
        )
    yield from _objects_that_stay(remains)
    if _readers(remains) and release and is_theirs(release) and not is_joined(release):
        yield Finding(
            "configuration-in-use",
            f"{_some(_readers(remains))} read ConfigMap {layout.CONFIG_MAP.name}, which is ours: it stays "
            "while they do.",
            "Set devicePlugin.config in the values of your GPU Operator to what it was before.",
        )
    yield from _karpenter_left(observation)
    if observation.cluster and _keeps_karpenter(observation):
        yield from interruptions.left(observation.cluster, observation.interruptions)
    if remains.namespace is not None and remains.namespace_holds and not _is_operator_of_ours(release):
        yield Finding(
            "namespace-stays",
            f"Namespace {layout.OPERATOR_NAMESPACE} stays: it still has {_some(remains.namespace_holds)}.",
            f"Once nothing needs it: kubectl delete namespace {layout.OPERATOR_NAMESPACE}",
        )


def _karpenter_left(observation: Observation) -> Iterator[Finding]:
    remains, cluster, access = observation.remains or Remains(), observation.cluster, observation.fargate
    found = next(_karpenter_releases(remains), None)
    is_there = found is not None and found.name == manifests.KARPENTER and is_marked(found)
    if cluster and access and _is_on_fargate(observation):
        yield from fargate.left(cluster.arn, access)
        # NodePools of ours go before it.
        ours = {ref_of(item) for item in remains.ours or ()}
        if theirs := [str(ref) for ref in remains.on_karpenter if ref not in ours]:
            yield Finding(
                "karpenter-stays",
                "Karpenter, which we installed, stays, with its Fargate profile, its role and the OIDC "
                f"provider: it serves {_some(theirs)}.",
                f"Once they are deleted: slicewise offboard {cluster.name}",
            )
    elif is_there:
        yield Finding(
            "karpenter-stays",
            "Karpenter, which we installed, stays with its roles: it starts the cluster's other nodes.",
            "Once nothing needs it: helm uninstall karpenter -n kube-system",
        )


def _objects_that_stay(remains: Remains) -> Iterator[Finding]:
    for item in filter(_is_doubtful, remains.ours or ()):
        yield Finding(
            "node-pool-stays",
            f"{ref_of(item)} stays: it has our label, but not the stamp of what we made.",
            "If it is not yours: kubectl delete nodepool " + name(item),
        )
    for item, node_pool in _in_use(remains):
        yield Finding(
            "of-ours-stays",
            f"{ref_of(item)} stays: NodePool {node_pool}, which is not ours, rests on it.",
            f"Once it does not: kubectl delete {item['kind'].lower()} {name(item)}",
        )


def _some(names: Iterable[str]) -> str:
    found = tuple(names)
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(found[:_MOST_NAMED]) + more


# The end


def _ended(observation: Observation, settings: Settings, stays: tuple[Finding, ...] = ()) -> Plan:
    """After it nothing is known of the cluster, and there is nothing to be known."""
    outcome = Outcome(Stage.UNMANAGED, "its tag says offboard, and nothing of ours is left", stays)
    entries = _entries_go(observation, settings)
    if not entries and observation.record is None:
        return Plan(outcome, unrecorded=True)
    cluster = observation.cluster.name if observation.cluster else ""
    said = Notify(
        f"Slicewise: {cluster} is offboarded",
        "\n".join(map(str, stays)) or "Nothing of ours is left in it, and we cannot enter it any more.",
        "its record is deleted",
        "offboarded",
    )
    return Plan(outcome, (said, *entries, DeleteState("the cluster is offboarded")))


def _entries_go(observation: Observation, settings: Settings) -> tuple[DeleteAccessEntry, ...]:
    """The installer's last: without it the cluster cannot be read again."""
    roles = (settings.tuner_role, settings.sleeper_role, settings.installer_role)
    return tuple(DeleteAccessEntry(role, _WHY) for role in roles if role in observation.entries)
