"""
Reads what a reconcile of onboarding decides from, through the ports and in one go.

All requests that a reconcile makes inside a cluster; onboarding/rbac.py grants exactly these to the group
`slicewise:installer`, which is all that is left once the installation is done:

* GET /version, and each object of `observed_refs` by name
* LIST CustomResourceDefinitions (their metadata; whole those of the policy's own switches), NodePools,
  NodeOverlays, NodeClaims, DaemonSets, Deployments
* LIST Secrets of namespace gpu-operator, of kube-system where the policy installs Karpenter, and of that of a
  GPU Operator that we joined: there helm stores its releases

Releases elsewhere, which others installed, are read while cluster admin is in effect; without it, they are
recognised by the labels of their Deployments and of the ClusterPolicy. NodeClasses, DeviceClasses and nodes
of others are read only then, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from slicewise.errors import InvalidPolicy, Refused, Unauthorized, Unavailable
from slicewise.kube import kinds
from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.objects import is_ours
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import AccessEntry, ClusterContents, EksCluster, KarpenterInstall, Release
from slicewise.model.fargate import FargateAccess
from slicewise.model.interruptions import InterruptionEvents
from slicewise.onboarding import manifests, own_kinds, preflight, rbac
from slicewise.onboarding.aws import fargate_observe, interruptions
from slicewise.onboarding.helm.operator_values import is_marked
from slicewise.onboarding.manifests import observed_refs
from slicewise.onboarding.observation import (
    Chart,
    Observation,
    ObserveError,
    ObserveFailure,
    Settings,
    eks_fingerprint,
)
from slicewise.onboarding.operator import gpu_servers
from slicewise.onboarding.operator import release as operator_release
from slicewise.onboarding.shown_releases import release_shown_by
from slicewise.planning.record import Record
from slicewise.policy import model as policies
from slicewise.policy.model import Mode, Policy
from slicewise.policy.switches import Switch, definition, is_of
from slicewise.ports import Helm, Kubernetes, Ports
from slicewise.trigger import Trigger

Place = tuple[str, str]  # a release's name and namespace

_OPERATOR: tuple[Place, ...] = (("gpu-operator", "gpu-operator"),)
_KARPENTER: tuple[Place, ...] = (("karpenter", "kube-system"), ("karpenter-crd", "kube-system"))
_BY_HELM = "app.kubernetes.io/name in (gpu-operator,karpenter)"
_DRIVER = "nvidia-driver-daemonset"


def observe(
    trigger: Trigger,
    record: Record | None,
    ports: Ports,
    settings: Settings,
    default_policy: str = "",
    as_person: bool = False,
    waits: bool = False,
) -> Observation:
    """
    Args:
        default_policy: For clusters without a policy tag; empty leaves them alone.
        as_person: For `slicewise plan`: read the cluster with the rights of the user who runs this, so also
            where the installer has no entry yet, and plan as for a policy that only recommends: all steps at
            once, instead of those that must come first.
        waits: Whether a policy of another release counts as pending (policies.found).
    """
    cluster, paused = ports.eks.describe(trigger.name), ports.store.paused(trigger.cluster)
    known: dict[str, Any] = {"record": record, "paused": paused, "forced": trigger.forced}
    if cluster is None:
        return Observation(None, **known, **_of_deleted(trigger, record, ports, settings))
    known["policy_name"] = name = cluster.policy_name(default_policy)
    try:
        policy = known["policy"] = _policy(name, ports, waits and not (paused or cluster.offboards))
    except InvalidPolicy as error:
        policy, known["policy_error"] = None, error
    if as_person and policy and policy.mode is Mode.ACT:
        policy = known["policy"] = replace(policy, mode=Mode.RECOMMEND)
    if cluster.status != "ACTIVE":
        return Observation(cluster, **known)
    if cluster.offboards and not paused:
        # Few clusters are, and every cold start would pay for it.
        from slicewise.onboarding import offboard_observe

        return offboard_observe.observe(Observation(cluster, **known), ports, settings, as_person)
    if policy is None or paused:
        # Unmanaged, but not with rights that an interrupted installation still has.
        return Observation(cluster, entries=entries_of(cluster, [settings.installer_role], ports), **known)

    cluster = _with_node_groups(cluster, ports)
    known |= _at_eks(cluster, policy, ports, settings)
    if as_person or settings.installer_role in known["entries"]:
        known |= _inside(Observation(cluster, **known), cluster, policy, ports, settings)
    elif cluster.authentication_mode != "CONFIG_MAP" and not preflight.has_blocking(
        preflight.outside(cluster)
    ):
        known |= _knocked(cluster, ports)
    return Observation(cluster, **known)


def _of_deleted(trigger: Trigger, record: Record | None, ports: Ports, settings: Settings) -> dict[str, Any]:
    """What outlives a cluster of ours; of others that are deleted nothing is asked."""
    if record is None:
        return {}
    on_fargate: FargateAccess | None = None
    if settings.can_run_on_fargate:
        on_fargate = fargate_observe.of_deleted(trigger.name, ports, settings)
    events = interruptions_of(trigger.name, ports, settings, waits=True)
    return {"fargate": on_fargate, "interruptions": events}


def interruptions_of(
    cluster: str, ports: Ports, settings: Settings, *, waits: bool
) -> InterruptionEvents | None:
    """
    By the cluster's name; None where this deployment may not read it.

    Args:
        waits: A reconcile that is to leave nothing behind ends where they cannot be read, and is made again.
            In any other everything else goes on.
    """
    if not settings.can_handle_interruptions:
        return None
    name = interruptions.name_of(cluster)
    try:
        return InterruptionEvents(ports.event_queues.queue(name), ports.event_rules.rule(name))
    except (Refused, Unavailable) as error:
        if waits:
            raise
        return InterruptionEvents(unread=str(error))


def _policy(name: str | None, ports: Ports, waits: bool) -> Policy | None:
    """A pause or an offboarding is a person's word: no deployment delays these."""
    return policies.found(ports.policies.text(name), name, waits=waits) if name else None


