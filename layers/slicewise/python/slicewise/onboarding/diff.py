"""
What differs between a cluster and its policy, as actions in the order in which they must happen. Pure.

What its NodePools shall be, and which are left unchanged, is in pools/desired.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from slicewise import rights
from slicewise.kube.labels import (
    APPLIED,
    ASLEEP,
    CLASS_LABEL,
    OPENED,
    ORIGINAL_ANNOTATION,
    PUBLISHES,
    RETAINS,
    ROLLOUT_ANNOTATION,
    SUSPENDS,
)
from slicewise.kube.objects import annotations_of, first_difference, is_ours, labels, name, spec
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import ClusterContents
from slicewise.model.fargate import FargateAccess
from slicewise.model.interruptions import InterruptionEvents
from slicewise.onboarding import (
    admission,
    karpenter,
    manifests,
    own_kinds,
    rbac,
    releases,
    time_slice,
    versions,
)
from slicewise.onboarding.aws import fargate, interruptions
from slicewise.onboarding.observation import Chart, Inside, Settings, live
from slicewise.onboarding.operator import release as operator_release
from slicewise.onboarding.pools import desired as desired_pools
from slicewise.onboarding.pools import fallback as fallback_pools
from slicewise.onboarding.pools import superseded as superseded_pools
from slicewise.onboarding.releases import Difference
from slicewise.planning.actions import Action, Apply, Delete, in_part
from slicewise.planning.eks_actions import PutAccessEntry, PutAddon, PutPodIdentity
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Drift, Policy


def difference(inside: Inside, settings: Settings, now: datetime) -> Difference:
    """
    Order: who may read, Karpenter, GPU Operator, its configuration, NodeClass, overlays, NodePools, the
    tuner. Overlays come before NodePools, so that Karpenter's first simulation already knows the slices.
    """
    cluster, policy, contents = inside.cluster, inside.policy, inside.contents
    pools, pool_findings = _pools(contents, policy)
    released = _releases(inside, settings, now)
    actions: list[Action] = []
    if live(contents, manifests.NAMESPACE) is None:
        actions.append(Apply(manifests.namespace(), "GPU Operator and our configuration live in it"))
    actions += _rights(contents, policy)
    configurations = _applies(
        contents,
        operator_release.config_maps(contents),
        "every configuration that a node can be labelled with",
    )
    # Before plugins of others are made to read them; after a release of ours, that helm finds its namespace.
    is_others = operator_release.joined(contents, policy, settings) is not None
    actions += (*configurations, *released.actions) if is_others else (*released.actions, *configurations)
    if operator_release.awaited(contents, policy, settings):
        findings = (*released.findings, *operator_release.findings_of_keys(contents))
        return Difference(tuple(actions), findings)
    node_class = _node_class(contents, manifests.node_class(policy, settings, cluster), policy)
    if policy.node_class.create:
        actions += node_class.actions
        pool_findings += node_class.findings
    actions += (*pools, *superseded_pools.actions(contents, policy))
    pool_findings += superseded_pools.findings(contents, policy)
    actions += _time_slices(contents, policy)
    actions += _access_entries(inside, settings)
    findings = (*released.findings, *operator_release.findings_of_keys(contents), *pool_findings)
    return Difference(tuple(actions), findings, released.requeue_after, released.waits_for)


def _rights(contents: ClusterContents, policy: Policy) -> tuple[Action, ...]:
    """What our roles may write, and what the API server lets them write of it."""
    touched = {ROLLOUT_ANNOTATION, ORIGINAL_ANNOTATION}
    # Also those of ours that the policy has dropped: they are closed where the cluster is offboarded.
    unfinished = [
        name(pool) for pool in contents.node_pools if is_ours(pool) or touched & annotations_of(pool).keys()
    ]
    held = {ASLEEP, OPENED}
    asleep = [name(pool) for pool in contents.node_pools if held & annotations_of(pool).keys()]
    split = any(is_ours(pool) and CLASS_LABEL in labels(pool) for pool in contents.node_pools)
    retaining, operator = _is_retaining(contents), _operator(contents)
    own = own_kinds.writes(contents, policy)
    kept = (retaining, operator, _served(contents), _is_suspending(contents))
    roles = rbac.objects(policy, unfinished, asleep, split, *kept, own, _is_publishing(contents))
    return (
        *admission.changes(contents, policy, (*own, *own_kinds.ending(contents, own))),
        *_applies(contents, roles, "what we may read once installation has ended"),
    )


def _access_entries(inside: Inside, settings: Settings) -> Iterator[PutAccessEntry]:
    """Of those who work in the cluster once it is onboarded."""
    tuner = inside.entries.get(settings.tuner_role)
    if tuner is None or tuner.groups != (rbac.TUNER_GROUP,):
        why = "it proves the slices on each node"
        yield PutAccessEntry(settings.tuner_role, (rbac.TUNER_GROUP,), why)
    sleeper = inside.entries.get(settings.sleeper_role)
    if inside.policy.off_hours and (sleeper is None or sleeper.groups != (rbac.SLEEPER_GROUP,)):
        why = "it puts workloads to sleep and wakes them"
        yield PutAccessEntry(settings.sleeper_role, (rbac.SLEEPER_GROUP,), why)


def _operator(contents: ClusterContents) -> rbac.Operator:
    release = operator_release.of(contents)
    if release is None or not operator_release.is_theirs(release):
        return rbac.OURS
    return rbac.Operator(release.namespace, operator_release.their_config_map(release).name)


def _served(contents: ClusterContents) -> frozenset[str]:
    """Its definitions, and by such names those of Kubernetes' own kinds whose right its release calls for."""
    found = versions.parse(contents.version)
    own = {"horizontalpodautoscalers.autoscaling"} if found and found >= rights.SCALES_FROM_ZERO else set()
    return contents.crds | own


