"""Building once: what the key depends on, and what a killed build leaves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sandbox import binaries, go_toolchain
from sandbox.binaries import BuildFailed
from sandbox.processes import Children

GO = go_toolchain.Go("1.99.0", Path("/nonexistent/go"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a module of one file that no Go will ever see."""
    module = tmp_path / "module"
    module.mkdir()
    (module / "main.go").write_text("package main")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(binaries, "MODULE", module)
    monkeypatch.setattr(go_toolchain, "choose", lambda: GO)
    monkeypatch.setattr(binaries, "_copy_files", lambda go, target: None)
    return tmp_path / "cache" / "slicewise"


def builds(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> list[Path]:
    made: list[Path] = []

    def build(go: Path, target: Path, progress: binaries.Progress) -> None:
        made.append(target)
        (target / "ctl").write_text("half")
        if error:
            raise error

    monkeypatch.setattr(binaries, "_compile", build)
    return made


def quiet(line: str) -> None: ...


def test_the_second_call_builds_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch):
    made = builds(monkeypatch)

    first, second = binaries.ensure(quiet), binaries.ensure(quiet)

    assert len(made) == 1
    assert first == second
    assert first.ctl.read_text() == "half"


def test_a_changed_module_is_built_anew(cache: Path, monkeypatch: pytest.MonkeyPatch):
    made = builds(monkeypatch)
    first = binaries.ensure(quiet)

    (binaries.MODULE / "main.go").write_text("package main // changed")

    assert binaries.ensure(quiet) != first
    assert len(made) == 2


@pytest.mark.parametrize("error", [BuildFailed("no network"), KeyboardInterrupt()], ids=["failed", "Ctrl-C"])
def test_a_build_that_fails_is_tried_again(cache: Path, monkeypatch: pytest.MonkeyPatch, error):
    builds(monkeypatch, error)
    with pytest.raises(type(error)):
        binaries.ensure(quiet)
    assert not list(cache.glob("*.tmp"))

    made = builds(monkeypatch)
    binaries.ensure(quiet)
    assert len(made) == 1


def test_what_a_killed_build_left_is_cleared(cache: Path, monkeypatch: pytest.MonkeyPatch):
    builds(monkeypatch)
    done = binaries.ensure(quiet).ctl.parent
    killed = done.rename(done.with_suffix(".dead.tmp"))  # as SIGKILL leaves it
    orphan = Children(killed).start("go-build", [sys.executable, "-c", "import time; time.sleep(60)"])

    binaries.ensure(quiet)

    assert orphan.process.wait(5) != 0, "a compiler that works for nobody"
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [done.name]


def test_the_estimate_is_told_before_the_wait(cache: Path, monkeypatch: pytest.MonkeyPatch):
    builds(monkeypatch)
    monkeypatch.setattr(binaries.os, "cpu_count", lambda: 2)
    told: list[str] = []

    binaries.ensure(told.append)

    assert "once: about 5 minutes on 2 cores" in told[0]


@pytest.mark.parametrize(
    ("version", "chosen"),
    [("1.26.6", "1.26.6"), ("1.27.0", "1.27.0"), ("1.19.8", "1.26.6"), (None, "1.26.6")],
    ids=["just enough", "newer", "too old", "none"],
)
def test_the_machines_go_is_taken_where_it_is_recent_enough(monkeypatch, version, chosen):
    monkeypatch.setattr(go_toolchain.shutil, "which", lambda name: "/usr/bin/go" if version else None)
    monkeypatch.setattr(go_toolchain, "_version", lambda path: version)

    go = go_toolchain.choose()

    assert go.version == chosen
    assert (go.path is not None) == (version == chosen)
