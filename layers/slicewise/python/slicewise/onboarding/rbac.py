"""
What our identities may do in a cluster, verb by verb.

While it installs, the installer is cluster admin by an EKS access policy, for as long as that takes;
afterwards group `slicewise:installer` lets it see whether anything must change. Group `slicewise:tuner` may
read what tuning decides by, and change N: the policy's own NodePools and NodeOverlays, Nodes and NodeClaims,
and where a pool is split into classes, or N is published on workloads, Deployments and StatefulSets, too. It
may delete nothing and touches no pod. Group `slicewise:sleeper` exists only where a policy has off-hours
(docs/off-hours.md). Lists cannot be limited by name; everything that can be, is. What RBAC cannot say, which
objects and which of their fields, admission.py does: what both grant is rights.py's table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from slicewise import rights
from slicewise.kube import kinds
from slicewise.kube.objects import stamped
from slicewise.kube.ref import Object, Ref
from slicewise.onboarding import admission
from slicewise.policy.model import Policy
from slicewise.policy.off_hours import BarePods, Jobs, MissedRuns, OffHours, Volumes
from slicewise.pools import layout
from slicewise.rights import Only, Write

INSTALLER, TUNER, SLEEPER = "slicewise-installer", rights.TUNER.name, rights.SLEEPER.name
INSTALLER_GROUP, TUNER_GROUP, SLEEPER_GROUP = "slicewise:installer", rights.TUNER.group, rights.SLEEPER.group

_RBAC = "rbac.authorization.k8s.io"
_KARPENTER_LISTS = ("nodepools", "nodeoverlays", "nodeclaims")
KARPENTER_NAMESPACE = "kube-system"
SLEEPER_ROLE = Ref(*kinds.CLUSTER_ROLE, SLEEPER)
TUNER_ROLE = Ref(*kinds.CLUSTER_ROLE, TUNER)
CLUSTER_POLICY = Ref(*kinds.CLUSTER_POLICY, "cluster-policy")


@dataclass(frozen=True)
class Operator:
    """
    Where another owner's GPU Operator is.

    Attributes:
        config_map: Of its owner's device plugin; empty where they have none.
    """

    namespace: str
    config_map: str = ""


OURS = Operator(layout.OPERATOR_NAMESPACE)

# Versions under which a NodeClass of a group is read. Of other groups we know none, and read none.
_NODE_CLASS_VERSIONS = {"karpenter.k8s.aws": "v1", "karpenter.kwok.sh": "v1alpha1"}


def node_class_ref(policy: Policy) -> Ref | None:
    """
    None for a NodeClass of a provider whose API we do not know: it is named in NodePools, and not read.
    """
    node_class = policy.node_class
    version = _NODE_CLASS_VERSIONS.get(node_class.group)
    return Ref(f"{node_class.group}/{version}", node_class.kind, node_class.name) if version else None


def release_namespaces(policy: Policy) -> tuple[str, ...]:
    """
    Where helm releases are read.

    Helm stores a release in Secrets whose names end in its revision, so no name can be granted ahead, and
    RBAC cannot grant by type: it must be `list` on a namespace's Secrets. So it is granted in our own
    namespace, and in Karpenter's only where Karpenter is ours to install.
    """
    return (
        (layout.OPERATOR_NAMESPACE, KARPENTER_NAMESPACE)
        if policy.install_karpenter
        else (layout.OPERATOR_NAMESPACE,)
    )


def objects(
    policy: Policy,
    unfinished: Iterable[str] = (),
    asleep: Iterable[str] = (),
    split: bool = False,
    retaining: bool = False,
    operator: Operator = OURS,
    crds: Collection[str] = (),
    suspending: bool = False,
    own: Iterable[Write] = (),
    publishing: bool = False,
) -> tuple[Object, ...]:
    """
    `unfinished` are NodePools of ours, whose N is being changed, or that were adopted, `asleep` those that
    sleep, or are open, also where the policy no longer asks for them: what is held there must be released.
    `split` says that there are classes, whose workloads must be moved home; `retaining` that StatefulSets
    have yet to get back what becomes of their volumes, though the policy no longer changes them. `operator`
    is where GPU Operator is, if not where ours would be; `crds` names the definitions that the cluster has;
    `suspending` says that jobs are suspended still, though the policy lets them finish now; `own` are the
    writes of the policy's own switches; `publishing` says that workloads may have N published still, though
    the policy no longer asks for it.

    Roles first, then what binds them: a binding whose role is not there yet would grant nothing for a while.
    """
    namespaces = tuple(dict.fromkeys((*release_namespaces(policy), operator.namespace)))
    return (
        _cluster_role(INSTALLER, _installer_rules(policy)),
        _cluster_role(
            TUNER,
            _tuner_rules(policy, unfinished, split or policy.has_classes, publishing or policy.publishes),
        ),
        *(_role(INSTALLER, namespace, _release_rules(namespace, operator)) for namespace in namespaces),
        _role(TUNER, layout.CONFIG_MAP.namespace, [_CONFIG_MAP_RULE]),
        _cluster_role_binding(INSTALLER, INSTALLER_GROUP),
        _cluster_role_binding(TUNER, TUNER_GROUP),
        *(_role_binding(INSTALLER, namespace, INSTALLER_GROUP) for namespace in namespaces),
        _role_binding(TUNER, layout.CONFIG_MAP.namespace, TUNER_GROUP),
        *(
            _off_hours(policy, policy.off_hours, asleep, retaining, crds, suspending, own)
            if policy.off_hours
            else ()
        ),
    )


def of_release(namespace: str) -> tuple[Ref, ...]:
    """What lets the installer read a release in a namespace."""
    return tuple(Ref(f"{_RBAC}/v1", kind, INSTALLER, namespace) for kind in ("Role", "RoleBinding"))


def may_retain(sleeper: Object | None) -> bool:
    """Whether a live role lets the sleeper patch StatefulSets."""
    return _may_patch(sleeper, "apps", "statefulsets")


def may_suspend(sleeper: Object | None) -> bool:
    """Whether a live role lets the sleeper patch Jobs."""
    return _may_patch(sleeper, "batch", "jobs")


def may_publish(tuner: Object | None) -> bool:
    """Whether a live role lets the tuner patch Deployments."""
    return _may_patch(tuner, "apps", "deployments")


def _may_patch(role: Object | None, group: str, resource: str) -> bool:
    """Of this very group: a policy's own kind may have the same plural."""
    asked = {"apiGroups": group, "resources": resource, "verbs": "patch"}
    rules = (role or {}).get("rules") or ()
    return any(all(one in (rule.get(key) or ()) for key, one in asked.items()) for rule in rules)


