"""
The control plane's binaries, built once into the user's cache folder.

`ensure()` answers in milliseconds when the build is there. The first one takes
5 to 15 minutes on 2 cores (measured: 23 s of downloads, 279 s of compiling, 2.4 GB
of memory); afterwards nothing needs Go, since what the runs read from Go modules
(CRDs, kwok stages) is copied beside the binaries.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox import go_toolchain
from sandbox.cache import cache_folder, locked
from sandbox.processes import Children, end_recorded, tail
from sandbox.tools import node, tools

__all__ = ["Binaries", "BuildFailed", "cache_folder", "ensure", "node", "tools"]

MODULE = Path(__file__).parent / "go"
KUBERNETES = "k8s.io/kubernetes"
KARPENTER = "sigs.k8s.io/karpenter"
KWOK = "sigs.k8s.io/kwok"
# Only its CRD files are used, so it is no requirement of our module (it would move the versions of
# others); its checksum is held here instead of in go.sum.
AWS_PROVIDER = "github.com/aws/karpenter-provider-aws@v1.14.1"
AWS_PROVIDER_SUM = "h1:WGtIQTQcxpElYMdWfWuPwaF2+9muR+hYhPZsTtoY8Gs="

# Raise it when this file builds or copies something else than before: the cache's key holds it.
RECIPE = 1

Progress = Callable[[str], None]


class BuildFailed(Exception):
    """The Go build failed; the message holds the end of its output."""


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
    The binaries, built first where they are missing or where our module has changed.

    A second caller waits for the first. A build that is killed leaves only a `.tmp` folder, which
    the next one clears.

    Raises:
        BuildFailed: The build or a download failed.
    """
    go = go_toolchain.choose()
    folder = cache_folder() / f"control-plane-{_key(go.version)}"
    if not folder.exists():
        with locked(folder.with_suffix(".lock"), progress):
            if not folder.exists():
                _build(go_toolchain.install(go, progress), folder, progress)
    return Binaries(folder / "ctl", folder / "karpenter", folder / "crds", folder / "stages")


def _key(go_version: str) -> str:
    """What the build depends on: every file of our module, Go's version and the machine."""
    digest = hashlib.sha256(f"{RECIPE} {go_version} {platform.system()} {platform.machine()}".encode())
    for path in sorted(path for path in MODULE.rglob("*") if path.is_file()):
        digest.update(f"\0{path.relative_to(MODULE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _build(go: Path, folder: Path, progress: Progress) -> None:
    for leftover in folder.parent.glob(f"{folder.name}.*.tmp"):
        end_recorded(leftover)  # its Go may still be compiling, for nobody
        shutil.rmtree(leftover)
    work = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".tmp", dir=folder.parent))
    cores = os.cpu_count() or 2
    # 490 CPU seconds were measured; linking does not parallelise, hence the fixed part.
    minutes = max(1, round((23 + 30 + 490 / cores) / 60))
    progress(
        f"building the control plane (etcd, Kubernetes, kwok, Karpenter) from source, once: "
        f"about {minutes} minutes on {cores} cores"
    )
    try:
        _compile(go, work, progress)
        _copy_files(go, work)
        work.rename(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    progress(f"built: {folder}")


def _compile(go: Path, target: Path, progress: Progress) -> None:
    command = [go, "build", "-C", MODULE, "-trimpath", "-ldflags", _link_flags(go), "-o", f"{target}/"]
    build = Children(target).start("go-build", [*command, "./cmd/ctl", "./cmd/karpenter"], _go_environment())
    started = time.monotonic()
    try:
        while _still_running(build.process, seconds=30):
            progress(f"  building, {time.monotonic() - started:.0f} s so far")
    finally:
        build.stop(grace_seconds=0)
    if build.process.returncode:
        raise BuildFailed(f"go build failed:\n{tail(build.log, lines=20)}")


def _still_running(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        return True


def _link_flags(go: Path) -> str:
    """Stamp the version, so that `GET /version` tells the truth: unstamped it says zero."""
    version = _module(go, KUBERNETES)["Version"]
    major, minor, _ = version.removeprefix("v").split(".")
    stamp = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{k}={v}" for k, v in stamp.items())


def _copy_files(go: Path, target: Path) -> None:
    crds, stages = target / "crds", target / "stages"
    crds.mkdir()
    stages.mkdir()
    karpenter, kwok = Path(_module(go, KARPENTER)["Dir"]), Path(_module(go, KWOK)["Dir"])
    sources = [*(_aws_provider(go) / "pkg/apis/crds").glob("karpenter*.yaml")]
    sources += (karpenter / "kwok/apis/crds").glob("*.yaml")
    for source in sources:
        shutil.copyfile(source, crds / source.name)
    for stage in ("node/fast/node-initialize", "pod/fast/pod-ready", "pod/fast/pod-delete"):
        source = kwok / "kustomize/stage" / f"{stage}.yaml"
        shutil.copyfile(source, stages / source.name)


def _aws_provider(go: Path) -> Path:
    # Outside our module, so that go.mod is not touched.
    with tempfile.TemporaryDirectory() as elsewhere:
        module = json.loads(_run(go, ["mod", "download", "-json", AWS_PROVIDER], Path(elsewhere)))
    if module["Sum"] != AWS_PROVIDER_SUM:
        raise BuildFailed(f"{AWS_PROVIDER} has checksum {module['Sum']}, expected {AWS_PROVIDER_SUM}")
    return Path(module["Dir"])


def _module(go: Path, path: str) -> dict[str, str]:
    return json.loads(_run(go, ["list", "-m", "-json", path], MODULE))


def _run(go: Path, args: list[str], folder: Path) -> str:
    done = subprocess.run([go, *args], cwd=folder, env=_go_environment(), capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed(f"go {' '.join(args)} failed:\n{done.stderr or done.stdout}")
    return done.stdout


def _go_environment() -> dict[str, str]:
    # The user's GOFLAGS could say -mod=vendor; a go.work above us would change the versions.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
