"""
`up`, `down` and `status` of a sandbox that a person plays with.

A session is one process that holds a world, whatever that consists of, until it is told
to end. With `keep` that process is started in the background, and `down` ends it. It is
written down in its folder with pid and start time, as its children are.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

from sandbox.artifacts.cache import cache_folder
from sandbox.processes import end_recorded, is_recorded_alive, start_time, tail

RECORD, LOG, WORLD = "session.json", "session.log", "world"
STOP_SECONDS = 30.0

# Starts everything below a folder; gives what a person needs to reach it, by name.
World = Callable[[Path], AbstractContextManager[Mapping[str, str]]]


class SessionError(Exception):
    """What a person asked for cannot be done; the message says what to do instead."""


def default_folder() -> Path:
    return cache_folder() / "sandbox"


def up(folder: Path, world: World, say: Callable[[str], None] = print) -> None:
    """
    Start `world` and hold it until SIGINT, SIGTERM or SIGHUP.

    Raises:
        SessionError: One already runs in this folder.
    """
    if is_recorded_alive(folder / RECORD):
        raise SessionError(
            f"a sandbox already runs in {folder}: `python -m sandbox down`, or another --folder"
        )
    clean(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _record(folder, ready=False, reach={})
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    try:
        with world(folder / WORLD) as reach:
            _record(folder, ready=True, reach=reach)
            say(describe(reach))
            say("Ctrl-C ends it.")
            while True:
                signal.pause()
    finally:
        (folder / RECORD).unlink(missing_ok=True)


def up_in_background(folder: Path, arguments: list[str], say: Callable[[str], None] = print) -> None:
    """
    Start `python -m sandbox <arguments>` in a session of its own, and return when it is ready.

    Raises:
        SessionError: It ended before; the message holds the end of its log.
    """
    if is_recorded_alive(folder / RECORD):
        raise SessionError(f"a sandbox already runs in {folder}: `python -m sandbox down` ends it")
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / LOG
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            cwd=Path(__file__).parents[1],
        )
    reported = 0
    # Its own record: one that was killed before has left a record, which says that it is ready.
    while not ((state := read(folder)).get("ready") and state["pid"] == process.pid):
        if process.poll() is not None:
            raise SessionError(f"the sandbox ended while starting:\n{tail(log_path)}")
        lines = log_path.read_text(errors="replace").splitlines()
        for line in lines[reported:]:  # a first build takes minutes: pass its progress on
            say(line)
        reported = len(lines)
        time.sleep(0.2)
    say(describe(state["reach"]))
    say("`python -m sandbox down` ends it.")


def down(folder: Path) -> bool:
    """End the session of this folder and what it may have left; whether one was running."""
    running = is_recorded_alive(folder / RECORD)
    if running:
        pid, started = read(folder)["pid"], read(folder)["started"]
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while start_time(pid) == started:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)  # its children notice
            time.sleep(0.1)
    clean(folder)
    return running


def clean(folder: Path) -> None:
    """End children whose session was killed, and forget that session."""
    for records in folder.glob(f"{WORLD}/**/processes"):
        end_recorded(records.parent)
    (folder / RECORD).unlink(missing_ok=True)


def read(folder: Path) -> dict:
    """The session's record: pid, started, ready, reach. Empty where there is none."""
    try:
        return json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}


def describe(reach: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={value}" for name, value in reach.items())


def _record(folder: Path, *, ready: bool, reach: Mapping[str, str]) -> None:
    pid = os.getpid()
    state = {"pid": pid, "started": start_time(pid), "ready": ready, "reach": dict(reach)}
    work = folder / f"{RECORD}.tmp"
    work.write_text(json.dumps(state))
    work.rename(folder / RECORD)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number if number != signal.SIGINT else 0)
