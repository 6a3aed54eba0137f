"""Have everything of ours leave clusters."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from slicewise.app import App
from slicewise.errors import SlicewiseError
from slicewise.kube.labels import POLICY_TAG
from slicewise.model.capabilities import OFF_HOURS, ONBOARDING, TUNING
from slicewise.model.cluster import OFFBOARD, EksCluster
from slicewise.planning.outcome import Stage
from slicewise.trigger import name_of

from cli.output import Answer, actions_value, finding_lines, findings_value
from cli.terminal import progress

_ORDER = (OFF_HOURS, TUNING, ONBOARDING)
_TERRAFORM = (
    f"Where a tool such as Terraform keeps the cluster's tags, write {POLICY_TAG} = {OFFBOARD!r} there, too: "
    "with the tag as it was, the cluster is onboarded again."
)


def offboard(app: App, arguments: argparse.Namespace) -> Answer:
    """Returns 1 where one of the clusters cannot be offboarded, or is not there."""
    names = sorted(_known(app)) if arguments.all else [arguments.cluster]
    if not names:
        return Answer({"clusters": []}, ("no cluster is recorded: nothing is to be offboarded",))
    does = _would if arguments.dry_run else _begin
    answers = [_one(app, app.trigger(name, "").name, does) for name in names]
    lines = tuple(line for answer in answers for line in answer.lines)
    return Answer({"clusters": [one.value for one in answers]}, lines, max(one.status for one in answers))


def _one(app: App, name: str, does: Callable[[App, str], Answer]) -> Answer:
    """What fails of one cluster hides nothing of the others."""
    try:
        if app.ports.eks.describe(name) is None:
            return _no(name, "EKS knows no such cluster")
        with progress.shown(f"reading {name}"):
            return does(app, name)
    except SlicewiseError as error:
        return replace(_no(name, f"{type(error).__name__}: {error}"), status=2)


def _no(name: str, why: str) -> Answer:
    return Answer({"cluster": name, "offboards": False, "why": why}, (f"{name}: {why}",), 1)


def _known(app: App) -> set[str]:
    """Clusters that EKS lists and of which anything is recorded."""
    recorded = {name_of(r.cluster) for r in app.ports.store.records() if r.stage != Stage.DELETED}
    return recorded & set(app.ports.eks.cluster_names())


def _begin(app: App, name: str) -> Answer:
    cluster = app.ports.eks.describe(name)
    trigger = app.trigger(name, f"offboarding requested by {getpass.getuser()}", forced=True)
    if not (cluster and cluster.offboards):
        app.ports.eks.tag(name, POLICY_TAG, OFFBOARD)
    if reason := app.ports.store.paused(trigger.cluster):
        why = f"is tagged {OFFBOARD!r}, but is paused ({reason}): slicewise resume {name}"
        return replace(_no(name, why), lines=(f"{name} {why}",))
    # What sleeps first: tuning and onboarding wait for it.
    for capability in _ORDER:
        app.ports.queues.send(capability, trigger.message())
    line = f"{name} is being offboarded; slicewise status {name} shows what is pending"
    return Answer({"cluster": name, "offboards": True}, (line, f"  {_TERRAFORM}"))


def _would(app: App, name: str) -> Answer:
    asked = replace(app, ports=replace(app.ports, eks=_Tagged(app.ports.eks, name)), as_person=True)
    answers = [_would_by(asked, name, capability) for capability in _ORDER]
    lines = tuple(line for answer in answers for line in answer.lines)
    value = {"cluster": name, "would": [one.value for one in answers]}
    return Answer(value, lines, max(one.status for one in answers))


def _would_by(app: App, name: str, capability: str) -> Answer:
    try:
        _, planned = app.reconciler(capability).dry_run(app.trigger(name, "a dry run", forced=True))
    except SlicewiseError as error:
        line = f"{name}: {capability}: you may not read the cluster: {error}"
        return Answer({"capability": capability, "unread": str(error)}, (line,), 1)
    outcome = planned.outcome
    value = {
        **{"capability": capability, "reason": outcome.reason},
        **{"actions": actions_value(planned.actions), "findings": findings_value(outcome.findings)},
    }
    lines = (
        f"{name}: {capability}: {outcome.reason}",
        *(f"  {action}: {action.why}" for action in planned.actions),
        *finding_lines(outcome.findings),
    )
    return Answer(value, lines)


class _Tagged:
    """EKS as it would answer, were this cluster tagged."""

    def __init__(self, eks: Any, name: str) -> None:
        self._eks, self._name = eks, name

    def __getattr__(self, call: str) -> Any:
        return getattr(self._eks, call)

    def describe(self, name: str) -> EksCluster | None:
        found: EksCluster | None = self._eks.describe(name)
        if found is None or name != self._name:
            return found
        tags: Mapping[str, str] = {**found.tags, POLICY_TAG: OFFBOARD}
        return replace(found, tags=tags)
