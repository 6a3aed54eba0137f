"""Karpenter's own charts, packed as the project releases them, out of the AWS provider's source."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sandbox.artifacts import chart_archive, go_modules, go_toolchain, versions
from sandbox.artifacts.go_modules import BuildFailed
from sandbox.artifacts.kept import kept, key
from sandbox.artifacts.versions import Versions

NAMES = ("karpenter", "karpenter-crd")
# Raise it when `pack` packs in another way.
RECIPE = 2


def folder(progress: Callable[[str], None] = print) -> Path:
    """
    Where the packed charts of the chosen versions lie; made at the first call (2.6 MB of downloads).

    Raises:
        BuildFailed: The module cannot be had, or is not what was pinned.
    """
    pair = versions.chosen()
    name = f"karpenter-charts-{key(str(RECIPE), str(pair.aws_provider), pair.aws_provider.sum)}"
    return kept(name, lambda work: _fetch(pair, work, progress), progress)


def _fetch(pair: Versions, work: Path, progress: Callable[[str], None]) -> None:
    go = go_toolchain.install(go_toolchain.choose(pair.go), progress)
    pack(go_modules.downloaded(go, pair.aws_provider), pair.karpenter, work)


def pack(provider: Path, version: str, folder: Path) -> None:
    """
    `karpenter-VERSION.tgz` and `karpenter-crd-VERSION.tgz`.

    Args:
        provider: The unpacked Go module of the AWS provider.
        version: Of its tag. The charts' source still says the release before: Karpenter's release job writes
            version, image tag and digest in after the tag. The digest is not known here, so there is none.
    """
    for name in NAMES:
        files = chart_files(provider, name, version)
        (folder / f"{name}-{version}.tgz").write_bytes(chart_archive.packed(files))


def chart_files(provider: Path, name: str, version: str) -> dict[str, bytes]:
    """What the chart holds: content by path, beginning with its name."""
    source = provider / "charts" / name
    files = {f"{name}/{p.relative_to(source)}": p.read_bytes() for p in source.rglob("*") if p.is_file()}
    _write(files, f"{name}/Chart.yaml", {"version": version, "appVersion": version})
    if name == "karpenter":
        _write(files, "karpenter/values.yaml", {"    tag": version, "    digest": '""'})
        # Its crds/ is a symbolic link, and Go leaves those out of modules.
        for crd in (provider / "pkg/apis/crds").glob("*.yaml"):
            files[f"{name}/crds/{crd.name}"] = crd.read_bytes()
    return files


def _write(files: dict[str, bytes], file: str, values: dict[str, str]) -> None:
    """Give the keys, each with its indentation, other values; there has to be one of each."""
    text = files[file].decode()
    for name, value in values.items():
        text, found = re.subn(rf"^{name}: .*$", f"{name}: {value}", text, flags=re.MULTILINE)
        if found != 1:
            raise BuildFailed(
                f"{file} has {found} lines {name.strip()!r}, expected one: its layout has changed"
            )
    files[file] = text.encode()