def record_fields(observation: Observation, before: Record | None, now: datetime) -> dict[str, object]:
    """What the record of this reconcile has of its observation."""
    observed_before = before.observed_at if before else None
    return {
        "policy": observation.policy_name or "",
        "fingerprint": policies.fingerprint(observation.policy) if observation.policy else "",
        "cluster_fingerprint": eks_fingerprint(observation.cluster) if observation.cluster else "",
        "observed_at": now if observation.contents else observed_before,
    }


def _with_node_groups(cluster: EksCluster, ports: Ports) -> EksCluster:
    groups = ports.eks.bottlerocket_gpu_node_groups(cluster.name)
    return replace(cluster, bottlerocket_node_groups=groups)


def _at_eks(cluster: EksCluster, policy: Policy, ports: Ports, settings: Settings) -> dict[str, Any]:
    """What the EKS API reports about access, and what of Karpenter's needs is there."""
    karpenter = policy.install_karpenter and settings.can_install_karpenter
    principals = [settings.installer_role, settings.tuner_role]
    if policy.off_hours:
        principals.append(settings.sleeper_role)
    if karpenter:
        principals.append(settings.node_role_arn(cluster))
    entries = entries_of(cluster, principals, ports)
    if not karpenter:
        return {"entries": entries}
    role = ports.eks.pod_identity(cluster.name, "kube-system", "karpenter")
    found: dict[str, Any] = {
        "entries": entries,
        "pod_identities": {"kube-system/karpenter": role} if role else {},
        "interruptions": interruptions_of(cluster.name, ports, settings, waits=False),
    }
    if settings.can_run_on_fargate:
        found["fargate"] = fargate_observe.observe(cluster, ports, settings, policy)
    return found if policy.is_on_fargate else found | {"addons": ports.eks.addons(cluster.name)}


def entries_of(cluster: EksCluster, principals: Iterable[str], ports: Ports) -> dict[str, AccessEntry]:
    # A cluster in mode CONFIG_MAP has no access entries, and refuses the question.
    asked = principals if cluster.authentication_mode != "CONFIG_MAP" else ()
    found = {principal: ports.eks.access_entry(cluster.name, principal) for principal in asked}
    return {principal: entry for principal, entry in found.items() if entry}


def _knocked(cluster: EksCluster, ports: Ports) -> dict[str, Any]:
    """
    Before we let ourselves in: does the endpoint answer at all? Its 401 is a yes, and all that we learn from
    it.
    """
    found: dict[str, Any] = {}
    with with_failure(found):
        ports.kubernetes(cluster).version()
    return found


