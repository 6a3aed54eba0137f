"""The repository is enough: no file of it leads out of it, or to a folder that only one machine has."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath

import pytest

ROOT = Path(__file__).parents[3]

# Names that tests have refused, and the one pattern by which CI looks for NVIDIA's chart.
UP = 2 * "."  # this file is read, too
FOLDER = "/" + "work"
ALLOWED = {
    "tests/contract/test_queues_and_policies.py": {UP, f"{UP}/policies/default"},
    "tests/unit/policy/test_any_text.py": {f"{UP}/{UP}/etc/passwd"},
    "tests/unit/schedule/test_calendar.py": {f"{UP}/{UP}/etc/passwd"},
    ".ci/run": {f"{UP}/*/charts"},
}
# These are read from the file's own folder; all others from where commands run, which is the repository's.
READ_FROM_OWN_FOLDER = {".md", ".mod", ".go"}

PATH = re.compile(r"(?<![\w.*~/\\-])[\w.*~/-]+")  # what follows a backslash is a pattern's dot
OF_ONE_MACHINE = re.compile(r"(?<![\w.}:-])/(?:work|root|workspace|builds|(?:home|Users)/\w+)(?![\w.-])\S*")


def leads_out(file: str, text: str) -> list[str]:
    """Paths in a file's text that leave the repository, and those of one machine. `file` is relative."""
    found = [*_upward(file, text), *OF_ONE_MACHINE.findall(text)]
    if file.endswith(".py"):
        found += _computed(len(PurePosixPath(file).parts), ast.parse(text))
    return [path for path in found if path not in ALLOWED.get(file, ())]


def _upward(file: str, text: str) -> Iterator[str]:
    name = PurePosixPath(file)
    folder = name.parent if name.suffix in READ_FROM_OWN_FOLDER else PurePosixPath()
    for path in PATH.findall(text):
        # What comes before a leading slash, such as a variable, is taken for the repository's folder.
        if UP in path.split("/") and normpath(f"{folder}/{path.lstrip('/')}").startswith(UP):
            yield path


def _computed(root: int, tree: ast.AST) -> Iterator[str]:
    """Expressions of `__file__` that climb more than `root` folders, which is where the repository begins."""
    names = {"ROOT": root}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=value) if (
                up := _climb(value, names)
            ) is not None:
                names[name] = up
    for node in ast.walk(tree):
        up = _climb(node, names) if isinstance(node, ast.expr) else None
        if up is not None and up > root:
            yield ast.unparse(node)


def _climb(node: ast.expr, names: dict[str, int]) -> int | None:
    """How many folders above its own file an expression points; None where that cannot be told."""
    match node:
        case ast.Name("__file__"):
            return 0
        case ast.Name(name) | ast.Attribute(attr="ROOT" as name):
            return names.get(name)
        case ast.Call(ast.Attribute(attr="cwd")):
            return names["ROOT"]
        case ast.Call(ast.Name("Path") | ast.Attribute(attr="Path"), [inner]):
            return _climb(inner, names)
        case ast.Call(ast.Attribute(inner, "resolve" | "absolute")):
            return _climb(inner, names)
        case ast.Attribute(inner, "parent"):
            return _plus(_climb(inner, names), 1)
        case ast.Call(ast.Name("dirname") | ast.Attribute(attr="dirname"), [inner]):
            return _plus(_climb(inner, names), 1)
        case ast.Subscript(ast.Attribute(inner, "parents"), ast.Constant(int(n))):
            return _plus(_climb(inner, names), n + 1)
    return None


def _plus(up: int | None, more: int) -> int | None:
    return None if up is None else up + more


def tracked_texts() -> dict[str, str]:
    """Every tracked file that is text, by its path in the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs git's list of files: run it in a clone")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    contents = {name: (ROOT / name).read_bytes() for name in listed.split("\0") if (ROOT / name).is_file()}
    return {name: content.decode() for name, content in contents.items() if b"\0" not in content}


def test_no_file_leads_out_of_the_repository():
    texts = tracked_texts()

    assert {
        "README.md",
        "Makefile",
        ".ci/run",
        "docs/architecture.md",
        "sandbox/demo/story.py",
    } <= texts.keys()
    found = {file: out for file, text in texts.items() if (out := leads_out(file, text))}
    assert found == {}


HOME = "/".join(["", "home", "ada"])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param("Makefile", f"CHARTS := {UP}/beside/charts", id="a folder beside the repository"),
        pytest.param("tests/unit/test_x.py", f'open("{UP}/beside/data.csv")', id="where commands run"),
        pytest.param("tests/unit/test_x.py", f'ROOT / "{UP}/beside"', id="added to the repository's folder"),
        pytest.param("sandbox/x.py", f'f"{{ROOT}}/{UP}/beside"', id="behind a variable"),
        pytest.param("docs/x.md", f"[charts]({UP}/{UP}/beside/charts)", id="a page's link"),
        pytest.param("sandbox/go/go.mod", f"replace x => {UP}/{UP}/{UP}/x", id="a Go module"),
        pytest.param("tests/unit/test_x.py", "Path(__file__).parents[3]", id="parents"),
        pytest.param("tests/x.py", "Path(__file__).parents[1].parent", id="the parent of parents"),
        pytest.param("tests/x.py", "Path(__file__).resolve().parent.parent.parent", id="parent by parent"),
        pytest.param(
            "tests/x.py", "HERE = Path(__file__).parents[1]\nHERE.parent / 'x'", id="through a name"
        ),
        pytest.param(
            "tests/x.py", "from cdk_app import config\nconfig.ROOT.parent", id="from another module"
        ),
        pytest.param("bench/x.py", "Path.cwd().parent / 'beside'", id="above the current folder"),
        pytest.param("x.py", "from os.path import dirname\ndirname(dirname(__file__))", id="dirname"),
        pytest.param(".ci/run", f"ls {HOME}/charts", id="a person's folder"),
        pytest.param("README.md", "`/" + "work/charts`", id="a machine's folder"),
        pytest.param("docs/x.md", "see /" + "root", id="the administrator's folder"),
        pytest.param(".ci/run", f"ls {UP}/*/charts {UP}/*/data", id="another pattern than the one allowed"),
    ],
)
def test_a_path_that_leads_out_is_found(file, text):
    assert len(leads_out(file, text)) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param("docs/x.md", f"[policies]({UP}/policies/)", id="a page's link to another folder"),
        pytest.param("sandbox/go/go.mod", f"replace x => {UP}/lifeline", id="a Go module beside"),
        pytest.param("tests/unit/test_x.py", "Path(__file__).parents[2] / 'examples'", id="the repository"),
        pytest.param("bench/x.py", "Path(__file__).parent / 'data'", id="the file's own folder"),
        pytest.param("sandbox/x.go", "append(all, more...)", id="dots of another kind"),
        pytest.param("sandbox/x.py", "Path.home() / '.cache'", id="the user's cache"),
        pytest.param("docs/x.md", f"https://example.com{FOLDER}/x and s3://bucket/root", id="addresses"),
    ],
)
def test_a_path_within_is_no_offence(file, text):
    assert leads_out(file, text) == []
