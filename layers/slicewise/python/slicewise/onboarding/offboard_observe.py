"""
Reads what is left of us in a cluster that is being offboarded.

With the rights of group `slicewise:installer`: NodePools, and NodeClaims with a label of ours. Once cluster
admin is in effect: everything else, by the label that all of ours carries.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from slicewise.kube import kinds
from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.objects import MANAGED_BY, MANAGER, is_ours, name, spec
from slicewise.kube.ref import Object, ref_of
from slicewise.model.capabilities import OFF_HOURS, TUNING
from slicewise.onboarding import manifests
from slicewise.onboarding.aws import fargate_observe
from slicewise.onboarding.helm.operator_values import is_joined
from slicewise.onboarding.observation import Observation, Remains, Settings, live
from slicewise.onboarding.observe import entries_of, interruptions_of, read_contents, with_failure
from slicewise.onboarding.offboard import KINDS
from slicewise.onboarding.operator import release as operator_release
from slicewise.policy.model import Policy
from slicewise.pools import layout
from slicewise.ports import Helm, Kubernetes, Ports

_OURS = f"{MANAGED_BY}={MANAGER}"
# All that a policy may have asked for is read.
_ANY = Policy("offboard", pools=(), adopt_gpu_operator=True, install_karpenter=True)
_BY_KUBERNETES = frozenset({"kube-root-ca.crt"})
# Of GPU Operator's chart v26.7.0, its crds/ folder and that of its dependency.
_CHART_CRDS = {
    "clusterpolicies.nvidia.com": kinds.CLUSTER_POLICY,
    "nvidiadrivers.nvidia.com": kinds.NVIDIA_DRIVER,
    "nodefeaturegroups.nfd.k8s-sigs.io": kinds.NODE_FEATURE_GROUP,
    "nodefeaturerules.nfd.k8s-sigs.io": kinds.NODE_FEATURE_RULE,
    "nodefeatures.nfd.k8s-sigs.io": kinds.NODE_FEATURE,
}
_SERVED_BY_KARPENTER = (kinds.NODE_POOL, kinds.NODE_CLAIM, kinds.EC2_NODE_CLASS)
_KEPT_THERE = (
    *(kinds.DEPLOYMENT, kinds.DAEMON_SET, kinds.STATEFUL_SET, kinds.POD),
    *(kinds.CONFIG_MAP, kinds.SECRET),
)


def observe(
    observation: Observation, ports: Ports, settings: Settings, as_person: bool = False
) -> Observation:
    """Needs a cluster that is ACTIVE."""
    cluster = observation.cluster
    if cluster is None:
        return observation
    principals: tuple[str, ...] = (settings.installer_role, settings.tuner_role, settings.sleeper_role)
    if settings.can_run_on_fargate:
        principals = (*principals, settings.node_role_arn(cluster), settings.fargate_pod_role)
        observation = replace(observation, fargate=fargate_observe.observe(cluster, ports, settings))
    observation = replace(
        observation,
        entries=entries_of(cluster, principals, ports),
        interruptions=interruptions_of(cluster.name, ports, settings, waits=True),
    )
    remains = Remains(
        asleep=tuple(kept.ref for kept in ports.sleep.snapshots(cluster.arn) if not kept.woken),
        others=tuple(r for name in (TUNING, OFF_HOURS) if (r := ports.store.record(cluster.arn, name))),
        is_preview=as_person,
    )
    if settings.installer_role not in observation.entries and not as_person:
        return replace(observation, remains=remains)
    found: dict[str, Any] = {}
    with with_failure(found):
        kubernetes = ports.kubernetes(cluster)
        admin = as_person or (
            observation.is_admin(settings.installer_role) and kubernetes.may_do_everything()
        )
        remains = _inside(remains, kubernetes)
        if admin:
            remains = _as_admin(remains, kubernetes, ports.helm(cluster))
    return replace(observation, remains=remains, **found)


def _inside(remains: Remains, kubernetes: Kubernetes) -> Remains:
    return replace(
        remains,
        node_pools=kubernetes.list(*kinds.NODE_POOL),
        claims=kubernetes.list(*kinds.NODE_CLAIM, labels=POOL_LABEL),
    )


def _as_admin(remains: Remains, kubernetes: Kubernetes, helm: Helm) -> Remains:
    contents = read_contents(kubernetes, helm, _ANY, admin=True)
    release = operator_release.of(contents)
    pods = kubernetes.list(*kinds.POD, only=_reads_ours, trim=_named)
    mine = live(contents, manifests.NAMESPACE)
    mine = mine if mine is not None and is_ours(mine) else None
    return replace(
        remains,
        ours=tuple(item for kind in KINDS for item in kubernetes.list(*kind, labels=_OURS)),
        contents=contents,
        revisions=helm.revisions(release.name, release.namespace) if release and is_joined(release) else (),
        namespace=mine,
        namespace_holds=_held(kubernetes) if mine is not None else (),
        readers=tuple(str(ref_of(pod)) for pod in pods),
        chart_crds=_free_crds(kubernetes) if mine is not None else (),
        on_karpenter=tuple(
            ref_of(item) for kind in _SERVED_BY_KARPENTER for item in kubernetes.list(*kind, trim=_named)
        ),
    )


def _reads_ours(pod: Object) -> bool:
    volumes = spec(pod).get("volumes") or ()
    return any((one.get("configMap") or {}).get("name") == layout.CONFIG_MAP.name for one in volumes)


def _named(item: Object) -> Object:
    metadata = {key: item["metadata"].get(key) for key in ("name", "namespace")}
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": metadata}


def _held(kubernetes: Kubernetes) -> tuple[str, ...]:
    """What others have in GPU Operator's namespace."""
    where = layout.OPERATOR_NAMESPACE
    found = (item for kind in _KEPT_THERE for item in kubernetes.list(*kind, namespace=where))
    theirs = (item for item in found if not is_ours(item) and name(item) not in _BY_KUBERNETES)
    return tuple(str(ref_of(item)) for item in theirs)


def _free_crds(kubernetes: Kubernetes) -> tuple[str, ...]:
    """Those of which no object is left; Node Feature Discovery may have another owner as well."""
    there = kubernetes.crds() & _CHART_CRDS.keys()
    return tuple(crd for crd in sorted(there) if not kubernetes.list(*_CHART_CRDS[crd]))
