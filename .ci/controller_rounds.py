"""
Which tests of real controllers are run next: those that have not run for the longest time.

`make test-controllers` runs them all, and takes longer than CI has. So each run of CI takes as many as it has
time for, and a record in the user's cache folder says when each last ran and how long that took.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

# For tests that have never run here; else twice what they took.
FIRST_NEEDS_S = 12 * 60


@dataclass(frozen=True)
class Round:
    """
    Attributes:
        ended: Seconds since the epoch.
        took_s: Also where a test failed.
    """

    ended: float = 0.0
    took_s: float = FIRST_NEEDS_S / 2

    @property
    def needs_s(self) -> float:
        return 2 * self.took_s


def longest_not_run(names: Iterable[str], rounds: dict[str, Round]) -> list[str]:
    """Those that have never run come first, all of them by name where they ran at the same time."""
    return sorted(names, key=lambda name: (rounds.get(name, Round()).ended, name))


def needed(tests: str) -> list[str]:
    """The controllers that a file of tests says in its mark: `pytest.mark.controllers("keda", "kueue")`."""
    said = re.search(r"^pytestmark = pytest\.mark\.controllers\((.*)\)$", tests, re.MULTILINE)
    return re.findall(r'"([\w-]+)"', said[1]) if said else []


def read() -> dict[str, Round]:
    """What ran before, by name; nothing where there is no record, or one that cannot be read."""
    try:
        return {name: Round(**entry) for name, entry in json.loads(_record().read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def note(name: str, took_s: float) -> None:
    rounds = read() | {name: Round(time.time(), took_s)}
    record = _record()
    record.parent.mkdir(parents=True, exist_ok=True)
    work = record.with_suffix(f".{os.getpid()}.tmp")
    work.write_text(json.dumps({name: asdict(each) for name, each in rounds.items()}, indent=1))
    work.rename(record)


def _record() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "slicewise" / "controller-rounds.json"
