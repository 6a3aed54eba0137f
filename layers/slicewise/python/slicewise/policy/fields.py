"""
Each field of a policy, declared once: what it takes, what to write instead, and one line of help.

A field of a section (model.py, off_hours.py, switches.py) says so in its own declaration. From these come
the reader (section_reader.py), what functions get (canonical.py) and how they read it (checked.py), the JSON
Schema (schema.py), and the reference in `slicewise policy explain` and docs/policies.md (reference.py).
A new field is declared in its section; what it must not be together with is a function in section_rules.py.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from slicewise.policy.bounds import KEY as BOUNDS
from slicewise.policy.bounds import Bounds, spelt

_KEY = "declared"


# What a field takes. Each has the remedy of a value that is something else.


class Flag:
    remedy = "write true or false"


@dataclass(frozen=True)
class Choice:
    """`options` are the words of a StrEnum."""

    options: type[StrEnum]

    @property
    def remedy(self) -> str:
        return f"write one of {' or '.join(self.options)}"


@dataclass(frozen=True)
class Whole:
    """A whole number."""

    bounds: Bounds

    @property
    def remedy(self) -> str:
        return f"write a whole number {self.bounds}; {self.bounds.why}"


@dataclass(frozen=True)
class Number:
    """A number, or `none`, which is None."""

    bounds: Bounds

    @property
    def remedy(self) -> str:
        return f"write a number {self.bounds}, such as 2.0: {self.bounds.why}"


@dataclass(frozen=True)
class Span:
    """A Go duration such as 1h30m, read into a timedelta; or kept as text, where it may also be a word."""

    bounds: Bounds
    words: tuple[str, ...] = ()
    is_text: bool = False
    remedy: str = "write a duration such as 30m, 24h or 1h30m"


@dataclass(frozen=True)
class Text:
    """
    Attributes:
        pattern: Of the whole text; compiled, since the layer's build keeps that for each start.
        what: In a few words, what the text is.
    """

    pattern: re.Pattern[str]
    remedy: str
    what: str = "a text"


class TimeZone:
    remedy = "write an IANA time zone such as Europe/Berlin"


class WeeklyHours:
    """Such as Mon-Fri 08:00-18:00 (schedule/weekly_hours.py)."""

    remedy = "write days and hours such as Mon-Fri 08:00-18:00, or days alone such as Sat-Sun"


class SleepTime:
    """Weekly hours, or dates (schedule/entries.py)."""

    remedy = "write weekly hours such as Mon-Fri 20:00-07:00, or dates such as 2026-12-24"


class GpuName:
    """Of hardware/gpus.py."""

    remedy = "write the name of a GPU model that EC2 sells, such as l4"


class MigProfile:
    """Which ones there are depends on the pool's models: section_rules.py asks."""

    remedy = "write a MIG profile that each model in gpus has, such as 1g.10gb"


@dataclass(frozen=True)
class OneOf:
    """Of a list: one of a few values, which the list then has in this order."""

    values: tuple[str | int, ...]
    remedy: str


@dataclass(frozen=True)
class AnyValue:
    """True, false, a whole number or a text."""

    bounds: Bounds
    pattern: re.Pattern[str]
    remedy: str


@dataclass(frozen=True)
class ListOf:
    """
    A list that is not empty and has nothing twice, read into a tuple.

    Attributes:
        most: Items; None where any number will do.
        too_many: The remedy then.
    """

    item: Form
    remedy: str
    most: int | None = None
    too_many: str = ""


@dataclass(frozen=True)
class Section:
    """A table: a dataclass of declared fields."""

    fields: type
    remedy: str = ""


@dataclass(frozen=True)
class Tables:
    """
    A list of tables, each read into a dataclass of declared fields.

    Attributes:
        unique: Names of fields that no two tables may have alike.
        twice: The remedy then, at the last of these fields.
    """

    fields: type
    remedy: str
    most: int
    too_many: str
    unique: tuple[str, ...]
    twice: str


