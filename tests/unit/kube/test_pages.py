"""Lists page by page: what is read ahead, what ends a list, and what begins it anew."""

from __future__ import annotations

import gc
import json
import threading
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slicewise.errors import Unavailable
from slicewise.kube.pages import Expired, continue_token, read

SCALARS = st.none() | st.booleans() | st.integers() | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["metadata", "items"]), inner)
    ),
    max_leaves=8,
)
# As Go's encoder writes structs, and unstructured objects, whose keys are sorted.
BUILT_IN, CUSTOM = ("kind", "apiVersion", "metadata", "items"), ("apiVersion", "items", "kind", "metadata")
MISLEADING = [
    {"metadata": {"name": "a", "continue": "an item's"}},
    {"metadata": {"name": '","metadata":{"continue":"a name"}}'}},
    {"metadata": {"name": "a"}, "spec": {"template": {"metadata": {"continue": "a template's"}}}},
]


def page(items, token="", order=BUILT_IN):
    metadata = {"resourceVersion": "7", **({"continue": token} if token else {})}
    fields = {"kind": "NoteList", "apiVersion": "x.example/v1", "metadata": metadata, "items": items}
    return json.dumps({key: fields[key] for key in order}, separators=(",", ":"), ensure_ascii=False) + "\n"


def named(*names):
    return [{"metadata": {"name": name}} for name in names]


def names(found):
    return [item["metadata"]["name"] for item in found]


def served(pages):
    """Fetches from a table of texts by token; a mapping of tokens to errors raises them."""
    asked = []

    def fetch(token):
        asked.append(token)
        found = pages[token]
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(found, Exception):
            raise found
        return found

    return fetch, asked


def everything(item):
    return item


@pytest.mark.parametrize("order", [BUILT_IN, CUSTOM], ids=["built in", "custom"])
@given(items=st.lists(st.sampled_from(MISLEADING) | st.dictionaries(st.text(), JSON)), token=st.text())
def test_the_next_page_is_known_before_the_items_are_read(order, items, token):
    assert continue_token(page(items, token, order)) == token


@given(st.permutations(BUILT_IN), st.lists(st.sampled_from(MISLEADING) | JSON, max_size=3), st.text())
def test_no_other_token_than_the_lists_is_ever_taken(order, items, token):
    assert continue_token(page(items, token, order)) in ("", token)


@pytest.mark.parametrize("order", [BUILT_IN, CUSTOM, ("items", "metadata", "kind", "apiVersion")])
def test_a_list_is_read_to_its_end_however_its_pages_are_laid_out(order):
    fetch, asked = served(
        {
            "": page(named("a"), "1", order),
            "1": page(named("b"), "2", order),
            "2": page(named("c"), order=order),
        }
    )

    assert names(read(fetch, everything)) == ["a", "b", "c"]
    assert asked == ["", "1", "2"]


def test_a_page_is_on_its_way_while_the_one_before_is_read():
    asked = threading.Event()

    def fetch(token):
        if token:
            asked.set()
        return page(named("b")) if token else page(named("a"), "more")

    def keep(item):
        assert asked.wait(10), "nobody asked for the second page"
        return item

    assert names(read(fetch, keep)) == ["a", "b"]


def test_what_is_not_kept_is_not_there():
    fetch, _ = served({"": page(named("a", "b"), "1"), "1": page(named("c"))})

    assert names(read(fetch, lambda item: None if item["metadata"]["name"] == "b" else item)) == ["a", "c"]


@pytest.mark.parametrize("order", [BUILT_IN, CUSTOM], ids=["built in", "custom"])
def test_a_list_that_grew_too_old_is_read_again_from_its_start(order):
    fetch, asked = served(
        {
            "": [page(named("a", "b"), "1", order), page(named("b"), "2", order)],
            "1": Expired("410"),
            "2": page(named("c"), order=order),
        }
    )

    assert names(read(fetch, everything)) == ["b", "c"]
    assert asked == ["", "1", "", "2"]


def test_a_list_that_grows_too_old_each_time_is_unavailable():
    fetch, asked = served({"": page(named("a"), "1"), "1": Expired("410")})

    with pytest.raises(Unavailable):
        read(fetch, everything)
    assert asked == ["", "1"] * 3


@pytest.mark.parametrize(
    "pages", [{"": None}, {"": page(named("a"), "1"), "1": None}], ids=["first", "later"]
)
def test_a_kind_that_is_not_served_has_no_objects_whenever_that_shows(pages):
    fetch, _ = served(pages)

    assert read(fetch, everything) == ()


def test_an_error_of_a_page_that_was_on_its_way_is_reported():
    fetch, asked = served({"": page(named("a"), "1"), "1": Unavailable("503")})

    with pytest.raises(Unavailable, match="503"):
        read(fetch, everything)
    assert asked == ["", "1"]


@pytest.mark.parametrize("before", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("keep", [everything, lambda item: 1 / 0], ids=["read", "failed"])
def test_garbage_is_looked_for_afterwards_as_before(before, keep):
    fetch, _ = served({"": page(named("a"), "1"), "1": page(named("b"))})
    during = []
    was = gc.isenabled()
    (gc.enable if before else gc.disable)()
    try:
        with suppress(ZeroDivisionError):
            read(fetch, lambda item: (during.append(gc.isenabled()), keep(item))[1])
        assert gc.isenabled() == before
        assert during and not any(during)
    finally:
        (gc.enable if was else gc.disable)()
