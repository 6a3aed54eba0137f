"""Building another project's command once: what its key depends on, and which sources are built."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.artifacts import go_modules, go_toolchain, program, versions
from sandbox.artifacts.go_modules import BuildFailed
from sandbox.artifacts.program import Program
from sandbox.artifacts.prometheus_binary import PROMETHEUS
from sandbox.controllers.catalog import CONTROLLERS, KUBERAY

PROGRAMS = (PROMETHEUS, *(row.program for row in CONTROLLERS.values()))
IDS = [each.name for each in PROGRAMS]


class Go:
    """In place of `go`: a module cache with one project, and what was built of it."""

    def __init__(self, cached: Path):
        self.cached = cached
        self.builds: list[tuple[list[str], dict[str, str]]] = []
        self.edited: list[tuple[str, str, str]] = []
        self.file("VERSION", "3.16.0\n")
        for folder in ("cmd/prometheus", "."):
            for name in ("main.go", "warnings.go", "main_test.go"):
                self.file(f"{folder}/{name}", "package main")
        for glob in (glob for globs in KUBERAY.program.copies.values() for glob in globs):
            self.file(glob.replace("*", "some"), "kind: A\n---\nkind: B\n---\n")

    def file(self, name: str, content: str) -> None:
        path = self.cached / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def run(self, go: Path, arguments: list[str], folder: Path) -> str:
        assert arguments[:3] == ["mod", "download", "-json"]
        assert arguments[3] in (folder / "go.mod").read_text()
        return json.dumps({"Dir": str(self.cached)})

    def build(self, command: list[str | Path], target: Path, progress: object) -> None:
        arguments = [str(part) for part in command]
        overlay = Path(arguments[arguments.index("-overlay") + 1])
        sources = json.loads(overlay.read_text())["Replace"]
        self.builds.append((arguments, {at: Path(file).read_text() for at, file in sources.items()}))
        if "-modfile" in arguments:
            ours = Path(arguments[arguments.index("-modfile") + 1])
            module, copy = ours.read_text().rsplit(" => ", 1)
            self.edited.append(
                (module, ours.with_suffix(".sum").read_text(), _text(Path(copy.strip(), "web/web.go")))
            )
        Path(arguments[arguments.index("-o") + 1]).write_text("built")


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """An empty cache folder, and a copy of our modules that no Go will ever see."""
    go, modules = Go(tmp_path / "modcache"), tmp_path / "modules"
    shutil.copytree(versions.MODULE, modules)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(versions, "MODULE", modules)
    monkeypatch.setattr(
        go_toolchain, "choose", lambda least: go_toolchain.Go(f"1.99.{least[-1]}", Path("/no/go"))
    )
    monkeypatch.setattr(go_modules, "run", go.run)
    monkeypatch.setattr(go_modules, "build", go.build)
    return go


def quiet(line: str) -> None: ...


def test_it_is_built_once(go: Go):
    assert not program.is_built(PROMETHEUS)

    first, second = program.built(PROMETHEUS, quiet), program.built(PROMETHEUS, quiet)

    assert first == second
    assert (first / "prometheus").read_text() == "built"
    assert len(go.builds) == 1
    assert program.is_built(PROMETHEUS)


def test_both_pairs_of_versions_share_the_build(go: Go, monkeypatch: pytest.MonkeyPatch):
    paths = set()
    for name in versions.PAIRS:
        monkeypatch.setenv(versions.SWITCH, name)
        paths.add(program.built(PROMETHEUS, quiet))

    assert len(paths) == len(go.builds) == 1


@pytest.mark.parametrize("each", PROGRAMS, ids=IDS)
def test_the_go_that_is_chosen_builds_what_the_module_file_asks_for(
    each: Program, monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[int, ...]] = []
    found = go_toolchain.Go("1.99.0", Path("/no/go"))
    monkeypatch.setattr(go_toolchain, "choose", lambda least: asked.append(least) or found)
    least = re.search(r"^go (\S+)$", (each.folder / "go.mod").read_text(), re.MULTILINE)

    program.is_built(each)

    assert least and asked[0] >= tuple(map(int, least[1].split(".")))


@pytest.mark.parametrize("each", PROGRAMS, ids=IDS)
def test_the_version_and_its_checksum_stand_in_the_module_files(each: Program):
    assert re.fullmatch(r"v\d+\.\d+\.\d+", each.version)
    assert f"{each.module} {each.version} h1:" in (each.folder / "go.sum").read_text()


@pytest.mark.parametrize("changed", ["prometheus/go.mod", "prometheus/go.sum", "lifeline/lifeline.go"])
def test_another_content_of_our_files_is_another_build(go: Go, changed: str):
    first = program.built(PROMETHEUS, quiet)
    file = versions.MODULE / changed
    file.write_text(file.read_text() + "// changed")

    assert program.built(PROMETHEUS, quiet) != first


@pytest.mark.parametrize(
    "change",
    [
        {"tags": "all"},
        {"package": ""},
        {"stamp": ""},
        {"copies": {"files": ("VERSION",)}},
        {"edits": {"main": "x"}},
        {"module_edits": {"VERSION": ("3.16", "3.17")}},
    ],
    ids=str,
)
def test_another_row_is_another_build(go: Go, change: dict):
    assert program.built(PROMETHEUS, quiet) != program.built(replace(PROMETHEUS, **change), quiet)


def test_the_sources_are_the_commands_own_and_ours_without_tests(go: Go):
    program.built(PROMETHEUS, quiet)

    [(arguments, sources)] = go.builds
    assert sources == {
        str(PROMETHEUS.folder / "main.go"): "package main",
        str(PROMETHEUS.folder / "warnings.go"): "package main",
        str(PROMETHEUS.folder / "slicewise_hold.go"): program.HOLD.format(module="slicewise.dev/prometheus"),
        str(PROMETHEUS.folder / "lifeline/lifeline.go"): (
            versions.MODULE / "lifeline/lifeline.go"
        ).read_text(),
    }
    assert "remove_all_sd" in arguments


def test_where_a_command_imports_what_is_internal_to_its_project_our_module_is_below_that(go: Go):
    module = PROMETHEUS.folder / "go.mod"
    module.write_text(
        module.read_text().replace("slicewise.dev/prometheus", "github.com/prometheus/prometheus/x")
    )

    program.built(PROMETHEUS, quiet)

    [(_, sources)] = go.builds
    hold = sources[str(PROMETHEUS.folder / "slicewise_hold.go")]
    assert 'import "github.com/prometheus/prometheus/x/lifeline"' in hold


@pytest.mark.parametrize(
    ("change", "version"),
    [({}, "3.16.0"), ({"version_file": ""}, PROMETHEUS.version)],
    ids=["file", "module"],
)
def test_it_says_its_version(go: Go, change: dict, version: str):
    program.built(replace(PROMETHEUS, **change), quiet)

    [(arguments, _)] = go.builds
    assert any(flag.endswith(f"version.Version={version}") for flag in arguments)


def test_a_path_that_no_flag_says_is_replaced_in_the_commands_own_source(go: Go):
    go.file("cmd/prometheus/main.go", 'package main // "/etc/certs" and "/etc/other"')
    edited = replace(PROMETHEUS, edits={'"/etc/certs"': "here", '"/etc/other"': "there"})

    program.built(edited, quiet)

    [(_, sources)] = go.builds
    assert sources[str(PROMETHEUS.folder / "main.go")] == "package main // here and there"
    assert (go.cached / "cmd/prometheus/main.go").read_text().count("/etc") == 2


def test_an_address_that_no_flag_says_is_replaced_in_a_copy_of_the_module(go: Go):
    go.file("web/web.go", 'package web // "0.0.0.0:%d"')
    edited = replace(PROMETHEUS, module_edits={"web/web.go": ("0.0.0.0", "127.0.0.1")})

    program.built(edited, quiet)

    [(module, sums, source)] = go.edited
    assert module == f"{(PROMETHEUS.folder / 'go.mod').read_text()}\nreplace {PROMETHEUS.module}"
    assert sums == (PROMETHEUS.folder / "go.sum").read_text()
    assert source == 'package web // "127.0.0.1:%d"'
    assert "0.0.0.0" in (go.cached / "web/web.go").read_text()


def test_the_estimate_is_reported_before_the_wait(go: Go):
    reported: list[str] = []

    program.built(PROMETHEUS, reported.append)

    assert reported == ["building Prometheus from source, once: about 3 minutes on 2 cores with empty caches"]


def test_what_is_copied_beside_it_is_json_with_every_document(go: Go):
    folder = program.built(KUBERAY.program, quiet)

    assert {path.name for path in folder.iterdir()} == {"crds", "rbac", "kuberay"}
    assert {path.name for path in (folder / "rbac").iterdir()} == {
        "service_account.json",
        "role.json",
        "role_binding.json",
    }
    assert json.loads((folder / "rbac/role.json").read_text()) == [{"kind": "A"}, {"kind": "B"}]


@pytest.mark.parametrize(
    ("each", "missing", "reported"),
    [
        (PROMETHEUS, "cmd", "has no cmd/prometheus"),
        (replace(PROMETHEUS, edits={"gone": ""}), "config", r"v0\.316\.0 has no gone to be replaced"),
        (
            replace(PROMETHEUS, module_edits={"VERSION": ("gone", "")}),
            "config",
            r"v0\.316\.0 has no gone in VERSION to be replaced",
        ),
        (KUBERAY.program, "config/rbac", r"ray-operator@v1\.5\.0 has no config/rbac/service_account\.yaml"),
    ],
    ids=["the command", "what is replaced", "what is replaced elsewhere", "what is copied"],
)
def test_a_module_without_what_is_wanted_is_reported_and_leaves_nothing(
    go: Go, each, missing: str, reported: str
):
    shutil.rmtree(go.cached / missing)

    with pytest.raises(BuildFailed, match=reported):
        program.built(each, quiet)
    assert not program.is_built(each)


def test_a_module_file_that_pins_something_else_is_reported(go: Go):
    with pytest.raises(BuildFailed, match=r"prometheus/go\.mod does not require example\.com/else"):
        _ = replace(PROMETHEUS, module="example.com/else").version
