"""
Lists of the Kubernetes API, page by page: the next page is on its way while this one is read.

An API server takes about as long to send a page as we take to read it. Of each page only what is kept
outlives it, so two pages are there at once, and never the whole list.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from slicewise.errors import Unavailable
from slicewise.kube.ref import Object

PAGE = 500
# How often a list is begun that grows too old while it is read.
_TRIES = 3
_decoder = json.JSONDecoder()
_HEAD = re.compile(r'\{"kind":"\w*","apiVersion":"[\w./-]*","metadata":')
_TAIL = ',"metadata":'

# Takes a continue token, "" for the first page; gives the page's JSON, None where the kind is not served.
Fetch = Callable[[str], str | None]
# Takes an item of a page, which is its own to change; returns what is kept of it, None where nothing is.
Keep = Callable[[dict[str, Any]], Object | None]


class Expired(Unavailable):
    """The rest of a list is not to be had: etcd no longer knows the moment at which it began."""


def read(fetch: Fetch, keep: Keep) -> tuple[Object, ...]:
    """
    What is kept of a list, in its order; all of one moment, and empty where the kind is not served.

    Args:
        fetch: Raises Expired where a token is too old. Called from a second thread, too, never twice at once.

    Raises:
        Expired: Each time that it was begun. The server would also go on with objects as they are by then;
            but who moved meanwhile could be in both halves of such a list, or in none.
    """
    for _ in range(_TRIES - 1):
        try:
            return _read(fetch, keep)
        except Expired:
            continue
    return _read(fetch, keep)


def _read(fetch: Fetch, keep: Keep) -> tuple[Object, ...]:
    page = fetch("")
    if page is None:
        return ()
    if continue_token(page):
        return _pages(fetch, keep, (), page)
    found, token = _kept(page, keep)
    return _pages(fetch, keep, found, fetch(token)) if token else found


def _pages(fetch: Fetch, keep: Keep, before: tuple[Object, ...], page: str | None) -> tuple[Object, ...]:
    """`before` is kept of the pages before `page`, which is None where the kind is served no longer."""
    # A function that starts pays for what it imports, and most lists have one page.
    from concurrent.futures import ThreadPoolExecutor

    found = [*before]
    with ThreadPoolExecutor(1) as thread:
        while page is not None:
            ahead = continue_token(page)
            coming = thread.submit(fetch, ahead) if ahead else None
            items, token = _kept(page, keep)
            found += items
            if not token:
                return tuple(found)
            page = coming.result() if coming else fetch(token)
    return ()


def _kept(page: str, keep: Keep) -> tuple[tuple[Object, ...], str]:
    """With the token of the next page, "" after the last."""
    with _uncollected():
        # The page is freed when this returns, and only what is kept is scanned.
        return _parsed(page, keep)


def _parsed(page: str, keep: Keep) -> tuple[tuple[Object, ...], str]:
    read = json.loads(page)
    kept = (keep(item) for item in read.get("items") or ())
    return tuple(item for item in kept if item is not None), read["metadata"].get("continue") or ""


def continue_token(page: str) -> str:
    """
    The token of the next page, found without reading the items; "" where there is none, or it is not found.

    A built-in kind's metadata come first, those of a custom one last. Within a text, a quote has a backslash
    before it, so neither is found in what an object says.
    """
    if head := _HEAD.match(page):
        return _decoder.raw_decode(page, head.end())[0].get("continue") or ""
    at = page.rfind(_TAIL)
    if at < 0:
        return ""
    metadata, end = _decoder.raw_decode(page, at + len(_TAIL))
    # Followed by the end of the page alone, they are the list's and no item's.
    return metadata.get("continue") or "" if page[end:].strip() == "}" else ""


@contextmanager
def _uncollected() -> Iterator[None]:
    """
    Without collecting garbage: a page is a hundred thousand objects, none of which refers back to another, so
    all are freed with the page. To scan them each time is a third of the work.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
