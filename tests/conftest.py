"""
What holds for every test.

Examples that hypothesis makes are the same in each run, and none is judged by how long it took: what passes
here passes on a busy machine, too. `pytest --hypothesis-profile=default` looks for new ones.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.aws.core import botocore_files
from tests.support import group_outcomes, sharing

gc.disable()  # until the tests are collected: what is read then stays, and nearly none of it is garbage
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")
botocore_files.read_once()
_GROUPS_OWN = sharing.GroupsOwn()


@pytest.hookimpl(trylast=True)  # hypothesis counts what comes before its own as its start
def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("numprocesses", None):
        return gc.enable()  # others collect and run the tests

    # A process's first example has hypothesis look through all objects: before collection there are few.
    @given(st.none())
    @settings(max_examples=1)
    def first(_: None) -> None:
        pass

    first()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=sharing.longest_first)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> sharing.Groups | None:
    return sharing.Groups(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    group_outcomes.note(report)


@pytest.fixture(scope="session")
def groups_own() -> sharing.GroupsOwn:
    return _GROUPS_OWN


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    try:
        return (yield)
    finally:
        _GROUPS_OWN.after(item.nodeid, nextitem.nodeid if nextitem else None)


def pytest_collection_finish() -> None:
    """What is there by now stays: to look through it again for garbage took a tenth of the tests' time."""
    if "aws_cdk" in sys.modules:
        message = "a test file imports aws_cdk, which starts a process of the CDK in each of pytest's"
        raise pytest.UsageError(f"{message}. Import it in the test that needs it.")
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """What is left ends with the process: to look through it for garbage once more took seconds in each."""
    _GROUPS_OWN.end()
    gc.freeze()
