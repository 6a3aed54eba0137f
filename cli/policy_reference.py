"""
What a policy may say, for people: `slicewise policy explain`, and the tables of docs/policies.md.

All of it comes from the fields' own declarations (slicewise.policy.fields). After a change of one:

    python -m cli.policy_reference docs/policies.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from slicewise.policy import fields
from slicewise.policy.bounds import Bounds, text_of
from slicewise.policy.fields import Declared, Form
from slicewise.policy.model import Policy

from cli.output import Answer


@dataclass(frozen=True)
class Entry:
    """`path` leads to a field from the policy's root: pools.*.maxGpus, offHours.kinds[].group."""

    path: str
    field: Declared

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


def entries(section: type = Policy, prefix: str = "") -> Iterator[Entry]:
    """Every field of a policy, each table before what is in it."""
    for one in fields.declared(section):
        form, path = one.form, prefix + one.path
        if not isinstance(form, fields.Inline):
            yield Entry(path, one)
        if isinstance(form, _SECTIONS):
            yield from entries(
                form.fields, prefix if isinstance(form, fields.Inline) else path + _below(form)
            )


_SECTIONS = (fields.Inline, fields.Named, fields.Section, fields.Tables)


def _below(form: Form) -> str:
    """What is between a table's path and the name of a field in it."""
    return {fields.Named: ".*.", fields.Tables: "[]."}.get(type(form), ".")


# `slicewise policy explain`


def explain(name: str) -> Answer:
    """What a field takes and what it is for; of a table, also what is in it. 1 where there is none."""
    found = find(name)
    if not found:
        print(f"slicewise: there is no field {name}; {_nearest(name)}", file=sys.stderr)
        return Answer(None, status=1)
    inside = _inside(name, found)
    lines = "\n\n".join("\n".join(_lines(entry)) for entry in found).split("\n")
    rows = ["", *map(_row, inside)] if inside else []
    return Answer({"fields": [*map(_entry_value, found), *map(_entry_value, inside)]}, (*lines, *rows))


def list_all() -> Answer:
    """Each field with its line of help."""
    found = tuple(entries())
    return Answer({"fields": [_entry_value(entry) for entry in found]}, tuple(map(_row, found)))


def _entry_value(entry: Entry) -> dict[str, Any]:
    field = entry.field
    return {
        **{"path": entry.path, "help": field.help, "takes": takes(field.form), "default": default(field)},
        "remedies": list(remedies(field.form)),
    }


def find(name: str) -> tuple[Entry, ...]:
    """
    By its path, in which a pool may have its name and a list its index; or all fields of this name, wherever
    they lie. Of a table that is no field by itself, such as `karpenter`, its fields.
    """
    path, known = _general(name), tuple(entries())
    exact = tuple(entry for entry in known if entry.path == path)
    below = tuple(entry for entry in known if entry.path.startswith(f"{path}."))
    return (
        exact or below or tuple(entry for entry in known if entry.path.endswith((f".{path}", f"[].{path}")))
    )


def _general(name: str) -> str:
    """pools.shared.classes[0] → pools.*.classes."""
    path = re.sub(r"\[[0-9]*\]", "[]", name.strip()).removesuffix("[]")
    return re.sub(r"^pools\.[^.]+\.", "pools.*.", path)


def _nearest(name: str) -> str:
    known: dict[str, str] = {}
    for entry in entries():
        known |= {entry.path.lower(): entry.path, entry.name.lower(): entry.path}
    last = _general(name).rpartition(".")[2].lower()
    close = [*get_close_matches(_general(name).lower(), known, n=3), *get_close_matches(last, known, n=3)]
    paths = list(dict.fromkeys(known[one] for one in close))[:3]
    trigger = f"did you mean {' or '.join(paths)}? " if paths else ""
    return f"{trigger}List all with: slicewise policy explain"


def _inside(name: str, found: Iterable[Entry]) -> list[Entry]:
    paths = [
        entry.path + _below(entry.field.form) for entry in found if isinstance(entry.field.form, _SECTIONS)
    ]
    return [entry for entry in entries() if entry.path.startswith(tuple(paths))]


def _row(entry: Entry) -> str:
    return f"{entry.path:34} {entry.field.help}"


def _lines(entry: Entry) -> Iterator[str]:
    yield entry.path
    yield f"  {entry.field.help}"
    yield f"  Takes: {takes(entry.field.form)}."
    yield f"  Default: {default(entry.field)}."
    for remedy in remedies(entry.field.form):
        yield f"  If it is wrong: {remedy}."


