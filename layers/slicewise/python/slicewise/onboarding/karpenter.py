"""Preflight's questions about Karpenter: is it there, is it ours, and does it honour NodeOverlays? Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from slicewise.kube import objects
from slicewise.kube.objects import created_at, status
from slicewise.model.cluster import ClusterContents
from slicewise.onboarding import manifests, rbac, versions
from slicewise.onboarding.aws import interruptions
from slicewise.onboarding.helm.operator_values import is_marked
from slicewise.onboarding.observation import Settings
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy

# Karpenter 1.14.1 and 1.15.0 were read and run. NodeOverlay is alpha, and its code (it replaces capacity)
# says otherwise than its documentation (it adds), so each new version is to be tried before it is trusted.
KARPENTER_OLDEST, KARPENTER_TRIED = (1, 14), (1, 15)

GATE_PATIENCE = timedelta(seconds=30)

NODE_POOL_CRD, NODE_OVERLAY_CRD = "nodepools.karpenter.sh", "nodeoverlays.karpenter.sh"


class Gate(StrEnum):
    """What is known of Karpenter's feature gate NodeOverlay."""

    ON = "on"
    OFF = "off"
    ASKED = "asked"  # an overlay is there, and Karpenter has a moment left to answer
    UNKNOWN = "unknown"


def is_ours(contents: ClusterContents, policy: Policy) -> bool:
    """Whether Karpenter is ours to install and upgrade: the policy says so, and no other one is there."""
    if not policy.install_karpenter:
        return False
    release = manifests.find_release(contents.releases, manifests.KARPENTER, rbac.KARPENTER_NAMESPACE)
    return is_marked(release) if release else contents.karpenter is None


def gate(contents: ClusterContents, policy: Policy, now: datetime) -> Gate:
    """
    Whether Karpenter really honours overlays, by its effect.

    With the gate off no condition is ever written, so an overlay with one proves that it is on, and one that
    stays without for 30 seconds that no controller reads it. Where Karpenter is ours we set the gate
    ourselves: then its pods may not run yet, and `Ready` on our overlays shows it in the end.
    """
    if is_ours(contents, policy):
        return Gate.ON
    if contents.karpenter and _configured_gate(contents.karpenter.gates) is False:
        return Gate.OFF
    if any(status(overlay).get("conditions") for overlay in contents.node_overlays):
        return Gate.ON
    ages = [now - created for overlay in contents.node_overlays if (created := created_at(overlay))]
    if not ages:
        return Gate.UNKNOWN
    return Gate.OFF if max(ages) >= GATE_PATIENCE else Gate.ASKED


def _configured_gate(gates: str | None) -> bool | None:
    for part in (gates or "").split(","):
        key, _, value = part.partition("=")
        if key.strip() == "NodeOverlay":
            return value.strip().lower() == "true"
    return None


def findings(contents: ClusterContents, policy: Policy, settings: Settings) -> list[Finding]:
    if is_ours(contents, policy):
        return _before_installing(contents, settings)
    if policy.is_on_fargate:
        return [_not_ours()]
    install = "or let us install it: karpenter: {install: true} in the policy."
    if NODE_POOL_CRD not in contents.crds:
        return [
            _refuse(
                "karpenter-absent",
                "There is no Karpenter in the cluster.",
                f"Install Karpenter {versions.shown(KARPENTER_OLDEST)} or later, {install}",
            )
        ]
    found = list(interruptions.of_another_karpenter(policy))
    if contents.karpenter is None:
        found.append(
            Finding(
                "karpenter-not-seen",
                "Karpenter's CRDs are there, but no Deployment of it, so its version cannot be checked.",
                f"Nothing, if it runs outside this cluster in version {versions.shown(KARPENTER_OLDEST)} "
                "or later.",
            )
        )
    else:
        found += _version_findings(contents.karpenter.version)
    if NODE_OVERLAY_CRD not in contents.crds:
        found.append(
            _refuse(
                "node-overlay-crd-absent",
                "The CRD of NodeOverlay is missing, without which Karpenter cannot know of slices.",
                "Upgrade the chart karpenter-crd to Karpenter's own version; helm does not upgrade CRDs.",
            )
        )
    return found


def _before_installing(contents: ClusterContents, settings: Settings) -> list[Finding]:
    if not settings.can_install_karpenter:
        return [_roles_missing()]
    theirs = [pool for pool in contents.node_pools if not objects.is_ours(pool)]
    if (
        theirs
        and manifests.find_release(contents.releases, manifests.KARPENTER, rbac.KARPENTER_NAMESPACE) is None
    ):
        return [
            _refuse(
                "karpenter-elsewhere",
                f"We see no Karpenter, but NodePools that are not ours ({objects.name(theirs[0])}): another "
                "Karpenter may run where we cannot see it, and two would fight over the nodes.",
                "Write karpenter: {install: false} if one runs, or delete what an earlier one left.",
            )
        ]
    return []


def _not_ours() -> Finding:
    return _refuse(
        "karpenter-not-ours",
        "The policy asks for Karpenter on Fargate, but the cluster has one already, which we did not install "
        "and do not move.",
        "Write karpenter: {install: false} to go on with it, or uninstall it.",
    )


def _roles_missing() -> Finding:
    return _refuse(
        "karpenter-roles-missing",
        "The policy asks us to install Karpenter, but this deployment of Slicewise has no roles for it.",
        "Deploy Slicewise with Karpenter's controller and node roles, or install Karpenter yourself and "
        "write karpenter: {install: false}.",
    )


def _version_findings(version: str | None) -> list[Finding]:
    parsed = versions.parse(version or "")
    if parsed is None:
        return [
            Finding(
                "karpenter-version-unknown",
                f"Karpenter's version cannot be read from its Deployment ({version or 'no version label'}).",
                f"Make sure that it is {versions.shown(KARPENTER_OLDEST)} or later.",
            )
        ]
    if parsed[:2] < KARPENTER_OLDEST or parsed[0] > KARPENTER_TRIED[0]:
        return [
            _refuse(
                "karpenter-version",
                f"Karpenter is {version}; its NodeOverlays are trusted from "
                f"{versions.shown(KARPENTER_OLDEST)} on, within {KARPENTER_OLDEST[0]}.x.",
                f"Move Karpenter to {versions.shown(KARPENTER_TRIED)}, its CRDs first.",
            )
        ]
    if parsed[:2] > KARPENTER_TRIED:
        return [
            Finding(
                "karpenter-version-untried",
                f"Karpenter is {version}, newer than the {versions.shown(KARPENTER_TRIED)} that we have "
                "tried.",
                "Watch the first GPU nodes; NodeOverlay is alpha and may have changed.",
            )
        ]
    return []


def gate_findings(contents: ClusterContents, policy: Policy, now: datetime) -> list[Finding]:
    if NODE_OVERLAY_CRD not in contents.crds or gate(contents, policy, now) is not Gate.OFF:
        return []
    how = "its environment says so"
    if _configured_gate(contents.karpenter.gates if contents.karpenter else None) is not False:
        how = f"for {GATE_PATIENCE.seconds} seconds it has not answered a NodeOverlay"
    return [
        _refuse(
            "node-overlay-gate-off",
            f"Karpenter's feature gate NodeOverlay is off, or Karpenter is not running: {how}.",
            "Set settings.featureGates.nodeOverlay=true in Karpenter's chart, and see that its pods run.",
        )
    ]


def _refuse(code: str, message: str, remedy: str) -> Finding:
    return Finding(code, message, remedy, blocking=True)
