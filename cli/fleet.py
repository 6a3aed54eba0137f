"""Commands about deployed clusters: what the next reconcile would do, and what is asked of it."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Iterator
from typing import Any

from slicewise.app import App
from slicewise.errors import Refused, SlicewiseError
from slicewise.model.capabilities import CAPABILITIES, ONBOARDING
from slicewise.model.cluster import EksCluster
from slicewise.onboarding.observation import Observation, ObserveFailure
from slicewise.planning.actions import Action
from slicewise.planning.eks_actions import TryUpgrade, UpgradeRelease
from slicewise.planning.outcome import Plan
from slicewise.sizes import cut

from cli import tuning
from cli.output import LONGEST_REASON, Answer, finding_lines, findings_value
from cli.terminal import progress


def onboard(app: App, cluster: str) -> Answer:
    trigger = app.trigger(cluster, f"requested by {getpass.getuser()}", forced=True)
    app.ports.queues.send(ONBOARDING, trigger.message())
    line = f"{trigger.name} is queued for a reconcile; slicewise status {trigger.name}"
    return Answer({"cluster": trigger.name, "queued": [ONBOARDING]}, (line,))


def plan(app: App, cluster: str) -> Answer:
    trigger = app.trigger(cluster, "a dry run", forced=True)
    with progress.shown(f"reading {trigger.name}"):
        observation, planned = app.onboarding.dry_run(trigger)
    if observation.is_admin(app.settings.installer_role):
        line = f"{trigger.name}: an installation is under way; slicewise status {trigger.name}"
        return Answer({"cluster": trigger.name, "installing": True}, (line,))
    unread = _unread(observation, app.settings.installer_role, trigger.name)
    if unread.value.get("unplanned"):
        # Not the plan: it would be that of an installer who sees as little as this person.
        return unread
    tried = _tried(app, observation.cluster, planned)
    inner = tuning.plan(app, cluster) if observation.contents and not planned.actions else Answer(None)
    value = {
        **{"cluster": trigger.name, "reason": planned.outcome.reason, **unread.value},
        **{"actions": [_action_value(one) for one in planned.actions], "details": planned.details},
        **{"findings": findings_value(planned.outcome.findings), "tried": tried.value, "tuning": inner.value},
    }
    lines = (*unread.lines, *_plan_lines(trigger.name, planned), *tried.lines, *inner.lines)
    return Answer(value, lines)


def _unread(observation: Observation, installer_role: str, name: str) -> Answer:
    """What this person may not read, and where `unplanned`, that there is no plan without it."""
    error = observation.observe_error
    if not error:
        return Answer({})
    lines = (
        f"{name}: you may not read the cluster ({error.kind}): {error.message}",
        "  An access entry of your own that may read the cluster would show the rest.",
    )
    value = {"unread": {"kind": str(error.kind), "message": error.message}}
    if installer_role in observation.entries or error.kind is ObserveFailure.UNREACHABLE:
        own_view = f"  Slicewise's own view: slicewise status {name}"
        return Answer({"cluster": name, **value, "unplanned": True}, (*lines, own_view))
    return Answer(value, lines)


def _plan_lines(name: str, planned: Plan) -> Iterator[str]:
    # Planned as for a policy that only recommends: its reason would say so, and be wrong.
    yield f"{name}: " + ("the next reconciles would" if planned.actions else planned.outcome.reason)
    for action in planned.actions:
        yield f"  {action}: {action.why}"
        yield from (f"    {change}" for change in _changes(action))
    yield from finding_lines(planned.outcome.findings)
    for detail in planned.details:
        yield f"    GPUs of NodePool {detail['node_pool']}: {detail['gpus_by']}"


def _action_value(action: Action) -> dict[str, Any]:
    changes = _changes(action)
    return {"action": str(action), "why": action.why} | ({"changes": changes} if changes else {})


def _changes(action: Action) -> list[str]:
    return [str(one) for one in action.changes] if isinstance(action, UpgradeRelease) else []


def _tried(app: App, cluster: EksCluster | None, planned: Plan) -> Answer:
    """With the caller's own rights, helm and chart, which may be none."""
    actions = [one for one in planned.actions if isinstance(one, TryUpgrade)] if cluster else []
    answers = [_try(app, cluster, action) for action in actions if cluster]
    return Answer([one.value for one in answers], tuple(line for one in answers for line in one.lines))


def _try(app: App, cluster: EksCluster, action: TryUpgrade) -> Answer:
    what = f"  tried on the API server, writing nothing: {action.name} {action.version}"
    value = {"release": action.name, "version": action.version}
    helm = app.ports.helm(cluster)
    try:
        helm.try_upgrade(action.name, action.namespace, action.chart, action.version, action.values)
    except Refused as refused:
        line = f"  not tried on the API server: {refused}. The installer does before it writes"
        return Answer(value | {"taken": None, "why": str(refused)}, (line,))
    except SlicewiseError as error:
        return Answer(value | {"taken": False, "why": str(error)}, (f"{what} is refused: {error}",))
    return Answer(value | {"taken": True}, (f"{what} is taken",))


def pause(app: App, arguments: argparse.Namespace) -> Answer:
    reason = cut(arguments.reason, LONGEST_REASON) or f"by {getpass.getuser()}"
    app.ports.store.pause(_which(app, arguments), reason, arguments.keep_asleep)
    line = f"{_named(arguments)} paused; running workloads keep running, and nothing is changed until resumed"
    sleepers = _sleepers(app, arguments)
    value = {"paused": arguments.cluster or "all", "reason": reason, "asleep": sleepers.value}
    return Answer(value, (line, *sleepers.lines))


def _sleepers(app: App, arguments: argparse.Namespace) -> Answer:
    """What sleeps while it is paused. It is paused already: that is reported, no matter what fails here."""
    try:
        names = app.ports.eks.cluster_names() if arguments.all else (arguments.cluster,)
        asleep = {app.trigger(name, "").name: _sleepers_of(app, name) for name in names}
    except SlicewiseError as error:
        return Answer(None, (f"what sleeps could not be read: {error}",))
    lines = [line for name, refs in asleep.items() for line in _sleeper_lines(name, refs, arguments)]
    return Answer(asleep, tuple(lines))


def _sleepers_of(app: App, cluster: str) -> list[str]:
    kept = app.ports.sleep.snapshots(app.trigger(cluster, "").cluster)
    return sorted({str(one.ref) for one in kept if one.ref.kind != "NodePool" and not one.woken})


def _sleeper_lines(cluster: str, names: list[str], arguments: argparse.Namespace) -> Iterator[str]:
    """And what becomes of it."""
    if not names:
        return
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    yield f"{cluster}: {len(names)} asleep: {', '.join(names[:5])}{more}"
    if arguments.keep_asleep:
        yield f"  They stay asleep until slicewise resume {cluster}."
    else:
        yield "  They wake as the calendar says. To keep them asleep: pause with --keep-asleep."


def resume(app: App, arguments: argparse.Namespace) -> Answer:
    cluster = _which(app, arguments)
    app.ports.store.resume(cluster)
    if cluster:
        for capability in CAPABILITIES:
            app.ports.queues.send(capability, app.trigger(cluster, "resumed").message())
    else:
        app.sweep()
    return Answer({"resumed": arguments.cluster or "all"}, (f"{_named(arguments)} resumed",))


def _which(app: App, arguments: argparse.Namespace) -> str | None:
    return None if arguments.all else app.trigger(arguments.cluster, "").cluster


def _named(arguments: argparse.Namespace) -> str:
    return "the fleet is" if arguments.all else f"{arguments.cluster} is"
