"""
A policy's JSON Schema, for editors: they complete its fields, and mark what has the wrong form or bounds.

All of it comes from the fields' own declarations (slicewise.policy.fields). After a change of one:

    slicewise policy schema > policies/policy.schema.json

It refuses nothing that the reader takes. The reader refuses more: durations out of their bounds, time zones,
dates and GPU counts that do not exist, and what cannot be together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from slicewise.hardware import gpus
from slicewise.policy import fields, section_rules
from slicewise.policy.bounds import Bounds, text_of
from slicewise.policy.fields import Declared, Form
from slicewise.policy.model import Policy
from slicewise.policy.section_reader import DURATION
from slicewise.schedule import entries, weekly_hours

from cli.output import Answer

Schema = dict[str, Any]


def document() -> str:
    """The whole schema, as policies/policy.schema.json has it."""
    # Draft 7 is what yaml-language-server knows whole.
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "A policy of Slicewise"}
    return json.dumps(head | _table(Policy), indent=2) + "\n"


def schema() -> Answer:
    text = document()
    return Answer(json.loads(text), (text.removesuffix("\n"),))


def _table(section: type) -> Schema:
    found: Schema = {"type": "object", "additionalProperties": False, "properties": {}}
    for one in fields.declared(section):
        _add(found, one)
    return found


def _add(table: Schema, one: Declared) -> None:
    if isinstance(one.form, fields.Inline):
        for inner in fields.declared(one.form.fields):
            _add(table, inner)
        return
    outer, _, key = one.path.rpartition(".")
    if outer:
        empty = {"type": "object", "additionalProperties": False, "properties": {}}
        table = table["properties"].setdefault(outer, empty)
    table["properties"][key] = _of(one.form) | {"description": _description(one)} | _default(one)
    if one.required and one.unless:
        table.setdefault("allOf", []).append({"anyOf": [{"required": [key]}, {"required": [one.unless]}]})
    elif one.required:
        table.setdefault("required", []).append(key)


def _description(one: Declared) -> str:
    """With the bounds of a duration, which no schema can check."""
    return f"{one.help} A duration {one.form.bounds}." if isinstance(one.form, fields.Span) else one.help


def _default(one: Declared) -> Schema:
    value = one.default
    if one.by_default or one.required or isinstance(one.form, fields.Section):
        return {}
    if isinstance(value, timedelta):
        return {"default": text_of(value)}
    return {"default": list(value) if isinstance(value, tuple) else value}


def _of(form: Form) -> Schema:
    return _SCHEMAS[type(form)](form)


def _whole(pattern: re.Pattern[str] | str) -> str:
    """A pattern of a whole text, in the dialect that JSON Schema has."""
    source = pattern if isinstance(pattern, str) else pattern.pattern
    return f"^(?:{source.replace(chr(92) + 'Z', '$')})$"


def _between(bounds: Bounds) -> Schema:
    return {"minimum": bounds.least, "maximum": bounds.most}


def _any_value(form: fields.AnyValue) -> Schema:
    types = {"type": ["boolean", "integer", "string"]}
    return types | _between(form.bounds) | {"pattern": _whole(form.pattern)}


def _span(form: fields.Span) -> Schema:
    return _text("|".join((DURATION.pattern, *form.words)))


def _text(pattern: re.Pattern[str] | str) -> Schema:
    return {"type": "string", "pattern": _whole(pattern)}


def _list(form: fields.ListOf | fields.Tables) -> Schema:
    item = _of(form.item) if isinstance(form, fields.ListOf) else _table(form.fields)
    most = {"maxItems": form.most} if form.most else {}
    return {"type": "array", "minItems": 1, "uniqueItems": True, "items": item} | most


def _named(form: fields.Named) -> Schema:
    names = {"propertyNames": {"pattern": _whole(form.name.pattern)}, "minProperties": 1}
    return {"type": "object", "additionalProperties": _table(form.fields)} | names


def _number(form: fields.Number) -> Schema:
    return {"anyOf": [{"type": "number"} | _between(form.bounds), {"const": "none"}]}


_TIME_ZONE = r"UTC|(?!posix/|right/)[^/].*/.+"
_SLEEP_TIME = f"{weekly_hours.SPAN.pattern}|{entries.DATED.pattern}"
_SCHEMAS: Mapping[type, Callable[[Any], Schema]] = {
    fields.AnyValue: _any_value,
    fields.Choice: lambda form: {"enum": [str(option) for option in form.options]},
    fields.Flag: lambda form: {"type": "boolean"},
    fields.GpuName: lambda form: {"enum": list(gpus.names())},
    fields.ListOf: _list,
    fields.MigProfile: lambda form: {"enum": list(section_rules.mig_profiles())},
    fields.Named: _named,
    fields.Number: _number,
    fields.OneOf: lambda form: {"enum": list(form.values)},
    fields.Section: lambda form: _table(form.fields),
    fields.SleepTime: lambda form: _text(_SLEEP_TIME),
    fields.Span: _span,
    fields.Tables: _list,
    fields.Text: lambda form: _text(form.pattern),
    fields.TimeZone: lambda form: _text(_TIME_ZONE),
    fields.WeeklyHours: lambda form: _text(weekly_hours.SPAN),
    fields.Whole: lambda form: {"type": "integer"} | _between(form.bounds),
}
