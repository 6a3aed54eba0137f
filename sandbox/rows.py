"""Rows of a catalog, asked for by the names that people type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Row = TypeVar("Row")


class UnknownName(Exception):
    """No row has this name; the message lists those that there are."""


def row_named(rows: Mapping[str, Row], name: str, what: str) -> Row:
    """
    Args:
        what: A row is, in one word.

    Raises:
        UnknownName: No row has this name.
    """
    if name not in rows:
        raise UnknownName(f"no {what} {name!r}: there are {', '.join(rows)}")
    return rows[name]
