"""A GPU Operator that we joined, made what it was: where its cluster is offboarded. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from slicewise.kube.objects import labels, name
from slicewise.model.cluster import ClusterContents, Release
from slicewise.onboarding.helm.operator_values import Theirs, is_joined, is_marked, theirs
from slicewise.onboarding.observation import Settings
from slicewise.onboarding.operator.release import of, their_keys
from slicewise.onboarding.releases import Difference, time_left
from slicewise.planning.actions import Action
from slicewise.planning.eks_actions import RollbackRelease, TryUpgrade, UpgradeRelease
from slicewise.planning.outcome import Finding
from slicewise.pools import layout


def give_back(
    contents: ClusterContents, revisions: Iterable[Release], settings: Settings, now: datetime
) -> Difference:
    """
    What restores a joined release, once no node carries a key of ours alone.

    The values that were saved with the release come back, with what the owner has changed since, on the chart
    that runs now. Where that is another than it was, and by us, the very revision of before comes back if
    helm still keeps it. What would restart drivers, or needs a chart that is not ours to have, is its owner's
    to do.

    Args:
        revisions: Of the release, as helm keeps them.
    """
    release = of(contents)
    if release is None or not is_joined(release):
        return Difference((), ())
    if still := _carriers(contents):
        return Difference((), (_still_carried(still),))
    if release.pending and (left := time_left(release, now)):
        return Difference((), (_at_work(release),), left)
    owner, chart = theirs(release), settings.gpu_operator
    if not _is_same(release.chart_version, chart.version):
        return Difference((), (_by_hand(release, "its chart is not the one of this deployment"),))
    why = "it is restored to the values that it had"
    kept = {one.revision: one for one in revisions}.get(owner.revision)
    another = bool(owner.chart_version) and not _is_same(owner.chart_version, release.chart_version)
    unchanged = kept is not None and kept.values == owner.values and not is_marked(kept)
    if another and unchanged:
        if contents.driver_nodes:
            return Difference(
                (), (_by_hand(release, f"drivers of {contents.driver_nodes} nodes would restart"),)
            )
        back: Action = RollbackRelease(release.name, release.namespace, why, owner.revision)
        return Difference((back,), tuple(_lost(owner, release, False)))
    what = (release.name, release.namespace, chart.ref, chart.version, owner.values)
    tried = TryUpgrade(*what, "a mistake of ours shall change nothing that is not ours")
    return Difference((tried, UpgradeRelease(*what, why)), tuple(_lost(owner, release, another)))


def _is_same(one: str, other: str) -> bool:
    """A chart may call itself v1.2.3 or 1.2.3."""
    return one.removeprefix("v") == other.removeprefix("v")


def _at_work(release: Release) -> Finding:
    return Finding(
        "helm-at-work",
        f"A helm is at work on {release.namespace}/{release.name}: it is {release.status}.",
        "No action needed: Slicewise continues once it has ended.",
    )


def _by_hand(release: Release, why: str) -> Finding:
    name, where = release.name, f"-n {release.namespace}"
    return Finding(
        "gpu-operator-by-hand",
        f"{release.namespace}/{name} is not restored by us: {why} ({release.chart_version}).",
        f"helm get values {name} {where} -o json | jq .slicewise.before > before.json; helm upgrade {name} "
        f"<its chart> --version {release.chart_version} {where} --reset-values -f before.json. "
        "Then: slicewise offboard CLUSTER.",
    )


def _carriers(contents: ClusterContents) -> list[str]:
    theirs_too = their_keys(contents)
    return [
        name(item)
        for item in (*contents.nodes, *contents.node_claims)
        if (key := labels(item).get(layout.CONFIG_LABEL)) and key not in theirs_too
    ]


def _still_carried(carriers: list[str]) -> Finding:
    return Finding(
        "device-plugin-key-in-use",
        f"{len(carriers)} nodes, such as {carriers[0]}, are labelled with a configuration of ours: without "
        "it their device plugins would not start.",
        "GPU Operator is restored once they are deleted, or labelled otherwise.",
    )


def _lost(owner: Theirs, release: Release, newer: bool) -> Iterable[Finding]:
    if not owner.is_whole:
        yield Finding(
            "original-unreadable",
            f"What the values of {release.namespace}/{release.name} were before us was not saved: they stay "
            "as they are, without our mark.",
            f"See helm history {release.name} -n {release.namespace}, and set what you want.",
        )
    if newer:
        yield Finding(
            "chart-stays",
            f"{release.namespace}/{release.name} was {owner.chart_version} before us, and helm keeps that "
            f"revision no more: it gets its values back and stays {release.chart_version}.",
            "Nothing, or install the older chart with these values.",
        )
