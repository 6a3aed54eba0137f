"""Policies of every kind, made of what their fields declare: a new field is in them without a word here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from slicewise.errors import InvalidPolicy
from slicewise.hardware import gpus
from slicewise.policy import fields, section_rules
from slicewise.policy.bounds import text_of
from slicewise.policy.fields import Declared, Form
from slicewise.policy.model import Policy
from slicewise.policy.parse import parse

# Sources of samples: many fields exclude each other, and what is refused is taken out, so there are plenty.
_SAMPLES: Mapping[type, tuple[Any, ...]] = {
    fields.Flag: (True, False),
    fields.TimeZone: ("UTC", "Europe/Berlin", "America/St_Johns"),
    fields.WeeklyHours: ("Mon-Fri 08:00-18:00", "Sat", "Sun 22:00-02:00"),
    fields.SleepTime: ("Mon-Fri 20:00-07:00", "Sat-Sun", "2026-12-24", "2026-12-24 - 2027-01-01"),
    fields.GpuName: ("l4", "l40s", "a100", "h100", *gpus.names()[:2]),
    fields.MigProfile: ("1g.10gb", *section_rules.mig_profiles()[:4]),
}

# Of those that a pattern takes; a pattern that takes none of them makes texts of its own.
_TEXTS = (
    *(
        "a",
        "b-1",
        "gpu",
        "ml.example.com",
        "karpenter.k8s.aws",
        "EC2NodeClass",
        "ModelServer",
        "0",
        "1",
        "5%",
    ),
    *("http://p", "https://prüf.example.com:9090/a/", "spec.suspend", "spec.run.paused"),
    *("metadata.annotations[ml.example.com/stop]", "metadata.annotations[stop]"),
)


def _bounded(form: Any, text: Callable[[Any], Any], *others: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from((text(form.bounds.least), text(form.bounds.most), *others))


def _span(form: fields.Span) -> st.SearchStrategy[Any]:
    return _bounded(form, text_of, "90m", "1h30m", "24h", "36h", *form.words)


def _text(form: fields.Text) -> st.SearchStrategy[Any]:
    known = [text for text in _TEXTS if form.pattern.fullmatch(text)]
    printable = st.characters(min_codepoint=33, max_codepoint=126)
    return (
        st.sampled_from(known) if known else st.from_regex(form.pattern, fullmatch=True, alphabet=printable)
    )


def _list(form: fields.ListOf) -> st.SearchStrategy[Any]:
    return st.lists(_value(form.item), min_size=1, max_size=3, unique=True)


_VALUES: Mapping[type, Callable[[Any], st.SearchStrategy[Any]]] = {
    fields.AnyValue: lambda form: st.sampled_from((True, False, 0, 3, "yes")),
    fields.Choice: lambda form: st.sampled_from([str(option) for option in form.options]),
    fields.ListOf: _list,
    fields.Named: lambda form: st.dictionaries(
        st.sampled_from(("a", "b-1", "whole")), section(form.fields), min_size=1, max_size=3
    ),
    fields.Number: lambda form: _bounded(form, float, "none", 3, 1.5),
    fields.OneOf: lambda form: st.sampled_from(form.values),
    fields.Section: lambda form: section(form.fields),
    fields.Span: _span,
    fields.Tables: lambda form: st.lists(section(form.fields), min_size=1, max_size=2),
    fields.Text: _text,
    fields.Whole: lambda form: _bounded(form, int, 2, 4, 6),
}


def _value(form: Form) -> st.SearchStrategy[Any]:
    if type(form) in _SAMPLES:
        return st.sampled_from(_SAMPLES[type(form)])
    return _VALUES[type(form)](form)


@cache
def section(of: type) -> st.SearchStrategy[dict[str, Any]]:
    """Its table, with some of the fields that need not be written."""
    drawn = {one: _of_field(one) for one in fields.declared(of)}
    always = {one: value for one, value in drawn.items() if one.required}
    sometimes = {one: value for one, value in drawn.items() if not one.required}
    return st.fixed_dictionaries(always, optional=sometimes).map(_table)


def _of_field(one: Declared) -> st.SearchStrategy[Any]:
    return section(one.form.fields) if isinstance(one.form, fields.Inline) else _value(one.form)


def _table(values: Mapping[Declared, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one, value in values.items():
        if isinstance(one.form, fields.Inline):
            found |= value
        else:
            _put(found, one, value)
    return found


def _put(found: dict[str, Any], one: Declared, value: Any) -> None:
    outer, _, key = one.path.rpartition(".")
    (found.setdefault(outer, {}) if outer else found)[key] = value


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Of policies that are right: what the reader refuses is taken out, until it takes the rest."""
    found = draw(section(Policy))
    for _ in range(12):
        if not (wrong := _wrong_places(json.dumps(found))):
            return found
        for place in wrong:
            _take_out(found, place)
    assume(False)
    raise AssertionError("unreachable")


def _wrong_places(text: str) -> list[str]:
    try:
        parse(text, "drawn")
    except InvalidPolicy as refused:
        return [problem.path for problem in refused.problems]
    return []


def _take_out(document: Any, place: str) -> None:
    """The field at a path; where it is not there, since it is missing, the table around it."""
    *way, last = place.replace("[", ".[").split(".")
    for key in way:
        if (inner := _at(document, key)) is None:
            return
        document, around, name = inner, document, key
    if _at(document, last) is None:
        assume(bool(way))
        document, last = around, name
    if isinstance(document, list):
        index = int(last.strip("[]"))
        if index < len(document):
            del document[index]
    else:
        document.pop(last, None)


def _at(holder: Any, key: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(key)
    index = int(key.strip("[]")) if key.startswith("[") else -1
    return holder[index] if isinstance(holder, list) and 0 <= index < len(holder) else None
