"""What is another of an example's objects on this machine: a kustomize overlay, a line for each change."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from sandbox.examples import overlay
from sandbox.examples.llm import scaler
from sandbox.examples.overlay import Change

CHANGE = Change("ScaledObject", "chat", "spec.triggers.0.metadata.threshold", "9", "a test")


def test_an_overlay_has_the_example_and_one_patch_for_each_change(tmp_path: Path):
    base = tmp_path / "examples/chat"
    base.mkdir(parents=True)

    folder = overlay.write(base, [CHANGE], tmp_path / "here/files")

    written = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert (folder / written["resources"][0]).resolve() == base
    [patch] = written["patches"]
    assert patch["target"] == {"kind": "ScaledObject", "name": "chat"}
    assert json.loads(patch["patch"]) == [
        {"op": "replace", "path": "/spec/triggers/0/metadata/threshold", "value": "9"}
    ]


def test_a_change_is_printed_with_its_value_on_one_line_and_its_reason():
    query = Change("ScaledObject", "chat", "spec.triggers.0.metadata.query", "sum(\n  a\n)\n", "a mean")

    assert str(query) == "here, ScaledObject chat has spec.triggers.0.metadata.query: sum( a ) (a mean)"


def test_each_change_of_the_llm_queue_is_of_a_field_that_its_file_has_with_another_value():
    """kustomize refuses a field that is not there, but no missing object, and no value that is there."""
    file = yaml.safe_load((scaler.FOLDER / "scaledobject.yaml").read_text())
    for change in scaler.changes("http://127.0.0.1:1"):
        found = file
        assert (change.kind, change.name) == (file["kind"], file["metadata"]["name"])
        for part in change.field.split("."):
            found = found[int(part) if part.isdigit() else part]

        assert found != change.value
        assert type(found) is type(change.value)
