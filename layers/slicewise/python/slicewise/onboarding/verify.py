"""Whether what was installed works: what is still pending, and what works otherwise than it should. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from slicewise.kube import quantities
from slicewise.kube.objects import condition, is_true, labels, name, status
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import ClusterContents
from slicewise.onboarding import rbac
from slicewise.onboarding.observation import Settings, live
from slicewise.onboarding.operator import release as operator_release
from slicewise.onboarding.pools import desired as desired_pools
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy
from slicewise.pools import layout, observed


def awaited(
    contents: ClusterContents, policy: Policy, settings: Settings, stuck: Collection[str] = ()
) -> tuple[Finding, ...]:
    """
    What must still become true before the cluster counts as onboarded; empty when all has.

    Args:
        stuck: NodePools that cannot be written, or whose overlays cannot: that is reported, and they block
            nothing.
    """
    if kept := operator_release.awaited(contents, policy, settings):
        return (kept,)  # nothing else was applied
    return (*_operator(contents), *_overlays(contents, policy, stuck), *_ready(contents, policy))


def _operator(contents: ClusterContents) -> Iterator[Finding]:
    release, (name_of_it, namespace) = operator_release.of(contents), operator_release.place(contents)
    if release is None or release.status != "deployed":
        yield Finding(
            "gpu-operator-not-deployed",
            f"GPU Operator's release is {release.status if release else 'not there'}.",
            f"See helm history {name_of_it} -n {namespace} if this lasts.",
        )
    if live(contents, rbac.CLUSTER_POLICY) is None:
        yield Finding(
            "cluster-policy-absent",
            "GPU Operator's ClusterPolicy is not there, so it would set up no node.",
            "Let helm make it (clusterPolicy.deployCR), or see who deleted it.",
        )


def _overlays(contents: ClusterContents, policy: Policy, stuck: Collection[str]) -> Iterator[Finding]:
    for target in desired_pools.targets(contents, policy):
        if target.unchanged or name(target.node_pool) in stuck:
            continue
        for wanted in target.overlays:
            overlay = live(contents, ref_of(wanted))
            if overlay is None or not is_true(overlay, "Ready"):
                yield _not_ready(overlay or wanted)


def _not_ready(overlay: Object) -> Finding:
    refused = condition(overlay, "ValidationSucceeded") or {}
    if refused.get("status") == "False":
        why = refused.get("message") or refused.get("reason") or "no reason given"
        return Finding(
            "overlay-refused",
            f"Karpenter refuses NodeOverlay {name(overlay)}: {why}.",
            "If it conflicts with an overlay of yours, give yours another weight or other NodePools.",
        )
    return Finding(
        "overlay-not-ready",
        f"Karpenter has not taken up NodeOverlay {name(overlay)}.",
        "See that Karpenter's pods run: on a new cluster they need a node group or a Fargate profile first.",
    )


def _ready(contents: ClusterContents, policy: Policy) -> Iterator[Finding]:
    """NodePools and our NodeClass, where Karpenter says that they are not ready; silence is no objection."""
    refs = [ref_of(target.node_pool) for target in desired_pools.targets(contents, policy)]
    items = [item for ref in refs if (item := live(contents, ref))]
    node_class = rbac.node_class_ref(policy)
    if node_class and (item := live(contents, node_class)):
        items.append(item)
    for item in items:
        ready = condition(item, "Ready") or {}
        if ready.get("status") == "False":
            yield Finding(
                "not-ready",
                f"{ref_of(item)} is not ready: "
                f"{ready.get('message') or ready.get('reason') or 'no reason given'}.",
                "No GPU node can start until it is; kubectl describe it.",
            )


def without_effect(contents: ClusterContents) -> tuple[Finding, ...]:
    """
    NodeClaims whose capacity is not what their overlay says; one a NodePool.

    `Ready` on an overlay does not mean that it matches anything: only a NodeClaim shows it. Its
    status.capacity is what Karpenter expected when it made it, so it is compared with the N of that time.
    """
    found: dict[str, Finding] = {}
    for claim in contents.node_claims:
        node_pool = labels(claim).get(layout.NODE_POOL_LABEL, "")
        if node_pool not in found and (finding := _mismatch(claim)):
            found[node_pool] = finding
    return tuple(found.values())


def _mismatch(claim: Object) -> Finding | None:
    believed = status(claim).get("capacity")
    promised = observed.promised(labels(claim), observed.initial_key(claim))
    if not believed or promised is None:
        return None  # not launched yet, or of a time before this layout
    for resource, wanted in promised.items():
        had = quantities.whole(believed.get(resource))
        if had != wanted:
            return Finding(
                "overlay-without-effect",
                f"NodeClaim {name(claim)} was launched with {resource} {had}, not {wanted}: no NodeOverlay "
                "matched.",
                "Compare the overlay's requirements with the NodeClaim's labels, and Karpenter's version "
                "with those that we have tried; until then Karpenter starts too many nodes.",
            )
    return None
