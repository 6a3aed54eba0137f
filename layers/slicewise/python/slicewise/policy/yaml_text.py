"""PyYAML, made strict. Only `strict_yaml` imports it, and only for texts that are no JSON."""

from __future__ import annotations

from typing import Any

import yaml

from slicewise.policy.strict_yaml import WHOLE, Unreadable


def load(text: str) -> Any:
    """Raises Unreadable."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else WHOLE
        raise Unreadable(where, error.problem or "", "this is not YAML; correct it there") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # A date such as 2026-02-30 is a ValueError, nesting without end a RecursionError.
        raise Unreadable(WHOLE, str(error).splitlines()[0], "this is not YAML; correct it") from error


_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    pass


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == _BOOL and key_node.value.lower() not in ("true", "false"):
            # `on: fargate`: on, off, yes and no are words in YAML 1.2, and booleans in 1.1, which this reads.
            key_node.tag = yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG
        key = loader.construct_object(key_node, deep=True)
        line = f"line {key_node.start_mark.line + 1}"
        if not isinstance(key, str | int | float | bool | None):
            raise Unreadable(line, str(key), "keys must be plain words")
        if key in seen:
            raise Unreadable(line, key, "this key is there twice in one place; keep one of them")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
