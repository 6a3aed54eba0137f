"""
Run the README's test command on a fresh clone of this checkout's HEAD, in an empty folder.

Then run `make test-exhaustive`, and the tests that were skipped because NVIDIA's GPU Operator chart was
missing, with the chart from the folder `SLICEWISE_CHARTS`, else from the first folder of `--charts` that has
it. Then, where the oldest versions are built and time is left, run `make test-oldest`. Last, in the time that
is left, run the tests of those real controllers that are built, those first that have not run for the longest
time. No controller is built. The user's cache folder is used, so nothing is built twice.

All of it ends within 75 minutes (`SLICEWISE_CI_SECONDS`): what still runs then is killed, and CI fails.
"""

from __future__ import annotations

import argparse
import glob
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from xml.etree import ElementTree

import controller_rounds
from controller_rounds import Round

CHECKOUT = Path(__file__).resolve().parents[1]
CHART = "gpu-operator-*.tgz"
# How the reason begins with which a test is skipped that needs the chart.
SKIPPED_FOR_CHART = "needs NVIDIA's GPU Operator chart: "
# Five without the chart, one without a browser: more would mean that the clone is not enough.
MOST_SKIPPED = 6
OLDEST_IS_BUILT = ("-m", "sandbox", "build", "--versions", "oldest", "--if-cached")

LIMIT_S = 75 * 60
# Kept back from the limit: to end what runs, and to delete the clone.
RESERVE_S = 60
KILL_AFTER_S = 10
OLDEST_NEEDS_S = 30 * 60
OUT_OF_TIME = 124


class Failed(Exception):
    """The message says what failed; `status` is the exit status."""

    def __init__(self, message: str, status: int = 1):
        super().__init__(message)
        self.status = status


class Runner:
    """Runs one command after another, all of them against one clock, each in a process group of its own."""

    def __init__(self, limit_s: float):
        self._ends = time.monotonic() + limit_s - min(RESERVE_S, limit_s / 10)
        self._kill_after_s = min(KILL_AFTER_S, limit_s / 10)

    def left_s(self) -> float:
        return max(0.0, self._ends - time.monotonic())

    def must(self, name: str, command: Sequence[str], **options: object) -> None:
        if status := self.run(name, command, **options):
            raise Failed(f"{name} failed with status {status}", status if status > 0 else 1)

    def run(self, name: str, command: Sequence[str], **options: object) -> int:
        """Exit status; a command that is still running when we leave, for whatever reason, is killed."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        try:
            return process.wait(self.left_s())
        except subprocess.TimeoutExpired:
            raise Failed(f"out of time: {name} was running and has been killed", OUT_OF_TIME) from None
        finally:
            _end_group(process, self._kill_after_s)


def _end_group(process: subprocess.Popen[bytes], kill_after_s: float) -> None:
    """Ask all of the group to end, then make it: also those whose parent has ended without them."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(kill_after_s)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--charts", metavar="PATTERN", help="folders, from the checkout, that may hold the chart"
    )
    chosen = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    runner = Runner(float(os.environ.get("SLICEWISE_CI_SECONDS", LIMIT_S)))
    try:
        with tempfile.TemporaryDirectory(prefix="slicewise-ci-", ignore_cleanup_errors=True) as folder:
            _test(runner, Path(folder), chosen.charts)
    except Failed as failure:
        _say(str(failure))
        return failure.status
    _say("passed")
    return 0


def _test(runner: Runner, folder: Path, charts: str | None) -> None:
    clone, environment = folder / "empty" / "slicewise", _environment()
    _clone(runner, clone, folder, environment)
    skipped = _run_every_test(runner, clone, folder / "every-test.xml", environment)
    runner.must("make test-exhaustive", ["make", "test-exhaustive"], cwd=clone, env=environment)
    _run_skipped(runner, clone, folder / "skipped.xml", environment, skipped, chart_folder(charts))
    _run_oldest(runner, clone, environment)
    _run_controllers(runner, clone, environment)


def _environment() -> dict[str, str]:
    """Ours, without what a caller's git, make, Python or charts would have the clone's commands do."""
    ours = {
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
        "PYTHONPATH",
        "PYTEST_ADDOPTS",
        "VIRTUAL_ENV",
        "SLICEWISE_CHARTS",
    }
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {name: value for name, value in kept.items() if not name.startswith("GIT_")}


def _clone(runner: Runner, clone: Path, folder: Path, environment: Mapping[str, str]) -> None:
    # In a container the checkout may belong to another user. Only a file tells git's helpers to trust it.
    trust = folder / "gitconfig"
    trust.write_text("[safe]\n\tdirectory = *\n")
    git = {"env": {**environment, "GIT_CONFIG_GLOBAL": str(trust)}}
    runner.must("git clone", ["git", "clone", "--quiet", str(CHECKOUT), str(clone)], **git)
    _say("tests this commit in a clone; what is not committed is not tested:")
    runner.must("git log", ["git", "-C", str(clone), "log", "-1", "--oneline", "--no-decorate"], **git)


