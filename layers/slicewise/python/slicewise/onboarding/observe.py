"""
Reads the world that an onboarding pass decides from, through the ports and in one go.

The requests that a look makes inside a cluster, all of them; onboarding/rbac.py grants exactly these to the
group `slicewise:installer`, which is all that is left once the installation is done:

* GET /version, and each object of `observed_refs` by name
* LIST CustomResourceDefinitions (metadata), NodePools, NodeOverlays, NodeClaims, DaemonSets, Deployments
* LIST Secrets of namespace gpu-operator, and of kube-system where the policy installs Karpenter: there helm
  keeps its releases

Releases elsewhere, which others installed, are read while cluster admin is in effect; without it, they are
told from the labels of their Deployments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from slicewise import policy as policies
from slicewise.errors import InvalidPolicy, Refused, Unauthorized, Unavailable
from slicewise.events import Hint
from slicewise.model import (
    AccessEntry,
    ClusterContents,
    EksCluster,
    KarpenterInstall,
    Object,
    Ref,
    Release,
    ref_of,
)
from slicewise.objects import is_ours
from slicewise.onboarding import preflight
from slicewise.onboarding.manifests import observed_refs
from slicewise.onboarding.world import LookError, LookFailure, Settings, World, eks_fingerprint
from slicewise.policy import Mode, Policy
from slicewise.ports import Helm, Kubernetes, Ports
from slicewise.records import Record

Place = tuple[str, str]  # a release's name and namespace

_OPERATOR: tuple[Place, ...] = (("gpu-operator", "gpu-operator"),)
_KARPENTER: tuple[Place, ...] = (("karpenter", "kube-system"), ("karpenter-crd", "kube-system"))
_BY_HELM = "app.kubernetes.io/name in (gpu-operator,karpenter)"
_POOL = "slicewise.dev/pool"
_CHART = re.compile(r"(?P<name>.+?)-(?P<version>v?[0-9]+\..+)")


def observe(
    hint: Hint,
    record: Record | None,
    ports: Ports,
    settings: Settings,
    default_policy: str = "",
    as_person: bool = False,
) -> World:
    """
    Args:
        default_policy: For clusters without a policy tag; empty leaves them alone.
        as_person: For `slicewise plan`: look into the cluster with the rights of whoever runs this, so also
            where the installer has no entry yet, and plan as for a policy that only recommends: all steps at
            once, instead of those that must come first.
    """
    cluster, paused = ports.eks.describe(hint.name), ports.store.paused(hint.cluster)
    known: dict[str, Any] = {"record": record, "paused": paused, "forced": hint.forced}
    if cluster is None:
        return World(None, **known)
    known["policy_name"] = name = cluster.policy_name(default_policy)
    try:
        policy = known["policy"] = policies.found(ports.policies.text(name), name) if name else None
    except InvalidPolicy as error:
        policy, known["policy_error"] = None, error
    if as_person and policy and policy.mode is Mode.ACT:
        policy = known["policy"] = replace(policy, mode=Mode.RECOMMEND)
    if cluster.status != "ACTIVE":
        return World(cluster, **known)
    if policy is None or paused:
        # Left alone, but not with rights that an interrupted installation still holds.
        return World(cluster, entries=_entries(cluster, [settings.installer_role], ports), **known)

    cluster = _with_node_groups(cluster, ports)
    known |= _at_eks(cluster, policy, ports, settings)
    if as_person or settings.installer_role in known["entries"]:
        known |= _inside(World(cluster, **known), policy, ports, settings)
    elif cluster.authentication_mode != "CONFIG_MAP" and not preflight.refuses(preflight.outside(cluster)):
        known |= _knocked(cluster, ports)
    return World(cluster, **known)


def remembered(world: World, before: Record | None, now: datetime) -> dict[str, object]:
    """What the record of this pass keeps of its world."""
    looked_before = before.looked_at if before else None
    return {
        "policy": world.policy_name or "",
        "fingerprint": policies.fingerprint(world.policy) if world.policy else "",
        "world": eks_fingerprint(world.cluster) if world.cluster else "",
        "looked_at": now if world.contents else looked_before,
    }


def _with_node_groups(cluster: EksCluster, ports: Ports) -> EksCluster:
    groups = ports.eks.bottlerocket_gpu_node_groups(cluster.name)
    return replace(cluster, bottlerocket_node_groups=groups)


def _at_eks(cluster: EksCluster, policy: Policy, ports: Ports, settings: Settings) -> dict[str, Any]:
    """What the EKS API tells about access, and what of Karpenter's needs is there."""
    karpenter = policy.install_karpenter and settings.can_install_karpenter
    principals = [settings.installer_role, settings.tuner_role]
    if policy.off_hours:
        principals.append(settings.sleeper_role)
    if karpenter:
        principals.append(settings.node_role_arn(cluster))
    entries = _entries(cluster, principals, ports)
    if not karpenter:
        return {"entries": entries}
    role = ports.eks.pod_identity(cluster.name, "kube-system", "karpenter")
    return {
        "entries": entries,
        "addons": ports.eks.addons(cluster.name),
        "pod_identities": {"kube-system/karpenter": role} if role else {},
    }


