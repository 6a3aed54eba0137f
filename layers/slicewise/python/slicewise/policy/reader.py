"""
One table of a policy's YAML: what is wrong in it is noted with its path, value and remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from slicewise.errors import PolicyProblem
from slicewise.policy import strict_yaml

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
    """A mapping under a path. Fields are taken one by one; `close` reports those that were not asked for."""

    value: Any
    path: str
    problems: list[PolicyProblem]
    taken: set[str] = field(default_factory=set)
    tables: dict[str, Table] = field(default_factory=dict)

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

    def inner(self, key: str) -> Table:
        """The same table each time, which `close` closes as well."""
        if key not in self.tables:
            self.tables[key] = self.table(key)
        return self.tables[key]

    def missing(self, key: str, remedy: str) -> None:
        if self.value is not None:
            self.note(key, None, f"this is missing; {remedy}")

    def rule_out(self, key: str, remedy: str) -> None:
        """Another field rules this one out: it is not read, and only that is reported."""
        if self.has(key) and key not in self.taken:
            self.note(key, self.take(key), remedy)

    def skip(self, key: str) -> None:
        """It is not read: what is wrong beside it is reported already."""
        self.taken.add(key)

    def is_sound(self, key: str) -> bool:
        """Nothing was noted of a field, nor of what is in it."""
        place = self.at(key)
        starts = (f"{place}.", f"{place}[")
        return not any(one.path == place or one.path.startswith(starts) for one in self.problems)

    def close(self, known: Iterable[str]) -> None:
        """`known` are all the fields of this table, also those that another field rules out."""
        known = tuple(known)
        if self.value is None:
            return
        for key, value in self.value.items():
            if key in self.taken:
                continue
            remedy = _NEVER.get(key)
            if remedy is None:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {close[0]}? " if close else ""
                remedy = f"there is no such field; {hint}known here: {', '.join(known)}"
            self.note(key, value, remedy)
