"""What a person who waits sees meanwhile: on standard error, and on a terminal alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Back to the line's first column, and all of it erased.
_ERASE = "\r\x1b[2K"


@contextmanager
def shown(message: str) -> Iterator[None]:
    """A line while the body runs; nothing of it stays."""
    if not sys.stderr.isatty():
        yield
        return
    print(f"{message} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(_ERASE, end="", file=sys.stderr, flush=True)
