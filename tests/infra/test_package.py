"""`pip install .` gives a `slicewise` that works in any folder, and needs no more than it declares."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
POLICY = (
    "offHours: {timeZone: Europe/Berlin, asleep: [Sat-Sun]}\n" + (ROOT / "policies/default.yaml").read_text()
)


@dataclass(frozen=True)
class Machine:
    """Where our package and what it declares are installed, and nothing else; `folder` begins empty."""

    python: Path
    folder: Path

    def slicewise(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self.python.with_name("slicewise"), *arguments]
        bare = {"PATH": os.defpath, "HOME": str(self.folder), "AWS_EC2_METADATA_DISABLED": "true"}
        return subprocess.run(command, cwd=self.folder, env=bare, capture_output=True, text=True, timeout=120)


def declared(requirements: Sequence[str]) -> set[str]:
    """Distributions that pip would install for these, by name; their versions here are checked on the way."""
    found: set[str] = set()
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        assert requirement.specifier.contains(metadata.version(requirement.name)), str(requirement)
        found |= {requirement.name, *declared(metadata.requires(requirement.name) or [])}
    return found


def top_level(distribution: str) -> Iterator[Path]:
    """Its folders and modules in our site-packages."""
    # Its scripts lie above site-packages: their first part is dots alone.
    names = {file.parts[0] for file in metadata.files(distribution) or () if file.parts[0].strip(".")}
    for name in names - {"__pycache__"}:
        yield Path(metadata.distribution(distribution).locate_file(name))


def give(site_packages: Path, distributions: set[str]) -> None:
    for distribution in distributions:
        for path in top_level(distribution):
            (site_packages / path.name).symlink_to(path)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Made by pip from the sources alone, without a network."""
    source, environment = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("environment")
    shutil.copy(ROOT / "pyproject.toml", source)
    for folder in ("cli", "bench", "traces", "layers"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    wheel = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "-w",
        str(source / "dist"),
    ]
    pip(*wheel, str(source))
    [built] = (source / "dist").glob("*.whl")
    pip("--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(built))
    [site_packages] = environment.glob("lib/*/site-packages")
    give(site_packages, declared(PROJECT["dependencies"]))
    return Machine(python, tmp_path_factory.mktemp("anywhere"))


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def policy(machine: Machine) -> str:
    (machine.folder / "night.yaml").write_text(POLICY)
    return "night.yaml"


def test_every_import_is_declared():
    files = [*(ROOT / "cli").rglob("*.py"), *(ROOT / "layers/slicewise/python").rglob("*.py")]
    imported = {name.partition(".")[0] for file in files for name in imports(file.read_text())}
    foreign = imported - sys.stdlib_module_names - {"cli", "bench", "traces", "slicewise"}

    assert {"botocore", "yaml"} <= foreign
    distributions = metadata.packages_distributions()
    needed = {distributions[name][0] for name in foreign}
    extras = PROJECT["optional-dependencies"]
    by_extra = {Requirement(r).name for extra in ("assess", "bill") for r in extras[extra]}
    assert needed - by_extra <= {Requirement(r).name for r in PROJECT["dependencies"]}
    assert by_extra <= needed


def imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_it_tells_its_commands(machine):
    answer = machine.slicewise("--help")

    assert answer.returncode == 0, answer.stderr
    commands = {"policy", "status", "explain", "calendar", "assess", "report", "backtest"}
    assert commands <= set(answer.stdout.split())


def test_what_an_extra_brings_is_asked_for_by_name_where_it_is_missing(machine):
    answer = machine.slicewise("assess")

    assert (answer.returncode, answer.stdout) == (2, "")
    assert "pip install kubernetes" in answer.stderr


def test_it_checks_a_policy(machine, policy):
    answer = machine.slicewise("policy", "check", policy)

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.startswith("night.yaml: fine.")


def test_it_prints_a_calendar(machine, policy):
    answer = machine.slicewise("calendar", policy, "--from", "2026-12-21", "--days", "7")

    assert answer.returncode == 0, answer.stderr
    assert "Sat 26 Dec 00:00" in answer.stdout


def test_it_asks_aws(machine):
    """As far as that goes without a Region."""
    answer = machine.slicewise("status")

    assert answer.returncode == 2
    assert "set AWS_REGION" in answer.stderr


def test_a_backtest_says_what_it_lacks_and_runs_with_the_extra(machine):
    rows = [f"{hour * 3600},pod-{pod},0.1,2000" for hour in range(3 * 24) for pod in range(3)]
    (machine.folder / "use.csv").write_text("\n".join(["time,pod,busy,memory_mib", *rows]))

    without = machine.slicewise("backtest", "use.csv")
    [site_packages] = machine.python.parents[1].glob("lib/*/site-packages")
    give(site_packages, declared(PROJECT["optional-dependencies"]["backtest"]))
    answer = machine.slicewise("backtest", "use.csv")

    assert (without.returncode, without.stderr) == (
        2,
        "slicewise: backtest needs numpy, which is not installed: pip install numpy\n",
    )
    assert answer.returncode == 0, answer.stderr
    assert "3 pods, 3 days" in answer.stdout and "packing-daily" in answer.stdout
    assert [path.name for path in machine.folder.iterdir() if path.suffix not in (".csv", ".yaml")] == []
