"""How long a pool's nodes took to start, as its NodePool records it. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.kube.labels import STARTUP_ANNOTATION
from slicewise.kube.objects import annotations_of
from slicewise.kube.ref import Object

# Fewer say nothing about the slow end.
LEAST = 3
# Seconds: longer than we ever write, and still a length of time.
_LONGEST = 86_400


def recorded_startups(node_pool: Object) -> dict[str, int]:
    """Seconds to the first ready pod by NodeClaim, oldest first, as far as they can be read."""
    return dict(pair for one in _recorded(node_pool) or () if (pair := _pair(one)))


def is_unreadable(node_pool: Object) -> bool:
    """Whether the annotation, or part of it, is not as we write it; what is measured next replaces it."""
    recorded = _recorded(node_pool)
    return recorded is None or not all(map(_pair, recorded))


def _recorded(node_pool: Object) -> list[Any] | None:
    try:
        found = json.loads(annotations_of(node_pool).get(STARTUP_ANNOTATION, "[]"))
    except UNREADABLE:
        return None
    return found if isinstance(found, list) else None


def _pair(one: Any) -> tuple[str, int] | None:
    try:
        claim, seconds = one
        return (str(claim), int(seconds)) if 0 < int(seconds) <= _LONGEST else None
    except UNREADABLE:
        return None


def p95(startups: Iterable[timedelta]) -> timedelta | None:
    """By nearest rank; None for fewer than three."""
    ordered = sorted(startups)
    return ordered[math.ceil(0.95 * len(ordered)) - 1] if len(ordered) >= LEAST else None
