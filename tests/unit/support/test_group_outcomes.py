"""Tests that judge what others did say so where those did not do it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.support import sharing
from tests.support.group_outcomes import not_passed
from tests.support.nonempty import nonempty

FILES = ("tests/sandbox/test_a.py", "tests/sandbox/test_b.py")


def item(file, name, *, written=("test_one", "test_two")):
    module = SimpleNamespace(**dict.fromkeys((*written, "helper")))
    return SimpleNamespace(nodeid=f"{file}::{name}", originalname=name.partition("[")[0], module=module)


ALL = [item(file, name) for file in FILES for name in ("test_one", "test_two[a]", "test_two[b]")]
PASSED = {one.nodeid for one in ALL}


def test_a_group_that_has_passed_lacks_nothing():
    assert list(not_passed(ALL, FILES, PASSED)) == []


@pytest.mark.parametrize(
    ("items", "passed", "missing"),
    [
        pytest.param(
            [one for one in ALL if FILES[0] in one.nodeid], PASSED, FILES[1], id="a file was not chosen"
        ),
        pytest.param(ALL[1:], PASSED, f"{FILES[0]}::test_one", id="a test was not chosen"),
        pytest.param(ALL, PASSED - {ALL[5].nodeid}, f"{FILES[1]}::test_two", id="one failed or was skipped"),
    ],
)
def test_what_did_not_pass_is_named(items, passed, missing):
    assert list(not_passed(items, FILES, passed)) == [missing]


@pytest.mark.parametrize("judge", ["onboarding", "operation"])
def test_judges_come_last_of_their_group(judge):
    """Tests run in the order of their files' names."""
    file = f"tests/sandbox/{judge}/test_rights.py"
    group = sharing.files_of(sharing.group(file))

    assert file in group and len(group) > 2
    assert max(group) == file


def test_nothing_is_no_evidence():
    assert nonempty([0]) == [0]
    with pytest.raises(AssertionError, match="nothing here to judge"):
        nonempty(())