def _off_hours(
    policy: Policy,
    off_hours: OffHours,
    asleep: Iterable[str],
    retaining: bool,
    crds: Collection[str],
    suspending: bool,
    own: Iterable[Write],
) -> tuple[Object, ...]:
    """
    What puts workloads to sleep has an identity of its own, and only where they sleep.

    All that users scale, it may scale, and write nothing else of it: RBAC names subresources of every group
    alone. Suspending a CronJob, or pausing KEDA, has no subresource: there it must be `patch` on the whole,
    as for what a StatefulSet says of its volumes.
    """
    names = {"nodepools": sorted({*layout.node_pool_names(policy), *asleep})}
    left_out = _left_out(off_hours, retaining, suspending)
    writes = [
        one
        for one in rights.SLEEPER.writes
        if one.resource not in left_out and (not one.if_served or one.crd in crds)
    ] + list(own)
    rules = [
        _rule("karpenter.sh", ["nodepools"], ["list"]),
        _rule("", ["nodes", "pods"], ["list"]),
        _rule("apps", ["deployments", "replicasets", "statefulsets"], ["list"]),
        _rule("batch", ["jobs"], ["list"]),
        _rule("batch", ["cronjobs"], ["list"]),
        _rule("argoproj.io", ["rollouts"], ["list"]),
        _rule("leaderworkerset.x-k8s.io", ["leaderworkersets"], ["list"]),
        _rule("keda.sh", ["scaledjobs", "scaledobjects"], ["list"]),
        _rule("*", ["*/scale"], ["get"]),
        *(_rule(one.group, [one.resource], ["list"]) for one in writes if one.if_served),
        *(_write(one, names) for one in writes),
    ]
    if "jobsets.jobset.x-k8s.io" in crds and off_hours.jobs is not Jobs.SUSPEND and not suspending:
        # Only for what is above its Jobs; where they are suspended, it is among the writes.
        rules.append(_rule("jobset.x-k8s.io", ["jobsets"], ["list"]))
    if "nodesets.slinky.slurm.net" in crds:
        # For whether its sleep would cost volumes; it is scaled as anything else.
        rules.append(_rule("slinky.slurm.net", ["nodesets"], ["list"]))
    if f"clusterqueues.{rights.KUEUE}" in crds:
        rules.append(_rule(rights.KUEUE, ["localqueues", "resourceflavors"], ["list"]))
    if any(pool.fallback_gpus for pool in policy.pools):
        rules.append(_rule("", ["events"], ["list"]))
    return _cluster_role(SLEEPER, rules), _cluster_role_binding(SLEEPER, SLEEPER_GROUP)


def _left_out(off_hours: OffHours, retaining: bool, suspending: bool) -> set[str]:
    """Resources that need not be written under this policy."""
    left_out = set()
    if off_hours.volumes is not Volumes.RETAIN and not retaining:
        left_out.add("statefulsets")
    if off_hours.missed_runs is not MissedRuns.SKIP:
        left_out.add("cronjobs/status")
    if off_hours.bare_pods is not BarePods.DELETE:
        left_out.add("pods")
    if off_hours.jobs is not Jobs.SUSPEND and not suspending:
        left_out |= {one.resource for one in rights.SLEEPER.writes if one.of_jobs}
    return left_out


