"""
A policy as a deployment passes it to functions: checked already, and read without being checked again.

    # slicewise 1 0.1.0 5be0c1d2 1f0c2a9b
    {"pools":{"whole":{"sharing":"none","gpus":["l4"],"maxGpus":4}}}

The first line has the format, the release that checked the rest, a digest of the rules that it checked by
(rules_digest.py), and one of the rest. Below it is a policy as a person could write it (canonical.py), so
everything that reads policies reads this, too: a release that knows no such line, `slicewise policy check`, a
person who edits it. A function trusts it where its own rules checked it and nothing was changed since.
Everything else, such as YAML, an edited text, and what other rules checked, goes through the strict reader
(parse.py), which is imported only then. So does a text with keys that are not declared here.

The digest finds edits; it is no signature. An identity that may write the parameter may choose any policy
anyway. What
a forged line would gain them beyond that is held to its form here as well: texts, which become names in
requests, and switches, which become rights in a cluster.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from slicewise import __version__
from slicewise.errors import UNREADABLE, InvalidPolicy, PolicyProblem
from slicewise.kube import quantities
from slicewise.policy import fields, rules_digest, switches
from slicewise.policy.fields import Declared, Form
from slicewise.policy.model import MIN_REPLICAS, Consolidation, Policy, Pool, Replicas

Fields = TypeVar("Fields")
Document = Mapping[str, Any]
# Raised when what a policy says means something else than before.
FORMAT = 1
# Two ways, since what is deployed may have the longer one, which the first releases wrote.
_MARK = re.compile(
    r"# slicewise (?:policy, format )?([0-9]{1,6}),? (?:checked by )?([^\s,]{1,40})"
    r"(?: ([0-9a-f]{8}) ([0-9a-f]{8})|, sha256 ([0-9a-f]{16}))?"
)


@dataclass(frozen=True)
class Mark:
    """
    The first line: who checked the rest.

    Attributes:
        release: Such as "0.1.0".
        rules: 8 hex digits over the rules that it was checked by; empty where that is not recorded.
        digest: The first hex digits of a SHA-256 of the rest; empty where a newer format has none.
    """

    format: int
    release: str
    rules: str
    digest: str

    def __str__(self) -> str:
        return f"# slicewise {self.format} {self.release} {self.rules} {self.digest}"

    @property
    def by(self) -> str:
        return f"release {self.release}" + (f" (rules {self.rules})" if self.rules else "")


def marked(body: str) -> str:
    """
    Args:
        body: A policy in canonical form that this release has checked.
    """
    return f"{_ours(body)}\n{body}"


def read(text: str, name: str) -> Policy | None:
    """
    None where no check vouches for the text, so that it must be read strictly.

    Raises:
        InvalidPolicy: Its format is of a newer release.
    """
    mark, body = _parted(text)
    if mark is None:
        return None
    if mark.format > FORMAT:
        raise InvalidPolicy(name, (_of_a_newer_format(mark),), is_skew=True)
    if mark != _ours(body):
        return None
    try:
        return _section(Policy, json.loads(body), name=name)
    except UNREADABLE:
        return None


def checked_by_another(text: str) -> PolicyProblem | None:
    """
    What explains that a text is refused which other rules have taken; None where none have, or where it was
    edited since.
    """
    mark, body = _parted(text)
    if mark is None or not _digest(body).startswith(mark.digest):
        return None
    ours = _ours(body)
    if (mark.release, mark.rules) == (ours.release, ours.rules):
        return None
    remedy = (
        f"{mark.by} checked this policy, and {ours.by} reads it here; deploy once more, so that policies and "
        "functions are of one release"
    )
    return PolicyProblem("release", mark.release, remedy)


def _parted(text: str) -> tuple[Mark | None, str]:
    line, _, body = text.partition("\n")
    found = _MARK.match(line)
    if found is None:
        return None, text
    return Mark(int(found[1]), found[2], found[3] or "", found[4] or found[5] or ""), body


def _ours(body: str) -> Mark:
    """The mark of a text that this process checked, or would."""
    return Mark(FORMAT, __version__, rules_digest.rules(), _digest(body)[:8])


def _digest(body: str) -> str:
    # Of anything that a parameter may have, half a surrogate pair included.
    return hashlib.sha256(body.encode(errors="surrogatepass")).hexdigest()


def _of_a_newer_format(mark: Mark) -> PolicyProblem:
    remedy = (
        f"release {mark.release} wrote it, and release {__version__} reads format {FORMAT} at most; deploy "
        "the newer release again, or the policies of this one"
    )
    return PolicyProblem("format", mark.format, remedy)


# The inverse of canonical.py, by the same declarations


def _section(section: type[Fields], document: Document, **named: Any) -> Fields:
    _refuse_unknown(section, document)
    values = {one.attribute: _value(document, one) for one in fields.declared(section)}
    if section in _DERIVED:
        _DERIVED[section](document, values)
    return section(**values, **named)


def _refuse_unknown(section: type, document: Document) -> None:
    """What other rules know is not to be left out in silence."""
    known = fields.names(section)
    if any(key not in known for key in document):
        raise LookupError(f"{section.__name__} has {sorted(document)}")
    for table in {one.path.rpartition(".")[0] for one in fields.declared(section)} & document.keys():
        inner = fields.inner_names(section, table)
        if any(key not in inner for key in document[table]):
            raise LookupError(f"{section.__name__}.{table} has {sorted(document[table])}")


def _value(document: Document, one: Declared) -> Any:
    if isinstance(one.form, fields.Inline):
        return _inline(document, one, one.form.fields)
    outer, _, key = one.path.rpartition(".")
    table = document.get(outer, {}) if outer else document
    return _read(table[key], one.form) if key in table else _unwritten(document, one)


def _inline(document: Document, one: Declared, section: type) -> Any:
    inner = fields.declared(section)
    if inner[0].path not in document:
        return one.default
    return section(**{field.attribute: _value(document, field) for field in inner})


def _unwritten(document: Document, one: Declared) -> Any:
    if not one.required:
        return one.default
    if one.unless not in document:
        raise LookupError(one.path)
    return one.stand_in


def _read(value: Any, form: Form) -> Any:
    reader = _READERS.get(type(form))
    return reader(value, form) if reader else value


def _number(value: Any, form: fields.Number) -> Any:
    return None if value == "none" else float(value)


def _span(value: Any, form: fields.Span) -> Any:
    return value if form.is_text else quantities.duration(value)


def _text(value: Any, form: fields.Text) -> Any:
    if not form.pattern.fullmatch(value):
        raise ValueError(value)
    return value


def _list(value: Any, form: fields.ListOf) -> Any:
    return tuple(_read(item, form.item) for item in value)


def _tables(value: Any, form: fields.Tables) -> Any:
    return tuple(
        _switch(item) if form.fields is switches.Switch else _section(form.fields, item) for item in value
    )


def _switch(item: Document) -> switches.Switch:
    if any(switches.problems(item)) or item.keys() - set(switches.FIELDS):
        raise ValueError(item)
    return switches.of(item)


def _named(value: Any, form: fields.Named) -> Any:
    if not value:
        raise ValueError(value)
    return tuple(_section(form.fields, value[name], name=_text(name, form.name)) for name in sorted(value))


# What no single field says: section_rules.py adds it where a text is read


def _adopted_start(document: Document, values: dict[str, Any]) -> None:
    if values["adopt"]:
        found = values["replicas"]
        values["replicas"] = replace(found, start=MIN_REPLICAS) if found else Replicas()


def _what_was_written(document: Document, values: dict[str, Any]) -> None:
    if any(pool.adopt for pool in values["pools"]):
        written = document.get("consolidation", {})
        known = (one.attribute for one in fields.declared(Consolidation) if one.path in written)
        values["consolidation"] = replace(values["consolidation"], written=tuple(sorted(known)))


_DERIVED: Mapping[type, Callable[[Document, dict[str, Any]], None]] = {
    Policy: _what_was_written,
    Pool: _adopted_start,
}
_READERS: Mapping[type, Callable[[Any, Any], Any]] = {
    fields.Choice: lambda value, form: form.options(value),
    fields.ListOf: _list,
    fields.Named: _named,
    fields.Number: _number,
    fields.Section: lambda value, form: _section(form.fields, value),
    fields.Span: _span,
    fields.Tables: _tables,
    fields.Text: _text,
}
