"""Examples that can be tried: what each needs, what the command answers, and its policy on this machine."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
import yaml
from slicewise.policy.model import parse

from sandbox import __main__ as command
from sandbox.controllers.catalog import CONTROLLERS
from sandbox.examples import run
from sandbox.examples.catalog import EXAMPLES, FOLDER, HERE, Example
from sandbox.examples.policy_text import with_fields

ROOT = Path(__file__).parents[3]
each_example = pytest.mark.parametrize("example", EXAMPLES.values(), ids=list(EXAMPLES))


@each_example
def test_an_example_has_what_its_row_says(example: Example):
    assert callable(example.load().show)
    assert len(set(example.claims)) == len(example.claims) > 0
    assert set(example.controllers) <= set(CONTROLLERS)


@each_example
def test_its_page_has_the_same_four_parts_and_says_how_to_try_it(example: Example):
    page = (example.folder / "README.md").read_text()

    parts = re.findall("^## (.+)$", page, re.MULTILINE)
    assert parts == ["Purpose", "Deploy", "What you will see", "Clean up"]
    assert f"python -m sandbox try {example.name}`" in page
    assert f"kubectl apply -k examples/{example.name}\n" in page
    assert f"kubectl delete -k examples/{example.name}\n" in page


@each_example
def test_an_examples_policy_is_valid_as_written_and_as_tried(example: Example):
    text = example.policy.read_text()
    for fields in (HERE, example.here):
        text = with_fields(text, fields)

    assert parse(text, example.name).pools == parse(example.policy.read_text(), example.name).pools


@each_example
def test_make_test_controllers_tries_each_example_once_its_controllers_are_built(example: Example):
    """CI reads the mark of the file, and leaves out what is not built."""
    tests = (ROOT / f"tests/controllers/examples/test_{example.name.replace('-', '_')}.py").read_text()
    needed = ", ".join(f'"{name}"' for name in example.controllers)

    assert f"pytestmark = pytest.mark.controllers({needed})\n" in tests
    assert re.findall(r'claims_that_fail\("([\w-]+)"', tests) == [example.name]


def test_the_page_on_video_encoding_raises_the_quota_of_slices_to_what_three_a_gpu_offer():
    folder = EXAMPLES["video-encode"].folder
    [queue] = [
        item
        for item in yaml.safe_load_all((folder / "kueue/queue.yaml").read_text())
        if item["kind"] == "ClusterQueue"
    ]
    [[patch]] = map(json.loads, re.findall(r"'(\[.*\])'", (folder / "README.md").read_text()))
    most = yaml.safe_load((folder / "policy.yaml").read_text())["pools"]["video"]["maxGpus"]

    assert patch["value"] == str(3 * most)
    *above, last = patch["path"].split("/")[1:]
    for step in above:
        queue = queue[int(step) if step.isdigit() else step]
    assert (queue["name"], last, queue[last]) == ("nvidia.com/gpu", "nominalQuota", str(2 * most))


def test_every_folder_of_workloads_can_be_tried():
    folders = {path.parent.name for path in FOLDER.glob("*/policy.yaml")}

    assert folders == set(EXAMPLES)


def test_an_unknown_example_is_answered_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["try", "slice-inferences"])

    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "no example 'slice-inferences'" in said
    assert all(name in said for name in EXAMPLES)


def test_the_list_names_each_example(capsys):
    assert command.main(["try", "--list"]) == 0

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(EXAMPLES)


@pytest.mark.parametrize(("holds", "status"), [(True, 0), (False, 1)])
def test_the_shell_learns_whether_an_example_held(holds, status, monkeypatch):
    asked = []
    monkeypatch.setattr(run, "run", lambda example, out: asked.append((example.name, str(out))) or holds)

    assert command.main(["try", "slice-inference"]) == status
    assert asked == [("slice-inference", "out/try-slice-inference.json")]


def test_what_is_another_here_replaces_its_fields_and_nothing_else():
    text = "pools: {a: {gpus: [l4]}}\nconsolidation: {policy: WhenEmpty, after: learned}\n"

    tried = yaml.safe_load(with_fields(text, {"consolidation": {"after": "10s"}, "nodeClass": {"name": "n"}}))

    assert tried == {
        "pools": {"a": {"gpus": ["l4"]}},
        "consolidation": {"policy": "WhenEmpty", "after": "10s"},
        "nodeClass": {"name": "n"},
    }


def test_a_date_and_hours_stay_as_people_wrote_them():
    tried = with_fields("offHours: {asleep: [2099-12-31, Mon-Fri 20:00-07:00]}", {"mode": "act"})

    assert yaml.safe_load(tried)["offHours"] == {"asleep": [date(2099, 12, 31), "Mon-Fri 20:00-07:00"]}


def test_a_policy_that_is_no_mapping_is_refused():
    with pytest.raises(ValueError, match="mapping of sections"):
        with_fields("- pools", {})