def _installer_rules(policy: Policy) -> list[dict[str, Any]]:
    # The sleeper's also where no policy asks for it yet: when one does, the first reconcile must not be
    # refused.
    roles = [INSTALLER, TUNER, SLEEPER]
    rules = [
        _rule("apiextensions.k8s.io", ["customresourcedefinitions"], ["list"]),
        _rule("karpenter.sh", _KARPENTER_LISTS, ["list"]),
        _rule("apps", ["deployments", "daemonsets"], ["list"]),
        _rule("", ["namespaces"], ["get"], [layout.OPERATOR_NAMESPACE]),
        _rule("nvidia.com", ["clusterpolicies"], ["get"], [CLUSTER_POLICY.name]),
        _rule(_RBAC, ["clusterroles", "clusterrolebindings"], ["get"], roles),
        _rule(admission.GROUP, admission.PLURALS, ["get"], [TUNER, SLEEPER]),
    ]
    node_class = node_class_ref(policy)
    if node_class:
        group, plural = policy.node_class.group, f"{node_class.kind.lower()}es"
        rules.append(_rule(group, [plural], ["get"], [node_class.name]))
    return rules


def _tuner_rules(
    policy: Policy, unfinished: Iterable[str], split: bool, publishing: bool
) -> list[dict[str, Any]]:
    names = {
        "nodepools": sorted({*layout.node_pool_names(policy), *unfinished}),
        "nodeoverlays": sorted(layout.overlay_weights(policy)),
    }
    # Workloads are of their users' own making, so that they cannot be named ahead.
    writes = [
        one
        for one in rights.TUNER.writes
        if (split or one.only is not Only.OPTED_IN) and (publishing or not one.published)
    ]
    reads = split or publishing
    return [
        _rule("karpenter.sh", _KARPENTER_LISTS, ["list"]),
        _rule("", ["nodes", "pods"], ["list"]),
        _rule("policy", ["poddisruptionbudgets"], ["list"]),
        *([_rule("apps", ["deployments", "statefulsets"], ["list"])] if reads else []),
        # Two rights to one resource are one to RBAC, which knows no fields.
        *_once(_write(one, names) for one in writes),
        *(_template_rules(reads) if any(pool.sharing.has_replicas for pool in policy.pools) else []),
    ]


def _once(rules: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for rule in rules:
        found += [] if rule in found else [rule]
    return found


def _template_rules(reads: bool) -> list[dict[str, Any]]:
    """
    Where GPUs are shared: pods that will request more than one, which no shared GPU can give.

    Args:
        reads: Workloads are listed anyway.
    """
    apps = [] if reads else [_rule("apps", ["deployments", "statefulsets"], ["list"])]
    return [*apps, _rule("batch", ["jobs", "cronjobs"], ["list"])]


def _release_rules(namespace: str, operator: Operator) -> list[dict[str, Any]]:
    ours = [INSTALLER, TUNER] if namespace == layout.CONFIG_MAP.namespace else [INSTALLER]
    rules = [_rule("", ["secrets"], ["list"]), _rule(_RBAC, ["roles", "rolebindings"], ["get"], ours)]
    if namespace == layout.CONFIG_MAP.namespace:
        rules.append(_CONFIG_MAP_RULE)
    if operator != OURS and namespace == operator.namespace:
        read = {layout.CONFIG_MAP.name, operator.config_map} - {""}
        rules.append(_rule("", ["configmaps"], ["get"], sorted(read)))
    return rules


def _write(one: Write, names: Mapping[str, list[str]]) -> dict[str, Any]:
    return _rule(one.group, [one.resource], [one.verb], names.get(one.resource))


def _rule(
    group: str, resources: Iterable[str], verbs: list[str], names: list[str] | None = None
) -> dict[str, Any]:
    rule: dict[str, Any] = {"apiGroups": [group], "resources": list(resources), "verbs": verbs}
    return {**rule, "resourceNames": names} if names else rule


_CONFIG_MAP_RULE = _rule("", ["configmaps"], ["get"], [layout.CONFIG_MAP.name])


def _cluster_role(name: str, rules: list[dict[str, Any]]) -> Object:
    return _rbac_object("ClusterRole", {"name": name}, {"rules": rules})


def _role(name: str, namespace: str, rules: list[dict[str, Any]]) -> Object:
    return _rbac_object("Role", {"name": name, "namespace": namespace}, {"rules": rules})


def _cluster_role_binding(name: str, group: str) -> Object:
    return _rbac_object("ClusterRoleBinding", {"name": name}, _binding("ClusterRole", name, group))


def _role_binding(name: str, namespace: str, group: str) -> Object:
    return _rbac_object("RoleBinding", {"name": name, "namespace": namespace}, _binding("Role", name, group))


def _binding(kind: str, role: str, group: str) -> dict[str, Any]:
    return {
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": group}],
    }


def _rbac_object(kind: str, metadata: dict[str, str], body: dict[str, Any]) -> Object:
    return stamped({"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, **body})
