"""Objects of a cluster: of which kind there are some is asked for thousands of times between two changes."""

from __future__ import annotations

from typing import Any

from slicewise.kube.ref import Ref


class ObjectsByKind(dict[Ref, dict[str, Any]]):
    """A dictionary that also knows its keys by kind. Whoever changes it does so one key after the other."""

    def __init__(self, objects: dict[Ref, dict[str, Any]] | None = None) -> None:
        super().__init__(objects or {})
        self._refs: dict[str, list[Ref]] = {}

    def refs(self, kind: str) -> list[Ref]:
        """In their order, of every API version; not to be changed."""
        if kind not in self._refs:
            self._refs[kind] = sorted(ref for ref in self if ref.kind == kind)
        return self._refs[kind]

    def __reduce__(self) -> Any:
        """Without what it found for those who asked: no two clusters differ by that."""
        return type(self), (), None, None, iter(self.items())

    def __setitem__(self, ref: Ref, item: dict[str, Any]) -> None:
        if ref not in self:
            self._refs.pop(ref.kind, None)
        super().__setitem__(ref, item)

    def __delitem__(self, ref: Ref) -> None:
        super().__delitem__(ref)
        self._refs.pop(ref.kind, None)

    # They would change keys behind our back.
    pop = popitem = clear = update = setdefault = __ior__ = None  # type: ignore[assignment]
