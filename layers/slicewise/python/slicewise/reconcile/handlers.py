"""What each action of a plan is, as one call of a port."""

from __future__ import annotations

from collections.abc import Mapping

from slicewise.errors import Conflict
from slicewise.kube import kinds
from slicewise.kube.objects import UNFINISHED, asked, being_deleted, labels, name
from slicewise.planning.actions import (
    Action,
    Apply,
    ClaimsCarry,
    Delete,
    DeleteAlarm,
    DeleteOpening,
    DeleteSchedule,
    DeleteSnapshot,
    DeleteState,
    Notify,
    Patch,
    PutAlarm,
    PutOpening,
    PutSchedule,
    SaveSnapshot,
    Scale,
    SetClass,
    SlotsFit,
    Wake,
)
from slicewise.pools import layout
from slicewise.ports import Kubernetes
from slicewise.reconcile.connection import Connection, Handler
from slicewise.trigger import Trigger


def _apply(connection: Connection, action: Apply | SetClass) -> None:
    connection.kubernetes.apply(action.object)


def _patch(connection: Connection, action: Patch) -> None:
    _check(connection.kubernetes, action.guard)
    connection.kubernetes.patch(action.ref, action.operations, action.subresource)


def _scale(connection: Connection, action: Scale) -> None:
    connection.kubernetes.scale(action.ref, action.seen, action.replicas)


def _delete(connection: Connection, action: Delete) -> None:
    connection.kubernetes.delete(action.ref)


def _put_schedule(connection: Connection, action: PutSchedule) -> None:
    message = Trigger(connection.trigger.cluster, action.why).message()
    connection.ports.schedules.put(connection.trigger.name, action.at, message)


def _delete_schedule(connection: Connection, action: DeleteSchedule) -> None:
    connection.ports.schedules.delete(connection.trigger.name)


def _put_opening(connection: Connection, action: PutOpening) -> None:
    connection.ports.sleep.put_opening(connection.trigger.cluster, action.opening)


def _delete_opening(connection: Connection, action: DeleteOpening) -> None:
    connection.ports.sleep.delete_opening(connection.trigger.cluster)


def _save_snapshot(connection: Connection, action: SaveSnapshot) -> None:
    connection.ports.sleep.keep(connection.trigger.cluster, action.snapshot)


def _delete_snapshot(connection: Connection, action: DeleteSnapshot) -> None:
    connection.ports.sleep.delete_snapshot(connection.trigger.cluster, action.snapshot)


def _notify(connection: Connection, action: Notify) -> None:
    connection.ports.notices.publish(action.subject, action.text)


def _put_alarm(connection: Connection, action: PutAlarm) -> None:
    connection.ports.alarms.put(action.alarm)


def _delete_alarm(connection: Connection, action: DeleteAlarm) -> None:
    connection.ports.alarms.delete(action.name)


def _delete_state(connection: Connection, action: DeleteState) -> None:
    connection.ports.store.delete_state(connection.trigger.cluster)


def _wake(connection: Connection, action: Wake) -> None:
    trigger = Trigger(connection.trigger.cluster, action.why)
    connection.ports.queues.send(action.capability, trigger.message(), action.after)


HANDLERS: Mapping[type[Action], Handler] = {
    Apply: _apply,
    SetClass: _apply,
    Patch: _patch,
    Scale: _scale,
    Delete: _delete,
    PutSchedule: _put_schedule,
    DeleteSchedule: _delete_schedule,
    PutOpening: _put_opening,
    DeleteOpening: _delete_opening,
    SaveSnapshot: _save_snapshot,
    DeleteSnapshot: _delete_snapshot,
    Notify: _notify,
    PutAlarm: _put_alarm,
    DeleteAlarm: _delete_alarm,
    DeleteState: _delete_state,
    Wake: _wake,
}


# What a disruptive write rests on, read again now


def _check(kubernetes: Kubernetes, guard: SlotsFit | ClaimsCarry | None) -> None:
    match guard:
        case SlotsFit():
            _check_slots(kubernetes, guard)
        case ClaimsCarry():
            _check_claims(kubernetes, guard)


def _check_slots(kubernetes: Kubernetes, guard: SlotsFit) -> None:
    pods = kubernetes.list(*kinds.POD, fields=f"spec.nodeName={guard.node},{UNFINISHED}")
    used = sum(asked(pod, guard.resource) for pod in pods)
    if used > guard.most:
        raise Conflict(f"{used} slices of node {guard.node} are in use, more than {guard.most}")


def _check_claims(kubernetes: Kubernetes, guard: ClaimsCarry) -> None:
    of_pool = f"{layout.NODE_POOL_LABEL}={guard.node_pool}"
    claims = kubernetes.list(*kinds.NODE_CLAIM, labels=of_pool)
    others = [
        name(claim)
        for claim in claims
        if not being_deleted(claim) and labels(claim).get(layout.CONFIG_LABEL) != guard.key
    ]
    if others:
        raise Conflict(f"NodeClaim {others[0]} of {guard.node_pool} does not carry {guard.key} yet")
