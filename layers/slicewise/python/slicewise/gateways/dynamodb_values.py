"""
Values as DynamoDB spells them (AttributeValue: {"S": "text"}), of the kinds that our items hold.

boto3 has more kinds of them, and importing it takes a cold start as long as two calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def item_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """
    Raises:
        TypeError: A value of a kind that our items do not hold, such as a binary fraction. A set holds text.
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
        case int():
            return {"N": str(value)}
        case Mapping():
            return {"M": item_of(value)}
        case set() | frozenset():
            return {"SS": sorted(value)}
        case list() | tuple():
            return {"L": [_spelt(one) for one in value]}
    raise TypeError(f"items hold no {type(value).__name__}: {value!r}")


def _read(spelt: Mapping[str, Any]) -> Any:
    [(kind, value)] = spelt.items()
    match kind:
        case "S" | "BOOL":
            return value
        case "N":
            # Ours are whole; a replica's own fields (aws:rep:updatetime) are not.
            return int(value) if value.lstrip("-").isdigit() else float(value)
        case "NULL":
            return None
        case "M":
            return values_of(value)
        case "SS":
            return set(value)
        case "L":
            return [_read(one) for one in value]
    raise TypeError(f"items hold no values of kind {kind}: {value!r}")
