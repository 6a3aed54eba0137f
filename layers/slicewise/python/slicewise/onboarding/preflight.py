"""
What must be true before anything is touched: all findings at once, each with what a person can do about it.

`outside` needs only what EKS reports, and comes before any access; `inside` needs one read of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from slicewise.kube.labels import ALLOW_ACCESS_ENTRIES_TAG, ORIGINAL_ANNOTATION
from slicewise.kube.objects import annotations_of, is_ours, labels, name, spec
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import ClusterContents, EksCluster
from slicewise.onboarding import admission, karpenter, own_kinds, rbac, versions
from slicewise.onboarding.observation import Settings, live
from slicewise.onboarding.operator import findings as operator_findings
from slicewise.onboarding.operator import gpu_findings
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy, Pool
from slicewise.pools import adopted, adopted_settings, layout

# Karpenter's CRDs validate by CEL rules (GA in 1.29). EKS supported 1.31 until 26 November 2026 and upgrades
# such clusters itself from then on; until it has, they are supported.
KUBERNETES_OLDEST, KUBERNETES_TRIED = (1, 31), (1, 37)


def has_blocking(findings: Iterable[Finding]) -> bool:
    return any(finding.blocking for finding in findings)


def outside(cluster: EksCluster) -> tuple[Finding, ...]:
    """What DescribeCluster and the node groups already rule out."""
    found = []
    if cluster.authentication_mode == "CONFIG_MAP" and not may_allow_access_entries(cluster):
        found.append(
            _refuse(
                "access-entries-off",
                "The cluster's authentication mode is CONFIG_MAP, so no access entry can let us in.",
                "Switch it to API_AND_CONFIG_MAP (one-way; aws-auth keeps working), or let us: tag the "
                f"cluster {ALLOW_ACCESS_ENTRIES_TAG}=true.",
            )
        )
    if cluster.auto_mode:
        found.append(
            _refuse(
                "auto-mode",
                "The cluster runs in EKS Auto Mode, which brings a device plugin and a Karpenter of its "
                "own that only it can configure: no slices there.",
                "Use a cluster without Auto Mode for sliced GPUs, or remove the policy tag from this one.",
            )
        )
    if cluster.bottlerocket_node_groups:
        groups = ", ".join(sorted(cluster.bottlerocket_node_groups))
        found.append(
            _refuse(
                "bottlerocket",
                f"GPU node groups run Bottlerocket ({groups}), which brings its own device plugin.",
                "Share those GPUs by Bottlerocket's settings.kubelet-device-plugins.nvidia, or move them "
                "to AL2023.",
            )
        )
    return (*found, *_kubernetes_version(cluster.version))


def may_allow_access_entries(cluster: EksCluster) -> bool:
    # Word for word, as the installer's IAM policy has it: "True" would be planned here and refused there.
    return cluster.tags.get(ALLOW_ACCESS_ENTRIES_TAG) == "true"


def inside(
    contents: ClusterContents, policy: Policy, settings: Settings, now: datetime
) -> tuple[Finding, ...]:
    """What one read of the cluster rules out or makes worth reporting, blocking findings first."""
    found = (
        *karpenter.findings(contents, policy, settings),
        *karpenter.gate_findings(contents, policy, now),
        *gpu_findings.findings(contents, policy),
        *operator_findings.findings(contents, policy, settings),
        *_names_taken(contents, policy),
        *_adopted(contents, policy),
        *_node_class(contents, policy, settings),
        *_left_over(contents, policy),
        *own_kinds.findings(contents, policy),
    )
    return tuple(sorted(found, key=lambda finding: not finding.blocking))


def endpoint_out_of_reach(cluster: EksCluster, message: str) -> Finding:
    if cluster.public_endpoint:
        remedy = "Allow the functions' addresses in its public access CIDRs, or deploy them into its VPC."
    else:
        remedy = (
            "Its endpoint is private: deploy the functions into a VPC that reaches it on port 443, and "
            "allow them in the cluster's security group."
        )
    return _refuse("endpoint-out-of-reach", f"The API server does not answer: {message}.", remedy)


def _names_taken(contents: ClusterContents, policy: Policy) -> list[Finding]:
    found = []
    for ref in _our_refs(policy):
        item = live(contents, ref)
        if item is not None and not is_ours(item):
            found.append(
                _refuse(
                    "name-taken",
                    f"{ref} is there, but it is not ours.",
                    "Rename or delete it; or, if it is a NodePool's name, call the pool in the policy "
                    "otherwise.",
                )
            )
    return found


@lru_cache(maxsize=64)  # as the policy that is parsed
def _our_refs(policy: Policy) -> tuple[Ref, ...]:
    refs = [ref_of(item) for item in (*admission.objects(policy), *rbac.objects(policy))]
    refs.append(layout.CONFIG_MAP)
    if policy.node_class.create and (node_class := rbac.node_class_ref(policy)):
        refs.append(node_class)
    weights = layout.overlay_weights(policy)
    for pool in policy.parts:
        for gpu in pool.models():
            refs += [ref_of(item) for item in layout.overlays(pool, gpu, pool.start, weights)]
            if not pool.adopt:
                refs.append(ref_of(layout.node_pool(policy, pool, gpu, pool.start)))
    return tuple(refs)


def _adopted(contents: ClusterContents, policy: Policy) -> list[Finding]:
    """What keeps us from taking over NodePools that the policy adopts."""
    there = {name(item): item for item in contents.node_pools}
    found = []
    for pool in policy.pools:
        if pool.adopt and pool.adopt not in there:
            message = f"Pool {pool.name} adopts NodePool {pool.adopt}, which is not there."
            found.append(_refuse("adopt-missing", message, "Create it, correct the name, or remove `adopt`."))
        elif pool.adopt and (why := _why_not_adopted(contents, there[pool.adopt], pool)):
            message = f"Pool {pool.name} cannot adopt NodePool {pool.adopt}: {why}."
            remedy = "Change it there when its workloads may move, or leave it out of the policy."
            found.append(_refuse("adopt-impossible", message, remedy))
        elif pool.adopt:
            node_pool = there[pool.adopt]
            found += adopted.adoption_findings(policy, pool, node_pool, _class_of(contents, node_pool))
    return found


def _why_not_adopted(contents: ClusterContents, node_pool: Object, pool: Pool) -> str | None:
    node_class = _class_of(contents, node_pool)
    why = adopted.why_not(node_pool, pool)
    if why or node_class is None or adopted_settings.is_adopted(node_pool):
        return why
    return adopted.why_not_class(node_class)


def _class_of(contents: ClusterContents, node_pool: Object) -> Object | None:
    """Its EC2NodeClass, where that was read."""
    template = (spec(node_pool).get("template") or {}).get("spec") or {}
    ref = template.get("nodeClassRef") or {}
    wanted = ref.get("kind"), ref.get("name")
    classes = (*contents.objects.values(), *contents.node_classes)
    return next((item for item in classes if (item["kind"], name(item)) == wanted), None)


def _node_class(contents: ClusterContents, policy: Policy, settings: Settings) -> list[Finding]:
    ref = rbac.node_class_ref(policy)
    if policy.node_class.create and not settings.karpenter_node_role:
        return [
            _refuse(
                "node-role-missing",
                f"The policy asks us to make the NodeClass {policy.node_class.name}, but this deployment "
                "of Slicewise names no IAM role for nodes.",
                "Deploy Slicewise with the name of your nodes' IAM role (-c node_role=...), or name a "
                "NodeClass of yours: nodeClass: {name: ..., create: false}.",
            )
        ]
    if not policy.node_class.create and ref and live(contents, ref) is None:
        return [
            _refuse(
                "node-class-missing",
                f"The policy names the NodeClass {ref}, which is not there.",
                "Create it, or correct nodeClass in the policy.",
            )
        ]
    return []


def _left_over(contents: ClusterContents, policy: Policy) -> list[Finding]:
    wanted = layout.node_pool_names(policy)
    return [
        Finding(
            "pool-left-over",
            f"NodePool {name(item)} is ours, but no pool of the policy asks for it any more. It stays as "
            "it is.",
            f"Once nothing runs there: kubectl delete nodepool {name(item)}, then its NodeOverlays.",
        )
        for item in sorted(contents.node_pools, key=name)
        if is_ours(item)
        and name(item) not in wanted
        and ORIGINAL_ANNOTATION not in annotations_of(item)
        and not layout.is_superseded(name(item), labels(item), policy)
    ]


def _kubernetes_version(version: str) -> list[Finding]:
    parsed = versions.parse(version)
    if parsed is None or parsed[:2] < KUBERNETES_OLDEST:
        return [
            _refuse(
                "kubernetes-version",
                f"The cluster runs Kubernetes {version or '(unknown)'}; "
                f"{versions.shown(KUBERNETES_OLDEST)} is the oldest that we support.",
                "Upgrade the cluster.",
            )
        ]
    if parsed[:2] > KUBERNETES_TRIED:
        return [
            Finding(
                "kubernetes-version-untried",
                f"The cluster runs Kubernetes {version}, newer than the {versions.shown(KUBERNETES_TRIED)} "
                "that we have tried.",
                "Nothing, if Karpenter and GPU Operator support it.",
            )
        ]
    return []


def _refuse(code: str, message: str, remedy: str) -> Finding:
    return Finding(code, message, remedy, blocking=True)
