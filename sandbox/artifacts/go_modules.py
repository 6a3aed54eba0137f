"""Go modules as sources of files: each pinned by version and by checksum, as go.sum has it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.processes import Children, tail


class BuildFailed(Exception):
    """A Go build or a download failed; the message holds the end of its output."""


@dataclass(frozen=True)
class Pinned:
    """
    Attributes:
        path, version: Such as "sigs.k8s.io/lws" and "v0.8.0".
        sum: Of its content, as go.sum has it: "h1:…".
    """

    path: str
    version: str
    sum: str

    def __str__(self) -> str:
        return f"{self.path}@{self.version}"


def downloaded(go: Path, module: Pinned) -> Path:
    """
    Where the module lies unpacked, in Go's own cache; it is read there and left.

    Raises:
        BuildFailed: It cannot be had, or it is not what was pinned.
    """
    # Elsewhere than in a module of ours, whose go.mod would be consulted.
    with tempfile.TemporaryDirectory() as elsewhere:
        found = json.loads(run(go, ["mod", "download", "-json", str(module)], Path(elsewhere)))
    if found["Sum"] != module.sum:
        raise BuildFailed(f"{module} has checksum {found['Sum']}, expected {module.sum}")
    return Path(found["Dir"])


def run(go: Path, arguments: list[str], folder: Path) -> str:
    """
    What `go` wrote to stdout, run in `folder`.

    Raises:
        BuildFailed: It ended otherwise than with 0.
    """
    command = [go, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed(f"go {' '.join(arguments)} failed:\n{done.stderr or done.stdout}")
    return done.stdout


def build(command: Sequence[str | Path], target: Path, progress: Callable[[str], None]) -> None:
    """
    Run a build of minutes, and tell twice a minute that it goes on.

    It ends with us. Where we are killed, its record in `target` has the next build end it (kept.py).

    Raises:
        BuildFailed: It ended otherwise than with 0.
    """
    child = Children(target).start("go-build", command, environment())
    started = time.monotonic()
    try:
        while _still_running(child.process, seconds=30):
            progress(f"  building, {time.monotonic() - started:.0f} s so far")
    finally:
        child.stop(grace_seconds=0)
    if child.process.returncode:
        raise BuildFailed(f"go build failed:\n{tail(child.log, lines=20)}")


def _still_running(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        return True


def environment() -> dict[str, str]:
    # The user's GOFLAGS could say -mod=vendor; a go.work above us would change the versions.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
