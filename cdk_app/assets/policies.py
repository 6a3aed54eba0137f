"""
The policy files that a deployment carries, checked before anything is made of them.

The check is that of `slicewise policy check`: synthesis refuses what the command refuses, in the same words.
It returns the text that functions read without checking it again (slicewise.policy.checked). It runs in a
process of its own, since this package describes what is deployed and imports none of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cdk_app.config import ROOT
from cdk_app.errors import DeploymentError

# A standard parameter takes 4 KB and costs nothing; an advanced one takes 8 KB and costs money each month
# (Systems Manager user guide, "Managing parameter tiers").
LARGEST = 4096

# What is read of a file of holidays (slicewise.schedule.holidays); the rest would not fit into a parameter.
_OF_A_HOLIDAY = frozenset(
    {"BEGIN", "END", "DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID"}
    | {"SUMMARY", "STATUS"}
)
_CHECK_HOLIDAYS = (
    "import sys; from slicewise.schedule import holidays; holidays.read(open(sys.argv[1]).read())"
)

# Not the whole command: that imports what talks to AWS, which takes longer than the check.
_CHECK = "import sys; from cli.local import print_checked; sys.exit(print_checked(sys.argv[1]))"


class RefusedPolicies(DeploymentError):
    """At least one policy file is wrong; the message has every problem with path, value and remedy."""


@dataclass(frozen=True)
class PolicyFile:
    """
    `name` is what a cluster's tag `slicewise.dev/policy` says, or "holidays/<name>" for a file of holidays.
    """

    name: str
    text: str


def load(folder: Path, default: str) -> tuple[PolicyFile, ...]:
    """
    Every `<name>.yaml` of the folder, checked.

    Args:
        default: A policy that has to be among them; empty means that there is none.

    Raises:
        RefusedPolicies: A file is refused by the parser, too large or oddly named, or there is no default.
    """
    paths = sorted(folder.glob("*.yaml"))
    checks = {path: _check(path, _CHECK) for path in paths}
    policies = tuple(PolicyFile(path.stem, _fitting(check.text)) for path, check in checks.items())
    problems: list[str] = []
    if not paths:
        problems.append(f"{folder}: has no policy: write one, such as {folder / 'default.yaml'}")
    if default and default not in {path.stem for path in paths}:
        names = ", ".join(path.stem for path in paths) or "none"
        problems.append(f"context 'default_policy': is {default!r}, but {folder} has {names}")
    problems += [check.problem for check in checks.values() if check.problem]
    problems += [problem for policy in policies for problem in _problems(policy)]
    days = sorted((folder / "holidays").glob("*.ics"))
    holidays = tuple(
        PolicyFile(f"holidays/{path.stem}", _slim(path.read_text(encoding="utf-8"))) for path in days
    )
    problems += [problem for file in holidays for problem in _problems(file)]
    read = {path: _check(path, _CHECK_HOLIDAYS).problem for path in days}
    problems += [f"{path}: {problem.splitlines()[-1]}" for path, problem in read.items() if problem]
    if problems:
        raise RefusedPolicies("\n".join(problems))
    return (*policies, *holidays)


def _fitting(text: str) -> str:
    """A policy that only its first line makes too large has none: functions check it at each reconcile."""
    _, _, body = text.partition("\n")
    return body if len(text.encode()) > LARGEST >= len(body.encode()) else text


def _slim(text: str) -> str:
    """A file of holidays without what is never read, such as ids, categories and time zones."""
    lines = text.replace("\r\n", "\n").replace("\n ", "").replace("\n\t", "").splitlines()
    kept, block = [], ""
    for line in lines:
        name = line.partition(":")[0].partition(";")[0].upper()
        if line in ("BEGIN:VTIMEZONE", "BEGIN:VALARM"):
            block = line.removeprefix("BEGIN:")
        if not block and name in _OF_A_HOLIDAY:
            kept.append(line)
        if line == f"END:{block}":
            block = ""
    return "\n".join(kept) + "\n"


def _problems(policy: PolicyFile) -> list[str]:
    found = []
    # The name is a tag's value and a parameter's last part.
    if not re.fullmatch(r"(holidays/)?[a-z0-9][a-z0-9-]{0,62}", policy.name):
        found.append(f"policy {policy.name!r}: name the file with lower-case letters, digits and '-'")
    if (size := len(policy.text.encode())) > LARGEST:
        found.append(
            f"policy {policy.name!r}: has {size} bytes, and a parameter holds {LARGEST}: "
            + (
                "leave past years out"
                if policy.name.startswith("holidays/")
                else "split it into two policies"
            )
        )
    if nested := re.search(r"\{\{.*?\}\}", policy.text, re.DOTALL):
        found.append(
            f"policy {policy.name!r}: has {nested[0][:40]!r}, which Systems Manager takes for the name of "
            "another parameter and refuses: write it without doubled braces"
        )
    return found


@dataclass(frozen=True)
class _Checked:
    """One of the two is empty: what to deploy, and what is wrong."""

    text: str
    problem: str


def _check(path: Path, check: str) -> _Checked:
    places = [str(ROOT), str(ROOT / "layers" / "slicewise" / "python"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places)), "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", check, str(path)]
    answer = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    if answer.returncode:
        return _Checked("", (answer.stdout + answer.stderr).strip())
    return _Checked(answer.stdout, "")
