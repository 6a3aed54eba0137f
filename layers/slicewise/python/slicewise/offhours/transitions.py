"""
One field of one object: how it is put to sleep, and how it is restored. Pure.

What is there, the snapshot, and who wrote last decide; nothing else. So each step may be the last one that a
reconcile does, and the next reconcile goes on:

    no snapshot      save one, write, note as done
    saved, not done  the original is there: write. Ours is there: note as done. Another: save that instead
    saved and done   ours is there: asleep. Another: that is intended, and it stays for this window
    waking           ours is there: restore. Another: that is intended. Either way note as woken
    resuming         what is to be resumed at is ours now; once its target has that count, restore
    woken            left unchanged at any value, and the snapshot is deleted once the night has ended

Whether a value that equals ours is ours, the API server knows: it records who last changed a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from slicewise.kube import json_patch
from slicewise.kube.labels import ASLEEP_WAS
from slicewise.kube.objects import annotations_of, controller_of, labels
from slicewise.kube.ref import Object, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.kinds import makes_jobs
from slicewise.offhours.sleep_fields import Setting
from slicewise.planning.actions import Action, DeleteSnapshot, Patch, SaveSnapshot
from slicewise.planning.outcome import Finding

_GITOPS_MANAGERS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
}

# A part of its own: once the table has again what it lacked, nothing shows that it did not. So what is
# written back waits until the operators were notified.
RECOVERY = "what the table has lost"
# In place of its end, of a sleep that lasts until a person wakes the cluster.
FOR_EVER = "for ever"


@dataclass(frozen=True)
class Window:
    """
    A sleep.

    Attributes:
        id: When it ends, as text, or FOR_EVER: the same in every reconcile of the sleep.
    """

    id: str
    now: datetime


@dataclass(frozen=True)
class Step:
    """
    Attributes:
        settled: As far as this field goes, the object sleeps or is awake once the actions are done.
        waits: What the next step needs first, in words; empty where it needs nothing.
    """

    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    settled: bool = True
    waits: str = ""


def after(step: Step, live: Object) -> Object:
    """What a step leaves of its object: the next one, of another field, must expect just that."""
    for action in step.actions:
        if isinstance(action, Patch):
            live = json_patch.after(live, action.operations)
    return live


def put_to_sleep(
    setting: Setting,
    live: Object,
    snapshot: Snapshot | None,
    window: Window,
    why: str,
    priority: int = 0,
    slices: int = 0,
    resume_at: str = "",
) -> Step:
    """
    Args:
        resume_at: As of Snapshot, where there is none yet.
    """
    value, ours = setting.value(live), setting.asleep
    if snapshot and not snapshot.intact:
        return Step(findings=(damaged(snapshot),), settled=False)
    if (
        snapshot is None
        or _has_ended(setting, live, snapshot, window)
        or (not snapshot.done and value not in (ours, snapshot.original, *snapshot.earlier))
    ):
        if value == ours:
            return _left_to_a_person(setting, live, snapshot, "a person or a tool has put it to sleep since")
        # What was created again this night has no pods that would say at which count it ran.
        is_tonights = snapshot and snapshot.window == window.id and not snapshot.woken
        count = resume_at or (snapshot.resume_at if snapshot and is_tonights else "")
        fresh = _snapshot(setting, live, snapshot, window, priority, slices, count)
        return Step(_write(setting, live, fresh, why, keep=True))
    if snapshot.done:
        lost = SaveSnapshot(snapshot.as_done(), "the table lacks it", RECOVERY)
        return Step(
            (lost,) if snapshot.recovered else (),
            () if value == ours else (_touched(setting, live, snapshot),),
        )
    if value != ours:
        return Step(_write(setting, live, snapshot, why, keep=False))
    if _as_we_left_it(setting, live, snapshot):
        return Step((SaveSnapshot(snapshot.as_done(), why),))
    return _left_to_a_person(setting, live, snapshot, "a person or a tool had put it to sleep already")


def _has_ended(setting: Setting, live: Object, snapshot: Snapshot, window: Window) -> bool:
    """
    A snapshot of an earlier sleep, from which only a person has woken it, or of an object that is deleted, or
    woken by us: that sleep has ended, and what is there now sleeps like anything new.
    """
    is_another = snapshot.window != window.id or snapshot.uid != _uid(live)
    return bool(snapshot.woken) or (is_another and not _as_we_left_it(setting, live, snapshot))


def _left_to_a_person(setting: Setting, live: Object, snapshot: Snapshot | None, why: str) -> Step:
    return Step((*setting.unnote(live, why), DeleteSnapshot(snapshot, why))) if snapshot else Step()


def write_otherwise(
    setting: Setting, live: Object, snapshot: Snapshot, why: str, now: datetime
) -> Step | None:
    """
    Another value of ours in place of the one that is there; None where it is not there, or not ours. What it
    was before the sleep stays in the snapshot.
    """
    written = snapshot.done or setting.value(live) in snapshot.earlier
    if not snapshot.intact or not written or not _as_we_left_it(setting, live, snapshot):
        return None
    fresh = replace(snapshot.with_ours(setting.asleep), taken_at=now)
    return Step(_write(setting, live, fresh, why, keep=True))


def give_back(
    setting: Setting,
    live: Object | None,
    snapshot: Snapshot,
    why: str,
    morning: str = "",
    follows: bool = True,
) -> Step:
    """
    Args:
        morning: When the night will be over, as text, while it is not: until then what was woken is
            remembered. Empty removes the record.
        follows: Whether what the field rules has reached what is written before the original.
    """
    if not snapshot.intact:
        return Step(findings=(damaged(snapshot),), settled=False)

    def done(reason: str) -> Action:
        return (
            SaveSnapshot(snapshot.as_woken(morning), reason) if morning else DeleteSnapshot(snapshot, reason)
        )

    if snapshot.woken:
        return Step() if morning else Step((done("the night has ended"),))
    if live is None:
        return Step(
            (done("the object is deleted"),), () if setting.derived else (_deleted_while_asleep(snapshot),)
        )
    if _as_we_left_it(setting, live, snapshot):
        findings = (_recreated(snapshot),) if _uid(live) != snapshot.uid else ()
        if setting.resumed_at(snapshot) is not None and not follows:
            return _resume(setting, live, snapshot, why, findings)
        write = setting.write(live, snapshot.original, why, made=snapshot.made)
        return Step((write, done("it is as it was")), findings)
    noted = setting.unnote(live, why)
    if setting.value(live) == snapshot.original:
        return Step((*noted, done("it is as it was")))
    return Step(
        (*noted, done("a person or a tool has changed it since")), (_person_won(setting, live, snapshot),)
    )


def _resume(
    setting: Setting, live: Object, snapshot: Snapshot, why: str, findings: tuple[Finding, ...]
) -> Step:
    """
    KEDA 2.21 starts at its minimum where only its pause is removed, and stays at 0 for good where its user
    has paused it as well. KubeRay 1.5 leaves a cluster suspended until the field is there and false.
    """
    first = setting.resumed_at(snapshot)
    waits = f"{setting.controller} has yet to follow {snapshot.ref}"
    if setting.value(live) == first:
        return Step((), (_does_not_follow(setting, snapshot),), settled=False, waits=waits)
    is_kept = snapshot.ours == first
    fresh = snapshot if is_kept else snapshot.with_ours(first)
    actions = _write(replace(setting, asleep=first), live, fresh, why, keep=not is_kept)
    return Step(actions, findings, settled=False, waits=waits)


def _snapshot(
    setting: Setting,
    live: Object,
    snapshot: Snapshot | None,
    window: Window,
    priority: int,
    slices: int,
    resume_at: str,
) -> Snapshot:
    return Snapshot(
        ref=ref_of(live),
        field=setting.field,
        uid=_uid(live),
        original=setting.value(live),
        ours=setting.asleep,
        window=window.id,
        taken_at=window.now,
        priority=priority,
        slices=slices,
        version=snapshot.version + 1 if snapshot else 1,
        resume_at=resume_at if setting.resumes and setting.value(live) is None else "",
        made=setting.made_for(live),
    ).sealed()


def _write(setting: Setting, live: Object, snapshot: Snapshot, why: str, keep: bool) -> tuple[Action, ...]:
    first = (SaveSnapshot(snapshot, "what it was is written down before it is changed"),) if keep else ()
    write = setting.write(live, setting.asleep, why, note=snapshot)
    return (*first, write, SaveSnapshot(snapshot.as_done(), why))


def _as_we_left_it(setting: Setting, live: Object, snapshot: Snapshot) -> bool:
    """An object that was recreated as it slept was copied asleep: no one meant to keep it so."""
    if setting.value(live) not in (snapshot.ours, *snapshot.earlier):
        return False
    return _uid(live) != snapshot.uid or setting.written_by_us(live)


def _uid(item: Object) -> str:
    return str(item["metadata"].get("uid") or "")


# What is reported


def _touched(setting: Setting, live: Object, snapshot: Snapshot) -> Finding:
    tool, manager = _gitops_tool(setting, live), _manager_by_marks(live)
    value = _formatted(setting.value(live))
    if tool:
        return Finding(
            "gitops-wakes-it",
            f"{tool} has set {snapshot.field} of {snapshot.ref} to {value} while it slept; we defer to it.",
            f"Configure {tool} to ignore {snapshot.field}: docs/off-hours.md has the setting.",
        )
    writers = sorted(setting.managers(live))
    owner = controller_of(live)
    if owner and not (makes_jobs(owner) or setting.derived) and setting.value(live) == snapshot.original:
        return _put_back(snapshot, value, writers, owner)
    by = (
        f"by {', '.join(writers)}"
        if writers
        else "by a user or a controller that the API server does not name"
    )
    maybe = f" It is managed by {manager}, which may have done it." if manager and not writers else ""
    return Finding(
        "woken-by-somebody",
        f"{snapshot.ref} has {snapshot.field} {value}, set while it slept {by}; it is left unchanged.{maybe}",
        f"If no user did it, check {_suspects(setting, live, snapshot)} (docs/off-hours.md). To run it on "
        "a GPU now, wake the cluster: slicewise wake.",
    )


def _put_back(snapshot: Snapshot, value: str, writers: list[str], owner: Object) -> Finding:
    """By what made the object: it has the count from the one above, and would undo each sleep of this one."""
    group, above = owner["apiVersion"].rpartition("/")[0], owner["kind"]
    by = f"{', '.join(writers) or 'a controller'}, which makes it for {above} {owner['name']},"
    return Finding(
        "put-back",
        f"{snapshot.ref} was put to sleep, and {by} has set {snapshot.field} back to {value}; it is left "
        "unchanged tonight.",
        f"Name the switch of {above} in the policy (offHours.kinds with group {group}, docs/off-hours.md), "
        "or stop it by hand.",
    )


def _suspects(setting: Setting, live: Object, snapshot: Snapshot) -> str:
    if live.get("readThroughScale"):
        ref = snapshot.ref
        shown = f"kubectl get {ref.kind.lower()} {ref.name} -n {ref.namespace} -o yaml --show-managed-fields"
        return f"who wrote it ({shown}): an operator that puts it back needs its own switch in offHours.kinds"
    if setting.scaled:
        return "its HorizontalPodAutoscaler (ScaledToZero, minReplicas) and at what manages it"
    return "what manages it"


def _person_won(setting: Setting, live: Object, snapshot: Snapshot) -> Finding:
    return Finding(
        "changed-while-asleep",
        f"{snapshot.ref} had {snapshot.field} {_formatted(snapshot.original)} before it slept, and has "
        f"{_formatted(setting.value(live))} since another writer changed it; that stays.",
        "Set it back by hand if that was not meant.",
    )


def _deleted_while_asleep(snapshot: Snapshot) -> Finding:
    return Finding(
        "gone-while-asleep",
        f"{snapshot.ref} was deleted while it slept; it had {snapshot.field} {_formatted(snapshot.original)}"
        + (f", and what it scales ran at {snapshot.resume_at} and is at 0." if snapshot.resume_at else "."),
        "Create it again if that was not meant"
        + (f", and scale what it scaled to {snapshot.resume_at}." if snapshot.resume_at else "."),
    )


def _does_not_follow(setting: Setting, snapshot: Snapshot) -> Finding:
    return Finding(
        "not-resumed",
        f"{snapshot.ref} has {snapshot.field} {_formatted(setting.resumed_at(snapshot))} again, as for its "
        f"day, and {setting.controller} has not followed.",
        f"See that {setting.controller} runs. The value of before is restored once it has followed.",
    )


def _recreated(snapshot: Snapshot) -> Finding:
    return Finding(
        "made-anew-while-asleep",
        f"{snapshot.ref} was deleted and recreated while it slept; it gets {snapshot.field} "
        f"{_formatted(snapshot.original)}.",
        "Nothing to do, if it is the same workload.",
    )


def damaged(snapshot: Snapshot) -> Finding:
    return Finding(
        "snapshot-damaged",
        f"the snapshot of {snapshot.field} of {snapshot.ref} cannot be read, or does not match its checksum; "
        "it is not used.",
        f"Delete the item from the table: annotation {ASLEEP_WAS} of the object is used then. Where "
        "it has none, set the field by hand first.",
    )


def _gitops_tool(setting: Setting, live: Object) -> str | None:
    managers = setting.managers(live)
    for manager in sorted(managers):
        if tool := _GITOPS_MANAGERS.get(manager):
            return tool
    return None


def _manager_by_marks(live: Object) -> str | None:
    """
    What a GitOps tool's marks say. They show what manages an object, not what wrote a count: of one that went
    through the `scale` subresource after a 0, the API server keeps no writer.
    """
    if "argocd.argoproj.io/tracking-id" in annotations_of(live):
        return "Argo CD"
    if any(key.endswith("toolkit.fluxcd.io/name") for key in labels(live)):
        return "Flux"
    return None


def _formatted(value: Any) -> str:
    if value is None:
        return "nothing"
    return "other settings" if isinstance(value, Mapping) else str(value)
