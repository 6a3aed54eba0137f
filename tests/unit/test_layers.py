"""Arrows between modules point one way; this reads every import and says which does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nonempty import nonempty

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "layers/slicewise/python/slicewise"
CAPABILITIES = ("onboarding", "slicing", "offhours", "fleet")

SHELL = {"acting", "passes", "batches"}
TOP = "app"
# Every other module is values and rules over them: everybody may import it, it imports only its like.
VALUES = {path.stem for path in RUNTIME.glob("*.py")} - SHELL - {TOP, "__init__"}


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


def of_ours(path: Path) -> set[str]:
    """First parts below the package: "model", "gateways", "onboarding" ..."""
    return {
        name.split(".")[1] for name in imported(path) if name.startswith("slicewise.") and name.count(".")
    } & {entry.stem for entry in RUNTIME.iterdir()}


RUNTIME_MODULES = list(modules(RUNTIME))


@pytest.mark.parametrize(("name", "path"), RUNTIME_MODULES, ids=[name for name, _ in RUNTIME_MODULES])
def test_a_module_imports_only_what_lies_below_it(name, path):
    first = name.split(".")[0]
    below = dict.fromkeys(VALUES, VALUES) | dict.fromkeys(SHELL, VALUES | SHELL)
    below |= {capability: VALUES | {capability} for capability in CAPABILITIES}
    below |= {
        "__init__": set(),
        "gateways": VALUES | {"gateways"},
        TOP: VALUES | SHELL | set(CAPABILITIES) | {"gateways"},
    }

    assert of_ours(path) <= below[first]


DECIDING = [
    (name, path) for name, path in RUNTIME_MODULES if name.split(".")[0] in VALUES | set(CAPABILITIES)
]


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
        assert of_ours(path) == set(), f"cdk_app.{name} imports {of_ours(path)}"
