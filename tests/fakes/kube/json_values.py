"""Values of JSON, as an API server keeps them."""

from __future__ import annotations

from typing import Any

_PLAIN = {str, int, float, bool, type(None)}


def copied(value: Any) -> Any:
    """Of JSON's values; many times as quick as copy.deepcopy, which tests by the thousand notice."""
    if isinstance(value, dict):
        found = dict(value)  # at once, since most of what is in it is plain
        for key, one in value.items():
            if type(one) not in _PLAIN:
                found[key] = copied(one)
        return found
    if isinstance(value, list):
        return [one if type(one) in _PLAIN else copied(one) for one in value]
    return value
