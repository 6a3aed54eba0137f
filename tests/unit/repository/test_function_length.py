"""Functions are short: a reader sees one whole, and its name says what it does."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nonempty import nonempty

ROOT = Path(__file__).parents[3]
ROOMS = ("layers", "cli", "lambdas", "cdk_app", "sandbox", "bench", "traces")
MEDIAN, NINTH_OF_TEN, LONGEST = 6, 18, 40
# A parser of a command line, and a construct of CDK, are lists of what there is.
LISTS = (
    "cli/main.py: _parser",
    "cli/assess.py: add_to",
    "cli/report/command.py: add_to",
    "cdk_app/components/",
    "cdk_app/stack.py: ",
)


def lengths() -> Iterator[tuple[str, int]]:
    """Lines of each function without its docstring."""
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{file.relative_to(ROOT)}: {node.name}", lines_of(node)


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    has_docstring = ast.get_docstring(node, clean=False) is not None
    of_docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - of_docstring


@pytest.fixture(scope="module")
def found() -> list[tuple[str, int]]:
    return nonempty(list(lengths()))


def test_most_functions_are_a_few_lines(found):
    sizes = sorted(lines for _, lines in found)

    assert statistics.median(sizes) <= MEDIAN
    assert sizes[len(sizes) * 9 // 10] <= NINTH_OF_TEN


def test_no_function_is_longer_than_a_screen(found):
    assert [one for one in found if one[1] > LONGEST and not one[0].startswith(LISTS)] == []


def test_a_docstring_does_not_count():
    [node] = ast.parse('def f():\n    """One\n    two."""\n    return 1\n').body

    assert isinstance(node, ast.FunctionDef) and lines_of(node) == 2