def remedies(form: Form) -> Iterator[str]:
    """What is reported where a value is wrong, in the reader's words."""
    if isinstance(form, fields.ListOf):
        yield form.remedy
        yield from remedies(form.item)
    elif isinstance(form, fields.Span):
        yield form.remedy
        yield f"write a duration {form.bounds}: {form.bounds.why}"
    elif not isinstance(form, fields.Inline):
        yield form.remedy or "write fields, such as `name: value`, under it"
    if isinstance(form, fields.ListOf | fields.Tables) and form.too_many:
        yield form.too_many


def default(field: Declared) -> str:
    if field.by_default:
        return field.by_default
    if field.required:
        return "must be written"
    return "those of its fields" if isinstance(field.form, fields.Section) else _value(field.default)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return text_of(value) if isinstance(value, int | float | timedelta) else str(value)


def takes(form: Form) -> str:
    """In a few words."""
    return _TAKES[type(form)](form)


def _span(form: fields.Span) -> str:
    trial = form.bounds.of_a_trial().least
    shorter = f" ({text_of(trial)} with `trial: true`)" if trial != form.bounds.least else ""
    words = "".join(f", or {word}" for word in form.words)
    return f"a duration from {text_of(form.bounds.least)}{shorter} to {text_of(form.bounds.most)}{words}"


def _list(form: fields.ListOf) -> str:
    most = f", {form.most} at most" if form.most else ""
    return f"a list of {_MANY[type(form.item)](form.item)}{most}"


def _any_of(words: Iterable[object]) -> str:
    *others, last = map(str, words)
    return f"{', '.join(others)} or {last}"


_MANY: Mapping[type, Callable[[Any], str]] = {
    fields.GpuName: lambda form: "GPU models",
    fields.OneOf: lambda form: f"some of {', '.join(map(str, form.values))}",
    fields.SleepTime: lambda form: "weekly hours or dates",
    fields.Text: lambda form: "names",
    fields.WeeklyHours: lambda form: "weekly hours",
    fields.Whole: lambda form: f"whole numbers {form.bounds}",
}
_TAKES: Mapping[type, Callable[[Any], str]] = {
    fields.AnyValue: lambda form: f"true, false, a whole number {form.bounds}, or a text",
    fields.Choice: lambda form: _any_of(form.options),
    fields.Flag: lambda form: "true or false",
    fields.ListOf: _list,
    fields.MigProfile: lambda form: "a MIG profile",
    fields.Named: lambda form: "tables by name",
    fields.Number: lambda form: f"a number {form.bounds}, or none",
    fields.Section: lambda form: "a table",
    fields.Span: _span,
    fields.Tables: lambda form: f"a list of tables, {form.most} at most",
    fields.Text: lambda form: form.what,
    fields.TimeZone: lambda form: "a time zone",
    fields.Whole: lambda form: f"a whole number {form.bounds}",
}


# The tables of docs/policies.md


def tables() -> dict[str, str]:
    """By the name in their markers."""
    return {"bounds": "\n".join(_bounds()), "fields": "\n".join(_fields())}


def written_into(text: str) -> str:
    """A page with its tables as they are now; what else it says stays."""
    for name, table in tables().items():
        start, end = f"<!-- {name}: python -m cli.policy_reference docs/policies.md -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def _bounds() -> Iterator[str]:
    yield "| field | least | default | most |"
    yield "|---|---|---|---|"
    for entry in entries():
        if (bounds := _bounds_of(entry.field.form)) and not isinstance(entry.field.form, fields.AnyValue):
            least, most = text_of(bounds.least), text_of(bounds.most)
            yield f"| `{entry.path}`{_each(entry)} | {least} | {_bare(entry.field)} | {most} |".replace(
                "|  |", "| |"
            )


def _bounds_of(form: Form) -> Bounds | None:
    return getattr(form, "bounds", None) or getattr(getattr(form, "item", None), "bounds", None)


def _each(entry: Entry) -> str:
    return ", each" if isinstance(entry.field.form, fields.ListOf) else ""


def _bare(field: Declared) -> str:
    """The value alone, where there is one."""
    return "" if field.required else _value(field.default).strip("[]")


def _fields() -> Iterator[str]:
    yield "| field | takes | default | what it is |"
    yield "|---|---|---|---|"
    for entry in entries():
        field = entry.field
        yield f"| `{entry.path}` | {takes(field.form)} | {default(field)} | {field.help} |"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(written_into(page.read_text(encoding="utf-8")), encoding="utf-8")
