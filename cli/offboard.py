"""Have everything of ours leave clusters."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slicewise.app import App
from slicewise.errors import Refused, SlicewiseError
from slicewise.kube.labels import POLICY_TAG
from slicewise.model.capabilities import OFF_HOURS, ONBOARDING, TUNING
from slicewise.model.cluster import OFFBOARD, EksCluster
from slicewise.planning.outcome import Stage
from slicewise.trigger import name_of

from cli.output import print_findings

_ORDER = (OFF_HOURS, TUNING, ONBOARDING)
_TERRAFORM = (
    f"Where a tool such as Terraform keeps the cluster's tags, write {POLICY_TAG} = {OFFBOARD!r} there, too: "
    "with the tag as it was, the cluster is onboarded again."
)


def offboard(app: App, arguments: argparse.Namespace) -> int:
    """Returns 1 where one of the clusters cannot be offboarded, or is not there."""
    names = sorted(_known(app)) if arguments.all else [arguments.cluster]
    if not names:
        print("no cluster is recorded: nothing is to be offboarded")
        return 0
    does = _would if arguments.dry_run else _begin
    return max(does(app, app.trigger(name, "").name) for name in names)


def _known(app: App) -> set[str]:
    """Clusters that EKS lists and of which anything is recorded."""
    recorded = {name_of(r.cluster) for r in app.ports.store.records() if r.stage != Stage.DELETED}
    return recorded & set(app.ports.eks.cluster_names())


def _begin(app: App, name: str) -> int:
    cluster = app.ports.eks.describe(name)
    if cluster is None:
        print(f"{name}: EKS knows no such cluster")
        return 1
    trigger = app.trigger(name, f"offboarding requested by {getpass.getuser()}", forced=True)
    if not cluster.offboards:
        app.ports.eks.tag(name, POLICY_TAG, OFFBOARD)
    if reason := app.ports.store.paused(trigger.cluster):
        print(f"{name} is tagged {OFFBOARD!r}, but is paused ({reason}): slicewise resume {name}")
        return 1
    # What sleeps first: tuning and onboarding wait for it.
    for capability in _ORDER:
        app.ports.queues.send(capability, trigger.message())
    print(f"{name} is being offboarded; slicewise status {name} shows what is pending")
    print(f"  {_TERRAFORM}")
    return 0


def _would(app: App, name: str) -> int:
    if app.ports.eks.describe(name) is None:
        print(f"{name}: EKS knows no such cluster")
        return 1
    asked = replace(app, ports=replace(app.ports, eks=_Tagged(app.ports.eks, name)), as_person=True)
    status = 0
    for capability in _ORDER:
        try:
            _, planned = asked.reconciler(capability).dry_run(asked.trigger(name, "a dry run", forced=True))
        except (Refused, SlicewiseError) as error:
            print(f"{name}: {capability}: you may not read the cluster: {error}")
            status = 1
            continue
        print(f"{name}: {capability}: {planned.outcome.reason}")
        for action in planned.actions:
            print(f"  {action}: {action.why}")
        print_findings(planned.outcome.findings)
    return status


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
