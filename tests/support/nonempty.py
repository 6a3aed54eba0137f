"""What holds of every one of none says nothing: for collections that a test goes through."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

C = TypeVar("C", bound=Collection[object])


def nonempty(found: C) -> C:
    """
    `found` itself.

    Raises:
        AssertionError: There is nothing in it, so the test would pass whatever the code does.
    """
    assert len(found), "there is nothing here to judge, so this test would pass whatever the code does"
    return found
