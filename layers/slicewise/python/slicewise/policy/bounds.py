"""
The least and the most that a value of a policy may be, declared with its field (fields.py).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

KEY = "bounds"


@dataclass(frozen=True)
class Bounds:
    """
    Attributes:
        least, most: Both allowed. Numbers, or spans of time.
        why: What goes wrong outside of them, or what the value is.
        in_trial: The least where `tuning.trial` is set; None where that changes nothing.
    """

    least: Any
    most: Any
    why: str
    in_trial: Any = None

    def allow(self, value: Any) -> bool:
        return bool(self.least <= value <= self.most)

    def of_a_trial(self) -> Bounds:
        return self if self.in_trial is None else replace(self, least=self.in_trial)

    def __str__(self) -> str:
        return f"from {text_of(self.least)} to {text_of(self.most)}"


def bounds_of(section: type, name: str) -> Bounds:
    """
    Args:
        section: A dataclass of model.py.
        name: Of its field.
    """
    return all_bounds(section)[name]


def all_bounds(section: type) -> dict[str, Bounds]:
    return {one.name: one.metadata[KEY] for one in fields(section) if KEY in one.metadata}


def spelt(name: str) -> str:
    """A field's name as YAML has it: raiseAfter."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def text_of(value: Any) -> str:
    """As a policy writes it: 24h, 10m, 1s, 1.05, 16."""
    if not isinstance(value, timedelta):
        return f"{value:g}"
    seconds = int(value.total_seconds())
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
