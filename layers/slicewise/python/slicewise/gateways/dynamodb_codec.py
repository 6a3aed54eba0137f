"""
Values as DynamoDB spells them (AttributeValue: {"S": "text"}). Our items have some of its kinds, and any is
read, since another release may have more.

boto3 does the same, but importing it takes a cold start as long as two calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from slicewise.errors import UNREADABLE

T = TypeVar("T")


def item_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """
    Raises:
        TypeError: A value of a kind that our items do not have, such as a binary fraction. A set has text.
    """
    return {name: _spelt(value) for name, value in values.items()}


def values_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of item_of; sequences come back as lists."""
    return {name: _read(value) for name, value in item.items()}


def _spelt(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": str(value)}
        case bytes():
            return {"B": value}
        case int():
            return {"N": str(value)}
        case Mapping():
            return {"M": item_of(value)}
        case set() | frozenset():
            return {"SS": sorted(value)}
        case list() | tuple():
            return {"L": [_spelt(one) for one in value]}
    raise TypeError(f"items have no {type(value).__name__}: {value!r}")


def _read(spelt: Mapping[str, Any]) -> Any:
    [(kind, value)] = spelt.items()
    match kind:
        case "N":
            return _number(value)
        case "NULL":
            return None
        case "M":
            return values_of(value)
        case "SS":
            return set(value)
        case "NS":
            return set(map(_number, value))
        case "BS":
            return set(value)
        case "L":
            return [_read(one) for one in value]
    return value


def _number(text: str) -> int | float:
    # Ours are whole; a replica's own fields (aws:rep:updatetime) are not.
    return int(text) if text.lstrip("-").isdigit() else float(text)


class Fields:
    """
    An item that another release, or a person, may have written, read field by field: what is there and is of
    another kind than it should be counts as absent, and is named in `unreadable`.

    Args:
        item: As `values_of` gives it.
        needed: Fields that every release writes: named in `unreadable` also where they are absent.

    Attributes:
        unreadable: Names such as "at" or "findings[2]", in the order in which they were read.
    """

    def __init__(self, item: Mapping[str, Any], needed: tuple[str, ...] = ()):
        self._item, self._needed = item, needed
        self.unreadable: list[str] = []

    def text(self, name: str) -> str:
        return self._of(name, str, "")

    def flag(self, name: str) -> bool:
        return self._of(name, bool, False)

    def whole(self, name: str) -> int:
        # True is an int in Python, and no number in an item.
        found = self._of(name, int, 0)
        return self._not_read(name, 0) if isinstance(found, bool) else found

    def time(self, name: str) -> datetime | None:
        """In UTC; a time without a zone is none."""
        text = self.text(name)
        if not text and name not in self._needed:
            return None
        try:
            return utc_of(text)
        except UNREADABLE:
            return self._not_read(name, None)

    def json(self, name: str) -> Any:
        try:
            return json.loads(self.text(name))
        except UNREADABLE:
            return self._not_read(name, None)

    def each(self, name: str, read: Callable[[Any], T]) -> tuple[T, ...]:
        """The elements of a list of which `read` makes something; the others are named."""
        return tuple(self._elements(name, read))

    def _elements(self, name: str, read: Callable[[Any], T]) -> Iterator[T]:
        for index, one in enumerate(self._of(name, list, [])):
            try:
                yield read(one)
            except UNREADABLE:
                self._not_read(f"{name}[{index}]", None)

    def _of(self, name: str, kind: type[T], otherwise: T) -> T:
        found = self._item.get(name)
        if isinstance(found, kind):
            return found
        is_wrong = found is not None or name in self._needed
        return self._not_read(name, otherwise) if is_wrong else otherwise

    def _not_read(self, name: str, otherwise: T) -> T:
        if name not in self.unreadable:
            self.unreadable.append(name)
        return otherwise


def utc_of(text: Any) -> datetime:
    """For `Fields.each`: a time that names its zone."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return at.astimezone(UTC)


def text_of(value: Any) -> str:
    """For `Fields.each`."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def table_of(text: Any) -> Mapping[str, Any]:
    """For `Fields.each`: a JSON object that was stored as text."""
    found = json.loads(text)
    if not isinstance(found, Mapping):
        raise TypeError(f"{text!r} is no JSON object")
    return found
