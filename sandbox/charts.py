"""
Packaged helm charts: the vendors' own where they are at hand, else small stand-ins of ours.

The vendors' are looked for in the folder `SLICEWISE_CHARTS`, else in `../shared/charts`
beside this repository.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from sandbox import binaries
from sandbox.cache import cache_folder

STAND_INS = Path(__file__).parent / "charts"
BESIDE_THE_REPOSITORY = Path(__file__).parents[2] / "shared" / "charts"
# Where a stand-in chart gets Karpenter's own CRDs: helm's crds/ or, to be upgradable, templates/.
CRD_FOLDERS = {"karpenter": "crds", "karpenter-crd": "templates"}


@dataclass(frozen=True)
class Chart:
    """
    Attributes:
        path: A packaged chart (.tgz).
        version: Of the chart.
        origin: For people: where it comes from.
        real: Whether it is the vendor's own.
    """

    path: Path
    version: str
    origin: str
    real: bool


def chart(name: str) -> Chart:
    """
    gpu-operator, karpenter or karpenter-crd; of several versions, the one that sorts last.

    Raises:
        KeyError: Neither a real chart nor a stand-in has that name.
    """
    folder = Path(os.environ.get("SLICEWISE_CHARTS") or BESIDE_THE_REPOSITORY)
    # "karpenter-1.14.1", but not "karpenter-crd-1.14.1".
    named = re.compile(rf"{re.escape(name)}-(v?\d\S*)\.tgz")
    found = sorted(path for path in folder.glob("*.tgz") if named.fullmatch(path.name))
    if found:
        version = named.fullmatch(found[-1].name)[1]
        return Chart(found[-1], version, f"the vendor's chart, {found[-1]}", real=True)
    if not (STAND_INS / name).is_dir():
        raise KeyError(f"no chart {name!r}: not in {folder}, and no stand-in of ours")
    version = yaml.safe_load((STAND_INS / name / "Chart.yaml").read_text())["version"]
    origin = f"a stand-in of ours: {folder} holds no {name} chart"
    return Chart(_pack(name, version), version, origin, real=False)


def _pack(name: str, version: str) -> Path:
    source = STAND_INS / name
    files = {f"{name}/{path.relative_to(source)}": path for path in source.rglob("*") if path.is_file()}
    if name in CRD_FOLDERS:
        for crd in binaries.ensure().crds.glob("karpenter.*.yaml"):
            if "kwok" not in crd.name:
                files[f"{name}/{CRD_FOLDERS[name]}/{crd.name}"] = crd
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
        for inner in sorted(files):
            archive.add(files[inner], arcname=inner)
    key = hashlib.sha256(b"".join(files[inner].read_bytes() for inner in sorted(files))).hexdigest()[:16]
    target = cache_folder() / "charts" / key / f"{name}-{version}.tgz"
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_suffix(f".{os.getpid()}.tmp")
    work.write_bytes(content.getvalue())
    work.rename(target)
    return target
