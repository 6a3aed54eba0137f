"""Series of a source as people look at them: each in one piece, with all that the source said of it."""

from __future__ import annotations

from collections.abc import Iterable

from slicewise.model.cluster import Series


def in_one_piece(series: Iterable[Series]) -> tuple[Series, ...]:
    """What comes in parts is put together, by time; what is told by a series without points goes to all."""
    points: dict[tuple[str, frozenset[tuple[str, str]]], dict[int, float]] = {}
    reported: dict[str, None] = {}
    for one in series:
        if one.incomplete:
            reported[one.incomplete] = None
        if one.times:
            of_one = points.setdefault((one.name, frozenset(one.labels.items())), {})
            of_one.update(zip(one.times, one.values, strict=True))
    ordered = {key: dict(sorted(found.items())) for key, found in points.items()}
    return tuple(
        Series(name, dict(labels), tuple(found), tuple(found.values()), "; ".join(reported))
        for (name, labels), found in ordered.items()
    )
