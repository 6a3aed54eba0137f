"""The JSON Schema that editors read: it takes what the reader takes, and refuses wrong forms and bounds."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from slicewise.errors import InvalidPolicy
from slicewise.policy import fields
from slicewise.policy.model import parse

from cli import policy_schema
from cli.main import main
from cli.policy_reference import Entry, entries
from tests.support.mutations import mutated

POLICIES = Path(__file__).parents[3] / "policies"
FILE = POLICIES / "policy.schema.json"
SCHEMA = jsonschema.Draft7Validator(json.loads(policy_schema.document()))


def read(path: Path) -> Any:
    """As the reader has it: a bare date counts by its text."""
    return json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))


def problems(policy: Any) -> set[str]:
    try:
        parse(json.dumps(policy), "test")
    except InvalidPolicy as refused:
        return {problem.path for problem in refused.problems}
    return set()


EVERY_WAY = read(POLICIES / "every-way.yaml")
# By path: where a field is in that policy, or may be put. `trial` would let times be shorter.
PLACES = {"pools.*.profile": "slices", "pools.*.classes": "mixed", "pools.*.movesADay": "mixed"}


def put(entry: Entry, value: object) -> Any:
    """The policy with every field, of which one is `value`."""
    policy = copy.deepcopy(EVERY_WAY)
    *way, last = entry.path.replace("*", PLACES.get(entry.path, "shared")).replace("[]", ".0").split(".")
    inner = policy
    for key in way:
        inner = inner[int(key) if isinstance(inner, list) else key]
    inner[last] = value
    return policy


def wrong(form: fields.Form) -> list[object]:
    """Values of another form, or just outside of the bounds."""
    always: list[object] = [None, {"no": "field"}, [], [{}], "", "no such word!"]
    match form:
        case fields.Whole(bounds):
            return [*always, bounds.least - 1, bounds.most + 1, 1.5, True, "4"]
        case fields.Number(bounds):
            return [*always, bounds.least - 0.01, bounds.most + 1, True, "2.0"]
        case fields.AnyValue(bounds):
            return [None, {}, [], "", "x" * 64, -1, bounds.most + 1, 1.5]
        case fields.ListOf() | fields.Tables():
            return [None, {"no": "field"}, "", 4, *wrong_lists(form)]
        case fields.Section() | fields.Named():
            return [None, [], "", 4, {"no field": 1}]
        case _:
            return [*always, 7, True] if not isinstance(form, fields.Flag) else [*always, 7, "true"]


def wrong_lists(form: fields.ListOf | fields.Tables) -> list[object]:
    if isinstance(form, fields.Tables):
        return [[], [None], [{}], [EVERY_WAY["offHours"]["kinds"][0] | {"no": "field"}]]
    return [[], *([value] for value in wrong(form.item))]


FIELDS = [entry for entry in entries() if not isinstance(entry.field.form, fields.MigProfile)]


@pytest.mark.parametrize("entry", FIELDS, ids=lambda entry: entry.path)
def test_what_the_reader_refuses_by_form_or_bounds_the_schema_refuses(entry):
    for value in wrong(entry.field.form):
        policy = put(entry, value)

        assert problems(policy), value
        assert not SCHEMA.is_valid(policy), value


@pytest.mark.parametrize("entry", FIELDS, ids=lambda entry: entry.path)
def test_what_must_be_written_the_schema_asks_for(entry):
    policy = put(entry, "to be removed")
    *way, last = entry.path.replace("*", PLACES.get(entry.path, "shared")).replace("[]", ".0").split(".")
    inner = policy
    for key in way:
        inner = inner[int(key) if isinstance(inner, list) else key]
    del inner[last]

    assert SCHEMA.is_valid(policy) != entry.field.required
    assert bool(problems(policy)) >= entry.field.required


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_our_policies_name_the_schema_and_are_valid(path):
    assert path.read_text().startswith(f"# yaml-language-server: $schema={FILE.name}\n")
    assert [error.message for error in SCHEMA.iter_errors(read(path))] == []


@settings(max_examples=150)
@given(mutated(EVERY_WAY))
def test_what_the_reader_takes_the_schema_takes(policy):
    text = json.dumps(policy)
    assert problems(policy) or SCHEMA.is_valid(json.loads(text))


def test_a_pool_that_adopts_needs_no_limit_in_the_schema_either():
    pool = {"sharing": "time-slicing", "gpus": ["l4"]}

    assert SCHEMA.is_valid({"pools": {"a": pool | {"adopt": "gpu"}}})
    assert not SCHEMA.is_valid({"pools": {"a": pool}})


@pytest.mark.parametrize("entry", FIELDS, ids=lambda entry: entry.path)
def test_a_default_is_valid_where_it_is_written(entry):
    if entry.field.by_default or entry.field.required or isinstance(entry.field.form, fields.Section):
        return
    value = entry.field.default
    written = policy_schema._default(entry.field)["default"] if isinstance(value, timedelta) else value
    policy = put(entry, list(written) if isinstance(written, tuple) else written)

    assert [error.message for error in SCHEMA.iter_errors(policy)] == []


def test_the_file_is_what_the_declarations_give(capsys):
    assert main(["policy", "schema"]) == 0
    printed = capsys.readouterr().out

    assert FILE.read_text() == printed, "run: slicewise policy schema > policies/policy.schema.json"
    jsonschema.Draft7Validator.check_schema(json.loads(printed))
