"""
Whether the tests of a group did what its last file judges.

Such a test is no use alone, nor after a part of the group: what it judges was then not done, or only in part.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.support import sharing

_passed: set[str] = set()
_others: set[str] = set()


def note(report: pytest.TestReport) -> None:
    """Of each phase of each test in this process."""
    if not report.passed:
        _others.add(report.nodeid)
    elif report.when == "call":
        _passed.add(report.nodeid)


def needs_the_whole_group(request: pytest.FixtureRequest) -> None:
    """Skip the tests of a module unless every test of the other files of its group has passed before."""
    mine = sharing.file_of(request.node.nodeid)
    group = sharing.group(mine)
    missing = list(not_passed(request.session.items, sharing.files_of(group) - {mine}, _passed - _others))
    if missing:
        patterns = " ".join(sharing.patterns_of(group))
        pytest.skip(
            "judges what the other tests of its group did, of which these did not pass in this process: "
            f"{', '.join(missing)}. Run them together, in one process: pytest {patterns}"
        )


def not_passed(items: Iterable[pytest.Item], files: Iterable[str], passed: set[str]) -> Iterable[str]:
    """Files of which no test was chosen, else the tests of a file that were not chosen or did not pass."""
    items = list(items)
    for file in sorted(files):
        chosen = [item for item in items if sharing.file_of(item.nodeid) == file]
        if not chosen:
            yield file
            continue
        written = {name for name in vars(chosen[0].module) if name.startswith("test_")}
        failed = {item.originalname for item in chosen if item.nodeid not in passed}
        for name in sorted(failed | written - {item.originalname for item in chosen}):
            yield f"{file}::{name}"
