"""
Moving workloads that let us to the class that they belong in: a few a day, one after another. Pure.

Who opts in carries the label `slicewise.dev/class: auto` on the object that makes its pods, where setting it
restarts nothing. A move is one server-side apply: `nodeSelector` and, where it lacks it, a toleration. Both
are atomic (one manager holds the whole), so all that is there is sent along. What moves rest on is on the
workload itself, in an annotation: which class we wrote, and when it was moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from slicewise.kube.labels import CLASS_LABEL, MOVED_ANNOTATION, POOL_LABEL
from slicewise.kube.objects import MANAGER, applied_by, being_deleted, controller_of, spec, written_by
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.spans import DAY
from slicewise.planning.actions import Action, Notify, SetClass
from slicewise.planning.outcome import Finding
from slicewise.pools import layout
from slicewise.tuning.classes.annotation import is_moving, is_rolled_out, read_mark, template, toleration
from slicewise.tuning.classes.decision import ClassDecision, Recommendation
from slicewise.tuning.state.pool_state import stamp

LOOK_AGAIN = timedelta(minutes=1)
# Images of models are large, and a node may have to come first. Where it takes longer, a person should check.
PATIENCE = timedelta(minutes=30)
_POD_SPEC = ("spec", "template", "spec")


@dataclass(frozen=True)
class Moves:
    """
    Attributes:
        actions: The next move, and its notice after it.
        notices: Of moves before, as long as they can be seen; the loop drops those that were sent.
        notes: Of each workload that opted in, what becomes of it.
    """

    actions: tuple[Action, ...] = ()
    notices: tuple[Notify, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: Mapping[Ref, str] = field(default_factory=dict)
    requeue_after: timedelta | None = None


def moves(
    decision: ClassDecision,
    cluster: str,
    opted_in: Sequence[Object],
    moves_a_day: int,
    frozen: str,
    now: datetime,
    *,
    split: bool = True,
) -> Moves:
    """
    Args:
        opted_in: Of this pool.
        frozen: Why no workload is moved; empty where one may be.
        split: Its nodes carry classes; else nothing may select one.
    """
    wanted = {one.workload: one for one in decision.recommendations}
    notices = _notices(cluster, opted_in, wanted, moves_a_day, now)
    halves = [item for item in opted_in if _is_half(item)]
    if halves and not frozen:
        reverted = tuple(_reverted(one) for one in halves)
        return Moves(_finish_revert(halves[0], split), notices, reverted, requeue_after=LOOK_AGAIN)
    findings = [_reverted(item) for item in opted_in if _is_reverted(item)]
    notes = {ref_of(item): _note(item, wanted.get(ref_of(item)), split) for item in opted_in}
    ready = [
        (wanted[ref], item) for item in opted_in if (ref := ref_of(item)) in wanted and notes[ref] == _MOVES
    ]
    ready.sort(key=lambda pair: decision.recommendations.index(pair[0]))
    findings += [_held(item) for item in opted_in if notes[ref_of(item)].endswith(_HELD)]
    findings += [_unpinned(item) for item in opted_in if _is_unpinned(item)]
    unfinished = [item for item in opted_in if is_moving(item, now)]
    findings += [_stuck(item) for item in unfinished if now - read_mark(item).last_moved > PATIENCE]
    left = moves_a_day - _moved_until(opted_in, now)
    why = frozen or _waits(unfinished, left, moves_a_day)
    if why:
        notes = {
            ref: f"{_MOVES}, but not now: {why}" if note == _MOVES else note for ref, note in notes.items()
        }
    nothing = Moves((), notices, tuple(findings), notes)
    if why or not ready:
        fresh = any(now - read_mark(item).last_moved <= PATIENCE for item in unfinished)
        return replace(nothing, requeue_after=LOOK_AGAIN if fresh and not frozen else None)
    one, item = ready[0]
    write = _write(item, one.after, now, split, _message(one, item), one.reason)
    notice = _notice(cluster, item, one.after, now, one, _moved_until(opted_in, now) + 1, moves_a_day)
    return replace(nothing, actions=(write, notice), requeue_after=LOOK_AGAIN)


_MOVES, _HELD = "it is moved", "applies these fields"


def _note(item: Object, wanted: Recommendation | None, split: bool) -> str:
    pod_spec = template(item)
    size = layout.class_of(pod_spec)
    if _is_reverted(item):
        return "a person or a tool removed its class"
    if wanted is None or (wanted.after == (size or 1) if split else size is None):
        return ""
    if being_deleted(item) or spec(item).get("replicas") == 0:
        return "it has no pods to move"
    if owner := controller_of(item):
        return f"it is made by {owner['kind']} {owner['name']}, which would undo it: set the class there"
    if spec(item).get("paused"):
        return "its rollout is paused"
    if (spec(item).get("updateStrategy") or {}).get("type") == "OnDelete":
        return "its pods are only replaced by hand (OnDelete)"
    if POOL_LABEL not in (pod_spec.get("nodeSelector") or {}):
        return "it does not choose its pool by nodeSelector"
    if holders := _holders(item):
        return f"{' and '.join(holders)} {_HELD}"
    if not is_rolled_out(item):
        return "a rollout of it is under way"
    return _MOVES


def _waits(unfinished: Sequence[Object], left: int, moves_a_day: int) -> str:
    if unfinished:
        return f"the pods of {ref_of(unfinished[0])}, which was moved before, are not all ready"
    if left <= 0:
        return f"{moves_a_day} moves a day are allowed"
    return ""


# The write


def _message(one: Recommendation, item: Object) -> str:
    return f"move {one.workload} from class {layout.class_of(template(item)) or 1} to class {one.after}"


def _moved_until(opted_in: Iterable[Object], at: datetime) -> int:
    """Moves of a day, with that at this moment."""
    return sum(1 for item in opted_in for moved in read_mark(item).moved if moved <= at < moved + DAY)


def _notices(
    cluster: str,
    opted_in: Sequence[Object],
    wanted: Mapping[Ref, Recommendation],
    moves_a_day: int,
    now: datetime,
) -> tuple[Notify, ...]:
    """The reconcile that made a move may have been killed before it reported it."""
    marks = ((item, read_mark(item)) for item in opted_in)
    return tuple(
        _notice(
            *(cluster, item, mark.size, mark.last_moved, wanted.get(ref_of(item))),
            *(_moved_until(opted_in, mark.last_moved), moves_a_day),
        )
        for item, mark in marks
        if mark.size and mark.moved and not mark.is_excluded and timedelta(0) <= now - mark.last_moved < DAY
    )


def _notice(
    cluster: str,
    item: Object,
    size: int,
    moved_at: datetime,
    known: Recommendation | None,
    number: int,
    moves_a_day: int,
) -> Notify:
    """
    Args:
        number: Of this move, among those of the day.
    """
    reason = f": {known.reason}" if known else ""
    text = (
        f"Its {spec(item).get('replicas', 1)} pods are replaced by a rolling update{reason}.\n\nIt is the "
        f"{_nth(number)} of at most {moves_a_day} moves a day. To keep it where it is, take "
        f"the label {CLASS_LABEL} off it."
    )
    ref = str(ref_of(item))
    subject = f"Slicewise moves {ref} of {cluster} to class {size}"
    return Notify(subject, text, "each move is reported", f"moved {ref} {stamp(moved_at)}", part=ref)


def _nth(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{suffix}"


def _finish_revert(item: Object, split: bool) -> tuple[Action, ...]:
    """Its selector without its toleration: no pod of it could start anywhere."""
    message = f"take the rest of a class off {ref_of(item)}"
    why = f"{_writers(item)} took the toleration away, and without it no pod of it could start"
    return (_write(item, 1, None, split, message, why),)


def _write(
    item: Object, size: int, moved_at: datetime | None, split: bool, message: str, why: str
) -> SetClass:
    """Without `moved_at` it is no move, but the end of a removal that another writer began."""
    mark, pod_spec = read_mark(item), template(item)
    theirs = [dict(one) for one in pod_spec.get("tolerations") or () if not (mark.added and one == mark.own)]
    adds = size > 1 and not _tolerates(theirs, size)
    selector = {k: v for k, v in (pod_spec.get("nodeSelector") or {}).items() if k != CLASS_LABEL}
    if split and (size > 1 or _tolerates(theirs, None)):
        selector[CLASS_LABEL] = str(size)
    wanted: dict[str, Any] = {"nodeSelector": selector}
    # What we own and no longer send would be removed, the rest of the list with it.
    if adds or MANAGER in written_by(item, (*_POD_SPEC, "tolerations")):
        wanted["tolerations"] = [*theirs, *([toleration(size)] if adds else [])]
    moved = [at for at in mark.moved if moved_at is None or moved_at - at < DAY]
    left = replace(mark, size=size, added=adds, is_excluded=moved_at is None)
    text = replace(left, moved=(*moved, *([moved_at] if moved_at else []))).dumped()
    seen = {key: item["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}
    ours = {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "metadata": {**seen, "annotations": {MOVED_ANNOTATION: text}},
        "spec": {"template": {"spec": wanted}},
    }
    return SetClass(ours, message, why, part=str(ref_of(item)))


# What another writer wrote


def _is_reverted(item: Object) -> bool:
    """Another writer put another class, or none, over ours."""
    mark = read_mark(item)
    if mark.size is None or mark.is_excluded:
        return mark.is_excluded
    return (layout.class_of(template(item)) or 1) != mark.size or _is_half(item)


def _is_half(item: Object) -> bool:
    """Ours is in the selector, and the toleration was removed."""
    mark, pod_spec = read_mark(item), template(item)
    size = layout.class_of(pod_spec)
    if not mark.size or mark.is_excluded or size != mark.size or size == 1:
        return False
    return not _tolerates(pod_spec.get("tolerations") or (), size)


def _tolerates(tolerations: Iterable[Mapping[str, Any]], size: int | None) -> bool:
    """The taint of a class; with None, that of any."""
    return any(
        one.get("key", CLASS_LABEL) == CLASS_LABEL
        and one.get("effect") in (None, "", "NoSchedule")
        and (one.get("operator") == "Exists" or (size is not None and one.get("value") == str(size)))
        for one in tolerations
    )


def _is_unpinned(item: Object) -> bool:
    pod_spec = template(item)
    return layout.class_of(pod_spec) is None and _tolerates(pod_spec.get("tolerations") or (), None)


def _holders(item: Object) -> tuple[str, ...]:
    """Who applies the selector, or the tolerations, again and again: they would put theirs back."""
    found = (applied_by(item, (*_POD_SPEC, part)) for part in ("nodeSelector", "tolerations"))
    return tuple(sorted({manager for holders in found for manager in holders} - {MANAGER}))


def _writers(item: Object) -> str:
    writers = {
        *written_by(item, (*_POD_SPEC, "nodeSelector")),
        *written_by(item, (*_POD_SPEC, "tolerations")),
    }
    return " and ".join(sorted(writers - {MANAGER})) or "an unknown writer"


# Words

_GITOPS = "See docs/tuning.md for the GitOps tool's setting."


def _reverted(item: Object) -> Finding:
    return Finding(
        "class-reverted",
        f"{_writers(item)} wrote over the class that {ref_of(item)} had been moved to.",
        f"It is left unchanged. {_GITOPS} To have it moved again: kubectl annotate {_named(item)} "
        f"{MOVED_ANNOTATION}-",
    )


def _held(item: Object) -> Finding:
    return Finding(
        "class-field-held",
        f"{' and '.join(_holders(item))} applies nodeSelector or tolerations of {ref_of(item)}, and would "
        "put its own back.",
        f"Leave them out there, or write the recommended class there; {_GITOPS}",
    )


def _stuck(item: Object) -> Finding:
    mark = read_mark(item)
    return Finding(
        "class-move-stuck",
        f"{ref_of(item)} was moved to class {mark.size} at {stamp(mark.last_moved)}, and not all of its pods "
        "are ready.",
        f"No other workload of its pool is moved meanwhile. See kubectl rollout status {_named(item)}.",
    )


def _unpinned(item: Object) -> Finding:
    return Finding(
        "class-unpinned",
        f"{ref_of(item)} tolerates every class and selects none: its pods may land on shared GPUs.",
        f'Add {CLASS_LABEL}: "1" to its nodeSelector.',
    )


def _named(item: Object) -> str:
    return f"-n {item['metadata']['namespace']} {item['kind'].lower()} {item['metadata']['name']}"
