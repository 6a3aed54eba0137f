"""
One table of a policy's YAML, read field by field: what is wrong is noted with its path, value and remedy.

Each reader returns something usable, so that one mistake does not hide the next.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from slicewise.errors import PolicyProblem
from slicewise.kube import quantities
from slicewise.policy import strict_yaml
from slicewise.policy.bounds import Bounds

Choice = TypeVar("Choice", bound=StrEnum)

DURATION = re.compile(r"([0-9]+(s|m|h))+")  # as Karpenter's CRDs and Go write them

_NO_PERIOD = (
    "the device plugin has no such setting and would ignore it without a word; remove it. "
    "The driver alone decides how long a time slice is: for the pool, write `timeSlice: short`"
)
_NEVER = {
    "period": _NO_PERIOD,
    "interval": _NO_PERIOD,
    "defaultTimeSlice": _NO_PERIOD,
    "timeSlicing": "write `sharing: time-slicing` and `replicas: {start: 4, max: 8}`; "
    "the device plugin's own settings, `period` least of all (it does not exist), are not yours to set",
}


@dataclass
class Table:
    """A mapping under a path. Fields are taken one by one; `close` complains about those nobody asked for."""

    value: Any
    path: str
    problems: list[PolicyProblem]
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not isinstance(self.value, Mapping):
            what = "is empty" if self.value is None else "is not a table"
            self.note("", self.value, f"this {what}; write fields, such as `name: value`, under it")
            self.value = None

    def at(self, key: object) -> str:
        return ".".join(part for part in (self.path, str(key)) if part) or strict_yaml.WHOLE

    def note(self, key: object, value: object, remedy: str) -> None:
        self.problems.append(PolicyProblem(self.at(key), value, remedy))

    def has(self, key: str) -> bool:
        return self.value is not None and key in self.value

    def take(self, key: str) -> Any:
        self.taken.add(key)
        return self.value.get(key) if self.value is not None else None

    def table(self, key: str) -> Table:
        return Table(self.take(key), self.at(key), self.problems)

    def missing(self, key: str, remedy: str) -> None:
        if self.value is not None:
            self.note(key, None, f"this is missing; {remedy}")

    def choice(self, key: str, kind: type[Choice], default: Choice | None, why: str = "") -> Choice | None:
        options = " or ".join(kind)
        if not self.has(key):
            if default is None:
                self.missing(key, f"write one of {options}")
            return default
        value = self.take(key)
        try:
            return kind(value)
        except ValueError:
            self.note(key, value, f"write one of {options}{why}")
            return None

    def flag(self, key: str, default: bool) -> bool:
        if not self.has(key):
            return default
        value = self.take(key)
        if not isinstance(value, bool):
            self.note(key, value, "write true or false")
            return default
        return value

    def whole(self, key: str, bounds: Bounds) -> int | None:
        """A whole number within its bounds; None where it is something else, which is then noted."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not bounds.allow(value):
            self.note(key, value, f"write a whole number {bounds}; {bounds.why}")
            return None
        return value

    def text(self, key: str, default: str, pattern: re.Pattern[str], remedy: str) -> str:
        if not self.has(key):
            return default
        value = self.take(key)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.note(key, value, remedy)
            return default
        return value

    def span(self, key: str, default: timedelta, bounds: Bounds) -> timedelta:
        """A Go duration within its bounds."""
        text = self.duration(key, "", bounds, DURATION, "write a duration such as 30m, 24h or 1h30m")
        return quantities.duration(text) if text else default

    def duration(self, key: str, default: str, bounds: Bounds, pattern: re.Pattern[str], remedy: str) -> str:
        """A Go duration within its bounds, or another word that the pattern knows, as text."""
        text = self.text(key, default, pattern, remedy)
        if not (self.has(key) and DURATION.fullmatch(text)) or bounds.allow(quantities.duration(text)):
            return text
        self.note(key, text, f"write a duration {bounds}: {bounds.why}")
        return default

    def listed(self, key: str, remedy: str) -> list[Any] | None:
        """A list that is not empty and holds nothing twice."""
        value = self.take(key)
        if not isinstance(value, list) or not value:
            self.note(key, value, remedy)
            return None
        for index, item in enumerate(value):
            if item in value[:index]:
                self.note(f"{key}[{index}]", item, "this stands twice; remove it")
        return value

    def close(self, known: Iterable[str]) -> None:
        """`known` are all the fields of this table, also those that another field rules out."""
        if self.value is None:
            return
        for key, value in self.value.items():
            if key in self.taken:
                continue
            remedy = _NEVER.get(key)
            if remedy is None:
                close = difflib.get_close_matches(str(key), list(known), n=1)
                hint = f"did you mean {close[0]}? " if close else ""
                remedy = f"there is no such field; {hint}known here: {', '.join(known)}"
            self.note(key, value, remedy)
