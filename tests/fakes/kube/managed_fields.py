"""Who wrote which field last, as the API server keeps it: as much of it as the product reads."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from slicewise.kube.ref import Object, Ref

Path = tuple[str, ...]
# Tables that have one manager as a whole, as lists have; by the end of their path.
ATOMIC = (("nodeSelector",),)


class Writers:
    """
    A write takes the fields that it changes from all others. Who applies a value that stands there already
    shares it. Lists are one field; what the server fills in belongs to nobody.
    """

    def __init__(self) -> None:
        self._of: dict[Ref, dict[Path, set[tuple[str, str]]]] = defaultdict(dict)
        # As managed fields, until a write: lists ask for them many times between two.
        self._reported: dict[Ref, list[Object]] = {}

    def __reduce__(self) -> Any:
        """Without what was told: no two clusters differ by that."""
        return _again, ({ref: fields for ref, fields in self._of.items() if fields},)

    def __deepcopy__(self, memo: dict[int, Any]) -> Writers:
        twin = Writers()
        for ref, fields in self._of.items():
            twin._of[ref] = {path: set(holders) for path, holders in fields.items()}
        return twin

    def updated(self, ref: Ref, manager: str, before: Object, after: Object) -> None:
        self._reported.pop(ref, None)
        old, new = _leaves(before), _leaves(after)
        fields = self._of[ref]
        for path in old.keys() - new.keys():
            fields.pop(path, None)
        for path, value in new.items():
            if path not in old or old[path] != value:
                fields[path] = {(manager, "Update")}

    def applied(self, ref: Ref, manager: str, before: Object, item: Object, operation: str = "Apply") -> None:
        self._reported.pop(ref, None)
        old, fields = _leaves(before), self._of[ref]
        for path, value in _leaves(item).items():
            if path in old and old[path] == value:
                fields.setdefault(path, set()).add((manager, operation))
            else:
                fields[path] = {(manager, operation)}

    def holds(self, ref: Ref, manager: str, operation: str, path: Path) -> bool:
        """Something at or below the path."""
        return any(
            (manager, operation) in holders and found[: len(path)] == path
            for found, holders in self._of[ref].items()
        )

    def forget(self, ref: Ref) -> None:
        self._reported.pop(ref, None)
        self._of.pop(ref, None)

    def forget_field(self, ref: Ref, path: Path) -> None:
        self._reported.pop(ref, None)
        self._of[ref].pop(path, None)

    def managed_fields(self, ref: Ref) -> list[Object]:
        """To be read, not changed."""
        if ref not in self._reported:
            self._reported[ref] = self._by_manager(ref)
        return self._reported[ref]

    def _by_manager(self, ref: Ref) -> list[Object]:
        by_manager: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
        for path, managers in self._of.get(ref, {}).items():
            for manager in managers:
                node = by_manager[manager]
                for key in path:
                    node = node.setdefault(f"f:{key}", {})
        return [
            {"manager": name, "operation": operation, "fieldsV1": fields}
            for (name, operation), fields in sorted(by_manager.items())
        ]


def _again(of: dict[Ref, dict[Path, set[tuple[str, str]]]]) -> Writers:
    writers = Writers()
    writers._of.update(of)
    return writers


def _leaves(item: Object) -> dict[Path, Any]:
    """What has a writer of its own, by its path."""
    found: dict[Path, Any] = {}
    _collect(item, (), found)
    return found


def _collect(item: Any, path: Path, found: dict[Path, Any]) -> None:
    if isinstance(item, dict) and item and path[-1:] not in ATOMIC:
        for key, value in item.items():
            if path or key not in ("apiVersion", "kind", "status"):
                _collect(value, (*path, key), found)
    elif path[:1] != ("metadata",) or path[1:2] in (("labels",), ("annotations",)):
        found[path] = item
