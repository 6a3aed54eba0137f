"""Waiting for what comes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    read: Callable[[], T],
    what: str | Callable[[], object] | None = None,
    *,
    within_seconds: float = 300,
    every: float = 0.25,
) -> T:
    """
    The first true thing that `read` returns.

    Args:
        what: Told where none comes in time.
        within_seconds: Ends a test that fails anyway; long, since the machine may be busy with others.

    Raises:
        AssertionError: With `what`, or with what `read` returned last.
    """
    deadline = time.monotonic() + within_seconds
    while not (found := read()):
        if time.monotonic() > deadline:
            reported = what() if callable(what) else what
            raise AssertionError(f"not after {within_seconds:.0f} s: {reported or f'last it was {found!r}'}")
        time.sleep(every)
    return found
