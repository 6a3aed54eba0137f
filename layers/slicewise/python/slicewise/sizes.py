"""Texts and lists cut to what a service takes. Sizes are bytes of UTF-8, which is what services count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def cut(text: str, most: int) -> str:
    """
    The text where it has at most `most` bytes, else as much of its beginning as fits and how long it was.

    What UTF-8 cannot say (half a surrogate pair, as a command line's bytes may become) is a "?" from here on.

    Args:
        most: In bytes, some 40 at least: fewer have no room for the note.
    """
    whole = text.encode(errors="replace")
    if len(whole) <= most:
        return whole.decode()
    note = f"… (cut: {len(whole)} bytes)".encode()
    return whole[: most - len(note)].decode(errors="ignore") + note.decode()


def first_that_fit(items: Iterable[T], most: int, size: Callable[[T], int]) -> tuple[T, ...]:
    """The first of them which have room together in `most` bytes."""
    kept: list[T] = []
    for item in items:
        most -= size(item)
        if most < 0:
            break
        kept.append(item)
    return tuple(kept)
