"""
GPU Operator in a cluster: whose it is, how it comes to serve slices, and how it is restored. Pure.

Ours is installed and upgraded as we want it. Another owner's is joined where the policy says `adopt`
(onboarding/helm/operator_values.py), under its own name and in its own namespace. One that a tool keeps as
its manifest says, such as Flux or Argo CD, is not touched: what the manifest lacks is reported, and the rest
waits for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from slicewise.kube.objects import name, spec
from slicewise.kube.ref import Object, Ref
from slicewise.model.cluster import ClusterContents, Keeper, Release
from slicewise.onboarding import manifests, rbac, releases
from slicewise.onboarding.helm.operator_values import Joined, is_joined, is_marked, join, theirs, union
from slicewise.onboarding.helm.value_paths import at, merged
from slicewise.onboarding.observation import Settings, live
from slicewise.onboarding.releases import Difference
from slicewise.planning.eks_actions import ApplyChartCrds, UpgradeRelease
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy
from slicewise.pools import layout

OPERATOR_CRD = "clusterpolicies.nvidia.com"
# Once may be a person's slip; a writer that does it again will do so for ever.
_MOST_OVERWRITTEN = 2


def all_of(contents: ClusterContents) -> tuple[Release, ...]:
    """GPU Operator's releases, by chart and not by name: it may be installed under any name."""
    return tuple(release for release in contents.releases if release.chart == manifests.OPERATOR)


def of(contents: ClusterContents) -> Release | None:
    """The one release; None where there is none, or where several leave open which it is."""
    found = all_of(contents)
    return found[0] if len(found) == 1 else None


def place(contents: ClusterContents) -> tuple[str, str]:
    """Name and namespace of the operator that serves, or will serve, our nodes."""
    release = of(contents)
    return (release.name, release.namespace) if release else (manifests.OPERATOR, layout.OPERATOR_NAMESPACE)


def keeper(release: Release) -> Keeper | None:
    """The tool that keeps it as a manifest says, also where only the history shows that there is one."""
    if release.keeper is None and release.overwritten >= _MOST_OVERWRITTEN and not is_marked(release):
        return Keeper("Another owner's helm", "the values that it is given", "their top")
    return release.keeper


def is_theirs(release: Release) -> bool:
    return not is_marked(release) or is_joined(release)


def tolerations(contents: ClusterContents, policy: Policy) -> list[Mapping[str, Any]]:
    """What operands must tolerate: our taints, and those of NodePools that the policy adopts."""
    adopted = {pool.adopt for pool in policy.pools if pool.adopt}
    templates = (
        ((spec(pool).get("template") or {}).get("spec") or {})
        for pool in contents.node_pools
        if name(pool) in adopted
    )
    taints = (taint for template in templates for taint in template.get("taints") or ())
    return union(layout.TOLERATIONS, map(_tolerating, taints))


def _tolerating(taint: Mapping[str, Any]) -> dict[str, Any]:
    return {"key": taint.get("key"), "operator": "Exists", "effect": taint.get("effect")}


def joined(contents: ClusterContents, policy: Policy, settings: Settings) -> Joined | None:
    """What becomes of another owner's release; None where there is none, or it is ours."""
    release = of(contents)
    if release is None or not is_theirs(release):
        return None
    # The chart that it runs already needs no other check.
    other = contents.operator_chart if _runs_another(release, settings) and not keeper(release) else None
    return join(policy, release, other, tolerations(contents, policy))


def _runs_another(release: Release, settings: Settings) -> bool:
    ours = settings.gpu_operator.version
    return release.chart_version.removeprefix("v") != ours.removeprefix("v")


# The device plugin's configurations


def their_keys(contents: ClusterContents) -> dict[str, str]:
    """The configurations that the owner wrote, by key: of their ConfigMap, or of the values that make it."""
    release = of(contents)
    if release is None or not is_theirs(release):
        return {}
    owner = theirs(release)
    found = live(contents, their_config_map(release)) if owner.config_map else None
    made = at(owner.values, ("devicePlugin", "config", "data"), None) if owner.config_map else None
    data = (found or {}).get("data") or made or {}
    return {str(key): str(text) for key, text in data.items()} if isinstance(data, Mapping) else {}


def their_config_map(release: Release) -> Ref:
    return layout.CONFIG_MAP._replace(name=theirs(release).config_map, namespace=release.namespace)


def config_maps(contents: ClusterContents) -> tuple[Object, ...]:
    """
    Ours, over all that is there: a key that a node may carry is neither edited nor taken away.

    Where the operator has another namespace than our own, its plugins read the first, and tuning the second:
    what tuning finds is there for the plugins, too.
    """
    _, namespace = place(contents)
    carried = their_keys(contents)
    return tuple(
        layout.config_map(_data(contents, ref), carried, ref.namespace) for ref in config_map_refs(namespace)
    )


def config_map_refs(namespace: str) -> tuple[Ref, ...]:
    refs = (layout.CONFIG_MAP._replace(namespace=namespace), layout.CONFIG_MAP)
    return tuple(dict.fromkeys(refs))