def _is_kept(contents: ClusterContents, mark: str, role: Ref, may: Callable[[Object | None], bool]) -> bool:
    """A mark on a NodePool keeps the right that is there; it gives none."""
    marked = any(mark in annotations_of(pool) for pool in contents.node_pools)
    return marked and may(live(contents, role))


def _is_publishing(contents: ClusterContents) -> bool:
    return _is_kept(contents, PUBLISHES, rbac.TUNER_ROLE, rbac.may_publish)


def _is_retaining(contents: ClusterContents) -> bool:
    return _is_kept(contents, RETAINS, rbac.SLEEPER_ROLE, rbac.may_retain)


def _is_suspending(contents: ClusterContents) -> bool:
    return _is_kept(contents, SUSPENDS, rbac.SLEEPER_ROLE, rbac.may_suspend)


def _applies(
    contents: ClusterContents,
    wanted: tuple[Object, ...],
    why: str,
    parts: Mapping[Ref, str] = MappingProxyType({}),
) -> list[Action]:
    """A failure in one of `parts` ends that part alone; one in any other ends all that comes after it."""
    actions: list[Action] = []
    for item in wanted:
        found, part = live(contents, ref_of(item)), parts.get(ref_of(item), "")
        if found is None:
            actions.append(Apply(item, why, part))
        elif path := first_difference(found, item):
            # Also where a person edited it: they should read what was put back.
            actions.append(Apply(item, f"its {path} is not what we want", part))
    return actions


# Releases


def _releases(inside: Inside, settings: Settings, now: datetime) -> Difference:
    """
    A helm of another owner that is running on Karpenter holds up nothing of the operator's, and the other way
    round: each is pending alone.
    """
    policy, contents = inside.policy, inside.contents
    ours = karpenter.is_ours(contents, policy)
    parts = _karpenter(inside, settings, now) if ours else []
    parts = _with_interruptions(inside, parts, ours)
    parts.append(operator_release.difference(contents, policy, settings, now))
    return Difference(
        tuple(action for part in parts for action in part.actions),
        tuple(finding for part in parts for finding in part.findings),
        *min(
            ((part.requeue_after, part.waits_for) for part in parts if part.requeue_after),
            default=(None, ""),
        ),
    )


def _with_interruptions(inside: Inside, parts: list[Difference], is_ours: bool) -> list[Difference]:
    """The queue comes before the chart that names it, and goes after it."""
    cluster, found = inside.cluster, inside.interruptions or InterruptionEvents()
    if is_ours and inside.policy.handles_interruptions:
        return [Difference(tuple(interruptions.made(cluster, found)), ()), *parts]
    release = manifests.find_release(inside.contents.releases, manifests.KARPENTER, rbac.KARPENTER_NAMESPACE)
    return [*parts, Difference(tuple(interruptions.dropped(cluster, found, release)), ())]


def _karpenter(inside: Inside, settings: Settings, now: datetime) -> list[Difference]:
    cluster, contents = inside.cluster, inside.contents
    access, values = _karpenter_access(inside, settings)

    def step(name: str, chart: Chart, values: Mapping[str, Any], take_ownership: bool = False) -> Difference:
        release = manifests.find_release(contents.releases, name, rbac.KARPENTER_NAMESPACE)
        wanted = releases.Wanted(name, rbac.KARPENTER_NAMESPACE, chart, values, take_ownership)
        return releases.difference(release, wanted, now)

    node_role, actions = settings.node_role_arn(cluster), list(access.actions)
    if node_role not in inside.entries:
        why = "Karpenter's machines join the cluster with it"
        actions.append(PutAccessEntry(node_role, (), why, "EC2_LINUX"))
    # CRDs of an earlier Karpenter may still be there: uninstalling leaves them.
    crds = step(manifests.KARPENTER_CRD, settings.karpenter_crd, manifests.karpenter_crd_values(), True)
    parts = [replace(access, actions=tuple(actions)), crds]
    if access.requeue_after is None:
        parts.append(step(manifests.KARPENTER, settings.karpenter, values))
    return parts


