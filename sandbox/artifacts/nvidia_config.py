"""NVIDIA's own parser of device plugin configurations, built once into the user's cache folder."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from sandbox.artifacts import go_modules, go_toolchain, versions
from sandbox.artifacts.go_modules import BuildFailed
from sandbox.artifacts.kept import kept, key

MODULE = versions.MODULE / "nvidia-config"


def command(progress: Callable[[str], None] = print) -> Path:
    """
    `nvidia-config FILE...` prints one line of JSON a file (sandbox/go/nvidia-config/main.go says which);
    the first call builds it, in about 20 CPU seconds.

    Raises:
        BuildFailed: The build or a download failed.
    """
    go = go_toolchain.choose(versions.chosen().go)
    wanted = key(go.version, files=sorted(MODULE.iterdir()))
    folder = kept(f"nvidia-config-{wanted}", lambda work: _build(go, work, progress), progress)
    return folder / "nvidia-config"


def _build(go: go_toolchain.Go, work: Path, progress: Callable[[str], None]) -> None:
    progress("building NVIDIA's parser of device plugin configurations, once")
    options = ["-C", MODULE, "-trimpath", "-ldflags", "-s -w", "-o", f"{work}/"]
    done = subprocess.run(
        [go_toolchain.install(go, progress), "build", *options, "."],
        env=go_modules.environment(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BuildFailed(f"go build of {MODULE.name} failed:\n{done.stderr}")
