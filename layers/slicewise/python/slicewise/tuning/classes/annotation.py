"""
What a workload that opted in records of its moves: what we wrote, and how far it is rolled out. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.kube.labels import CLASS_LABEL, MOVED_ANNOTATION
from slicewise.kube.objects import annotations_of, being_deleted, spec, status
from slicewise.kube.ref import Object
from slicewise.model.spans import DAY
from slicewise.tuning.state.pool_state import stamp


@dataclass(frozen=True)
class Mark:
    """
    What we did to a workload, as its annotation records it.

    Attributes:
        size: The class that we wrote last; None where we never did.
        added: The toleration is ours.
        moved: When it was moved, within a day of the last.
        is_excluded: Another writer removed the class again, so that it is moved no more.
    """

    size: int | None = None
    added: bool = False
    moved: tuple[datetime, ...] = ()
    is_excluded: bool = False

    @property
    def last_moved(self) -> datetime:
        """Of one that was moved."""
        return max(self.moved)

    @property
    def own(self) -> dict[str, str]:
        return toleration(self.size or 1)

    def dumped(self) -> str:
        fields: dict[str, Any] = {"class": self.size, "moved": [stamp(at) for at in self.moved]}
        fields |= {"toleration": True} if self.added else {}
        fields |= {"left": True} if self.is_excluded else {}
        return json.dumps(fields, separators=(",", ":"))


def toleration(size: int) -> dict[str, str]:
    return {"key": CLASS_LABEL, "operator": "Equal", "value": str(size), "effect": "NoSchedule"}


def read_mark(item: Object) -> Mark:
    """Leniently: a person may have written it."""
    text = annotations_of(item).get(MOVED_ANNOTATION)
    try:
        found = json.loads(text) if text else {}
        size = found.get("class")
        moved = tuple(datetime.fromisoformat(at) for at in found.get("moved") or ())
        if any(at.tzinfo is None for at in moved):
            raise ValueError(text)
        return Mark(
            int(size) if size else None, found.get("toleration") is True, moved, found.get("left") is True
        )
    except UNREADABLE:
        return Mark(is_excluded=True)


def template(item: Object) -> Mapping[str, Any]:
    """The pod spec."""
    return (spec(item).get("template") or {}).get("spec") or {}


def is_rolled_out(item: Object) -> bool:
    fields, replicas = status(item), spec(item).get("replicas", 1)
    ready = fields.get("availableReplicas", fields.get("readyReplicas", 0)) or 0
    return bool(
        fields.get("observedGeneration", 0) >= item["metadata"].get("generation", 0)
        and (fields.get("updatedReplicas") or 0) >= replicas
        and ready >= replicas
        and (fields.get("replicas") or 0) <= replicas
    )


def is_moving(item: Object, now: datetime) -> bool:
    """We moved it today, and not all of its pods are ready."""
    mark = read_mark(item)
    moved = bool(mark.moved) and now - mark.last_moved < DAY
    return moved and not being_deleted(item) and not is_rolled_out(item)