@contextmanager
def with_failure(found: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except Unauthorized as error:
        found["observe_error"] = ObserveError(ObserveFailure.UNAUTHORIZED, str(error))
    except Refused as error:
        found["observe_error"] = ObserveError(ObserveFailure.FORBIDDEN, str(error))
    except Unavailable as error:
        found["observe_error"] = ObserveError(ObserveFailure.UNREACHABLE, str(error))


def _inside(
    observation: Observation, cluster: EksCluster, policy: Policy, ports: Ports, settings: Settings
) -> dict[str, Any]:
    """The contents, or why they could not be read: a plan decides what that means."""
    found: dict[str, Any] = {}
    with with_failure(found):
        kubernetes = ports.kubernetes(cluster)
        if observation.is_admin(settings.installer_role):
            found["admin_in_effect"] = kubernetes.may_do_everything()
        helm = ports.helm(cluster)
        admin = bool(found.get("admin_in_effect"))
        found["contents"] = read_contents(kubernetes, helm, policy, admin, settings.gpu_operator)
    return found


def read_contents(
    kubernetes: Kubernetes, helm: Helm, policy: Policy, admin: bool, chart: Chart | None = None
) -> ClusterContents:
    """
    One read of a cluster. Pods are not read, and of nodes labels at most.

    Args:
        chart: GPU Operator's, of this deployment.
    """
    objects = {ref: found for ref in observed_refs(policy) if (found := kubernetes.get(ref))}
    daemon_sets = kubernetes.list(*kinds.DAEMON_SET)
    objects |= {ref_of(item): item for item in daemon_sets if is_ours(item)}
    ours = _OPERATOR + (_KARPENTER if policy.install_karpenter else ())
    deployments = kubernetes.list(*kinds.DEPLOYMENT, labels=_BY_HELM)
    releases = _releases(helm, deployments, objects.get(rbac.CLUSTER_POLICY), ours, admin)
    operators = [release for release in releases if release.chart == manifests.OPERATOR]
    operator = operators[0] if len(operators) == 1 else None
    more = (ref for ref in operator_release.observed_refs(operator, policy) if ref not in objects)
    objects |= {ref: found for ref in more if (found := kubernetes.get(ref))}
    classes = kubernetes.list(*kinds.DEVICE_CLASS) if admin else ()
    node_pools, crds = kubernetes.list(*kinds.NODE_POOL), kubernetes.crds()
    return ClusterContents(
        version=kubernetes.version(),
        crds=crds,
        definitions=_definitions(kubernetes, crds, own_kinds.switches(policy, node_pools)),
        objects=objects,
        node_pools=node_pools,
        node_overlays=kubernetes.list(*kinds.NODE_OVERLAY),
        node_claims=kubernetes.list(*kinds.NODE_CLAIM, labels=POOL_LABEL),
        nodes=_labelled_nodes(kubernetes) if admin else (),
        gpu_servers=gpu_servers.servers(daemon_sets, classes),
        feature_discovery=gpu_servers.feature_discovery(daemon_sets, operators),
        node_classes=_node_classes(kubernetes) if admin else (),
        driver_nodes=_driver_nodes(daemon_sets),
        operator_chart=_chart_values(helm, chart, operator),
        releases=releases,
        karpenter=karpenter_in(deployments),
    )


def _definitions(
    kubernetes: Kubernetes, crds: Collection[str], asked: Collection[Switch]
) -> tuple[Object, ...]:
    """
    Of the kinds that switches of the policy's own name. One by one, since a schema may have a megabyte, and
    all of their groups: which one is the kind's, only the definition says. Not by `get`: the right to list is
    there already.
    """
    groups = {switch.group for switch in asked}
    names = [name for name in sorted(crds) if name.partition(".")[2] in groups]
    lists = (
        kubernetes.list(
            *own_kinds.CRD,
            fields=f"metadata.name={name}",
            only=lambda crd: any(is_of(crd, switch) for switch in asked),
            trim=lambda crd: definition(crd, asked),
        )
        for name in names
    )
    return tuple(crd for found in lists for crd in found)


def _node_classes(kubernetes: Kubernetes) -> tuple[Object, ...]:
    return (
        *kubernetes.list(*kinds.EC2_NODE_CLASS),
        *kubernetes.list(*kinds.EKS_NODE_CLASS),
    )


def _labelled_nodes(kubernetes: Kubernetes) -> tuple[Object, ...]:
    """Of each its name and labels, which are enough to say whose they are."""
    return kubernetes.list(*kinds.NODE, labels=gpu_servers.GPU_COUNT, trim=_labels_alone)


def _labels_alone(node: Object) -> Object:
    metadata = {key: node["metadata"].get(key) for key in ("name", "labels")}
    return {"apiVersion": node["apiVersion"], "kind": node["kind"], "metadata": metadata}


def _driver_nodes(daemon_sets: Iterable[Object]) -> int:
    """One DaemonSet an operating system and, with precompiled drivers, a kernel."""
    return sum(
        int((item.get("status") or {}).get("desiredNumberScheduled") or 0)
        for item in daemon_sets
        if _owned_by_cluster_policy(item) and item["metadata"]["name"].startswith(_DRIVER)
    )


def _chart_values(helm: Helm, chart: Chart | None, release: Release | None) -> Mapping[str, Any] | None:
    """
    Only where another owner's release is to run another chart than it does. None where the chart is not at
    hand, as on a user's machine: the action that installs it needs it, and says so.
    """
    if chart is None or release is None or not operator_release.is_theirs(release):
        return None
    if release.chart_version.removeprefix("v") == chart.version.removeprefix("v"):
        return None
    try:
        return helm.chart_values(chart.ref, chart.version)
    except (Refused, Unavailable):
        return None


def karpenter_in(deployments: Iterable[Object]) -> KarpenterInstall | None:
    for item in deployments:
        labels = item["metadata"].get("labels") or {}
        if labels.get("app.kubernetes.io/name") != "karpenter":
            continue
        variables = (env for container in _containers(item) for env in container.get("env") or ())
        gates = next((env.get("value") for env in variables if env["name"] == "FEATURE_GATES"), None)
        version = labels.get("app.kubernetes.io/version") or _tag(next(iter(_images(item)), ""))
        metadata = item["metadata"]
        return KarpenterInstall(metadata["namespace"], metadata["name"], version, gates)
    return None


def _releases(
    helm: Helm,
    deployments: Iterable[Object],
    cluster_policy: Object | None,
    ours: tuple[Place, ...],
    admin: bool,
) -> tuple[Release, ...]:
    """The newest revision of each release that concerns us: helm's record, or what its objects show."""
    items = [*deployments, *([cluster_policy] if cluster_policy else [])]
    shown: dict[Place, Release] = {}
    for item in items:
        if release := release_shown_by(item, deployments, cluster_policy):
            there = shown.setdefault((release.name, release.namespace), release)
            # A tool may mark some of its objects only.
            shown[release.name, release.namespace] = replace(there, keeper=there.keeper or release.keeper)
    found: dict[Place, Release] = dict(shown)
    # Of others than GPU Operator we may read nothing once the installation has ended.
    readable = {place for place, one in shown.items() if admin or one.chart == manifests.OPERATOR}
    for place in sorted({*ours, *readable}):
        if revisions := _revisions(helm, place, is_asked=place in ours or admin):
            keeper = shown[place].keeper if place in shown else None
            found[place] = replace(revisions[0], keeper=keeper, overwritten=_overwritten(revisions))
        elif place in ours and not (place in shown and shown[place].keeper):
            found.pop(place, None)  # helm knows nothing of it, no matter what the labels say
    return tuple(release for _, release in sorted(found.items()))


def _revisions(helm: Helm, place: Place, is_asked: bool) -> tuple[Release, ...]:
    """Elsewhere than where we must be able to read, whether we may is found out by trying."""
    try:
        return helm.revisions(*place)
    except Refused:
        if is_asked:
            raise
        return ()


def _overwritten(revisions: tuple[Release, ...]) -> int:
    """Newest first."""
    pairs = pairwise(revisions)
    return sum(is_marked(older) and not is_marked(newer) for newer, older in pairs)


def _owned_by_cluster_policy(item: Object) -> bool:
    owners = item["metadata"].get("ownerReferences") or ()
    return any(owner["kind"] == "ClusterPolicy" for owner in owners)


def _containers(item: Object) -> Iterable[Mapping[str, Any]]:
    return item["spec"]["template"]["spec"].get("containers") or ()


def _images(item: Object) -> tuple[str, ...]:
    return tuple(container.get("image", "") for container in _containers(item))


def _tag(image: str) -> str | None:
    """The tag of "registry:5000/karpenter/controller:1.14.1@sha256:…"."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2] or None
