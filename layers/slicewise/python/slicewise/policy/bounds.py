"""
The least and the most that a value of a policy may be, declared beside its field.

The reader checks it, its message names it, and docs/policies.md lists it: tests hold them together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any

_KEY = "bounds"


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


def bounded(default: Any, least: Any, most: Any, why: str, in_trial: Any = None) -> Any:
    """A field of a dataclass. Of a tuple, the bounds are those of each element."""
    return field(default=default, metadata={_KEY: Bounds(least, most, why, in_trial)})


def required(least: Any, most: Any, why: str) -> Any:
    """A field that has no default."""
    return field(metadata={_KEY: Bounds(least, most, why)})


def bounds_of(section: type, name: str) -> Bounds:
    """
    Args:
        section: A dataclass of model.py.
        name: Of its field.
    """
    return all_bounds(section)[name]


def all_bounds(section: type) -> dict[str, Bounds]:
    return {one.name: one.metadata[_KEY] for one in fields(section) if _KEY in one.metadata}


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
