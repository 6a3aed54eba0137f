"""
Which tests share what takes long to start, and so run in one process, in the order of their files' names.

`pytest -m sandbox -n 2 --dist loadscope` gives each process one group after the other.
"""

from __future__ import annotations

from fnmatch import fnmatch

import pytest
from xdist.scheduler import LoadScopeScheduling

# The longest first, so that no process is left alone with one at the end.
GROUPS = (
    "tests/sandbox/test_onboarding_for_real*",  # one deployed Slicewise; the last file judges the others
    "tests/sandbox/test_operation_for_real*",  # another
    "tests/sandbox/test_retuning_for_real*",  # one control plane, whose pools change
)


def group(nodeid: str) -> str:
    """A file by itself, if it shares nothing."""
    file = nodeid.partition("::")[0]
    return next((pattern for pattern in GROUPS if fnmatch(file, pattern)), file)


def longest_first(item: pytest.Item) -> int:
    """For sorting; files that share nothing stay in their order."""
    found = group(item.nodeid)
    return GROUPS.index(found) if found in GROUPS else len(GROUPS)


class Groups(LoadScopeScheduling):
    """Hands out groups in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: object = None):
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
