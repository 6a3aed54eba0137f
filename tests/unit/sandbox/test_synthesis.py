"""What is kept of a synthesis, given out again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import synthesis

CODE, TEMPLATE = "asset.1/index.py", "Slicewise.template.json"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    (folder / CODE).parent.mkdir(parents=True)
    for name in (CODE, TEMPLATE):
        (folder / name).write_text("as made")
    return folder


def test_what_is_written_to_one_copy_is_not_in_the_next(kept: Path, tmp_path: Path):
    first = synthesis.copied(kept, tmp_path / "first")
    (first / TEMPLATE).write_text("edited")
    (first / CODE).with_name("index.pyc").write_text("compiled")

    second = synthesis.copied(kept, tmp_path / "second")

    assert {path.relative_to(second).as_posix() for path in second.rglob("*.*") if path.is_file()} == {
        CODE,
        TEMPLATE,
    }
    assert (second / TEMPLATE).read_text() == (second / CODE).read_text() == "as made"


def test_assets_take_no_room_of_their_own(kept: Path, tmp_path: Path):
    out = synthesis.copied(kept, tmp_path / "out")

    assert (out / CODE).samefile(kept / CODE)
    assert not (out / TEMPLATE).samefile(kept / TEMPLATE)


def test_where_nothing_can_be_linked_all_is_copied(kept: Path, tmp_path: Path, monkeypatch):
    def refused(source: str, target: str) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(synthesis.os, "link", refused)
    out = synthesis.copied(kept, tmp_path / "out")

    assert (out / CODE).read_text() == "as made"
    assert not (out / CODE).samefile(kept / CODE)
