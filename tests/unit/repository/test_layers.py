"""Which way modules import each other: pyproject.toml has the contracts, import-linter reads every import."""

from __future__ import annotations

import ast
import subprocess
from collections import Counter
from pathlib import Path

from importlinter.cli import lint_imports

from tests.support.nonempty import nonempty

ROOT = Path(__file__).parents[3]


def test_every_contract_is_kept(capsys):
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)

    assert status == 0, capsys.readouterr().out


def test_handlers_reach_the_world_through_app_alone():
    """They lie in folders that are no packages, so import-linter does not see them."""
    for path in nonempty(list((ROOT / "lambdas").rglob("*.py"))):
        reached = {found for found in imported(path) if found.startswith("slicewise.gateways")}
        assert not reached, f"{path} imports {reached}"


def test_a_folder_has_twenty_modules_at_most():
    command = ["git", "-c", "safe.directory=*", "ls-files", "*.py"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    modules = [Path(name) for name in nonempty(listed.stdout.split()) if not name.endswith("__init__.py")]
    folders = Counter(str(module.parent) for module in modules)

    assert {folder: count for folder, count in folders.items() if count > 20} == {}


def imported(path: Path) -> set[str]:
    """Dotted names, also of imports inside functions; `from a import b` gives both a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found
