"""Arrows between modules point one way; this reads every import and says which does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nonempty import nonempty

ROOT = Path(__file__).parents[3]
RUNTIME = ROOT / "layers/slicewise/python/slicewise"

# From the top down: a room, or a module beside the rooms, imports only what stands on a lower floor.
FLOORS = (
    ("app",),
    ("reconcile", "gateways"),
    ("onboarding", "tuning", "offhours", "fleet"),
    ("ports", "rights"),
    ("pools",),
    ("planning", "trigger"),
    ("policy",),
    ("schedule", "hardware"),
    ("model",),
    ("kube",),
    ("errors", "sizes", "cold_start", "__init__"),
)
# Within `tuning`, likewise; its own modules, such as `plan`, stand on top.
FLOORS_OF_TUNING = (
    ("classes",),
    ("packing",),
    ("rule", "rollout", "consolidation"),
    ("state",),
    ("usage",),
)
SHELL = ("app", "reconcile", "gateways")


def modules(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(path.relative_to(folder).with_suffix("").parts)
        yield name.removesuffix("__init__").rstrip(".") or "__init__", path


def imported(path: Path) -> set[str]:
    """Dotted names, also of imports inside functions; `from a import b` gives both a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path, package: str = "slicewise", folder: Path = RUNTIME) -> set[str]:
    """First parts below the package: "model", "gateways", "onboarding" ..."""
    below = {
        name.removeprefix(f"{package}.").split(".")[0] for name in imported(path) if _within(name, package)
    }
    return below & {entry.stem for entry in folder.iterdir()}


def _within(name: str, package: str) -> bool:
    return name.startswith(f"{package}.")


def lower(floors: tuple[tuple[str, ...], ...], room: str) -> set[str]:
    at = next(n for n, floor in enumerate(floors) if room in floor)
    return {name for floor in floors[at + 1 :] for name in floor} | {room}


RUNTIME_MODULES = list(modules(RUNTIME))


def test_every_room_has_its_floor():
    there = {path.relative_to(RUNTIME).with_suffix("").parts[0] for path in RUNTIME.rglob("*.py")}

    assert there == {name for floor in FLOORS for name in floor}


@pytest.mark.parametrize(("name", "path"), RUNTIME_MODULES, ids=[name for name, _ in RUNTIME_MODULES])
def test_a_module_imports_only_what_lies_below_it(name, path):
    assert rooms(path) <= lower(FLOORS, name.split(".")[0])


@pytest.mark.parametrize("room", [room for floor in FLOORS_OF_TUNING for room in floor])
def test_a_room_of_tuning_imports_only_what_lies_below_it(room):
    folder = RUNTIME / "tuning"
    for name, path in nonempty(list(modules(folder / room))):
        found = rooms(path, "slicewise.tuning", folder)
        assert found <= lower(FLOORS_OF_TUNING, room), f"tuning.{room}.{name}"


DECIDING = [(name, path) for name, path in RUNTIME_MODULES if name.split(".")[0] not in SHELL]


@pytest.mark.parametrize(("name", "path"), DECIDING, ids=[name for name, _ in DECIDING])
def test_what_decides_never_reads_or_writes_the_world(name, path):
    """Only observe modules, which read through ports, may name them; nothing here opens a connection."""
    foreign = {"boto3", "botocore", "urllib3", "subprocess", "socket", "requests", "logging", "os", "time"}
    found = imported(path)

    assert not {module.split(".")[0] for module in found} & foreign
    assert "slicewise.ports" not in found or name.endswith("observe")


@pytest.mark.parametrize("folder", ["lambdas", "cli"])
def test_handlers_and_the_command_reach_the_world_through_app_alone(folder):
    for name, path in nonempty(list(modules(ROOT / folder))):
        reached = {found for found in imported(path) if found.startswith("slicewise.gateways")}
        assert not reached, f"{folder}.{name} imports {reached}"


def test_what_is_deployed_is_described_without_the_runtime():
    """Policies are read by a process of its own: synth refuses those that a Lambda would refuse."""
    for name, path in nonempty(list(modules(ROOT / "cdk_app"))):
        assert rooms(path) == set(), f"cdk_app.{name} imports {rooms(path)}"
