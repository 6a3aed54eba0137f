"""
helm's values as nested tables: read at a path, merged as helm merges, and compared to find an edit. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

Path = tuple[str, ...]


class _Absent:
    """What is read at a path that is not there; None is a value, by which helm takes a chart's away."""

    def __repr__(self) -> str:
        return "ABSENT"

    def __deepcopy__(self, memo: dict[int, Any]) -> _Absent:
        return self


ABSENT: Final = _Absent()


def at(values: Mapping[str, Any], path: Path, otherwise: Any = ABSENT) -> Any:
    found: Any = values
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return otherwise
        found = found[key]
    return found


def with_value(values: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    key, *rest = path
    if not rest:
        return {**values, key: value}
    below = values.get(key)
    return {**values, key: with_value(below if isinstance(below, Mapping) else {}, tuple(rest), value)}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """As helm does it: tables key by key, everything else as a whole; lists are never joined."""
    found = dict(below)
    for key, value in above.items():
        lower = found.get(key)
        both = isinstance(lower, Mapping) and isinstance(value, Mapping)
        found[key] = merged(lower, value) if both else value  # type: ignore[arg-type]
    return found


def leaves(values: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each value that is no table, or an empty one, with its path."""
    for key, value in values.items():
        here = (*path, str(key))
        if isinstance(value, Mapping) and value:
            yield from leaves(value, here)
        else:
            yield here, value


def spelled(path: Path) -> str:
    """As `helm --set` writes it."""
    return ".".join(key.replace(".", "\\.") for key in path)


def edited(before: Mapping[str, Any], ours: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """
    What an owner would have, had they made their edits before us.

    Args:
        before: Theirs, as it was.
        ours: What we made of it.
        now: What they have made of that: where it is still ours, `before` counts, and else their edit. Of a
            list that they edited, what we had added is removed.
    """
    found = dict(before)
    for key in {**ours, **now}:
        was, wrote, there = (side.get(key, ABSENT) for side in (before, ours, now))
        if there == wrote:
            continue
        if isinstance(wrote, Mapping) and isinstance(there, Mapping):
            found[key] = edited(was if isinstance(was, Mapping) else {}, wrote, there)
        elif isinstance(wrote, list) and isinstance(there, list):
            kept = was if isinstance(was, list) else []
            found[key] = [one for one in there if one in kept or one not in wrote]
        elif there is ABSENT:
            found.pop(key, None)
        else:
            found[key] = there
    return found
