"""`python -m sandbox` up, down and status, as a person uses them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.artifacts.tools import tools
from sandbox.processes import start_time
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("session") / "sandbox"
    yield folder
    run("down", folder)


@pytest.fixture(scope="module")
def kept(folder: Path) -> str:
    """What the first one said, which every test finds running: a start takes ten seconds of a core."""
    up = run("up", folder, "--keep")
    assert up.returncode == 0, up.stderr
    return up.stdout


def run(command: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "sandbox", command, "--folder", str(folder), *options]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300)


def children(folder: Path) -> list[int]:
    return [json.loads(path.read_text())["pid"] for path in folder.glob("world/**/processes/*.json")]


def kubeconfig_of(said: str) -> str:
    return said.split("export KUBECONFIG=")[1].splitlines()[0]


def test_a_kept_one_is_reached_with_kubectl(folder: Path, kept: str):
    nodes = subprocess.run(
        [tools().kubectl, "get", "nodes", "-o", "name"],
        env={**os.environ, "KUBECONFIG": kubeconfig_of(kept)},
        capture_output=True,
        text=True,
    )

    assert nodes.stdout.split() == ["node/system-0", "node/system-1"]
    assert f"export KUBECONFIG={kubeconfig_of(kept)}" in run("status", folder).stdout


def test_a_second_one_in_its_folder_is_refused(folder: Path, kept: str):
    again = run("up", folder, "--keep")

    assert again.returncode == 1
    assert "already runs" in again.stderr


def test_one_that_was_killed_does_not_stop_the_next_which_ends_with_down(folder: Path, kept: str):
    pids = children(folder)
    assert len(pids) == 6
    os.kill(json.loads((folder / "session.json").read_text())["pid"], signal.SIGKILL)

    eventually(lambda: not any(start_time(pid) for pid in pids))
    assert "nothing runs" in run("status", folder).stdout
    assert run("up", folder, "--keep").returncode == 0
    assert "export KUBECONFIG=" in run("status", folder).stdout, "it said to be ready before it was"

    pids = children(folder)
    assert len(pids) == 6
    assert "ended" in run("down", folder).stdout
    assert [pid for pid in pids if start_time(pid)] == []
    assert run("status", folder).returncode == 1
