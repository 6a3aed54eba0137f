"""What is done about one helm release: repaired, installed, upgraded, or left unchanged. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from slicewise.model.cluster import Release
from slicewise.onboarding import versions
from slicewise.onboarding.helm.operator_values import is_marked
from slicewise.onboarding.observation import Chart
from slicewise.planning.actions import Action
from slicewise.planning.eks_actions import RollbackRelease, TryUpgrade, UpgradeRelease
from slicewise.planning.outcome import Finding

# As long as the installer's function may run, and so any helm of ours.
LONGEST_HELM = timedelta(minutes=15)
_SOON = timedelta(seconds=30)


@dataclass(frozen=True)
class Difference:
    """
    Actions that bring a cluster to its policy, and what is left unchanged, with the reason.

    Attributes:
        requeue_after: When to reconcile again where nothing is to be done now, since something is pending.
        waits_for: What that is, for people.
    """

    actions: tuple[Action, ...]
    findings: tuple[Finding, ...]
    requeue_after: timedelta | None = None
    waits_for: str = ""


@dataclass(frozen=True)
class Wanted:
    """
    A release as it shall be.

    Attributes:
        take_ownership: Take over objects that helm did not make.
        changes: Each value that the upgrade changes, in words; only of another owner's release.
        tried_first: Have the API server check it before anything is written.
    """

    name: str
    namespace: str
    chart: Chart
    values: Mapping[str, Any]
    take_ownership: bool = False
    changes: tuple[str, ...] = ()
    tried_first: bool = False


def difference(release: Release | None, wanted: Wanted, now: datetime) -> Difference:
    """Roll back what a killed helm left, then install, upgrade or leave unchanged; never downgrade."""
    name, namespace, chart = wanted.name, wanted.namespace, wanted.chart
    if release and versions.is_newer(release.chart_version, chart.version):
        newer = Finding(
            "release-newer",
            f"{namespace}/{name} is {release.chart_version}, newer than the {chart.version} of this "
            "deployment.",
            "It is left unchanged, since Slicewise never downgrades. Deploy Slicewise with that version.",
        )
        return Difference((), (newer,))
    actions: list[Action] = []
    if release and release.pending:
        if left := time_left(release, now):
            found = _at_work(release)
            return Difference((), (found,), max(left, _SOON), f"a helm is at work: {found.message}")
        actions.append(RollbackRelease(name, namespace, f"a killed helm left it {release.status}"))
    why = _why_upgrade(release, chart, wanted.values)
    if why:
        what = (name, namespace, chart.ref, chart.version, wanted.values)
        if wanted.tried_first:
            actions.append(TryUpgrade(*what, "a mistake of ours shall change nothing that is not ours"))
        actions.append(UpgradeRelease(*what, why, wanted.take_ownership, wanted.changes))
    return Difference(tuple(actions), _unchecked(name, chart) if why else ())


def time_left(release: Release, now: datetime) -> timedelta | None:
    """
    How long a pending release may still be another owner's running helm; None where it was killed for
    certain.

    Only we install a release with our mark, and none of ours runs while this reconcile holds the lease.
    """
    ours = is_marked(release) and release.status == "pending-install" and release.revision == 1
    if ours or release.changed_at is None:
        return None
    left = release.changed_at + LONGEST_HELM - now
    return left if left > timedelta(0) else None


def _at_work(release: Release) -> Finding:
    return Finding(
        "helm-at-work",
        f"A helm is at work on {release.namespace}/{release.name}, or was killed: its release is "
        f"{release.status} since {release.changed_at:%H:%M:%SZ}.",
        f"Nothing: it is left for {LONGEST_HELM.seconds // 60} minutes, as long as a helm of ours may run, "
        "and then rolled back.",
    )


def _unchecked(name: str, chart: Chart) -> tuple[Finding, ...]:
    """Cluster admin is lent to what an address on the network answers with."""
    if not chart.is_unchecked:
        return ()
    key = f"{name.replace('-', '_')}_sha256"
    pull = f"helm pull {chart.ref} --version {chart.version} && sha256sum {name}-*.tgz"
    show = f"curl -fsSL {chart.ref} | sha256sum" if chart.ref.startswith("https://") else pull
    return (
        Finding(
            "chart-unchecked",
            f"Chart {name} {chart.version} is installed as it comes from {chart.ref}: this deployment names "
            "no sha256 of it.",
            f"Check what `{show}` prints, and deploy with -c {key}=<those digits>.",
        ),
    )


def _why_upgrade(release: Release | None, chart: Chart, values: Mapping[str, Any]) -> str | None:
    if release is None:
        return "it is not there"
    # A chart may call itself v1.2.3 or 1.2.3, and a deployment either.
    if release.chart_version.removeprefix("v") != chart.version.removeprefix("v"):
        return f"{release.chart_version} becomes {chart.version}"
    if release.values != values:
        return "its values differ from ours"
    if release.status != "deployed":
        return f"it is {release.status}"
    return None
