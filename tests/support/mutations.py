"""What another release, a person or a fault could have made of a value of ours: strategies for hypothesis."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

# Of the right type, and wrong all the same: a time without a zone, or far away, a number that is none.
_ODD_TEXTS = (
    *("", "2026-11-25T12:00:00", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00"),
    *("NaN", "1e999999999", "{", "[[", "null", "quarantined", "arn:aws:s3:::x"),
)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.sampled_from(_ODD_TEXTS)
    | st.text(max_size=6)
)


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3)
        ),
        max_leaves=4,
    )


# As JSON holds them, and as Python reads them from it.
GARBAGE = _nested(_LEAVES | st.floats())
# As items of DynamoDB hold them.
ITEM_GARBAGE = _nested(_LEAVES | st.binary(max_size=3) | st.sets(st.text(min_size=1, max_size=3), min_size=1))


def mutated(value: Any, garbage: st.SearchStrategy[Any] = GARBAGE) -> st.SearchStrategy[Any]:
    """One to three fields more, fewer or otherwise, at any depth of a JSON value."""
    return st.just(value).flatmap(lambda found: _mutated(found, garbage))


@st.composite
def _mutated(draw: st.DrawFn, value: Any, garbage: st.SearchStrategy[Any]) -> Any:
    found = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(found))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(("replace", "drop", "add"))):
            case "drop":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(st.sampled_from(("later", "links", "version")))] = draw(garbage)
            case _:
                holder[key] = draw(garbage)
    return found


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