def _entries(cluster: EksCluster, principals: Iterable[str], ports: Ports) -> dict[str, AccessEntry]:
    # A cluster in mode CONFIG_MAP has no access entries, and refuses the question.
    asked = principals if cluster.authentication_mode != "CONFIG_MAP" else ()
    found = {principal: ports.eks.access_entry(cluster.name, principal) for principal in asked}
    return {principal: entry for principal, entry in found.items() if entry}


def _knocked(cluster: EksCluster, ports: Ports) -> dict[str, Any]:
    """
    Before we let ourselves in: does the endpoint answer at all? Its 401 is a yes, and all that it tells us.
    """
    found: dict[str, Any] = {}
    with _telling_failure(found):
        ports.kubernetes(cluster).version()
    return found


@contextmanager
def _telling_failure(found: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except Unauthorized as error:
        found["look_error"] = LookError(LookFailure.UNAUTHORIZED, str(error))
    except Refused as error:
        found["look_error"] = LookError(LookFailure.FORBIDDEN, str(error))
    except Unavailable as error:
        found["look_error"] = LookError(LookFailure.UNREACHABLE, str(error))


def _inside(world: World, policy: Policy, ports: Ports, settings: Settings) -> dict[str, Any]:
    """The contents, or why they could not be read: a plan decides what that means."""
    assert world.cluster
    found: dict[str, Any] = {}
    with _telling_failure(found):
        kubernetes = ports.kubernetes(world.cluster)
        if world.is_admin(settings.installer_role):
            found["admin_in_effect"] = kubernetes.may_do_everything()
        helm = ports.helm(world.cluster)
        found["contents"] = look(kubernetes, helm, policy, bool(found.get("admin_in_effect")))
    return found


def look(kubernetes: Kubernetes, helm: Helm, policy: Policy, admin: bool) -> ClusterContents:
    """One look into a cluster. Nodes and pods are not read: onboarding does not decide by them."""
    objects = {ref: found for ref in observed_refs(policy) if (found := kubernetes.get(ref))}
    daemon_sets = kubernetes.list("apps/v1", "DaemonSet")
    objects |= {ref_of(item): item for item in daemon_sets if is_ours(item)}
    ours = _OPERATOR + (_KARPENTER if policy.install_karpenter else ())
    deployments = kubernetes.list("apps/v1", "Deployment", labels=_BY_HELM)
    return ClusterContents(
        version=kubernetes.version(),
        crds=kubernetes.crds(),
        objects=objects,
        node_pools=kubernetes.list("karpenter.sh/v1", "NodePool"),
        node_overlays=kubernetes.list("karpenter.sh/v1alpha1", "NodeOverlay"),
        node_claims=kubernetes.list("karpenter.sh/v1", "NodeClaim", labels=_POOL),
        device_plugins=foreign_device_plugins(daemon_sets),
        releases=_releases(helm, deployments, ours, admin),
        karpenter=karpenter_in(deployments),
    )


def foreign_device_plugins(daemon_sets: Iterable[Object]) -> tuple[Ref, ...]:
    """
    DaemonSets that advertise NVIDIA GPUs, without those that GPU Operator runs for a ClusterPolicy.

    Judged by image: names differ between charts and hand-written copies of NVIDIA's manifest, the image
    (k8s-device-plugin, in whatever registry) does not.
    """
    return tuple(
        ref_of(item)
        for item in daemon_sets
        if not _owned_by_cluster_policy(item)
        and any("nvidia" in image and "device-plugin" in image for image in _images(item))
    )


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
    helm: Helm, deployments: Iterable[Object], ours: tuple[Place, ...], admin: bool
) -> tuple[Release, ...]:
    """The newest revision of each release that concerns us: helm's record, or what its Deployment shows."""
    readable = set(ours)
    shown: dict[Place, Release] = {}
    for item in deployments:
        if release := _release_shown_by(item):
            place = release.name, release.namespace
            shown[place] = release
            if admin:
                readable.add(place)
    found: dict[Place, Release] = dict(shown)
    for place in sorted(readable):
        if revisions := helm.revisions(*place):
            found[place] = revisions[0]
        elif place in ours:
            found.pop(place, None)  # helm knows nothing of it, whatever the labels say
    return tuple(release for _, release in sorted(found.items()))


def _release_shown_by(item: Object) -> Release | None:
    """Without helm's own record: revision 0 and no values, enough to know that it is there and how old."""
    annotations = item["metadata"].get("annotations") or {}
    labels = item["metadata"].get("labels") or {}
    name = annotations.get("meta.helm.sh/release-name")
    chart = _CHART.fullmatch(labels.get("helm.sh/chart", ""))
    if not name or not chart:
        return None
    namespace = annotations.get("meta.helm.sh/release-namespace", item["metadata"]["namespace"])
    return Release(name, namespace, 0, "deployed", chart["name"], chart["version"])


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
