"""
Reads a section of a policy from its table, by what its fields declare (fields.py).

Each reader takes one form, notes what is wrong, and returns something usable, so that one mistake does not
hide the next. First comes what another field rules out, then every field, then the rules over several
(section_rules.py), and at last the fields that there are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from slicewise.errors import PolicyProblem
from slicewise.hardware import gpus
from slicewise.kube import quantities
from slicewise.policy import fields, section_rules, switches
from slicewise.policy.bounds import Bounds
from slicewise.policy.fields import Declared
from slicewise.policy.reader import Table
from slicewise.policy.switches import Switch
from slicewise.schedule import entries, weekly_hours

Fields = TypeVar("Fields")
# No value: the field stays at its default, or at its stand-in.
_NONE = object()
DURATION = re.compile(r"([0-9]+(s|m|h))+")  # as Karpenter's CRDs and Go write them


def read(section: type[Fields], table: Table, **named: Any) -> Fields:
    """
    Args:
        section: A dataclass of declared fields.
        named: Further fields of it, which its table does not have.
    """
    section_rules.rule_out(section, table)
    values = {one.attribute: _value(table, one) for one in fields.declared(section)}
    values |= named
    section_rules.check(section, table, values)
    table.close(fields.names(section))
    for name, inner in table.tables.items():
        inner.close(fields.inner_names(section, name))
    return section(**values)


def _value(table: Table, one: Declared) -> Any:
    if isinstance(one.form, fields.Inline):
        return _inline(table, one, one.form.fields)
    outer, _, key = one.path.rpartition(".")
    if not outer:
        return _own_value(table, key, one)
    # It lies in a table of its own, whose fields are declared here.
    return _own_value(table.inner(outer), key, one) if table.has(outer) else _in_its_place(one)


def _own_value(table: Table, key: str, one: Declared) -> Any:
    if key in table.taken:  # ruled out, or not to be read
        return _in_its_place(one)
    if not table.has(key):
        return _unwritten(table, key, one)
    found = _READERS[type(one.form)](table, key, one.form)
    return _in_its_place(one) if found is _NONE else found


def _unwritten(table: Table, key: str, one: Declared) -> Any:
    if one.required and not (one.unless and table.has(one.unless)):
        table.missing(key, one.form.remedy)
    return _in_its_place(one)


def _in_its_place(one: Declared) -> Any:
    return one.stand_in if one.required else one.default


def _inline(table: Table, one: Declared, section: type) -> Any:
    inner = fields.declared(section)
    if not table.has(inner[0].path):
        return one.default
    return section(**{field.attribute: _value(table, field) for field in inner})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object, bounds: Bounds) -> bool:
    return _is_number(value) and isinstance(value, int) and bounds.allow(value)


def _flag(table: Table, key: str, form: fields.Flag) -> Any:
    value = table.take(key)
    return value if isinstance(value, bool) else _refused(table, key, form.remedy)


def _choice(table: Table, key: str, form: fields.Choice) -> Any:
    try:
        return form.options(table.take(key))
    except ValueError:
        return _refused(table, key, form.remedy)


def _whole(table: Table, key: str, form: fields.Whole) -> Any:
    value = table.take(key)
    return value if _is_whole(value, form.bounds) else _refused(table, key, form.remedy)


def _number(table: Table, key: str, form: fields.Number) -> Any:
    value = table.take(key)
    if value == "none":
        return None
    return (
        float(value) if _is_number(value) and form.bounds.allow(value) else _refused(table, key, form.remedy)
    )


def _span(table: Table, key: str, form: fields.Span) -> Any:
    value = table.take(key)
    if value in form.words:
        return value
    if not isinstance(value, str) or not DURATION.fullmatch(value):
        return _refused(table, key, form.remedy)
    bounds = form.bounds.of_a_trial() if table.value.get("trial") is True else form.bounds
    if not bounds.allow(quantities.duration(value)):
        return _refused(table, key, f"write a duration {bounds}: {bounds.why}")
    return value if form.is_text else quantities.duration(value)


def _text(table: Table, key: str, form: fields.Text) -> Any:
    value = table.take(key)
    is_one = isinstance(value, str) and form.pattern.fullmatch(value)
    return value if is_one else _refused(table, key, form.remedy)


def _time_zone(table: Table, key: str, form: fields.TimeZone) -> Any:
    value = table.take(key)
    problem = entries.zone_problem(value)
    return _refused(table, key, problem) if problem else value


def _mig_profile(table: Table, key: str, form: fields.MigProfile) -> Any:
    """Of any form: section_rules.py says which ones the pool's models have."""
    return table.take(key)


def _section(table: Table, key: str, form: fields.Section) -> Any:
    if form.remedy and not isinstance(table.take(key), Mapping):
        return _refused(table, key, form.remedy)
    return read(form.fields, table.table(key))


