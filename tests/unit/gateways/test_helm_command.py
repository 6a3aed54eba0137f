"""How helm is called, and what its end means; a script of ours stands where the binary would."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from slicewise.errors import Refused, Unavailable
from slicewise.gateways import helm
from slicewise.gateways.helm import NO_DIGESTS, HelmCli
from slicewise.model.cluster import EksCluster

from tests.fakes.clock import START

CLUSTER = EksCluster(
    "arn", "gpu-1", "eu-west-1", "1", "ACTIVE", "1.35", "API", START, endpoint="https://it", ca_data="Y2E="
)
OPERATOR = "charts/gpu-operator-v26.7.0.tgz"
# Keeps what it was called with, the chart too, and what stood in its environment and kubeconfig.
SCRIPT = """#!/bin/sh
if [ "$1" = pull ]; then
  for argument in "$@"; do echo "$argument"; done > {folder}/pulled
  for argument in "$@"; do to="$argument"; done
  {pull}
fi
for argument in "$@"; do case "$argument" in */chart.tgz) cp "$argument" {folder}/ran.tgz;; esac; done
for argument in "$@"; do echo "$argument"; done > {folder}/arguments
cat > {folder}/given
env > {folder}/environment
cat "$KUBECONFIG" > {folder}/kubeconfig
ls -l "$KUBECONFIG" > {folder}/mode
{then}
"""


@pytest.fixture
def run(tmp_path):
    def make(then: str = "exit 0", pull: str = "", digests=NO_DIGESTS, **environ: str) -> HelmCli:
        binary = tmp_path / "helm"
        pull = pull or f"cp {tmp_path}/published.tgz $to; exit $?"
        binary.write_text(SCRIPT.format(folder=tmp_path, then=then, pull=pull))
        binary.chmod(0o755)
        environ = {"PATH": "/usr/bin:/bin", "AWS_SECRET_ACCESS_KEY": "secret", **environ}
        return HelmCli(binary, CLUSTER, lambda: "a-token", None, tmp_path, environ, digests)  # type: ignore[arg-type]

    return make


def kept(tmp_path: Path, name: str) -> str:
    return (tmp_path / name).read_text()


def packed(path: Path, version: str, more: str = "", name: str = "it/Chart.yaml") -> str:
    """Writes a chart. Returns its sha256."""
    path.parent.mkdir(exist_ok=True)
    text = f"name: it\nversion: {version}\n{more}".encode()
    with tarfile.open(path, "w:gz") as files:
        about = tarfile.TarInfo(name)
        about.size = len(text)
        files.addfile(about, io.BytesIO(text))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_upgrade_neither_waits_nor_runs_hooks(run, tmp_path):
    packed(tmp_path / OPERATOR, "v26.7.0")
    run().upgrade("gpu-operator", "gpu-operator", OPERATOR, "v26.7.0", {"a": 1})

    arguments = kept(tmp_path, "arguments").split("\n")
    assert (arguments[:2], arguments[3]) == (["upgrade", "gpu-operator"], "--install")
    assert (tmp_path / "ran.tgz").read_bytes() == (tmp_path / OPERATOR).read_bytes()
    assert not (tmp_path / "pulled").exists()
    assert {"--no-hooks", "--skip-crds", "--create-namespace"} <= set(arguments)
    assert not {"--wait", "--take-ownership", "--version", "--atomic"} & set(arguments)
    assert json.loads(kept(tmp_path, "given")) == {"a": 1}


REGISTRY, ADDRESS = "oci://registry.example/karpenter", "https://charts.example/gpu-operator-v26.7.0.tgz"


@pytest.mark.parametrize(
    ("chart", "version", "asked"),
    [(REGISTRY, "1.14.1", ["--version", "1.14.1"]), (ADDRESS, "v26.7.0", [])],
    ids=["by version", "by address"],
)
def test_a_chart_from_the_network_is_pulled_once_and_run_from_the_file(run, tmp_path, chart, version, asked):
    digest = packed(tmp_path / "published.tgz", version)
    found = run(digests={chart: digest})

    found.chart_crds(chart, version)
    (tmp_path / "published.tgz").rename(tmp_path / "published-then.tgz")
    found.upgrade("it", "it", chart, version, {})

    assert kept(tmp_path, "pulled").split("\n")[:-2] == ["pull", chart, *asked, "--destination"]
    assert (tmp_path / "ran.tgz").read_bytes() == (tmp_path / "published-then.tgz").read_bytes()
    assert chart not in kept(tmp_path, "arguments")


@pytest.mark.parametrize("chart", [REGISTRY, ADDRESS, OPERATOR], ids=["by version", "by address", "carried"])
def test_a_chart_of_another_digest_is_refused_with_both_before_helm_runs_it(run, tmp_path, chart):
    """The same name and version, and one more line in it."""
    asked = packed(tmp_path / "asked.tgz", "1")
    there = packed(tmp_path / (OPERATOR if chart == OPERATOR else "published.tgz"), "1", "appVersion: 2\n")
    found = run(digests={chart: asked})

    for call in (lambda: found.chart_crds(chart, "1"), lambda: found.upgrade("it", "it", chart, "1", {})):
        with pytest.raises(
            Refused, match=f"{there}, and this deployment expects {asked}.*deploy with its sha"
        ):
            call()
    assert not (tmp_path / "ran.tgz").exists()


def test_without_a_digest_a_chart_is_taken_by_its_version_alone(run, tmp_path):
    packed(tmp_path / "published.tgz", "1.14.1")

    run(digests={"oci://registry.example/another": "0" * 64}).upgrade("it", "it", REGISTRY, "v1.14.1", {})


@pytest.mark.parametrize("chart", [REGISTRY, ADDRESS, OPERATOR], ids=["by version", "by address", "carried"])
def test_a_chart_that_says_it_is_another_version_is_refused(run, tmp_path, chart):
    packed(tmp_path / (OPERATOR if chart == OPERATOR else "published.tgz"), "1.14.2")

    with pytest.raises(
        Refused, match=r"says that it is version 1\.14\.2, and this deployment expects 1\.14\.1"
    ):
        run().upgrade("it", "it", chart, "1.14.1", {})


@pytest.mark.parametrize(
    "published",
    [
        "echo '<html>' > $to/a.tgz",
        "cp {folder}/no_chart.tgz $to/a.tgz",
        ": > $to/a.tgz",
        "head -c 100 {folder}/published.tgz > $to/a.tgz",
        "cp {folder}/odd.tgz $to/a.tgz",
    ],
    ids=["a page", "no Chart.yaml", "nothing", "cut off", "a Chart.yaml of its own kind"],
)
def test_what_is_no_chart_is_refused(run, tmp_path, published):
    packed(tmp_path / "published.tgz", "1.14.1")
    packed(tmp_path / "no_chart.tgz", "1.14.1", name="it/templates/Chart.yaml")
    packed(tmp_path / "odd.tgz", "1.14.1", "\t- [")

    with pytest.raises(Refused, match="is not a packed chart"):
        run(pull=f"{published.format(folder=tmp_path)}; exit 0").upgrade("it", "it", REGISTRY, "1.14.1", {})


@pytest.mark.parametrize(
    "pull", ["exit 0", "cp {folder}/published.tgz $to/a; cp {folder}/published.tgz $to/b; exit 0"]
)
def test_no_chart_and_two_charts_are_refused(run, tmp_path, pull):
    packed(tmp_path / "published.tgz", "1.14.1")

    with pytest.raises(Refused, match=r"helm pulled (0|2) files of"):
        run(pull=pull.format(folder=tmp_path)).chart_crds(REGISTRY, "1.14.1")


def test_a_chart_of_no_end_is_refused(run, tmp_path, monkeypatch):
    packed(tmp_path / "published.tgz", "1.14.1")
    monkeypatch.setattr(helm, "_MOST_CHART_BYTES", 10)

    with pytest.raises(Refused, match="one of at most 10 bytes was expected"):
        run().chart_crds(REGISTRY, "1.14.1")


def test_a_pull_that_fails_may_pass_and_one_of_no_end_is_ended(run, monkeypatch):
    with pytest.raises(Unavailable, match="503"):
        run(pull="echo 503 >&2; exit 1").chart_crds(REGISTRY, "1.14.1")

    monkeypatch.setattr(helm, "_PULL_SECONDS", 0.3)
    with pytest.raises(Unavailable, match=r"pull oci.*not done after 0\.3 s"):
        run(pull="exec sleep 30").chart_crds(REGISTRY, "1.14.1")


def test_a_chart_that_was_not_carried_along_says_so(run):
    with pytest.raises(Refused, match=r"charts/gpu-operator-v26\.7\.0\.tgz is not in the function's code"):
        run().chart_crds(OPERATOR, "v26.7.0")


def test_adopting_takes_fields_that_others_own_too(run, tmp_path):
    packed(tmp_path / "c.tgz", "1")
    run().upgrade("karpenter-crd", "kube-system", "c.tgz", "1", {}, take_ownership=True)

    assert {"--take-ownership", "--force-conflicts"} <= set(kept(tmp_path, "arguments").split("\n"))


def test_helm_gets_the_cluster_and_a_token_and_nothing_of_ours(run, tmp_path):
    run(HTTPS_PROXY="http://proxy").uninstall("gpu-operator", "gpu-operator")

    kubeconfig = json.loads(kept(tmp_path, "kubeconfig"))
    assert kubeconfig["clusters"][0]["cluster"]["server"] == "https://it"
    assert kubeconfig["users"][0]["user"] == {"token": "a-token"}
    assert kept(tmp_path, "mode").startswith("-rw-------")
    environment = kept(tmp_path, "environment")
    assert "HTTPS_PROXY=http://proxy" in environment
    assert "secret" not in environment
    assert "a-token" not in kept(tmp_path, "arguments") + environment


def test_nothing_is_left_of_a_call(run, tmp_path):
    run().uninstall("gpu-operator", "gpu-operator")

    home = next(line for line in kept(tmp_path, "environment").split("\n") if line.startswith("HOME="))
    assert not Path(home.removeprefix("HOME=")).exists()


def test_a_failure_says_what_helm_said_and_may_pass(run):
    with pytest.raises(Unavailable, match="another operation is in progress"):
        run("echo another operation is in progress >&2; exit 1").rollback("gpu-operator", "gpu-operator", 3)


def test_a_helm_that_does_not_end_is_ended(run, monkeypatch):
    monkeypatch.setattr(helm, "_KILL_AFTER_SECONDS", 0.3)

    with pytest.raises(Unavailable, match="ended"):
        run("exec sleep 30").uninstall("gpu-operator", "gpu-operator")


def test_a_function_without_its_layer_says_so():
    absent = HelmCli(Path("/nowhere/helm"), CLUSTER, lambda: "t", None, Path("."), {})  # type: ignore[arg-type]

    with pytest.raises(Refused, match="needs its layer"):
        absent.uninstall("gpu-operator", "gpu-operator")
