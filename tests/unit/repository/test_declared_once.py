"""What several modules speak of stands in one of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from slicewise.kube import labels
from slicewise.kube.quantities import NEVER

from tests.support.nonempty import nonempty

ROOT = Path(__file__).parents[3]
CODE = ("layers", "lambdas", "cli", "cdk_app", "sandbox", "bench")
NAMES = ROOT / "layers/slicewise/python/slicewise/kube/labels.py"
# A Go module of the sandbox has such an address, too, with a name that is put in there.
OURS = re.compile(r"slicewise\.dev/(?!\{)")


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and value of each text, also within f-strings; docstrings are for people and left out."""
    docs = {
        id(body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if (body := node.body) and isinstance(body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("folder", CODE)
def test_our_labels_annotations_and_tags_are_spelt_in_one_module(folder):
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in nonempty(files(folder))
        if path != NAMES
        for line, text in texts(ast.parse(path.read_text()))
        if OURS.search(text)
    ]

    assert found == [], "import it from slicewise.kube.labels, which has a name for each"


def test_no_two_of_our_names_are_the_same():
    ours = [value for value in vars(labels).values() if isinstance(value, str) and OURS.match(value)]

    assert sorted(nonempty(ours)) == sorted(set(ours))


def test_what_stands_in_place_of_a_duration_is_spelt_in_one_module():
    found = [
        str(path.relative_to(ROOT))
        for path in nonempty(files("layers"))
        if any(text == NEVER for _, text in texts(ast.parse(path.read_text())))
    ]

    assert found == ["layers/slicewise/python/slicewise/kube/quantities.py"]
