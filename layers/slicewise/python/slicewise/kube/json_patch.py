"""
JSON Patches (RFC 6902) of live objects. Pure.

Each operation that writes comes with a `test` of what was there when we read it: the API server refuses the
whole patch where that very field was written since, and accepts it where only others changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slicewise.kube.ref import Object

Operation = Mapping[str, Any]


def set_value(live: Object, path: Sequence[str], value: Any) -> tuple[Operation, ...]:
    """
    Have `value` at `path`; no operation where it is there already.

    Mappings on the way that are missing are made. Two patches of one object that would make the same mapping
    exclude each other: the second would overwrite the first.
    """
    known, found = _follow(live, path)
    if len(known) == len(path):
        if found == value:
            return ()
        return _test(path, found), {"op": "replace", "path": pointer(path), "value": value}
    for key in reversed(path[len(known) + 1 :]):
        value = {key: value}
    missing = path[: len(known) + 1]
    return _test(missing, None), {"op": "add", "path": pointer(missing), "value": value}


def remove(live: Object, path: Sequence[str]) -> tuple[Operation, ...]:
    """Have nothing at `path`; no operation where nothing is there."""
    known, found = _follow(live, path)
    if len(known) < len(path):
        return ()
    return _test(path, found), {"op": "remove", "path": pointer(path)}


def expect(live: Object, path: Sequence[str]) -> tuple[Operation, ...]:
    """That what we read at `path` is still there, or still nothing."""
    known, found = _follow(live, path)
    return (_test(path, found) if len(known) == len(path) else _test(path[: len(known) + 1], None),)


def depth(live: Object, path: Sequence[str]) -> int:
    """How many keys of `path` lead to something."""
    return len(_follow(live, path)[0])


def is_alone(live: Object, path: Sequence[str]) -> bool:
    """Whether what is at `path` is all that its map has."""
    known, found = _follow(live, path[:-1])
    return len(known) == len(path) - 1 and isinstance(found, Mapping) and set(found) == {path[-1]}


def after(live: Object, operations: Iterable[Operation]) -> Object:
    """
    What an object is once such operations are done: what a second patch in the same reconcile will find.
    """
    for operation in operations:
        way = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"][1:].split("/")]
        if operation["op"] != "test":
            live = _changed(live, way, operation)
    return live


def _changed(item: Mapping[str, Any], way: Sequence[str], operation: Operation) -> Object:
    first, rest = way[0], way[1:]
    if rest:
        return {**item, first: _changed(item.get(first) or {}, rest, operation)}
    if operation["op"] == "remove":
        return {key: value for key, value in item.items() if key != first}
    return {**item, first: operation["value"]}


def annotation_path(key: str) -> tuple[str, str, str]:
    """Where an object has the annotation."""
    return "metadata", "annotations", key


def label_path(key: str) -> tuple[str, str, str]:
    """Where an object has the label."""
    return "metadata", "labels", key


def pointer(path: Sequence[str]) -> str:
    """RFC 6901: "/metadata/labels/a.b~1c"."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def _test(path: Sequence[str], value: Any) -> Operation:
    """The API server takes a test for null as a test that nothing is there."""
    return {"op": "test", "path": pointer(path), "value": value}


def _follow(live: Object, path: Sequence[str]) -> tuple[Sequence[str], Any]:
    """As far along `path` as mappings lead, and what is there."""
    found: Any = live
    for depth, key in enumerate(path):
        if not isinstance(found, Mapping) or found.get(key) is None:
            return path[:depth], found
        found = found[key]
    return path, found
