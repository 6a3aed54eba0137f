"""Label and field selectors, as far as the product sends them."""

from __future__ import annotations

from typing import Any

from slicewise.model import Object


def selected(labels: Object, selector: str) -> bool:
    """Equality, existence and `in (…)`: what our own requests use."""
    wanted = selector
    while wanted:
        key, operator, rest = _head(wanted)
        values, wanted = rest
        if key not in labels or (operator and labels[key] not in values):
            return False
    return True


def _head(selector: str) -> tuple[str, str, tuple[tuple[str, ...], str]]:
    if " in (" in selector.split(",")[0]:
        key, _, rest = selector.partition(" in (")
        values, _, rest = rest.partition(")")
        return key, "in", (tuple(value.strip() for value in values.split(",")), rest.lstrip(","))
    term, _, rest = selector.partition(",")
    key, operator, value = term.partition("=")
    return key, operator, ((value,), rest)


def has_fields(item: Object, selector: str) -> bool:
    """`path!=value` and `path=value`, as in spec.nodeName=a,status.phase!=Failed."""
    for term in filter(None, selector.split(",")):
        path, _, value = term.partition("=")
        found: Any = item
        for part in path.removesuffix("!").split("."):
            found = (found or {}).get(part)
        if (found == value) == path.endswith("!"):
            return False
    return True
