"""
Which tests share what takes long to start, and so run in one process, in the order of their files' names.

`pytest -n 6 --dist loadscope` gives each process one group after the other, the long ones first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[2]

# The longest first, so that no process is left alone with one at the end.
GROUPS = (
    ("tests/sandbox/onboarding/test_*",),  # one deployed Slicewise; the last file judges the others
    ("tests/sandbox/operation/test_*",),  # another
    ("tests/sandbox/rollout/test_*",),  # one control plane, whose pools change
    # One control plane that each leaves as it was.
    (
        "tests/sandbox/consolidation/test_consolidation.py",
        "tests/sandbox/cluster/test_control_plane.py",
        "tests/sandbox/cluster/test_control_plane_official_client.py",
        "tests/sandbox/cluster/test_gpu_nodes.py",
        "tests/sandbox/cluster/test_kuberay.py",
    ),
    ("tests/infra/test_template*", "tests/infra/test_api_models.py"),  # two syntheses
    # One API server.
    (
        "tests/contract/kubernetes/test_admission.py",
        "tests/contract/kubernetes/test_kubernetes.py",
        "tests/contract/kubernetes/test_kubernetes_refusals.py",
        "tests/contract/kubernetes/test_scaling.py",
    ),
)


# Files that share nothing and take more than 15 s: one of them left for the end keeps a single process busy.
LONG = (
    "tests/sandbox/offhours/test_offhours.py",
    "tests/sandbox/offhours/test_random_nights.py",
    "tests/sandbox/fargate/test_karpenter_on_fargate.py",
    "tests/sandbox/cluster/test_control_plane_session.py",
    "tests/sandbox/aws/test_cdk_cli.py",
    "tests/sandbox/fault_injection/test_onboarding_killed.py",
    "tests/sandbox/bench/test_bench.py",
    "tests/sandbox/cluster/test_control_plane*",
    "tests/sandbox/classes/test_classes.py",
    "tests/contract/test_helm.py",
    "tests/unit/offhours/test_any_sequence.py",
    "tests/scenarios/offhours/test_random_nights.py",
    "tests/scenarios/onboarding/test_fargate.py",
    "tests/unit/offhours/kinds/test_*",
    "tests/scenarios/tuning/test_fault_injection.py",
    "tests/scenarios/classes/test_migration.py",
    "tests/unit/repository/test_places_to_change.py",
    "tests/scenarios/tuning/test_publication.py",
    "tests/contract/store/test_store.py",
    "tests/unit/schedule/test_calendar_in_every_zone.py",
    "tests/scenarios/onboarding/test_fault_injection.py",
    "tests/bench/test_harness.py",
    "tests/scenarios/rollout/test_any_mishaps.py",
    "tests/sandbox/aws/test_deployment.py",
    "tests/unit/tuning/rule/test_any_input.py",
    "tests/sandbox/aws/test_moto_fixes.py",
    "tests/unit/offhours/test_emptied_table.py",
    "tests/unit/tuning/test_what_other_releases_wrote.py",
    "tests/unit/tuning/usage/test_*",
    "tests/unit/kube/test_pages.py",
    "tests/infra/test_package.py",
    "tests/scenarios/reconcile/test_one_node_pool_fails.py",
    "tests/bench/test_memory.py",
)


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def group(nodeid: str) -> str:
    """A file by itself, if it shares nothing."""
    file = file_of(nodeid)
    return next((f"group {n}" for n, patterns in enumerate(GROUPS) if _any(file, patterns)), file)


def patterns_of(group: str) -> tuple[str, ...]:
    return GROUPS[int(group.removeprefix("group "))]


def files_of(group: str) -> set[str]:
    """All that there are, whether they run or not."""
    return {
        path.relative_to(ROOT).as_posix()
        for pattern in patterns_of(group)
        for path in ROOT.glob(pattern)
        if path.suffix == ".py"
    }


def _any(file: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(file, pattern) for pattern in patterns)


def longest_first(item: pytest.Item) -> int:
    """For sorting; files that are neither shared nor long stay in their order."""
    return _place(file_of(item.nodeid))


@cache
def _place(file: str) -> int:
    order = (*GROUPS, *((pattern,) for pattern in LONG))
    return next((n for n, patterns in enumerate(order) if _any(file, patterns)), len(order))


class GroupsOwn:
    """What the files of a group share: started once, and ended with the group, since it costs CPU."""

    def __init__(self) -> None:
        self._started: dict[tuple[str, str], Any] = {}
        # Of each group, the last to start ends first, as pytest ends its fixtures.
        self._endings: dict[str, ExitStack] = {}

    def share(
        self, request: pytest.FixtureRequest, start: Callable[[], AbstractContextManager[Any]]
    ) -> Iterator[Any]:
        """The body of a fixture of scope "module", whose name it goes by."""
        mine = group(request.node.nodeid)
        key = mine, str(request.fixturename)
        if key not in self._started:
            ending = self._endings.setdefault(mine, ExitStack())
            self._started[key] = ending.enter_context(start())
        yield self._started[key]

    def after(self, nodeid: str, following: str | None) -> None:
        """
        To be called after each test's own fixtures have ended: what its group shares ends with its last test,
        whether that one uses it or was skipped.

        Args:
            following: The test that runs next in this process.
        """
        mine = group(nodeid)
        if following is None or group(following) != mine:
            self._end(mine)

    def end(self) -> None:
        """Where the run was stopped before the end of a group."""
        with ExitStack() as each:
            for mine in [*self._endings]:
                each.callback(self._end, mine)

    def _end(self, mine: str) -> None:
        self._started = {key: value for key, value in self._started.items() if key[0] != mine}
        self._endings.pop(mine, ExitStack()).close()


class Groups(LoadScopeScheduling):
    """Hands out groups in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: object = None):
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
