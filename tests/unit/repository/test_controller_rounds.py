"""Which tests of real controllers CI takes next, and the record that says so."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sandbox.controllers import catalog

ROOT = Path(__file__).parents[3]
FILE = ROOT / ".ci/controller_rounds.py"
FILES = sorted((ROOT / "tests/controllers").glob("test_*.py"))


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, with an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = importlib.util.spec_from_file_location("controller_rounds", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def record(folder: Path) -> Path:
    return folder / "slicewise/controller-rounds.json"


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_each_file_says_the_controllers_that_it_starts(rounds, file):
    """Else CI would have one built in the middle of its tests, or leave the file out for ever."""
    text = file.read_text()
    started = {
        name
        for names in re.findall(r"Controllers\.start\((?:karpenter_)?plane, (.*?)\)", text)
        for name in names.split(", ")
    }

    assert started == {f'"{name}"' for name in rounds.needed(text)} != set()
    assert rounds.needed(text) == [row.name for row in catalog.listed(",".join(rounds.needed(text)))]


def test_a_file_without_the_mark_needs_nothing(rounds):
    assert rounds.needed("pytestmark = pytest.mark.sandbox\n") == []


def test_what_has_never_run_comes_first_and_what_ran_last_comes_last(rounds, tmp_path):
    for name in ("keda", "kueue"):
        rounds.note(name, 60.0)

    assert rounds.longest_not_run(["keda", "kserve", "kueue"], rounds.read()) == ["kserve", "keda", "kueue"]

    rounds.note("keda", 90.0)
    assert rounds.longest_not_run(["keda", "kserve", "kueue"], rounds.read()) == ["kserve", "kueue", "keda"]
    assert rounds.read()["keda"].took_s == 90.0
    assert [path.name for path in record(tmp_path).parent.iterdir()] == ["controller-rounds.json"]


@pytest.mark.parametrize("content", [None, "", "[]", '{"keda": {"ended": 1}, "x": 3}', '{"keda": {"at": 1}}'])
def test_a_record_that_is_missing_or_cannot_be_read_is_no_record(rounds, tmp_path, content):
    if content is not None:
        record(tmp_path).parent.mkdir()
        record(tmp_path).write_text(content)

    assert rounds.read() == {}
    rounds.note("kueue", 60.0)
    assert set(json.loads(record(tmp_path).read_text())) == {"kueue"}
