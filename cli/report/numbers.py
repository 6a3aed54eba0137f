"""
A report for programs: JSON with every figure of it. Pure.

A fraction is {"number": a float, "exact": "numerator/denominator"}; times are ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from slicewise.costs.report import Parts, Report
from slicewise.costs.wastes import Waste

# Of what the fields mean; a field may be added without another.
VERSION = 1


def as_json(report: Report, wastes: tuple[Waste, ...]) -> dict[str, Any]:
    return {"slicewise_report": VERSION, **plain(report), "wastes": plain(wastes)}


def plain(value: object) -> Any:
    if isinstance(value, Fraction):
        return {"number": float(value), "exact": str(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, tuple):
        return _of_tuple(value)
    return value


def _of_tuple(value: tuple[object, ...]) -> Any:
    names = getattr(value, "_fields", None)
    if names is None:
        return [plain(one) for one in value]
    found = {name: plain(one) for name, one in zip(names, value, strict=True)}
    return found | {"total": plain(value.total)} if isinstance(value, Parts) else found
