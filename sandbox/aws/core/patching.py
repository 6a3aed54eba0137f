"""Changes to moto that can be taken back, so that plain `mock_aws` tests see plain moto."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ABSENT = object()


class Patches:
    """What was replaced, in order. `undo` restores everything, last one first."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def replace(self, owner: Any, name: str, value: Any) -> Any:
        """Set `owner.name`; returns what stood there (a function, also of a class), or None."""
        # vars() and not getattr(): a classmethod must come back as the classmethod that it was.
        before = vars(owner).get(name, _ABSENT)
        found = getattr(owner, name, None)
        setattr(owner, name, value)
        if before is _ABSENT:
            self._undo.append(lambda: delattr(owner, name))
        else:
            self._undo.append(lambda: setattr(owner, name, before))
        return found

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace `owner.name` by `make(what stood there)`."""
        if not hasattr(owner, name):
            raise AttributeError(f"{owner} has no {name}: another moto version? (5.2.5 is expected)")
        self.replace(owner, name, make(getattr(owner, name)))

    def put(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        before = mapping.get(key, _ABSENT)
        mapping[key] = value
        if before is _ABSENT:
            self._undo.append(lambda: mapping.pop(key, None))
        else:
            self._undo.append(lambda: mapping.__setitem__(key, before))

    def on_undo(self, action: Callable[[], object]) -> None:
        self._undo.append(action)

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()
