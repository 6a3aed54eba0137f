"""Which chart is taken, and that it says so."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import yaml

from sandbox.artifacts import chart_repository, charts, karpenter_charts
from sandbox.artifacts.chart_repository import NotHad, Wanted
from sandbox.artifacts.charts import chart
from sandbox.artifacts.go_modules import BuildFailed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What SLICEWISE_CHARTS names; NVIDIA's repository is out of reach."""
    brought = tmp_path / "charts"
    brought.mkdir()
    monkeypatch.setenv("SLICEWISE_CHARTS", str(brought))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(chart_repository, "download", unreachable)
    return brought


def unreachable(wanted: Wanted, until: float) -> bytes:
    raise NotHad("a test has no network")


def test_a_chart_that_a_user_brought_goes_before_every_other(folder: Path):
    for name in ("karpenter-crd-1.14.1.tgz", "karpenter-1.14.1.tgz", "gpu-operator-v26.7.0.tgz"):
        (folder / name).touch()

    found = chart("karpenter")

    assert (found.path.name, found.version, found.real) == ("karpenter-1.14.1.tgz", "1.14.1", True)
    assert chart("gpu-operator").version == "v26.7.0"


def test_the_chart_that_nvidias_repository_has_is_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Wanted] = []
    monkeypatch.setattr(chart_repository, "download", lambda wanted, until: asked.append(wanted) or b"theirs")

    found = chart("gpu-operator")

    assert (found.path.read_bytes(), found.version, found.real) == (b"theirs", "v26.7.0", True)
    assert asked == [Wanted("https://helm.ngc.nvidia.com/nvidia", "gpu-operator", "v26.7.0")]


def test_else_a_stand_in_is_packed_and_named_as_such(folder: Path):
    packed = chart("gpu-operator")

    assert not packed.real
    assert packed.origin == (
        "a stand-in of ours, because NVIDIA's chart gpu-operator v26.7.0 could not be fetched: "
        "to bring the real one, set SLICEWISE_CHARTS=<folder that holds gpu-operator-v26.7.0.tgz>"
    )
    with tarfile.open(packed.path) as archive:
        assert "gpu-operator/Chart.yaml" in archive.getnames()
    assert chart("gpu-operator") == packed


def test_a_stand_in_is_never_taken_for_the_real_one(folder: Path):
    chart("gpu-operator")

    assert not chart("gpu-operator").real


@pytest.mark.parametrize("brings", [True, False], ids=["brought", "stand-in"])
def test_where_a_chart_comes_from_names_no_folder_of_this_machine(folder: Path, brings: bool):
    if brings:
        (folder / "gpu-operator-v26.7.0.tgz").touch()

    assert "/" not in chart("gpu-operator").origin


def test_a_chart_that_nobody_has_is_an_error(folder: Path):
    with pytest.raises(KeyError, match="no chart 'velero': there are karpenter, karpenter-crd, gpu-operator"):
        chart("velero")


# Karpenter's


@pytest.fixture
def provider(tmp_path: Path) -> Path:
    """The source of Karpenter's AWS provider, as Go unpacks it: without symbolic links."""
    for file, content in {
        "charts/karpenter/Chart.yaml": "name: karpenter\nversion: 1.14.1\nappVersion: 1.14.1\n",
        "charts/karpenter/templates/deployment.yaml": "kind: Deployment\n",
        "charts/karpenter/values.yaml": "controller:\n  image:\n    tag: 1.14.1\n    digest: sha256:ab\n",
        "charts/karpenter-crd/Chart.yaml": "name: karpenter-crd\nversion: 1.14.1\nappVersion: 1.14.1\n",
        "charts/karpenter-crd/templates/karpenter.sh_nodepools.yaml": "kind: {{ .Values.kind }}\n",
        "charts/karpenter-0.2.0.tgz": "an old one",
        "pkg/apis/crds/karpenter.sh_nodepools.yaml": "kind: CustomResourceDefinition\n",
    }.items():
        path = tmp_path / "provider" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "provider"


def packed(provider: Path, folder: Path, version: str) -> dict[str, dict[str, str]]:
    folder.mkdir()
    karpenter_charts.pack(provider, version, folder)
    return {path.name: contents(path) for path in folder.iterdir()}


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read().decode() for m in archive.getmembers()}


def test_karpenters_charts_have_the_version_of_their_tag_and_the_definitions(provider: Path, tmp_path: Path):
    found = packed(provider, tmp_path / "packed", "1.15.0")

    assert found.keys() == {"karpenter-1.15.0.tgz", "karpenter-crd-1.15.0.tgz"}
    karpenter, definitions = found["karpenter-1.15.0.tgz"], found["karpenter-crd-1.15.0.tgz"]
    assert karpenter["karpenter/crds/karpenter.sh_nodepools.yaml"] == "kind: CustomResourceDefinition\n"
    assert definitions["karpenter-crd/templates/karpenter.sh_nodepools.yaml"] == "kind: {{ .Values.kind }}\n"
    image = yaml.safe_load(karpenter["karpenter/values.yaml"])["controller"]["image"]
    assert image == {"tag": "1.15.0", "digest": ""}, "else the release before would run"
    for name, files in (("karpenter", karpenter), ("karpenter-crd", definitions)):
        assert yaml.safe_load(files[f"{name}/Chart.yaml"]) == {
            "name": name,
            "version": "1.15.0",
            "appVersion": "1.15.0",
        }


def test_a_chart_of_another_layout_is_an_error_that_says_so(provider: Path, tmp_path: Path):
    (provider / "charts/karpenter/values.yaml").write_text("image: {tag: 1.14.1}\n")

    with pytest.raises(BuildFailed, match=r"karpenter/values.yaml has 0 lines 'tag', expected one"):
        packed(provider, tmp_path / "packed", "1.15.0")


def test_a_chart_is_packed_to_the_same_bytes_each_time(provider: Path, tmp_path: Path):
    for folder in ("one", "other"):
        packed(provider, tmp_path / folder, "1.15.0")

    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_what_the_product_installs_is_what_is_stood_in_for():
    stand_in = yaml.safe_load((charts.STAND_INS / "gpu-operator" / "Chart.yaml").read_text())

    assert stand_in["version"] == charts.product().version