@dataclass(frozen=True)
class Named:
    """Tables by name; the dataclass has the name as its field `name`, and the tuple is sorted by it."""

    fields: type
    name: Text
    remedy: str


@dataclass(frozen=True)
class Inline:
    """A dataclass whose fields lie in the table around it; absent unless its first field is there."""

    fields: type
    remedy: str = ""


Form = (
    Flag
    | Choice
    | Whole
    | Number
    | Span
    | Text
    | TimeZone
    | WeeklyHours
    | SleepTime
    | GpuName
    | MigProfile
    | OneOf
    | AnyValue
    | ListOf
    | Section
    | Tables
    | Named
    | Inline
)


# How a field is declared


@dataclass(frozen=True)
class Declared:
    """
    One field as a policy has it.

    Attributes:
        attribute: Its name in the dataclass.
        path: Its name in YAML; with a dot where it lies in a table of its own.
        default: What it is where it is not written. MISSING where it must be, or a rule says.
        required: It must be written.
        unless: A field beside which it need not be.
        stand_in: In place of a required value that is missing or wrong, so that the reader goes on.
        by_default: The default in words, where no value says it.
    """

    attribute: str
    path: str
    form: Form
    help: str
    default: Any
    required: bool
    unless: str
    stand_in: Any
    by_default: str


MISSING = dataclasses.MISSING


def declare(
    form: Form,
    help: str,
    *,
    default: Any = MISSING,
    path: str = "",
    unless: str = "",
    stand_in: Any = None,
    by_default: str = "",
) -> Any:
    """
    A field of a section.

    Args:
        default: Without one, it must be written.
        path: Its YAML name, where that is not its own name in camelCase.
    """
    parts = {"form": form, "help": help, "path": path, "unless": unless}
    parts |= {"stand_in": stand_in, "by_default": by_default}
    metadata = {_KEY: parts}
    if bounds := getattr(form, "bounds", None) or getattr(getattr(form, "item", None), "bounds", None):
        metadata[BOUNDS] = bounds
    return dataclasses.field(default=default, metadata=metadata)


def flag(default: bool, help: str, **more: Any) -> Any:
    return declare(Flag(), help, default=default, **more)


def choice(default: StrEnum, help: str, **more: Any) -> Any:
    return declare(Choice(type(default)), help, default=default, **more)


def text(
    default: str, pattern: re.Pattern[str], remedy: str, help: str, what: str, by_default: str = ""
) -> Any:
    return declare(Text(pattern, remedy, what), help, default=default, by_default=by_default)


def declared(section: type) -> tuple[Declared, ...]:
    """Of a section, in the order in which they are read; without fields that no policy has."""
    return _all_declared(section)


@cache
def _all_declared(section: type) -> tuple[Declared, ...]:
    return tuple(_declared(one) for one in dataclasses.fields(section) if _KEY in one.metadata)


def _declared(one: dataclasses.Field[Any]) -> Declared:
    parts = one.metadata[_KEY]
    return Declared(
        attribute=one.name,
        path=parts["path"] or spelt(one.name),
        form=parts["form"],
        help=parts["help"],
        default=one.default,
        required=one.default is MISSING,
        unless=parts["unless"],
        stand_in=parts["stand_in"],
        by_default=parts["by_default"],
    )


def names(section: type) -> tuple[str, ...]:
    """The keys that its table may have, those of sections inlined in it included."""
    found = [name for one in declared(section) for name in _names(one)]
    return tuple(dict.fromkeys(found))


def inner_names(section: type, table: str) -> tuple[str, ...]:
    """The keys that a table of a section may have, whose fields are declared in the section itself."""
    places = (one.path.rpartition(".") for one in declared(section))
    return tuple(key for outer, _, key in places if outer == table)


def _names(one: Declared) -> tuple[str, ...]:
    if isinstance(one.form, Inline):
        return names(one.form.fields)
    return (one.path.split(".")[0],)
