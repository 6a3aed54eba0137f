"""
Children that end with us, or that are found again and ended later.

A child is written down as `<folder>/<name>.json` with its pid *and start time*,
so that a pid that the kernel has given to somebody else is never signalled.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# `sandbox/go/lifeline` reads this: with "stdin" the child ends when its standard input does.
LIFELINE = "SLICEWISE_SANDBOX_LIFELINE"


class ChildDied(RuntimeError):
    """A child ended while we waited for it; the message holds the end of its log."""


@dataclass
class Child:
    name: str
    log: Path
    record: Path
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raise `ChildDied` when the process has ended."""
        code = self.process.poll()
        if code is not None:
            raise ChildDied(f"{self.name} ended with {code}; the end of {self.log}:\n{tail(self.log)}")

    def stop(self, grace_seconds: float = 3.0) -> None:
        """Ask it to end, then insist. Stopping twice is harmless."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        self.record.unlink(missing_ok=True)


@dataclass
class Children:
    """
    Starts processes whose logs and records lie in one folder.

    They end with this process, also when it is killed: see `sandbox/go/lifeline`.

    Args:
        folder: Gets `logs/` and `processes/`.
    """

    folder: Path
    running: dict[str, Child] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Child:
        logs, records = self.folder / "logs", self.folder / "processes"
        logs.mkdir(parents=True, exist_ok=True)
        records.mkdir(exist_ok=True)
        log_path = logs / f"{name}.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {}), LIFELINE: "stdin"},
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C at our terminal is ours to handle, in order
            )
        record = records / f"{name}.json"
        record.write_text(json.dumps({"pid": process.pid, "started": start_time(process.pid)}))
        self.running[name] = Child(name, log_path, record, process)
        return self.running[name]

    def check(self) -> None:
        for child in self.running.values():
            child.check()

    def stop(self, name: str, grace_seconds: float = 3.0) -> None:
        if name in self.running:
            self.running.pop(name).stop(grace_seconds)


def end_recorded(folder: Path, timeout_seconds: float = 5.0) -> list[str]:
    """
    End what an earlier launcher recorded in `folder` and left running.

    Returns:
        The names of the processes that had to be ended. Records of processes
        that are gone, or whose pid now belongs to another process, only go.
    """
    ended = []
    for record in sorted((folder / "processes").glob("*.json")):
        try:
            entry = json.loads(record.read_text())
            pid, started = int(entry["pid"]), entry["started"]
        except (ValueError, KeyError):  # its launcher was killed while writing
            record.unlink()
            continue
        if started is not None and start_time(pid) == started:
            os.kill(pid, signal.SIGKILL)  # nothing to save: the next start begins empty
            _wait_ended(pid, started, timeout_seconds)
            ended.append(record.stem)
        record.unlink(missing_ok=True)
    return ended


def is_recorded_alive(record: Path) -> bool:
    try:
        entry = json.loads(record.read_text())
        return entry["started"] is not None and start_time(entry["pid"]) == entry["started"]
    except (OSError, ValueError, KeyError):
        return False


def start_time(pid: int) -> str | None:
    """When a living process started, in a form fit for comparison only; None when it is gone."""
    try:
        # After the name in parentheses: state is field 3, starttime field 22 (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    # No /proc (macOS): ask ps.
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return listed.stdout.strip() or None


def tail(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def _wait_ended(pid: int, started: str, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while start_time(pid) == started:
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} does not end")
        time.sleep(0.02)
