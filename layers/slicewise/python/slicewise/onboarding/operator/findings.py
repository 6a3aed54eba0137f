"""What keeps us from joining another owner's GPU Operator, before anything is touched. Pure."""

from __future__ import annotations

import json

from slicewise.kube.objects import is_ours
from slicewise.model.cluster import ClusterContents, Release
from slicewise.onboarding import manifests, rbac, versions
from slicewise.onboarding.helm.operator_values import is_joined, is_marked
from slicewise.onboarding.observation import Settings, live
from slicewise.onboarding.operator.release import (
    all_of,
    config_map_refs,
    driver_restart,
    joined,
    keeper,
    of,
    their_config_map,
    their_keys,
)
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy
from slicewise.pools import layout


def findings(contents: ClusterContents, policy: Policy, settings: Settings) -> list[Finding]:
    """GPU Operator allows one ClusterPolicy in a cluster, so there is room for one release."""
    release = of(contents)
    refused = _several(contents) or (_without_release(contents) if release is None else None)
    if refused:
        return [refused]
    if release is None or (is_marked(release) and not is_joined(release)):
        return []
    if not is_marked(release):
        found_before = _before_joining(release, policy, settings)
        if found_before:
            return found_before
    found_now = [*_clashing_keys(contents, release), *_contradictions(contents, policy, settings)]
    driver = driver_restart(contents, release, settings)
    return [driver, *found_now] if driver and driver.blocking else found_now


def _several(contents: ClusterContents) -> Finding | None:
    found = all_of(contents)
    if len(found) < 2:
        return None
    names = ", ".join(f"{release.namespace}/{release.name}" for release in found)
    return _refuse(
        "foreign-gpu-operator",
        f"GPU Operator is installed {len(found)} times ({names}), and only one of them can have the "
        "ClusterPolicy.",
        "Uninstall all but the one that your GPU nodes are set up by.",
    )


def _without_release(contents: ClusterContents) -> Finding | None:
    """Where it has no release of its own: a part of another one, or a ClusterPolicy alone."""
    charts = (manifests.KARPENTER, manifests.KARPENTER_CRD)
    if around := [one for one in contents.releases if one.chart not in charts]:
        whole = around[0]
        return _refuse(
            "foreign-gpu-operator",
            f"GPU Operator is a part of the release {whole.namespace}/{whole.name} of chart "
            f"{whole.chart}, whose other parts are none of our business.",
            "Install GPU Operator as a release of its own (--take-ownership keeps its objects), "
            "then let us join that.",
        )
    # Between our rolling a first installation back and installing again, its ClusterPolicy may linger.
    if live(contents, rbac.CLUSTER_POLICY) is None or manifests.anything_of_ours(contents):
        return None
    return _refuse(
        "foreign-gpu-operator",
        "There is a ClusterPolicy of GPU Operator, but no helm release that made it.",
        "Remove that installation and its ClusterPolicy; we install GPU Operator by helm.",
    )


def _contradictions(contents: ClusterContents, policy: Policy, settings: Settings) -> list[Finding]:
    together = joined(contents, policy, settings)
    return [finding for finding in (together.findings if together else ()) if finding.blocking]


def _before_joining(release: Release, policy: Policy, settings: Settings) -> list[Finding]:
    ours, kept = settings.gpu_operator.version, keeper(release)
    whose = f"{kept.tool} ({kept.manifest})" if kept else "Another owner"
    if not policy.adopt_gpu_operator:
        return [
            _refuse(
                "foreign-gpu-operator",
                f"{whose} installed GPU Operator {release.chart_version} "
                f"({release.namespace}/{release.name}).",
                "Uninstall it, or let us join it, which keeps what its values say: gpuOperator: {adopt: "
                "true}. slicewise plan then shows each value that would change.",
            )
        ]
    if kept is None and versions.is_newer(release.chart_version, ours):
        return [
            _refuse(
                "gpu-operator-newer",
                f"GPU Operator is {release.chart_version}, newer than the {ours} of this deployment, so we "
                "cannot configure it: we never downgrade.",
                f"Deploy Slicewise with GPU Operator {release.chart_version}.",
            )
        ]
    if release.pending:
        return [
            _refuse(
                "gpu-operator-busy",
                f"Another owner's helm is running on GPU Operator, or was killed: its release is "
                f"{release.status}.",
                f"Wait until it ends, or run helm rollback {release.name} -n {release.namespace}; the next "
                "reconcile continues.",
            )
        ]
    return []


def _clashing_keys(contents: ClusterContents, release: Release) -> list[Finding]:
    ours = layout.device_plugin_configs()
    found = [
        _refuse(
            "device-plugin-key-clash",
            f"The owner's {their_config_map(release)} has a key {key}, which is a name of ours, with other "
            f"content: {json.dumps(text)[:300]}; ours is {json.dumps(ours[key])[:300]}.",
            f"Add the content under another key, label nodes that carry {key} with that, and remove {key}.",
        )
        for key, text in sorted(their_keys(contents).items())
        if key in ours and text.strip() != ours[key].strip()
    ]
    for ref in config_map_refs(release.namespace):
        there = live(contents, ref)
        if ref != layout.CONFIG_MAP and there is not None and not is_ours(there):
            remedy = "Rename or delete it."
            found.append(_refuse("name-taken", f"{ref} is there, but it is not ours.", remedy))
    return found


def _refuse(code: str, message: str, remedy: str) -> Finding:
    return Finding(code, message, remedy, blocking=True)
