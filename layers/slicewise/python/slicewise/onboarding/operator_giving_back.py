"""A GPU Operator that we joined, made what it was: where its cluster is offboarded. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from slicewise import layout
from slicewise.actions import Action
from slicewise.installations import RollbackRelease, UpgradeRelease
from slicewise.model import ClusterContents, Release
from slicewise.objects import labels, name
from slicewise.onboarding.operator_release import of, their_keys
from slicewise.onboarding.operator_values import Theirs, is_joined, is_marked, theirs
from slicewise.onboarding.releases import Difference
from slicewise.onboarding.world import Settings
from slicewise.outcomes import Finding


def give_back(contents: ClusterContents, revisions: Iterable[Release], settings: Settings) -> Difference:
    """
    What makes a joined release what it was, once no node carries a key of ours alone.

    The values that were kept with the release come back, with what the owner has changed since. Where its
    chart has become another by us, the very revision of before comes back if helm still keeps it.

    Args:
        revisions: Of the release, as helm keeps them.
    """
    release = of(contents)
    if release is None or not is_joined(release):
        return Difference((), ())
    if still := _carriers(contents):
        return Difference((), (_still_carried(still),))
    owner = theirs(release)
    why = "it is given back with the values that it had"
    kept = {one.revision: one for one in revisions}.get(owner.revision)
    another = owner.chart_version and owner.chart_version != release.chart_version
    unchanged = kept is not None and kept.values == owner.values and not is_marked(kept)
    if another and kept is not None and unchanged:
        back: Action = RollbackRelease(release.name, release.namespace, why, owner.revision)
    else:
        chart = settings.gpu_operator
        back = UpgradeRelease(release.name, release.namespace, chart.ref, chart.version, owner.values, why)
    return Difference((back,), tuple(_lost(owner, release, bool(another and not unchanged))))


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
        "GPU Operator is given back once they are gone, or labelled otherwise.",
    )


def _lost(owner: Theirs, release: Release, newer: bool) -> Iterable[Finding]:
    if not owner.is_whole:
        yield Finding(
            "original-unreadable",
            f"What the values of {release.namespace}/{release.name} were before us was not kept: they stay "
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
