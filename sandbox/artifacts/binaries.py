"""
The control plane's binaries, built once into the user's cache folder.

`ensure()` answers in milliseconds when the build is there; afterwards nothing needs Go, since what the runs
read from Go modules (CRDs, kwok stages) is copied beside the binaries. docs/supported_versions.md has
what the first one takes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sandbox.artifacts import go_modules, go_toolchain, versions
from sandbox.artifacts.cache import cache_folder
from sandbox.artifacts.go_modules import BuildFailed
from sandbox.artifacts.kept import kept, key
from sandbox.artifacts.tools import node, tools
from sandbox.artifacts.versions import Versions

__all__ = ["Binaries", "BuildFailed", "cache_folder", "ensure", "is_built", "node", "tools"]

MODULE = versions.MODULE
KARPENTER = "sigs.k8s.io/karpenter"
KWOK = "sigs.k8s.io/kwok"

# Raise it when this file builds or copies something else than before: the cache's key holds it.
RECIPE = 2

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Binaries:
    """
    Attributes:
        ctl: etcd, kube-apiserver, controller-manager, scheduler and kwok in one.
        karpenter: Karpenter with the wrapped kwok provider.
        crds: Folder of Karpenter's CRDs: those of the AWS provider, which are stricter than the
            core's, and kwok's NodeClass.
        stages: Folder of kwok's own stages (ours lie in `sandbox/stages`).
    """

    ctl: Path
    karpenter: Path
    crds: Path
    stages: Path


def ensure(progress: Progress = print) -> Binaries:
    """
    The binaries of the chosen versions, built first where they are missing or where our module has changed.

    Raises:
        BuildFailed: The build or a download failed.
    """
    pair = versions.chosen()
    go = go_toolchain.choose(pair.go)
    folder = kept(_name(pair, go.version), partial(_build, pair, go, progress=progress), progress)
    return Binaries(*(folder / name for name in ("ctl", "karpenter", "crds", "stages")))


def is_built() -> bool:
    """Whether `ensure` has nothing left to do."""
    pair = versions.chosen()
    return (cache_folder() / _name(pair, go_toolchain.choose(pair.go).version)).exists()


def _name(pair: Versions, go_version: str) -> str:
    """What the build depends on: our sources, the pair's modules, Go's version and the machine."""
    sources = (path for folder in ("cmd", "lifeline") for path in (MODULE / folder).rglob("*.go"))
    files = (*sorted(sources), pair.modules, pair.sums)
    return f"control-plane-{key(str(RECIPE), go_version, pair.aws_provider.sum, files=files)}"


def _build(pair: Versions, chosen: go_toolchain.Go, work: Path, progress: Progress) -> None:
    go = go_toolchain.install(chosen, progress)
    cores = os.cpu_count() or 2
    # 780 CPU seconds were measured; linking does not parallelise, hence the fixed part.
    minutes = max(1, round((23 + 30 + 780 / cores) / 60))
    progress(
        f"building the control plane (etcd, Kubernetes {pair.kubernetes}, kwok, Karpenter {pair.karpenter}) "
        f"from source, once: about {minutes} minutes on {cores} cores"
    )
    _compile(pair, go, work, progress)
    _copy_files(pair, go, work)
    progress("built")


def _compile(pair: Versions, go: Path, target: Path, progress: Progress) -> None:
    command = [go, "build", "-C", MODULE, *_of(pair), "-trimpath", "-ldflags", _link_flags(pair)]
    command += ["-o", f"{target}/", "./cmd/ctl", "./cmd/karpenter"]
    go_modules.build(command, target, progress)


def _of(pair: Versions) -> list[str]:
    """One folder of sources has a module file for each pair."""
    return ["-modfile", str(pair.modules), "-tags", ",".join(pair.tags)]


def _link_flags(pair: Versions) -> str:
    """Stamp the version, so that `GET /version` tells the truth: unstamped it says zero."""
    major, minor, _ = pair.kubernetes.split(".")
    stamp = {
        "gitVersion": f"v{pair.kubernetes}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{k}={v}" for k, v in stamp.items())


def _copy_files(pair: Versions, go: Path, target: Path) -> None:
    crds, stages = target / "crds", target / "stages"
    crds.mkdir()
    stages.mkdir()
    sources = [*(go_modules.downloaded(go, pair.aws_provider) / "pkg/apis/crds").glob("karpenter*.yaml")]
    sources += (_module(pair, go, KARPENTER) / "kwok/apis/crds").glob("*.yaml")
    for source in sources:
        shutil.copyfile(source, crds / source.name)
    for stage in ("node/fast/node-initialize", "pod/fast/pod-ready", "pod/fast/pod-delete"):
        source = _module(pair, go, KWOK) / "kustomize/stage" / f"{stage}.yaml"
        shutil.copyfile(source, stages / source.name)


def _module(pair: Versions, go: Path, path: str) -> Path:
    arguments = ["list", "-m", "-modfile", str(pair.modules), "-f", "{{.Dir}}", path]
    return Path(go_modules.run(go, arguments, MODULE).strip())
