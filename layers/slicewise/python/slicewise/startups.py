"""How long a pool's nodes took to start, as its NodePool remembers. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import timedelta

from slicewise.model import Object
from slicewise.objects import annotations

STARTUP_ANNOTATION = "slicewise.dev/startup"
# Fewer say nothing about the slow end.
LEAST = 3


def remembered(node_pool: Object) -> dict[str, int]:
    """Seconds to the first ready pod by NodeClaim, oldest first; empty where the annotation is not ours."""
    try:
        pairs = json.loads(annotations(node_pool).get(STARTUP_ANNOTATION, "[]"))
        return {str(claim): int(seconds) for claim, seconds in pairs if int(seconds) > 0}
    except (ValueError, TypeError):
        return {}


def p95(startups: Iterable[timedelta]) -> timedelta | None:
    """By nearest rank; None for fewer than three."""
    ordered = sorted(startups)
    return ordered[math.ceil(0.95 * len(ordered)) - 1] if len(ordered) >= LEAST else None
