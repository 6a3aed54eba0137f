"""What the files of a group share lives as long as tests of the group run in the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tests.support.sharing import GroupsOwn, group

FIRST, SECOND = (f"tests/sandbox/operation/test_{name}.py" for name in ("adoption", "retuning"))
JUDGE, ELSEWHERE = "tests/sandbox/operation/test_rights.py", "tests/contract/test_eks.py"


class Shared:
    def __init__(self) -> None:
        self.own, self.events = GroupsOwn(), list[str]()

    def use(self, file: str, name: str = "", fails: bool = False) -> str:
        request = SimpleNamespace(node=SimpleNamespace(nodeid=file), fixturename=name)
        found: str = next(self.own.share(request, lambda: self._start(name, fails)))
        return found

    @contextmanager
    def _start(self, name: str, fails: bool) -> Iterator[str]:
        self.events.append(f"start {name}".strip())
        try:
            yield f"system {len(self.events)}"
        finally:
            self.events.append(f"end {name}".strip())
        if fails:
            raise RuntimeError(f"{name} did not end")


@pytest.fixture
def shared() -> Shared:
    assert group(FIRST) == group(SECOND) == group(JUDGE) != group(ELSEWHERE)
    return Shared()


def test_it_is_started_once_for_all_files_of_a_group(shared):
    assert shared.use(FIRST) == shared.use(SECOND)
    assert shared.events == ["start"]


def test_it_stays_while_tests_of_the_group_follow(shared):
    shared.use(FIRST)
    shared.own.after(f"{FIRST}::test_a", f"{FIRST}::test_b")
    shared.own.after(f"{FIRST}::test_b", f"{JUDGE}::test_c")

    assert shared.events == ["start"]


@pytest.mark.parametrize("following", [f"{ELSEWHERE}::test_d", None])
def test_it_ends_with_the_groups_last_test_though_that_one_did_not_use_it(shared, following):
    """Such as one that was skipped: its account would be served on, and refused to the next file."""
    shared.use(FIRST)
    shared.own.after(f"{FIRST}::test_a", f"{JUDGE}::test_c")
    shared.own.after(f"{JUDGE}::test_c", following)

    assert shared.events == ["start", "end"]


def test_tests_of_other_groups_end_nothing(shared):
    shared.use(FIRST)
    shared.own.after(f"{ELSEWHERE}::test_d", f"{ELSEWHERE}::test_e")
    shared.own.after(f"{ELSEWHERE}::test_e", None)

    assert shared.events == ["start"]


def test_a_run_that_stops_early_leaves_nothing_running(shared):
    shared.use(FIRST)
    shared.own.end()

    assert shared.events == ["start", "end"]


@pytest.mark.parametrize("end", [lambda own: own.after(f"{FIRST}::test_a", None), GroupsOwn.end])
def test_the_last_to_start_ends_first_and_what_fails_to_end_keeps_nothing_running(shared, end):
    shared.use(FIRST, "account")
    shared.use(FIRST, "cluster in it", fails=True)

    with pytest.raises(RuntimeError, match="cluster in it did not end"):
        end(shared.own)
    shared.own.end()

    assert shared.events == ["start account", "start cluster in it", "end cluster in it", "end account"]
