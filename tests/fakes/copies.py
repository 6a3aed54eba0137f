"""Copies of worlds, which tests make by the thousand."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any, TypeVar

T = TypeVar("T")


def twin(one: T, memo: dict[int, Any], logs: str) -> T:
    """
    A deep copy, for a class's own `__deepcopy__`.

    Args:
        logs: Name of an attribute, a list that is only added to and whose entries never change: they are
            shared. Copying all that was ever planned or recorded took longer than playing on.
    """
    found = copy(one)
    memo[id(one)] = found
    for name, value in vars(one).items():
        setattr(found, name, list(value) if name == logs else deepcopy(value, memo))
    return found