def _data(contents: ClusterContents, ref: Ref) -> Mapping[str, str]:
    return (live(contents, ref) or {}).get("data") or {}


def observed_refs(release: Release | None, policy: Policy) -> tuple[Ref, ...]:
    """
    What a reconcile must `get`, beside what it always does, for a release that is not where ours would be.
    """
    if release is None or not (policy.adopt_gpu_operator or is_marked(release)):
        return ()
    refs = [*config_map_refs(release.namespace)]
    if theirs(release).config_map:
        refs.append(their_config_map(release))
    return (*refs, *rbac.of_release(release.namespace))


# What is done


def difference(contents: ClusterContents, policy: Policy, settings: Settings, now: datetime) -> Difference:
    """Of the release alone. Empty where a tool keeps it."""
    release = of(contents)
    together = joined(contents, policy, settings)
    if release and together and keeper(release):
        return Difference((), together.findings)
    if release and together and (left := driver_restart(contents, release, settings)):
        return Difference((), (left, *together.findings))
    release_name, namespace = place(contents)
    wanted = releases.Wanted(
        release_name,
        namespace,
        settings.gpu_operator,
        together.values if together else _our_values(contents, policy),
        changes=tuple(map(str, together.differences)) if together else (),
        tried_first=together is not None,
    )
    found = releases.difference(release, wanted, now)
    actions = list(found.actions)
    upgrades = any(isinstance(action, UpgradeRelease) for action in actions)
    if upgrades or (OPERATOR_CRD not in contents.crds and not found.requeue_after):
        chart = settings.gpu_operator
        actions.insert(0, ApplyChartCrds(chart.ref, chart.version, "helm itself never upgrades CRDs"))
    findings = (*found.findings, *(together.findings if together else ()))
    return Difference(tuple(actions), findings, found.requeue_after, found.waits_for)


def _our_values(contents: ClusterContents, policy: Policy) -> dict[str, Any]:
    return manifests.operator_values(
        policy, tolerations(contents, policy), nfd=not contents.feature_discovery
    )


def awaited(contents: ClusterContents, policy: Policy, settings: Settings) -> Finding | None:
    """What the manifest of a tool lacks; there are no slices before it says so."""
    release = of(contents)
    together = joined(contents, policy, settings)
    kept = keeper(release) if release else None
    if release is None or kept is None or together is None or not together.written:
        return None
    changes = "; ".join(map(str, together.differences))
    text = json.dumps(together.written, ensure_ascii=False)
    return Finding(
        "gpu-operator-kept",
        f"{kept.tool} manages GPU Operator ({release.namespace}/{release.name}) as {kept.manifest} says, and "
        f"that must say more for slices to come: {changes}.",
        f"Write this into {kept.values} of {kept.manifest}: {text}. The ConfigMap that it names is there. "
        "See that node-feature-discovery's workers tolerate the same. We write nothing that "
        f"{kept.tool} would undo.",
    )


def findings_of_keys(contents: ClusterContents) -> list[Finding]:
    """Keys of ours that were edited, and edits of the owner's that are carried over."""
    _, namespace = place(contents)
    ours, there = layout.device_plugin_configs(), _data(contents, config_map_refs(namespace)[0])
    edited = [
        Finding(
            "device-plugin-key-edited",
            f"Key {key} of {layout.CONFIG_MAP} is not what we wrote. It is left: nodes may run with it.",
            "Put our text back while no node carries this key; an edit reaches a node when its plugin "
            "restarts.",
        )
        for key, text in ours.items()
        if key in there and there[key] != text
    ]
    carried = [
        Finding(
            "device-plugin-key-carried",
            f"Key {key} of the owner's own configurations was edited; ours of that name is updated with it.",
            "Nothing. As with any edit, a node reads it when its device plugin restarts.",
        )
        for key, text in their_keys(contents).items()
        if key not in ours and key in there and there[key] != text
    ]
    return [*edited, *carried]


def driver_restart(contents: ClusterContents, release: Release, settings: Settings) -> Finding | None:
    """
    The driver's DaemonSet carries the chart's version, and any change of it has every driver replaced, the
    pods on its GPUs evicted (gpu-operator, pull request 2527; since then not where nothing else changed).

    Refuses to join. A release that was joined before keeps the chart that it has, and all else goes on.
    """
    if keeper(release) or not contents.driver_nodes or not _runs_another(release, settings):
        return None
    values = merged(release.defaults, theirs(release).values)
    if not at(values, ("driver", "upgradePolicy", "autoUpgrade"), True):
        return None
    ours = settings.gpu_operator.version
    return Finding(
        "drivers-would-restart",
        f"GPU Operator {release.chart_version} runs its own driver on {contents.driver_nodes} nodes. Chart "
        f"{ours} of this deployment would replace the drivers node by node and evict the pods on their "
        "GPUs.",
        f"Upgrade it to {ours} yourself when that suits you, or set driver.upgradePolicy.autoUpgrade: false, "
        "or deploy Slicewise with -c gpu_operator_version and gpu_operator_chart of the one that you run.",
        blocking=not is_marked(release),
    )
