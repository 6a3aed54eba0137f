"""
What an object was, as an annotation on the object itself: an emptied or lost table loses nothing that is in
it. Pure.

It is written in the very patch that puts a field to sleep, and removed in the one that restores it: what
carries it sleeps. It is JSON by field, each with what a snapshot has. The table wins where both know of one.

An entry counts only on the object that it names, by name and uid, and only as we wrote it: users copy objects
with all their annotations, and a GitOps tool may put back one of long ago. Any other is reported, not used,
and not removed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from slicewise.kube import json_patch
from slicewise.kube.labels import ASLEEP_WAS
from slicewise.kube.objects import MANAGER, annotations_of, written_by
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot, count_of
from slicewise.planning.outcome import Finding
from slicewise.planning.record import UNKNOWN_TIME

_PATH = ("metadata", "annotations", ASLEEP_WAS)
# The API server refuses an object whose annotations are larger, all together, with their names.
_MOST_BYTES = 256 * 1024
_TEXTS = ("uid", "window", "checksum")
Entries = Mapping[str, Any]
Key = tuple[Ref, str]


@dataclass(frozen=True)
class Originals:
    """
    Attributes:
        snapshots: What the table lacks.
        findings: Of annotations that are not used.
    """

    snapshots: tuple[Snapshot, ...] = ()
    findings: tuple[Finding, ...] = ()


def is_noted(live: Object) -> bool:
    return ASLEEP_WAS in annotations_of(live)


# Written


def noting(live: Object, kept: Snapshot) -> tuple[json_patch.Operation, ...]:
    """
    What adds an entry to a patch; nothing where there is one that is not of this object and field, or the
    annotation cannot be read, or has no room: then the table alone keeps it.
    """
    entries = _entries(live)
    if entries is None or not _is_free(live, kept.field, entries):
        return ()
    text = _text({**entries, kept.field: _entry(kept)})
    return json_patch.set_value(live, _PATH, text) if _fits(live, text) else ()


def removing(live: Object, field: str) -> tuple[json_patch.Operation, ...]:
    """What takes the entry of a field away; nothing where there is none of this object."""
    entries = _entries(live)
    if not entries or field not in entries or not _is_free(live, field, entries):
        return ()
    left = {name: entry for name, entry in entries.items() if name != field}
    return json_patch.set_value(live, _PATH, _text(left)) if left else json_patch.remove(live, _PATH)


def _is_free(live: Object, field: str, entries: Entries) -> bool:
    """Whether nothing is there that another writer wrote, or that names another object."""
    if field not in entries:
        return True
    snapshot = _snapshot(live, field, entries[field])
    return snapshot is not None and snapshot.intact


def _entry(kept: Snapshot) -> dict[str, Any]:
    """As it will be once it is written: nothing of before may be there then."""
    done = kept.as_done()
    return {
        "original": done.original,
        "ours": done.ours,
        "window": done.window,
        "takenAt": done.taken_at.isoformat(),
        "priority": done.priority,
        "slices": done.slices,
        "uid": done.uid,
        "checksum": done.checksum,
        **({"resumeAt": done.resume_at} if done.resume_at else {}),
        **({"made": done.made} if done.made else {}),
    }


def _text(entries: Entries) -> str:
    return json.dumps(entries, sort_keys=True, separators=(",", ":"))


def _fits(live: Object, text: str) -> bool:
    others = {**annotations_of(live), ASLEEP_WAS: text}
    return sum(len(key.encode()) + len(value.encode()) for key, value in others.items()) <= _MOST_BYTES


# Read


def read(
    items: Iterable[Object], tabled: Iterable[Snapshot], fields: Callable[[Ref], Collection[str]]
) -> Originals:
    """
    Args:
        items: Live objects, with who wrote their fields.
        tabled: What the table has.
        fields: Of an object, those that this release puts to sleep and notes.
    """
    known: dict[Key, Snapshot] = {(kept.ref, kept.field): kept for kept in tabled}
    snapshots: list[Snapshot] = []
    findings: list[Finding] = []
    for item in items:
        for found in _read(item, known, fields(ref_of(item))):
            if isinstance(found, Snapshot):
                snapshots.append(found)
            else:
                findings.append(found)
    return Originals(tuple(snapshots), tuple(findings))


def _read(
    live: Object, known: Mapping[Key, Snapshot], fields: Collection[str]
) -> Iterator[Snapshot | Finding]:
    if not is_noted(live):
        return
    entries = _entries(live)
    if entries is None:
        yield _unreadable(ref_of(live), "")
        return
    for field, entry in sorted(entries.items()):
        snapshot, tabled = _snapshot(live, field, entry), known.get((ref_of(live), field))
        if snapshot is None or field not in fields or (_is_of(snapshot, live) and not snapshot.intact):
            yield _unreadable(ref_of(live), field)
        elif tabled and not _is_replaced(tabled):
            continue
        elif not _is_of(snapshot, live) or not _is_ours(live):
            yield _copied(live, field)
        else:
            yield _next_to(snapshot, tabled)


def _is_replaced(tabled: Snapshot) -> bool:
    """A damaged item, as long as its version can be read: the table takes no write over it without."""
    return not tabled.intact and tabled.version > 0


def _next_to(snapshot: Snapshot, tabled: Snapshot | None) -> Snapshot:
    return replace(snapshot, version=tabled.version if tabled else 0)


def _is_of(snapshot: Snapshot, live: Object) -> bool:
    return bool(snapshot.uid) and snapshot.uid == live["metadata"].get("uid")


def _is_ours(live: Object) -> bool:
    """Where no writer is recorded, its uid must do."""
    return set(written_by(live, _PATH)) <= {MANAGER}


def _entries(live: Object) -> dict[str, Any] | None:
    """By field; None where the annotation is not of our shape."""
    text = annotations_of(live).get(ASLEEP_WAS)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _snapshot(live: Object, field: str, entry: Any) -> Snapshot | None:
    """None for what is not of our shape; what another release adds is left out."""
    if not isinstance(entry, dict) or not {"original", "ours", *_TEXTS} <= entry.keys():
        return None
    texts = {name: entry[name] for name in _TEXTS}
    if not all(isinstance(text, str) for text in texts.values()):
        return None
    return Snapshot(
        ref=ref_of(live),
        field=field,
        **texts,
        original=entry["original"],
        ours=entry["ours"],
        taken_at=_moment(entry.get("takenAt")),
        done=True,
        priority=_whole(entry.get("priority")),
        slices=_whole(entry.get("slices")),
        version=0,
        recovered=True,
        resume_at=count_of(entry.get("resumeAt")),
        made=_whole(entry.get("made")),
    )


def _moment(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return UNKNOWN_TIME
    return at if at.tzinfo else UNKNOWN_TIME


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


# What is reported


def _unreadable(ref: Ref, field: str) -> Finding:
    # No matter what a person wrote there: what is reported must be letters that every service takes.
    what = f"what it says of {ascii(field[:60])[1:-1]}" if field else "it"
    return Finding(
        "original-unreadable",
        f"annotation {ASLEEP_WAS} of {ref} was edited, or another release wrote it: {what} is not used.",
        f"What {ref.name} was is in the table, unless another finding says that it is not. {_remove(ref)}",
    )


def _copied(live: Object, field: str) -> Finding:
    ref, writers = ref_of(live), ", ".join(written_by(live, _PATH))
    return Finding(
        "original-copied",
        f"annotation {ASLEEP_WAS} of {ref} was copied here{f' by {writers}' if writers else ''}, from "
        f"another object or an earlier time: what it says of {field} is not used.",
        f"Set {field} by hand where that is still as for a sleep, and leave the annotation out of what you "
        f"copy or apply. {_remove(ref)}",
    )


def _remove(ref: Ref) -> str:
    where = f" -n {ref.namespace}" if ref.namespace else ""
    return f"To remove it: kubectl annotate {ref.kind.lower()} {ref.name}{where} {ASLEEP_WAS}-"
