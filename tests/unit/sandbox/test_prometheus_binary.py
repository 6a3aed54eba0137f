"""Building Prometheus once: what its key depends on, and which sources are built."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from sandbox import go_toolchain
from sandbox.cluster import go_modules, prometheus_binary, versions
from sandbox.cluster.go_modules import BuildFailed


class Go:
    """In place of `go`: a module cache with Prometheus' command, and what was built of it."""

    def __init__(self, cached: Path):
        self.cached = cached
        (cached / "cmd/prometheus").mkdir(parents=True)
        (cached / "VERSION").write_text("3.16.0\n")
        for name in ("main.go", "warnings.go", "main_test.go"):
            (cached / "cmd/prometheus" / name).write_text("package main")
        self.builds: list[tuple[list[str], dict[str, str]]] = []

    def run(self, go: Path, arguments: list[str], folder: Path) -> str:
        assert arguments == ["mod", "download", "-json", "github.com/prometheus/prometheus"]
        return json.dumps({"Dir": str(self.cached)})

    def build(self, command: list[str | Path], target: Path, progress: object) -> None:
        arguments = [str(part) for part in command]
        overlay = Path(arguments[arguments.index("-overlay") + 1])
        self.builds.append((arguments, json.loads(overlay.read_text())["Replace"]))
        Path(arguments[arguments.index("-o") + 1]).write_text("built")


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """An empty cache folder, and a copy of our module that no Go will ever see."""
    go, module = Go(tmp_path / "modcache"), tmp_path / "module"
    shutil.copytree(versions.MODULE, module)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(prometheus_binary, "MODULE", module / "prometheus")
    monkeypatch.setattr(prometheus_binary, "LIFELINE", module / "lifeline/lifeline.go")
    monkeypatch.setattr(
        go_toolchain, "choose", lambda least: go_toolchain.Go(f"1.99.{least[-1]}", Path("/no/go"))
    )
    monkeypatch.setattr(go_modules, "run", go.run)
    monkeypatch.setattr(go_modules, "build", go.build)
    return go


def quiet(line: str) -> None: ...


def test_it_is_built_once(go: Go):
    first, second = prometheus_binary.command(quiet), prometheus_binary.command(quiet)

    assert first == second
    assert first.read_text() == "built"
    assert len(go.builds) == 1


def test_both_pairs_of_versions_share_the_build(go: Go, monkeypatch: pytest.MonkeyPatch):
    paths = set()
    for name in versions.PAIRS:
        monkeypatch.setenv(versions.SWITCH, name)
        paths.add(prometheus_binary.command(quiet))

    assert len(paths) == len(go.builds) == 1


def test_the_go_that_is_chosen_builds_what_the_module_file_asks_for():
    least = re.search(r"^go (\S+)$", (prometheus_binary.MODULE / "go.mod").read_text(), re.MULTILINE)

    assert least and tuple(map(int, least[1].split("."))) <= versions.named("newest").go


@pytest.mark.parametrize(
    "changed", ["prometheus/go.mod", "prometheus/go.sum", "prometheus/hold.go", "lifeline/lifeline.go"]
)
def test_another_content_of_our_files_is_another_build(go: Go, changed: str):
    first = prometheus_binary.command(quiet)
    file = prometheus_binary.MODULE.parent / changed
    file.write_text(file.read_text() + "// changed")

    assert prometheus_binary.command(quiet) != first


def test_the_sources_are_the_commands_own_and_ours_without_tests(go: Go):
    prometheus_binary.command(quiet)

    [(arguments, sources)] = go.builds
    module = prometheus_binary.MODULE
    theirs = go.cached / "cmd/prometheus"
    assert sources == {
        str(module / "main.go"): str(theirs / "main.go"),
        str(module / "warnings.go"): str(theirs / "warnings.go"),
        str(module / "lifeline/lifeline.go"): str(prometheus_binary.LIFELINE),
    }
    assert "remove_all_sd" in arguments
    assert any(flag.endswith("version.Version=3.16.0") for flag in arguments)


def test_a_module_without_the_command_is_told_and_leaves_nothing(go: Go):
    shutil.rmtree(go.cached / "cmd")

    with pytest.raises(BuildFailed, match="has no cmd/prometheus"):
        prometheus_binary.command(quiet)
    assert not list((prometheus_binary.MODULE.parents[1] / "cache/slicewise").glob("prometheus-*/"))
