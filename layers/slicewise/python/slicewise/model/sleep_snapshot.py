"""
What an object was before it was put to sleep: values, stored outside the cluster, and on the object itself
where its kind lets us.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from slicewise.kube.ref import Ref


@dataclass(frozen=True)
class Snapshot:
    """
    One field of one object. Written before the field is first changed, deleted once it was restored and the
    night has ended.

    Attributes:
        ref, field: Its key: an object that is recreated under its name keeps it.
        uid: Of the object that was put to sleep.
        original, ours: JSON values; None where nothing is there.
        window: Which sleep it belongs to: when that ends, as text.
        done: Whether `ours` was written. Until then it is not known who last wrote what is there.
        earlier: What we had written before `ours`, and may be there still; until `ours` was written.
        woken: For which morning it was restored: when its window ends, as text. Empty while it sleeps. From
            then on the snapshot causes no write.
        priority: Of its pods; the highest wake first.
        version: Grows by one with each write; the table takes a write only over the one before.
        recovered: Read from the object's own annotation, since the table lacks it, or has it damaged:
            `version` is then the table's, 0 for none.
        resume_at: What is written at waking before `original` is, and stays until what it rules has reached
            it: of a ScaledObject, its target's count. Empty where `original` is written at once. The checksum
            does not cover it, so that the release before reads the rest.
        made: How many maps on the way to the field were not there, and are removed with it. Likewise not
            covered.
    """

    ref: Ref
    field: str
    uid: str
    original: Any
    ours: Any
    window: str
    taken_at: datetime
    done: bool = False
    woken: str = ""
    priority: int = 0
    slices: int = 0
    version: int = 1
    earlier: tuple[Any, ...] = ()
    checksum: str = ""
    recovered: bool = False
    resume_at: str = ""
    made: int = 0

    @property
    def intact(self) -> bool:
        return self.checksum == _checksum(self)

    @property
    def ends(self) -> datetime | None:
        """When its sleep ends; None where that is never, or another release wrote it otherwise."""
        try:
            at = datetime.fromisoformat(self.window)
        except ValueError:
            return None
        return at if at.tzinfo else None

    def sealed(self) -> Snapshot:
        return replace(self, checksum=_checksum(self))

    def as_done(self) -> Snapshot:
        return self._next(done=True, earlier=())

    def with_ours(self, ours: Any) -> Snapshot:
        """To be written in place of what we wrote before."""
        return self._next(ours=ours, earlier=(self.ours, *self.earlier), done=False)

    def as_woken(self, morning: str) -> Snapshot:
        return self._next(woken=morning)

    def _next(self, **changes: Any) -> Snapshot:
        return replace(self, **changes, version=self.version + 1, recovered=False).sealed()


def count_of(value: Any) -> str:
    """`resume_at` as another writer may have left it: anything but a count of replicas is none."""
    return value if isinstance(value, str) and value.isascii() and value.isdigit() else ""


def _checksum(snapshot: Snapshot) -> str:
    """Over all that a restoration rests on."""
    meaning = [*snapshot.ref, snapshot.field, snapshot.uid, snapshot.original, snapshot.ours, snapshot.window]
    if snapshot.earlier:  # items of before have none
        meaning.append(list(snapshot.earlier))
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:32]
