"""What the command and the docs say of a policy's fields is what their declarations say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from slicewise.policy.bounds import bounds_of
from slicewise.policy.model import Pool, Tuning

from cli import policy_reference
from cli.main import main
from cli.policy_reference import entries

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "policies.md"
EVERY_WAY = ROOT / "policies" / "every-way.yaml"


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["policy", "explain", *arguments]) == 0
    return capsys.readouterr().out


def test_the_tables_of_the_docs_are_those_of_the_declarations():
    text = DOCS.read_text()

    assert policy_reference.written_into(text) == text, "run: python -m cli.policy_reference docs/policies.md"
    assert all(table in text for table in policy_reference.tables().values())


def test_what_a_page_says_beside_the_tables_stays_when_they_are_written():
    text = re.sub(r"(<!-- fields: .*? -->).*(<!-- /fields -->)", r"\1old\2", DOCS.read_text(), flags=re.S)

    assert policy_reference.written_into(text) == DOCS.read_text() != text


def test_a_field_is_explained_with_form_bounds_default_help_and_remedy(capsys):
    shown = explained(capsys, "pools.*.maxGpus")

    assert shown.startswith("pools.*.maxGpus\n  The most GPUs of each model")
    assert "Takes: a whole number from 1 to 10000." in shown
    assert "Default: must be written, but beside `adopt`." in shown
    assert (
        f"If it is wrong: write a whole number from 1 to 10000; {bounds_of(Pool, 'max_gpus').why}." in shown
    )


def test_a_duration_is_explained_with_its_bounds_those_of_a_trial_included(capsys):
    shown = explained(capsys, "tuning.dwell")

    assert "Takes: a duration from 10m (0s with `trial: true`) to 720h." in shown
    assert "Default: 6h." in shown
    assert f"write a duration {bounds_of(Tuning, 'dwell')}: {bounds_of(Tuning, 'dwell').why}." in shown


@pytest.mark.parametrize("entry", tuple(entries()), ids=lambda entry: entry.path)
def test_every_field_is_explained_by_its_path(entry, capsys):
    shown = explained(capsys, entry.path)

    assert shown.startswith(f"{entry.path}\n  {entry.field.help}\n")
    assert all(f"  {word}: " in shown for word in ("Takes", "Default", "If it is wrong"))


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("maxGpus", ["pools.*.maxGpus"]),
        ("pools.shared.maxGpus", ["pools.*.maxGpus"]),
        ("pools.shared.replicas.start", ["pools.*.replicas.start"]),
        ("replicas.start", ["pools.*.replicas.start"]),
        ("classes[1]", ["pools.*.classes"]),
        ("offHours.kinds[0].group", ["offHours.kinds[].group"]),
        ("karpenter", ["karpenter.install", "karpenter.on", "karpenter.interruptions"]),
        ("timeZone", ["consolidation.businessHours.timeZone", "offHours.timeZone"]),
    ],
)
def test_a_field_is_found_by_a_message_s_path_or_by_its_name_alone(name, paths):
    assert [entry.path for entry in policy_reference.find(name)] == paths


def test_a_table_is_explained_with_what_is_in_it(capsys):
    shown = explained(capsys, "consolidation.businessHours")

    assert re.findall(r"^consolidation\S+", shown, re.M) == [
        f"consolidation.businessHours{field}" for field in ("", ".timeZone", ".hours", ".nodes")
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("maxgpu", "pools.*.maxGpus"), ("tuning.dwel", "tuning.dwell"), ("jbos", "offHours.jobs")],
)
def test_a_field_that_there_is_not_is_answered_with_the_nearest_names(name, meant, capsys):
    assert main(["policy", "explain", name]) == 1

    shown = capsys.readouterr()
    assert shown.out == "" and f"there is no field {name}; did you mean {meant}" in shown.err


def test_without_a_field_all_are_listed(capsys):
    listed = explained(capsys).splitlines()

    assert [line.split()[0] for line in listed] == [entry.path for entry in entries()]


def test_every_field_stands_in_the_example_of_all():
    text = EVERY_WAY.read_text()

    # In quotes where YAML 1.1 reads a bare word otherwise.
    assert [entry.path for entry in entries() if not re.search(rf'\b{entry.name}"?:', text)] == []


def test_every_field_has_a_line_of_help_and_a_remedy():
    for entry in entries():
        assert re.fullmatch(r"[A-Z].{5,110}\.", entry.field.help), entry.path
        assert all(
            re.match(r"(write|name|EC2|Karpenter) ", one)
            for one in policy_reference.remedies(entry.field.form)
        )
