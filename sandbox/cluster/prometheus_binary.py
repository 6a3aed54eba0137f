"""Prometheus, built from source once into the user's cache folder, without its service discoveries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sandbox import go_toolchain
from sandbox.cluster import go_modules, versions
from sandbox.cluster.go_modules import BuildFailed
from sandbox.cluster.kept import kept, key

MODULE = versions.MODULE / "prometheus"
LIFELINE = versions.MODULE / "lifeline" / "lifeline.go"
PROMETHEUS = "github.com/prometheus/prometheus"
# What other tags build: clients of two dozen clouds. Targets that a file names are found without them.
TAGS = "remove_all_sd"
# Raise it when `_build` builds something else than before: the cache's key holds it.
RECIPE = 1


def command(progress: Callable[[str], None] = print) -> Path:
    """
    `prometheus`, as its project's releases have it, without service discoveries and the web page; the first
    call builds it, in about 3 minutes on 2 cores.

    Raises:
        BuildFailed: The build or a download failed.
    """
    go = go_toolchain.choose(versions.named("newest").go)  # one build, whichever pair runs beside it
    wanted = key(str(RECIPE), go.version, TAGS, files=(*sorted(MODULE.iterdir()), LIFELINE))
    folder = kept(f"prometheus-{wanted}", lambda work: _build(go, work, progress), progress)
    return folder / "prometheus"


def _build(chosen: go_toolchain.Go, work: Path, progress: Callable[[str], None]) -> None:
    go = go_toolchain.install(chosen, progress)
    progress("building Prometheus from source, once: about 3 minutes on 2 cores")
    module = _downloaded(go)
    overlay = work / "overlay.json"
    overlay.write_text(json.dumps({"Replace": _sources(module)}))
    version = (module / "VERSION").read_text().strip()  # unstamped, the program calls itself nothing
    flags = f"-s -w -X github.com/prometheus/common/version.Version={version}"
    options = ["-C", str(MODULE), "-overlay", str(overlay), "-tags", TAGS, "-trimpath", "-ldflags", flags]
    go_modules.build([go, "build", *options, "-o", str(work / "prometheus"), "."], work, progress)
    overlay.unlink()


def _downloaded(go: Path) -> Path:
    """Where the version that go.mod requires lies unpacked; Go holds it to go.sum."""
    return Path(json.loads(go_modules.run(go, ["mod", "download", "-json", PROMETHEUS], MODULE))["Dir"])


def _sources(module: Path) -> dict[str, str]:
    """
    Where Go finds the files that our folder lacks, by where it looks for them.

    Prometheus' command is a package of its own, which nothing can import, so its files are built as ours.
    """
    files = [file for file in (module / "cmd/prometheus").glob("*.go") if not file.name.endswith("_test.go")]
    if not files:
        raise BuildFailed(f"{module} has no cmd/prometheus")
    sources = {str(MODULE / file.name): str(file) for file in files}
    return sources | {str(MODULE / "lifeline" / LIFELINE.name): str(LIFELINE)}