def _karpenter_access(inside: Inside, settings: Settings) -> tuple[Difference, dict[str, Any]]:
    """What its pods run on and by which role; and the chart's values that go with it."""
    cluster, policy = inside.cluster, inside.policy
    queue = interruptions.name_of(cluster.name) if policy.handles_interruptions else ""
    if policy.is_on_fargate:
        role = fargate.role(cluster, settings).arn
        values = manifests.karpenter_on_fargate_values(cluster, role, queue)
        return fargate.difference(cluster, inside.fargate or FargateAccess(), settings), values
    actions: list[Action] = []
    if manifests.POD_IDENTITY_ADDON not in inside.addons:
        actions.append(PutAddon(manifests.POD_IDENTITY_ADDON, "it gives Karpenter's pods their role"))
    account = manifests.KARPENTER_SERVICE_ACCOUNT
    if f"{rbac.KARPENTER_NAMESPACE}/{account}" not in inside.pod_identities:
        role, why = settings.karpenter_controller_role, "Karpenter starts and ends machines with it"
        actions.append(PutPodIdentity(rbac.KARPENTER_NAMESPACE, account, role, why))
    return Difference(tuple(actions), ()), manifests.karpenter_values(cluster, queue)


# NodeClass, NodePools and NodeOverlays


def _node_class(contents: ClusterContents, wanted: Object, policy: Policy) -> Difference:
    """
    Ours. Karpenter hashes its spec: a change of it replaces every node that was built by it.

    Another release of a pinned image is asked for by whoever writes it into the policy: Karpenter replaces
    nodes for it under the budget for drift.
    """
    found = live(contents, ref_of(wanted))
    chosen = {"amiSelectorTerms"} if policy.node_class.is_pinned else set()
    path = first_difference(_without(spec(found), chosen), _without(spec(wanted), chosen)) if found else None
    built = [claim for claim in contents.node_claims if _built_by(claim) in (None, name(wanted))]
    if path is None or not built:
        return Difference(tuple(_applies(contents, (wanted,), "how our NodePools' machines are built")), ())
    left = Finding(
        "would-replace-nodes",
        f"{ref_of(wanted)} is left unchanged: its {path} is not what we want, and putting it right would "
        f"replace its {len(built)} nodes.",
        "It is applied once no node of it is left. Where you want it otherwise than we do, name a NodeClass "
        "of yours in the policy: nodeClass: {name: ..., create: false}.",
    )
    return Difference((), (left,))


def _without(item: Object, keys: Collection[str]) -> Object:
    return {key: value for key, value in item.items() if key not in keys}


def _time_slices(contents: ClusterContents, policy: Policy) -> list[Action]:
    surplus = time_slice.surplus(policy, tuple(contents.objects))
    wanted = time_slice.daemon_sets(policy)
    why = "a pool asks for another time slice than the default"
    return [
        *_applies(contents, wanted, why, {ref_of(item): str(ref_of(item)) for item in wanted}),
        *(Delete(ref, "no pool asks for it: its end sets the driver's default", str(ref)) for ref in surplus),
    ]


def _built_by(claim: Object) -> str | None:
    return (spec(claim).get("nodeClassRef") or {}).get("name")


def _pools(contents: ClusterContents, policy: Policy) -> tuple[list[Action], list[Finding]]:
    wanted = desired_pools.targets(contents, policy)
    settled = [target for target in wanted if target.unchanged is None]
    edited = _left_edited(contents, settled) if policy.drift is Drift.REPORT else {}
    overlays = tuple(o for target in settled for o in target.overlays if ref_of(o) not in edited)
    node_pools = tuple(t.node_pool for t in settled if ref_of(t.node_pool) not in edited)
    part_of = {ref_of(o): name(target.node_pool) for target in settled for o in target.overlays}
    actions = [
        *_applies(contents, overlays, "Karpenter counts slices on machines that do not exist yet", part_of),
        *(
            in_part(action, name(item))
            for item in node_pools
            for action in fallback_pools.no_more(live(contents, ref_of(item)), item)
        ),
        *_applies(
            contents,
            node_pools,
            "its new nodes start with N slices a GPU",
            {ref_of(item): name(item) for item in node_pools},
        ),
    ]
    return actions, [
        *(target.unchanged for target in wanted if target.unchanged is not None),
        *edited.values(),
    ]


def _left_edited(
    contents: ClusterContents, targets: Iterable[desired_pools.PoolTarget]
) -> dict[Ref, Finding]:
    """What another writer changed since we wrote just what we want now, as its stamp shows."""
    found: dict[Ref, Finding] = {}
    for item in (item for target in targets for item in (*target.overlays, target.node_pool)):
        there = live(contents, ref_of(item))
        path = first_difference(there, item) if there else None
        if there and path and annotations_of(there).get(APPLIED) == annotations_of(item)[APPLIED]:
            found[ref_of(item)] = Finding(
                "foreign-edit",
                f"{ref_of(item)}: its {path} is not what we wrote.",
                "The policy says drift: report, so it was not reverted. Revert it, or change the policy.",
            )
    return found
