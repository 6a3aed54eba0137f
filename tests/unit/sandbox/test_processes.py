"""Children are ended by pid and start time, never by pid alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.processes import ChildDied, Children, end_recorded, is_recorded_alive, start_time


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def record(folder: Path, name: str, content: str) -> Path:
    path = folder / "processes" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return path


def test_what_an_earlier_launcher_left_is_ended(tmp_path: Path, sleeper):
    path = record(tmp_path, "etcd", json.dumps({"pid": sleeper.pid, "started": start_time(sleeper.pid)}))
    assert is_recorded_alive(path)

    assert end_recorded(tmp_path) == ["etcd"]

    assert sleeper.wait(5) != 0
    assert not path.exists()


def test_a_pid_that_now_belongs_to_another_process_is_left_unchanged(tmp_path: Path, sleeper):
    path = record(tmp_path, "etcd", json.dumps({"pid": sleeper.pid, "started": "long ago"}))
    assert not is_recorded_alive(path)

    assert end_recorded(tmp_path) == []

    assert sleeper.poll() is None
    assert not path.exists()


def test_a_record_that_was_cut_off_is_dropped(tmp_path: Path):
    path = record(tmp_path, "etcd", '{"pid": 12')

    assert end_recorded(tmp_path) == []
    assert not path.exists()


def test_a_child_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path):
    child = Children(tmp_path).start("odd", [sys.executable, "-c", "raise SystemExit('no such flag')"])
    child.process.wait()

    with pytest.raises(ChildDied, match="no such flag"):
        child.check()


def test_stopping_forgets_the_child(tmp_path: Path):
    children = Children(tmp_path)
    child = children.start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
    assert is_recorded_alive(child.record)

    children.stop("sleeper")
    children.stop("sleeper")

    assert child.process.returncode is not None
    assert not child.record.exists()
