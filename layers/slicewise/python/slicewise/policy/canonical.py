"""
A policy's values as the one text that a deployment writes for them, by what its fields declare (fields.py).

It is a policy again, which the strict reader takes as well, and a short one, since a parameter is small. A
value that the reader gives anyway is left out: not every default may be written beside every other field. A
default that depends on other fields is written out: then checked.py needs no rule of section_rules.py for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from slicewise.policy import checked, fields, switches
from slicewise.policy.bounds import text_of
from slicewise.policy.fields import Declared, Form
from slicewise.policy.model import MIN_REPLICAS, Policy, Pool

_NOTHING: tuple[object, ...] = (None, (), "")


def dump(policy: Policy) -> str:
    """
    The text of its parameter, marked as checked by this release.

    Args:
        policy: As `parse` gave it: nothing is checked here.
    """
    # YAML takes JSON's escapes of letters beyond 16 bits for other ones: such letters are written as they
    # are.
    return checked.marked(json.dumps(document(policy), ensure_ascii=False, separators=(",", ":")))


def document(section: Any) -> dict[str, Any]:
    """Of a section, as JSON has it."""
    found: dict[str, Any] = {}
    for one in fields.declared(type(section)):
        value = getattr(section, one.attribute)
        if isinstance(one.form, fields.Inline):
            found |= document(value) if value else {}
        elif _is_written(section, one, value):
            outer, _, key = one.path.rpartition(".")
            (found.setdefault(outer, {}) if outer else found)[key] = _written(value, one.form)
    return _without_start(section, found) if isinstance(section, Pool) and section.adopt else found


def _is_written(section: Any, one: Declared, value: Any) -> bool:
    if one.attribute in getattr(section, "written", ()):  # that a person wrote it counts, not what it says
        return True
    if value == one.default:
        return bool(one.by_default) and value not in _NOTHING
    return not (one.unless and value is None)


def _without_start(pool: Pool, found: dict[str, Any]) -> dict[str, Any]:
    """An adopted NodePool begins at one pod a GPU, and what people may not write there is not written."""
    if pool.replicas is None or pool.replicas.start != MIN_REPLICAS:
        return {key: value for key, value in found.items() if key != "replicas"}
    return found | {"replicas": {"max": pool.replicas.max}}


def _written(value: Any, form: Form) -> Any:
    writer = _WRITERS.get(type(form))
    return writer(value) if writer else value


def _span(value: str | timedelta) -> str:
    return value if isinstance(value, str) else text_of(value)


def _text(value: str | switches.Path) -> str:
    return value if isinstance(value, str) else switches.written(value)


_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    fields.Choice: str,
    fields.ListOf: list,
    fields.Named: lambda value: {one.name: document(one) for one in value},
    fields.Number: lambda value: "none" if value is None else value,
    fields.Section: document,
    fields.Span: _span,
    fields.Tables: lambda value: [document(one) for one in value],
    fields.Text: _text,
}
