"""YAML as people should write it: safe types only, and no key twice, which YAML would resolve in silence."""

from __future__ import annotations

from typing import Any

import yaml

from slicewise.errors import PolicyProblem

WHOLE = "(policy)"  # the path of the document itself


class Unreadable(Exception):
    """The text is not the YAML that we accept; `problem` says where and why."""

    def __init__(self, where: str, value: object, remedy: str):
        self.problem = PolicyProblem(where, value, remedy)
        super().__init__(str(self.problem))


def load(text: str) -> Any:
    """Raises Unreadable."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else WHOLE
        raise Unreadable(where, error.problem or "", "this is not YAML; mend it there") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # A date such as 2026-02-30 is a ValueError, nesting without end a RecursionError.
        raise Unreadable(WHOLE, str(error).splitlines()[0], "this is not YAML; mend it") from error


class _Loader(yaml.SafeLoader):
    pass


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = f"line {key_node.start_mark.line + 1}"
        if not isinstance(key, str | int | float | bool | None):
            raise Unreadable(line, str(key), "keys must be plain words")
        if key in seen:
            raise Unreadable(line, key, "this key stands twice in one place; keep one of them")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
