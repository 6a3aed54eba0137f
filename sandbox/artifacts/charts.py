"""
Packaged helm charts, the vendors' own: Karpenter's out of its Go module, the GPU Operator's from NVIDIA's
repository.

A folder that `SLICEWISE_CHARTS` names goes before both. Where the GPU Operator's chart cannot be had, a small
stand-in of ours takes its place, and says so.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from sandbox.artifacts import chart_archive, chart_repository, karpenter_charts, versions
from sandbox.artifacts.cache import cache_folder
from sandbox.artifacts.chart_repository import NotHad, Wanted

FOLDER = "SLICEWISE_CHARTS"
STAND_INS = Path(__file__).parents[1] / "charts"
CONFIGURATION = Path(__file__).parents[2] / "cdk.json"


@dataclass(frozen=True)
class Chart:
    """
    Attributes:
        path: A packaged chart (.tgz).
        version: Of the chart.
        origin: For people, as the end of "it comes from …".
        real: Whether it is the vendor's own.
    """

    path: Path
    version: str
    origin: str
    real: bool


def chart(name: str) -> Chart:
    """
    gpu-operator, karpenter or karpenter-crd; of several versions in a folder, the one that sorts last.

    Raises:
        KeyError: No chart has that name.
    """
    brought = os.environ.get(FOLDER)
    if brought and (found := _newest(Path(brought), name)):
        return _real(found, name, f"the vendor's chart {found.name}, of {FOLDER}")
    if name in karpenter_charts.NAMES:
        found = karpenter_charts.folder() / f"{name}-{versions.chosen().karpenter}.tgz"
        return _real(found, name, f"Karpenter's own chart {found.name}")
    if name == "gpu-operator":
        return _gpu_operator()
    raise KeyError(f"no chart {name!r}: there are {', '.join((*karpenter_charts.NAMES, 'gpu-operator'))}")


def product() -> Wanted:
    """The GPU Operator's chart that the product installs, by cdk.json."""
    context = json.loads(CONFIGURATION.read_text())["context"]
    repository = context["gpu_operator_chart"].partition("/charts/")[0]
    return Wanted(repository, "gpu-operator", context["gpu_operator_version"])


def _gpu_operator() -> Chart:
    wanted = product()
    try:
        path = chart_repository.fetched(wanted, cache_folder() / "charts" / "fetched")
        return Chart(path, wanted.version, f"NVIDIA's own chart {path.name}", real=True)
    except NotHad:
        return _stand_in(wanted.name)


def _stand_in(name: str) -> Chart:
    source = STAND_INS / name
    version = yaml.safe_load((source / "Chart.yaml").read_text())["version"]
    files = {f"{name}/{p.relative_to(source)}": p.read_bytes() for p in source.rglob("*") if p.is_file()}
    origin = (
        f"a stand-in of ours, because NVIDIA's chart {name} {version} could not be fetched: "
        f"to bring the real one, set {FOLDER}=<folder that holds {name}-{version}.tgz>"
    )
    packed = chart_archive.packed(files)
    path = chart_archive.keep(packed, f"{name}-{version}.tgz", cache_folder() / "charts" / "stand-ins")
    return Chart(path, version, origin, real=False)


def _newest(folder: Path, name: str) -> Path | None:
    # "karpenter-1.15.0", but not "karpenter-crd-1.15.0".
    named = re.compile(rf"{re.escape(name)}-v?\d\S*\.tgz")
    return max((path for path in folder.glob("*.tgz") if named.fullmatch(path.name)), default=None)


def _real(path: Path, name: str, origin: str) -> Chart:
    return Chart(path, path.name.removeprefix(f"{name}-").removesuffix(".tgz"), origin, real=True)