def _named(table: Table, key: str, form: fields.Named) -> Any:
    value = table.take(key)
    if not isinstance(value, Mapping) or not value:
        return _refused(table, key, f"a policy needs {key} by name; {form.remedy}")
    found: list[Any] = []
    for name, body in value.items():
        path = f"{table.at(key)}.{name}"
        if not isinstance(name, str) or not form.name.pattern.fullmatch(name):
            table.problems.append(PolicyProblem(path, name, form.name.remedy))
        found.append(read(form.fields, Table(body, path, table.problems), name=str(name)))
    return tuple(sorted(found, key=lambda one: one.name))


def _list(table: Table, key: str, form: fields.ListOf) -> Any:
    value = _items(table, key, form)
    if value is _NONE:
        return _NONE
    found: list[Any] = []
    for index, item in enumerate(value):
        if isinstance(form.item, fields.SleepTime):
            item = str(item)  # YAML reads a bare 2026-12-24 as a date
        if problem := _ITEMS[type(form.item)](item, form.item):
            table.note(f"{key}[{index}]", item, problem)
        else:
            found.append(item)
    if isinstance(form.item, fields.OneOf):
        return tuple(option for option in form.item.values if option in found)
    return tuple(found)


def _items(table: Table, key: str, form: fields.ListOf | fields.Tables) -> Any:
    """The items of a list that is not empty; those that are in it twice are noted."""
    value = table.take(key)
    if not isinstance(value, list) or not value:
        return _refused(table, key, form.remedy)
    for index, item in enumerate(value):
        if item in value[:index]:
            table.note(f"{key}[{index}]", item, "this is there twice; remove it")
    if form.most and len(value) > form.most:
        table.note(key, len(value), form.too_many)
    return value


def _tables(table: Table, key: str, form: fields.Tables) -> Any:
    value = _items(table, key, form)
    found: list[Any] = []
    if value is _NONE:
        return _NONE
    for index, item in enumerate(value):
        inner = Table(item, table.at(f"{key}[{index}]"), table.problems)
        one = _OWN_READERS[form.fields](inner) if form.fields in _OWN_READERS else read(form.fields, inner)
        if one is None:
            continue
        if any(all(getattr(one, name) == getattr(other, name) for name in form.unique) for other in found):
            inner.note(form.unique[-1], getattr(one, form.unique[-1]), form.twice)
        found.append(one)
    return tuple(found)


def _switch(table: Table) -> Switch | None:
    """All fields are asked about together, as of a mark on NodePools; None where one is wrong."""
    item = {key: table.take(key) for key in fields.names(Switch)}
    wrong = dict(switches.problems(item)) if isinstance(table.value, Mapping) else {"": ""}
    for key, remedy in wrong.items():
        if table.has(key):
            table.note(key, item[key], remedy)
        else:
            table.missing(key, remedy)
    table.close(fields.names(Switch))
    return None if wrong else switches.of(item)


def _refused(table: Table, key: str, remedy: str) -> Any:
    table.note(key, table.take(key), remedy)
    return _NONE


# Of an item of a list: what to write instead, or nothing where it is right


def _whole_problem(item: object, form: fields.Whole) -> str:
    right = _is_whole(item, form.bounds)
    return "" if right else f"write a whole number {form.bounds}: {form.bounds.why}"


def _one_of_problem(item: object, form: fields.OneOf) -> str:
    return "" if item in form.values and not isinstance(item, bool) else form.remedy


def _text_problem(item: object, form: fields.Text) -> str:
    return "" if isinstance(item, str) and form.pattern.fullmatch(item) else form.remedy


def _gpu_problem(item: object, form: fields.GpuName) -> str:
    return "" if isinstance(item, str) and gpus.find(item) else gpus.suggestion(str(item))


def _hours_problem(item: object, form: fields.WeeklyHours) -> str:
    return _error_of(weekly_hours.spans, item)


def _sleep_problem(item: object, form: fields.SleepTime) -> str:
    return _error_of(entries.entry, item)


def _error_of(read: Callable[[str], object], item: object) -> str:
    try:
        read(str(item))
    except ValueError as error:
        return str(error)
    return ""


_OWN_READERS: Mapping[type, Callable[[Table], Any]] = {Switch: _switch}
_ITEMS: Mapping[type, Callable[[object, Any], str]] = {
    fields.GpuName: _gpu_problem,
    fields.OneOf: _one_of_problem,
    fields.SleepTime: _sleep_problem,
    fields.Text: _text_problem,
    fields.WeeklyHours: _hours_problem,
    fields.Whole: _whole_problem,
}
_READERS: Mapping[type, Callable[[Table, str, Any], Any]] = {
    fields.Choice: _choice,
    fields.Flag: _flag,
    fields.ListOf: _list,
    fields.MigProfile: _mig_profile,
    fields.Named: _named,
    fields.Number: _number,
    fields.Section: _section,
    fields.Span: _span,
    fields.Tables: _tables,
    fields.Text: _text,
    fields.TimeZone: _time_zone,
    fields.Whole: _whole,
}
