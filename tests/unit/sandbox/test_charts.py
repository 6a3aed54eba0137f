"""Which chart is taken, and that it says so."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from sandbox.charts import chart


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    charts = tmp_path / "charts"
    charts.mkdir()
    monkeypatch.setenv("SLICEWISE_CHARTS", str(charts))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return charts


def test_the_vendors_chart_is_taken_where_it_is_found(folder: Path):
    for name in ("karpenter-crd-1.14.1.tgz", "karpenter-1.14.1.tgz", "gpu-operator-v26.7.0.tgz"):
        (folder / name).touch()

    found = chart("karpenter")

    assert (found.path.name, found.version, found.real) == ("karpenter-1.14.1.tgz", "1.14.1", True)
    assert chart("gpu-operator").version == "v26.7.0"


def test_else_a_stand_in_is_packed_and_named_as_such(folder: Path):
    packed = chart("gpu-operator")

    assert not packed.real
    assert "stand-in" in packed.origin
    with tarfile.open(packed.path) as archive:
        assert "gpu-operator/Chart.yaml" in archive.getnames()
    assert chart("gpu-operator") == packed


def test_a_chart_that_nobody_has_is_an_error(folder: Path):
    with pytest.raises(KeyError, match="no chart 'velero'"):
        chart("velero")
