"""Which versions the sandbox runs, and that nothing says others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from slicewise.onboarding import karpenter, preflight
from slicewise.onboarding.versions import parse

from sandbox.artifacts import versions
from sandbox.artifacts.versions import UnknownVersions

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("says", "name"), [(None, "newest"), ("", "newest"), ("newest", "newest"), ("oldest", "oldest")]
)
def test_the_newest_are_chosen_unless_a_user_says_otherwise(monkeypatch, says, name):
    monkeypatch.delenv(versions.SWITCH, raising=False)
    if says is not None:
        monkeypatch.setenv(versions.SWITCH, says)

    assert versions.chosen().name == name


def test_a_misspelt_pair_is_an_error_that_says_which_there_are(monkeypatch):
    monkeypatch.setenv(versions.SWITCH, "latest")

    with pytest.raises(UnknownVersions, match="'latest': set SLICEWISE_VERSIONS to newest or oldest"):
        versions.chosen()


def test_a_pair_is_what_its_module_file_says(tmp_path):
    (tmp_path / "a.mod").write_text(
        "module m\n\ngo 1.30.2\n\nrequire (\n\tk8s.io/kubernetes v1.40.3\n\tsigs.k8s.io/karpenter v1.16.0\n"
        "\tsigs.k8s.io/kwok v0.9.0\n\tgo.etcd.io/etcd/server/v3 v3.8.0\n)\n"
        "\nreplace (\n\tk8s.io/api => k8s.io/api v0.40.3\n)\n"
    )

    pair = versions.read("a", tmp_path / "a.mod", (), "h1:x")

    assert (pair.kubernetes, pair.minor, pair.karpenter) == ("1.40.3", "1.40", "1.16.0")
    assert (pair.kwok, pair.etcd, pair.go) == ("0.9.0", "3.8.0", (1, 30, 2))
    assert pair.sums == tmp_path / "a.sum"


def test_the_pairs_are_the_ends_of_what_is_said_to_be_tried():
    newest, oldest = versions.PAIRS["newest"], versions.PAIRS["oldest"]

    assert parse(newest.minor) == preflight.KUBERNETES_TRIED
    assert parse(newest.karpenter)[:2] == karpenter.KARPENTER_TRIED
    assert parse(oldest.karpenter)[:2] == karpenter.KARPENTER_OLDEST


def test_the_karpenter_that_is_installed_by_default_is_the_one_that_the_newest_pair_runs():
    context = json.loads((ROOT / "cdk.json").read_text())["context"]

    assert context["karpenter_version"] == versions.PAIRS["newest"].karpenter


@pytest.mark.parametrize("pair", versions.PAIRS.values(), ids=list(versions.PAIRS))
def test_the_page_of_supported_versions_names_what_is_run(pair):
    page = (ROOT / "docs" / "supported_versions.md").read_text()

    for version in (pair.kubernetes, pair.karpenter, pair.kwok, pair.etcd):
        assert f" {version} " in page