def _run_every_test(runner: Runner, clone: Path, report: Path, environment: Mapping[str, str]) -> list[str]:
    """Node ids of those that the missing chart skipped."""
    options = f"--junitxml={quote(str(report))} -o junit_family=xunit1"
    runner.must("make test", ["make", "test"], cwd=clone, env={**environment, "PYTEST_ADDOPTS": options})
    if not report.exists():
        raise Failed("make test passed, but pytest wrote no report: did it run any test?")
    skipped = skipped_tests(report)
    if len(skipped) > MOST_SKIPPED:
        reasons = "\n".join(f"  {reason}" for reason in sorted(set(skipped.values())))
        raise Failed(f"{len(skipped)} tests were skipped, and at most {MOST_SKIPPED} may be:\n{reasons}")
    return for_chart(skipped)


def _run_skipped(
    runner: Runner,
    clone: Path,
    report: Path,
    environment: Mapping[str, str],
    skipped: Sequence[str],
    charts: Path | None,
) -> None:
    if not skipped:
        return _say("no test was skipped for lack of NVIDIA's GPU Operator chart")
    if charts is None:
        return _say(
            f"{len(skipped)} tests were skipped for lack of NVIDIA's GPU Operator chart, which is not here "
            "either. To run them, set SLICEWISE_CHARTS to a folder that has it"
        )
    _say(f"runs the {len(skipped)} tests that were skipped for lack of NVIDIA's GPU Operator chart")
    options = ["-q", f"--junitxml={report}", "-o", "junit_family=xunit1"]
    command = [str(clone / ".venv/bin/python"), "-m", "pytest", *options, *skipped]
    with_chart = {**environment, "SLICEWISE_CHARTS": str(charts)}
    runner.must("the tests that need the chart", command, cwd=clone, env=with_chart)
    if still := for_chart(skipped_tests(report)):
        raise Failed(f"{len(still)} of the tests that need the chart were skipped again, although it is here")


def _run_oldest(runner: Runner, clone: Path, environment: Mapping[str, str]) -> None:
    if runner.left_s() < OLDEST_NEEDS_S:
        return _say(f"make test-oldest was not run: fewer than {OLDEST_NEEDS_S // 60} minutes are left")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    asked = [str(clone / ".venv/bin/python"), *OLDEST_IS_BUILT]
    if runner.run("asking for the oldest build", asked, cwd=clone, env=environment, **quiet):
        return _say("make test-oldest was not run: the oldest versions are not built here")
    runner.must("make test-oldest", ["make", "test-oldest"], cwd=clone, env=environment)


def _run_controllers(runner: Runner, clone: Path, environment: Mapping[str, str]) -> None:
    """A file of tests each, whose mark says which controllers must be built."""
    folder = clone / "tests/controllers"
    files = {str(path.relative_to(folder)): path for path in folder.rglob("test_*.py")}
    rounds = controller_rounds.read()
    for name in controller_rounds.longest_not_run(files, rounds):
        needed = controller_rounds.needed(files[name].read_text())
        if why := _left_out(runner, clone, environment, needed, rounds.get(name, Round())):
            _say(f"the controllers' tests in {name} were not run: {why}")
            continue
        _say(f"runs the controllers' tests in {name}")
        command = [
            str(clone / ".venv/bin/python"),
            "-m",
            "pytest",
            "-q",
            "-m",
            "controllers",
            str(files[name]),
        ]
        started = time.monotonic()
        try:
            runner.must(f"pytest {name}", command, cwd=clone, env=environment)
        finally:
            controller_rounds.note(name, time.monotonic() - started)


def _left_out(
    runner: Runner, clone: Path, environment: Mapping[str, str], needed: Sequence[str], last: Round
) -> str | None:
    if runner.left_s() < last.needs_s:
        return f"fewer than {last.needs_s / 60:.0f} minutes are left"
    if not needed:
        return None
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    names = ",".join(needed)
    asked = [str(clone / ".venv/bin/python"), "-m", "sandbox", "build", "--with", names, "--if-cached"]
    if runner.run(f"asking for the build of {names}", asked, cwd=clone, env=environment, **quiet):
        return f"not built here; `python -m sandbox build --with {names}` builds what they need"
    return None


def skipped_tests(report: Path) -> dict[str, str]:
    """Reasons by node id, from a JUnit report of family xunit1."""
    return {
        f"{case.get('file')}::{case.get('name')}": skip.get("message", "")
        for case in ElementTree.parse(report).iter("testcase")
        for skip in case.iter("skipped")
    }


def for_chart(skipped: Mapping[str, str]) -> list[str]:
    """Node ids of those that the missing chart skipped."""
    return [test for test, reason in skipped.items() if reason.startswith(SKIPPED_FOR_CHART)]


def chart_folder(pattern: str | None) -> Path | None:
    """The folder that has the chart; None where none has."""
    named = os.environ.get("SLICEWISE_CHARTS")
    folders = [named] if named else sorted(glob.glob(pattern, root_dir=CHECKOUT)) if pattern else []
    found = ((CHECKOUT / folder).resolve() for folder in folders)
    return next((folder for folder in found if any(folder.glob(CHART))), None)


def _say(text: str) -> None:
    print(f"ci: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
