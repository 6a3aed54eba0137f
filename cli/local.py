"""Commands that need neither AWS nor a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from slicewise.errors import InvalidPolicy, PolicyProblem
from slicewise.policy import canonical
from slicewise.policy.model import Policy
from slicewise.policy.parse import strictly
from slicewise.schedule import holidays
from slicewise.schedule.holidays import NO_HOLIDAYS, UnreadableHolidays

from cli.output import Answer, plural, show


def check_policies(files: Sequence[str]) -> Answer:
    """Every problem of every file, each with its path, value and remedy; 1 if there is any."""
    answers = [_check(file) for file in files]
    lines = tuple(line for answer in answers for line in answer.lines)
    return Answer({"files": [one.value for one in answers]}, lines, max(one.status for one in answers))


def print_checked(file: str) -> int:
    """
    For a deployment: the text that functions get; where something is wrong, what `check_policies` reports.
    """
    found = _read(file)
    if isinstance(found, Answer):
        return show(found, False)
    sys.stdout.write(canonical.dump(found))
    return 0


def _check(file: str) -> Answer:
    found = _read(file)
    if isinstance(found, Answer):
        return found
    pools = ", ".join(f"{pool.name} ({pool.sharing}: {', '.join(pool.gpus)})" for pool in found.pools)
    value = {
        **{"file": file, "fine": True, "problems": [], "mode": str(found.mode)},
        "pools": [
            {"name": one.name, "sharing": str(one.sharing), "gpus": list(one.gpus)} for one in found.pools
        ],
    }
    return Answer(value, (f"{file}: fine. Mode {found.mode}; pools {pools}",))


def _read(file: str) -> Policy | Answer:
    """The policy, or what is wrong with it."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        value = {"file": file, "fine": False, "unread": str(error)}
        return Answer(value, (f"{file}: cannot be read: {error}",), 1)
    try:
        found = strictly(text, "standard input" if file == "-" else Path(file).stem)
        if file != "-":
            _check_holidays(found, Path(file).parent / "holidays")
    except InvalidPolicy as error:
        return _problems(file, error)
    return found


def _problems(file: str, error: InvalidPolicy) -> Answer:
    problems = [{"path": one.path, "value": str(one.value), "remedy": one.remedy} for one in error.problems]
    lines = (f"{file}: {plural(len(problems), 'problem')}", *(f"  {one}" for one in error.problems))
    return Answer({"file": file, "fine": False, "problems": problems}, lines, 1)


def _check_holidays(found: Policy, folder: Path) -> None:
    """Of a file alone; where a text comes from standard input, it is not known what is beside it."""
    name = found.off_hours.holidays if found.off_hours else ""
    if not name:
        return
    path, remedy = folder / f"{name}.ics", ""
    try:
        days = holidays.read(path.read_text(encoding="utf-8"))
        remedy = "" if days != NO_HOLIDAYS else f"{path} has no holidays; put some there, or remove this"
    except OSError:
        others = ", ".join(sorted(other.stem for other in folder.glob("*.ics"))) or "none"
        remedy = f"there is no file {path}; add it, or remove this; there are: {others}"
    except (UnicodeDecodeError, UnreadableHolidays) as error:
        remedy = f"{path} cannot be used: {error}"
    if remedy:
        raise InvalidPolicy(found.name, (PolicyProblem("offHours.holidays", name, remedy),))


def backtest(arguments: Sequence[str]) -> int:
    """The bench's own command, which knows its options and says what they are."""
    try:
        from bench import backtest as bench_backtest
    except ModuleNotFoundError as missing:
        if missing.name != "numpy":
            raise
        print("slicewise: backtest needs numpy, which is not installed: pip install numpy", file=sys.stderr)
        return 2
    return bench_backtest.main(list(arguments)) or 0
